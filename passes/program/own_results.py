"""own_results: every output and every update becomes a value of its own, written by a kernel of its half.

A parameter read anywhere in a program is what it was before the run; its update is what the caller finds in its buffer
once the update's half has run. Kernels may write straight into the buffers of outputs and parameters. Where they may
not, there are copies:

  kept     a parameter that is read in the backward half, and has its new value by then; or that is the update of
           another, copied when it may have its new value. All read a copy made before anything else
  output   a value that is a parameter, a constant, another output as well, or computed in an earlier half
  update   the same, and a value computed while its parameter is still read
"""

from __future__ import annotations

from collections.abc import Mapping

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.origins import Origin, SymOrigin
from symc.ir.program.form import map_form
from symc.ir.program.nodes import (
    ControlStep,
    KernelStep,
    Program,
    ProgramUpdate,
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
from symc.ir.tensor.graph import Graph, Output, fresh_name, in_order
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
    """Makes steps that copy a value, named apart from all values of a program, for the ends of its halves."""

    def __init__(self, program: Program, rw: Rewriter) -> None:
        self.program, self.rw, self.types = program, rw, program.value_types()
        self.base = bases_of(program)
        self.made_by = {r.name: at for at, step in enumerate(program.steps) for r in results_of(step)}
        self._taken = set(self.types)
        self._ends: dict[str, list[Step]] = {"forward": [], "backward": []}

    def step(self, rule: str, value: str, label: str, source: str) -> KernelStep:
        """The copy of a value, with the origin of what makes the value `source`. An action of the pass, but one that
        the program is wrong without: a veto does not stop it."""
        name = fresh_name(f"{value}.{label}", self._taken)
        self._taken.add(name)
        origin = self._origin(source)
        origin = self.rw.act(rule, [origin], _copied, value, name) or origin
        node = operand_node(0, self.types[value])
        body = Graph("body", (node,), (Output(name, node),), (), {}, {node: origin})
        return KernelStep("copy", (value,), (Result(name, node.tensor),), body, map_form(node.shape, 1), origin)

    def at_end(self, phase: str, rule: str, value: str, label: str) -> str:
        """A copy made when everything else of the half has run; its name."""
        step = self.step(rule, value, label, value)
        self._ends[phase].append(step)
        return step.results[0].name

    def maker(self, value: str, phase: str) -> tuple[int, KernelStep | ControlStep] | None:
        """The step that writes the value's memory, if it runs in the half."""
        at = self.made_by.get(self.base[value])
        if at is None or phase == "backward" and at < self.program.cut:
            return None
        step = self.program.steps[at]
        return None if isinstance(step, ViewStep) else (at, step)

    def added(self) -> Program:
        """The program with the copies."""
        program = self.program
        forward, backward = self._ends["forward"], self._ends["backward"]
        steps = (*program.steps[: program.cut], *forward, *program.steps[program.cut :], *backward)
        return replace(program, steps=steps, cut=program.cut + len(forward))

    def _origin(self, value: str) -> Origin:
        steps = self.program.steps
        at = self.made_by.get(self.base[value])
        if at is not None:
            return steps[at].origin
        return steps[0].origin if steps else SymOrigin(self.program.name, "Group")


def _keep_old(program: Program, rw: Rewriter) -> Program:
    """Copies of the parameters whose old value is read when they may have their new one."""
    make = _Copies(program, rw)
    base = make.base
    late = {base[o] for step in program.steps[program.cut :] for o in operands_of(step)}
    late |= {base[output.value] for output in program.outputs if output.phase == "backward"}
    late |= {base[update.value] for update in program.updates if update.phase == "backward"}
    others = {base[update.value] for update in program.updates if update.value != update.input}
    kept: dict[str, KernelStep] = {}
    for update in program.updates:
        if update.input in others or update.phase == "forward" and update.input in late:
            why = "it is what another parameter becomes" if update.input in others else "the backward half reads it"
            rw.miss("kept", update.input, f"{why}, when it has its new value already")
            kept[update.input] = make.step("kept", update.input, "kept", update.value)
    if not kept:
        return program
    new = {parameter: step.results[0].name for parameter, step in kept.items()}
    return replace(
        program,
        steps=(*kept.values(), *(_reading(step, new) for step in program.steps)),
        outputs=tuple(replace(o, value=new.get(o.value, o.value)) for o in program.outputs),
        updates=tuple(
            u if u.value == u.input else replace(u, value=new.get(u.value, u.value)) for u in program.updates
        ),
        cut=program.cut + len(kept),
    )


def _reading(step: Step, new: Mapping[str, str]) -> Step:
    """A step with operands renamed."""
    if isinstance(step, ViewStep):
        return replace(step, operand=new[step.operand]) if step.operand in new else step
    if not any(o in new for o in step.operands):
        return step
    return replace(step, operands=tuple(new.get(o, o) for o in step.operands))


def _own_outputs(program: Program, rw: Rewriter) -> Program:
    make = _Copies(program, rw)
    taken: set[str] = set()
    values: list[str] = []
    for number, output in enumerate(program.outputs):
        base = make.base[output.value]
        if base not in taken and make.maker(output.value, output.phase) is not None:
            taken.add(base)
            values.append(output.value)
        else:
            rw.miss("output", output.value, _why_copied(make, base in taken, output.value), output.name)
            values.append(make.at_end(output.phase, "output", output.value, f"out{number}"))
    outputs = tuple(replace(output, value=value) for output, value in zip(program.outputs, values))
    return replace(make.added(), outputs=outputs)


def _copied(value: str, name: str) -> tuple[str, str]:
    return f"%{value}", f"its copy %{name}"


def _direct(value: str, parameter: str) -> tuple[str, str]:
    return f"%{value}", f"%{value} in the buffer of %{parameter}"


def _why_copied(make: _Copies, taken: bool, value: str) -> str:
    """Why an output is no value of its own."""
    if taken:
        return f"%{value} lies in the buffer of another output or update already"
    if make.base[value] in make.made_by:
        return f"%{value} is computed in the forward half"
    return f"%{value} is a parameter or constant: no kernel of the half writes it"


def _own_updates(program: Program, rw: Rewriter) -> Program:
    make = _Copies(program, rw)
    base = make.base
    last_read = {base[o]: at for at, step in enumerate(program.steps) for o in operands_of(step)}
    #: what lies in a parameter's buffer, one after the other
    held = {update.input: [update.input] for update in program.updates}
    taken = {base[output.value] for output in program.outputs}

    def refusal(parameter: str, value: str, phase: str) -> str:
        """Why the kernel that makes the value may not write it into the parameter: somebody reads the old value after
        it, or it reads that itself elsewhere than where it writes. Empty if it may."""
        found = make.maker(value, phase)
        if found is None or base[value] in taken:
            return _why_copied(make, base[value] in taken, value)
        at, step = found
        last = max(last_read.get(old, -1) for old in held[parameter])
        if last > at:
            return f"step {last} reads %{parameter} after step {at}, which computes its new value"
        if last == at:
            written = [r.name for r in step.results].index(base[value])
            reads = [i for i, o in enumerate(step.operands) if base[o] in held[parameter]]
            if len(reads) > 1 or step.operands[reads[0]] not in held[parameter]:
                return f"the kernel that computes it reads %{parameter} by several operands, or as a view"
            if reads[0] not in step.overwritable(written):
                return f"the kernel that computes it may read %{parameter} after it has written there"
        return ""

    def direct(parameter: str, value: str, phase: str) -> bool:
        """Whether the kernel that makes the value writes it into the parameter."""
        refused = refusal(parameter, value, phase)
        if refused:
            rw.miss("in place", parameter, refused, value)
            return False
        origin = program.steps[make.made_by[base[value]]].origin
        return rw.act("in place", [origin], _direct, value, parameter) is not None

    updates: list[ProgramUpdate] = []
    for update in in_order(program.updates):
        value = update.value
        if direct(update.input, value, update.phase):
            taken.add(base[value])
            held[update.input].append(base[value])
        else:
            value = make.at_end(update.phase, "update", value, f"to.{update.input}")
        updates.append(replace(update, value=value))
    return replace(make.added(), updates=tuple(updates))
