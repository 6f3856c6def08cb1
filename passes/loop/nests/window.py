"""The loop nests of sliding windows, and of positions of extrema, which windows use too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from symc.ir.index import Affine, unravel
from symc.ir.loop.nodes import Ref
from symc.ir.op import Index
from symc.ir.prims import elementwise as ew
from symc.ir.prims.reduce import ArgMax, ArgMin
from symc.ir.prims.window import WindowMax, WindowMaxGrad, WindowPick, WindowSpread, WindowSum
from symc.ir.tensor.graph import Node
from symc.ir.types import I64, Shape, TensorType
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, accumulator, nest


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
    position = _first_position(
        b, op.size, lambda tap: reads[0]((*lead, *(p * s + t for p, s, t in zip(place, op.stride, tap))))
    )
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

        tap = unravel(b.to_index(_first_position(b, op.size, read)), op.size)
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
