"""A Symbol with the types of its variables, in the form the compiler takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from symc.base import MXNetError
from symc.ir.symbol.nodes import SymGraph
from symc.ir.types import TensorType
from symc.ops.base import Shapes
from symc.passes.tensor.decompose import SymbolModule
from symc.passes.tensor.infer_shape import propagate


class HasGraph(Protocol):
    """What inference and the compiler need of a Symbol: its graph (and its name, to speak of it)."""

    @property
    def graph(self) -> SymGraph: ...


def module_of(
    symbol: Any,
    types: Mapping[str, TensorType],
    roles: Mapping[str, str] | None = None,
    rows: Mapping[str, int] | None = None,
) -> SymbolModule:
    """A Symbol with the types of its variables, as the compiler takes it. `rows`: how many rows the outputs of
    operators have whose inputs' values decide it (Operator.row_chooser), by the nodes' names."""
    graph: SymGraph = symbol.graph
    rows = rows or {}

    def complete(node: Any, row: Shapes) -> None:
        node.definition.complete(row)
        data = row.ins[0] if row.ins else None
        if node.name in rows and data is not None:
            row.set_out(0, (rows[node.name], *data[1:]))

    sources = [n for n in graph.nodes() if not n.is_variable and (not n.inputs or n.name in rows)]
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    if sources:
        known = {(n, 0): types[n.name].shape for part in graph.variables() for n in part}
        found = propagate(graph, known, Shapes, complete)
        for node in sources:
            inferred = [found.get((node, i)) for i in range(node.num_outputs)]
            if all(s and (all(s) or node.name in rows) for s in inferred):
                shapes[node.name] = tuple(inferred)  # type: ignore[arg-type]
    return SymbolModule(symbol.name or "net", graph, types, tuple(distinct(symbol.list_outputs())), roles or {}, shapes)


def check_names(symbol: Any, label: str) -> None:
    """MXNetError if several variables of the Symbol have one name; `label` says who asks."""
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    if len(set(names)) < len(names):
        name = next(n for n in names if names.count(n) > 1)
        raise MXNetError(f"{label}: {name!r} is the name of several variables; give each its own, or use one Variable")


def distinct(names: Sequence[str]) -> list[str]:
    """The names, told apart by a number where several outputs of a Group have the same."""
    taken, made = set(names), []
    for name in names:
        found, count = name, 0
        while found in made or (found != name and found in taken):
            count += 1
            found = f"{name}_{count}"
        made.append(found)
    return made
