"""Rules on reductions and matrix products. They keep values up to the order in which sums are taken."""

from __future__ import annotations

from symc.ir.changed import replace
from symc.ir.op import Node
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Reshape, Transpose, reshape
from symc.ir.prims.reduce import Prod, Reduction, Sum, reduction_of
from symc.ir.types import F16
from symc.passes.manager.rewrite import Rule
from symc.passes.manager.watching import Refused
from symc.passes.tensor.rules.common import collect, without_units

RULES: list[Rule] = []


def _reduced(like: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """The same reduction of x over other axes."""
    return Node.make(replace(reduction_of(like), axes=axes), [x]) if axes else x


@collect(RULES, "reduce-unit-axes", Reduction)
def reduce_unit_axes(node: Node) -> Node | None:
    """An axis of one element is folded by dropping it."""
    assert isinstance(node.op, Reduction)
    x = node.inputs[0]
    units = {a for a in node.op.axes if x.shape[a] == 1}
    if not units and node.op.axes:
        return None
    kept = [a for a in range(x.rank) if a not in units]
    axes = tuple(at for at, a in enumerate(kept) if a in node.op.axes)
    return _reduced(node, reshape(x, [x.shape[a] for a in kept]), axes)


@collect(RULES, "reduce-reduce", Reduction)
def reduce_reduce(node: Node) -> Node | Refused | None:
    """Reductions by one operation are one over both sets of axes. (Half precision rounds in between: kept.)"""
    assert isinstance(node.op, Reduction)
    inner = node.inputs[0]
    if type(inner.op) is not type(node.op):
        return None
    if isinstance(node.op, (Sum, Prod)) and node.dtype == F16:
        return Refused("half precision rounds between the two")
    assert isinstance(inner.op, Reduction)
    x = inner.inputs[0]
    kept = [a for a in range(x.rank) if a not in inner.op.axes]
    return _reduced(node, x, tuple(sorted((*inner.op.axes, *(kept[a] for a in node.op.axes)))))


@collect(RULES, "reduce-reshape", Reduction)
def reduce_reshape(node: Node) -> Node | Refused | None:
    """A reshape that only adds axes of extent 1 is done after the reduction."""
    assert isinstance(node.op, Reduction)
    inner = node.inputs[0]
    if not isinstance(inner.op, Reshape) or not node.op.axes:
        return None
    x = inner.inputs[0]
    only_adds = x.rank <= inner.rank and without_units(x.shape) == without_units(inner.shape)
    if not only_adds or any(inner.shape[a] == 1 for a in node.op.axes):
        return Refused("the reshape does more than add axes of extent 1, or one of these is reduced")
    places = iter([a for a, d in enumerate(x.shape) if d != 1])
    where = {a: next(places) for a, d in enumerate(inner.shape) if d != 1}
    return reshape(_reduced(node, x, tuple(where[a] for a in node.op.axes)), node.shape)


@collect(RULES, "reduce-transpose", Reduction)
def reduce_transpose(node: Node) -> Node | Refused | None:
    """A transpose that keeps the order of the axes that stay only renames the reduced ones."""
    assert isinstance(node.op, Reduction)
    inner = node.inputs[0]
    if not isinstance(inner.op, Transpose) or not node.op.axes:
        return None
    perm = inner.op.perm
    kept = [p for a, p in enumerate(perm) if a not in node.op.axes]
    if kept != sorted(kept):
        return Refused("the transpose changes the order of the axes that stay")
    return _reduced(node, inner.inputs[0], tuple(sorted(perm[a] for a in node.op.axes)))


@collect(RULES, "dot-transpose", Dot)
def dot_transpose(node: Node) -> Node | None:
    """The product reads a transposed operand as it is stored."""
    assert isinstance(node.op, Dot)
    swapped = (*range(node.rank - 2), node.rank - 1, node.rank - 2)
    a, b = node.inputs
    turn_a = isinstance(a.op, Transpose) and a.op.perm == swapped
    turn_b = isinstance(b.op, Transpose) and b.op.perm == swapped
    if not turn_a and not turn_b:
        return None
    made = Dot(node.op.ta != turn_a, node.op.tb != turn_b)
    return Node.make(made, [a.inputs[0] if turn_a else a, b.inputs[0] if turn_b else b])
