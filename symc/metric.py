"""Evaluation metrics: `metric.update(labels, preds)` after each batch, `metric.get()` for (name, value).

Every metric keeps two tallies: the local one, which Speedometer may reset in the middle of an epoch, and the global one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy

from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.registry import Registry

__all__ = [
    "Accuracy", "Caffe", "CompositeEvalMetric", "CrossEntropy", "CustomMetric", "EvalMetric", "F1", "Loss", "MAE", "MCC",
    "MSE", "NegativeLogLikelihood", "PCC", "PearsonCorrelation", "Perplexity", "RMSE", "TopKAccuracy", "Torch",
    "check_label_shapes", "create", "np",
]  # fmt: skip

Names = Any  # str, or a list of them


def check_label_shapes(labels: Any, preds: Any, wrap: bool = False, shape: bool = False) -> tuple[Any, Any]:
    """ValueError unless both have as many entries (`shape`: the same shape); `wrap` makes lists of single arrays."""
    mine, other = (labels.shape, preds.shape) if shape else (len(labels), len(preds))
    if mine != other:
        raise ValueError(f"Shape of labels {mine} does not match shape of predictions {other}")
    if wrap:
        labels = [labels] if isinstance(labels, NDArray) else labels
        preds = [preds] if isinstance(preds, NDArray) else preds
    return labels, preds


class EvalMetric:
    """Base. `output_names` and `label_names` select what `update_dict` passes on to `update`."""

    def __init__(self, name: str, output_names: Names = None, label_names: Names = None, **kwargs: Any) -> None:
        self.name = str(name)
        self.output_names, self.label_names = output_names, label_names
        self._has_global_stats = kwargs.pop("has_global_stats", False)
        self._kwargs = kwargs
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `create` makes this metric again."""
        return {
            **self._kwargs, "metric": type(self).__name__, "name": self.name, "output_names": self.output_names,
            "label_names": self.label_names,
        }  # fmt: skip

    def update_dict(self, label: Mapping[str, NDArray], pred: Mapping[str, NDArray]) -> None:
        """As `update`, with arrays by name."""
        labels = [label[n] for n in self.label_names] if self.label_names is not None else list(label.values())
        preds = [pred[n] for n in self.output_names] if self.output_names is not None else list(pred.values())
        self.update(labels, preds)

    def update(self, labels: Any, preds: Any) -> None:
        """Take a batch into account."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to update")

    def reset(self) -> None:
        """Forget everything."""
        self.global_num_inst: float = 0
        self.global_sum_metric: float = 0.0
        self.reset_local()

    def reset_local(self) -> None:
        """Forget the local tally."""
        self.num_inst: float = 0
        self.sum_metric: float = 0.0

    def _count(self, total: float, instances: float) -> None:
        self.sum_metric += total
        self.global_sum_metric += total
        self.num_inst += instances
        self.global_num_inst += instances

    def _value(self, total: float, instances: float) -> float:
        return total / instances if instances else float("nan")

    def get(self) -> tuple[Any, Any]:
        """(name, value); nan before the first update."""
        return self.name, self._value(self.sum_metric, self.num_inst)

    def get_global(self) -> tuple[Any, Any]:
        """(name, value) since `reset`."""
        if not self._has_global_stats:
            return self.get()
        return self.name, self._value(self.global_sum_metric, self.global_num_inst)

    def get_name_value(self) -> list[tuple[str, float]]:
        """[(name, value)]."""
        return _pairs(*self.get())

    def get_global_name_value(self) -> list[tuple[str, float]]:
        """[(name, value)] since `reset`."""
        return _pairs(*self.get_global())


def _pairs(name: Any, value: Any) -> list[tuple[str, float]]:
    return list(zip(name if isinstance(name, list) else [name], value if isinstance(value, list) else [value]))


_registry: Registry[EvalMetric] = Registry(EvalMetric, "metric")
register, alias = _registry.register, _registry.alias


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """A metric from its name, a list of names (a composite), a function of (label, pred), or itself."""
    if callable(metric):
        return CustomMetric(metric, *args, **kwargs)
    if isinstance(metric, list):
        composite = CompositeEvalMetric()
        for child in metric:
            composite.add(create(child, *args, **kwargs))
        return composite
    return _registry.create(metric, *args, **kwargs)


@register
@alias("composite")
class CompositeEvalMetric(EvalMetric):
    """Several metrics at once; names and values are lists."""

    def __init__(
        self, metrics: Sequence[Any] | None = None, name: str = "composite", output_names: Names = None, label_names: Names = None
    ) -> None:
        self.metrics = [create(m) for m in metrics or []]
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def add(self, metric: Any) -> None:
        """One more."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """One of them. ValueError if there are not so many."""
        if not -len(self.metrics) <= index < len(self.metrics):
            raise ValueError(f"Metric index {index} is out of range 0 and {len(self.metrics)}")
        return self.metrics[index]

    def update_dict(self, label: Mapping[str, NDArray], pred: Mapping[str, NDArray]) -> None:
        if self.label_names is not None:
            label = {k: v for k, v in label.items() if k in self.label_names}
        if self.output_names is not None:
            pred = {k: v for k, v in pred.items() if k in self.output_names}
        for metric in self.metrics:
            metric.update_dict(label, pred)

    def update(self, labels: Any, preds: Any) -> None:
        for metric in self.metrics:
            metric.update(labels, preds)

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def reset_local(self) -> None:
        for metric in self.metrics:
            metric.reset_local()

    def get(self) -> tuple[list[str], list[float]]:
        pairs = [p for m in self.metrics for p in _pairs(*m.get())]
        return [n for n, _ in pairs], [v for _, v in pairs]

    def get_global(self) -> tuple[list[str], list[float]]:
        pairs = [p for m in self.metrics for p in _pairs(*m.get_global())]
        return [n for n, _ in pairs], [v for _, v in pairs]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metrics": [m.get_config() for m in self.metrics]}


class _PerBatch(EvalMetric):
    """Base: the tally of one (label, prediction) pair is a function of their numpy arrays."""

    def __init__(self, name: str, output_names: Names = None, label_names: Names = None, **kwargs: Any) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=True, **kwargs)

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        """(sum, number of instances) of a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it measures")

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in _arrays(labels, preds):
            self._count(*self.measure(label, pred))


