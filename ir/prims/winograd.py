"""Convolutions of 3x3 taps by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2015): a tile of m x m results takes (m + 2)^2 products a channel instead of 9 m^2.

Tiles of the maps and the weights are evaluated at points, multiplied there, and the products interpolated (Toom and
Cook). The points are zero, infinity and pairs of opposite numbers. For tiles of 4 the pairs are 3/4 and 3/2: what maps
and products are multiplied by is exact in binary, and the errors are a quarter of those of the usual points 1 and 2.

**Error.** Rounding of every step is bounded by the sizes of the terms that meet in a tile (`Winograd.sizes`): a result
is off by at most (channels + 24) u times these, u = 2^-24 in single precision. They are those of the whole tile, so a
result may lose digits to larger neighbours within m + 2 positions. Beside the direct form, whose error is at most
(9 channels) u times the terms of the one result, errors of maps without outliers were measured as 1.5 times (tiles of
2) and 8 times (tiles of 4) as large; a test holds them to `FURTHER`. What is not finite spreads over its tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any, ClassVar

import numpy as np

from symc.ir.op import Node, primitive, require
from symc.ir.prims.elementwise import const
from symc.ir.prims.linear import Contraction, dot
from symc.ir.prims.movement import pad, reshape, slice_, stack, transpose
from symc.ir.prims.pullback import pullback
from symc.ir.types import Array, DType, Shape, TensorType, Type

#: taps of a kernel along each axis
TAPS = 3
#: the positive points of the pairs, by the results of a tile along each axis
POINTS = {2: (Fraction(1),), 4: (Fraction(3, 4), Fraction(3, 2))}
#: how much further from the exact value than the direct form a result may be, for maps without outliers
FURTHER = {2: 4.0, 4: 16.0}


@dataclass(frozen=True)
class Pair:
    """A pair of opposite points: the positive one, the coefficients of x^0, x^2, ... of the product of (x^2 - q^2) over
    the other pairs' q, and what the weights are divided by."""

    value: Fraction
    others: tuple[Fraction, ...]
    scale: Fraction


