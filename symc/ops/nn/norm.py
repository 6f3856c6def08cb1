"""Normalisation layers. Layer, instance and group normalisation share one pass structure:

mean, then the variance of what is left, then scale and shift; their gradient is written in closed form, so that
one pass over the data collects both sums it needs and a second one writes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import pad, reshape
from symc.ir.prims.reduce import keepdims, reduce_sum
from symc.ir.prims.window import window_sum
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.families import no_gradient
from symc.ops.shared.layers import along, average, float32_only, narrow, others, refuse, rows, wide


def standardise(x: Node, axes: Sequence[int], eps: float) -> tuple[Node, Node, Node]:
    """(x - mean) / sqrt(var + eps), mean, 1 / sqrt(var + eps) over the axes; the last two without them."""
    mean = average(x, axes)
    centred = x - rows(mean, x.shape, axes)
    scale = ew.rsqrt(average(centred * centred, axes) + eps)
    return centred * rows(scale, x.shape, axes), mean, scale


def standardise_grad(x: Node, g: Node, mean: Node, scale: Node, axes: Sequence[int]) -> Node:
    """The gradient of `standardise` in x: scale * (g - mean(g) - z * mean(g * z))."""
    z = (x - rows(mean, x.shape, axes)) * rows(scale, x.shape, axes)
    rest = g - rows(average(g, axes), x.shape, axes) - z * rows(average(g * z, axes), x.shape, axes)
    return rest * rows(scale, x.shape, axes)


def normalise(data: Node, gamma: Node, beta: Node, axes: Sequence[int], per: tuple[int, ...], eps: float) -> list[Node]:
    """standardise(data) * gamma + beta, the mean and 1 / sqrt(var + eps), in single precision at least.

    gamma and beta lie along the axes `per`. The statistics carry no gradient.
    """

    def spread(v: Node, shape: Sequence[int]) -> Node:
        return rows(v, shape, others(len(shape), *per))

    def body(x: Node, gamma: Node, beta: Node) -> list[Node]:
        f = wide(x)
        z, mean, scale = standardise(f, axes, eps)
        y = z * spread(wide(gamma), x.shape) + spread(wide(beta), x.shape)
        return [narrow(y, x), mean, scale]

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        x, gamma, beta = ins
        _, mean, scale = outs
        f, ct = wide(x), wide(cts[0])
        free = others(x.rank, *per)
        z = (f - rows(mean, x.shape, axes)) * rows(scale, x.shape, axes)
        g = ct * spread(wide(gamma), x.shape)
        dgamma = narrow(reduce_sum(ct * z, free), gamma)
        dbeta = narrow(reduce_sum(ct, free), beta)
        return [narrow(standardise_grad(f, g, mean, scale, axes), x), dgamma, dbeta]

    made = custom_grad([data, gamma, beta], body, rule, saved=2)
    assert isinstance(made, list)
    return [made[0], *map(no_gradient(lambda statistic: statistic), made[1:])]


def normalise_batch(data: Node, gamma: Node, beta: Node, axis: int, eps: float, fixed: bool) -> list[Node]:
    """(data - mean) / sqrt(var + eps) * gamma + beta, the mean, 1 / sqrt(var + eps) and the variance, per index along
    `axis`, in single precision at least.

    The gradients of all three take the same two sums over the data, and products are taken in the order of MXNet's
    BatchNorm. MXNet adds up a channel element by element; these sums are more exact, as rounding errors of their own
    would only add to those of its answers.
    """
    axes = others(data.rank, axis)
    count = float(max(1, prod(data.shape[a] for a in axes)))

    def spread(v: Node) -> Node:
        return rows(v, data.shape, axes)

    def body(x: Node, gamma: Node, beta: Node) -> list[Node]:
        f = wide(x)
        mean = reduce_sum(f, axes) / count
        centred = f - spread(mean)
        variance = reduce_sum(centred * centred, axes) / count
        scale = 1.0 / ew.sqrt(variance + eps)
        z = centred * spread(scale)
        y = (z if fixed else z * spread(wide(gamma))) + spread(wide(beta))
        return [narrow(y, x), mean, scale, variance]

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        x, gamma, beta = ins
        _, mean, scale, _ = outs
        ct = wide(cts[0])
        centred = wide(x) - spread(mean)
        total, product = reduce_sum(ct, axes), reduce_sum(centred * ct, axes)
        slope = product * scale * scale / count
        factor = scale if fixed else scale * wide(gamma)
        dx = (ct - spread(total / count) - centred * spread(slope)) * spread(factor)
        return [narrow(dx, x), None if fixed else narrow(product * scale, gamma), narrow(total, beta)]

    made = custom_grad([data, gamma, beta], body, rule, saved=3)
    assert isinstance(made, list)
    return [made[0], *map(no_gradient(lambda statistic: statistic), made[1:])]


def _scaled(data: Node, gamma: Node, beta: Node, mean: Node, scale: Node, axis: int, fixed: bool) -> Node:
    """(data - mean) * scale * gamma + beta with given statistics per channel."""
    f = wide(data)
    factor = scale if fixed else scale * wide(gamma)
    y = (f - along(mean, data.shape, axis)) * along(factor, data.shape, axis) + along(wide(beta), data.shape, axis)
    return narrow(y, data)


class _BatchNorm(Operator):
    """What the batch normalisations share; attributes that one lacks keep these values."""

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    axis: int = 1
    initializers: ClassVar[dict[str, str]] = {"moving_mean": '["zero", {}]', "moving_var": '["one", {}]'}

    def num_visible_outputs(self) -> int:
        return 3 if self.output_mean_var else 1

    def channel_axis(self, rank: int) -> int:
        if not -rank <= self.axis < rank:
            raise ShapeError(f"axis={self.axis} is outside of data with {rank} axes")
        return self.axis % rank

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; gamma, beta, mean and variance are (channels,)."""
        data = s.ins[0]
        if data is None:
            return
        channels = data[self.channel_axis(len(data))]
        s.set_out(0, data)
        for at in range(1, 5):
            s.set_in(at, (channels,))
        for at in (1, 2):
            s.set_out(at, (channels,))

    def complete_types(self, t: Types) -> None:
        dtype = t.ins[0] if t.ins[0] is not None else t.outs[0]
        if dtype is None:
            return
        if dtype.kind != "f":
            raise ShapeError(f"data must be of a floating point type, not {dtype}: cast it")
        t.set_in(0, dtype)
        t.set_out(0, dtype)
        narrow_type = np.dtype(np.float32) if dtype == np.float16 else dtype
        for at in range(1, 5):
            t.set_in(at, narrow_type)
        for at in (1, 2):
            t.set_out(at, narrow_type)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        data, gamma, beta, moving_mean, moving_var = inputs
        axis = self.channel_axis(data.rank)
        if self.fix_gamma:
            ones = ew.full(1, gamma.tensor)
            if ctx.train:
                ctx.update(1, ones, "forward")
            else:
                ctx.becomes(1, ones)
        if self.use_global_stats or not ctx.train:
            scale = ew.rsqrt(wide(moving_var) + self.eps)
            mean = wide(moving_mean)
            y = _scaled(data, gamma, beta, mean, scale, axis, self.fix_gamma)
            return [self.after(y), mean, self.shown(scale, wide(moving_var))]
        y, mean, scale, variance = normalise_batch(data, gamma, beta, axis, self.eps, self.fix_gamma)
        kept = np.float32(self.momentum)
        left = float(np.float32(1) - kept)  # MXNet subtracts in single precision
        for at, moving, new in ((3, moving_mean, mean), (4, moving_var, variance)):

            def moved(held: Node, new: Node = new) -> Node:
                return held * float(kept) + narrow(new, held) * left

            ctx.update(at, moved(moving), again=moved)
        return [self.after(y), mean, self.shown(scale, variance)]

    def shown(self, scale: Node, variance: Node) -> Node:
        """The third output: 1 / sqrt(variance + eps), or the variance itself."""
        return scale

    def after(self, y: Node) -> Node:
        """What follows the normalisation."""
        return y


