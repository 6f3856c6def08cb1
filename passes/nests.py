"""The loop nests of the primitives that have no element rule: contractions, windows, copies, scatters.

Each nest writes the plain loops: independent loops over the result, reductions inside. `store(index, value)` runs
the kernel's epilogue at an index and stores what the kernel yields. Padding that a nest needs is done by its reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from symc.ir.graph import Node
from symc.ir.index import Affine
from symc.ir.loops import Ref
from symc.ir.op import Index, Primitive
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import ScatterAdd, ScatterAlongAdd
from symc.ir.prims.linear import Conv, ConvDw, ConvDx, Dot, scatters
from symc.ir.prims.movement import Concat, Pad
from symc.ir.prims.reduce import ArgMax, ArgMin, CumSum
from symc.ir.prims.window import WindowMax, WindowMaxGrad, WindowPick, WindowSpread, WindowSum
from symc.ir.types import F16, F32, I64, DType, Shape, TensorType
from symc.passes.build import Builder

Read = Callable[[Index], Ref]
Store = Callable[[Index, Ref], None]
Nest = Callable[[Builder, Node, Sequence[Read], Store], None]

NESTS: dict[type[Primitive], Nest] = {}


def nest(op: type[Primitive]) -> Callable[[Nest], Nest]:
    """Register the loop nest of a primitive."""

    def register(function: Nest) -> Nest:
        NESTS[op] = function
        return function

    return register


def accumulator(dtype: DType) -> DType:
    """Half precision accumulates in single."""
    return F32 if dtype == F16 else dtype


def _multiply_add(b: Builder, x: Ref, y: Ref, held: Ref) -> Ref:
    return b.apply(ew.Fma(), [b.cast(x, held.dtype), b.cast(y, held.dtype), held])


# --------------------------------------------------------------------------------------------- contractions


@nest(Dot)
def dot_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, Dot)
    *batch, m, n = node.shape
    inner = node.inputs[0].shape[-2 if op.ta else -1]
    wide = accumulator(node.dtype)

    def result(index: Index) -> None:
        *lead, i, j = index

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            x = reads[0]((*lead, r[0], i) if op.ta else (*lead, i, r[0]))
            y = reads[1]((*lead, j, r[0]) if op.tb else (*lead, r[0], j))
            return [_multiply_add(b, x, y, held[0])]

        (total,) = b.reduce([inner], [b.const(0, wide)], step, "k")
        store(index, b.cast(total, node.dtype))

    with b.at(None, "dot"):
        b.nest(node.shape, result)


@nest(Conv)
def conv_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, Conv)
    x, w = node.inputs
    wide = accumulator(node.dtype)
    per = w.shape[0] // op.groups

    def at(index: Index, group: Affine, o: Affine) -> None:
        n, place = index[0], index[2:]

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            c, tap = r[0], r[1:]
            where = tuple(p * s + t * d for p, s, t, d in zip(place, op.stride, tap, op.dilate))
            left = reads[0]((n, group * w.shape[1] + c, *where))
            return [_multiply_add(b, left, reads[1]((o, c, *tap)), held[0])]

        (total,) = b.reduce([w.shape[1], *w.shape[2:]], [b.const(0, wide)], step, "k")
        store((n, o, *place), b.cast(total, node.dtype))

    with b.at(None, "conv"):
        _grouped(b, node.shape, op.groups, per, at)


def _grouped(b: Builder, shape: Shape, groups: int, per: int, at: Callable[[Index, Affine, Affine], None]) -> None:
    """Loops over (n, channel, *spatial), the channel split by group where there are several."""
    if groups == 1:
        b.nest(shape, lambda index: at(index, Affine(), index[1]))
        return

    def inside(index: Index) -> None:
        n, g, o, *place = index
        at((n, g, *place), g, g * per + o)

    b.nest((shape[0], groups, per, *shape[2:]), inside)


@nest(ConvDx)
def conv_dx_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Gathered: x[q] sums ct[(q - t*dilate) / stride] w[t] over the taps that divide and lie inside. Every residue
    of q by the stride is a nest of its own, so that the taps that meet it are known."""
    op = node.op
    assert isinstance(op, ConvDx)
    ct, w = node.inputs
    wide = accumulator(node.dtype)
    outs, channels = w.shape[0] // op.groups, w.shape[1]
    places = ct.shape[2:]
    low = op.low or (0,) * len(places)
    if scatters(op, places):
        _conv_dx_scatter(b, node, reads, store)
        return

    def phase(residue: tuple[int, ...], extents: tuple[int, ...], n: Affine, g: Affine, c: Affine) -> None:
        taps = [
            [t for t in range(k) if (r - t * d) % s == 0]
            for r, k, d, s in zip(residue, w.shape[2:], op.dilate, op.stride)
        ]

        def result(q: Index) -> None:
            # position q*s + residue; tap t meets ct at q + (residue - t*d)/s
            def step(r: Index, held: list[Ref]) -> list[Ref]:
                o, total = r[0], held[0]
                at: list[Affine] = []
                tap: list[Affine] = []
                for axis, (turn, found) in enumerate(zip(r[1:], taps)):
                    period = found[1] - found[0] if len(found) > 1 else 1
                    shift = (residue[axis] - found[0] * op.dilate[axis]) // op.stride[axis]
                    slope = period * op.dilate[axis] // op.stride[axis]
                    tap.append(turn * period + found[0])
                    at.append(q[axis] + (shift + low[axis]) - turn * slope)
                inside = [(i, 0, extent) for i, extent in zip(at, places)]
                left = b.guard(inside, lambda: reads[0]((n, g * outs + o, *at)), b.const(0, ct.dtype))
                return [_multiply_add(b, left, reads[1]((g * outs + o, c, *tap)), total)]

            if all(taps):
                (total,) = b.reduce([outs, *map(len, taps)], [b.const(0, wide)], step, "k")
            else:
                total = b.const(0, wide)
            position = tuple(i * s + r for i, s, r in zip(q, op.stride, residue))
            store((n, g * channels + c, *position), b.cast(total, node.dtype))

        b.nest(extents, result)

    def image(index: Index) -> None:
        n, g, c = index
        for residue in product(*map(range, op.stride)):
            extents = tuple(max(0, -(-(q - r) // s)) for q, r, s in zip(op.spatial, residue, op.stride))
            if all(extents):
                phase(residue, extents, n, g, c)

    with b.at(None, "conv_dx"):
        b.nest((node.shape[0], op.groups, channels), image)


def _conv_dx_scatter(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Every tap's products, summed over the channels of ct, are added into the plane at the tap's shift."""
    op = node.op
    assert isinstance(op, ConvDx)
    ct, w = node.inputs
    wide = accumulator(node.dtype)
    outs, channels = w.shape[0] // op.groups, w.shape[1]

    def image(index: Index) -> None:
        n, g = index
        plane = b.alloc("plane", TensorType(wide, (channels, *op.spatial)))
        b.nest(plane.type.shape, lambda q: b.store(b.const(0, wide), plane, q))

        def tap(where: Index) -> None:
            c, t, p = where[0], where[1 : 1 + len(op.spatial)], where[1 + len(op.spatial) :]

            def step(o: Index, held: list[Ref]) -> list[Ref]:
                channel = g * outs + o[0]
                return [_multiply_add(b, reads[0]((n, channel, *p)), reads[1]((channel, c, *t)), held[0])]

            (total,) = b.reduce([outs], [b.const(0, wide)], step, "k")
            b.store(total, plane, (c, *(i + j * d for i, j, d in zip(p, t, op.dilate))), add=True)

        b.nest((channels, *w.shape[2:], *ct.shape[2:]), tap)

        def finish(q: Index) -> None:
            store((n, g * channels + q[0], *q[1:]), b.cast(b.load_fresh(plane, q), node.dtype))

        b.nest(plane.type.shape, finish)

    with b.at(None, "conv_dx"):
        b.nest((node.shape[0], op.groups), image)


@nest(ConvDw)
def conv_dw_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, ConvDw)
    x, ct = node.inputs
    wide = accumulator(node.dtype)
    outs, channels = node.shape[0] // op.groups, node.shape[1]

    def result(index: Index) -> None:
        g, o, c, *tap = index

        def step(r: Index, held: list[Ref]) -> list[Ref]:
            n, place = r[0], r[1:]
            where = tuple(p * s + t * d for p, s, t, d in zip(place, op.stride, tap, op.dilate))
            left = reads[0]((n, g * channels + c, *where))
            return [_multiply_add(b, left, reads[1]((n, g * outs + o, *place)), held[0])]

        (total,) = b.reduce([ct.shape[0], *ct.shape[2:]], [b.const(0, wide)], step, "p")
        store((g * outs + o, c, *tap), b.cast(total, node.dtype))

    with b.at(None, "conv_dw"):
        b.nest((op.groups, outs, channels, *op.kernel), result)


# --------------------------------------------------------------------------------------------- windows


def _taps(size: Shape) -> list[tuple[int, ...]]:
    return list(product(*map(range, size)))


def _window_fold(b: Builder, node: Node, reads: Sequence[Read], store: Store, op: ew.Elementwise, start: float) -> None:
    window = node.op
    assert isinstance(window, (WindowMax, WindowSum))
    r = len(window.size)
    wide = accumulator(node.dtype) if isinstance(window, WindowSum) else node.dtype

    def result(index: Index) -> None:
        lead, place = index[: len(index) - r], index[len(index) - r :]

        def step(tap: Index, held: list[Ref]) -> list[Ref]:
            where = tuple(p * s + t for p, s, t in zip(place, window.stride, tap))
            return [b.apply(op, [held[0], b.cast(reads[0]((*lead, *where)), wide)])]

        (total,) = b.reduce(window.size, [b.const(start, wide)], step, "k")
        store(index, b.cast(total, node.dtype))

    b.nest(node.shape, result)


@nest(WindowMax)
def window_max_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    from symc.ir.prims.reduce import Max

    _window_fold(b, node, reads, store, ew.maximum, Max().identity(node.dtype))


@nest(WindowSum)
def window_sum_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    _window_fold(b, node, reads, store, ew.add, 0)


@nest(WindowSpread)
def window_spread_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Gathered: position q collects the windows w with w*stride <= q < w*stride + size."""
    op = node.op
    assert isinstance(op, WindowSpread)
    r = len(op.size)
    ct = node.inputs[0]
    places = ct.shape[ct.rank - r :]
    wide = accumulator(node.dtype)
    reach = tuple(-(-k // s) for k, s in zip(op.size, op.stride))

    def result(index: Index) -> None:
        lead, q = index[: len(index) - r], index[len(index) - r :]

        def step(back: Index, held: list[Ref]) -> list[Ref]:
            at = tuple(i // s - t for i, s, t in zip(q, op.stride, back))
            inside = [(w, 0, extent) for w, extent in zip(at, places)]
            inside += [(i - w * s, 0, k) for i, w, s, k in zip(q, at, op.stride, op.size)]
            value = b.guard(inside, lambda: reads[0]((*lead, *at)), b.const(0, ct.dtype))
            return [b.apply(ew.add, [held[0], b.cast(value, wide)])]

        (total,) = b.reduce(reach, [b.const(0, wide)], step, "k")
        store(index, b.cast(total, node.dtype))

    b.nest(node.shape, result)


def _first_hit(b: Builder, value: Ref, top: Ref, free: Ref | None) -> tuple[Ref, Ref]:
    """(whether this is the first element equal to the window's maximum, whether none was found yet after it)."""
    hit = b.apply(ew.eq, [value, top])
    if value.dtype.is_float:
        hit = b.apply(ew.or_, [hit, b.apply(ew.isnan, [value])])
    if free is None:
        return hit, b.apply(ew.not_, [hit])
    first = b.apply(ew.and_, [hit, free])
    return first, b.apply(ew.and_, [free, b.apply(ew.not_, [hit])])


def _window_top(b: Builder, values: Sequence[Ref]) -> Ref:
    top = values[0]
    for value in values[1:]:
        top = b.apply(ew.maximum, [top, value])
    return top


@nest(WindowMaxGrad)
def window_max_grad_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    """Windows that do not overlap write their places directly; others add into a cleared plane, window by window."""
    op = node.op
    assert isinstance(op, WindowMaxGrad)
    x, ct = node.inputs
    r = len(op.size)
    lead_shape, spatial = x.shape[: x.rank - r], x.shape[x.rank - r :]
    places = ct.shape[ct.rank - r :]
    taps = _taps(op.size)
    zero = b.const(0, node.dtype)
    covered = tuple((p - 1) * s + k if p else 0 for p, s, k in zip(places, op.stride, op.size))
    apart = all(k <= s for k, s in zip(op.size, op.stride)) and len(taps) <= 16

    def window(lead: Index, place: Index, put: Callable[[Index, Ref], None]) -> None:
        where = [tuple(p * s + t for p, s, t in zip(place, op.stride, tap)) for tap in taps]
        values = [reads[0]((*lead, *w)) for w in where]
        top, given = _window_top(b, values), reads[1]((*lead, *place))
        free: Ref | None = None
        shares = []
        for value in values:
            first, free = _first_hit(b, value, top, free)
            shares.append(b.apply(ew.Select(), [first, given, zero]))
        for w, share in zip(where, shares):
            put((*lead, *w), share)

    def plane(lead: Index) -> None:
        exact = apart and all(k == s for k, s in zip(op.size, op.stride)) and covered == spatial
        if apart:
            if not exact:
                b.nest(spatial, lambda q: store((*lead, *q), zero))
            b.nest(places, lambda place: window(lead, place, store))
            return
        scratch = b.alloc("plane", TensorType(node.dtype, spatial))
        b.nest(spatial, lambda q: b.store(zero, scratch, q))
        with_lead = len(lead)

        def add(index: Index, value: Ref) -> None:
            b.store(value, scratch, index[with_lead:], add=True)

        if len(taps) <= 16:
            b.nest(places, lambda place: window(lead, place, add), kind="serial")
        else:
            b.nest(places, lambda place: _large_window(b, op, lead, place, reads, scratch_add=add), kind="serial")
        b.nest(spatial, lambda q: store((*lead, *q), b.load_fresh(scratch, q)))

    b.nest(lead_shape, plane)


def _large_window(
    b: Builder, op: WindowMaxGrad, lead: Index, place: Index, reads: Sequence[Read],
    scratch_add: Callable[[Index, Ref], None],
) -> None:  # fmt: skip
    """A window of many places: find the first maximum's position in a loop, then add there."""
    position = _first_position(b, op.size, lambda tap: reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap)))))
    from symc.ir.index import unravel

    tap = unravel(b.to_index(position), op.size)
    scratch_add((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))), reads[1]((*lead, *place)))


def _first_position(b: Builder, size: Shape, read: Callable[[Index], Ref], least: bool = False) -> Ref:
    """Row-major position (i64) of the first extremum; the first nan wins."""
    from symc.ir.index import linear
    from symc.ir.types import strides_of

    zero = tuple(Affine() for _ in size)
    start = read(zero)

    def step(tap: Index, held: list[Ref]) -> list[Ref]:
        value = read(tap)
        better = b.apply(ew.lt if least else ew.gt, [value, held[0]])
        if value.dtype.is_float:
            nan = b.apply(ew.isnan, [value])
            fresh = b.apply(ew.not_, [b.apply(ew.isnan, [held[0]])])
            better = b.apply(ew.or_, [better, b.apply(ew.and_, [nan, fresh])])
        at = b.from_index(linear(tap, strides_of(size)), I64)
        return [b.apply(ew.Select(), [better, value, held[0]]), b.apply(ew.Select(), [better, at, held[1]])]

    return b.reduce(size, [start, b.const(0, I64)], step, "k")[1]


@nest(WindowPick)
def window_pick_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, WindowPick)
    r = len(op.size)

    def result(index: Index) -> None:
        from symc.ir.index import unravel

        lead, place = index[: len(index) - r], index[len(index) - r :]

        def read(tap: Index) -> Ref:
            return reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))))

        tap = unravel(b.to_index(_first_position(b, op.size, read)), op.size)
        store(index, reads[1]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap)))))

    b.nest(node.shape, result)


