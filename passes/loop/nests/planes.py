"""Convolutions of one channel a filter (depthwise), map by map.

A map is copied into a plane of scratch memory with what is padded around it, where it stays in the nearest caches: no
tap needs a condition. With a stride along rows, the columns of each residue lie side by side there, so that lanes read
them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from symc.ir.index import Affine
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Pad
from symc.ir.types import TensorType
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, multiply_add
from symc.passes.program.planes import padded_by_planes


def plane_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """A depthwise convolution."""
    op = node.op
    assert isinstance(op, Conv)
    x, w = node.inputs
    padding = padded_by_planes(node)
    low = padding.op.low[2:] if padding is not None and isinstance(padding.op, Pad) else (0,) * (x.rank - 2)
    inside = padding.inputs[0].shape[2:] if padding is not None else x.shape[2:]
    stride, wide, per = op.stride[-1], node.dtype.wide, w.shape[0] // op.groups
    whole, rest = divmod(inside[-1], stride)
    plane_type = TensorType(x.dtype, (*x.shape[2:-1], stride, -(-x.shape[-1] // stride)))

    def one(lead: Index) -> None:
        n, g = lead
        plane = b.alloc("plane", plane_type)
        if padding is not None and isinstance(padding.op, Pad):
            fill = b.const(padding.op.fill, x.dtype)
            b.nest(plane_type.shape, lambda i: b.store(fill, plane, i))
        for first, count, columns in ((0, whole, stride), (whole, 1, rest)):
            if not count or not columns:
                continue

            def copy(i: Index, first: int = first, columns: int = columns) -> None:
                where, q = i[:-1], i[-1] + first
                rows = tuple(r + at for r, at in zip(where, low))
                values = [reads[0]((n, g, *rows, q * stride + (t + low[-1]))) for t in range(columns)]
                for t, value in enumerate(values):
                    further, residue = divmod(t + low[-1], stride)
                    b.store(value, plane, (*rows, Affine.of(residue), q + further))

            b.nest((*inside[:-1], count), copy)

        def result(index: Index) -> None:
            o, place = g * per + index[0], index[1:]

            def step(column: Index, held: list[Ref]) -> list[Ref]:
                (tap,), (total,) = column, held
                shift = tap * op.dilate[-1]
                where = place[-1] + shift // stride
                # rows inside, so that what neighbours along them read stays in registers
                for row in product(*map(range, w.shape[2:-1])):
                    at = tuple(p * s + t * d for p, s, t, d in zip(place[:-1], op.stride, row, op.dilate))
                    weight = reads[1]((o, Affine(), *map(Affine.of, row), tap))
                    total = multiply_add(b, b.load(plane, (*at, shift % stride, where)), weight, total)
                return [total]

            (total,) = b.reduce(w.shape[-1:], [b.const(0, wide)], step, [ew.add], "k")
            store((n, o, *place), b.cast(total, node.dtype))

        b.nest((per, *node.shape[2:]), result)

    b.nest((node.shape[0], op.groups), one)
