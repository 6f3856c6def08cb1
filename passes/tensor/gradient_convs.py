"""Gradients of convolutions as the operations that run fastest.

Where a loop nest of its own would read short rows or far apart elements, the operands are copied into the order in
which a forward convolution or a matrix product reads them:

  conv_dx    is a convolution with its kernel turned round. With a stride, positions that leave different residues meet
             different taps, so there is one such convolution for each residue, and their results interleave
             (the sub-pixel form; Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
             Sub-Pixel Convolutional Neural Network", 2016).
  conv_dw    of small maps is a matrix product with the patches of x (see symc.passes.tensor.forward_convs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from symc.ir.op import Node
from symc.ir.prims.elementwise import full
from symc.ir.prims.linear import ConvDw, ConvDx, conv, dot
from symc.ir.prims.movement import Slice, concat, pad, reshape, reverse, slice_, transpose
from symc.ir.types import Shape, TensorType
from symc.passes.manager.watching import Refused
from symc.passes.tensor.forward_convs import patches

#: more residues than this (the large strides of upsampling) have too little work each, and a nest of their own
MANY_PHASES = 8
#: fewer channels than this do not pay for copying patches
FEW_CHANNELS = 16
#: positions of a map up to which patches are copied
SMALL_MAP = 36


@dataclass(frozen=True)
class _Phase:
    """Positions begin + q*stride + r of one axis: x[q] = sum over j of ct[q - low + j*step] w[tap(j)], where tap(j)
    counts down from the last of the `taps`."""

    taps: range
    step: int
    low: int


def _phases(stride: int, dilate: int, kernel: int, begin: int) -> list[_Phase]:
    found = []
    for r in range(begin, begin + stride):
        hits = [t for t in range(kernel) if (r - t * dilate) % stride == 0]
        period = hits[1] - hits[0] if len(hits) > 1 else 1
        taps = range(hits[0], hits[-1] + 1, period) if hits else range(0)
        step = max(1, period * dilate // stride)
        low = (len(hits) - 1) * step - (r - hits[0] * dilate) // stride if hits else 0
        found.append(_Phase(taps, step, low))
    return found


def cropped(node: Node) -> Node | None:
    """slice(conv_dx(ct, w)), what is left where the convolution's operand was padded: the same, of fewer positions."""
    op = node.op
    if not isinstance(op, Slice) or not isinstance(node.inputs[0].op, ConvDx) or any(s != 1 for s in op.step):
        return None
    whole = node.inputs[0]
    if node.shape[:2] != whole.shape[:2]:
        return None
    return _convolved(whole, op.begin[2:], node.shape[2:])


def convolved(node: Node) -> Node | None:
    """conv_dx(ct, w) -> conv(pad(ct), w turned round), for every residue by the stride."""
    op = node.op
    return _convolved(node, (0,) * len(op.spatial), op.spatial) if isinstance(op, ConvDx) else None


def _convolved(node: Node, begin: Shape, spatial: Shape) -> Node | None:
    """The positions from `begin` on of a conv_dx."""
    op = node.op
    assert isinstance(op, ConvDx)
    ct, w = node.inputs
    if op.low or 0 in (node.tensor.size, ct.tensor.size, *spatial) or math.prod(op.stride) > MANY_PHASES:
        return None
    axes = [_phases(*axis) for axis in zip(op.stride, op.dilate, w.shape[2:], begin)]
    places = tuple(-(-n // s) for n, s in zip(spatial, op.stride))
    parts = [_one_phase(ct, w, op.groups, phases, places) for phases in product(*axes)]
    return _interleaved(parts, op.stride, spatial, TensorType(node.dtype, (*node.shape[:2], *places)))


def _one_phase(ct: Node, w: Node, groups: int, phases: Sequence[_Phase], places: Shape) -> Node | None:
    """The positions of one residue on every axis; None if no tap meets them."""
    if not all(p.taps for p in phases):
        return None
    begin = (0, 0, *(p.taps.start for p in phases))
    end = (*w.shape[:2], *(p.taps.stop for p in phases))
    taps = slice_(w, begin, end, (1, 1, *(p.taps.step for p in phases)))
    outs, channels, *kernel = taps.shape
    grouped = reshape(taps, (groups, outs // groups, channels, *kernel))
    swapped = transpose(grouped, (0, 2, 1, *range(3, grouped.rank)))
    turned = reverse(reshape(swapped, (groups * channels, outs // groups, *kernel)), tuple(range(2, w.rank)))
    # ct is read from -low on, as far as the last position needs
    spans = [n + (len(p.taps) - 1) * p.step for n, p in zip(places, phases)]
    first = [min(max(0, -p.low), n) for p, n in zip(phases, ct.shape[2:])]
    last = [min(max(f, span - p.low), n) for f, span, p, n in zip(first, spans, phases, ct.shape[2:])]
    before = [min(max(0, p.low), span) for span, p in zip(spans, phases)]
    after = [span - b - (z - f) for span, b, f, z in zip(spans, before, first, last)]
    kept = slice_(ct, (0, 0, *first), (*ct.shape[:2], *last))
    padded = pad(kept, (0, 0, *before), (0, 0, *after))
    return conv(padded, turned, (1,) * len(phases), tuple(p.step for p in phases), groups)


def _interleaved(parts: Sequence[Node | None], stride: Shape, spatial: Shape, one: TensorType) -> Node:
    """x[q*stride + r] = part r [q], the parts in the order of their residues; None: zeros."""
    made = [part if part is not None else full(0, one) for part in parts]
    lead, places = one.shape[:2], one.shape[2:]
    # from the last axis to the first: neighbours become pairs (place, residue) of that axis
    for axis in reversed(range(len(stride))):
        shape = (*lead, *places[: axis + 1], 1, *(n * s for n, s in zip(places[axis + 1 :], stride[axis + 1 :])))
        joined = (*lead, *places[:axis], places[axis] * stride[axis], *shape[axis + 4 :])
        made = [
            reshape(concat([reshape(x, shape) for x in made[at : at + stride[axis]]], axis + 3), joined)
            for at in range(0, len(made), stride[axis])
        ]
    return slice_(made[0], (0,) * one.rank, (*lead, *spatial))


def as_product(node: Node) -> Node | Refused | None:
    """conv_dw(x, ct) -> ct' patches(x): one product over all images and positions."""
    op = node.op
    if not isinstance(op, ConvDw) or not node.tensor.size:
        return None
    if op.groups != 1:
        return Refused(f"it has {op.groups} groups")
    x, ct = node.inputs
    places = ct.shape[2:]
    if not ct.tensor.size:
        return None
    if math.prod(places) > SMALL_MAP:
        return Refused(f"a map has {math.prod(places)} positions, more than {SMALL_MAP}")
    if min(node.shape[:2]) < FEW_CHANNELS:
        return Refused(f"it has {min(node.shape[:2])} channels, fewer than {FEW_CHANNELS}")
    rank = len(places)
    columns = patches(x, op.kernel, places, op.stride, op.dilate)
    rows = reshape(transpose(ct, (1, 0, *range(2, rank + 2))), (node.shape[0], columns.shape[0]))
    return reshape(dot(rows, columns), node.shape)
