"""Convolutions of one channel a filter (depthwise), map by map.

A map is copied into a plane of scratch memory with what is padded around it, where it stays in the nearest caches: no
tap needs a condition. With a stride along rows, the columns of each residue lie side by side there, so that lanes read
them in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from symc.ir.index import Affine
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Pad
from symc.ir.types import TensorType
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, accumulator, multiply_add
from symc.passes.program.planes import padded_by_planes


def plane_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """A depthwise convolution."""
    op = node.op
    assert isinstance(op, Conv)
    x, w = node.inputs
    padding = padded_by_planes(node)
    low = padding.op.low[2:] if padding is not None and isinstance(padding.op, Pad) else (0,) * (x.rank - 2)
    inside = padding.inputs[0].shape[2:] if padding is not None else x.shape[2:]
    stride, wide, per = op.stride[-1], accumulator(node.dtype), w.shape[0] // op.groups
    plane_type = TensorType(x.dtype, (*x.shape[2:-1], stride, -(-x.shape[-1] // stride)))

    def one(lead: Index) -> None:
        n, g = lead
        plane = b.alloc("plane", plane_type)
        if padding is not None and isinstance(padding.op, Pad):
            fill = b.const(padding.op.fill, x.dtype)
            b.nest(plane_type.shape, lambda i: b.store(fill, plane, i))
        for residue in range(stride):
            # the columns q * stride + residue of the operand that are not padded
            first, last = (-(-(edge - residue) // stride) for edge in (low[-1], low[-1] + inside[-1]))

            def copy(i: Index, residue: int = residue, first: int = first) -> None:
                rows, q = tuple(r + at for r, at in zip(i[:-1], low)), i[-1] + first
                b.store(reads[0]((n, g, *rows, q * stride + residue)), plane, (*rows, Affine.of(residue), q))

            b.nest((*inside[:-1], last - first), copy)

        def result(index: Index) -> None:
            o, place = g * per + index[0], index[1:]

            def step(tap: Index, held: list[Ref]) -> list[Ref]:
                rows = tuple(p * s + t * d for p, s, t, d in zip(place[:-1], op.stride, tap, op.dilate))
                (total,) = held
                for t in range(w.shape[-1]):
                    q, residue = divmod(t * op.dilate[-1], stride)
                    value = b.load(plane, (*rows, Affine.of(residue), place[-1] + q))
                    total = multiply_add(b, value, reads[1]((o, Affine.of(0), *tap, Affine.of(t))), total)
                return [total]

            (total,) = b.reduce(w.shape[2:-1], [b.const(0, wide)], step, [ew.add], "k")
            store((n, o, *place), b.cast(total, node.dtype))

        b.nest((per, *node.shape[2:]), result)

    b.nest((node.shape[0], op.groups), one)
