"""Evaluation metrics: `metric.update(labels, preds)` after each batch, `metric.get()` for (name, value).

Every metric keeps two tallies: the local one, which Speedometer may reset in the middle of an epoch, and the global
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.registry import Registry

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
        self,
        metrics: Sequence[Any] | None = None,
        name: str = "composite",
        output_names: Names = None,
        label_names: Names = None,
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


class PerBatch(EvalMetric):
    """Base: the tally of one (label, prediction) pair is a function of their numpy arrays."""

    def __init__(self, name: str, output_names: Names = None, label_names: Names = None, **kwargs: Any) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=True, **kwargs)

    def measure(self, label: Array, pred: Array) -> tuple[float, float]:
        """(sum, number of instances) of a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it measures")

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in arrays_of(labels, preds):
            self._count(*self.measure(label, pred))


def arrays_of(labels: Any, preds: Any) -> Iterator[tuple[Array, Array]]:
    labels, preds = check_label_shapes(labels, preds, wrap=True)
    for label, pred in zip(labels, preds):
        yield label.asnumpy(), pred.asnumpy()


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


def np(
    numpy_feval: Callable[[Array, Array], Any], name: str | None = None, allow_extra_outputs: bool = False
) -> CustomMetric:
    """A metric of a numpy function (label, pred)."""
    return CustomMetric(numpy_feval, name, allow_extra_outputs)
