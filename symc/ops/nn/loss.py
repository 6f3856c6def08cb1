"""Output layers: a prediction in the forward half, the gradient of a loss, whatever the head, in the backward half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import ClassVar, Literal

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import broadcast, reshape, slice_
from symc.ir.prims.reduce import reduce_max, reduce_sum
from symc.ir.types import I32
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.layers import (
    along,
    average,
    check_range,
    data_to_output,
    float32_only,
    narrow,
    one_hot,
    others,
    rows,
    types_from_data,
    wide,
)


def loss_head(inputs: Sequence[Node], body: Callable[..., Node], gradient: Callable[..., Node]) -> Node:
    """body(*inputs), whose first input gets gradient(output, *inputs) whatever the cotangent of the output is."""

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        return [gradient(outs[0], *ins), *[None] * (len(ins) - 1)]

    made = custom_grad(list(inputs), body, rule)
    assert isinstance(made, Node)
    return made


def _probabilities(x: Node, axis: int) -> Node:
    e = ew.exp(x - rows(reduce_max(x, (axis,)), x.shape, (axis,)))
    return e / rows(reduce_sum(e, (axis,)), x.shape, (axis,))


def _everywhere(v: Node, shape: Sequence[int]) -> Node:
    """A rank-0 value at every place."""
    return broadcast(v, tuple(shape), ())


@operator("SoftmaxOutput", inputs="data label", aliases="Softmax")
class SoftmaxOutput(Operator):
    """Softmax with the gradient of cross entropy: (p - onehot(label)) * grad_scale / D.

    Over all but the batch; over axis 1 (multi_output), or over the last axis (preserve_shape). D: 'null' 1 (the
    spatial size with multi_output), 'batch' the number of examples (times spatial size), 'valid' the number of
    labels that are not ignore_label, at least 1. use_ignore drops the gradient of ignored labels; smooth_alpha
    smoothes the target. Labels of the data's shape are probabilities. As in MXNet 1.9.1, out_grad multiplies by
    the output instead of the head.
    """

    floats_only: ClassVar[bool] = True
    ignores_add: ClassVar[bool] = True

    grad_scale: float = 1.0
    ignore_label: float = -1.0
    multi_output: bool = False
    use_ignore: bool = False
    preserve_shape: bool = False
    normalization: Literal["batch", "null", "valid"] = "null"
    out_grad: bool = False
    smooth_alpha: float = 0.0

    def check(self) -> None:
        check_range(self, 0, 1, "smooth_alpha")

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; the label has it without the last axis, as (N, elements) with
        `multi_output`, or is a probability for every element.
        """
        data, label = s.ins
        if data is None:
            return
        s.set_out(0, data)
        if label is not None and label == data and len(data) > 0:
            return
        if self.multi_output:
            if len(data) < 2:
                raise ShapeError(f"multi_output needs data with at least 2 axes, not {data}")
            flat = (data[0], prod(data[2:]))
            if label is None:
                s.set_in(1, flat)
            elif is_known(data) and is_known(label):
                if label not in (flat, (data[0], *data[2:]), (data[0], 1, *data[2:])):
                    raise ShapeError(f"label {label} does not fit data {data}: {(data[0], *data[2:])} is needed")
        else:
            s.set_in(1, data[:-1])
        out = s.outs[0]
        if out is not None:
            s.set_in(0, out)

    def complete_types(self, t: Types) -> None:
        types_from_data(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, label = inputs
        shape = data.shape
        if self.multi_output:
            folded: tuple[int, ...] = (shape[0], shape[1], prod(shape[2:]))
        elif self.preserve_shape:
            folded = (prod(shape[:-1]), shape[-1])
        else:
            folded = (shape[0], prod(shape[1:]))

        def body(x: Node, label: Node) -> Node:
            return reshape(narrow(_probabilities(wide(reshape(x, folded)), 1), x), shape)

        def gradient(y: Node, x: Node, label: Node) -> Node:
            return narrow(reshape(self._gradient(reshape(wide(y), folded), label, x.shape), shape), x)

        return loss_head([data, label], body, gradient)

    def _gradient(self, p: Node, label: Node, shape: tuple[int, ...]) -> Node:
        """(p - target) * scale, folded to (rows, classes[, places])."""
        if label.shape == shape:
            grad = (p - reshape(wide(label), p.shape)) * self.grad_scale
            return grad * p if self.out_grad else grad
        places = (p.shape[0], *p.shape[2:])
        every = ew.cast(reshape(label, (label.tensor.size,)), I32)
        count = prod(places)
        if label.tensor.size == count:
            ids = reshape(every, places)
        else:
            # data of more than two axes in the default mode: only the first labels are used

            ids = reshape(slice_(every, (0,), (count,), (1,)), places)
        hot = one_hot(ids, p.shape, 1)
        classes = p.shape[1]
        if self.smooth_alpha and not self.multi_output:
            rest = self.smooth_alpha / max(classes - 1, 1)
            grad = p - ew.select(hot, ew.const(1.0 - self.smooth_alpha, p.dtype), rest)
        else:
            grad = p - ew.cast(hot, p.dtype)
        ignored = int(self.ignore_label)
        if self.use_ignore:
            kept = ew.ne(ids, ignored)
            grad = ew.select(rows(kept, p.shape, (1,)), grad, 0.0)
        grad = self._normalised(grad, every, label.shape[0] if self.multi_output else label.tensor.size, ignored)
        return grad * p if self.out_grad else grad

    def _normalised(self, grad: Node, every: Node, batch: int, ignored: int) -> Node:
        spatial = prod(grad.shape[2:])
        if self.normalization == "valid":
            valid = reduce_sum(ew.cast(ew.ne(every, ignored), grad.dtype), (0,))
            factor = self.grad_scale / ew.maximum(valid, 1.0)
            return grad * _everywhere(factor, grad.shape)
        return grad * (self.grad_scale / spatial / (batch if self.normalization == "batch" else 1))


class _Regression(Operator):
    """Base of the regression outputs: forward f(data), gradient by label."""

    floats_only: ClassVar[bool] = True

    grad_scale: float = 1.0

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; so has the label, which is (N,) for data (N, 1)."""
        data, label = s.ins
        if data is None or not is_known(data):
            return
        s.set_out(0, data)
        if label is None:
            s.set_in(1, (data[0],) if len(data) == 2 and data[1] == 1 else data)
        elif is_known(label) and (label[:1] != data[:1] or prod(label) != prod(data)):
            raise ShapeError(f"label {label} does not fit data {data}")

    def value(self, x: Node) -> Node:
        return x

    def slope(self, y: Node, label: Node) -> Node:
        return y - label

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        per_example = max(1, inputs[1].tensor.size // inputs[1].shape[0])

        def body(x: Node, label: Node) -> Node:
            return narrow(self.value(wide(x)), x)

        def gradient(y: Node, x: Node, label: Node) -> Node:
            slope = self.slope(wide(y), reshape(wide(label), x.shape))
            return narrow(slope * (self.grad_scale / per_example), x)

        return loss_head(inputs, body, gradient)


@operator("LinearRegressionOutput", inputs="data label")
class LinearRegressionOutput(_Regression):
    """Identity with the gradient of half the squared error: (x - label) * grad_scale / values per example."""

    grad_scale: float = 1.0


@operator("LogisticRegressionOutput", inputs="data label")
class LogisticRegressionOutput(_Regression):
    """Sigmoid with the gradient of binary cross entropy: (sigmoid(x) - label) * grad_scale / values per example."""

    grad_scale: float = 1.0

    def value(self, x: Node) -> Node:
        return ew.sigmoid(x)


@operator("MAERegressionOutput", inputs="data label")
class MAERegressionOutput(_Regression):
    """Identity with the gradient of the absolute error: sign(x - label) * grad_scale / values per example.

    Where both are equal the sign is -1, as in MXNet.
    """

    grad_scale: float = 1.0

    def slope(self, y: Node, label: Node) -> Node:
        return ew.select(ew.gt(y, label), 1, ew.full(-1, y.tensor))


@operator("SVMOutput", inputs="data label")
class SVMOutput(Operator):
    """Identity with the gradient of a one-against-all hinge loss (squared unless use_linear). Tang 2013."""

    ignores_add: ClassVar[bool] = True
    floats_only: ClassVar[bool] = True

    margin: float = 1.0
    regularization_coefficient: float = 1.0
    use_linear: bool = False

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, the label has it without the last axis."""
        data = s.ins[0]
        if data is None:
            return
        s.set_in(1, data[:-1])
        s.set_out(0, data)
        s.set_in(0, s.outs[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def gradient(y: Node, x: Node, label: Node) -> Node:
            f = reshape(wide(x), (prod(x.shape[:-1]), x.shape[-1]))
            hot = one_hot(reshape(label, (f.shape[0],)), f.shape, 1)
            sign = ew.select(hot, ew.const(1.0, f.dtype), -1.0)
            short = self.margin - sign * f
            if self.use_linear:
                grad = ew.select(ew.gt(short, 0), -sign, 0.0)
            else:
                grad = sign * ew.relu(short) * -2.0
            return narrow(reshape(grad * self.regularization_coefficient, x.shape), x)

        return loss_head(inputs, lambda x, label: x, gradient)


@operator("MakeLoss")
class MakeLoss(Operator):
    """Identity whose gradient is grad_scale, divided by the rows ('batch') or by the number of values above
    valid_thresh, at least 1 ('valid')."""

    floats_only: ClassVar[bool] = True

    grad_scale: float = 1.0
    valid_thresh: float = 0.0
    normalization: Literal["batch", "null", "valid"] = "null"

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape."""
        data_to_output(s)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def gradient(y: Node, x: Node) -> Node:
            if self.normalization == "valid":
                valid = reduce_sum(ew.cast(ew.gt(x, self.valid_thresh), wide(x).dtype), tuple(range(x.rank)))
                return narrow(_everywhere(self.grad_scale / ew.maximum(valid, 1.0), x.shape), x)
            # MXNet's batch is every axis but the last
            scale = self.grad_scale / (prod(x.shape[:-1]) if self.normalization == "batch" else 1)
            return ew.full(scale, x.tensor)

        return loss_head(inputs, lambda x: x, gradient)


@operator("softmax_cross_entropy", inputs="data label")
class SoftmaxCrossEntropy(Operator):
    """Sum over the rows of -log softmax(data)[label]: one number, shape (1,)."""

    floats_only: ClassVar[bool] = True

    def complete(self, s: Shapes) -> None:
        """Data (N, C) with label (N,) gives (1,)."""
        data = s.ins[0]
        if data is not None:
            if len(data) != 2:
                raise ShapeError(f"data must have 2 axes (batch, classes), not {data}")
            s.set_in(1, (data[0],))
        s.set_out(0, (1,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def body(x: Node, label: Node) -> Node:
            p = ew.maximum(_probabilities(wide(x), 1), 1e-8)
            picked = ew.select(one_hot(label, x.shape, 1), ew.log(p), 0.0)
            return narrow(reshape(-reduce_sum(picked, (0, 1)), (1,)), x)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            x, label = ins
            p = _probabilities(wide(x), 1)
            grad = p - ew.cast(one_hot(label, x.shape, 1), p.dtype)
            return [narrow(grad * _everywhere(reshape(wide(cts[0]), ()), x.shape), x), None]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, Node)
        return made


@operator("IdentityAttachKLSparseReg", aux="moving_avg")
class IdentityAttachKLSparseReg(Operator):
    """Identity that adds to the gradient a penalty on mean activations away from sparseness_target.

    moving_avg = momentum * moving_avg + (1 - momentum) * batch mean, written by backward before it is used.
    """

    sparseness_target: float = 0.1
    penalty: float = 0.001
    momentum: float = 0.9
    initializers: ClassVar[dict[str, str]] = {"moving_avg": '["zero", {}]'}

    def check(self) -> None:
        check_range(self, 0, 1, "sparseness_target", "momentum")

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; moving_avg is (channels,)."""
        s.all_alike((0,), (0,))
        data = s.ins[0]
        if data is not None:
            if len(data) != 2:
                raise ShapeError(f"data must have 2 axes (batch, unit), not {data}")
            s.set_in(1, (data[1],))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, moving = inputs

        def averaged(x: Node, moving: Node) -> Node:
            return moving * self.momentum + average(x, others(x.rank, 1)) * (1 - self.momentum)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            mean = averaged(*ins)
            target = self.sparseness_target
            pull = (1 - target) / (1.0 - mean) - target / mean
            return [cts[0] + along(pull * self.penalty, ins[0].shape, 1), None]

        made = custom_grad([data, moving], lambda x, moving: x, rule)
        assert isinstance(made, Node)
        if ctx.train:
            ctx.update(1, averaged(data, moving), again=lambda held: averaged(data, held))
        return made
