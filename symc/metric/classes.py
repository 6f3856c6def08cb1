"""Metrics of classes: how often and how surely a net is right."""

from __future__ import annotations

import math
from typing import Any

import numpy

from symc.ir.types import Array
from symc.metric.base import EvalMetric, Names, PerBatch, alias, arrays_of, check_label_shapes, register


@register
@alias("acc")
class Accuracy(PerBatch):
    """Share of predictions (the largest along `axis`, unless they are labels already) that are right."""

    def __init__(
        self, axis: int = 1, name: str = "accuracy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(name, output_names, label_names, axis=axis)
        self.axis = axis

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        if pred.shape != label.shape:
            pred = pred.argmax(axis=self.axis)
        mine, other = pred.astype(numpy.int32).ravel(), label.astype(numpy.int32).ravel()
        check_label_shapes(other, mine)
        return int((mine == other).sum()), len(mine)


@register
@alias("top_k_accuracy", "top_k_acc")
class TopKAccuracy(PerBatch):
    """Share of labels among the `top_k` largest predictions."""

    def __init__(
        self, top_k: int = 1, name: str = "top_k_accuracy", output_names: Names = None, label_names: Names = None
    ) -> None:
        if top_k <= 1:
            raise AssertionError("Please use Accuracy if top_k is no more than 1")
        super().__init__(f"{name}_{top_k}", output_names, label_names, top_k=top_k)
        self.top_k = top_k

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "name": self.name.removesuffix(f"_{self.top_k}")}

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        if pred.ndim > 2:
            raise AssertionError("Predictions should be no more than 2 dims")
        label = label.astype(numpy.int32).reshape(-1)
        check_label_shapes(label, pred)
        if pred.ndim == 1:
            return int((pred.argsort() == label).sum()), len(label)
        best = min(self.top_k, pred.shape[1])
        top = numpy.argpartition(pred.astype(numpy.float32), -best, axis=1)[:, -best:]
        return int((top == label[:, None]).sum()), len(label)


class _BinaryTally:
    """Counts of a two-class prediction: [predicted][true]."""

    def __init__(self) -> None:
        self.counts = numpy.zeros((2, 2))

    def add(self, label: Array, pred: Array, who: str) -> None:
        label = label.astype(numpy.int32).ravel()
        check_label_shapes(label, pred)
        if len(numpy.unique(label)) > 2:
            raise ValueError(f"{who} currently only supports binary classification.")
        said = pred.argmax(axis=1) == 1
        true = label == 1
        numpy.add.at(self.counts, (said.astype(int), true.astype(int)), 1)

    @property
    def total(self) -> float:
        return float(self.counts.sum())

    @property
    def f1(self) -> float:
        hit, false_positive, missed = self.counts[1, 1], self.counts[1, 0], self.counts[0, 1]
        precision = hit / (hit + false_positive) if hit + false_positive else 0.0
        recall = hit / (hit + missed) if hit + missed else 0.0
        return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0

    @property
    def mcc(self) -> float:
        if not self.total:
            return 0.0
        sums = [*self.counts.sum(0), *self.counts.sum(1)]
        bottom = math.sqrt(math.prod(s for s in sums if s))
        return float(self.counts[1, 1] * self.counts[0, 0] - self.counts[1, 0] * self.counts[0, 1]) / bottom


class _Binary(EvalMetric):
    """Base: a score of the two-class counts, per batch and averaged ("macro") or of all ("micro")."""

    def __init__(self, name: str, output_names: Names, label_names: Names, average: str) -> None:
        self.average = average
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def score(self, tally: _BinaryTally) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not say its score")

    def update(self, labels: Any, preds: Any) -> None:
        tallies = [_BinaryTally()] if self.average == "macro" else [self._local, self._global]
        for label, pred in arrays_of(labels, preds):
            for tally in tallies:
                tally.add(label, pred, type(self).__name__)
        if self.average == "macro":
            self._count(self.score(tallies[0]), 1)
        else:
            self.sum_metric, self.num_inst = self.score(self._local) * self._local.total, self._local.total
            self.global_sum_metric = self.score(self._global) * self._global.total
            self.global_num_inst = self._global.total

    def reset(self) -> None:
        self._global = _BinaryTally()
        super().reset()

    def reset_local(self) -> None:
        self._local = _BinaryTally()
        super().reset_local()


