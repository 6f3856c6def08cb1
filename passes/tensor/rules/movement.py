"""Rules on movement primitives: where an element comes from is said once. All hold bit for bit.

Canonical afterwards: `broadcast` reads an operand without axes of extent 1, and repeats something; axes of extent 1
are placed by `reshape`; a tensor of one number is that literal broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import (
    Broadcast,
    Concat,
    Pad,
    Reshape,
    Slice,
    Transpose,
    broadcast,
    concat,
    pad,
    reshape,
    slice_,
    transpose,
)
from symc.passes.manager.rewrite import Rule
from symc.passes.manager.watching import Refused
from symc.passes.tensor.rules.common import collect, filled_with, literal, without_units

RULES: list[Rule] = []

# --------------------------------------------------------------------------------------------- reshape


@collect(RULES, "reshape-reshape", Reshape)
def reshape_reshape(node: Node) -> Node | None:
    """Only the last shape counts; the same shape is nothing."""
    inner = node.inputs[0]
    if isinstance(inner.op, Reshape):
        return reshape(inner.inputs[0], node.shape)
    return inner if inner.shape == node.shape else None


@collect(RULES, "reshape-broadcast", Reshape)
def reshape_broadcast(node: Node) -> Node | Refused | None:
    """A repeated scalar in any shape; or a broadcast whose axes of extent 1 move."""
    inner = node.inputs[0]
    if literal(inner):
        return broadcast(inner, node.shape, ())
    if not isinstance(inner.op, Broadcast):
        return None
    x = inner.inputs[0]
    if not x.rank:
        return broadcast(x, node.shape, ())
    if without_units(inner.shape) != without_units(node.shape) or 1 in x.shape:
        return Refused("the reshape does more than place axes of extent 1")
    places = iter([a for a, d in enumerate(node.shape) if d != 1])
    where = {a: next(places) for a, d in enumerate(inner.shape) if d != 1}
    return broadcast(x, node.shape, [where[d] for d in inner.op.dims])


# --------------------------------------------------------------------------------------------- broadcast


@collect(RULES, "broadcast-broadcast", Broadcast)
def broadcast_broadcast(node: Node) -> Node | None:
    """Two broadcasts are one; one that changes nothing is none."""
    assert isinstance(node.op, Broadcast)
    inner = node.inputs[0]
    if inner.shape == node.shape and len(node.op.dims) == node.rank:
        return inner
    if isinstance(inner.op, Broadcast):
        outer = node.op.dims
        return broadcast(inner.inputs[0], node.shape, [outer[d] for d in inner.op.dims])
    return None


@collect(RULES, "broadcast-units", Broadcast)
def broadcast_units(node: Node) -> Node | None:
    """Axes of extent 1 are dropped before a broadcast (a reduced value with kept axes is read as what it is), and a
    broadcast that only adds such axes is a reshape."""
    assert isinstance(node.op, Broadcast)
    x = node.inputs[0]
    if 1 in x.shape:
        kept = [d for d, extent in zip(node.op.dims, x.shape) if extent != 1]
        return broadcast(reshape(x, without_units(x.shape)), node.shape, kept)
    if x.shape == without_units(node.shape) and not literal(x):
        return reshape(x, node.shape)
    return None


# --------------------------------------------------------------------------------------------- transpose


@collect(RULES, "transpose-transpose", Transpose)
def transpose_transpose(node: Node) -> Node | None:
    """Two transposes are one; one that moves nothing, or only axes of extent 1, is none, or a reshape."""
    assert isinstance(node.op, Transpose)
    inner, perm = node.inputs[0], node.op.perm
    if isinstance(inner.op, Transpose):
        return transpose(inner.inputs[0], [inner.op.perm[p] for p in perm])
    moved = [p for p in perm if inner.shape[p] != 1]
    return reshape(inner, node.shape) if moved == sorted(moved) else None


@collect(RULES, "transpose-broadcast", Transpose)
def transpose_broadcast(node: Node) -> Node | None:
    """transpose(broadcast(x)) is broadcast(transpose(x)), into other places."""
    assert isinstance(node.op, Transpose)
    inner = node.inputs[0]
    if not isinstance(inner.op, Broadcast):
        return None
    places = [node.op.perm.index(d) for d in inner.op.dims]
    order = sorted(range(len(places)), key=places.__getitem__)
    return broadcast(transpose(inner.inputs[0], order), node.shape, sorted(places))


# --------------------------------------------------------------------------------------------- slice


@collect(RULES, "slice-slice", Slice)
def slice_slice(node: Node) -> Node | None:
    """A slice of a slice is one; a full slice is none."""
    assert isinstance(node.op, Slice)
    op, inner = node.op, node.inputs[0]
    if not isinstance(inner.op, Slice):
        full = op.begin == (0,) * node.rank and set(op.step) <= {1} and node.shape == inner.shape
        return inner if full else None
    begin, end, step = [], [], []
    for b, s, b0, s0, n in zip(op.begin, op.step, inner.op.begin, inner.op.step, node.shape):
        first, stride = (b0 + s0 * b, s0 * s) if n else (0, 1)
        begin.append(first)
        step.append(stride if n != 1 else 1)
        last = first + (n - 1) * step[-1]
        end.append(last + (1 if step[-1] > 0 else -1) if n else 0)
    return slice_(inner.inputs[0], begin, end, step)


@collect(RULES, "slice-concat", Slice)
def slice_concat(node: Node) -> Node | Refused | None:
    """A slice that hits one piece of a concat is a slice of that piece."""
    assert isinstance(node.op, Slice)
    op, inner = node.op, node.inputs[0]
    if not isinstance(inner.op, Concat) or not node.tensor.size:
        return None
    axis, at = inner.op.axis, 0
    first = op.begin[axis]
    last = first + (node.shape[axis] - 1) * op.step[axis]
    for piece in inner.inputs:
        extent = piece.shape[axis]
        if at <= min(first, last) and max(first, last) < at + extent:
            begin, end = list(op.begin), list(op.end)
            begin[axis] = first - at
            end[axis] = last - at + (1 if op.step[axis] > 0 else -1)
            return slice_(piece, begin, end, op.step)
        at += extent
    return Refused("it takes elements of several pieces")


@collect(RULES, "slice-broadcast", Slice)
def slice_broadcast(node: Node) -> Node | Refused | None:
    """slice(broadcast(x)) is broadcast(slice(x))."""
    assert isinstance(node.op, Slice)
    op, inner = node.op, node.inputs[0]
    if not isinstance(inner.op, Broadcast):
        return None
    x, dims = inner.inputs[0], inner.op.dims
    if any(extent != inner.shape[d] for extent, d in zip(x.shape, dims)):
        return Refused("the broadcast repeats along an axis that its operand has")
    part = slice_(x, [op.begin[d] for d in dims], [op.end[d] for d in dims], [op.step[d] for d in dims])
    return broadcast(part, node.shape, dims)


@collect(RULES, "slice-pad", Slice)
def slice_pad(node: Node) -> Node | Refused | None:
    """A slice that takes back exactly what was padded."""
    assert isinstance(node.op, Slice)
    inner = node.inputs[0]
    if not isinstance(inner.op, Pad):
        return None
    if any(inner.op.interior) or set(node.op.step) - {1}:
        return Refused("the pad puts elements in between, or the slice leaves some out")
    x = inner.inputs[0]
    return x if node.op.begin == inner.op.low and node.shape == x.shape else Refused("it takes back less, or more")


# --------------------------------------------------------------------------------------------- pad


@collect(RULES, "pad-pad", Pad)
def pad_pad(node: Node) -> Node | Refused | None:
    """Two pads with one fill are one (the outer one without elements in between); a pad by nothing is none."""
    assert isinstance(node.op, Pad)
    op, inner = node.op, node.inputs[0]
    if not any((*op.low, *op.high, *op.interior)):
        return inner
    if not isinstance(inner.op, Pad):
        return None
    if repr(op.fill) != repr(inner.op.fill):
        return Refused(f"one fills with {op.fill}, the other with {inner.op.fill}")
    if any(op.interior):
        return Refused("the outer pad puts elements in between")
    low = [a + b for a, b in zip(op.low, inner.op.low)]
    high = [a + b for a, b in zip(op.high, inner.op.high)]
    return pad(inner.inputs[0], low, high, inner.op.interior, op.fill)


@collect(RULES, "pad-fill", Pad)
def pad_fill(node: Node) -> Node | None:
    """Padding a tensor of the fill value gives a larger one."""
    assert isinstance(node.op, Pad)
    value = filled_with(node.inputs[0])
    return broadcast(value, node.shape, ()) if value is ew.const(node.op.fill, node.dtype) else None


# --------------------------------------------------------------------------------------------- concat


@collect(RULES, "concat-pieces", Concat)
def concat_pieces(node: Node) -> Node | None:
    """Empty pieces vanish, neighbouring slices of one tensor join, and one piece is itself. Nested concats stay: the
    inner one often has other readers (every layer of a dense block), and then nothing is saved."""
    assert isinstance(node.op, Concat)
    axis = node.op.axis
    made = joined_slices(node.inputs, axis)
    if len(made) == len(node.inputs) and len(made) > 1 and all(a is b for a, b in zip(made, node.inputs)):
        return None
    return concat(made, axis)


def joined_slices(nodes: Sequence[Node], axis: int) -> list[Node]:
    """The shortest list of pieces that make the same concat."""
    made: list[Node] = []
    for node in nodes:
        joined = _joined_slice(made[-1], node, axis) if made else None
        if joined is not None:
            made[-1] = joined
        elif node.shape[axis]:
            made.append(node)
    return made or [nodes[0]]


def _joined_slice(a: Node, b: Node, axis: int) -> Node | None:
    """The slice that is two neighbouring ones."""
    if not isinstance(a.op, Slice) or not isinstance(b.op, Slice) or a.inputs[0] is not b.inputs[0]:
        return None
    first, second = a.op, b.op
    if first.step != second.step or first.step[axis] != 1 or first.begin[axis] + a.shape[axis] != second.begin[axis]:
        return None
    others = [k for k in range(a.rank) if k != axis]
    if any((first.begin[k], first.end[k]) != (second.begin[k], second.end[k]) for k in others):
        return None
    end = list(first.end)
    end[axis] = second.begin[axis] + b.shape[axis]
    return slice_(a.inputs[0], first.begin, end, first.step)


@collect(RULES, "concat-fill", Concat)
def concat_fill(node: Node) -> Node | None:
    """Pieces filled with one literal make one."""
    values = {filled_with(i) for i in node.inputs}
    value = values.pop()
    return broadcast(value, node.shape, ()) if value is not None and not values else None
