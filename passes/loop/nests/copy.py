"""The loop nests that move elements: padding, concatenation, scatters; and running sums."""

from __future__ import annotations

from collections.abc import Sequence

from symc.ir.index import Affine
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import ScatterAdd, ScatterAlongAdd
from symc.ir.prims.movement import Concat, Pad
from symc.ir.prims.reduce import CumSum
from symc.ir.types import TensorType
from symc.passes.cost import LARGEST
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, nest

#: elements of a strip of neighbours: about a line of memory; and bytes of scratch that one takes at most
LANES, SCRATCH = 16, 1 << 24


@nest(Pad)
def pad_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Clear, then copy the operand's block into its place: no conditions inside the loops."""
    op = node.op
    assert isinstance(op, Pad)
    x = node.inputs[0]
    lead = 0
    while lead < node.rank and not (op.low[lead] or op.high[lead] or op.interior[lead]):
        lead += 1
    fill = b.const(op.fill, node.dtype)

    def block(head: Index) -> None:
        b.nest(node.shape[lead:], lambda rest: store((*head, *rest), fill))

        def copy(rest: Index) -> None:
            where = tuple(i * (gap + 1) + low for i, gap, low in zip(rest, op.interior[lead:], op.low[lead:]))
            store((*head, *where), reads[0]((*head, *rest)))

        b.nest(x.shape[lead:], copy)

    b.nest(node.shape[:lead], block)


@nest(Concat)
def concat_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    assert isinstance(node.op, Concat)
    axis = node.op.axis

    def piece(head: Index) -> None:
        offset = 0
        for x, read in zip(node.inputs, reads):

            def copy(rest: Index, read: Read = read, offset: int = offset) -> None:
                store((*head, rest[0] + offset, *rest[1:]), read((*head, *rest)))

            b.nest(x.shape[axis:], copy)
            offset += x.shape[axis]

    b.nest(node.shape[:axis], piece)


@nest(ScatterAdd)
def scatter_add_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Repeated positions are added in order, so the loop over positions is serial; the other axes are independent. The
    last one is taken some neighbours at a time, as they lie in memory."""
    assert isinstance(node.op, ScatterAdd)
    axis = node.op.axis
    base, idx, _ = node.inputs
    extent, rest = base.shape[axis], base.shape[axis + 1 :]
    last = rest[-1] if rest else 1

    def strip(index: Index, first: Affine, many: int) -> None:
        head, tail = index[:axis], index[axis:]
        scratch = b.alloc("strip", TensorType(node.dtype, (extent, many)))

        def place(i: Affine, lane: Affine) -> Index:
            return (*head, i, *tail, first + lane) if rest else (*head, i)

        b.nest((extent, many), lambda i: b.store(reads[0](place(*i)), scratch, i))

        def add(where: Index) -> None:
            at = b.to_index(reads[1](where), extent)

            def lane(index: Index) -> None:
                behind = (*tail, first + index[0]) if rest else ()
                b.store(reads[2]((*head, *where, *behind)), scratch, (at, *index), add=True)

            b.nest((many,), lane)

        b.nest(idx.shape, add, kind="serial")
        b.nest((extent, many), lambda i: store(place(*i), b.load_fresh(scratch, i)))

    many = _strip(last, extent * node.dtype.itemsize)
    outer = (*base.shape[:axis], *rest[:-1])
    b.nest((*outer, last // many), lambda index: strip(index[:-1], index[-1] * many, many))
    if last % many:
        b.nest(outer, lambda index: strip(index, Affine.of(last - last % many), last % many))


def _strip(last: int, nbytes: int) -> int:
    """How many neighbours of an axis of `last` a strip takes, each of which needs so many bytes of scratch: a part that
    divides the axis, where there is one of about a line of memory, or of several that stay in the cache."""
    if nbytes * LANES > SCRATCH:
        return max(1, min(last, SCRATCH // nbytes))
    most = 4 * LANES if 4 * LANES * nbytes <= LARGEST else LANES
    return next((n for n in range(min(last, most), LANES // 2, -1) if last % n == 0), min(last, LANES))


@nest(ScatterAlongAdd)
def scatter_along_add_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    assert isinstance(node.op, ScatterAlongAdd)
    axis = node.op.axis
    base, idx, _ = node.inputs

    def line(index: Index) -> None:
        head, tail = index[:axis], index[axis:]
        scratch = b.alloc("line", TensorType(node.dtype, (base.shape[axis],)))
        b.nest((base.shape[axis],), lambda i: b.store(reads[0]((*head, i[0], *tail)), scratch, i))

        def add(where: Index) -> None:
            at = b.to_index(reads[1]((*head, where[0], *tail)), base.shape[axis])
            b.store(reads[2]((*head, where[0], *tail)), scratch, (at,), add=True)

        b.nest((idx.shape[axis],), add, kind="serial")
        b.nest((base.shape[axis],), lambda i: store((*head, i[0], *tail), b.load_fresh(scratch, i)))

    b.nest((*base.shape[:axis], *base.shape[axis + 1 :]), line)


@nest(CumSum)
def cumsum_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    assert isinstance(node.op, CumSum)
    axis = node.op.axis
    shape = node.shape
    wide = node.dtype.wide

    def line(index: Index) -> None:
        def step(i: Index, held: list[Ref]) -> list[Ref]:
            where = (*index[:axis], i[0], *index[axis:])
            total = b.apply(ew.add, [held[0], b.cast(reads[0](where), wide)])
            store(where, b.cast(total, node.dtype))
            return [total]

        b.reduce([shape[axis]], [b.const(0, wide)], step, [None], "k")

    b.nest(shape[:axis] + shape[axis + 1 :], line)
