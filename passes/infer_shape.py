"""infer_shape, infer_type: complete the types of a symbol graph from what the user knows.

Information flows both ways through every operator's `complete` rule, sweep after sweep, until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from symc.ir.symbolic import SymGraph, SymNode

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
    sweeps: int = 8,
) -> dict[Entry, Any]:
    """A value (shape or element type, None: unknown) for every entry of the graph.

    `table(ins, outs, names)` makes the row an operator's rule completes; `rule(node, row)` applies it.
    """
    nodes = [n for n in graph.nodes() if not n.is_variable]
    values: dict[Entry, Any] = dict(known)
    pending = list(nodes)
    for sweep in range(sweeps):
        changed = False
        order = pending if sweep % 2 == 0 else list(reversed(pending))
        for node in order:
            ins = [values.get(entry) for entry in node.inputs]
            outs = [values.get((node, i)) for i in range(node.num_outputs)]
            definition = node.definition
            assert definition is not None
            row = table(ins, outs, [*definition.list_inputs(), *definition.list_aux()])
            try:
                rule(node, row)
            except Exception as problem:
                raise Conflict(node, problem) from problem
            for entry, before, after in zip(node.inputs, ins, row.ins):
                if _differs(before, after):
                    values[entry] = after
                    changed = True
            for i, (before, after) in enumerate(zip(outs, row.outs)):
                if _differs(before, after):
                    values[node, i] = after
                    changed = True
        if not changed:
            break
    return values


def _differs(before: Any, after: Any) -> bool:
    # numpy's float64 compares equal to None
    return (before is None) != (after is None) or after is not None and after != before
