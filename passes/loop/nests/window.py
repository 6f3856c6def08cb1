"""The loop nests of sliding windows, and of positions of extrema, which windows use too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

from symc.ir.index import Affine, linear, unravel
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.reduce import ArgMax, ArgMin
from symc.ir.prims.window import WindowMax, WindowMaxGrad, WindowPick, WindowSpread, WindowSum
from symc.ir.types import I32, I64, Shape, TensorType, strides_of
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, nest


def _taps(size: Shape) -> list[tuple[int, ...]]:
    return list(product(*map(range, size)))


def _window_fold(b: Builder, node: Node, reads: Sequence[Read], store: Store, op: ew.Elementwise, start: float) -> None:
    window = node.op
    assert isinstance(window, (WindowMax, WindowSum))
    r = len(window.size)
    wide = node.dtype.wide

    def result(index: Index) -> None:
        lead, place = index[: len(index) - r], index[len(index) - r :]

        def step(tap: Index, held: list[Ref]) -> list[Ref]:
            where = tuple(p * s + t for p, s, t in zip(place, window.stride, tap))
            return [b.apply(op, [held[0], b.cast(reads[0]((*lead, *where)), wide)])]

        (total,) = b.reduce(window.size, [b.const(start, wide)], step, [op], "k")
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
    wide = node.dtype.wide
    reach = tuple(-(-k // s) for k, s in zip(op.size, op.stride))

    def result(index: Index) -> None:
        lead, q = index[: len(index) - r], index[len(index) - r :]

        def step(back: Index, held: list[Ref]) -> list[Ref]:
            at = tuple(i // s - t for i, s, t in zip(q, op.stride, back))
            inside = [(w, 0, extent) for w, extent in zip(at, places)]
            inside += [(i - w * s, 0, k) for i, w, s, k in zip(q, at, op.stride, op.size)]
            value = b.guard(inside, lambda: reads[0]((*lead, *at)), b.const(0, ct.dtype))
            return [b.apply(ew.add, [held[0], b.cast(value, wide)])]

        (total,) = b.reduce(reach, [b.const(0, wide)], step, [ew.add], "k")
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
    """Windows that do not overlap write their places directly; places of others gather from them. Large windows add
    into a cleared plane, one by one."""
    op = node.op
    assert isinstance(op, WindowMaxGrad)
    r = len(op.size)
    lead = node.shape[: node.rank - r]
    small = math.prod(op.size) <= _UNROLLED
    apart = all(k <= s for k, s in zip(op.size, op.stride))
    nest_of = _large_windows_together if not small else _windows_apart if apart else _windows_together
    b.nest(lead, lambda index: nest_of(b, node, index, reads, store))


#: places of a window that are written out; those of larger ones are a loop
_UNROLLED = 16


def _windows_apart(b: Builder, node: Node, lead: Index, reads: Sequence[Read], store: Store) -> None:
    """Every place of a plane is stored once: those of the windows, and zeros between and behind them."""
    op = node.op
    assert isinstance(op, WindowMaxGrad)
    r = len(op.size)
    spatial, places = node.shape[node.rank - r :], node.inputs[1].shape[node.rank - r :]
    zero = b.const(0, node.dtype)
    gap = op.stride[-1] - op.size[-1]
    # the gap behind a window along the last axis is stored with it: rows are written in one pass
    wide = min(places[-1], spatial[-1] // op.stride[-1]) if 0 < gap <= _UNROLLED else 0

    def windows(first: int, count: int, behind: int) -> None:
        """Windows from a number on along the last axis, each with so many zeros behind it."""

        def one(place: Index) -> None:
            place = (*place[:-1], place[-1] + first)
            _window(b, op, lead, place, reads, store)
            for tap in _taps((*op.size[:-1], behind)):
                where = [p * s + t for p, s, t in zip(place, op.stride, tap)]
                store((*lead, *where[:-1], where[-1] + op.size[-1]), zero)

        if count:
            b.nest((*places[:-1], count), one)

    windows(0, wide, gap)
    windows(wide, places[-1] - wide, 0)

    def clear(axis: int, start: int, step: int, extents: tuple[int, int]) -> None:
        """Zeros at start + step * i + j of an axis: in windows of the axes before it, anywhere in those behind it."""
        covered = [extent for pair in zip(places[:axis], op.size) for extent in pair]

        def put(index: Index) -> None:
            inside, (i, j), behind = index[: 2 * axis], index[2 * axis : 2 * axis + 2], index[2 * axis + 2 :]
            before = (p * s + t for p, s, t in zip(inside[::2], op.stride, inside[1::2]))
            store((*lead, *before, i * step + (j + start), *behind), zero)

        b.nest([*covered, *extents, *spatial[axis + 1 :]], put)

    for axis, (count, stride, size, extent) in enumerate(zip(places, op.stride, op.size, spatial)):
        done = wide if axis == r - 1 else 0
        if count - 1 > done and stride > size:
            clear(axis, size, stride, (count - 1, stride - size))
        end = count * stride if 0 < count == done else (count - 1) * stride + size if count else 0
        if extent > end:
            clear(axis, end, 0, (1, extent - end))


def _windows_together(b: Builder, node: Node, lead: Index, reads: Sequence[Read], store: Store) -> None:
    """Windows that share places: which of its places each takes is noted first. A place then adds up, in their order,
    the windows that took it; those are at a fixed distance for all places that leave the same residue by the stride."""
    op = node.op
    assert isinstance(op, WindowMaxGrad)
    r = len(op.size)
    spatial, places = node.shape[node.rank - r :], node.inputs[1].shape[node.rank - r :]
    taken = b.alloc("taken", TensorType(I32, places))

    def note(place: Index) -> None:
        values = [reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap)))) for tap in _taps(op.size)]
        top, free, tap = _window_top(b, values), None, b.const(0, I32)
        for at, value in enumerate(values):
            first, free = _first_hit(b, value, top, free)
            tap = b.apply(ew.Select(), [first, b.const(at, I32), tap])
        b.store(tap, taken, place)

    b.nest(places, note)
    zero = b.const(0, node.dtype)
    for residue in product(*(range(min(s, n)) for s, n in zip(op.stride, spatial))):
        backs = product(*(reversed(range(-(-(k - u) // s))) for k, s, u in zip(op.size, op.stride, residue)))
        # (windows back, the place within that window), the first window first
        met = [(back, tuple(u + t * s for u, t, s in zip(residue, back, op.stride))) for back in backs]

        def gather(q: Index, residue: tuple[int, ...] = residue, met: list[tuple[Shape, Shape]] = met) -> None:
            total = zero
            for back, tap in met:
                at = tuple(i - t for i, t in zip(q, back))
                inside = [(w, 0, extent) for w, extent in zip(at, places)]
                given = b.guard(inside, lambda at=at: reads[1]((*lead, *at)), zero)  # type: ignore[misc]
                number = b.guard(inside, lambda at=at: b.load_fresh(taken, at), b.const(-1, I32))  # type: ignore[misc]
                own = sum(t * s for t, s in zip(tap, strides_of(op.size)))
                mine = b.apply(ew.eq, [number, b.const(own, I32)])
                total = b.apply(ew.add, [total, b.apply(ew.Select(), [mine, given, zero])])
            store((*lead, *(i * s + u for i, s, u in zip(q, op.stride, residue))), total)

        b.nest([-(-(n - u) // s) for n, u, s in zip(spatial, residue, op.stride)], gather)


def _large_windows_together(b: Builder, node: Node, lead: Index, reads: Sequence[Read], store: Store) -> None:
    """Large windows add into a plane of their own, one after the other, as several may share a place."""
    op = node.op
    assert isinstance(op, WindowMaxGrad)
    r = len(op.size)
    spatial, places = node.shape[node.rank - r :], node.inputs[1].shape[node.rank - r :]
    zero = b.const(0, node.dtype)
    scratch = b.alloc("plane", TensorType(node.dtype, spatial))
    b.nest(spatial, lambda q: b.store(zero, scratch, q))
    with_lead = len(lead)

    def add(index: Index, value: Ref) -> None:
        b.store(value, scratch, index[with_lead:], add=True)

    b.nest(places, lambda place: _large_window(b, op, lead, place, reads, add), kind="serial")
    b.nest(spatial, lambda q: store((*lead, *q), b.load_fresh(scratch, q)))


def _window(b: Builder, op: WindowMaxGrad, lead: Index, place: Index, reads: Sequence[Read], put: Store) -> None:
    """A window written out: its cotangent at the place of its first maximum, zero at the others."""
    where = [tuple(p * s + t for p, s, t in zip(place, op.stride, tap)) for tap in _taps(op.size)]
    values = [reads[0]((*lead, *w)) for w in where]
    top, given = _window_top(b, values), reads[1]((*lead, *place))
    zero = b.const(0, given.dtype)
    free: Ref | None = None
    shares = []
    for value in values:
        first, free = _first_hit(b, value, top, free)
        shares.append(b.apply(ew.Select(), [first, given, zero]))
    for w, share in zip(where, shares):
        put((*lead, *w), share)


def _large_window(b: Builder, op: WindowMaxGrad, lead: Index, place: Index, reads: Sequence[Read], put: Store) -> None:
    """A window of many places: find the first maximum's position in a loop, then add there."""
    position = _first_position(
        b, op.size, lambda tap: reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))))
    )
    tap = unravel(b.to_index(position, math.prod(op.size)), op.size)
    put((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))), reads[1]((*lead, *place)))


def _first_position(b: Builder, size: Shape, read: Callable[[Index], Ref], least: bool = False) -> Ref:
    """Row-major position (i64) of the first extremum; the first nan wins."""
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

    return b.reduce(size, [start, b.const(0, I64)], step, [None, None], "k")[1]


@nest(WindowPick)
def window_pick_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, WindowPick)
    r = len(op.size)

    def result(index: Index) -> None:
        lead, place = index[: len(index) - r], index[len(index) - r :]

        def read(tap: Index) -> Ref:
            return reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))))

        tap = unravel(b.to_index(_first_position(b, op.size, read), math.prod(op.size)), op.size)
        store(index, reads[1]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap)))))

    b.nest(node.shape, result)


# --------------------------------------------------------------------------------------------- positions


def _arg_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store, least: bool) -> None:
    assert isinstance(node.op, (ArgMax, ArgMin))
    axis = node.op.axis
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
