"""recompute: values that the forward half keeps for the backward half are computed again there instead.

The forward half is cut into segments. What goes from one to the next is kept, and all of the last one; everything else
that the backward half reads is computed again from that, right before it is read first. So the memory is that of the
boundaries and of one segment, O(sqrt(n)) for a chain of n layers cut into sqrt(n) segments, and no step runs more than
twice (Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016). A boundary is put where few
bytes cross it: in a residual net between two units. Several numbers of segments are tried, with and without the results
of contractions among what is computed again, and judged by the largest live set.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.program.nodes import KernelStep, Program, Step, ViewStep, bases_of, operands_of, results_of
from symc.ir.program.text import is_planned
from symc.ir.program.work import flops_of_step
from symc.ir.tensor.graph import fresh_name
from symc.passes.cost import MOVING
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter

#: numbers of segments that are tried grow by this factor
GROWTH = 1.4
#: a value is kept if what it is computed from is as many times as large: statistics, sums
SMALL = 16


@register_pass("recompute", takes="program", gives="program", optional=True, requires=("fused",))
class Recompute(Pass):
    """Compute values of the forward half again in the backward half, so that fewer bytes are kept."""

    budget: int = option(0, "bytes of live values that are few enough; 0: as few as can be reached", min=0)

    def run(self, program: Program, rw: Rewriter) -> Program:
        if is_planned(program):
            raise IRError(f"recompute: program {program.name} has a memory plan, which is made for the steps it has")
        halves = _Halves(program)
        plain = halves.choice(set(halves.size))
        if self.budget and plain.peak <= self.budget:
            return program
        found = [plain, *map(halves.choice, halves.candidates())]
        enough = [choice for choice in found if choice.peak <= self.budget]
        best = min(enough, key=lambda c: (c.cost, c.peak)) if enough else min(found, key=lambda c: (c.peak, c.cost))
        return _Writer(program, best, halves.base, rw).written()


@dataclass(frozen=True)
class _Choice:
    """The values that are not kept; for every backward step the forward steps that run again right before it; what
    they cost, in bytes moved; and the bytes of the largest live set."""

    dropped: Set[str]
    again: Mapping[int, list[int]]
    cost: float
    peak: int


class _Halves:
    """What the backward half reads of the forward half. A value is named by the one whose memory it is. Where one run
    does everything, as a fused step of training, the second half begins where most bytes are alive."""

    def __init__(self, program: Program) -> None:
        self.program, self.base, self.types = program, bases_of(program), program.value_types()
        self.maker = {r.name: at for at, step in enumerate(program.steps) for r in results_of(step)}
        fixed = {self.base[o.value] for o in program.outputs} | {self.base[u.value] for u in program.updates}
        #: bytes of the values that take memory of the arena
        self.size: dict[str, int] = {}
        #: those that are kept whatever is chosen
        self.fixed: set[str] = set()
        for step in program.steps:
            if isinstance(step, ViewStep):
                continue
            for result in step.results:
                if result.name in fixed:
                    self.fixed.add(result.name)
                    continue
                self.size[result.name] = result.type.nbytes
                read = max((self.types[operand].nbytes for operand in operands_of(step)), default=0)
                small = result.type.nbytes * SMALL <= read
                if not isinstance(step, KernelStep) or step.form.kind == "host" or small:
                    self.fixed.add(result.name)
        self.turn = program.cut if program.cut < len(program.steps) else self._fullest()
        self.fixed |= {name for name in self.size if self.maker[name] >= self.turn}
        self.flops = [flops_of_step(step) for step in program.steps[: self.turn]]
        self.cost = [self._cost(at) for at in range(self.turn)]
        forward, backward = program.steps[: self.turn], program.steps[self.turn :]
        self.last_forward = {self.base[o]: at for at, step in enumerate(forward) for o in operands_of(step)}
        self.saved = {self.base[o] for step in backward for o in operands_of(step)} & self.size.keys() - self.fixed

    def _cost(self, at: int) -> float:
        """Bytes that a step moves; its arithmetic counts as moving as many as take the same time."""
        step, types = self.program.steps[at], self.types
        if isinstance(step, ViewStep):
            return 0.0
        names = [*operands_of(step), *(r.name for r in step.results)]
        return self.flops[at] / MOVING + sum(types[name].nbytes for name in names)

    def candidates(self) -> Iterator[set[str]]:
        """Sets of values to keep."""
        made_at = {name: self.maker[name] for name in self.size if self.maker[name] < self.turn}
        #: bytes that the backward half reads of what a step makes, and bytes that live on behind it in the forward half
        read, crossing = [0] * self.turn, [0] * (self.turn + 1)
        for name, at in made_at.items():
            read[at] += self.size[name] if name in self.saved else 0
            last = self.last_forward.get(name, at)
            crossing[at] += self.size[name]
            crossing[last] -= self.size[name]
        for at in range(1, len(crossing)):
            crossing[at] += crossing[at - 1]
        contractions = {name for name, at in made_at.items() if self.flops[at]}
        tried, segments = set[tuple[int, ...]](), 2.0
        while segments <= self.turn:
            cuts = self._cuts(read, crossing, sum(read) / segments)
            segments = max(segments + 1, segments * GROWTH)
            if not cuts or tuple(cuts) in tried:
                continue
            tried.add(tuple(cuts))
            kept = set()
            for name, at in made_at.items():
                behind = bisect.bisect_left(cuts, at)
                if behind == len(cuts) or cuts[behind] < self.last_forward.get(name, at):
                    kept.add(name)
            yield kept
            yield kept | contractions

    def _fullest(self) -> int:
        """The step before which most bytes are alive."""
        steps = self.program.steps
        last = {self.base[o]: at for at, step in enumerate(steps) for o in operands_of(step)}
        change = [0] * (len(steps) + 1)
        for name, size in self.size.items():
            change[self.maker[name] + 1] += size
            change[last.get(name, self.maker[name]) + 1] -= size
        alive = list(itertools.accumulate(change))
        return alive.index(max(alive))

    @staticmethod
    def _cuts(read: list[int], crossing: list[int], limit: float) -> list[int]:
        """The last steps of the segments, but for the last segment: each holds about `limit` bytes that are read."""
        cuts: list[int] = []
        held, best = 0, -1
        for at, size in enumerate(read[:-1]):
            held += size
            if held >= limit / 2 and (best < 0 or crossing[at] <= crossing[best]):
                best = at
            if held >= limit:
                cuts.append(best)
                held, best = sum(read[best + 1 : at + 1]), -1
        return cuts

    def choice(self, kept: set[str]) -> _Choice:
        """What has to run again if these values are kept, and those that always are."""
        steps, cut = self.program.steps, self.turn
        dropped = self.size.keys() - self.fixed - kept
        again: dict[int, list[int]] = {}
        done: set[int] = set()
        for at in range(cut, len(steps)):
            order = again[at] = []
            stack = [(operand, False) for operand in reversed(operands_of(steps[at]))]
            while stack:
                operand, ready = stack.pop()
                if self.base[operand] not in dropped:
                    continue
                maker = self.maker[operand]
                if ready:
                    if maker not in done:
                        done.add(maker)
                        order.append(maker)
                elif maker not in done and maker < cut:
                    stack.append((operand, True))
                    stack += [(o, False) for o in operands_of(steps[maker])]
        return _Choice(dropped, again, sum(self.cost[n] for n in done), self._peak(again, dropped))

    def _peak(self, again: Mapping[int, list[int]], dropped: Set[str]) -> int:
        """Bytes of the largest live set; a value that is computed again is another one from then on."""
        steps, cut = self.program.steps, self.turn
        order = [(at, False) for at in range(cut)]
        for at in range(cut, len(steps)):
            order += [*((n, True) for n in again[at]), (at, False)]
        made: set[str] = set()
        first: dict[tuple[str, bool], int] = {}
        last: dict[tuple[str, bool], int] = {}
        for now, (at, clone) in enumerate(order):
            step = steps[at]
            for operand in operands_of(step):
                base = self.base[operand]
                if base in self.size:
                    last[base, base in made and (clone or at >= cut)] = now
            if not isinstance(step, ViewStep):
                for result in step.results:
                    if result.name in self.size:
                        first[result.name, clone] = last[result.name, clone] = now
                        if clone and result.name in dropped:
                            made.add(result.name)
        change = [0] * (len(order) + 1)
        for key, at in first.items():
            change[at] += self.size[key[0]]
            change[last[key] + 1] -= self.size[key[0]]
        alive = peak = 0
        for more in change:
            alive += more
            peak = max(peak, alive)
        return peak


class _Writer:
    """Writes the program with steps that run again."""

    def __init__(self, program: Program, choice: _Choice, base: Mapping[str, str], rw: Rewriter) -> None:
        self.program, self.choice, self.base, self.rw = program, choice, base, rw
        self.taken = set(program.value_types())
        #: what the values that are not kept are called when they are computed again
        self.new: dict[str, str] = {}

    def written(self) -> Program:
        program = self.program
        steps: list[Step] = []
        for at, step in enumerate(program.steps):
            for number in self.choice.again.get(at, ()):
                steps += self._again(program.steps[number])
            steps.append(self._reading(step))
        cut = program.cut if program.cut < len(program.steps) else len(steps)
        return replace(program, steps=tuple(steps), cut=cut)

    def _again(self, step: Step) -> list[Step]:
        """The step once more, unless that is vetoed: then its results are kept."""
        names = {r.name: fresh_name(f"{r.name}.again", self.taken) for r in results_of(step)}
        origin = self.rw.act("recompute", [step.origin], _shown, names)
        if origin is None:
            return []
        self.taken.update(names.values())
        made = replace(self._reading(step), origin=origin)
        self.new.update((old, new) for old, new in names.items() if self.base[old] in self.choice.dropped)
        if isinstance(made, ViewStep):
            return [replace(made, result=replace(made.result, name=names[made.result.name]))]
        return [replace(made, results=tuple(replace(r, name=names[r.name]) for r in made.results))]

    def _reading(self, step: Step) -> Step:
        if isinstance(step, ViewStep):
            return replace(step, operand=self.new.get(step.operand, step.operand))
        return replace(step, operands=tuple(self.new.get(o, o) for o in step.operands))


def _shown(names: Mapping[str, str]) -> tuple[str, str]:
    return ", ".join(f"%{name}" for name in names), ", ".join(f"%{name}" for name in names.values())