_INPUTS, _AUX, _OUTPUTS = "data gamma beta", "moving_mean moving_var", "output mean var"


@operator("BatchNorm", inputs=_INPUTS, aux=_AUX, outputs=_OUTPUTS)
class BatchNorm(_BatchNorm):
    """Normalises every channel by the batch's mean and (biased) variance, then gamma * z + beta.

    Training: batch statistics, and moving = momentum * moving + (1 - momentum) * batch, written by backward.
    Predicting (or use_global_stats): moving statistics. fix_gamma (the default) counts gamma as 1. Half precision
    data keep gamma, beta and statistics in single. Outputs: result, mean, 1 / sqrt(var + eps). Ioffe & Szegedy 2015.
    """

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    axis: int = 1
    cudnn_off: bool = False
    min_calib_range: float | None = None
    max_calib_range: float | None = None


@operator("BatchNorm_v1", inputs=_INPUTS, aux=_AUX, outputs=_OUTPUTS)
class BatchNormV1(_BatchNorm):
    """The older BatchNorm: channels on axis 1."""

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False

    def complete(self, s: Shapes) -> None:
        data = s.ins[0]
        if data is not None and len(data) not in (2, 4):
            raise ShapeError(f"data must have 2 or 4 axes, not {data}; BatchNorm takes any number")
        super().complete(s)

    def shown(self, scale: Node, variance: Node) -> Node:
        return variance


