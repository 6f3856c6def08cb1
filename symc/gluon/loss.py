"""mx.gluon.loss: losses as blocks. Each gives one number for every example, unless it says otherwise."""

from __future__ import annotations

import math
from typing import Any

from symc import ndarray
from symc.gluon.hybrid import HybridBlock

__all__ = [
    "CTCLoss", "CosineEmbeddingLoss", "HingeLoss", "HuberLoss", "KLDivLoss", "L1Loss", "L2Loss", "LogisticLoss", "Loss",
    "PoissonNLLLoss", "SDMLLoss", "SigmoidBCELoss", "SigmoidBinaryCrossEntropyLoss", "SoftmaxCELoss",
    "SoftmaxCrossEntropyLoss", "SquaredHingeLoss", "TripletLoss",
]  # fmt: skip


class Loss(HybridBlock):
    """Base: `weight` is a factor on all, `batch_axis` the axis of the examples; `sample_weight`, an argument when the
    loss is called, are factors that broadcast to the loss before it is averaged."""

    def __init__(self, weight: float | None, batch_axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._weight, self._batch_axis = weight, batch_axis

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_axis={self._batch_axis}, w={self._weight})"

    def _weighted(self, F: Any, loss: Any, sample_weight: Any, factor: float = 1) -> Any:
        return _apply_weighting(F, loss, self._weight, sample_weight, factor)

    def _mean(self, F: Any, loss: Any, sample_weight: Any, factor: float = 1) -> Any:
        """The weighted mean over all axes but that of the examples."""
        return F.mean(self._weighted(F, loss, sample_weight, factor), axis=self._batch_axis, exclude=True)


def _apply_weighting(F: Any, loss: Any, weight: Any = None, sample_weight: Any = None, factor: float = 1) -> Any:
    """`loss` times every example's weight, and times `weight` and `factor`; losses of programs call it."""
    if sample_weight is not None:
        loss = F.broadcast_mul(loss, sample_weight)
    if weight is None:
        return loss
    if not isinstance(weight, (int, float)):
        raise AssertionError(f"the weight of a loss is a number, not {weight!r}")
    return loss * (weight * factor)


def _reshape_like(F: Any, x: Any, y: Any) -> Any:
    """x under the shape of y."""
    return x.reshape(y.shape) if F is ndarray else F.reshape_like(x, y)


