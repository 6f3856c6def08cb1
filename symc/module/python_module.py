"""PythonModule and PythonLossModule: modules computed by Python code, for use in a SequentialModule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc import ndarray
from symc.initializer import Uniform
from symc.module.base_module import BaseModule, Params
from symc.ndarray import NDArray

__all__ = ["PythonLossModule", "PythonModule"]


class PythonModule(BaseModule):
    """Base of modules without parameters: subclasses give `forward`, `backward`, `get_outputs`, `get_input_grads` and
    `_compute_output_shapes`."""

    def __init__(
        self, data_names: Sequence[str], label_names: Sequence[str] | None, output_names: Sequence[str],
        logger: Any = logging,
    ) -> None:  # fmt: skip
        super().__init__(logger)
        self._data_names = list(data_names)
        self._label_names = list(label_names) if label_names is not None else None
        self._output_names = list(output_names)
        self._data_shapes: Any = None
        self._label_shapes: Any = None
        self._output_shapes: Any = None

    @property
    def data_names(self) -> list[str]:
        """Names of the data it takes."""
        return self._data_names

    @property
    def output_names(self) -> list[str]:
        """Names of its outputs."""
        return self._output_names

    @property
    def data_shapes(self) -> Any:
        """What it is bound to."""
        return self._data_shapes

    @property
    def label_shapes(self) -> Any:
        """The labels it is bound to; None without any."""
        return self._label_shapes

    @property
    def output_shapes(self) -> Any:
        """[(name, shape)] of its outputs."""
        return self._output_shapes

    def _compute_output_shapes(self) -> Any:
        """[(name, shape)] of the outputs, from `_data_shapes` and `_label_shapes`."""
        raise NotImplementedError

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        """Take note of the shapes. AssertionError where their names are others than were announced."""
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if grad_req != "write":
            raise AssertionError(f"Python module only support write gradient, not {grad_req!r}")
        for kind, names, given in (
            ("data", self._data_names, data_shapes), ("label", self._label_names, label_shapes),
        ):  # fmt: skip
            if given is not None and [d[0] for d in given] != names:
                raise AssertionError(f"the module takes {kind} {names}, but {[d[0] for d in given]} is given")
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._data_shapes, self._label_shapes = data_shapes, label_shapes
        self._output_shapes = self._compute_output_shapes()
        self.binded = True

    def init_params(
        self, initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_init: bool = False, allow_extra: bool = False,
    ) -> None:  # fmt: skip
        """There are no parameters."""
        self.params_initialized = True

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """There are no parameters: two empty dicts."""
        return {}, {}

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """There is nothing to optimize."""
        self.optimizer_initialized = True

    def update(self) -> None:
        """There is nothing to update."""

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Take the outputs into account, if the module has labels."""
        if self._label_shapes is None:
            return
        if pre_sliced:
            raise RuntimeError("PythonModule does not support presliced labels")
        eval_metric.update(labels, self.get_outputs())


class PythonLossModule(PythonModule):
    """A loss: its output is its data; the gradient is `grad_func(scores, labels)` (of NDArrays; it may give one of
    numpy's), or what a subclass's `_backward_impl` leaves in `_scores_grad`."""

    def __init__(
        self, name: str = "pyloss", data_names: Sequence[str] = ("data",),
        label_names: Sequence[str] = ("softmax_label",),
        logger: Any = logging, grad_func: Callable[[NDArray, NDArray], Any] | None = None,
    ) -> None:  # fmt: skip
        if len(data_names) != 1 or len(label_names) != 1:
            raise AssertionError(f"a loss takes one data and one label, not {data_names} and {label_names}")
        if grad_func is not None and not callable(grad_func):
            raise AssertionError("grad_func must be a function of scores and labels")
        super().__init__(data_names, label_names, [f"{name}_output"], logger)
        self._name, self._grad_func = name, grad_func
        self._scores: Any = None
        self._labels: Any = None
        self._scores_grad: Any = None

    def _compute_output_shapes(self) -> list[tuple[str, Any]]:
        return [(f"{self._name}_output", self._data_shapes[0][1])]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Keep the scores, and the labels if it is training."""
        self._scores = data_batch.data[0]
        if self.for_training if is_train is None else is_train:
            self._labels = data_batch.label[0]

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """The scores as they came."""
        return [self._scores]

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradient of the scores."""
        if out_grads is not None:
            raise AssertionError("For a loss module, out_grads should be None")
        if not self.for_training:
            raise AssertionError("the module is not bound for training")
        self._backward_impl()

    def _backward_impl(self) -> None:
        if self._grad_func is None:
            raise NotImplementedError("give grad_func, or override _backward_impl")
        made = self._grad_func(self._scores, self._labels)
        self._scores_grad = made if isinstance(made, NDArray) else ndarray.array(np.asarray(made))

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The gradient of the scores."""
        return [self._scores_grad]

    def install_monitor(self, mon: Any) -> None:
        """A loss in Python has nothing to monitor: NotImplementedError."""
        raise NotImplementedError("a loss in Python has nothing to monitor")
