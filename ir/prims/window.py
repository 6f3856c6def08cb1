"""Sliding windows over the trailing axes, without padding (pad first): pooling and its adjoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import ClassVar

import numpy as np

from symc.ir.op import Node, Primitive, primitive, require
from symc.ir.types import F16, Array, Shape, TensorType, Type


class Window(Primitive):
    """Base: windows of `size` every `stride`, over the last len(size) axes."""

    nest: ClassVar[str] = "once"
    epilogue: ClassVar[bool] = True
    cost: ClassVar[int] = 100
    size: Shape = ()
    stride: Shape = ()

    def places(self, spatial: Shape) -> Shape:
        """How many windows fit along each axis."""
        return tuple(max(0, (n - k) // s + 1) for n, k, s in zip(spatial, self.size, self.stride))

    def _check(self, x: TensorType) -> Shape:
        r = len(self.size)
        require(len(self.stride) == r <= x.rank and min((*self.stride, 1)) > 0, self, "sizes do not fit", x)
        return (*x.shape[: x.rank - r], *self.places(x.shape[x.rank - r :]))

    def parts(self, x: Array) -> list[Array]:
        """x at every place of a window, in row-major order: each of the result's shape."""
        r = len(self.size)
        places = self.places(x.shape[x.ndim - r :])
        found = []
        for tap in product(*map(range, self.size)):
            window = tuple(slice(t, t + (n - 1) * s + 1 if n else t, s) for t, n, s in zip(tap, places, self.stride))
            found.append(x[(Ellipsis,) + window])
        return found


@primitive("window_max")
class WindowMax(Window):
    """Largest element of every window; nan wins."""

    size: Shape = ()
    stride: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        return ins[0].with_shape(self._check(ins[0]))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return np.asarray(np.maximum.reduce(self.parts(args[0])))

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else window_max_grad(node.inputs[0], ct[0], self.size, self.stride)]


@primitive("window_sum")
class WindowSum(Window):
    """Sum of every window; half precision accumulates in single."""

    size: Shape = ()
    stride: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        return ins[0].with_shape(self._check(ins[0]))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        wide = np.float32 if out[0].dtype == F16 else out[0].dtype.numpy
        return np.asarray(np.add.reduce(self.parts(args[0]), dtype=wide)).astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x = node.inputs[0]
        spatial = x.shape[x.rank - len(self.size) :]
        return [None if ct[0] is None else window_spread(ct[0], self.size, self.stride, spatial)]


@primitive("window_spread")
class WindowSpread(Window):
    """The adjoint of window_sum: every element of ct is added to all places of its window in `spatial`."""

    size: Shape = ()
    stride: Shape = ()
    spatial: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 1, self, "takes one operand", *ins)
        r = len(self.size)
        lead, places = ins[0].shape[: ins[0].rank - r], ins[0].shape[ins[0].rank - r :]
        require(places == self.places(self.spatial), self, f"not the windows of {self.spatial}", *ins)
        return ins[0].with_shape((*lead, *self.spatial))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        result = np.zeros(out[0].shape, np.float32 if out[0].dtype == F16 else out[0].dtype.numpy)
        for part in self.parts(result):
            part += args[0]
        return result.astype(out[0].dtype.numpy)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else window_sum(ct[0], self.size, self.stride)]


@primitive("window_max_grad")
class WindowMaxGrad(Window):
    """Operands x and ct: ct goes to the first largest element of its window of x."""

    size: Shape = ()
    stride: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 2 and ins[0].dtype == ins[1].dtype, self, "takes x and a cotangent", *ins)
        require(self._check(ins[0]) == ins[1].shape, self, "the cotangent has not the windows' shape", *ins)
        return ins[0]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        x, ct = args
        result = np.zeros(x.shape, ct.dtype)
        free = np.ones(ct.shape, bool)
        top = np.maximum.reduce(self.parts(x))
        for part, into in zip(self.parts(x), self.parts(result)):
            hit = free & ((part == top) | (np.isnan(part) if x.dtype.kind == "f" else False))
            into += np.where(hit, ct, 0).astype(ct.dtype)
            free &= ~hit
        return result

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None, None if ct[0] is None else window_pick(node.inputs[0], ct[0], self.size, self.stride)]


@primitive("window_pick")
class WindowPick(Window):
    """Operands x and v of one shape: v at the first largest element of every window of x."""

    size: Shape = ()
    stride: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 2 and ins[0].shape == ins[1].shape, self, "takes x and v of one shape", *ins)
        return ins[1].with_shape(self._check(ins[0]))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        x, v = args
        parts = self.parts(x)
        top = np.maximum.reduce(parts)
        result = np.zeros(out[0].shape, v.dtype)
        free = np.ones(out[0].shape, bool)
        for part, source in zip(parts, self.parts(v)):
            hit = free & ((part == top) | (np.isnan(part) if x.dtype.kind == "f" else False))
            result = np.where(hit, source, result)
            free &= ~hit
        return result

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None, None if ct[0] is None else window_max_grad(node.inputs[0], ct[0], self.size, self.stride)]


def window_max(x: Node, size: Sequence[int], stride: Sequence[int]) -> Node:
    """Maximum over windows of the trailing axes."""
    return Node.make(WindowMax(tuple(size), tuple(stride)), [x])


def window_sum(x: Node, size: Sequence[int], stride: Sequence[int]) -> Node:
    """Sum over windows of the trailing axes."""
    return Node.make(WindowSum(tuple(size), tuple(stride)), [x])


def window_spread(ct: Node, size: Sequence[int], stride: Sequence[int], spatial: Sequence[int]) -> Node:
    """The adjoint of window_sum over operands of spatial size `spatial`."""
    return Node.make(WindowSpread(tuple(size), tuple(stride), tuple(spatial)), [ct])


def window_max_grad(x: Node, ct: Node, size: Sequence[int], stride: Sequence[int]) -> Node:
    """ct to the first maximum of each window of x."""
    return Node.make(WindowMaxGrad(tuple(size), tuple(stride)), [x, ct])


def window_pick(x: Node, v: Node, size: Sequence[int], stride: Sequence[int]) -> Node:
    """v at the first maximum of each window of x."""
    return Node.make(WindowPick(tuple(size), tuple(stride)), [x, v])
