"""The reference interpreter of the tensor level: every node by its primitive's numpy value, one after the other.

Precision "declared" computes in the types the program says; "f64" takes every float type as f64, which is the truth
that optimised programs are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symc.ir.errors import IRError
from symc.ir.op import Input, Node, RunGraph
from symc.ir.prims.tuples import Get
from symc.ir.tensor.graph import Graph, in_order, topological
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
    roots: Sequence[Node],
    given: Mapping[Node, Array],
    precision: str = "declared",
    watch: Callable[[Node, Any], None] | None = None,
) -> dict[Node, Array]:
    """Values of the roots from those of the inputs (or of any nodes), in `given`; each is let go when nobody needs it
    any more. `watch` is shown every node with its value after those of its operands, those in regions at every turn.
    IRError for a missing or ill-shaped input.
    """
    needed: set[Node] = set(roots)
    order = topological(roots)
    for node in reversed(order):
        if node in needed and node not in given:
            needed.update(node.inputs)
    order = [node for node in order if node in needed]
    left: dict[Node, int] = dict.fromkeys(needed, 0)
    for source in (*roots, *(i for node in order if node not in given for i in node.inputs)):
        left[source] += 1
    values: dict[Node, Any] = {}

    def run(graph: Graph, args: Sequence[Array]) -> list[Array]:
        """The outputs of a graph that a primitive holds."""
        ends = graph.output_nodes
        found = evaluate_nodes(list(dict.fromkeys(ends)), dict(zip(graph.inputs, args)), precision, watch)
        return [found[node] for node in ends]

    for node in order:
        types = result_types(node, precision)
        if node in given:
            values[node] = _given(node, given[node], types[0])
        elif isinstance(node.op, Input):
            raise IRError(f"no value given for input {node.op.input_name!r}: it needs {node.type}")
        else:
            values[node] = _value(node, [values[i] for i in node.inputs], types, run)
        if watch is not None:
            watch(node, values[node])
        if node not in given:
            for source in node.inputs:
                left[source] -= 1
                if not left[source]:
                    del values[source]
    return {root: values[root] for root in roots}


def _given(node: Node, value: Array, wanted: TensorType) -> Array:
    array = np.asarray(value)
    if array.shape != wanted.shape:
        name = repr(node.op.input_name) if isinstance(node.op, Input) else node.op.name
        raise IRError(f"the value given for {name} needs shape {wanted.shape}, got {array.shape}")
    return array.astype(wanted.dtype.numpy, copy=False)


def _value(node: Node, args: list[Any], types: Sequence[TensorType], run: RunGraph) -> Any:
    """An array, or a tuple of them for a node with several results."""
    if isinstance(node.op, Get):
        return args[0][node.op.index]
    with np.errstate(all="ignore"):
        made = node.op.evaluate(args, types, run)
    results = made if isinstance(made, tuple) else (np.asarray(made),)
    for result, wanted in zip(results, types):
        if result.shape != wanted.shape or result.dtype != wanted.dtype.numpy:
            found = f"{result.dtype}{list(result.shape)}"
            raise IRError(f"the value of primitive {node.op.name} is {found}, where its type is {wanted}")
    return made if isinstance(made, tuple) else results[0]


def evaluate(graph: Graph, inputs: Mapping[str, Array], precision: str = "declared") -> Results:
    """Run a graph on arrays by input name. IRError for a missing or ill-shaped input."""
    given = by_node(graph, inputs)
    found = evaluate_nodes(list(dict.fromkeys(graph.roots)), given, precision)
    return Results(
        {output.name: found[output.node] for output in graph.outputs},
        {u.input: found[u.value] for u in in_order(graph.updates)},
    )


def values_of(
    graph: Graph, inputs: Mapping[str, Array], nodes: Iterable[Node], precision: str = "declared"
) -> dict[Node, Array]:
    """Values of any nodes of a graph, by node."""
    return evaluate_nodes(list(nodes), by_node(graph, inputs), precision)


def by_node(graph: Graph, inputs: Mapping[str, Array]) -> dict[Node, Array]:
    """The arrays of those inputs that have one, by node."""
    names = {i: i.op.input_name for i in graph.inputs if isinstance(i.op, Input)}
    return {i: inputs[name] for i, name in names.items() if name in inputs}