def _arrays(labels: Any, preds: Any) -> Iterator[tuple[Array, Array]]:
    labels, preds = check_label_shapes(labels, preds, wrap=True)
    for label, pred in zip(labels, preds):
        yield label.asnumpy(), pred.asnumpy()


@register
@alias("acc")
class Accuracy(_PerBatch):
    """Share of predictions (the largest along `axis`, unless they are labels already) that are right."""

    def __init__(self, axis: int = 1, name: str = "accuracy", output_names: Names = None, label_names: Names = None) -> None:
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
class TopKAccuracy(_PerBatch):
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
        for label, pred in _arrays(labels, preds):
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
        for label, pred in _arrays(labels, preds):
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


class _Regression(_PerBatch):
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


class _Likelihood(_PerBatch):
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
        for label, pred in _arrays(labels, preds):
            check_label_shapes(label, pred, shape=True)
            pair = numpy.stack([label.ravel(), pred.ravel()]).astype(numpy.float64)
            if self.average == "macro":
                self._count(float(numpy.corrcoef(pair)[0, 1]), 1)
                continue
            self._count(0.0, 1)
            count, mean = pair.shape[1], pair.mean(1)
            centred = pair - mean[:, None]
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
        for label, pred in _arrays(labels, preds):
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


@register
class CustomMetric(EvalMetric):
    """A function of numpy arrays (label, pred) that gives a value, or (sum, number of instances)."""

    def __init__(
        self, feval: Callable[[Array, Array], Any], name: str | None = None, allow_extra_outputs: bool = False,
        output_names: Names = None, label_names: Names = None,
    ) -> None:  # fmt: skip
        if name is None:
            name = feval.__name__
            if "<" in name:
                name = f"custom({name})"
        super().__init__(
            name, output_names, label_names, feval=feval, allow_extra_outputs=allow_extra_outputs, has_global_stats=True
        )
        self._feval, self._allow_extra_outputs = feval, allow_extra_outputs

    def update(self, labels: Any, preds: Any) -> None:
        if not self._allow_extra_outputs:
            labels, preds = check_label_shapes(labels, preds, wrap=True)
        for pred, label in zip(preds, labels):
            value = self._feval(label.asnumpy(), pred.asnumpy())
            self._count(*(value if isinstance(value, tuple) else (value, 1)))

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("CustomMetric cannot be serialized")


def np(numpy_feval: Callable[[Array, Array], Any], name: str | None = None, allow_extra_outputs: bool = False) -> CustomMetric:
    """A metric of a numpy function (label, pred)."""
    return CustomMetric(numpy_feval, name or numpy_feval.__name__, allow_extra_outputs)
