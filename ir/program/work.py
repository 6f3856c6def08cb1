"""The arithmetic of programs."""

from __future__ import annotations

from symc.ir.prims.linear import Contraction
from symc.ir.program.nodes import KernelStep, LoopStep, Program, Step, regions_of_step


def flops_of(program: Program) -> int:
    """Floating-point operations of a program's contractions; those of a loop in all its turns, of a branch in its
    longer side."""
    return sum(flops_of_step(step) for step in program.steps)


def flops_of_step(step: Step) -> int:
    """The same of one step."""
    inside = [flops_of(region.program) for region in regions_of_step(step)]
    if isinstance(step, KernelStep):
        return 2 * sum(node.op.multiply_adds(node) for node in step.body.nodes() if isinstance(node.op, Contraction))
    return step.trips * sum(inside) if isinstance(step, LoopStep) else max(inside, default=0)
