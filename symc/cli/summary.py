"""`symc run --summary`: a model's layers with their outputs, parameters and work, and what running it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from symc.ir.origins import first_symbol
from symc.ir.symbol.nodes import SymNode
from symc.ir.tensor.graph import Graph
from symc.ir.types import TensorType
from symc.passes.manager.manager import Manager
from symc.passes.tensor.decompose import Decompose, SymbolModule
from symc.settings import verification
from symc.views.memory import unplanned_bytes
from symc.views.tables import work_of

ROW = ("layer", "operator", "output", "parameters", "multiply-adds")


def work_by_layer(graph: Graph) -> Counter[str]:
    """Multiply-adds by the name of the Symbol they were made for."""
    found: Counter[str] = Counter()
    for node in graph.nodes():
        origin = graph.origins.get(node)
        work = work_of(node)
        symbol = first_symbol(origin) if origin is not None else None
        if work and symbol is not None:
            found[symbol.name] += work
    return found


def summarise(symbol: Any, module: SymbolModule, inputs: Collection[str]) -> str:
    """The table of a Symbol and its module. Variables among `inputs` are data, the others parameters."""
    from symc.compile import tensor_passes

    manager = Manager(verify=verification())
    graph = manager.run([Decompose()], module)
    program = manager.run(tensor_passes(), graph)
    arguments, states = ({n.name for n in part} for part in module.graph.variables())
    parameters = {n: t for n, t in module.types.items() if n in arguments - set(inputs)}
    kept = {n: t for n, t in module.types.items() if n in states}
    work = work_by_layer(graph)
    rows = list(_rows(module, _output_shapes(symbol, module), set(inputs), parameters, work))
    total = sum(work.values())
    bound = f"; the largest live set is {_bytes(program.lower_bound)}" if program.lower_bound else ""
    unplanned = unplanned_bytes(program)
    return "\n".join(
        [
            *_table([ROW, *rows]),
            "",
            f"parameters     {_sizes(parameters.values())}",
            f"states         {_sizes(kept.values())}",
            f"multiply-adds  {total:,} ({2 * total / 1e9:.4g} GFLOP)",
            f"memory         {_bytes(program.arena)} planned for values between layers{bound}; "
            f"one buffer a value would be {_bytes(unplanned)}",
            *([f"prologue       {_bytes(program.kept)} kept of parameters"] if program.kept else []),
        ]
    )


def _output_shapes(symbol: Any, module: SymbolModule) -> dict[SymNode, list[str]]:
    """The shapes of every node's outputs."""
    from symc.inference import infer_shapes

    internals = symbol.get_internals()
    _, outputs, _ = infer_shapes(internals, True, (), {n: module.types[n].shape for n in internals.list_arguments()})
    found: dict[SymNode, list[str]] = {}
    for (node, _), shape in zip(internals._outputs, outputs or ()):
        found.setdefault(node, []).append(_shape(shape))
    return found


def _rows(
    module: SymbolModule,
    shapes: Mapping[SymNode, Sequence[str]],
    inputs: Collection[str],
    parameters: Mapping[str, TensorType],
    work: Mapping[str, int],
) -> Iterator[tuple[str, ...]]:
    """One row a node, data among them; a parameter counts where it is used first."""
    counted: set[str] = set()
    for node in module.graph.nodes():
        if node.is_variable:
            if node.name in inputs:
                yield node.name, "input", _shape(module.types[node.name].shape), "", ""
            continue
        used = {n.name for n, _ in node.inputs if n.is_variable and n.name in parameters} - counted
        counted |= used
        size = sum(parameters[n].size for n in used)
        cost = work.get(node.name, 0)
        yield (
            node.name, node.op, ", ".join(shapes.get(node, ())),
            f"{size:,}" if size else "", f"{cost:,}" if cost else "",
        )  # fmt: skip


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "-"


def _sizes(types: Collection[TensorType]) -> str:
    return f"{sum(t.size for t in types):,} ({_bytes(sum(t.nbytes for t in types))})"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} B"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(ROW))]
    for row in rows:
        cells = [cell.rjust(w) if c > 2 else cell.ljust(w) for c, (cell, w) in enumerate(zip(row, widths))]
        yield "  ".join(cells).rstrip()
