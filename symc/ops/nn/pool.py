"""Pooling: maximum, average, sum and Lp norm over windows."""

from __future__ import annotations

import functools
import operator as op
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import broadcast, pad, slice_, transpose
from symc.ir.prims.window import window_max, window_spread, window_sum
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.layers import narrow, refuse, spatial_tuple, wide

#: a number for every spatial axis
Extent = tuple[int, ...]


def lowest(node: Node) -> float:
    """The least finite value of the element type: what padding counts as in a maximum."""
    dtype = node.dtype.numpy
    return float(np.finfo(dtype).min) if node.dtype.is_float else float(np.iinfo(dtype).min)


class _Pooling(Operator):
    """What the two generations of Pooling share; the attributes that one lacks keep these values."""

    floats_only: ClassVar[bool] = True

    kernel: Tuple = ()
    pool_type: str = "max"
    global_pool: bool = False
    pooling_convention: str = "valid"
    stride: Tuple = ()
    pad: Tuple = ()
    p_value: int | None = None
    count_include_pad: bool | None = None
    layout: str = "None"
    #: averages divide by the kernel's size even where a window is cut
    whole_windows: ClassVar[bool] = False
    #: how many spatial axes there may be
    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def padding(self, data: Node) -> float:
        """What a padded cell counts as in a maximum."""
        return lowest(data)

    def past(self, data: Node) -> float:
        """What a cell past the padding counts as in a maximum."""
        return lowest(data)

    def maximum(self, x: Node, size: Extent, stride: Extent) -> Node:
        """The maximum over windows of the trailing axes."""
        return window_max(x, size, stride)

    def _window(self, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Kernel, stride and padding for data of this extent."""
        rank = len(spatial)
        if self.global_pool:
            return spatial, (1,) * rank, (0,) * rank
        if len(self.kernel) != rank:
            raise ShapeError(f"kernel={self.kernel} needs data with {len(self.kernel) + 2} axes, not {rank + 2}")
        return tuple(self.kernel), self._per_axis("stride", 1), self._per_axis("pad", 0)

    def _per_axis(self, name: str, default: int) -> Extent:
        """Stride or padding; MXNet does not look at entries beyond the kernel's axes."""
        rank = len(self.kernel)
        return spatial_tuple(self, name, getattr(self, name)[:rank], rank, default)

    def check(self) -> None:
        if not (self.global_pool and not self.kernel) and len(self.kernel) not in self.ranks:
            raise refuse(self, f"kernel={self.kernel} must have {self.ranks[0]} to {self.ranks[-1]} entries")
        if min(*self.kernel, *self.stride, 1, 1) < 1:
            raise refuse(self, f"kernel={self.kernel} and stride={self.stride} must be positive")
        if not self.global_pool:
            self._per_axis("stride", 1)
            if min(*self._per_axis("pad", 0), 0) < 0:
                raise refuse(self, f"pad={self.pad} must not be negative")

    def _check_data(self, data: tuple[int, ...]) -> None:
        if len(data) - 2 not in self.ranks:
            raise ShapeError(f"data must have {self.ranks[0] + 2} to {self.ranks[-1] + 2} axes, not {data}")
        if self.kernel and self.layout == "None" and len(self.kernel) + 2 != len(data):
            raise ShapeError(f"kernel={self.kernel} needs data with {len(self.kernel) + 2} axes, not {data}")
        if self.layout != "None" and len(self.layout) != len(data):
            raise ShapeError(f"layout {self.layout!r} does not fit data {data}")
        if self.pool_type == "lp" and self.p_value is None:
            raise ShapeError("pool_type='lp' needs p_value")
        if self.pool_type == "lp" and self.p_value not in (1, 2, 3):
            raise ShapeError(f"p_value={self.p_value} must be 1, 2 or 3")
        if self.pooling_convention == "same" and (len(data) != 3 or len(self.pad) != 3 or any(self.pad)):
            raise ShapeError("pooling_convention='same' takes 1-d pooling without padding only")

    def _last(self) -> bool:
        return self.layout.endswith("C")

    def _extent(self, d: int, k: int, st: int, p: int) -> int:
        if not d:
            return 0
        if self.pooling_convention == "same":
            return -(-d // st)
        if d + 2 * p < k:
            raise ShapeError(f"kernel of extent {k} exceeds data of {d} padded by {p}")
        free = d + 2 * p - k
        return 1 + (free // st if self.pooling_convention == "valid" else -(-free // st))

    def complete(self, s: Shapes) -> None:
        """(N, C, *S) gives (N, C, *P): P = 1 for global pooling, else (S + 2 pad - kernel) / stride + 1, rounded down
        (valid), up (full, and no window begins behind the data), or S / stride rounded up (same).
        """
        data = s.ins[0]
        if data is None:
            return
        self._check_data(data)
        spatial = data[1:-1] if self._last() else data[2:]
        if self.global_pool:
            out: tuple[int, ...] = (1,) * len(spatial)
        else:
            out = tuple(map(self._extent, spatial, *self._window(spatial)))
        s.set_out(0, (data[0], *out, data[-1]) if self._last() else (*data[:2], *out))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, t.ins[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        self._check_data(data.shape)
        if not self._last():
            return self._pool(data)
        rank = data.rank
        first = transpose(data, (0, rank - 1, *range(1, rank - 1)))
        return transpose(self._pool(first), (0, *range(2, rank), 1))

    def _pool(self, data: Node) -> Node:
        spatial = data.shape[2:]
        size, stride, margin = self._window(spatial)
        out = (1,) * len(spatial) if self.global_pool else tuple(map(self._extent, spatial, size, stride, margin))
        # a window that is alone has no neighbours to overlap, and its gradient no others to look at
        stride = tuple(k if o == 1 else st for k, o, st in zip(size, out, stride))
        covered = tuple((o - 1) * st + k for o, st, k in zip(out, stride, size))

        def padded(x: Node, value: float) -> Node:
            """Exactly what the windows cover."""
            x = pad(x, (0, 0, *margin), (0, 0, *margin), value=value)
            past = tuple(max(0, c - d - 2 * p) for c, d, p in zip(covered, spatial, margin))
            x = pad(x, (0,) * x.rank, (0, 0, *past), value=self.past(x) if self.pool_type == "max" else 0.0)
            if x.shape[2:] != covered:
                x = slice_(x, (0,) * x.rank, (*x.shape[:2], *covered), (1,) * x.rank)
            return x

        if self.pool_type == "max":
            return self.maximum(padded(data, self.padding(data)), size, stride)
        x = wide(data)
        if self.pool_type == "lp":
            return narrow(_lp(padded(x, 0.0), size, stride, self.p_value or 1), data)
        total = window_sum(padded(x, 0.0), size, stride)
        if self.pool_type == "avg":
            total = total * self._reciprocals(total, spatial, size, stride, margin)
        return narrow(total, data)

    def _reciprocals(self, like: Node, spatial: Extent, size: Extent, stride: Extent, margin: Extent) -> Node:
        """1 / number of cells that count in every window: a scalar if all are alike."""
        if self.whole_windows:
            return ew.const(1.0 / prod(size), like.dtype)
        counts: np.ndarray[Any, Any] = np.ones((), np.int64)
        for d, k, st, p, o in zip(spatial, size, stride, margin, like.shape[2:]):
            begin = np.arange(o) * st - p
            end = np.minimum(begin + k, d + p)
            if self._counts_padding():
                counts = counts[..., None] * (end - begin)
            else:
                counts = counts[..., None] * (np.minimum(end, d) - np.maximum(begin, 0))
        # windows past the end, or in the padding, have nothing to average: MXNet answers 0, or 0 / 0 in 3-d
        empty = np.nan if len(spatial) == 3 else 0.0
        shares = np.divide(1.0, counts, out=np.full(counts.shape, empty), where=counts != 0)
        if np.all(counts == counts.flat[0]):
            return ew.const(float(shares.flat[0]), like.dtype)
        shares = shares.astype(like.dtype.numpy)
        return broadcast(ew.const(shares), like.shape, tuple(range(2, like.rank)))

    def _counts_padding(self) -> bool:
        return self.count_include_pad is None or self.count_include_pad


def _lp(x: Node, size: tuple[int, ...], stride: tuple[int, ...], p: int) -> Node:
    """(sum x^p)^(1/p) over windows; as in MXNet without absolute values, which shows for odd p."""
    if p == 1:
        return window_sum(x, size, stride)
    power = x
    for _ in range(p - 1):
        power = power * x
    total = window_sum(power, size, stride)
    # the root has no slope at 0: such a window hands nothing down
    nothing = ew.eq(total, 0)
    some = ew.select(nothing, 1, total)
    return ew.select(nothing, 0, ew.sqrt(some) if p == 2 else ew.cbrt(some))


@operator("Pooling")
class Pooling(_Pooling):
    """max, avg, sum or lp over windows of `kernel`; 'valid' drops an incomplete last window, 'full' keeps it.

    avg divides by the window clipped to the padded extent, or by the true cells (count_include_pad=False).
    """

    kernel: Tuple = ()
    pool_type: Literal["avg", "lp", "max", "sum"] = "max"
    global_pool: bool = False
    cudnn_off: bool = False
    pooling_convention: Literal["full", "same", "valid"] = "valid"
    stride: Tuple = ()
    pad: Tuple = ()
    p_value: int | None = None
    count_include_pad: bool | None = None
    layout: Literal["None", "NCDHW", "NCHW", "NCW", "NDHWC", "NHWC", "NWC"] = "None"


@operator("Pooling_v1")
class PoolingV1(_Pooling):
    """The older Pooling: max, avg and sum in 2-d; padding counts as 0.

    Averages divide by the kernel's size.
    """

    whole_windows: ClassVar[bool] = True
    ranks: ClassVar[tuple[int, ...]] = (2,)

    kernel: Tuple = ()
    pool_type: Literal["avg", "max", "sum"] = "max"
    global_pool: bool = False
    pooling_convention: Literal["full", "valid"] = "valid"
    stride: Tuple = ()
    pad: Tuple = ()

    def padding(self, data: Node) -> float:
        return 0.0

    def past(self, data: Node) -> float:
        return -np.inf

    def maximum(self, x: Node, size: Extent, stride: Extent) -> Node:
        """The gradient goes to every place that holds the maximum of a window, not to the first alone."""

        def body(x: Node) -> Node:
            return window_max(x, size, stride)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            (x,), (most,), (ct,) = ins, outs, cts
            if all(st >= k for k, st in zip(size, stride)):  # a place has one window
                owner, down = (window_spread(v, size, stride, x.shape[2:]) for v in (most, ct))
                return [ew.select(ew.eq(x, owner), down, 0)]
            parts = (_from_tap(x, most, ct, tap, stride) for tap in np.ndindex(size))
            return [functools.reduce(op.add, parts)]

        made = custom_grad([x], body, rule)
        assert isinstance(made, Node)
        return made


def _from_tap(x: Node, most: Node, ct: Node, tap: Extent, stride: Extent) -> Node:
    """What the windows' places number `tap` get of the cotangent: all of it where they hold the maximum."""
    step = (1, 1, *stride)
    low = (0, 0, *tap)
    end = (*x.shape[:2], *(t + (o - 1) * st + 1 for t, o, st in zip(tap, ct.shape[2:], stride)))
    down = ew.select(ew.eq(slice_(x, low, end, step), most), ct, 0)
    return pad(down, low, tuple(d - e for d, e in zip(x.shape, end)), tuple(st - 1 for st in step))
