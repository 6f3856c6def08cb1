"""The text of programs: the steps in order, every result with its place.

    arena @A size=17664 lower_bound=17664
    func @mlp(%data: f32[32,784] data) -> (out: f32[32,10]) {
      %fc1: f32[32,128] @A+0 = fuse nest[32,128] "dot_add"(%data: whole, %w: whole, %b: along[1]) {
        ...
        yield %fc1
      } !9
      %v: f32[4096] @A+0 = view(%fc1) !9
      --- backward ---
      return %fc1
        update %w = %w.new (backward)
    }

What stands before `--- forward ---` is the prologue. It leaves values at `@K+offset`.

A kernel says its form and how it reads every operand (symc.ir.program.form); `-> row, element` behind the operands of a
row kernel says how it stores its results. The body of a step sees its operands under their own names; a body whose
inputs are not its numbered operands is printed with its signature.

A loop or branch says how it reads its operands, and holds its regions: programs whose parameters and outputs lie where
the step says (symc.ir.program.nodes).

    (%h: f32[8] @out.1, %y: f32[5,8] @out.0) = loop(%h0: carry, %x: row, %w: whole) {trips=5} frame @A+0 {
      arena @A size=64 lower_bound=64
      body(%in0: f32[8] arg, %in1: f32[3] arg, %in2: f32[8,3] arg) -> (y0: f32[8]) {
        ...
      }
    } !3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from symc.ir.modules import Calls
from symc.ir.program.form import access_text, form_text
from symc.ir.program.nodes import (
    BranchStep,
    ControlStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    Result,
    Step,
    ViewStep,
    operand_node,
    results_of,
)
from symc.ir.syntax.printing import (
    Printer,
    global_name,
    output_text,
    parameter_text,
    phase_text,
    quoted,
    signature,
    value_name,
    word,
)
from symc.ir.tensor.graph import Graph, Output
from symc.ir.tensor.text import STEP, function, statements
from symc.ir.types import TensorType

#: the lines of a step's regions, with that indent
Regions = Callable[[ControlStep, str], "list[str]"]


def is_planned(program: Program) -> bool:
    """Whether values have places."""
    return bool(program.arena) or any(r.place.kind for step in program.steps for r in results_of(step))


def place_text(place: Place) -> str:
    """` @A+off`, ` @K+off`, ` @out.i`, ` @arg.name`, or nothing before memory is planned."""
    if place.kind == "arena":
        return f" @A+{place.offset}"
    if place.kind == "kept":
        return f" @K+{place.offset}"
    if place.kind == "out":
        return f" @out.{place.offset}"
    if place.kind == "arg":
        return f" @arg.{value_name(place.name)[1:]}"
    return ""


def result_text(result: Result) -> str:
    """A result with its type, place, and the operand whose memory it takes over."""
    inplace = f" inplace({value_name(result.inplace)})" if result.inplace else ""
    return f"{value_name(result.name)}: {result.type}{place_text(result.place)}{inplace}"


def results_text(step: Step) -> str:
    """The left side of a step."""
    results = results_of(step)
    if len(results) == 1:
        return result_text(results[0])
    return f"({', '.join(map(result_text, results))})"


def is_plain(step: KernelStep) -> bool:
    """Whether the body's signature follows from the step's operands and results."""
    body: Graph = step.body
    return (
        all(isinstance(i.type, TensorType) and i is operand_node(at, i.type) for at, i in enumerate(body.inputs))
        and len(body.inputs) == len(step.operands)
        and list(body.outputs) == [Output(r.name, node) for r, node in zip(step.results, body.output_nodes)]
        and [node.type for node in body.output_nodes] == [r.type for r in step.results]
        and len(set(step.operands)) == len(step.operands)
        and (body.name, body.updates) == ("body", ())
    )


def step_lines(
    step: Step, printer: Printer, call: str | None, types: Mapping[str, TensorType], indent: str,
    shifts: Sequence[int], regions: Regions,
) -> list[str]:  # fmt: skip
    """One step; `call` is the loop kernel it calls, if it does, with operands moved on by `shifts` elements; `regions`
    gives the lines of a loop's or branch's regions."""
    left = f"{indent}{results_text(step)} = "
    loc = printer.loc(step.origin)
    if isinstance(step, (LoopStep, BranchStep)):
        return [f"{left}{control_text(step)} {{", *regions(step, indent + STEP), f"{indent}}}{loc}"]
    if isinstance(step, ViewStep):
        offset = f" {{offset={step.offset}}}" if step.offset else ""
        return [f"{left}view({value_name(step.operand)}){offset}{loc}"]
    form = step.form
    head = f"{form_text(form)} " if form.kind else ""
    stored = f" -> {', '.join(access_text(form, a) for a in form.results)}" if form.kind == "row" else ""
    operands = [value_name(o) for o in step.operands]
    accesses = [f": {access_text(form, a)}" if form.kind else "" for a in form.operands]
    if call is not None:
        moves = [*shifts, *[0] * (len(operands) - len(shifts))]
        operands = [f"{o}{f' + {n}' if n else ''}{a}" for o, a, n in zip(operands, accesses, moves)]
        label = "" if call.partition(".")[2] == step.label else f" {label_text(step.label)}"
        return [f"{left}call {head}{global_name(call)}{label}({', '.join(operands)}){stored}{loc}"]
    operands = [o + a for o, a in zip(operands, accesses)]
    plain = is_plain(step) and all(types.get(o) == i.type for o, i in zip(step.operands, step.body.inputs))
    if plain:
        operands = [o + printer.loc(step.body.origins.get(i)) for o, i in zip(operands, step.body.inputs)]
    lines = [f"{left}fuse {head}{label_text(step.label)}({', '.join(operands)}){stored} {{"]
    if plain:
        named = dict(zip(step.body.inputs, step.operands))
        lines += statements(step.body, printer, indent + STEP, "yield", named)
    else:
        head = "body" if step.body.name == "body" else f"body {global_name(step.body.name)}"
        lines += function(step.body, printer, head, indent + STEP)
    return [*lines, f"{indent}}}{loc}"]


def label_text(label: str) -> str:
    """A kernel's label in quotes."""
    return quoted(label)


