"""winograd_dw: weight gradients of 3x3 convolutions by minimal filtering, where that is faster.

This is the filtering of symc.ir.prims.winograd, transposed: what its results are in the taps is bilinear, and the three
factors of a bilinear form can change places (Winograd, "Arithmetic Complexity of Computations", 1980). A tile of 2x2
places whose gradient is given, and the 4x4 values of the map that they saw, meet in 16 products instead of 36; the sums
of these over all tiles are transformed to taps once. Every point is a matrix product: of the output channels by the
channels, over all tiles.

**Error.** All factors are powers of two, so that beside the products' sums only sums of up to four values before them
and of up to nine behind them are rounded. The error goes by the sizes of the terms of whole tiles, as in
symc.ir.prims.winograd: a gradient is off by at most (tiles + 24) u times these, u = 2^-24 in single precision, and of
maps without outliers by at most `FURTHER` times the direct form's error; a test holds it to both. What is not finite
spreads over all taps of its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from symc.ir.op import Node
from symc.ir.prims.linear import ConvDw, dot
from symc.ir.prims.movement import concat, pad, reshape, slice_, stack, transpose
from symc.ir.prims.winograd import TAPS, matrices
from symc.ir.tensor.graph import Graph
from symc.ir.types import F32, Array
from symc.passes.cost import HANDLING, MOVING
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rewrite
from symc.passes.manager.watching import Refused

#: results of a tile along each axis, and the values of the map that it sees
TILE, SIZE = 2, 2 + TAPS - 1


#: a form is chosen if it takes at most this part of the direct form's time: what it costs is known less well
GAIN = 0.9


@register_pass("winograd_dw", numerics="approx(1e-6)", optional=True)
class WinogradDw(Pass):
    """Weight gradients of 3x3 convolutions with fewer multiplications, where that is faster."""

    least: int = option(1 << 23, "multiply-adds of the smallest gradient that is worth more kernels", min=0)
    always: bool = option(False, "take this form wherever there is one, faster or not")

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        return rewrite(graph, [Rule("minimal-gradient", self._filtered, (ConvDw,))], rw)

    def _filtered(self, node: Node) -> Node | Refused | None:
        """conv_dw(x, ct) -> taps of the products of the points of x and ct."""
        op = node.op
        if not isinstance(op, ConvDw) or op.kernel != (TAPS, TAPS) or not node.inputs[1].tensor.size:
            return None
        x, ct = node.inputs
        if op.groups != 1 or op.stride != (1, 1) or op.dilate != (1, 1) or node.dtype != F32:
            return Refused(f"it has stride {op.stride}, dilation {op.dilate}, {op.groups} groups and type {node.dtype}")
        direct, cost = op.multiply_adds(node), _cost(node)
        if direct < self.least and not self.always:
            return Refused(f"its {direct} multiply-adds are fewer than least={self.least}")
        if cost > GAIN * direct and not self.always:
            return Refused(f"it would take {cost / direct:.0%} of the direct form's time")
        return weight_gradient(x, ct)


def _tiles(places: Sequence[int]) -> list[int]:
    return [-(-n // TILE) for n in places]


def _cost(node: Node) -> float:
    """Multiply-adds, and what takes as long as so many: every value at a point is made of four, stored and read again;
    so are the sums and the taps."""
    outs, channels = node.shape[:2]
    ct = node.inputs[1]
    tiles, moved = ct.shape[0] * prod(_tiles(ct.shape[2:])), F32.itemsize * MOVING / 2
    points = SIZE**2 * tiles * (outs + channels) * (2 * moved + 4 * HANDLING)
    taps = outs * channels * (SIZE**2 + 2 * TAPS**2) * moved
    return SIZE**2 * tiles * outs * channels + points + taps


def weight_gradient(x: Node, ct: Node) -> Node:
    """conv_dw(x, ct) of 3x3 taps: x (N, C, H + 2, W + 2), ct (N, O, H, W) -> (O, C, 3, 3)."""
    m = matrices(TILE)
    tiles = _tiles(ct.shape[2:])
    whole = pad(ct, (0,) * 4, (0, 0, *(n * TILE - had for n, had in zip(tiles, ct.shape[2:]))))
    maps = pad(x, (0,) * 4, (0, 0, *(n * TILE + TAPS - 1 - had for n, had in zip(tiles, x.shape[2:]))))
    given, seen = _points(whole, m.result.T, tiles), _points(maps, m.map, tiles)
    products = dot(given, seen, tb=True)
    outs, channels = products.shape[1:]
    at = [slice_(products, (k, 0, 0), (k + 1, outs, channels)) for k in range(SIZE**2)]
    rows = _both(m.taps.T, [at[k : k + SIZE] for k in range(0, SIZE**2, SIZE)])
    taps = concat([tap for row in rows for tap in row], 0)
    return transpose(reshape(taps, (TAPS, TAPS, outs, channels)), (2, 3, 0, 1))


def _points(x: Node, matrix: Array, tiles: Sequence[int]) -> Node:
    """What a transform makes of the tiles of x (N, C, H, W): (points, C, N * tiles)."""
    size = matrix.shape[1]
    end = [(n - 1) * TILE + 1 for n in tiles]
    at = [
        [slice_(x, (0, 0, i, j), (*x.shape[:2], i + end[0], j + end[1]), (1, 1, TILE, TILE)) for j in range(size)]
        for i in range(size)
    ]
    made = [transpose(value, (1, 0, 2, 3)) for row in _both(matrix, at) for value in row]
    return reshape(stack(made, 0), (SIZE**2, x.shape[1], x.shape[0] * prod(tiles)))


def _both(matrix: Array, values: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """A transform along both axes."""
    columns = [_sums(matrix, column) for column in zip(*values)]
    return [_sums(matrix, row) for row in zip(*columns)]


def _sums(matrix: Array, values: Sequence[Node]) -> list[Node]:
    """The products of a matrix with a vector of tensors."""
    made = []
    for row in matrix.tolist():
        terms = [value * factor if factor != 1 else value for factor, value in zip(row, values) if factor]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        made.append(total)
    return made
