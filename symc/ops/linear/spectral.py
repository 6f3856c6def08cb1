"""Discrete Fourier transforms and count sketches.

MXNet has these on GPUs only; the definitions are its documentation's.
"""

from __future__ import annotations

import functools

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import scatter_add
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import broadcast, concat, reshape, slice_axis, stack, transpose
from symc.ir.types import I32, Array
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, is_known, operator
from symc.ops.shared.families import no_gradient
from symc.ops.shared.layers import along, refuse

#: transforms up to this length are one product with a matrix
_DENSE = 16


@functools.lru_cache(maxsize=256)
def _matrix(size: int, sign: int) -> Array:
    """Row [re, im] of the input times this is row [re, im] of its transform."""
    angle = sign * 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    cos, sin = np.cos(angle), np.sin(angle)
    return np.block([[cos, sin], [-sin, cos]])


def _factor(size: int) -> int:
    """The largest divisor up to _DENSE, or else the smallest divisor."""
    small = [a for a in range(2, _DENSE + 1) if size % a == 0]
    return small[-1] if small else next(a for a in range(2, size + 1) if size % a == 0)


def transform(re: Node, im: Node, sign: int) -> tuple[Node, Node]:
    """sum over n of x[n] exp(sign 2 pi i k n / N) along the last axis of (rows, N), by Cooley and Tukey's factors."""
    rows, size = re.shape
    a = size if size <= _DENSE else _factor(size)
    if a == size:
        both = dot(concat([re, im], 1), ew.const(_matrix(size, sign), re.dtype))
        return slice_axis(both, 1, 0, size), slice_axis(both, 1, size, 2 * size)
    b = size // a
    # n = b n1 + n2 and k = k1 + a k2: first over n1, for every n2
    columns = [reshape(transpose(reshape(v, (rows, a, b)), (0, 2, 1)), (rows * b, a)) for v in (re, im)]
    x, y = (reshape(v, (rows, b, a)) for v in transform(columns[0], columns[1], sign))
    angle = sign * 2 * np.pi * np.outer(np.arange(b), np.arange(a)) / size
    cos, sin = (broadcast(ew.const(f(angle), re.dtype), x.shape, (1, 2)) for f in (np.cos, np.sin))
    turned = [reshape(transpose(v, (0, 2, 1)), (rows * a, b)) for v in (x * cos - y * sin, x * sin + y * cos)]
    done = transform(turned[0], turned[1], sign)
    first, second = (reshape(transpose(reshape(v, (rows, a, b)), (0, 2, 1)), (rows, size)) for v in done)
    return first, second


class _Fourier(Operator):
    compute_size: int = 128

    def check(self) -> None:
        if self.compute_size < 1:
            raise refuse(self, f"compute_size={self.compute_size} must be positive")

    def size(self, last: int) -> int:
        """The output's last extent."""
        raise NotImplementedError

    def complete(self, s: Shapes) -> None:
        """The last axis d becomes 2 d (fft), or 2 d becomes d (ifft); 2 or 4 axes."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) not in (2, 4):
            raise ShapeError(f"data must have 2 or 4 axes, not {data}")
        s.set_out(0, (*data[:-1], self.size(data[-1])))


@operator("_contrib_fft", hint="fft")
class Fft(_Fourier):
    """The Fourier transform along the last axis: d numbers give 2 d, real and imaginary parts in turn.

    Differs from MXNet: it runs on CPUs; MXNet has it for GPUs only.
    """

    compute_size: int = 128

    def size(self, last: int) -> int:
        return 2 * last

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        flat = reshape(data, (int(np.prod(data.shape[:-1])), data.shape[-1]))
        return reshape(stack(transform(flat, ew.zeros_like(flat), -1), 2), (*data.shape[:-1], 2 * data.shape[-1]))


@operator("_contrib_ifft", hint="ifft")
class Ifft(_Fourier):
    """The real part of the inverse transform of 2 d numbers (real and imaginary parts in turn), not divided by d.

    Differs from MXNet: it runs on CPUs; MXNet has it for GPUs only.
    """

    compute_size: int = 128

    def size(self, last: int) -> int:
        if last % 2:
            raise ShapeError(f"the last axis holds pairs, but its extent is {last}")
        return last // 2

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        size = data.shape[-1] // 2
        pairs = reshape(data, (int(np.prod(data.shape[:-1])), size, 2))
        re, im = (reshape(slice_axis(pairs, 2, i, i + 1), pairs.shape[:2]) for i in (0, 1))
        return reshape(transform(re, im, 1)[0], (*data.shape[:-1], size))


@operator("_contrib_count_sketch", inputs="data h s", hint="count_sketch")
class CountSketch(Operator):
    """out[n, h[i]] += s[i] data[n, i]: data (..., d), places h (1, d) below out_dim, signs s (1, d). Pham, Pagh 2013.

    h and s have no gradients; places outside are clipped.

    Differs from MXNet: it runs on CPUs; MXNet has it for GPUs only.
    """

    out_dim: int
    processing_batch_size: int = 32

    def check(self) -> None:
        if self.out_dim < 1 or self.processing_batch_size < 1:
            raise refuse(self, "out_dim and processing_batch_size must be positive")

    def complete(self, s: Shapes) -> None:
        """(..., d) with h (1, d) and s (1, d) gives (..., out_dim)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) not in (2, 4):
            raise ShapeError(f"data must have 2 or 4 axes, not {data}")
        if is_known(data):
            s.set_in(1, (1, data[-1]))
            s.set_in(2, (1, data[-1]))
            s.set_out(0, (*data[:-1], self.out_dim))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, places, signs = inputs
        size = data.shape[-1]
        still = no_gradient(lambda x: x)
        at = ew.minimum(ew.maximum(ew.cast(reshape(places, (size,)), I32), 0), self.out_dim - 1)
        flat = reshape(data, (int(np.prod(data.shape[:-1])), size))
        signed = flat * along(reshape(still(signs), (size,)), flat.shape, 1)
        empty = ew.full(0, flat.tensor.with_shape((flat.shape[0], self.out_dim)))
        return reshape(scatter_add(empty, at, signed, 1), (*data.shape[:-1], self.out_dim))