class L2Loss(Loss):
    """Half of the squared difference."""

    def __init__(self, weight: float | None = 1.0, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        return self._mean(F, F.square(_reshape_like(F, label, pred) - pred), sample_weight, 0.5)


class _Weighted(Loss):
    """Losses without a weight by default."""

    def __init__(self, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)


class L1Loss(_Weighted):
    """The absolute difference."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        return self._mean(F, F.abs(_reshape_like(F, label, pred) - pred), sample_weight)


class SigmoidBinaryCrossEntropyLoss(Loss):
    """Cross entropy of two classes, from scores or (`from_sigmoid`) from probabilities; `pos_weight` is a factor on the
    examples whose label is 1."""

    def __init__(
        self, from_sigmoid: bool = False, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_sigmoid = from_sigmoid

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, pred: Any, label: Any, sample_weight: Any = None, pos_weight: Any = None
    ) -> Any:
        """The loss of every example."""
        label = _reshape_like(F, label, pred)
        if self._from_sigmoid:
            least = 1e-12
            hit = F.log(pred + least) * label
            hit = hit if pos_weight is None else F.broadcast_mul(hit, pos_weight)
            return self._mean(F, -(hit + F.log(1.0 - pred + least) * (1.0 - label)), sample_weight)
        # log(1 + exp(-|x|)) does not overflow
        tail = F.Activation(-F.abs(pred), act_type="softrelu")
        if pos_weight is None:
            return self._mean(F, F.relu(pred) - pred * label + tail, sample_weight)
        factor = 1 + F.broadcast_mul(pos_weight - 1, label)
        return self._mean(F, pred - pred * label + factor * (tail + F.relu(-pred)), sample_weight)


class SoftmaxCrossEntropyLoss(Loss):
    """Cross entropy of many classes along `axis`, from scores or (`from_logits`) from logarithms of probabilities;
    labels are numbers of classes, or probabilities (not `sparse_label`)."""

    def __init__(
        self, axis: int = -1, sparse_label: bool = True, from_logits: bool = False, weight: float | None = None,
        batch_axis: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(weight, batch_axis, **kwargs)
        self._axis, self._sparse_label, self._from_logits = axis, sparse_label, from_logits

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        if self._sparse_label:
            loss = -F.pick(pred, label, axis=self._axis, keepdims=True)
        else:
            loss = -(pred * _reshape_like(F, label, pred)).sum(axis=self._axis, keepdims=True)
        return self._mean(F, loss, sample_weight)


class KLDivLoss(Loss):
    """The divergence of a distribution from that of the labels; `pred` are logarithms, or scores along `axis` if not
    `from_logits`."""

    def __init__(
        self, from_logits: bool = True, axis: int = -1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits, self._axis = from_logits, axis

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example: a sum, not a mean."""
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        loss = label * (F.log(label + 1e-12) - pred)
        return F.sum(self._weighted(F, loss, sample_weight), axis=self._batch_axis, exclude=True)


class CTCLoss(Loss):
    """Connectionist temporal classification (Graves et al. 2006); the last class is the blank."""

    def __init__(
        self, layout: str = "NTC", label_layout: str = "NT", weight: float | None = None, **kwargs: Any
    ) -> None:
        if layout not in ("NTC", "TNC"):
            raise AssertionError(f"CTCLoss: layout is 'NTC' or 'TNC', not {layout!r}")
        if label_layout not in ("NT", "TN"):
            raise AssertionError(f"CTCLoss: label_layout is 'NT' or 'TN', not {label_layout!r}")
        self._layout = layout
        super().__init__(weight, label_layout.find("N"), **kwargs)

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, pred: Any, label: Any, pred_lengths: Any = None, label_lengths: Any = None,
        sample_weight: Any = None,
    ) -> Any:  # fmt: skip
        """The loss of every example."""
        pred = F.swapaxes(pred, dim1=0, dim2=1) if self._layout == "NTC" else pred
        label = F.swapaxes(label, dim1=0, dim2=1) if self._batch_axis == 1 else label
        lengths = {"data_lengths": pred_lengths, "label_lengths": label_lengths}
        lengths = {name: value for name, value in lengths.items() if value is not None}
        loss = F.CTCLoss(
            data=pred, label=label, use_data_lengths=pred_lengths is not None,
            use_label_lengths=label_lengths is not None, blank_label="last", **lengths,
        )  # fmt: skip
        return self._weighted(F, loss, sample_weight)


