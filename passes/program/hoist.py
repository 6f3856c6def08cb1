"""hoist: what depends on parameters only is computed when they change, not in every run.

Kernels that read nothing but parameters (weights that are packed, transformed or cast, factors of a norm) become the
program's prologue. It is run where a parameter may have been written since it ran last. What it leaves takes memory
beside the arena, so that only what spares work is taken.

Parameters are the inputs of roles `arg` and `aux`, where there are some of role `data`: without them nobody has said
which inputs are new in every run. A program with a backward half has no prologue: its parameters change in every step.
"""

from __future__ import annotations

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.program.nodes import KernelStep, Program, Step, ViewStep, bases_of, fixed_of, operands_of, results_of
from symc.ir.program.text import is_planned
from symc.ir.program.work import flops_of_step
from symc.passes.cost import ASKING, CALLING
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter


@register_pass("hoist", takes="program", gives="program", optional=True, requires=("owned",))
class Hoist(Pass):
    """Kernels of parameters only become a prologue, which runs when one of them may have changed."""

    most: int = option(1 << 30, "bytes that values of the prologue may take", min=0)

    def run(self, program: Program, rw: Rewriter) -> Program:
        if is_planned(program):
            raise IRError(f"hoist: program {program.name} has a memory plan, which is made for the order it has")
        if program.prologue or program.cut < len(program.steps) or all(p.role != "data" for p in program.params):
            return program
        found = _Candidates(program, self.most, rw)
        chosen = found.chosen()
        if not chosen:
            return program
        first = [step for at, step in enumerate(program.steps) if at in chosen]
        rest = [step for at, step in enumerate(program.steps) if at not in chosen]
        return replace(program, steps=(*first, *rest), prologue=len(first))


class _Candidates:
    """The steps that depend on parameters only, by their numbers."""

    def __init__(self, program: Program, most: int, rw: Rewriter) -> None:
        self.program, self.most, self.rw = program, most, rw
        self.base = bases_of(program)
        known = fixed_of(program)
        given = {self.base[o.value] for o in program.outputs} | {self.base[u.value] for u in program.updates}
        self.steps: dict[int, Step] = {}
        for at, step in enumerate(program.steps):
            name = results_of(step)[0].name
            if not known.issuperset(operands_of(step)):
                continue
            if any(self.base[r.name] in given for r in results_of(step)):
                rw.miss("hoist", name, "it is a result of every run, in memory of the caller's")
            elif isinstance(step, KernelStep) and step.form.kind == "host":
                rw.miss("hoist", name, "the host computes it, maybe by a function that must run every time")
            elif isinstance(step, (KernelStep, ViewStep)):
                self.steps[at] = step
                known |= {r.name for r in results_of(step)}
            else:
                rw.miss("hoist", name, f"it is made by a {step.label}")

    def chosen(self) -> set[int]:
        """Those that pay, with all that they read."""
        chosen = {at for at, step in self.steps.items() if isinstance(step, KernelStep)}
        while True:
            kept = self._kept(chosen)
            if sum(kept.values()) <= self.most:
                break
            # the largest value goes that no other of the prologue is made of
            inner = {self.base[o] for at in chosen for o in operands_of(self.steps[at])}
            leaves = {v: n for v, n in kept.items() if v not in inner} or kept
            worst = max(leaves, key=lambda v: leaves[v])
            self.rw.miss("hoist", worst, f"values of the prologue would take more than most={self.most} bytes")
            chosen = self._without(chosen, worst)
        sources = {self.base[o] for at in chosen for o in operands_of(self.steps[at])} & fixed_of(self.program)
        spared = sum(_turns(self.steps[at]) for at in chosen)
        if chosen and spared < ASKING * (1 + len(sources)):
            name = results_of(self.steps[min(chosen)])[0].name
            self.rw.miss("hoist", name, f"asking whether {len(sources)} parameters have changed costs as much")
            return set()
        vetoed = [at for at in sorted(chosen) if self.rw.act("hoist", [self.steps[at].origin], self._shown, at) is None]
        for at in vetoed:
            chosen = self._without(chosen, results_of(self.steps[at])[0].name)
        held = {r.name for at in chosen for r in results_of(self.steps[at])} | fixed_of(self.program)
        views = {a for a, s in self.steps.items() if isinstance(s, ViewStep) and self.base[s.operand] in held}
        return chosen | views if chosen else chosen

    def _shown(self, at: int) -> tuple[str, str]:
        names = ", ".join(f"%{r.name}" for r in results_of(self.steps[at]))
        return f"the step of {names}", "a step of the prologue"

    def _kept(self, chosen: set[int]) -> dict[str, int]:
        """The values of these steps that others read, with their bytes."""
        own = {r.name: r.type.nbytes for at in chosen for r in results_of(self.steps[at])}
        views = {at for at, step in self.steps.items() if isinstance(step, ViewStep)}
        outside = (step for at, step in enumerate(self.program.steps) if at not in chosen and at not in views)
        read = {self.base[o] for step in outside for o in operands_of(step)}
        return {name: nbytes for name, nbytes in own.items() if name in read}

    def _without(self, chosen: set[int], value: str) -> set[int]:
        """The steps without those that make the value or are made of it."""
        gone, left = {value}, set[int]()
        for at in sorted(chosen):
            results = {r.name for r in results_of(self.steps[at])}
            if results & gone or any(self.base[o] in gone for o in operands_of(self.steps[at])):
                gone |= results
            else:
                left.add(at)
        return left


def _turns(step: Step) -> int:
    """About how many turns of innermost loops a kernel takes, and what calling it costs."""
    if not isinstance(step, KernelStep):
        return 0
    elements = max(t.size for t in (*(i.tensor for i in step.body.inputs), *(r.type for r in step.results)))
    return CALLING + flops_of_step(step) // 2 + elements * max(len(step.body.nodes()) - len(step.body.inputs), 1)
