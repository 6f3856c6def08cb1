"""own_results: every output and every update becomes a value of its own, written by a kernel of its half.

Kernels may write straight into the buffers of outputs and parameters. Where they may not, there are copies:

  kept     a parameter that is the update of another and has one itself: all read a copy made at the start
  output   a value that is a parameter, a constant, another output as well, or computed in an earlier half
  update   the same, and a value computed while its parameter is still read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from symc.ir.errors import IRError
from symc.ir.program.form import map_form
from symc.ir.program.nodes import (
    KernelStep,
    Program,
    Result,
    Step,
    ViewStep,
    bases_of,
    in_regions,
    operand_node,
    operands_of,
    results_of,
)
from symc.ir.program.text import is_planned
from symc.ir.tensor.graph import Graph, Origin, SymOrigin
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter


@register_pass("own_results", takes="program", gives="program", requires=("fused",), establishes=("owned",))
class OwnResults(Pass):
    """Make every output and update a value of its own, by copies where needed."""

    def run(self, program: Program, rw: Rewriter) -> Program:
        if is_planned(program):
            raise IRError(f"own_results: program {program.name} has a memory plan, in which copies have no place")
        program = in_regions(program, lambda region: self.run(region, rw))
        return _own_updates(_own_outputs(_keep_old(program, rw), rw), rw)


class _Copies:
    """Makes steps that copy a value, named apart from all values of a program."""

    def __init__(self, program: Program, rw: Rewriter) -> None:
        self.types, self.rw = program.value_types(), rw
        self._taken = set(self.types)
        self._any = program.steps[0].origin if program.steps else SymOrigin(program.name, "Group")

    def step(self, rule: str, value: str, label: str, origin: Origin | None) -> KernelStep:
        """The copy of a value; an action of the pass, which the program is wrong without: a veto only hides it."""
        name, count = f"{value}.{label}", 0
        while name in self._taken:
            count += 1
            name = f"{value}.{label}.{count}"
        self._taken.add(name)
        tensor = self.types[value]
        origin = origin or self._any
        origin = self.rw.act(rule, [origin]) or origin
        node = operand_node(0, tensor)
        body = Graph("body", (node,), ((name, node),), (), {}, {node: origin})
        return KernelStep("copy", (value,), (Result(name, tensor),), body, map_form(tensor.shape, 1), origin)


def _keep_old(program: Program, rw: Rewriter) -> Program:
    """Copies of the parameters that are the update of another: it is copied when they may be overwritten already."""
    base = bases_of(program)
    made_by = _made_by(program)
    # an update that is a parameter is copied at the end of its half, when that may have its new value
    end_reads = {base[value] for parameter, value, _ in program.updates if value != parameter}
    make = _Copies(program, rw)
    kept: dict[str, KernelStep] = {}
    for parameter, value, _ in program.updates:
        if parameter in end_reads:
            writer = made_by.get(base[value])
            origin = program.steps[writer].origin if writer is not None else None
            kept[parameter] = make.step("kept", parameter, "kept", origin)
    if not kept:
        return program
    new = {parameter: step.results[0].name for parameter, step in kept.items()}
    steps = [_reading(step, new) for step in program.steps]
    outputs = tuple((name, new.get(value, value)) for name, value in program.outputs)
    updates = tuple((p, value if value == p else new.get(value, value), phase) for p, value, phase in program.updates)
    cut = program.cut + len(kept)
    return replace(program, steps=(*kept.values(), *steps), outputs=outputs, updates=updates, cut=cut)


def _reading(step: Step, new: Mapping[str, str]) -> Step:
    """A step with operands renamed."""
    if isinstance(step, ViewStep):
        return replace(step, operand=new[step.operand]) if step.operand in new else step
    if not any(o in new for o in step.operands):
        return step
    return replace(step, operands=tuple(new.get(o, o) for o in step.operands))


def _own_outputs(program: Program, rw: Rewriter) -> Program:
    base, made_by = bases_of(program), _made_by(program)
    make = _Copies(program, rw)
    taken: set[str] = set()
    forward: list[Step] = []
    backward: list[Step] = []
    outputs: list[tuple[str, str]] = []
    for number, (name, value) in enumerate(program.outputs):
        at = made_by.get(base[value])
        late = _is_late(program, name, at)
        direct = at is not None and not isinstance(program.steps[at], ViewStep) and base[value] not in taken
        if at is not None and direct and (not late or at >= program.cut):
            taken.add(base[value])
            outputs.append((name, value))
        else:
            origin = program.steps[at].origin if at is not None else None
            copy = make.step("output", value, f"out{number}", origin)
            (backward if late else forward).append(copy)
            outputs.append((name, copy.results[0].name))
    return _with_ends(replace(program, outputs=tuple(outputs)), forward, backward)


def _own_updates(program: Program, rw: Rewriter) -> Program:
    base, made_by = bases_of(program), _made_by(program)
    last_read = {base[o]: at for at, step in enumerate(program.steps) for o in operands_of(step)}
    make = _Copies(program, rw)
    taken = {base[value] for _, value in program.outputs}
    forward: list[Step] = []
    backward: list[Step] = []
    updates: list[tuple[str, str, str]] = []

    def direct(parameter: str, value: str, late: bool) -> bool:
        """Whether the kernel that makes the value may write it into the parameter: it runs in the update's half, and
        nobody reads the old value afterwards."""
        at = made_by.get(base[value])
        if at is None or base[value] in taken or late and at < program.cut:
            return False
        step, last = program.steps[at], last_read.get(parameter, -1)
        if isinstance(step, ViewStep) or last > at:
            return False
        if last == at:
            written = [r.name for r in step.results].index(base[value])
            reads = [i for i, o in enumerate(step.operands) if base[o] == parameter]
            over = step.overwritable(written)
            if len(reads) > 1 or step.operands[reads[0]] != parameter or reads[0] not in over:
                return False
        return rw.act("in place", [step.origin]) is not None

    for parameter, value, phase in program.updates:
        late = phase == "backward" and program.cut < len(program.steps)
        if direct(parameter, value, late):
            taken.add(base[value])
            updates.append((parameter, value, phase))
        else:
            at = made_by.get(base[value])
            copy = make.step("update", value, f"to.{parameter}", program.steps[at].origin if at is not None else None)
            (backward if late else forward).append(copy)
            updates.append((parameter, copy.results[0].name, phase))
    return _with_ends(replace(program, updates=tuple(updates)), forward, backward)


def _with_ends(program: Program, forward: list[Step], backward: list[Step]) -> Program:
    """Steps added to the ends of the halves."""
    cut = program.cut
    steps = (*program.steps[:cut], *forward, *program.steps[cut:], *backward)
    return replace(program, steps=steps, cut=cut + len(forward))


def _made_by(program: Program) -> dict[str, int]:
    return {r.name: at for at, step in enumerate(program.steps) for r in results_of(step)}


def _is_late(program: Program, name: str, at: int | None) -> bool:
    """Whether an output belongs to the backward half; `at` is the step that computes it."""
    return name.endswith(".grad") or at is not None and at >= program.cut