class HuberLoss(Loss):
    """Squared where the difference is below `rho`, linear above."""

    def __init__(self, rho: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._rho = rho

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        gap = F.abs(_reshape_like(F, label, pred) - pred)
        loss = F.where(gap > self._rho, gap - 0.5 * self._rho, (0.5 / self._rho) * F.square(gap))
        return self._mean(F, loss, sample_weight)


class HingeLoss(Loss):
    """How far predictions are on the wrong side of the margin; labels are -1 and 1."""

    def __init__(self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def _beyond(self, F: Any, pred: Any, label: Any) -> Any:
        return F.relu(self._margin - pred * _reshape_like(F, label, pred))

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        return self._mean(F, self._beyond(F, pred, label), sample_weight)


class SquaredHingeLoss(HingeLoss):
    """The square of what HingeLoss measures."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        return self._mean(F, F.square(self._beyond(F, pred, label)), sample_weight)


class LogisticLoss(Loss):
    """log(1 + exp(-pred * label)); labels are -1 and 1 ("signed"), or 0 and 1 ("binary")."""

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, label_format: str = "signed", **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        if label_format not in ("signed", "binary"):
            raise ValueError(f"LogisticLoss: label_format is 'signed' or 'binary', not {label_format!r}")
        self._label_format = label_format

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """The loss of every example."""
        label = _reshape_like(F, label, pred)
        if self._label_format == "signed":
            label = (label + 1.0) / 2.0
        loss = F.relu(pred) - pred * label + F.Activation(-F.abs(pred), act_type="softrelu")
        return self._mean(F, loss, sample_weight)


class TripletLoss(Loss):
    """How much nearer than `margin` the negative example is, compared to the positive one."""

    def __init__(self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, pred: Any, positive: Any, negative: Any) -> Any:  # type: ignore[override]
        """The loss of every example."""
        gaps = F.square(_reshape_like(F, positive, pred) - pred) - F.square(_reshape_like(F, negative, pred) - pred)
        loss = F.relu(F.sum(gaps, axis=self._batch_axis, exclude=True) + self._margin)
        return self._weighted(F, loss, None)


class PoissonNLLLoss(Loss):
    """The negative logarithm of a Poisson likelihood, whose rate is exp(pred), or pred if not `from_logits`;
    `compute_full` adds Stirling's term for the targets. One number for the whole batch."""

    def __init__(
        self, weight: float | None = None, from_logits: bool = True, batch_axis: int = 0, compute_full: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits, self._compute_full = from_logits, compute_full

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, pred: Any, target: Any, sample_weight: Any = None, epsilon: float = 1e-08
    ) -> Any:
        """The mean over all elements."""
        target = _reshape_like(F, target, pred)
        loss = F.exp(pred) - target * pred if self._from_logits else pred - target * F.log(pred + epsilon)
        if self._compute_full:
            stirling = target * F.log(target) - target + 0.5 * F.log(2 * target * math.pi)
            loss = loss + stirling * (target > 1)
        return F.mean(self._weighted(F, loss, sample_weight))


class CosineEmbeddingLoss(Loss):
    """1 - cosine where the label is 1; what the cosine exceeds `margin` by where it is -1."""

    def __init__(self, weight: float | None = None, batch_axis: int = 0, margin: float = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, input1: Any, input2: Any, label: Any, sample_weight: Any = None
    ) -> Any:
        """The loss of every example, in a column."""
        input1, label = _reshape_like(F, input1, input2), label.reshape((-1, 1))
        norms = [F.norm(x, axis=-1).reshape((-1, 1)) for x in (input1, input2)]
        product = F.sum(input1 * input2, axis=-1).reshape((-1, 1))
        cosine = product / F.broadcast_maximum(norms[0] * norms[1], F.full((1, 1), 1e-12))
        alike = (1 - cosine) * (label == 1)
        apart = F.broadcast_maximum(F.zeros((1, 1)), (label == -1) * (cosine - self._margin))
        return self._weighted(F, alike + apart, sample_weight)


class SDMLLoss(Loss):
    """Smoothed deep metric learning (Bonadiman et al. 2019): every row of the first batch is nearest to the same row of
    the second."""

    def __init__(
        self, smoothing_parameter: float = 0.3, weight: float | None = 1.0, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self.kl_loss = KLDivLoss(from_logits=True)
        self.smoothing_parameter = smoothing_parameter

    def hybrid_forward(self, F: Any, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        """The loss of every row; shapes must be known, so the block is not hybridized."""
        rows, width = x1.shape
        spread = (rows, rows, width)
        gaps = (x1.expand_dims(1).broadcast_to(spread) - x2.expand_dims(0).broadcast_to(spread)) ** 2
        same = F.eye(rows)
        smooth = self.smoothing_parameter
        labels = same * (1 - smooth) + (1 - same) * smooth / (rows - 1)
        return self.kl_loss(F.log_softmax(-gaps.sum(axis=2), axis=1), labels.as_in_context(x1.context))


SigmoidBCELoss = SigmoidBinaryCrossEntropyLoss
SoftmaxCELoss = SoftmaxCrossEntropyLoss
