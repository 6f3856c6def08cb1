"""The reference interpreter of the tensor level: every node by its primitive's numpy value, one after the other.

Precision "declared" computes in the types the program says; "f64" takes every float type as f64, which is the truth
that optimised programs are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from symc.ir.errors import IRError
from symc.ir.graph import Graph, Node, topological
from symc.ir.types import F64, Array, TensorType, TupleType


@dataclass
class Results:
    """What a program gave: outputs by name, updates by the input they replace."""

    outputs: dict[str, Array] = field(default_factory=dict)
    updates: dict[str, Array] = field(default_factory=dict)


def result_types(node: Node, precision: str) -> list[TensorType]:
    """The node's result types at a precision."""
    types = list(node.type.items) if isinstance(node.type, TupleType) else [node.type]
    if precision == "f64":
        types = [t.with_dtype(F64) if t.dtype.is_float else t for t in types]
    return types


def evaluate_nodes(
    roots: Sequence[Node], given: Mapping[Node, Array], precision: str = "declared"
) -> dict[Node, Array]:
    """Values of the roots; `given` holds the graph inputs' values. Values are let go when nobody needs them."""
    order = topological(roots)
    left: dict[Node, int] = {}
    for node in order:
        for source in node.inputs:
            left[source] = left.get(source, 0) + 1
    for root in roots:
        left[root] = left.get(root, 0) + 1
    values: dict[Node, object] = {}
    for node in order:
        types = result_types(node, precision)
        if node in given:
            array = np.asarray(given[node])
            if array.shape != types[0].shape:
                raise IRError(f"input {node.op} needs shape {types[0].shape}, got {array.shape}")
            values[node] = array.astype(types[0].dtype.numpy, copy=False)
            continue
        if not node.inputs and hasattr(node.op, "input_name"):
            raise IRError(f"no value given for input {node.op.input_name!r}")
        if node.op.name == "get":
            values[node] = values[node.inputs[0]][node.op.index]  # type: ignore[index, attr-defined]
        else:
            with np.errstate(all="ignore"):
                made = node.op.value([values[i] for i in node.inputs], types)  # type: ignore[misc]
            values[node] = made if isinstance(made, tuple) else np.asarray(made)
        for source in node.inputs:
            left[source] -= 1
            if not left[source]:
                del values[source]
    return {root: values[root] for root in roots}  # type: ignore[misc]


def evaluate(graph: Graph, inputs: Mapping[str, Array], precision: str = "declared") -> Results:
    """Run a graph on arrays by input name. IRError for a missing or ill-shaped input."""
    given = {i: inputs[i.op.input_name] for i in graph.inputs if i.op.input_name in inputs}  # type: ignore[attr-defined]
    found = evaluate_nodes(list(dict.fromkeys(graph.roots)), given, precision)
    return Results(
        {name: found[node] for name, node in graph.outputs}, {u.input: found[u.value] for u in graph.updates}
    )


def values_of(
    graph: Graph, inputs: Mapping[str, Array], nodes: Iterable[Node], precision: str = "declared"
) -> dict[Node, Array]:
    """Values of any nodes of a graph."""
    given = {i: inputs[i.op.input_name] for i in graph.inputs if i.op.input_name in inputs}  # type: ignore[attr-defined]
    return evaluate_nodes(list(nodes), given, precision)
