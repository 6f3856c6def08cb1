"""infer_shape, infer_type: complete the types of a symbol graph from what the user knows.

Information flows both ways through every operator's `complete` rule, sweep after sweep, until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from symc.ir.symbol.nodes import SymGraph, SymNode

Entry = tuple[SymNode, int]


class Conflict(Exception):
    """An operator's rule refuses what is known; `node` is the operator's node."""

    def __init__(self, node: SymNode, reason: Exception) -> None:
        self.node, self.reason = node, reason
        super().__init__(str(reason))


def propagate(
    graph: SymGraph,
    known: Mapping[Entry, Any],
    table: Callable[[list[Any], list[Any], list[str]], Any],
    rule: Callable[[SymNode, Any], None],
) -> dict[Entry, Any]:
    """A value (shape or element type, None: unknown) for every entry of the graph.

    `table(ins, outs, names)` makes the row an operator's rule completes; `rule(node, row)` applies it. Rules only add
    to what is known, so the sweeps (forward, backward, forward, ...) end. A node is looked at again only if an entry
    it touches has changed. Conflict: a rule refused.
    """
    order = [n for n in graph.nodes() if not n.is_variable]
    touching: dict[Entry, list[SymNode]] = {}
    for node in order:
        for entry in dict.fromkeys(node.inputs):
            touching.setdefault(entry, []).append(node)
    values: dict[Entry, Any] = dict(known)
    due = set(order)
    backward = False
    while due:
        for node in reversed(order) if backward else order:
            if node not in due:
                continue
            due.discard(node)
            definition = node.definition
            assert definition is not None
            entries = [*node.inputs, *((node, i) for i in range(node.num_outputs))]
            before = [values.get(entry) for entry in entries]
            count = len(node.inputs)
            row = table(before[:count], before[count:], [*definition.list_inputs(), *definition.list_aux()])
            try:
                rule(node, row)
            except Exception as problem:
                raise Conflict(node, problem) from problem
            for entry, old, new in zip(entries, before, [*row.ins, *row.outs]):
                # numpy's float64 equals None, so unknown is told apart by identity
                if new is None or (old is not None and new == old):
                    continue
                values[entry] = new
                due.update(touching.get(entry, ()))
                if not entry[0].is_variable and entry[0] is not node:
                    due.add(entry[0])
        backward = not backward
    return values