def control_text(step: ControlStep) -> str:
    """`loop(%h: carry, %x: row, %w: whole) {trips=5} frame @A+64`, or the same of a branch."""
    operands = [f"{value_name(o)}: {access}" for o, access in zip(step.operands, step.accesses)]
    trips = ""
    if isinstance(step, LoopStep):
        trips = f" {{trips={step.trips}{', backwards=true' if step.backwards else ''}}}"
    frame = f" frame{place_text(step.frame)}" if step.frame.kind else ""
    return f"{step.label}({', '.join(operands)}){trips}{frame}"


def program_lines(
    program: Program, printer: Printer, calls: Calls | None = None, kernels: Sequence[str] = (), head: str = "func",
    indent: str = "",
) -> list[str]:  # fmt: skip
    """A program; `calls` are the loop kernels of its steps, by their numbers among the names `kernels`."""
    types = program.value_types()
    inner = indent + STEP

    def call(at: int) -> str | None:
        number = calls.calls[at] if calls is not None and at < len(calls.calls) else None
        return None if number is None else kernels[number] if 0 <= number < len(kernels) else f"missing.{number}"

    def regions(at: int) -> Regions:
        def lines(step: ControlStep, indent: str) -> list[str]:
            held = calls.regions[at] if calls is not None and at < len(calls.regions) else ()
            own: list[Calls | None] = [*held, *[None] * (len(step.regions) - len(held))]
            return [
                line
                for region, inside in zip(step.regions, own)
                for line in program_lines(region.program, printer, inside, kernels, region.name, indent)
            ]

        return lines

    params = [f"{value_name(p.name)}: {p.type}{parameter_text(p.role, p.of, p.order)}" for p in program.params]
    results = []
    for o in program.outputs:
        typed = f"{word(o.name)}: {types[o.value]}" if o.value in types else word(o.name)
        results.append(typed + output_text(o.role, o.of, o.order, o.phase))
    lines = []
    if is_planned(program):
        kept = f" kept={program.kept}" if program.prologue else ""
        lines.append(f"{indent}arena @A size={program.arena} lower_bound={program.lower_bound}{kept}")
    named = head if head != "func" and program.name == head else f"{head} {global_name(program.name)}"
    lines += signature(named, params, results, " {", indent)
    for name, node in program.constants:
        lines.append(f"{inner}{value_name(name)}: {node.type} = const(){printer.attributes(node.op, node.type)}")
    for at, step in enumerate(program.steps):
        if at == program.prologue and at:
            lines.append(f"{inner}--- forward ---")
        if at == program.cut:
            lines.append(f"{inner}--- backward ---")
        shifts = calls.shifts[at] if calls is not None and at < len(calls.shifts) else ()
        lines += step_lines(step, printer, call(at), types, inner, shifts, regions(at))
    lines.append(f"{inner}return {', '.join(value_name(output.value) for output in program.outputs)}".rstrip())
    for update in program.updates:
        value = f"{value_name(update.value)}{phase_text(update.phase)}"
        lines.append(f"{inner}{STEP}update {value_name(update.input)} = {value}")
    return [*lines, indent + "}"]
