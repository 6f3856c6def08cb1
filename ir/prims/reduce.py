"""Reductions: axes folded by an associative operation and dropped; positions of extrema; running sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from symc.ir.op import Node, Primitive, primitive, require
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast, reshape, reverse
from symc.ir.types import F16, F32, I64, Array, DType, Shape, TensorType, Type


@dataclass(frozen=True)
class Reduction(Primitive):
    """Base: `axes` (ascending) are folded by `combine`, starting from `identity`."""

    axes: tuple[int, ...] = ()
    combine: ClassVar[ew.Elementwise] = ew.add
    kinds: ClassVar[str] = "fiu"

    def identity(self, dtype: DType) -> float | int | bool:
        """The value of an empty fold."""
        raise NotImplementedError

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and ins[0].dtype.kind in self.kinds, self, "takes one operand", *ins)
        ok = list(self.axes) == sorted(set(self.axes)) and all(0 <= a < ins[0].rank for a in self.axes)
        require(ok, self, f"axes={self.axes} do not fit", *ins)
        return ins[0].with_shape(tuple(d for a, d in enumerate(ins[0].shape) if a not in self.axes))


def reduction_of(node: Node) -> Reduction:
    """The primitive of a node that is a reduction."""
    assert isinstance(node.op, Reduction), f"{node} is no reduction"
    return node.op


def _spread(ct: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """A value per row, repeated along the reduced axes."""
    return broadcast(ct, shape, [a for a in range(len(shape)) if a not in axes])


@primitive("sum")
class Sum(Reduction):
    """Sum over the axes; integers wrap, half precision accumulates in single."""

    axes: tuple[int, ...] = ()

    def identity(self, dtype: DType) -> float | int | bool:
        return 0

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        wide = np.float32 if out[0].dtype == F16 else out[0].dtype.numpy
        return np.asarray(np.sum(args[0], axis=self.axes, dtype=wide)).astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else _spread(ct[0], node.inputs[0].shape, self.axes)]


@primitive("prod")
class Prod(Reduction):
    """Product over the axes. The gradient is ct * y / x: nan at zeros, as in MXNet."""

    axes: tuple[int, ...] = ()
    combine: ClassVar[ew.Elementwise] = ew.mul

    def identity(self, dtype: DType) -> float | int | bool:
        return 1

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        wide = np.float32 if out[0].dtype == F16 else out[0].dtype.numpy
        return np.asarray(np.prod(args[0], axis=self.axes, dtype=wide)).astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        if ct[0] is None:
            return [None]
        x = node.inputs[0]
        return [ew.div(_spread(ew.mul(ct[0], node), x.shape, self.axes), x)]


class _Extremum(Reduction):
    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        """The full cotangent to every element that equals the extremum, as in MXNet."""
        if ct[0] is None:
            return [None]
        x = node.inputs[0]
        hit = ew.eq(x, _spread(node, x.shape, self.axes))
        return [ew.select(hit, _spread(ct[0], x.shape, self.axes), 0)]


@primitive("max")
class Max(_Extremum):
    """Largest element; nan wins."""

    axes: tuple[int, ...] = ()
    combine: ClassVar[ew.Elementwise] = ew.maximum

    def identity(self, dtype: DType) -> float | int | bool:
        return float("-inf") if dtype.is_float else int(np.iinfo(dtype.numpy).min)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        start = out[0].dtype.numpy.type(self.identity(out[0].dtype))
        return np.asarray(np.maximum.reduce(args[0], axis=self.axes, initial=start))


@primitive("min")
class Min(_Extremum):
    """Smallest element; nan wins."""

    axes: tuple[int, ...] = ()
    combine: ClassVar[ew.Elementwise] = ew.minimum

    def identity(self, dtype: DType) -> float | int | bool:
        return float("inf") if dtype.is_float else int(np.iinfo(dtype.numpy).max)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        start = out[0].dtype.numpy.type(self.identity(out[0].dtype))
        return np.asarray(np.minimum.reduce(args[0], axis=self.axes, initial=start))


def _axes(x: Node, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({a % x.rank for a in axes})) if x.rank else ()


def reduce_sum(x: Node, axes: Sequence[int]) -> Node:
    """Sum over the axes, which are dropped."""
    return Node.make(Sum(_axes(x, axes)), [x]) if len(axes) else x


def reduce_prod(x: Node, axes: Sequence[int]) -> Node:
    """Product over the axes, which are dropped."""
    return Node.make(Prod(_axes(x, axes)), [x]) if len(axes) else x


def reduce_max(x: Node, axes: Sequence[int]) -> Node:
    """Maximum over the axes, which are dropped."""
    return Node.make(Max(_axes(x, axes)), [x]) if len(axes) else x


def reduce_min(x: Node, axes: Sequence[int]) -> Node:
    """Minimum over the axes, which are dropped."""
    return Node.make(Min(_axes(x, axes)), [x]) if len(axes) else x


def keepdims(reduced: Node, shape: Sequence[int], axes: Sequence[int]) -> Node:
    """A reduced value with the dropped axes of `shape` back as extents 1."""
    gone = {a % len(shape) for a in axes}
    return reshape(reduced, [1 if a in gone else d for a, d in enumerate(shape)])


def mean(x: Node, axes: Sequence[int]) -> Node:
    """Arithmetic mean over the axes (floats)."""
    total = reduce_sum(x, axes)
    count = x.tensor.size // max(total.tensor.size, 1)
    return ew.mul(total, 1.0 / max(count, 1))


# --------------------------------------------------------------------------------------------- positions


class _Arg(Primitive):
    axis: int = 0
    nest: ClassVar[str] = "once"

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and 0 <= self.axis < ins[0].rank, self, f"axis={self.axis} does not fit", *ins)
        require(ins[0].shape[self.axis] > 0, self, "the axis is empty", *ins)
        return TensorType(I64, ins[0].shape[: self.axis] + ins[0].shape[self.axis + 1 :])

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None]


@primitive("argmax")
class ArgMax(_Arg):
    """Index of the first largest element along `axis` (i64); the first nan wins."""

    axis: int = 0

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.asarray(np.argmax(args[0], axis=self.axis), np.int64)


@primitive("argmin")
class ArgMin(_Arg):
    """Index of the first smallest element along `axis` (i64); the first nan wins."""

    axis: int = 0

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.asarray(np.argmin(args[0], axis=self.axis), np.int64)


def argmax(x: Node, axis: int) -> Node:
    """Index of the first maximum along `axis`."""
    return Node.make(ArgMax(axis % x.rank), [x])


def argmin(x: Node, axis: int) -> Node:
    """Index of the first minimum along `axis`."""
    return Node.make(ArgMin(axis % x.rank), [x])


@primitive("cumsum")
class CumSum(Primitive):
    """Running sum along `axis`."""

    axis: int = 0
    nest: ClassVar[str] = "once"

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1 and 0 <= self.axis < ins[0].rank, self, f"axis={self.axis} does not fit", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        wide = F32.numpy if out[0].dtype == F16 else out[0].dtype.numpy
        return np.cumsum(args[0], axis=self.axis, dtype=wide).astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else cumsum(ct[0], self.axis, reversed=True)]


def cumsum(x: Node, axis: int, reversed: bool = False) -> Node:
    """Running sum along `axis`, from the end if `reversed`."""
    if reversed:
        return reverse(cumsum(reverse(x, [axis]), axis), [axis])
    return Node.make(CumSum(axis % x.rank), [x])