@operator("_contrib_SyncBatchNorm", inputs=_INPUTS, aux=_AUX, outputs=_OUTPUTS, hint="syncbatchnorm")
class SyncBatchNorm(_BatchNorm):
    """BatchNorm over several devices; with one, the batch's own statistics. Its third output is the variance.

    Differs from MXNet: there is one device, so `ndev` and `key` have no effect.
    """

    only_types: ClassVar[tuple[str, ...]] = ("float32",)

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    ndev: int = 1
    key: str

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; gamma, beta, mean and variance are (channels,)."""
        if is_known(s.ins[0]):
            super().complete(s)

    def shown(self, scale: Node, variance: Node) -> Node:
        return variance


@operator("_contrib_BatchNormWithReLU", inputs=_INPUTS, aux=_AUX, outputs=_OUTPUTS, hint="batchnormwithrelu")
class BatchNormWithReLU(_BatchNorm):
    """relu(BatchNorm(data))."""

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    axis: int = 1
    cudnn_off: bool = False
    min_calib_range: float | None = None
    max_calib_range: float | None = None

    def after(self, y: Node) -> Node:
        return ew.relu(y)


def _std(scale: Node, shape: Sequence[int], axes: Sequence[int], like: Node) -> Node:
    return narrow(keepdims(1.0 / scale, shape, axes), like)


@operator("LayerNorm", inputs="data gamma beta", outputs="output mean std")
class LayerNorm(Operator):
    """Normalises along `axis`, then gamma * z + beta. Outputs: result, mean, sqrt(var + eps). Ba et al. 2016."""

    floats_only: ClassVar[bool] = True

    axis: int = -1
    eps: float = 1e-5
    output_mean_var: bool = False

    def num_visible_outputs(self) -> int:
        return 3 if self.output_mean_var else 1

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; gamma and beta have its extent along `axis`; mean and std have extent 1
        there.
        """
        data = s.ins[0]
        if data is None:
            return
        if not -len(data) <= self.axis < len(data):
            raise ShapeError(f"axis={self.axis} is outside of data {data}")
        axis = self.axis % len(data)
        s.set_in(1, (data[axis],))
        s.set_in(2, (data[axis],))
        s.set_out(0, data)
        s.set_out(1, (*data[:axis], 1, *data[axis + 1 :]))
        s.set_out(2, (*data[:axis], 1, *data[axis + 1 :]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        data, gamma, beta = inputs
        axis = self.axis % data.rank
        y, mean, scale = normalise(data, gamma, beta, (axis,), (axis,), self.eps)
        return [y, narrow(keepdims(mean, data.shape, (axis,)), data), _std(scale, data.shape, (axis,), data)]


@operator("InstanceNorm", inputs="data gamma beta")
class InstanceNorm(Operator):
    """Normalises every channel of every example, then gamma * z + beta. Ulyanov et al. 2016."""

    eps: float = 1e-3

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (N, C, *S); gamma and beta are (C,)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 3:
            raise ShapeError(f"data must have at least 3 axes (batch, channel, ...), not {data}")
        s.set_in(1, (data[1],))
        s.set_in(2, (data[1],))
        s.set_out(0, data)

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, gamma, beta = inputs
        return normalise(data, gamma, beta, others(data.rank, 0, 1), (1,), self.eps)[0]


@operator("GroupNorm", inputs="data gamma beta", outputs="output mean std")
class GroupNorm(Operator):
    """Normalises groups of channels of every example; gamma and beta hold one value per group. Wu & He 2018.

    Outputs: result, mean, sqrt(var + eps).
    """

    floats_only: ClassVar[bool] = True

    num_groups: int = 1
    eps: float = 1e-5
    output_mean_var: bool = False

    def check(self) -> None:
        if self.num_groups < 1:
            raise refuse(self, f"num_groups={self.num_groups} must be at least 1")

    def num_visible_outputs(self) -> int:
        return 3 if self.output_mean_var else 1

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (N, C, *S); gamma and beta are (num_groups,), mean and std (N,
        num_groups).
        """
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 3:
            raise ShapeError(f"data must have at least 3 axes (batch, channel, ...), not {data}")
        if data[1] % self.num_groups:
            raise ShapeError(f"{self.num_groups} groups do not divide the {data[1]} channels of data")
        s.set_in(1, (self.num_groups,))
        s.set_in(2, (self.num_groups,))
        s.set_out(0, data)
        s.set_out(1, (data[0], self.num_groups))
        s.set_out(2, (data[0], self.num_groups))

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        data, gamma, beta = inputs
        batch, channels, *spatial = data.shape
        grouped = reshape(data, (batch, self.num_groups, channels // self.num_groups, *spatial))
        y, mean, scale = normalise(grouped, gamma, beta, others(grouped.rank, 0, 1), (1,), self.eps)
        return [reshape(y, data.shape), narrow(mean, data), narrow(1.0 / scale, data)]


@operator("L2Normalization")
class L2Normalization(Operator):
    """x / sqrt(sum x^2 + eps): over all but the batch (instance), axis 1 (channel) or the axes from 2 on (spatial)."""

    floats_only: ClassVar[bool] = True

    eps: float = 1e-10
    mode: Literal["channel", "instance", "spatial"] = "instance"

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike((0,), (0,))
        data = s.ins[0]
        if data is not None and len(data) < (1 if self.mode == "instance" else 3):
            raise ShapeError(f"mode={self.mode!r} does not take data {data}")

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        rank = data.rank
        axes = {"instance": others(rank, 0), "channel": (1,), "spatial": others(rank, 0, 1)}[self.mode]

        def body(x: Node) -> list[Node]:
            f = wide(x)
            scale = ew.rsqrt(reduce_sum(f * f, axes) + self.eps)
            return [narrow(f * rows(scale, x.shape, axes), x), scale]

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            y, ct = wide(outs[0]), wide(cts[0])
            rest = ct - y * rows(reduce_sum(ct * y, axes), y.shape, axes)
            return [narrow(rest * rows(outs[1], y.shape, axes), ins[0])]

        made = custom_grad([data], body, rule, saved=1)
        assert isinstance(made, list)
        return made[0]


@operator("LRN")
class LRN(Operator):
    """x * (knorm + alpha/nsize * sum of squares over nsize neighbouring channels)^-beta. Krizhevsky et al. 2012."""

    ignores_add: ClassVar[bool] = True
    floats_only: ClassVar[bool] = True

    alpha: float = 1e-4
    beta: float = 0.75
    knorm: float = 2.0
    nsize: int

    def check(self) -> None:
        if self.nsize < 1 or self.nsize % 2 == 0:
            raise refuse(self, f"nsize={self.nsize} must be odd")

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, (N, C, H, W)."""
        data = s.ins[0]
        if data is not None and len(data) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
        if data is not None and 0 < data[1] < self.nsize:
            raise ShapeError(f"nsize={self.nsize} exceeds the {data[1]} channels of data {data}")
        if is_known(data):
            s.set_out(0, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = wide(inputs[0])
        flat = reshape(x, (x.shape[0], x.shape[1], x.tensor.size // (x.shape[0] * x.shape[1])))
        around = (0, self.nsize // 2, 0)
        squares = window_sum(pad(flat * flat, around, around), (self.nsize, 1), (1, 1))
        scale = squares * (self.alpha / self.nsize) + self.knorm
        return narrow(reshape(flat * ew.pow_(scale, -self.beta), x.shape), inputs[0])
