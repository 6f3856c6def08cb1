"""Joining adjacent axes of a kernel's index space that every value treats alike, so that loops are few and long.

Of loop nests that is the convolution of one tap: its positions are a single axis, along which lanes are full however
small the maps are.
"""

from __future__ import annotations

from math import prod

from symc.ir.changed import replace
from symc.ir.op import Node, Recorder, input_node, parameter
from symc.ir.prims.elementwise import Const
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Broadcast, reshape
from symc.ir.prims.reduce import Reduction
from symc.ir.program.form import Access, Axes, Form
from symc.ir.tensor.graph import Graph, finish, topological


def coalesce(body: Graph, form: Form) -> tuple[Graph, Form]:
    """An equal body over fewer axes, and its form. Unchanged where an index is used in other ways than element by
    element, by broadcasts, by the reductions and by a convolution of one tap."""
    space, axes = form.space, form.axes
    if form.kind == "nest":
        possible = any(_is_pointwise(node) for node in body.nodes())
    else:
        possible = form.kind in ("map", "row") and None not in form.operands
    spans = _spans(body, form) if possible else None
    if spans is None:
        return body, form
    groups: list[list[int]] = []
    for axis in range(len(space)):
        joined = bool(groups) and all((axis in s) == (groups[-1][-1] in s) for s in spans.values())
        if form.kind == "nest":  # images and channels are loops of their own
            joined = joined and axis > 2
        if joined and (axis in axes) == (groups[-1][-1] in axes):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) == len(space):
        return body, form
    number = {axis: g for g, members in enumerate(groups) for axis in members}
    extents = tuple(prod(space[a] for a in members) for members in groups)
    new: dict[Node, Node] = {}
    origins = {}
    with Recorder():
        for node in body.nodes():
            merged = tuple(dict.fromkeys(number[a] for a in spans.get(node, ())))
            shape = tuple(prod(d for a, d in zip(spans[node], node.shape) if number[a] == g) for g in merged)
            if node.op.is_literal(node):
                new[node] = node
            elif not node.inputs and node in spans:
                new[node] = input_node(parameter(node).input_name, node.tensor.with_shape(shape))
            elif isinstance(node.op, Broadcast):
                source = tuple(dict.fromkeys(number[a] for a in spans.get(node.inputs[0], ())))
                dims = tuple(merged.index(g) for g in source)
                new[node] = Node.make(Broadcast(shape=shape, dims=dims), [new[node.inputs[0]]])
            elif isinstance(node.op, Reduction):
                reduced = tuple(dict.fromkeys(number[a] for a in axes))
                new[node] = Node.make(replace(node.op, axes=reduced), [new[node.inputs[0]]])
            elif node not in spans:  # on the way to the weights
                new[node] = node
            elif _is_pointwise(node):
                x, w = node.inputs
                assert isinstance(node.op, Conv)
                flat = reshape(w, (*w.shape[:2], 1, *w.shape[node.rank :]))
                new[node] = Node.make(replace(node.op, stride=(1,), dilate=(1,)), [new[x], flat])
            else:
                new[node] = node.on([new[i] for i in node.inputs])
            if node in body.origins:
                origins[new[node]] = body.origins[node]
    outputs = [(output.name, new[output.node]) for output in body.outputs]
    merged_body = finish(body.name, [new[i] for i in body.inputs], outputs, (), {}, origins)

    def merged_access(access: Access) -> Access:
        return None if access is None else tuple(dict.fromkeys(number[a] for a in access))

    merged_form = replace(
        form,
        space=extents,
        axes=tuple(dict.fromkeys(number[a] for a in axes)),
        operands=tuple(map(merged_access, form.operands)),
        results=tuple(map(merged_access, form.results)),
    )
    return merged_body, merged_form


def _is_pointwise(node: Node) -> bool:
    """Whether a node is a convolution of one tap and stride 1 over maps of several axes: a product of every position
    with the weights."""
    op = node.op
    return isinstance(op, Conv) and max(op.stride) == 1 == prod(node.inputs[1].shape[2 : node.rank]) and node.rank > 3


def _spans(body: Graph, form: Form) -> dict[Node, Axes] | None:
    """The axes of the space that each value runs over, in order; None if some value is indexed otherwise."""
    spans: dict[Node, Axes] = {}
    full, outer = form.element, form.row
    for node, access in zip(body.output_nodes, form.results):
        if access is None or not _assign(spans, node, access):
            return None
    for node in reversed(body.nodes()):
        if isinstance(node.op, Reduction):
            if not (_assign(spans, node, outer) and _assign(spans, node.inputs[0], full)):
                return None
            continue
        span = spans.get(node)
        if span is None and form.kind == "nest":
            continue  # on the way to the weights
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
        elif _is_pointwise(node):
            x, w = node.inputs
            if x.inputs or not _assign(spans, x, span) or any(i in spans for i in topological([w])):
                return None  # the weights stay as they are
        elif node.inputs:
            return None
        elif not (hasattr(node.op, "input_name") or node.op.is_literal(node)):
            return None
    return spans


def _assign(spans: dict[Node, Axes], node: Node, span: Axes) -> bool:
    if len(span) != node.rank:
        return False
    return spans.setdefault(node, span) == span