# --------------------------------------------------------------------------------------------- positions and sums


def _arg_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store, least: bool) -> None:
    axis = node.op.axis  # type: ignore[attr-defined]
    extent = node.inputs[0].shape[axis]

    def result(index: Index) -> None:
        position = _first_position(b, (extent,), lambda i: reads[0]((*index[:axis], i[0], *index[axis:])), least)
        store(index, position)

    b.nest(node.shape, result)


@nest(ArgMax)
def argmax_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    _arg_nest(b, node, reads, store, least=False)


@nest(ArgMin)
def argmin_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    _arg_nest(b, node, reads, store, least=True)


@nest(CumSum)
def cumsum_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    axis = node.op.axis  # type: ignore[attr-defined]
    shape = node.shape
    wide = accumulator(node.dtype)

    def line(index: Index) -> None:
        def step(i: Index, held: list[Ref]) -> list[Ref]:
            where = (*index[:axis], i[0], *index[axis:])
            total = b.apply(ew.add, [held[0], b.cast(reads[0](where), wide)])
            store(where, b.cast(total, node.dtype))
            return [total]

        b.reduce([shape[axis]], [b.const(0, wide)], step, "k")

    b.nest(shape[:axis] + shape[axis + 1 :], line)


# --------------------------------------------------------------------------------------------- copies


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
            where = tuple(
                i * (gap + 1) + low for i, gap, low in zip(rest, op.interior[lead:], op.low[lead:])
            )
            store((*head, *where), reads[0]((*head, *rest)))

        b.nest(x.shape[lead:], copy)

    b.nest(node.shape[:lead], block)


