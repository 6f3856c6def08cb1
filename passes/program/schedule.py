"""schedule: the order of the kernels.

A list schedule: of the kernels that can run, the one that lets go of most bytes; of equal ones the earliest. The halves
of a program stay apart. A kernel that computes a parameter's new value waits for those that read the old one, so that
it may be written in place; where that would make a circle, `own_results` copies.
"""

from __future__ import annotations

import heapq

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.program.nodes import Program, ViewStep, bases_of, in_regions, operands_of, results_of
from symc.ir.program.text import is_planned
from symc.ir.syntax.printing import value_name
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter


@register_pass("schedule", takes="program", gives="program", optional=True, requires=("fused",))
class Schedule(Pass):
    """Put the kernels in an order that keeps few bytes alive."""

    def run(self, program: Program, rw: Rewriter) -> Program:
        if is_planned(program):
            raise IRError(f"schedule: program {program.name} has a memory plan, which is made for the order it has")
        return _Scheduler(in_regions(program, lambda region: self.run(region, rw)), rw).scheduled()


class _Scheduler:
    """The steps are numbered as they come; that order is right, and what is left where an action is vetoed."""

    def __init__(self, program: Program, rw: Rewriter) -> None:
        self.program, self.rw, self.steps = program, rw, program.steps
        #: bytes of the values that kernels write
        self.size: dict[str, int] = {}
        self.producer: dict[str, int] = {}
        for number, step in enumerate(self.steps):
            for result in results_of(step):
                self.producer[result.name] = number
                self.size[result.name] = result.type.nbytes if not isinstance(step, ViewStep) else 0
        self.reads = [dict.fromkeys(operands_of(step)) for step in self.steps]
        self.waits = [0] * len(self.steps)
        self.followers: list[dict[int, None]] = [{} for _ in self.steps]
        #: the steps that read a value, and how many of them have yet to
        self.readers: dict[str, list[int]] = {}
        for number, operands in enumerate(self.reads):
            for operand in operands:
                self.readers.setdefault(operand, []).append(number)
                if operand in self.producer:
                    self._follow(self.producer[operand], number)
        self._updates_last()
        self.remaining = {value: len(readers) for value, readers in self.readers.items()}
        kept = {*(o.value for o in program.outputs), *(u.value for u in program.updates)}
        self.made = [sum(self.size[r.name] for r in results_of(s) if r.name not in kept) for s in self.steps]
        self.freed = [[o for o in operands if o in self.size and o not in kept] for operands in self.reads]

    def _follow(self, earlier: int, later: int) -> None:
        if later not in self.followers[earlier]:
            self.followers[earlier][later] = None
            self.waits[later] += 1

    def _half(self, number: int) -> int:
        return int(number >= self.program.cut) - int(number < self.program.prologue)

    def _updates_last(self) -> None:
        """Readers of a parameter run before the kernel that computes its new value, where nothing stands against."""
        base = bases_of(self.program)
        updated = {update.input: base[update.value] for update in self.program.updates}
        readers: dict[str, list[int]] = {}
        for number, operands in enumerate(self.reads):
            for parameter in {base[o] for o in operands} & updated.keys():
                readers.setdefault(parameter, []).append(number)
        for parameter, value in updated.items():
            writer = self.producer.get(value)
            if writer is None:
                continue
            behind = self._behind(writer) if parameter in readers else set()
            before = [n for n in readers.get(parameter, ()) if n not in behind and self._half(n) <= self._half(writer)]
            if before and self.rw.act("update last", [self.steps[writer].origin], self._last, writer, parameter):
                for reader in before:
                    self._follow(reader, writer)

    def _named(self, number: int) -> str:
        return ", ".join(value_name(result.name) for result in results_of(self.steps[number]))

    def _last(self, number: int, parameter: str) -> tuple[str, str]:
        return f"the step of {self._named(number)}", f"after those that read %{parameter}"

    def _may_run(self, number: int, first: int) -> bool:
        """Whether a step runs before the first that could."""
        return self.rw.act("run early", [self.steps[number].origin], self._early, number, first) is not None

    def _early(self, number: int, first: int) -> tuple[str, str]:
        return f"the step of {self._named(number)}", f"before that of {self._named(first)}"

    def _behind(self, number: int) -> set[int]:
        """The step and all that must run after it."""
        found = {number}
        stack = [number]
        while stack:
            for follower in self.followers[stack.pop()]:
                if follower not in found:
                    found.add(follower)
                    stack.append(follower)
        return found

    def scheduled(self) -> Program:
        order = self._order()
        program = self.program
        return replace(program, steps=tuple(self.steps[number] for number in order))

    def _growth(self, number: int) -> int:
        """Bytes that are alive after a step and were not before, if it runs now; 0 if it frees none."""
        freed = sum(self.size[o] for o in self.freed[number] if self.remaining[o] == 1)
        return min(self.made[number] - freed, 0)

    def _order(self) -> list[int]:
        first = [number for number, count in enumerate(self.waits) if not count]
        #: the steps that can run, the best first; and the same, the earliest first
        ready = [(self._half(n), self._growth(n), n) for n in first]
        waiting = list(first)
        heapq.heapify(ready)
        done = [False] * len(self.steps)
        order: list[int] = []
        while ready:
            half, believed, number = heapq.heappop(ready)
            if done[number]:
                continue
            actual = self._growth(number)
            if actual < believed:  # readers of its operands have run since: look again with what it frees now
                heapq.heappush(ready, (half, actual, number))
                continue
            while done[waiting[0]]:
                heapq.heappop(waiting)
            if number != waiting[0] and not self._may_run(number, waiting[0]):
                heapq.heappush(ready, (half, actual, number))
                number = waiting[0]
            done[number] = True
            order.append(number)
            for operand in self.reads[number]:
                self.remaining[operand] -= 1
                if self.remaining[operand] == 1 and operand in self.size:  # its last reader frees more than before
                    for reader in self.readers[operand]:
                        if not self.waits[reader] and not done[reader]:
                            heapq.heappush(ready, (self._half(reader), self._growth(reader), reader))
            for follower in self.followers[number]:
                self.waits[follower] -= 1
                if not self.waits[follower]:
                    heapq.heappush(waiting, follower)
                    heapq.heappush(ready, (self._half(follower), self._growth(follower), follower))
        return order
