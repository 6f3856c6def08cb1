"""Metrics of numbers: how far a net is off."""

from __future__ import annotations

from typing import Any

import numpy

from symc.ir.types import Array
from symc.metric.base import EvalMetric, Names, PerBatch, alias, arrays_of, check_label_shapes, register
from symc.ndarray import NDArray


class _Regression(PerBatch):
    """Base: the mean over a batch of a function of the difference; every batch weighs the same."""

    def error(self, difference: Array) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not say its error")

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        label = label.reshape(-1, 1) if label.ndim == 1 else label
        pred = pred.reshape(-1, 1) if pred.ndim == 1 else pred
        return self.error(label - pred), 1


@register
class MAE(_Regression):
    """Mean absolute error."""

    def __init__(self, name: str = "mae", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def error(self, difference: Array) -> float:
        return float(numpy.abs(difference).mean())


@register
class MSE(_Regression):
    """Mean squared error."""

    def __init__(self, name: str = "mse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def error(self, difference: Array) -> float:
        return float((difference**2.0).mean())


@register
class RMSE(_Regression):
    """Root of the mean squared error, per batch."""

    def __init__(self, name: str = "rmse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def error(self, difference: Array) -> float:
        return float(numpy.sqrt((difference**2.0).mean()))


@register
@alias("pearsonr")
class PearsonCorrelation(EvalMetric):
    """Pearson's correlation of labels and predictions, per batch and averaged ("macro") or of all ("micro")."""

    def __init__(
        self, name: str = "pearsonr", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        self.average = average
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def reset(self) -> None:
        # count, means, and sums of squared deviations and of their product: Welford's updates for whole batches
        self._n, self._mean, self._m2, self._co = 0, numpy.zeros(2), numpy.zeros(2), 0.0
        super().reset()

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in arrays_of(labels, preds):
            check_label_shapes(label, pred, shape=True)
            pair = numpy.stack([label.ravel(), pred.ravel()]).astype(numpy.float64)
            if self.average == "macro":
                self._count(float(numpy.corrcoef(pair)[0, 1]), 1)
                continue
            self._count(0.0, 1)
            count, mean = pair.shape[1], pair.mean(1)
            centred = pair - mean.reshape(2, 1)
            shift, weight = mean - self._mean, self._n * count / (self._n + count)
            self._m2 += (centred**2).sum(1) + weight * shift**2
            self._co += float((centred[0] * centred[1]).sum() + weight * shift[0] * shift[1])
            self._n += count
            self._mean += shift * count / self._n

    def get(self) -> tuple[str, float]:
        if not self.num_inst or self.average == "macro":
            return self.name, self._value(self.sum_metric, self.num_inst)
        return self.name, float(self._co / numpy.sqrt(self._m2[0] * self._m2[1]))


@register
class Loss(EvalMetric):
    """Mean of the outputs, which are losses."""

    def __init__(self, name: str = "loss", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def update(self, labels: Any, preds: Any) -> None:
        for pred in [preds] if isinstance(preds, NDArray) else preds:
            self._count(float(pred.asnumpy().sum()), pred.size)


@register
class Torch(Loss):
    """Loss under another name."""

    def __init__(self, name: str = "torch", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)


@register
class Caffe(Loss):
    """Loss under another name."""

    def __init__(self, name: str = "caffe", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)
