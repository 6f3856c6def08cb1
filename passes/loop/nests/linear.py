"""The loop nests of the contractions: matrix products and convolutions with their two gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from symc.ir.changed import replace
from symc.ir.index import Affine
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Conv, ConvDw, ConvDx, Dot, Packed
from symc.ir.types import Shape
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, multiply_add, nest
from symc.passes.loop.nests.planes import plane_nest
from symc.passes.program.planes import in_planes, padded_by_planes


@nest(Dot)
def dot_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, Dot)
    *batch, m, n = node.shape
    inner = node.inputs[0].shape[-2 if op.ta else -1]
    wide = node.dtype.wide

    def result(index: Index) -> None:
        *lead, i, j = index

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            x = reads[0]((*lead, r[0], i) if op.ta else (*lead, i, r[0]))
            y = reads[1]((*lead, j, r[0]) if op.tb else (*lead, r[0], j))
            return [multiply_add(b, x, y, held[0])]

        (total,) = b.reduce([inner], [b.const(0, wide)], step, [ew.add], "k")
        store(index, b.cast(total, node.dtype))

    with b.at(None, "dot"):
        b.nest(node.shape, result)


@nest(Packed)
def packed_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Stored in order: every row of the result gathers its lanes."""
    assert isinstance(node.op, Packed)
    lanes = node.op.lanes

    def one(index: Index) -> None:
        group, *rest, lane = index
        store(index, reads[0]((group * lanes + lane, *rest)))

    b.nest(node.shape, one)


