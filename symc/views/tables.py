"""A program as rows: what `--format=json` writes and `--format=table` shows, and the page's tables are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.origins import Origin, symbols_of
from symc.ir.prims.elementwise import Elementwise
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.linear import Contraction
from symc.ir.prims.reduce import Reduction
from symc.ir.program.form import form_text
from symc.ir.program.nodes import KernelStep, LoopStep, Program, operands_of, regions_of_step, results_of
from symc.ir.syntax.printing import Printer, value_name
from symc.ir.tensor.graph import Graph
from symc.ir.text import level_of

Row = dict[str, Any]


def multiply_adds(nodes: Iterable[Node]) -> int:
    """The contractions' multiply-adds, those of loops' bodies in every turn, of branches' dearer side."""
    return sum(map(work_of, nodes))


def work_of(node: Node) -> int:
    """The multiply-adds of one node."""
    if isinstance(node.op, Contraction):
        return node.op.multiply_adds(node)
    if isinstance(node.op, Loop):
        return node.op.trips * multiply_adds(node.op.body.nodes())
    if isinstance(node.op, Branch):
        return max(multiply_adds(side.nodes()) for side in (node.op.then, node.op.other))
    return 0


def rows_of(module: Any) -> list[Row]:
    """One row for every operator, value, step or kernel of a module."""
    level = level_of(module)
    if level == "symbol":
        return _symbol_rows(module)
    if level == "tensor":
        return _tensor_rows(module)
    if level == "loop":
        return kernel_rows(module)
    return list(_step_rows(module, ""))


def as_json(module: Any) -> dict[str, Any]:
    """`{"symc": 1, "level", "name", "rows", ...}`; programs say their arena too."""
    made: dict[str, Any] = {"symc": 1, "level": level_of(module)}
    program = module if isinstance(module, Program) else getattr(module, "program", None)
    made["name"] = getattr(program or module, "name", "")
    if isinstance(program, Program):
        made["arena"], made["lower_bound"], made["cut"] = program.arena, program.lower_bound, program.cut
        made["prologue"], made["kept"] = program.prologue, program.kept
        made["params"] = [{"value": p.name, "type": str(p.type), "role": p.role} for p in program.params]
        made["outputs"] = [{"name": o.name, "value": o.value, "role": o.role, "of": o.of} for o in program.outputs]
        made["updates"] = [{"param": u.input, "value": u.value, "phase": u.phase} for u in program.updates]
    made["rows"] = rows_of(module)
    return made


def _source(*origins: Origin | None) -> Row:
    made_of = dict.fromkeys(origin for origin in origins if origin is not None)
    symbols = list(dict.fromkeys(symbol for origin in made_of for symbol in symbols_of(origin)))
    first = symbols[0] if symbols else None
    source = f"{first.file}:{first.line}" if first is not None and first.file else ""
    return {"symbols": [s.name for s in symbols], "source": source}


def _symbol_rows(module: Any) -> list[Row]:
    graph = getattr(module, "graph", module)
    types, inferred = getattr(module, "types", {}), getattr(module, "inferred", {})
    rows = []
    for node in graph.nodes():
        known = inferred.get(node) or ([types[node.name]] if node.name in types else [])
        operands = [s.name if not at else f"{s.name}[{at}]" for s, at in node.inputs]
        op = "variable" if node.is_variable else node.op
        attributes = {k: v for k, v in node.attrs.items() if not k.startswith("__")}
        row = {"value": node.name, "op": op, "type": ", ".join(str(t) for t in known if t is not None)}
        rows.append({**row, "operands": operands, "attributes": attributes, **_source(node.origin())})
    return rows


def _tensor_rows(graph: Graph) -> list[Row]:
    printer = Printer(locs=False)
    rows = []
    for node in graph.nodes():
        if node not in graph.names:
            continue
        operands = [graph.names.get(i) or printer.attributes(i.op, i.type).strip(" {}") for i in node.inputs]
        attributes = printer.attributes(node.op, node.type).strip(" {}") if node.inputs else ""
        row = {"value": graph.names[node], "op": node.op.name, "type": str(node.type), "operands": operands}
        work = {"multiply_adds": work_of(node)}
        rows.append({**row, "attributes": attributes, **work, **_source(graph.origins.get(node))})
    return rows


def _step_rows(program: Program, where: str) -> Iterable[Row]:
    for at, step in enumerate(program.steps):
        writes = [
            {"value": r.name, "type": str(r.type), "place": str(r.place).lstrip("@"), "inplace": r.inplace}
            for r in results_of(step)
        ]
        form = form_text(step.form) if isinstance(step, KernelStep) else ""
        row = {"step": f"{where}{at}", "op": step.label, "form": form, "operands": list(operands_of(step))}
        work = multiply_adds(step.body.nodes()) if isinstance(step, KernelStep) else 0
        yield {**row, "writes": writes, "multiply_adds": work, **_source(step.origin)}
        for region in regions_of_step(step):
            yield from _step_rows(region.program, f"{where}{at}.{region.name}/")


