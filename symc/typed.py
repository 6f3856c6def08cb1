"""A Symbol with the types of its variables, in the form the compiler takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from symc.base import MXNetError
from symc.ir.modules import SymbolModule
from symc.ir.symbol.nodes import SymGraph
from symc.ir.types import TensorType
from symc.ops.shared.inferred import output_types


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
    known = {(n, 0): types[n.name] for part in graph.variables() for n in part}
    inferred = output_types(graph, known, rows)
    shapes = {
        node.name: tuple(t.shape for t in found if t is not None)
        for node, found in inferred.items()
        if (not node.inputs or node.name in (rows or {})) and None not in found
    }
    outputs = tuple(distinct(symbol.list_outputs()))
    return SymbolModule(symbol.name or "net", graph, types, outputs, roles or {}, shapes, inferred)


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
