"""Fully connected layers, up-sampling and the old Crop."""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

from symc.ir.op import Node
from symc.ir.prims.linear import conv_dx, dot
from symc.ir.prims.movement import broadcast, concat, reshape, slice_
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.layers import along, float32_only, refuse


@operator("FullyConnected", inputs="data weight bias")
class FullyConnected(Operator):
    """y = data . weight^T + bias; `flatten` folds all trailing axes of data into one."""

    floats_only: ClassVar[bool] = True

    num_hidden: int
    no_bias: bool = False
    flatten: bool = True

    def check(self) -> None:
        if self.num_hidden < 1:
            raise refuse(self, f"num_hidden={self.num_hidden} must be at least 1")

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def complete(self, s: Shapes) -> None:
        """Data (N, *S) needs weight (num_hidden, prod(S)), bias (num_hidden,) or (num_hidden, 1), and gives (N,
        num_hidden); without flatten (*S, d) needs (num_hidden, d) and gives (*S, num_hidden). A known output tells N.
        """
        data = s.ins[0]
        if data is None:
            return
        if not data:
            raise ShapeError("data must have at least one axis")
        if self.flatten and not all(data[1:]):
            raise ShapeError(f"data {data} has unknown dimensions after the first, so they cannot be folded into one")
        size = prod(data[1:]) if self.flatten else data[-1]
        s.set_in(1, (self.num_hidden, size))
        if not self.no_bias and s.ins[2] != (self.num_hidden, 1):
            s.set_in(2, (self.num_hidden,))
        s.set_out(0, (data[0], self.num_hidden) if self.flatten else (*data[:-1], self.num_hidden))
        out = s.outs[0]
        if out and out[0]:
            s.set_in(0, (out[0], *data[1:]) if self.flatten or len(data) > 1 else data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, weight = inputs[:2]
        lead = data.shape[:1] if self.flatten else data.shape[:-1]
        x = reshape(data, (prod(lead), weight.shape[1]))
        y = dot(x, weight, tb=True)
        if not self.no_bias:
            bias = inputs[2] if inputs[2].rank == 1 else reshape(inputs[2], (self.num_hidden,))
            y = y + along(bias, y.shape, 1)
        return reshape(y, (*lead, self.num_hidden))


@operator("UpSampling", variadic="num_args")
class UpSampling(Operator):
    """Repeats every cell (nearest), or interpolates with a learned kernel (bilinear: a grouped deconvolution).

    Several nearest inputs are each scaled to scale * the first one's size, then concatenated or summed.
    """

    floats_only: ClassVar[bool] = True

    scale: int
    num_filter: int = 0
    sample_type: Literal["bilinear", "nearest"]
    multi_input_mode: Literal["concat", "sum"] = "concat"
    num_args: int
    workspace: int = 512
    #: whatever comes second, a kernel or not
    initializers: ClassVar[dict[str, str]] = {"weight": '["bilinear", {}]', "arg1": '["bilinear", {}]'}

    def check(self) -> None:
        if self.scale < 1:
            raise refuse(self, f"scale={self.scale} must be at least 1")

    def list_inputs(self) -> tuple[str, ...]:
        if self.sample_type == "bilinear":
            return ("data", "weight")
        return tuple(f"arg{i}" for i in range(self.num_args))

    @property
    def _kernel(self) -> int:
        return 2 * self.scale - self.scale % 2

    def complete(self, s: Shapes) -> None:
        """(N, C, H, W) gives (N, channels, H * scale, W * scale); the bilinear weight is (C, 1, k, k), k = 2 scale -
        scale % 2.
        """
        first = s.ins[0]
        if first is None:
            return
        if len(first) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {first}")
        if self.sample_type == "bilinear":
            if not all(first):
                return
            s.set_in(1, (first[1], 1, self._kernel, self._kernel))
            s.set_out(0, (*first[:2], first[2] * self.scale, first[3] * self.scale))
            return
        height, width = first[2] * self.scale, first[3] * self.scale
        if any(shape is None for shape in s.ins):
            return
        channels = 0
        for at, shape in enumerate(s.ins):
            assert shape is not None
            if len(shape) != 4:
                raise ShapeError(f"input {at} must have 4 axes, not {shape}")
            if all(shape) and all(first) and (height % shape[2] or shape[3] * (height // shape[2]) != width):
                raise ShapeError(f"input {at} of shape {shape} has no one scale to the output's {height} x {width}")
            channels += shape[1]
        if self.multi_input_mode == "sum":
            channels = first[1]
        s.set_out(0, (first[0], channels, height, width))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        first = inputs[0]
        batch, channels, height, width = first.shape
        out = (height * self.scale, width * self.scale)
        if self.sample_type == "bilinear":
            around = -(-(self.scale - 1) // 2)
            spatial = tuple(o + 2 * around for o in out)
            full = conv_dx(first, inputs[1], (self.scale,) * 2, (1, 1), channels, spatial)
            return slice_(full, (0, 0, around, around), (batch, channels, around + out[0], around + out[1]), (1,) * 4)
        scaled = [_repeat(x, out[0] // x.shape[2], out[1] // x.shape[3]) for x in inputs]
        if self.multi_input_mode == "sum":
            total = scaled[0]
            for x in scaled[1:]:
                total = total + x
            return total
        return concat(scaled, 1)


def _repeat(x: Node, down: int, right: int) -> Node:
    """Every cell of (N, C, H, W) as a block of down x right equal cells."""
    n, c, h, w = x.shape
    blocks = broadcast(x, (n, c, h, down, w, right), (0, 1, 2, 4))
    return reshape(blocks, (n, c, h * down, w * right))


@operator("Crop", variadic="num_args")
class Crop(Operator):
    """Cuts height and width: to h_w, or to those of a second input, at `offset` or in the centre."""

    only_types: ClassVar[tuple[str, ...]] = ("float32",)

    num_args: int
    offset: Tuple = (0, 0)
    h_w: Tuple = (0, 0)
    center_crop: bool = False

    def check(self) -> None:
        if self.num_args not in (1, 2):
            raise refuse(self, f"takes one or two inputs, not {self.num_args}")
        if len(self.h_w) != 2 or len(self.offset) != 2:
            raise refuse(self, f"h_w={self.h_w} and offset={self.offset} need two numbers each, for y and x")

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "crop_like")[: self.num_args]

    def overwritten_gradients(self) -> tuple[int, ...]:
        return (0, 1)

    def complete(self, s: Shapes) -> None:
        """(N, C, H, W) gives (N, C, *h_w), or the height and width of crop_like."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
        size = tuple(self.h_w)
        if self.num_args == 2:
            like = s.ins[1]
            if like is None:
                return
            if len(like) != 4:
                raise ShapeError(f"the second input must have 4 axes, not {like}")
            size = like[2:]
        if all(data) and any(n > d for n, d in zip(size, data[2:])):
            raise ShapeError(f"height and width {size} exceed those of data {data}")
        s.set_out(0, (*data[:2], *size))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        size = inputs[1].shape[2:] if self.num_args == 2 else tuple(self.h_w)
        begin = tuple((d - n) // 2 for d, n in zip(data.shape[2:], size)) if self.center_crop else tuple(self.offset)
        end = tuple(b + n for b, n in zip(begin, size))
        if any(e > d for e, d in zip(end, data.shape[2:])):
            raise ShapeError(f"offset {begin} and size {size} reach beyond data {data.shape}")
        return slice_(data, (0, 0, *begin), (*data.shape[:2], *end), (1,) * 4)