@nest(Conv)
def conv_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, Conv)
    if in_planes(node) and (max(op.stride) > 1 or padded_by_planes(node) is not None):
        with b.at(None, "conv"):
            plane_nest(b, node, reads, store)
        return
    wide = node.dtype.wide
    outs, channels, *kernel = op.weights(node.inputs[1].tensor).shape

    def one(n: Affine, group: Affine, o: Affine, weights: Index, place: Index) -> None:
        """A result; `weights`: the index of its weights before that of channel and tap, and behind it."""

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            c, tap = r[0], r[1:]
            where = tuple(p * s + t * d for p, s, t, d in zip(place, op.stride, tap, op.dilate))
            left = reads[0]((n, group * channels + c, *where))
            return [multiply_add(b, left, reads[1]((weights[0], c, *tap, *weights[1:])), held[0])]

        (total,) = b.reduce([channels, *kernel], [b.const(0, wide)], step, [ew.add], "k")
        store((n, o, *place), b.cast(total, node.dtype))

    def at(index: Index, group: Affine, o: Affine) -> None:
        one(index[0], group, o, (o,), index[2:])

    def side_by_side(index: Index) -> None:
        n, g, lane, *place = index
        one(n, Affine(), g * op.lanes + lane, (g, lane), tuple(place))

    with b.at(None, "conv"):
        if op.lanes:
            b.nest((node.shape[0], outs // op.lanes, op.lanes, *node.shape[2:]), side_by_side)
        else:
            _grouped(b, node.shape, op.groups, outs // op.groups, at)


def _grouped(b: Builder, shape: Shape, groups: int, per: int, at: Callable[[Index, Affine, Affine], None]) -> None:
    """Loops over (n, channel, *spatial), the channel split by group where there are several."""
    if groups == 1:
        b.nest(shape, lambda index: at(index, Affine(), index[1]))
        return

    def inside(index: Index) -> None:
        n, g, o, *place = index
        at((n, g, *place), g, g * per + o)

    b.nest((shape[0], groups, per, *shape[2:]), inside)


@dataclass(frozen=True)
class Residues:
    """Positions of one axis that the same number of taps meets: those which leave `start` ... `start + count - 1` when
    divided by the stride. Residue `start + u` meets the taps `taps`, each `u` further."""

    start: int
    count: int
    taps: tuple[int, ...]
    extent: int


#: Beyond this many residues a loop of their own for each is more code than it is worth.
_MANY_RESIDUES = 16


def _residues(stride: int, dilate: int, kernel: int, size: int, together: bool) -> list[Residues]:
    """The residues of an axis of `size` positions by the stride, neighbours in one where they are alike."""
    found: list[Residues] = []
    for r in range(min(stride, size)):
        taps = tuple(t for t in range(kernel) if (r - t * dilate) % stride == 0)
        extent = -(-(size - r) // stride)
        last = found[-1] if found else None
        if together and dilate == 1 and last and (len(last.taps), last.extent) == (len(taps), extent):
            found[-1] = replace(last, count=last.count + 1)
        else:
            found.append(Residues(r, 1, taps, extent))
    return found


@nest(ConvDx)
def conv_dx_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Gathered: x[q] sums ct[(q - t*dilate) / stride] w[t] over the taps that divide and lie inside. Positions which
    leave different residues when divided by the stride are nests of their own, so that the taps that meet them are
    known; many residues (the large strides of upsampling) are a loop."""
    op = node.op
    assert isinstance(op, ConvDx)
    ct, w = node.inputs
    wide = node.dtype.wide
    outs, channels = w.shape[0] // op.groups, w.shape[1]
    places = ct.shape[2:]
    low = op.low or (0,) * len(places)

    def phase(residues: tuple[Residues, ...], n: Affine, g: Affine, c: Affine) -> None:
        def result(where: Index) -> None:
            q, u = where[::2], where[1::2]

            # position q*s + start + u; the taps from t + u on, each `period` further, meet ct at q + (start - t*d)/s
            def step(r: Index, held: list[Ref]) -> list[Ref]:
                o, total = r[0], held[0]
                at: list[Affine] = []
                tap: list[Affine] = []
                for axis, (turn, one) in enumerate(zip(r[1:], residues)):
                    found = one.taps
                    period = found[1] - found[0] if len(found) > 1 else 1
                    shift = (one.start - found[0] * op.dilate[axis]) // op.stride[axis]
                    slope = period * op.dilate[axis] // op.stride[axis]
                    tap.append(turn * period + (u[axis] + found[0]))
                    at.append(q[axis] + (shift + low[axis]) - turn * slope)
                inside = [(i, 0, extent) for i, extent in zip(at, places)]
                left = b.guard(inside, lambda: reads[0]((n, g * outs + o, *at)), b.const(0, ct.dtype))
                return [multiply_add(b, left, reads[1]((g * outs + o, c, *tap)), total)]

            if all(one.taps for one in residues):
                (total,) = b.reduce(
                    [outs, *(len(one.taps) for one in residues)], [b.const(0, wide)], step, [ew.add], "k"
                )
            else:
                total = b.const(0, wide)
            position = (i * s + (v + one.start) for i, v, s, one in zip(q, u, op.stride, residues))
            store((n, g * channels + c, *position), b.cast(total, node.dtype))

        b.nest([e for one in residues for e in (one.extent, one.count)], result)

    together = math.prod(op.stride) > _MANY_RESIDUES
    axes = [_residues(*axis, together) for axis in zip(op.stride, op.dilate, w.shape[2:], op.spatial)]

    def image(index: Index) -> None:
        n, g, c = index
        for residues in product(*axes):
            phase(residues, n, g, c)

    with b.at(None, "conv_dx"):
        b.nest((node.shape[0], op.groups, channels), image)


@nest(ConvDw)
def conv_dw_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, ConvDw)
    x, ct = node.inputs
    wide = node.dtype.wide
    outs, channels = node.shape[0] // op.groups, node.shape[1]

    def result(index: Index) -> None:
        g, o, c, *tap = index

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            n, place = r[0], r[1:]
            where = tuple(p * s + t * d for p, s, t, d in zip(place, op.stride, tap, op.dilate))
            left = reads[0]((n, g * channels + c, *where))
            return [multiply_add(b, left, reads[1]((n, g * outs + o, *place)), held[0])]

        (total,) = b.reduce([ct.shape[0], *ct.shape[2:]], [b.const(0, wide)], step, [ew.add], "p")
        store((g * outs + o, c, *tap), b.cast(total, node.dtype))

    with b.at(None, "conv_dw"):
        b.nest((op.groups, outs, channels, *op.kernel), result)
