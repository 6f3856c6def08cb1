"""Contractions: matrix products and convolutions (no padding: pad first; any stride, dilation, groups).

The three convolution primitives are each other's gradients, so they differentiate any number of times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import ClassVar

import numpy as np

from symc.ir.op import Node, Primitive, primitive, require
from symc.ir.prims.movement import pad, reshape, slice_, swapaxes, transpose
from symc.ir.types import F16, F32, Array, Shape, TensorType, Type


class Contraction(Primitive):
    """Base: half precision accumulates in single; elementwise uses of the result join the kernel."""

    nest: ClassVar[str] = "once"
    epilogue: ClassVar[bool] = True
    cost: ClassVar[int] = 1000

    def multiply_adds(self, node: Node) -> int:
        """How many multiplications, each with its addition, the node is."""
        raise NotImplementedError(f"{self.name} must say its work")

    def sizes(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        """For every element of the result the sum of the magnitudes of its terms: what rounding errors go by."""
        return np.asarray(self.value([np.abs(a) for a in args], out))


@primitive("dot")
class Dot(Contraction):
    """Matrix product of the last two axes, over equal leading axes: a (..., m, k) by b (..., k, n). `ta`, `tb`: that
    operand is stored transposed."""

    ta: bool = False
    tb: bool = False

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 2 and ins[0].rank == ins[1].rank >= 2, self, "takes two operands of one rank", *ins)
        a, b = ins
        require(a.dtype == b.dtype and a.shape[:-2] == b.shape[:-2], self, "batches or types differ", *ins)
        m, k = (a.shape[-1], a.shape[-2]) if self.ta else (a.shape[-2], a.shape[-1])
        k2, n = (b.shape[-1], b.shape[-2]) if self.tb else (b.shape[-2], b.shape[-1])
        require(k == k2, self, f"inner sizes {k} and {k2} differ", *ins)
        return a.with_shape((*a.shape[:-2], m, n))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        a, b = (x.astype(np.float32) if out[0].dtype == F16 else x for x in args)
        a = np.swapaxes(a, -1, -2) if self.ta else a
        b = np.swapaxes(b, -1, -2) if self.tb else b
        return np.asarray(np.matmul(a, b), out[0].dtype.numpy)

    def multiply_adds(self, node: Node) -> int:
        return node.tensor.size * node.inputs[0].shape[-2 if self.ta else -1]

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        a, b = node.inputs
        g = ct[0]
        if g is None:
            return [None, None]
        da = dot(b, g, self.tb, True) if self.ta else dot(g, b, False, not self.tb)
        db = dot(g, a, True, self.ta) if self.tb else dot(a, g, not self.ta, False)
        return [da, db]


def dot(a: Node, b: Node, ta: bool = False, tb: bool = False) -> Node:
    """a (..., m, k) times b (..., k, n); `ta`/`tb`: stored transposed."""
    return Node.make(Dot(ta, tb), [a, b])


def matrix_transpose(x: Node) -> Node:
    """The last two axes exchanged."""
    return swapaxes(x, x.rank - 2, x.rank - 1)


# --------------------------------------------------------------------------------------------- convolution


def _taps(kernel: Shape) -> Iterator[tuple[int, ...]]:
    return product(*map(range, kernel))


def _window(tap: tuple[int, ...], out: Shape, stride: Shape, dilate: Shape) -> tuple[slice, ...]:
    """The input positions that one kernel tap meets."""
    return tuple(
        slice(t * d, t * d + (n - 1) * s + 1 if n else t * d, s) for t, d, n, s in zip(tap, dilate, out, stride)
    )


def output_spatial(spatial: Shape, kernel: Shape, stride: Shape, dilate: Shape) -> Shape:
    """Spatial size of an unpadded convolution's result."""
    return tuple(
        (n - (k - 1) * d - 1) // s + 1 if n >= (k - 1) * d + 1 else 0
        for n, k, s, d in zip(spatial, kernel, stride, dilate)
    )


class _Conv(Contraction):
    def _check(self, ins: Sequence[TensorType], stride: Shape, dilate: Shape) -> None:
        require(len(ins) == 2 and ins[0].rank == ins[1].rank >= 3, self, "takes two operands of one rank", *ins)
        require(ins[0].dtype == ins[1].dtype, self, "element types differ", *ins)
        require(len(stride) == len(dilate) == ins[0].rank - 2, self, "a stride and dilation for every axis", *ins)

    @staticmethod
    def _taps(result: Node, kernels: Node) -> int:
        """For every element of the convolution's result the taps of one kernel."""
        return result.tensor.size * kernels.tensor.size // kernels.shape[0]


def _acc(x: Array) -> Array:
    return x.astype(F32.numpy) if x.dtype == np.float16 else x


