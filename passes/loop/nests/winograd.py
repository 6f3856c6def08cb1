"""The loop nests of convolutions by minimal filtering (see symc.ir.prims.winograd).

A block of tiles goes through all steps before the next, in scratch memory that stays in a core's caches: its part of
the map is turned round, channels innermost, and transformed; every point is a matrix product; the products are
transformed back, turned round again and stored, with the values that follow the convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction

from symc.ir.index import Affine
from symc.ir.op import Index, Node, Ref
from symc.ir.prims import elementwise as ew
from symc.ir.prims.winograd import POINTS, TAPS, Winograd, WinogradWeights, pairs_of, product_of
from symc.ir.types import TensorType
from symc.passes.loop.build import Builder
from symc.passes.loop.nests.common import Read, Store, multiply_add, nest

#: a transform along one axis
Transform = Callable[[Builder, int, Sequence[Ref]], list[Ref]]


@nest(WinogradWeights)
def winograd_weights_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, WinogradWeights)
    _, groups, channels, lanes = node.shape
    wide = node.dtype.wide

    def one(index: Index) -> None:
        g, c, lane = index
        o = g * lanes + lane
        taps = [[b.cast(reads[0]((o, c, Affine.of(i), Affine.of(j))), wide) for j in range(TAPS)] for i in range(TAPS)]
        for at, value in enumerate(_both(b, op.tile, taps, _of_taps)):
            store((Affine.of(at), g, c, lane), b.cast(value, node.dtype))

    b.nest((groups, channels, lanes), one)


@nest(Winograd)
def winograd_nest(b: Builder, node: Node, reads: Sequence[Read], store: Store) -> None:
    op = node.op
    assert isinstance(op, Winograd)
    tile, (images, rows, groups) = op.tile, op.block
    _, many, _, lanes = node.inputs[1].shape
    size = tile + TAPS - 1
    _, channels, height, width = node.inputs[0].shape
    down, across = op.tiles(node.shape[2:])
    blocks = (node.shape[0] // images, -(-down // rows), many // groups)
    wide = node.dtype.wide
    count, outs = images * rows * across, groups * lanes
    lines, columns = rows * tile + TAPS - 1, across * tile + TAPS - 1

    def block(at: Index) -> None:
        image, first, out = at[0] * images, at[1] * (rows * tile), at[2] * outs
        turned = b.alloc("map", TensorType(wide, (images, lines, columns, channels)))
        points = b.alloc("points", TensorType(wide, (size**2, count, channels)))
        products = b.alloc("products", TensorType(wide, (size**2, count, outs)))
        results = b.alloc("results", TensorType(wide, (images, rows * tile, across * tile, outs)))

        def clear(begin: int, end: int) -> None:
            def zero(i: Index) -> None:
                b.store(b.const(0, wide), turned, (i[0], i[1], i[2] + begin, i[3]))

            if begin < end:
                b.nest((images, lines, end - begin, channels), zero)

        def turn(i: Index) -> None:
            n, c, line, column = i
            row = first + line - op.low[0]
            outside = b.const(0, node.dtype)
            value = b.guard([(row, 0, height)], lambda: reads[0]((image + n, c, row, column)), outside)
            b.store(b.cast(value, wide), turned, (n, line, column + op.low[1], c))

        def evaluate(i: Index) -> None:
            n, r, q, c = i
            values = [
                [b.load_fresh(turned, (n, r * tile + y, q * tile + x, c)) for x in range(size)] for y in range(size)
            ]
            for k, value in enumerate(_both(b, tile, values, _of_map)):
                b.store(value, points, (Affine.of(k), (n * rows + r) * across + q, c))

        def multiply(i: Index) -> None:
            k, g, t, lane = i

            def step(r: Index, held: list[Ref]) -> list[Ref]:
                weight = reads[1]((k, at[2] * groups + g, r[0], lane))
                return [multiply_add(b, b.load_fresh(points, (k, t, r[0])), weight, held[0])]

            (total,) = b.reduce((channels,), [b.const(0, wide)], step, [ew.add], "k")
            b.store(total, products, (k, t, g * lanes + lane))

        def interpolate(i: Index) -> None:
            n, r, q, o = i
            t = (n * rows + r) * across + q
            values = [
                [b.load_fresh(products, (Affine.of(y * size + x), t, o)) for x in range(size)] for y in range(size)
            ]
            for k, value in enumerate(_both(b, tile, values, _of_products)):
                y, x = divmod(k, tile)
                b.store(value, results, (n, r * tile + y, q * tile + x, o))

        def finish(n: Affine, line: Affine, o: Affine, column: Affine) -> None:
            value = b.load_fresh(results, (n, line, column, o))
            store((image + n, out + o, first + line, column), b.cast(value, node.dtype))

        clear(0, op.low[1])
        clear(op.low[1] + width, columns)
        b.nest((images, channels, lines, width), turn)
        b.nest((images, rows, across, channels), evaluate)
        b.nest((size**2, groups, count, lanes), multiply)
        b.nest((images, rows, across, outs), interpolate)
        if blocks[1] * rows * tile == node.shape[2]:
            b.nest((images, outs, rows * tile, node.shape[3]), lambda i: finish(i[0], i[2], i[1], i[3]))
            return

        def line(i: Index) -> None:
            n, row = i
            inside = b.condition([(first + row, 0, node.shape[2])])
            with b.when(inside) if inside.name else nullcontext():
                b.nest((outs, node.shape[3]), lambda j: finish(n, row, *j))

        b.nest((images, min(rows * tile, node.shape[2])), line)

    with b.at(None, "winograd"):
        b.nest(blocks, block)


# --------------------------------------------------------------------------------------------- transforms


def _both(b: Builder, tile: int, values: Sequence[Sequence[Ref]], transform: Transform) -> list[Ref]:
    """A transform along both axes, row by row of what it gives."""
    columns = [transform(b, tile, column) for column in zip(*values)]
    return [value for row in zip(*columns) for value in transform(b, tile, row)]


def _of_map(b: Builder, tile: int, x: Sequence[Ref]) -> list[Ref]:
    """Values of a map at the points. Those of a pair are a sum and a difference."""
    whole = product_of(POINTS[tile])
    made = [_combined(b, whole, x[0::2])]
    for pair in pairs_of(tile):
        even, odd = _combined(b, pair.others, x[2::2]), _combined(b, pair.others, x[1:-1:2])
        made += [_times(b, odd, pair.value, even), _times(b, odd, -pair.value, even)]
    return [*made, _combined(b, whole, x[1::2])]


def _of_taps(b: Builder, tile: int, w: Sequence[Ref]) -> list[Ref]:
    """Taps at the points."""
    made = [_scaled(b, w[0], 1 / product_of(POINTS[tile])[0])]
    for pair in pairs_of(tile):
        even = _times(b, w[2], pair.value**2 / pair.scale, _scaled(b, w[0], 1 / pair.scale))
        odd = pair.value / pair.scale
        made += [_times(b, w[1], odd, even), _times(b, w[1], -odd, even)]
    return [*made, w[2]]


def _of_products(b: Builder, tile: int, m: Sequence[Ref]) -> list[Ref]:
    """The results of a tile from the products at the points."""
    pairs = [
        (b.apply(ew.add, [plus, minus]), b.apply(ew.sub, [plus, minus])) for plus, minus in zip(m[1:-1:2], m[2:-1:2])
    ]
    made = []
    for power in range(tile):
        total: Ref | None = m[0] if power == 0 else m[-1] if power == tile - 1 else None
        for p, pair in zip(POINTS[tile], pairs):
            term, factor = pair[power % 2], p**power
            total = _scaled(b, term, factor) if total is None else _times(b, term, factor, total)
        assert total is not None
        made.append(total)
    return made


def _combined(b: Builder, factors: Sequence[Fraction], values: Sequence[Ref]) -> Ref:
    """The sum of values with factors, the last of which is 1."""
    total = values[len(factors) - 1]
    for factor, value in zip(factors[:-1], values):
        total = _times(b, value, factor, total)
    return total


def _scaled(b: Builder, value: Ref, factor: Fraction) -> Ref:
    return value if factor == 1 else b.apply(ew.mul, [value, b.const(float(factor), value.dtype)])


def _times(b: Builder, value: Ref, factor: Fraction, total: Ref) -> Ref:
    """value * factor + total."""
    if factor == 1:
        return b.apply(ew.add, [total, value])
    if factor == -1:
        return b.apply(ew.sub, [total, value])
    return multiply_add(b, value, b.const(float(factor), value.dtype), total)