@register
class F1(_Binary):
    """Harmonic mean of precision and recall of class 1."""

    def __init__(
        self, name: str = "f1", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        super().__init__(name, output_names, label_names, average)

    def score(self, tally: _BinaryTally) -> float:
        return tally.f1


@register
class MCC(_Binary):
    """Matthews' correlation coefficient of two classes."""

    def __init__(
        self, name: str = "mcc", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        super().__init__(name, output_names, label_names, average)

    def score(self, tally: _BinaryTally) -> float:
        return tally.mcc


@register
class Perplexity(EvalMetric):
    """exp of the mean negative log-likelihood of the labels; `ignore_label` does not count."""

    def __init__(
        self, ignore_label: int | None, axis: int = -1, name: str = "perplexity", output_names: Names = None,
        label_names: Names = None,
    ) -> None:  # fmt: skip
        super().__init__(name, output_names, label_names, ignore_label=ignore_label, has_global_stats=True)
        self.ignore_label, self.axis = ignore_label, axis

    def update(self, labels: Any, preds: Any) -> None:
        loss, count = 0.0, 0
        for label, pred in arrays_of(labels, preds):
            if label.size != pred.size // pred.shape[-1]:
                raise AssertionError(f"shape mismatch: {label.shape} vs. {pred.shape}")
            rows = numpy.moveaxis(pred, self.axis, -1).reshape(-1, pred.shape[self.axis])
            flat = label.reshape(-1)
            chosen = rows[numpy.arange(flat.size), flat.astype(numpy.int64).clip(0, rows.shape[1] - 1)]
            if self.ignore_label is not None:
                kept = flat != self.ignore_label
                chosen = chosen[kept]
            loss -= float(numpy.log(numpy.maximum(1e-10, chosen)).sum())
            count += chosen.size
        self._count(loss, count)

    def _value(self, total: float, instances: float) -> float:
        return math.exp(total / instances) if instances else float("nan")


class _Likelihood(PerBatch):
    """Base: mean of -log(probability of the label + eps)."""

    def __init__(self, eps: float, name: str, output_names: Names, label_names: Names) -> None:
        super().__init__(name, output_names, label_names, eps=eps)
        self.eps = eps

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        label = label.ravel()
        if label.shape[0] != pred.shape[0]:
            raise AssertionError(f"{label.shape[0]} labels for {pred.shape[0]} predictions")
        chosen = pred[numpy.arange(label.shape[0]), label.astype(numpy.int64)]
        return float((-numpy.log(chosen + self.eps)).sum()), label.shape[0]


@register
@alias("ce")
class CrossEntropy(_Likelihood):
    """Mean of -log(probability of the label + eps)."""

    def __init__(
        self, eps: float = 1e-12, name: str = "cross-entropy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(eps, name, output_names, label_names)


@register
@alias("nll_loss")
class NegativeLogLikelihood(_Likelihood):
    """Mean of -log(probability of the label + eps)."""

    def __init__(
        self, eps: float = 1e-12, name: str = "nll-loss", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(eps, name, output_names, label_names)


@register
class PCC(EvalMetric):
    """Correlation of discrete classes: Matthews' coefficient of any number of them."""

    def __init__(
        self, name: str = "pcc", output_names: Names = None, label_names: Names = None, has_global_stats: bool = True
    ) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=has_global_stats)

    def reset(self) -> None:
        self._all = numpy.zeros((2, 2))
        super().reset()

    def reset_local(self) -> None:
        self._some = numpy.zeros((2, 2))
        super().reset_local()

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in arrays_of(labels, preds):
            said = (pred.argmax(axis=1) if pred.shape != label.shape else pred).astype(numpy.int32).ravel()
            true = label.astype(numpy.int32).ravel()
            classes = max(int(said.max()), int(true.max())) + 1
            self._all, self._some = _grown(self._all, classes), _grown(self._some, classes)
            numpy.add.at(self._all, (said, true), 1)
            numpy.add.at(self._some, (said, true), 1)
        self.num_inst += 1
        self.global_num_inst += 1

    def get(self) -> tuple[str, float]:
        return self.name, _correlation(self._some) if self.num_inst else float("nan")

    def get_global(self) -> tuple[str, float]:
        return self.name, _correlation(self._all) if self.global_num_inst else float("nan")


def _grown(matrix: Array, size: int) -> Array:
    more = max(0, size - len(matrix))
    return numpy.pad(matrix, ((0, more), (0, more))) if more else matrix


def _correlation(matrix: Array) -> float:
    n, said, true = matrix.sum(), matrix.sum(axis=1), matrix.sum(axis=0)
    xx, yy = float((said * (n - said)).sum()), float((true * (n - true)).sum())
    if not xx or not yy:
        return float("nan")
    return float((matrix.diagonal() * n - said * true).sum()) / math.sqrt(xx * yy)
