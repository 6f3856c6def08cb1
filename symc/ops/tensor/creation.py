"""Operators that make tensors out of their attributes, or of another tensor's shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.types import F64, I64, TensorType
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.families import (
    Number,
    NumberOrBool,
    complete_shape,
    constant,
    element_type,
    ir_type,
    one_axis,
    wanted_shape,
)


@dataclass(frozen=True, kw_only=True)
class _Created(Operator):
    """Base: no inputs; the type is an attribute, the device has no meaning here."""

    ctx: str = ""
    dtype: NumberOrBool = "float32"

    def complete_types(self, t: Types) -> None:
        t.set_out(0, element_type(self, self.dtype))


class _Filled(_Created):
    value_of_all: float = 0.0

    def complete(self, s: Shapes) -> None:
        """The output has the attribute `shape`; without one, what its users need."""
        shape = wanted_shape(self.shape)  # type: ignore[attr-defined]
        if shape:
            s.set_out(0, shape)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        shape = complete_shape(ctx, self.shape)  # type: ignore[attr-defined]
        value = getattr(self, "value", self.value_of_all)
        if self.dtype == "bool":
            return ew.full(bool(value), TensorType(ir_type("bool"), shape))
        return constant(value, ir_type(self.dtype), shape)


@operator("_zeros", inputs="", first="shape")
class Zeros(_Filled):
    """A tensor of zeros."""

    shape: Tuple = ()


@operator("_zeros_without_dtype", inputs="")
class ZerosWithoutType(Operator):
    """Zeros whose type is not chosen: float32."""

    shape: Tuple | None = None
    ctx: str = ""
    dtype: int = -1

    def check(self) -> None:
        if self.dtype != -1:
            raise MXNetError(f"_zeros_without_dtype: dtype={self.dtype} must be -1; use _zeros for a type")

    def complete(self, s: Shapes) -> None:
        """The output has the attribute `shape`."""
        if self.shape:
            s.set_out(0, wanted_shape(self.shape))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.float32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return constant(0, ir_type("float32"), complete_shape(ctx, self.shape))


@operator("_ones", inputs="", first="shape")
class Ones(_Filled):
    """A tensor of ones."""

    value_of_all = 1.0

    shape: Tuple = ()


@operator("_full", inputs="", first="shape")
class Full(_Filled):
    """A tensor of one value."""

    shape: Tuple | None = None
    value: float


@operator("_eye", inputs="", first="N M k")
class Eye(_Created):
    """N rows and M (not above 0: N) columns with ones on the k-th diagonal (above the main one for positive k)."""

    N: int
    M: int = 0
    k: int = 0

    def check(self) -> None:
        if self.N < 0:
            raise MXNetError(f"_eye: N={self.N} must not be negative")

    def _shape(self) -> tuple[int, int]:
        return (self.N, self.M if self.M > 0 else self.N)

    def complete(self, s: Shapes) -> None:
        """(N, M), with M = N where it is not above 0."""
        s.set_out(0, self._shape())

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        kind = TensorType(I64, self._shape())
        return ew.cast(ew.eq(mv.iota(kind, 1), mv.iota(kind, 0) + self.k), ir_type(self.dtype))


def ramp(start: float, step: float, count: int, repeat: int, dtype: str) -> Node:
    """start, start + step, ...: `count` elements, each number `repeat` times. For integers start and step lose their
    fractions first."""
    places = mv.iota(TensorType(I64, (count,)), 0)
    if repeat > 1:
        places = places / repeat
    if np.dtype(dtype).kind != "f":
        return ew.cast(places * int(step) + int(start), ir_type(dtype))
    wide = ir_type("float32" if dtype == "float16" else dtype)
    return ew.cast(ew.cast(places, wide) * step + start, ir_type(dtype))


@operator("_arange", inputs="")
class Arange(Operator):
    """start, start + step, ... below stop (without stop: 0 up to start), each number `repeat` times. With infer_range
    and without stop there are as many as the users of the output need."""

    start: float
    stop: float | None = None
    step: float = 1.0
    repeat: int = 1
    infer_range: bool = False
    ctx: str = ""
    dtype: Number = "float32"

    def check(self) -> None:
        if self.step == 0 or self.repeat < 1:
            raise MXNetError(f"_arange: step={self.step} must not be 0 and repeat={self.repeat} must be positive")

    @property
    def _open(self) -> bool:
        return self.infer_range and self.stop is None

    def _range(self) -> tuple[float, int]:
        start, stop = (0.0, self.start) if self.stop is None else (self.start, self.stop)
        return start, max(0, ceil((stop - start) / self.step)) * self.repeat

    def complete(self, s: Shapes) -> None:
        """(count of the numbers * repeat,); what its users need where infer_range leaves it open."""
        if self._open:
            return
        start, count = self._range()
        if not count:
            raise ShapeError(f"the range from {start} in steps of {self.step} is empty")
        s.set_out(0, (count,))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, element_type(self, self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        if self._open:
            shape = complete_shape(ctx, ())
            return mv.reshape(ramp(self.start, self.step, prod(shape), self.repeat, self.dtype), shape)
        start, count = self._range()
        return ramp(start, self.step, count, self.repeat, self.dtype)


@operator("_linspace", inputs="")
class Linspace(Operator):
    """`num` numbers from start to stop (included unless `endpoint` is False) at equal distances."""

    start: float
    stop: float
    num: int
    endpoint: bool = True
    ctx: str = ""
    dtype: Number = "float32"

    def check(self) -> None:
        if self.num < 0:
            raise MXNetError(f"_linspace: num={self.num} must not be negative")

    def complete(self, s: Shapes) -> None:
        """(num,)."""
        s.set_out(0, (self.num,))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, element_type(self, self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        places = mv.iota(TensorType(I64, (self.num,)), 0)
        steps = max(1, self.num - 1 if self.endpoint else self.num)
        values = ew.cast(places, F64) * ((self.stop - self.start) / steps) + self.start
        if self.endpoint and self.num > 1:
            # exactly the end, whatever the steps add up to
            values = ew.select(ew.eq(places, self.num - 1), self.stop, values)
        return ew.cast(values, ir_type(self.dtype))


@operator("_contrib_arange_like", hint="arange_like", gradient="zero")
class ArangeLike(Operator):
    """start, start + step, ... as many as the data has along `axis`; without axis of the data's shape."""

    start: float = 0.0
    step: float = 1.0
    repeat: int = 1
    ctx: str = ""
    axis: int | None = None

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return data if self.axis is None else (data[one_axis(self.axis, len(data))],)

    def complete(self, s: Shapes) -> None:
        """The data's shape; with `axis` a vector of its extent."""
        data = s.ins[0]
        if data is not None:
            s.set_out(0, self.target(data))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        shape = self.target(inputs[0].shape)
        made = ramp(self.start, self.step, prod(shape), self.repeat, inputs[0].dtype.numpy.name)
        return mv.reshape(made, shape)


@operator("_contrib_index_array", hint="index_array", gradient="zero")
class IndexArray(Operator):
    """For every element its coordinates (those of `axes`) in a new last axis, int64."""

    axes: Tuple | None = None

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(rank)) if self.axes is None else tuple(one_axis(a, rank, "axes") for a in self.axes)

    def complete(self, s: Shapes) -> None:
        """(*S) gives (*S, number of axes)."""
        data = s.ins[0]
        if data is not None:
            s.set_out(0, (*data, len(self._axes(len(data)))))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        shape = inputs[0].shape
        axes = self._axes(len(shape))
        if not axes:
            return ew.full(0, TensorType(I64, (*shape, 0)))
        return mv.stack([mv.iota(TensorType(I64, shape), a) for a in axes], len(shape))