@primitive("packed")
class Packed(Primitive):
    """Weights (O, C, *K) with `lanes` output channels side by side: (O/lanes, C, *K, lanes)."""

    nest: ClassVar[str] = "once"

    lanes: int = 1

    def type(self, ins: Sequence[TensorType]) -> Type:
        ok = len(ins) == 1 and ins[0].rank > 1 and self.lanes > 0 == ins[0].shape[0] % self.lanes
        require(ok, self, f"takes weights of a multiple of {self.lanes} channels", *ins)
        outs, *rest = ins[0].shape
        return ins[0].with_shape((outs // self.lanes, *rest, self.lanes))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        w = args[0].reshape(-1, self.lanes, *args[0].shape[1:])
        return np.ascontiguousarray(np.moveaxis(w, 1, -1))

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        return [None if ct[0] is None else unpacked(ct[0])]


def packed(w: Node, lanes: int) -> Node:
    """`lanes` output channels of weights (O, C, *K) side by side."""
    return Node.make(Packed(lanes), [w])


def unpacked(w: Node) -> Node:
    """Packed weights as they were."""
    groups, *rest, lanes = w.shape
    turned = transpose(w, (0, w.rank - 1, *range(1, w.rank - 1)))
    return reshape(turned, (groups * lanes, *rest))


@primitive("conv")
class Conv(_Conv):
    """y[n, o, p] = sum over c, t of x[n, c, p*stride + t*dilate] w[o, c, t]; x (N, C, *S), w (O, C/groups, *K), or with
    `lanes` packed so: (O/lanes, C, *K, lanes)."""

    stride: Shape = ()
    dilate: Shape = ()
    groups: int = 1
    lanes: int = 0

    def weights(self, w: TensorType) -> TensorType:
        """The type of the weights if they were not packed."""
        if not self.lanes:
            return w
        ok = w.rank > 3 and w.shape[-1] == self.lanes and self.groups == 1
        require(ok, self, f"takes weights of one group that are packed by {self.lanes}", w)
        return w.with_shape((w.shape[0] * self.lanes, *w.shape[1:-1]))

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(len(ins) == 2, self, "takes two operands of one rank", *ins)
        ins = (ins[0], self.weights(ins[1]))
        self._check(ins, self.stride, self.dilate)
        x, w = ins
        ok = x.shape[1] == w.shape[1] * self.groups and w.shape[0] % self.groups == 0
        require(ok, self, f"channels do not fit {self.groups} groups", *ins)
        return x.with_shape(
            (x.shape[0], w.shape[0], *output_spatial(x.shape[2:], w.shape[2:], self.stride, self.dilate))
        )

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        x, w = map(_acc, args)
        if self.lanes:
            w = np.moveaxis(w, -1, 1).reshape(w.shape[0] * self.lanes, *w.shape[1:-1])
        n, o, *spatial = out[0].shape
        g = self.groups
        y = np.zeros((n, g, o // g, *spatial), x.dtype)
        x = x.reshape(n, g, x.shape[1] // g, *x.shape[2:])
        w = w.reshape(g, o // g, *w.shape[1:])
        for tap in _taps(w.shape[3:]):
            part = x[(slice(None),) * 3 + _window(tap, tuple(spatial), self.stride, self.dilate)]
            y += np.einsum("ngc...,goc->ngo...", part, w[(slice(None),) * 3 + tap], optimize=True)
        return y.reshape(out[0].shape).astype(out[0].dtype.numpy)

    def multiply_adds(self, node: Node) -> int:
        return node.tensor.size * node.inputs[1].tensor.size // max(node.shape[1], 1)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x, w = node.inputs
        if ct[0] is None:
            return [None, None]
        plain = unpacked(w) if self.lanes else w
        dw = conv_dw(x, ct[0], self.stride, self.dilate, self.groups, plain.shape[2:])
        return [
            conv_dx(ct[0], plain, self.stride, self.dilate, self.groups, x.shape[2:]),
            packed(dw, self.lanes) if self.lanes else dw,
        ]


@primitive("conv_dx")
class ConvDx(_Conv):
    """The adjoint of conv in x (a transposed convolution): ct (N, O, *P), w (O, C/groups, *K) -> (N, C, *spatial).

    `low` and `high` zeros stand around ct already (see `halo`), so that no tap reads outside.
    """

    stride: Shape = ()
    dilate: Shape = ()
    groups: int = 1
    spatial: Shape = ()
    low: Shape = ()
    high: Shape = ()

    def places(self, ct: Shape) -> Shape:
        """The spatial size of ct without what stands around it."""
        if not self.low:
            return ct[2:]
        return tuple(p - lo - hi for p, lo, hi in zip(ct[2:], self.low, self.high))

    def type(self, ins: Sequence[TensorType]) -> Type:
        self._check(ins, self.stride, self.dilate)
        ct, w = ins
        fits = output_spatial(self.spatial, w.shape[2:], self.stride, self.dilate) == self.places(ct.shape)
        require(fits and ct.shape[1] == w.shape[0], self, f"no convolution of {self.spatial} gives this", *ins)
        return ct.with_shape((ct.shape[0], w.shape[1] * self.groups, *self.spatial))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        ct, w = map(_acc, args)
        n, c, *spatial = out[0].shape
        g = self.groups
        x = np.zeros((n, g, c // g, *spatial), ct.dtype)
        p = self.places(ct.shape)
        if self.low:
            ct = ct[(slice(None),) * 2 + tuple(slice(lo, lo + n) for lo, n in zip(self.low, p))]
        ct = ct.reshape(n, g, ct.shape[1] // g, *p)
        w = w.reshape(g, w.shape[0] // g, *w.shape[1:])
        for tap in _taps(w.shape[3:]):
            where = (slice(None),) * 3 + _window(tap, p, self.stride, self.dilate)
            x[where] += np.einsum("ngo...,goc->ngc...", ct, w[(slice(None),) * 3 + tap], optimize=True)
        return x.reshape(out[0].shape).astype(out[0].dtype.numpy)

    def multiply_adds(self, node: Node) -> int:
        return self._taps(node.inputs[0], node.inputs[1])

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        y, w = node.inputs
        if ct[0] is None:
            return [None, None]
        found = conv(ct[0], w, self.stride, self.dilate, self.groups)
        if self.low:  # what stands around y is not looked at
            found = pad(found, (0, 0, *self.low), (0, 0, *self.high))
            ends = [lo + n for lo, n in zip(self.low, self.places(y.shape))]
            y = slice_(y, (0, 0, *self.low), (*y.shape[:2], *ends))
        return [found, conv_dw(ct[0], y, self.stride, self.dilate, self.groups, w.shape[2:])]


@primitive("conv_dw")
class ConvDw(_Conv):
    """The adjoint of conv in w: x (N, C, *S), ct (N, O, *P) -> (O, C/groups, *kernel)."""

    stride: Shape = ()
    dilate: Shape = ()
    groups: int = 1
    kernel: Shape = ()

    def type(self, ins: Sequence[TensorType]) -> Type:
        self._check(ins, self.stride, self.dilate)
        x, ct = ins
        fits = output_spatial(x.shape[2:], self.kernel, self.stride, self.dilate) == ct.shape[2:]
        ok = fits and x.shape[0] == ct.shape[0] and x.shape[1] % self.groups == 0 == ct.shape[1] % self.groups
        require(ok, self, f"no kernel {self.kernel} fits", *ins)
        return x.with_shape((ct.shape[1], x.shape[1] // self.groups, *self.kernel))

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        x, ct = map(_acc, args)
        n, o, *p = ct.shape
        g = self.groups
        w = np.zeros((g, o // g, x.shape[1] // g, *self.kernel), x.dtype)
        x = x.reshape(n, g, x.shape[1] // g, *x.shape[2:])
        ct = ct.reshape(n, g, o // g, *p)
        for tap in _taps(self.kernel):
            part = x[(slice(None),) * 3 + _window(tap, tuple(p), self.stride, self.dilate)]
            w[(slice(None),) * 3 + tap] = np.einsum(
                "ngcp,ngop->goc", part.reshape(*part.shape[:3], -1), ct.reshape(*ct.shape[:3], -1), optimize=True
            )
        return w.reshape(out[0].shape).astype(out[0].dtype.numpy)

    def multiply_adds(self, node: Node) -> int:
        return self._taps(node.inputs[1], node)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        x, y = node.inputs
        if ct[0] is None:
            return [None, None]
        return [
            conv_dx(y, ct[0], self.stride, self.dilate, self.groups, x.shape[2:]),
            conv(x, ct[0], self.stride, self.dilate, self.groups),
        ]


def conv(x: Node, w: Node, stride: Sequence[int], dilate: Sequence[int], groups: int = 1) -> Node:
    """Unpadded convolution of x (N, C, *S) with w (O, C/groups, *K)."""
    return Node.make(Conv(tuple(stride), tuple(dilate), groups), [x, w])


def conv_dx(
    ct: Node, w: Node, stride: Sequence[int], dilate: Sequence[int], groups: int, spatial: Sequence[int]
) -> Node:
    """Transposed convolution: the adjoint of `conv` in x of spatial size `spatial`."""
    return Node.make(ConvDx(tuple(stride), tuple(dilate), groups, tuple(spatial)), [ct, w])


def halo(op: ConvDx, places: Shape, kernel: Shape) -> tuple[Shape, Shape]:
    """How many zeros around ct keep every tap inside: (before, after) for every axis."""
    low = tuple(-(-((k - 1) * d) // s) for k, d, s in zip(kernel, op.dilate, op.stride))
    high = tuple(max(0, (n - 1) // s - (p - 1)) for n, s, p in zip(op.spatial, op.stride, places))
    return low, high


def conv_dw(
    x: Node, ct: Node, stride: Sequence[int], dilate: Sequence[int], groups: int, kernel: Sequence[int]
) -> Node:
    """The adjoint of `conv` in w of spatial size `kernel`."""
    return Node.make(ConvDw(tuple(stride), tuple(dilate), groups, tuple(kernel)), [x, ct])
