"""Quantization: floating point as whole numbers of 8 bits and their range, and back.

Scales and rounding are those of MXNet's builds with oneDNN. Layers that compute with such numbers are not there.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast, reshape
from symc.ir.prims.reduce import reduce_max, reduce_min
from symc.ir.types import F32, I8, U8, DType
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.layers import refuse


def _nearest(x: Node) -> Node:
    """The nearest whole number, of two the even one."""
    up = ew.floor(x + 0.5)
    odd = ew.ne(ew.mod(up, 2.0), 0.0)
    return up - ew.cast(ew.and_(ew.eq(up - x, 0.5), odd), x.dtype)


def _largest(low: Node, high: Node) -> Node:
    """The largest magnitude of a range, (1,)."""
    return ew.maximum(ew.abs_(low), ew.abs_(high))


def _everywhere(value: Node, x: Node) -> Node:
    return broadcast(reshape(value, ()), x.shape, ())


def _stored(x: Node, scale: Node, to: DType) -> Node:
    """x times the scale, rounded and cut off at the ends of a type of 8 bits."""
    limits = np.iinfo(to.numpy)
    whole = _nearest(x * _everywhere(scale, x))
    return ew.cast(ew.minimum(ew.maximum(whole, float(limits.min)), float(limits.max)), to)


def _quantized(x: Node, low: Node, high: Node, to: DType, steps: float) -> list[Node]:
    """x with so many steps from 0 to the largest magnitude of a range; and the range that the numbers stand for."""
    largest = _largest(low, high)
    made = _stored(x, steps / largest, to)
    return [made, -largest, largest] if to == I8 else [made, low, high]


class _Quantizing(Operator):
    """Base: data, and the ends of a range (1,) in float32."""

    source: ClassVar[type] = np.float32

    def _target(self) -> DType:
        raise NotImplementedError(f"{self.op_name} must say its type")

    def complete(self, s: Shapes) -> None:
        """The first output has the data's shape, the ends of the range are (1,)."""
        s.all_alike([0], [0])
        for at in range(1, len(s.ins)):
            s.set_in(at, (1,))
        for at in range(1, len(s.outs)):
            s.set_out(at, (1,))

    def complete_types(self, t: Types) -> None:
        t.set_in(0, self.source)
        t.set_out(0, self._target().numpy)
        for at in range(1, len(t.ins)):
            t.set_in(at, np.float32)
        for at in range(1, len(t.outs)):
            t.set_out(at, np.float32)


@operator(
    "_contrib_quantize", inputs="data min_range max_range", outputs="output0 output1 output2", gradient="zero",
    hint="quantize",
)  # fmt: skip
class Quantize(_Quantizing):
    """Data as 8-bit numbers, x times 127 ("int8") or 255 ("uint8") over the largest magnitude of the range; and the
    range that the numbers stand for: from minus that magnitude to it for int8, as given for uint8."""

    out_type: Literal["int8", "uint8"] = "uint8"

    def _target(self) -> DType:
        return I8 if self.out_type == "int8" else U8

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data, low, high = inputs
        to = self._target()
        return _quantized(data, low, high, to, 127.0 if to == I8 else 255.0)


@operator("_contrib_quantize_v2", outputs="output0 output1 output2", gradient="zero", hint="quantize_v2")
class QuantizeV2(_Quantizing):
    """As _contrib_quantize, with the range of the data itself unless one was calibrated, and scales of 127.5 and 255.5.
    "auto" is uint8 for a calibrated range that begins at 0 or above."""

    out_type: Literal["auto", "int8", "uint8"] = "int8"
    min_calib_range: float | None = None
    max_calib_range: float | None = None

    def check(self) -> None:
        if (self.min_calib_range is None) != (self.max_calib_range is None):
            raise refuse(self, "min_calib_range and max_calib_range come together")

    def _target(self) -> DType:
        if self.out_type == "auto":
            return U8 if self.min_calib_range is not None and self.min_calib_range >= 0 else I8
        return I8 if self.out_type == "int8" else U8

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data, to = inputs[0], self._target()
        if self.min_calib_range is not None and self.max_calib_range is not None:
            low, high = (ew.const(np.array([v], np.float32)) for v in (self.min_calib_range, self.max_calib_range))
        else:
            everything = range(data.rank)
            low, high = reshape(reduce_min(data, everything), (1,)), reshape(reduce_max(data, everything), (1,))
        return _quantized(data, low, high, to, 127.5 if to == I8 else 255.5)


@operator("_contrib_dequantize", inputs="data min_range max_range", gradient="zero", hint="dequantize")
class Dequantize(_Quantizing):
    """8-bit numbers in floating point: x times the largest magnitude of the range over 127.5 (int8) or 255.5
    (uint8)."""

    out_type: Literal["float32"] = "float32"

    def complete_types(self, t: Types) -> None:
        if t.ins[0] is not None and t.ins[0] not in (np.dtype(np.int8), np.dtype(np.uint8)):
            raise ShapeError(f"data must be int8 or uint8, got {t.ins[0]}")
        t.set_in(1, np.float32)
        t.set_in(2, np.float32)
        t.set_out(0, np.float32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, low, high = inputs
        scale = _largest(low, high) * (1.0 / (127.5 if data.dtype == I8 else 255.5))
        return ew.cast(data, F32) * _everywhere(scale, data)


@operator(
    "_contrib_requantize", inputs="data min_range max_range", outputs="output0 output1 output2", gradient="zero",
    hint="requantize",
)  # fmt: skip
class Requantize(_Quantizing):
    """int32 numbers of a range as int8 numbers of the calibrated range, or of that of the values themselves; and the
    new range."""

    source: ClassVar[type] = np.int32

    out_type: Literal["auto", "int8", "uint8"] = "int8"
    min_calib_range: float | None = None
    max_calib_range: float | None = None

    def check(self) -> None:
        if self.out_type == "uint8" or (self.out_type == "auto" and (self.min_calib_range or 0) >= 0):
            raise refuse(self, "only int8 results are there; give out_type='int8'")
        if (self.min_calib_range is None) != (self.max_calib_range is None):
            raise refuse(self, "min_calib_range and max_calib_range come together")

    def _target(self) -> DType:
        return I8

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data, low, high = inputs
        x = ew.cast(data, F32)
        x = x * _everywhere(_largest(low, high) * (1.0 / np.iinfo(np.int32).max), x)
        if self.min_calib_range is not None and self.max_calib_range is not None:
            largest = ew.const(np.array([max(abs(self.min_calib_range), abs(self.max_calib_range))], np.float32))
        else:
            largest = reshape(reduce_max(ew.abs_(x), range(x.rank)), (1,))
        return [_stored(x, 127.0 / largest, I8), -largest, largest]
