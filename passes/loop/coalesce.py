"""Joining adjacent axes of a kernel's index space that every value treats alike, so that loops are few and long."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from symc.ir.op import input_node, parameter
from symc.ir.prims.elementwise import Const
from symc.ir.prims.movement import Broadcast
from symc.ir.prims.reduce import Reduction
from symc.ir.tensor.graph import Graph, Node, Recorder, finish
from symc.ir.types import Shape

Axes = tuple[int, ...]


def space_of(body: Graph) -> tuple[Shape, Axes]:
    """The index space of a row kernel and its reduced axes."""
    for node in body.nodes():
        if isinstance(node.op, Reduction):
            return node.inputs[0].shape, node.op.axes
    return max((node.shape for _, node in body.outputs), key=len), ()


def coalesce(body: Graph) -> tuple[Graph, Shape, Axes]:
    """An equal body over fewer axes, its space and reduced axes. Unchanged where an index is used in other ways than
    element by element, by broadcasts and by the reductions."""
    space, axes = space_of(body)
    spans = _spans(body, len(space), axes)
    if spans is None:
        return body, space, axes
    groups: list[list[int]] = []
    for axis in range(len(space)):
        joined = bool(groups) and all((axis in s) == (groups[-1][-1] in s) for s in spans.values())
        if joined and (axis in axes) == (groups[-1][-1] in axes):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) == len(space):
        return body, space, axes
    number = {axis: g for g, members in enumerate(groups) for axis in members}
    extents = tuple(prod(space[a] for a in members) for members in groups)
    new: dict[Node, Node] = {}
    origins = {}
    with Recorder():
        for node in body.nodes():
            merged = tuple(dict.fromkeys(number[a] for a in spans.get(node, ())))
            shape = tuple(extents[g] for g in merged)
            if node.op.is_literal(node):
                new[node] = node
            elif not node.inputs:
                new[node] = input_node(parameter(node).input_name, node.tensor.with_shape(shape))
            elif isinstance(node.op, Broadcast):
                source = tuple(dict.fromkeys(number[a] for a in spans.get(node.inputs[0], ())))
                dims = tuple(merged.index(g) for g in source)
                new[node] = Node.make(Broadcast(shape=shape, dims=dims), [new[node.inputs[0]]])
            elif isinstance(node.op, Reduction):
                reduced = tuple(dict.fromkeys(number[a] for a in axes))
                new[node] = Node.make(replace(node.op, axes=reduced), [new[node.inputs[0]]])
            else:
                new[node] = node.on([new[i] for i in node.inputs])
            if node in body.origins:
                origins[new[node]] = body.origins[node]
    outputs = [(name, new[node]) for name, node in body.outputs]
    merged_body = finish(body.name, [new[i] for i in body.inputs], outputs, (), {}, origins)
    return merged_body, extents, tuple(dict.fromkeys(number[a] for a in axes))


def _spans(body: Graph, rank: int, axes: Axes) -> dict[Node, Axes] | None:
    """The axes of the space that each value runs over, in order; None if some value is indexed otherwise."""
    outer = tuple(a for a in range(rank) if a not in axes)
    spans: dict[Node, Axes] = {}
    full = tuple(range(rank))
    for _, node in body.outputs:
        if not _assign(spans, node, full if node.rank == rank else outer):
            return None
    for node in reversed(body.nodes()):
        if isinstance(node.op, Reduction):
            if not (_assign(spans, node, outer) and _assign(spans, node.inputs[0], full)):
                return None
            continue
        span = spans.get(node)
        if span is None or isinstance(node.op, Const) and node.shape:
            return None
        if node.op.elementwise:
            for source in node.inputs:
                if not _assign(spans, source, span if source.rank else ()):
                    return None
        elif isinstance(node.op, Broadcast):
            source = node.inputs[0]
            if any(source.shape[k] != node.shape[d] for k, d in enumerate(node.op.dims)):
                return None
            if not _assign(spans, source, tuple(span[d] for d in node.op.dims)):
                return None
        elif node.inputs:
            return None
        elif not (hasattr(node.op, "input_name") or node.op.is_literal(node)):
            return None
    return spans


def _assign(spans: dict[Node, Axes], node: Node, span: Axes) -> bool:
    if len(span) != node.rank:
        return False
    return spans.setdefault(node, span) == span