def product_of(points: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """The coefficients of x^0, x^2, ... of the product of (x^2 - q^2)."""
    made = [Fraction(1)]
    for q in points:
        shifted = [Fraction(0), *made]
        made = [s - q * q * m for s, m in zip(shifted, [*made, Fraction(0)])]
    return tuple(made)


@cache
def pairs_of(tile: int) -> tuple[Pair, ...]:
    """The pairs of points of a tile."""
    found = []
    for p in POINTS[tile]:
        others = product_of([q for q in POINTS[tile] if q != p])
        scale = 2 * p * p * sum((c * p ** (2 * i) for i, c in enumerate(others)), Fraction(0))
        found.append(Pair(p, others, scale))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Matrices:
    """The transforms along one axis: of a tile of the map, of the taps, and of the products."""

    map: Array
    taps: Array
    result: Array


@cache
def matrices(tile: int) -> Matrices:
    """The transforms of a tile, in doubles. Rows: the point 0, every p and -p, infinity."""
    size, points = tile + TAPS - 1, POINTS[tile]
    of_map, taps, result = np.zeros((size, size)), np.zeros((size, TAPS)), np.zeros((tile, size))
    whole = [float(c) for c in product_of(points)]
    of_map[0, 0::2][: len(whole)] = of_map[-1, 1::2] = whole
    taps[0, 0], taps[-1, -1] = 1 / whole[0], 1
    result[0, 0] = result[-1, -1] = 1
    for i, pair in enumerate(pairs_of(tile)):
        for row, p in ((1 + 2 * i, pair.value), (2 + 2 * i, -pair.value)):
            of_map[row, 2::2] = [float(c) for c in pair.others]
            of_map[row, 1:-1:2] = [float(p * c) for c in pair.others]
            taps[row] = [float(p**k / pair.scale) for k in range(TAPS)]
            result[:, row] = [float(p**k) for k in range(tile)]
    return Matrices(of_map, taps, result)


def _both(matrix: Array, x: Array) -> Array:
    """A transform of the last two axes."""
    made = matrix.astype(x.dtype)
    return np.asarray(np.einsum("ai,...ij,bj->...ab", made, x, made, optimize=True))


def _flat(matrix: Array, dtype: DType) -> Node:
    """A transform of both axes at once, as a matrix."""
    return const(np.kron(matrix, matrix), dtype)


class _Transformed(Contraction):
    tile: int

    def _check_tile(self, *ins: TensorType) -> None:
        require(self.tile in POINTS, self, f"a tile has {' or '.join(map(str, POINTS))} results a side", *ins)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        """That of the same value written out. Passes give convolutions this form when gradients have been made, so it
        need not be fast."""
        if ct[0] is None:
            return [None] * len(node.inputs)
        return pullback([self.written_out(node)], [ct[0]], node.inputs)

    def written_out(self, node: Node) -> Node:
        """The node's value by ordinary primitives."""
        raise NotImplementedError(f"{self.name} must say its parts")


@primitive("winograd_weights")
class WinogradWeights(_Transformed):
    """Weights (O, C, 3, 3) at the points of tiles, `lanes` channels of the result side by side: (points, O/lanes, C,
    lanes)."""

    epilogue: ClassVar[bool] = False
    prologue: ClassVar[bool] = True

    tile: int = 4
    lanes: int = 1

    def type(self, ins: Sequence[TensorType]) -> Type:
        self._check_tile(*ins)
        ok = len(ins) == 1 and ins[0].rank == 4 and ins[0].shape[2:] == (TAPS, TAPS) and ins[0].dtype.is_float
        require(ok, self, "takes weights of 3x3 taps", *ins)
        outs, channels = ins[0].shape[:2]
        require(self.lanes > 0 == outs % self.lanes, self, f"{self.lanes} lanes do not divide the channels", *ins)
        return ins[0].with_shape(((self.tile + TAPS - 1) ** 2, outs // self.lanes, channels, self.lanes))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return self._by(matrices(self.tile).taps, args[0], out[0])

    def sizes(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return self._by(np.abs(matrices(self.tile).taps), np.abs(args[0]), out[0])

    def _by(self, taps: Array, w: Array, out: TensorType) -> Array:
        points, groups, channels, lanes = out.shape
        wide = w.astype(np.float32) if w.dtype == np.float16 else w
        made = _both(taps, wide).reshape(groups, lanes, channels, points).transpose(3, 0, 2, 1)
        return np.ascontiguousarray(made, out.dtype.numpy)

    def written_out(self, node: Node) -> Node:
        points, groups, channels, lanes = node.shape
        (w,) = node.inputs
        taps = transpose(reshape(w, (groups, lanes, channels, TAPS**2)), (3, 0, 2, 1))
        made = dot(_flat(matrices(self.tile).taps, node.dtype), reshape(taps, (TAPS**2, groups * channels * lanes)))
        return reshape(made, node.shape)

    def multiply_adds(self, node: Node) -> int:
        size = self.tile + TAPS - 1
        return node.inputs[0].tensor.size // TAPS * size * (TAPS + size)


@primitive("winograd")
class Winograd(_Transformed):
    """The convolution of x (N, C, H, W), with zeros around it (`low` before and `high` behind each axis), with weights
    of 3x3 taps that `winograd_weights` has transformed (points, O/lanes, C, lanes): (N, O, H', W').

    `block` says how the loops run: images, rows of tiles and `lanes` of output channels that are computed together. It
    changes no result."""

    tile: int = 4
    low: Shape = (0, 0)
    high: Shape = (0, 0)
    block: Shape = (1, 1, 1)

    def type(self, ins: Sequence[TensorType]) -> Type:
        self._check_tile(*ins)
        require(len(ins) == 2 and ins[0].rank == ins[1].rank == 4, self, "takes maps and weights", *ins)
        x, u = ins
        require(x.dtype == u.dtype and x.dtype.is_float, self, "takes floats of one type", *ins)
        require(u.shape[::2] == ((self.tile + TAPS - 1) ** 2, x.shape[1]), self, "the weights do not fit", *ins)
        require(len(self.low) == len(self.high) == 2, self, "zeros before and behind two axes", *ins)
        places = tuple(n + lo + hi - (TAPS - 1) for n, lo, hi in zip(x.shape[2:], self.low, self.high))
        require(min((*self.low, *self.high)) >= 0 and min(places) > 0, self, "the map is too small", *ins)
        images, rows, groups = self.block if len(self.block) == 3 else (0, 0, 0)
        fits = min(images, rows, groups) > 0 == x.shape[0] % images == u.shape[1] % groups
        require(fits, self, f"blocks of {self.block} do not divide images and channels", *ins)
        return x.with_shape((x.shape[0], u.shape[1] * u.shape[3], *places))

    def tiles(self, places: Shape) -> Shape:
        """How many tiles cover a map."""
        return tuple(-(-n // self.tile) for n in places)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return self._by(matrices(self.tile), args, out[0])

    def sizes(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        m = matrices(self.tile)
        return self._by(Matrices(*map(np.abs, (m.map, m.taps, m.result))), [np.abs(a) for a in args], out[0])

    def _by(self, m: Matrices, args: Sequence[Array], out: TensorType) -> Array:
        x, u = (a.astype(np.float32) if a.dtype == np.float16 else a for a in args)
        size, (images, outs, *places) = self.tile + TAPS - 1, out.shape
        down, across = self.tiles(tuple(places))
        x = np.pad(x, ((0, 0), (0, 0), *zip(self.low, self.rest(x.shape, (down, across)))))
        windows: Any = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        at = windows[:, :, :: self.tile, :: self.tile]
        weights = u.transpose(0, 2, 1, 3).reshape(size, size, x.shape[1], outs)
        # every point is a matrix product of its own
        points = _both(m.map, at).transpose(4, 5, 0, 2, 3, 1).reshape(size, size, -1, x.shape[1])
        products = np.matmul(points, weights).reshape(size, size, images, down, across, outs)
        made = _both(m.result, products.transpose(2, 5, 3, 4, 0, 1)).transpose(0, 1, 2, 4, 3, 5)
        made = made.reshape(images, outs, down * self.tile, across * self.tile)
        return np.ascontiguousarray(made[:, :, : places[0], : places[1]]).astype(out.dtype.numpy)

    def written_out(self, node: Node) -> Node:
        x, u = node.inputs
        tile, size, (images, outs, *places) = self.tile, self.tile + TAPS - 1, node.shape
        (down, across), channels, m = self.tiles(tuple(places)), x.shape[1], matrices(self.tile)
        padded = pad(x, (0, 0, *self.low), (0, 0, *self.rest(x.shape, (down, across))))
        end = [(n - 1) * tile + 1 for n in (down, across)]
        values = [
            slice_(padded, (0, 0, y, z), (images, channels, y + end[0], z + end[1]), (1, 1, tile, tile))
            for y in range(size)
            for z in range(size)
        ]
        tiles = reshape(stack(values, 0), (size**2, images * channels * down * across))
        points = reshape(dot(_flat(m.map, x.dtype), tiles), (size**2, images, channels, down * across))
        rows = reshape(transpose(points, (0, 1, 3, 2)), (size**2, images * down * across, channels))
        products = dot(rows, reshape(transpose(u, (0, 2, 1, 3)), (size**2, channels, outs)))
        flat = reshape(products, (size**2, images * down * across * outs))
        made = reshape(dot(_flat(m.result, x.dtype), flat), (tile, tile, images, down, across, outs))
        maps = reshape(transpose(made, (2, 5, 3, 0, 4, 1)), (images, outs, down * tile, across * tile))
        return slice_(maps, (0, 0, 0, 0), node.shape)

    def rest(self, shape: Shape, tiles: Shape) -> Shape:
        """Zeros behind each axis of maps that fill the last tile."""
        return tuple(n * self.tile + TAPS - 1 - lo - had for n, lo, had in zip(tiles, self.low, shape[2:]))

    def multiply_adds(self, node: Node) -> int:
        """The products at the points and the two transforms."""
        size = self.tile + TAPS - 1
        images, outs, *places = node.shape
        tiles, channels = images * prod(self.tiles(tuple(places))), node.inputs[0].shape[1]
        transforms = channels * 2 * size**3 + outs * size * self.tile * (size + self.tile)
        return tiles * (size**2 * channels * outs + transforms)


def winograd_weights(w: Node, tile: int, lanes: int) -> Node:
    """Weights (O, C, 3, 3) at the points of tiles of `tile` x `tile` results: (points, O/lanes, C, lanes)."""
    return Node.make(WinogradWeights(tile, lanes), [w])


def winograd(x: Node, u: Node, tile: int, low: Shape, high: Shape, block: Shape) -> Node:
    """The convolution of x with transformed weights; see Winograd."""
    return Node.make(Winograd(tile, low, high, block), [x, u])