@nest(Concat)
def concat_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    axis = node.op.axis  # type: ignore[attr-defined]

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
    """Repeated positions are added in order, so the loop over positions is serial; the other axes are independent."""
    axis = node.op.axis  # type: ignore[attr-defined]
    base, idx, _ = node.inputs
    rest = base.shape[axis + 1 :]

    def lane(index: Index) -> None:
        head, tail = index[:axis], index[axis:]
        scratch = b.alloc("column", TensorType(node.dtype, (base.shape[axis],)))
        b.nest((base.shape[axis],), lambda i: b.store(reads[0]((*head, i[0], *tail)), scratch, i))

        def add(where: Index) -> None:
            at = b.to_index(reads[1](where))
            b.store(reads[2]((*head, *where, *tail)), scratch, (at,), add=True)

        b.nest(idx.shape, add, kind="serial")
        b.nest((base.shape[axis],), lambda i: store((*head, i[0], *tail), b.load_fresh(scratch, i)))

    b.nest((*base.shape[:axis], *rest), lane)


@nest(ScatterAlongAdd)
def scatter_along_add_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    axis = node.op.axis  # type: ignore[attr-defined]
    base, idx, _ = node.inputs

    def line(index: Index) -> None:
        head, tail = index[:axis], index[axis:]
        scratch = b.alloc("line", TensorType(node.dtype, (base.shape[axis],)))
        b.nest((base.shape[axis],), lambda i: b.store(reads[0]((*head, i[0], *tail)), scratch, i))

        def add(where: Index) -> None:
            at = b.to_index(reads[1]((*head, where[0], *tail)))
            b.store(reads[2]((*head, where[0], *tail)), scratch, (at,), add=True)

        b.nest((idx.shape[axis],), add, kind="serial")
        b.nest((base.shape[axis],), lambda i: store((*head, i[0], *tail), b.load_fresh(scratch, i)))

    b.nest((*base.shape[:axis], *base.shape[axis + 1 :]), line)