def kernel_rows(loops: LoopModule) -> list[Row]:
    """One row for every kernel: who calls it, how often, and the work and the bytes of one call. Its Symbols are those
    of all its calls, as equal kernels are one."""
    rows = []
    for kernel, calls in zip(loops.kernels, calls_of(loops)):
        buffers = [b for b in kernel.buffers if b.mode != "scratch"]
        read = sum(b.type.nbytes for b in buffers if b.mode != "out")
        written = sum(b.type.nbytes for b in buffers if b.mode != "in")
        work = work_of_body(calls[0].step.body) if calls else 0
        row: Row = {"kernel": kernel.name, "steps": [call.where for call in calls]}
        row.update(calls=sum(call.turns for call in calls), flops=work)
        row.update(read=read, written=written, flops_per_byte=round(work / max(read + written, 1), 3))
        rows.append({**row, **_source(kernel.origin, *(call.step.origin for call in calls))})
    return rows


class Call(NamedTuple):
    """A step that calls a kernel: where it is (`7`, or `2.body/7` in a region), and how often it runs."""

    where: str
    step: KernelStep
    turns: int


def calls_of(loops: LoopModule) -> list[list[Call]]:
    """Of every kernel the steps that call it."""
    found: list[list[Call]] = [[] for _ in loops.kernels]
    _collect(loops, "", 1, found)
    return found


def code_notes(loops: LoopModule, target: str, most: int = 8) -> list[list[str]]:
    """What stands above the machine code of every kernel: its Symbols, what its arguments are (an array of pointers),
    and what the steps that call it write."""
    notes = []
    for row, kernel, calls in zip(kernel_rows(loops), loops.kernels, calls_of(loops)):
        arguments = [f"{at} {value_name(b.name)}: {b.mode} {b.type}" for at, b in enumerate(kernel.buffers)]
        written = [", ".join(value_name(r.name) for r in call.step.results) for call in calls]
        more = f" and {len(written) - most} more" if len(written) > most else ""
        notes.append([
            f"----- {kernel.name} ({', '.join(row['symbols'])}) for {target} -----",
            f"arguments {', '.join(arguments)}",
            f"writes {'; '.join(written[:most])}{more}",
        ])  # fmt: skip
    return notes


def work_of_body(body: Graph) -> int:
    """Floating-point operations of a kernel: two for a multiply-add, one for an element that an elementwise operation
    gives or that a reduction takes."""
    nodes = body.nodes()
    plain = 0
    for node in nodes:
        if isinstance(node.op, Elementwise) and node.inputs:
            plain += node.tensor.size
        elif isinstance(node.op, Reduction):
            plain += node.inputs[0].tensor.size
    return 2 * multiply_adds(nodes) + plain


def _collect(loops: LoopModule, where: str, times: int, found: list[list[Call]]) -> None:
    for at, step in enumerate(loops.program.steps):
        kernel = loops.calls[at]
        if kernel is not None and isinstance(step, KernelStep):
            found[kernel].append(Call(f"{where}{at}", step, times))
        more = step.trips if isinstance(step, LoopStep) else 1
        for region, inside in zip(regions_of_step(step), loops.inside(at)):
            _collect(inside, f"{where}{at}.{region.name}/", times * more, found)


# --------------------------------------------------------------------------------------------- table


def names_in(row: Mapping[str, Any]) -> list[str]:
    """What a row can be selected by: its value, kernel or results, and its Symbols."""
    own = [row[key] for key in ("value", "kernel") if key in row]
    return [*own, *(w["value"] for w in row.get("writes", ())), *row["symbols"]]


def as_table(rows: Sequence[Row]) -> str:
    """Aligned columns, numbers to the right."""
    if not rows:
        return ""
    names = [n for n in rows[0] if any(row[n] not in ("", [], {}, 0) for row in rows)]
    cells = [[name.replace("_", " ") for name in names], *([_cell(row[name]) for name in names] for row in rows)]
    widths = [min(max(len(line[c]) for line in cells), 60) for c in range(len(names))]
    number = [isinstance(rows[0][name], (int, float)) for name in names]
    lines = []
    for line in cells:
        short = [text if len(text) <= w else text[: w - 1] + "…" for text, w in zip(line, widths)]
        padded = [text.rjust(w) if right else text.ljust(w) for text, w, right in zip(short, widths, number)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        if "place" in value:
            over = f" over %{value['inplace']}" if value["inplace"] else ""
            return f"%{value['value']}: {value['type']} {value['place']}{over}".rstrip()
        return " ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
