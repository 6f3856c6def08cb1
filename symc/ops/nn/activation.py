"""Activations and the softmax family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import broadcast, reshape
from symc.ir.prims.random import uniform
from symc.ir.prims.reduce import reduce_max, reduce_sum
from symc.ir.types import I32, I64, dtype_of
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.layers import data_like_output, data_to_output, indices, narrow, refuse, rows, wide


def softsign(x: Node) -> Node:
    """x / (1 + |x|)."""
    return x / (ew.abs_(x) + 1.0)


def gelu(x: Node) -> Node:
    """x times the normal distribution function, in the erf form."""
    return x * (ew.erf(x * (1.0 / sqrt(2.0))) + 1.0) * 0.5


_ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "relu": ew.relu,
    "sigmoid": ew.sigmoid,
    "softrelu": ew.softrelu,
    "softsign": softsign,
    "tanh": ew.tanh,
}


@operator("Activation")
class Activation(Operator):
    """relu, sigmoid, softrelu = log(1 + exp(x)), softsign = x / (1 + |x|) or tanh, element by element."""

    floats_only: ClassVar[bool] = True

    act_type: Literal["relu", "sigmoid", "softrelu", "softsign", "tanh"]

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        data_like_output(s)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return narrow(_ACTIVATIONS[self.act_type](wide(inputs[0])), inputs[0])


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu(x: Node) -> Node:
    """Scaled elu. The gradient below zero is scale * (alpha + y), as in MXNet, not scale * alpha + y."""

    def body(x: Node) -> Node:
        return ew.select(ew.gt(x, 0), x, ew.expm1(x) * _SELU_ALPHA) * _SELU_SCALE

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        x, y = ins[0], outs[0]
        slope = ew.select(ew.gt(x, 0), ew.const(_SELU_SCALE, x.dtype), (y + _SELU_ALPHA) * _SELU_SCALE)
        return [cts[0] * slope]

    return _one(custom_grad([x], body, rule))


def _slope_axes(gamma: Sequence[int], data: Sequence[int]) -> list[int]:
    """The data's axes along which slopes of this shape differ: gamma's are found among the first two, from the last to
    the first. ShapeError where they are not."""
    left, found = list(gamma), []
    for axis in range(min(1, len(data) - 1), -1, -1):
        if left and left[-1] in (data[axis], 1):
            if left.pop() != 1:
                found.insert(0, axis)
    if left:
        raise ShapeError(f"gamma {tuple(gamma)} does not fit the first two axes of data {tuple(data)}")
    return found


@operator("LeakyReLU", inputs="data gamma")
class LeakyReLU(Operator):
    """Rectifiers with a slope below zero: leaky, prelu (learned, per channel or shared), rrelu (random), elu, selu.

    gelu, the smooth one, is here too.

    leaky: Maas et al. 2013; prelu: He et al. 2015; elu: Clevert et al. 2015; selu: Klambauer et al. 2017;
    gelu: Hendrycks & Gimpel 2016 (erf form).
    """

    floats_only: ClassVar[bool] = True

    act_type: Literal["elu", "gelu", "leaky", "prelu", "rrelu", "selu"] = "leaky"
    slope: float = 0.25
    lower_bound: float = 0.125
    upper_bound: float = 0.334
    initializers: ClassVar[dict[str, str]] = {"gamma": '["Constant", {"value": 0.25}]'}

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "gamma") if self.act_type == "prelu" else ("data",)

    def list_outputs(self) -> tuple[str, ...]:
        return ("output", "mask") if self.act_type == "rrelu" else ("output",)

    def complete(self, s: Shapes) -> None:
        """The output (and rrelu's mask) has the data's shape; prelu's gamma is (channels,), unless it is given: as one
        or two axes that are the data's first two, or 1.
        """
        data_to_output(s)
        if self.act_type == "rrelu" and s.ins[0] is not None:
            s.set_out(1, s.ins[0])
        data = s.ins[0]
        if self.act_type != "prelu" or data is None:
            return
        gamma = s.ins[1]
        if gamma and is_known(gamma) and is_known(data):
            _slope_axes(gamma, data)
        elif len(data) < 2 and not gamma:
            raise ShapeError(f"gamma cannot be told from data {data}: prelu takes one slope per channel (axis 1)")
        elif not gamma:
            s.set_in(1, (data[1],))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node | Sequence[Node]:
        x = wide(inputs[0])
        if self.act_type == "rrelu":
            slopes = self._slopes(ctx, x)
            return [narrow(ew.select(ew.gt(x, 0), x, x * slopes), inputs[0]), narrow(slopes, inputs[0])]
        if self.act_type == "prelu":
            return narrow(self._prelu(ctx, x, wide(inputs[1])), inputs[0])
        return narrow(self._value(x), inputs[0])

    def _prelu(self, ctx: BuildContext, x: Node, gamma: Node) -> Node:
        """x above zero, gamma * x below.

        MXNet 1.9.1 writes the data's gradient over the cotangent before it takes gamma's from it, unless that gradient
        has an array of its own: inside a net gamma's gradient is gamma times the derivative, and nets were trained so.
        """
        inner = ctx.inner
        found = _slope_axes(gamma.shape, x.shape)

        def slope(gamma: Node, shape: tuple[int, ...]) -> Node:
            return broadcast(reshape(gamma, [shape[a] for a in found]), shape, found)

        def body(x: Node, gamma: Node) -> Node:
            return ew.select(ew.gt(x, 0), x, x * slope(gamma, x.shape))

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            x, gamma = ins
            spread = slope(gamma, x.shape)
            down = ew.select(ew.gt(x, 0), cts[0], cts[0] * spread)
            kept = down if inner else cts[0]
            parts = ew.select(ew.gt(x, 0), 0, x * kept)
            axes = tuple(a for a in range(x.rank) if a not in found)
            return [down, reshape(reduce_sum(parts, axes), gamma.shape)]

        return _one(custom_grad([x, gamma], body, rule))

    def _slopes(self, ctx: BuildContext, x: Node) -> Node:
        """rrelu: random slopes in training (the output "mask"), their mean otherwise."""
        if not ctx.train:
            return ew.full((self.lower_bound + self.upper_bound) / 2, x.tensor)
        return uniform(ctx.random_key(), x.shape, x.dtype) * (self.upper_bound - self.lower_bound) + self.lower_bound

    def _value(self, x: Node) -> Node:
        if self.act_type == "gelu":
            return gelu(x)
        if self.act_type == "selu":
            return selu(x)
        if self.act_type == "elu":
            positive = ew.gt(x, 0)
            # what is not taken is kept from overflowing: nothing times infinity would be its part of the gradient
            return ew.select(positive, x, ew.expm1(ew.select(positive, 0, x)) * self.slope)
        return ew.select(ew.gt(x, 0), x, x * self.slope)


# --------------------------------------------------------------------------------------------- softmax


def softmax(x: Node, axes: tuple[int, ...], grad_axes: tuple[int, ...] | None = None) -> Node:
    """exp(x - max) / sum over the axes, accumulated wide; gradient y * (ct - sum(ct * y)), summed over `grad_axes`."""

    def body(x: Node) -> Node:
        shape = x.shape
        e = ew.exp(x - rows(reduce_max(x, axes), shape, axes))
        return e / rows(reduce_sum(e, axes), shape, axes)

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        y, ct = outs[0], cts[0]
        summed = axes if grad_axes is None else grad_axes
        return [y * (ct - rows(reduce_sum(ct * y, summed), y.shape, summed))]

    return _one(custom_grad([x], body, rule))


def log_softmax(x: Node, axes: tuple[int, ...]) -> Node:
    """x - max - log(sum(exp(x - max))) over the axes; gradient ct - exp(y) * sum(ct)."""

    def body(x: Node) -> Node:
        shape = x.shape
        z = x - rows(reduce_max(x, axes), shape, axes)
        return z - rows(ew.log(reduce_sum(ew.exp(z), axes)), shape, axes)

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        y, ct = outs[0], cts[0]
        return [ct - ew.exp(y) * rows(reduce_sum(ct, axes), y.shape, axes)]

    return _one(custom_grad([x], body, rule))


def _one(made: Node | list[Node]) -> Node:
    return made if isinstance(made, Node) else made[0]


@dataclass(frozen=True, kw_only=True)
class _SoftmaxLike(Operator):
    """Base: axis, temperature and output type."""

    floats_only: ClassVar[bool] = True

    axis: int = -1
    temperature: float | None = None
    dtype: Literal["None", "float16", "float32", "float64"] = "None"
    use_length: bool = False

    def check(self) -> None:
        if self.use_length and "length" not in self.input_names:
            raise refuse(self, "use_length=True needs an input that only softmax has")

    def _axis(self, rank: int) -> int:
        if not -rank <= self.axis < rank:
            raise ShapeError(f"axis={self.axis} is outside of data with {rank} axes")
        return self.axis % rank

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike((0,), (0,))
        if s.ins[0] is not None:
            self._axis(len(s.ins[0]))

    def complete_types(self, t: Types) -> None:
        if self.dtype == "None":
            t.set_out(0, t.ins[0])
        else:
            t.set_out(0, np.dtype(self.dtype))
            if t.ins[0] is None:
                t.set_in(0, t.outs[0])

    def _apply(self, x: Node, axis: int) -> Node:
        return softmax(x, (axis,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        out = data.dtype if self.dtype == "None" else dtype_of(self.dtype)
        axis = self._axis(data.rank)
        x = wide(data)
        if out.numpy.itemsize > x.dtype.numpy.itemsize:
            x = ew.cast(x, out)
        if self.temperature is not None and self.temperature != 1.0:
            x = x * (1.0 / self.temperature)
        if len(inputs) > 1:
            if inputs[1].dtype not in (I32, I64):
                raise ShapeError(f"length must be int32 or int64, not {inputs[1].dtype}")
            kept = _within(inputs[1], x.shape, axis)
            y = self._apply(ew.select(kept, x, float("-inf")), axis)
            y = ew.select(kept, y, 0.0)
        else:
            y = self._apply(x, axis)
        return ew.cast(y, out)


def _within(length: Node, shape: tuple[int, ...], axis: int) -> Node:
    """i1: the index along `axis` is below the row's length."""
    return ew.lt(indices(shape, axis), rows(ew.cast(length, I32), shape, (axis,)))


@operator("softmax", inputs="data length")
class Softmax(_SoftmaxLike):
    """exp(x / temperature) normalised along `axis`; with use_length positions from `length` on give 0."""

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "length") if self.use_length else ("data",)

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; length has it without the axis."""
        data_to_output(s)
        data = s.ins[0]
        if data is not None:
            axis = self._axis(len(data))
            if self.use_length:
                s.set_in(1, data[:axis] + data[axis + 1 :])


@operator("softmin")
class Softmin(_SoftmaxLike):
    """softmax of -x."""

    def _apply(self, x: Node, axis: int) -> Node:
        return softmax(-x, (axis,))


@operator("log_softmax")
class LogSoftmax(_SoftmaxLike):
    """Logarithm of softmax, computed without overflow."""

    def _apply(self, x: Node, axis: int) -> Node:
        return log_softmax(x, (axis,))


@operator("SoftmaxActivation")
class SoftmaxActivation(Operator):
    """Softmax over the last axis (instance), or over axis 1 (channel).

    MXNet's gradient sums over axis 1 in both modes, which is right for matrices; it is kept for others too.
    """

    floats_only: ClassVar[bool] = True

    mode: Literal["channel", "instance"] = "instance"

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike((0,), (0,))
        data = s.ins[0]
        if data is not None and self.mode == "channel" and len(data) < 3:
            raise ShapeError(f"mode='channel' needs data with at least 3 axes, not {data}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = wide(inputs[0])
        axis = 1 if self.mode == "channel" else x.rank - 1
        return narrow(softmax(x, (axis,), (min(1, x.rank - 1),)), inputs[0])
