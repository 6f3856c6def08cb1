"""Convolutions whose loops would run badly, as others.

A kernel of one tap with a stride reads a map of which most is never used: the positions that are used come first.

A map of few positions gives every weight so little to do that packing the weights costs more than the product. It is a
matrix product with patches of the input (im2col; Chellapilla et al., "High Performance Convolutional Neural Networks
for Document Processing", 2006), in which the operands are read in order and the weights as they lie.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import product

from symc.ir.op import Node
from symc.ir.prims.linear import Conv, ConvDw, dot
from symc.ir.prims.movement import concat, reshape, slice_, transpose
from symc.ir.types import Shape
from symc.passes.cost import PACKING
from symc.passes.manager.watching import Refused

#: positions of all images, below which weights are not worth packing (see symc.passes.cost)
FEW = 2 * PACKING


def tap_slices(x: Node, kernel: Shape, places: Shape, stride: Shape, dilate: Shape) -> Iterator[Node]:
    """For every tap of a kernel the elements of x (N, C, *spatial) that it meets: (N, C, *places)."""
    for tap in product(*map(range, kernel)):
        begin = [t * d for t, d in zip(tap, dilate)]
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, places, stride)]
        yield slice_(x, (0, 0, *begin), (*x.shape[:2], *end), (1, 1, *stride))


def patches(x: Node, kernel: Shape, places: Shape, stride: Shape, dilate: Shape) -> Node:
    """What each position of the result sees of x: (images * positions, channels * taps)."""
    images, channels = x.shape[:2]
    spatial = range(2, len(places) + 2)
    taps = [
        reshape(transpose(part, (0, *spatial, 1)), (images, *places, channels, 1))
        for part in tap_slices(x, kernel, places, stride, dilate)
    ]
    return reshape(concat(taps, len(places) + 2), (images * math.prod(places), channels * len(taps)))


def one_tap(node: Node) -> Node | Refused | None:
    """conv(x, w) {stride} -> conv(x[::stride], w) for kernels of one tap; conv_dw likewise."""
    op = node.op
    if not isinstance(op, (Conv, ConvDw)) or not node.tensor.size:
        return None
    if isinstance(op, Conv) and op.lanes:
        return Refused("its weights are packed")
    x, other = node.inputs
    kernel, places = (other.shape[2:], node.shape[2:]) if isinstance(op, Conv) else (op.kernel, other.shape[2:])
    if math.prod(kernel) != 1:
        return Refused(f"its kernel has {math.prod(kernel)} taps, not one")
    if all(s == 1 for s in op.stride):
        return Refused("it has no stride: it reads its operand in order as it is")
    if not math.prod(places):
        return None
    (kept,) = tap_slices(x, kernel, places, op.stride, op.dilate)
    return Node.make(dataclasses.replace(op, stride=(1,) * len(places)), [kept, other])


def patch_product(node: Node) -> Node | Refused | None:
    """conv(x, w) -> w patches(x)' for few positions, where the weights lie in memory as they are."""
    op = node.op
    if not isinstance(op, Conv) or not node.tensor.size:
        return None
    if op.groups != 1 or op.lanes:
        return Refused("its weights are packed" if op.lanes else f"it has {op.groups} groups")
    x, w = node.inputs
    places, kernel = node.shape[2:], w.shape[2:]
    images = x.shape[0]
    if not w.tensor.size:
        return None
    if w.inputs:
        return Refused("its weights are computed: they could lie in memory packed as well")
    if math.prod(kernel) == 1:
        return Refused("it has one tap: it is a product of its positions with the weights as it is")
    if images * math.prod(places) >= FEW:
        positions = images * math.prod(places)
        return Refused(f"it has {positions} positions, no fewer than {FEW}: packing its weights pays")
    rows = reshape(w, (w.shape[0], w.tensor.size // w.shape[0]))
    made = dot(rows, patches(x, kernel, places, op.stride, op.dilate), tb=True)
    spatial = range(2, len(places) + 2)
    return transpose(reshape(made, (w.shape[0], images, *places)), (1, 0, *spatial))
