"""Properties: states that a program is in or not, which passes require, establish and break.

    inlined    tensor   no operator carries a gradient rule of its own any more
    fused      program  every step is a kernel that writes values, or a view
    owned      program  every output and every update is a value of its own, written by a kernel
    planned    program  it is owned, and every value that a step writes has a place in memory
    chosen     loop     every kernel says how its loops are to run, or they are scheduled
    scheduled  loop     the loops of every kernel are written as they run

The bodies of loops and branches are in the state of the program around them. A property is nothing a pass remembers:
its checker looks at the program, wherever that comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symc.ir.modules import LoopModule
from symc.ir.prims.control import CustomGrad
from symc.ir.program.nodes import Program, ViewStep, bases_of, programs_of, results_of
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph
from symc.ir.text import level_of

#: what passes take and give; of a program, texts tell two states apart: fused, and planned
LEVELS = ("symbol", "tensor", "program", "loop")


def level(module: Any) -> str:
    """The level of a module: one of LEVELS. TypeError for what is no module."""
    return "program" if isinstance(module, Program) else level_of(module)


@dataclass(frozen=True)
class Property:
    """A state that modules of a level can be in. `missing(module)` says what keeps one from it; "" if nothing does."""

    name: str
    level: str
    missing: Callable[[Any], str]


def _inlined(graph: Graph) -> str:
    waiting = [graph]
    for part in waiting:
        # after every pass: the kinds of operations are looked at, not every node
        kinds = {node.op.__class__ for node in part.nodes()}
        if CustomGrad in kinds:
            node = next(n for n in part.nodes() if isinstance(n.op, CustomGrad))
            return f"%{part.names.get(node, '?')} is an operator with a gradient rule of its own"
        if any(kind.is_control for kind in kinds):
            waiting += [region for node in part.nodes() if node.op.is_control for _, region in regions_of(node.op)]
    return ""


def _everywhere(missing: Callable[[Program], str]) -> Callable[[Program], str]:
    """What is missing in a program, or in one that a loop or branch in it holds."""

    def anywhere(program: Program) -> str:
        return next((found for part in programs_of(program) if (found := missing(part))), "")

    return anywhere


def _fused(program: Program) -> str:
    for at, step in enumerate(program.steps):
        if not results_of(step):
            return f"step {at} writes nothing"
    return ""


def _owned(program: Program) -> str:
    written = {r.name for step in program.steps if not isinstance(step, ViewStep) for r in step.results}
    ends = [(f"output {output.name}", output.value) for output in program.outputs]
    ends += [(f"the update of %{update.input}", update.value) for update in program.updates]
    values = [value for _, value in ends]
    if len(set(values)) == len(values) and written.issuperset(values):
        return ""
    base = bases_of(program)
    taken: set[str] = set()
    for what, value in ends:
        if base[value] not in written or base[value] in taken:
            return f"{what}, %{value}, is no value of its own"
        taken.add(base[value])
    return ""


def _planned(program: Program) -> str:
    for at, step in enumerate(program.steps):
        for result in results_of(step):
            if not result.place.kind:
                return f"%{result.name}, written by step {at}, has no place in memory"
    return _owned(program)


def _chosen(module: LoopModule) -> str:
    kernel = next((k for k in module.kernels if k.schedule is None and not k.is_scheduled), None)
    return "" if kernel is None else f"kernel @{kernel.name} has no schedule"


def _scheduled(module: LoopModule) -> str:
    kernel = next((k for k in module.kernels if not k.is_scheduled), None)
    return "" if kernel is None else f"it is open how the loops of kernel @{kernel.name} run"


PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property("inlined", "tensor", _inlined),
        Property("fused", "program", _everywhere(_fused)),
        Property("owned", "program", _everywhere(_owned)),
        Property("planned", "program", _everywhere(_planned)),
        Property("chosen", "loop", _chosen),
        Property("scheduled", "loop", _scheduled),
    )
}


def held(module: Any) -> set[str]:
    """The names of the properties that a module has."""
    here = level(module)
    return {p.name for p in PROPERTIES.values() if p.level == here and not p.missing(module)}
