"""Which loop nests copy an operand into planes (see symc.passes.loop.nests.planes), and pad it there."""

from __future__ import annotations

from math import prod

from symc.ir.op import Node
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Pad
from symc.passes.cost import LARGEST

#: taps of a column that are written out
TAPS = 9


def in_planes(node: Node) -> bool:
    """Whether the loops of a node copy its first operand, map by map, into planes."""
    op = node.op
    if not isinstance(op, Conv):
        return False
    x, w = node.inputs
    depthwise = op.groups > 1 == w.shape[1] and prod(w.shape[2:-1]) <= TAPS
    return depthwise and prod(x.shape[2:]) * x.dtype.itemsize <= LARGEST


def padded_by_planes(node: Node) -> Node | None:
    """The padding among a node's operands that its planes do, if there is any."""
    x = node.inputs[0] if in_planes(node) else None
    if x is None or not isinstance(x.op, Pad) or any((*x.op.low[:2], *x.op.high[:2], *x.op.interior)):
        return None
    return x
