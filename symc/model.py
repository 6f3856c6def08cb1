"""mx.model: checkpoints, and FeedForward, the interface from before Module."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from symc import io, metric
from symc.aliases import standing_elsewhere
from symc.checkpoint import BatchEndParam, Params, load_checkpoint, load_params, save_checkpoint
from symc.context import Context, cpu
from symc.initializer import Uniform
from symc.ir.types import Array
from symc.module import Module
from symc.module.base_module import call_all
from symc.ndarray import NDArray
from symc.updating import (  # noqa: F401 - programs that train by themselves import these from here
    _create_kvstore,
    _initialize_kvstore,
    _update_params,
    _update_params_on_kvstore,
)

__getattr__ = standing_elsewhere(__name__)

__all__ = ["BatchEndParam", "FeedForward", "load_checkpoint", "load_params", "save_checkpoint"]


class FeedForward:
    """Deprecated; Module does the same and more. `symbol` may be a function from a bucket key to a Symbol.

    Keyword arguments go to the optimizer.
    """

    def __init__(
        self, symbol: Any, ctx: Any = None, num_epoch: int | None = None, epoch_size: int | None = None,
        optimizer: Any = "sgd", initializer: Any = None, numpy_batch_size: int = 128, arg_params: Params | None = None,
        aux_params: Params | None = None, allow_extra_params: bool = False, begin_epoch: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        warnings.warn("FeedForward is deprecated. Please use mx.mod.Module instead.", DeprecationWarning, stacklevel=2)
        self.sym_gen: Callable[[Any], Any] | None = None
        self.symbol = symbol
        if not hasattr(symbol, "list_arguments"):
            self.symbol, self.sym_gen = None, symbol
        self.ctx: list[Context] = [cpu()] if ctx is None else [ctx] if isinstance(ctx, Context) else list(ctx)
        self.num_epoch, self.epoch_size, self.begin_epoch = num_epoch, epoch_size, begin_epoch
        self.optimizer, self.initializer = optimizer, initializer or Uniform(0.01)
        self.numpy_batch_size, self.kwargs = numpy_batch_size, dict(kwargs)
        self.arg_params, self.aux_params, self.allow_extra_params = arg_params, aux_params, allow_extra_params
        self._predictor: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictor": None}

    def _module(self, data: io.DataIter, for_training: bool, loads: Any = None) -> Any:
        if self.sym_gen is not None:
            self.symbol = self.sym_gen(getattr(data, "default_bucket_key", None))
        names = [d[0] for d in data.provide_data]
        arguments = self.symbol.list_arguments()
        provided = {d[0]: d for d in data.provide_label or () if d[0] in arguments}
        labels = list(provided)
        if not for_training:
            known = self.arg_params or {}
            labels += [a for a in arguments if a.endswith("label") and a not in known and a not in (*names, *labels)]
            # iterators without labels describe dummies: what the net infers counts
            found, _, _ = self.symbol.infer_shape_partial(**{d[0]: d[1] for d in data.provide_data})
            inferred = {n: s for n, s in zip(arguments, found or ()) if n in labels and s and all(s)}
            provided.update({n: io.DataDesc(n, s) for n, s in inferred.items()})
        module = Module(self.symbol, names, labels, context=self.ctx, work_load_list=loads)
        if not for_training:
            module.bind(data.provide_data, [*provided.values()] or None, for_training=False)
        return module

    def _iterator(self, X: Any, y: Any, is_train: bool) -> io.DataIter:
        if isinstance(X, io.DataIter):
            return X
        if not isinstance(X, (np.ndarray, NDArray)):
            raise TypeError("X must be DataIter, NDArray or numpy.ndarray")
        if y is None:
            if is_train:
                raise ValueError("y must be specified when X is numpy.ndarray")
            y = np.zeros(X.shape[0])
        if not isinstance(y, (np.ndarray, NDArray)):
            raise TypeError("y must be ndarray when X is numpy.ndarray")
        if X.shape[0] != y.shape[0]:
            raise ValueError("The numbers of data points and labels not equal")
        if y.ndim == 2 and y.shape[1] == 1:
            y = y.reshape((-1,))
        if y.ndim != 1:
            raise ValueError("Label must be 1D or 2D (with 2nd dimension being 1)")
        size = min(X.shape[0], self.numpy_batch_size)
        return io.NDArrayIter(X, y, size, shuffle=is_train, last_batch_handle="roll_over" if is_train else "pad")

    def _eval_iterator(self, eval_data: Any) -> io.DataIter | None:
        if eval_data is None or isinstance(eval_data, io.DataIter):
            return eval_data
        if not isinstance(eval_data, (tuple, list)) or len(eval_data) != 2:
            raise TypeError(
                "Eval data must be DataIter, or NDArray/numpy.ndarray/list pair (i.e. tuple/list of length 2)"
            )
        data, label = eval_data
        if data is None:
            raise ValueError("Eval data is NONE")
        if label is None and isinstance(data, io.DataIter):
            return data
        data, label = (np.array(a) if isinstance(a, list) else a for a in (data, label))
        return self._iterator(data, label, is_train=True)

    def fit(
        self, X: Any, y: Any = None, eval_data: Any = None, eval_metric: Any = "acc", epoch_end_callback: Any = None,
        batch_end_callback: Any = None, kvstore: Any = "local", logger: Any = None, work_load_list: Any = None,
        monitor: Any = None, eval_end_callback: Any = None, eval_batch_end_callback: Any = None,
    ) -> None:  # fmt: skip
        """Train on arrays or an iterator."""
        data, evaluation = self._iterator(X, y, is_train=True), self._eval_iterator(eval_data)
        if self.epoch_size is not None:
            data = io.ResizeIter(data, self.epoch_size, reset_internal=False)
        module = self._module(data, True, work_load_list)
        module.logger = logger or logging
        args, states = self._known_params()
        settings = dict(self.kwargs) if isinstance(self.optimizer, str) else {}
        module.fit(
            data, evaluation, eval_metric, epoch_end_callback, batch_end_callback, kvstore, self.optimizer, settings,
            eval_end_callback, eval_batch_end_callback, self.initializer, args, states, allow_missing=True,
            begin_epoch=self.begin_epoch, num_epoch=self.num_epoch, monitor=monitor,
        )  # fmt: skip
        self.arg_params, self.aux_params = module.get_params()
        self._predictor = None

    def _known_params(self) -> tuple[Params | None, Params | None]:
        if self.arg_params is None:
            return None, None
        arguments, states = set(self.symbol.list_arguments()), set(self.symbol.list_auxiliary_states())
        extra = [n for n in self.arg_params if n not in arguments]
        if extra and not self.allow_extra_params:
            raise ValueError(f"{extra[0]!r} is no argument of the symbol; pass allow_extra_params=True to ignore it")
        kept = {n: a for n, a in self.arg_params.items() if n in arguments}
        return kept, {n: a for n, a in (self.aux_params or {}).items() if n in states}

    def _ready(self, data: io.DataIter) -> Any:
        shapes = tuple((d[0], tuple(d[1])) for d in data.provide_data)
        if self._predictor is None or self._predictor[0] != shapes:
            module = self._module(data, for_training=False)
            args, states = self._known_params()
            if args is None:
                raise AssertionError("the model has no parameters yet: call fit(), or make it with arg_params")
            module.init_params(None, args, states)
            self._predictor = shapes, module
        return self._predictor[1]

    def _answers(self, data: io.DataIter, num_batch: int | None, reset: bool) -> Iterator[tuple[list[NDArray], Any]]:
        """(outputs, batch) for every batch; the outputs are overwritten by the next one. Labels are not fed: their
        shapes need not be those that the net infers."""
        module = self._ready(data)
        if reset:
            data.reset()
        for number, batch in enumerate(data):
            if number == num_batch:
                return
            module.forward(io.DataBatch(batch.data, pad=batch.pad), is_train=False)
            yield module.get_outputs(), batch

    def predict(self, X: Any, num_batch: int | None = None, return_data: bool = False, reset: bool = True) -> Any:
        """Outputs as numpy arrays (one, or a list), with data and labels if wanted."""
        outputs: list[list[Array]] = []
        inputs: list[list[Array]] = []
        labels: list[list[Array]] = []
        for made, batch in self._answers(self._iterator(X, None, is_train=False), num_batch, reset):
            keep = batch.data[0].shape[0] - (batch.pad or 0)
            outputs.append([o.asnumpy()[: o.shape[0] - (batch.pad or 0)] for o in made])
            inputs.append([a.asnumpy()[:keep] for a in batch.data])
            labels.append([a.asnumpy()[:keep] for a in batch.label or []])
        joined = _joined(outputs)
        return (joined, _joined(inputs), _joined(labels)) if return_data else joined

    def score(
        self,
        X: Any,
        eval_metric: Any = "acc",
        num_batch: int | None = None,
        batch_end_callback: Any = None,
        reset: bool = True,
    ) -> Any:
        """The metric's value on an iterator."""
        data = self._iterator(X, None, is_train=False)
        measured = metric.create(eval_metric) if not isinstance(eval_metric, metric.EvalMetric) else eval_metric
        measured.reset()
        for number, (outputs, batch) in enumerate(self._answers(data, num_batch, reset)):
            measured.update(batch.label, outputs)
            call_all(batch_end_callback, BatchEndParam(0, number, measured, {"self": self, "data_batch": batch}))
        return measured.get()[1]

    def save(self, prefix: str, epoch: int | None = None, remove_amp_cast: bool = True) -> None:
        """Write a checkpoint (of `num_epoch` if no epoch is given)."""
        epoch = self.num_epoch if epoch is None else epoch
        if epoch is None:
            raise AssertionError("save needs an epoch: the model was made without num_epoch")
        save_checkpoint(prefix, epoch, self.symbol, self.arg_params or {}, self.aux_params or {}, remove_amp_cast)

    @staticmethod
    def load(prefix: str, epoch: int, ctx: Any = None, **kwargs: Any) -> FeedForward:
        """The model of a checkpoint."""
        symbol, args, states = load_checkpoint(prefix, epoch)
        return FeedForward(symbol, ctx, arg_params=args, aux_params=states, begin_epoch=epoch, **kwargs)

    @staticmethod
    def create(
        symbol: Any, X: Any, y: Any = None, ctx: Any = None, num_epoch: int | None = None,
        epoch_size: int | None = None,
        optimizer: Any = "sgd", initializer: Any = None, eval_data: Any = None, eval_metric: Any = "acc",
        epoch_end_callback: Any = None, batch_end_callback: Any = None, kvstore: Any = "local", logger: Any = None,
        work_load_list: Any = None, eval_end_callback: Any = None, eval_batch_end_callback: Any = None, **kwargs: Any,
    ) -> FeedForward:  # fmt: skip
        """A model made and trained in one call."""
        model = FeedForward(symbol, ctx, num_epoch, epoch_size, optimizer, initializer, **kwargs)
        model.fit(
            X, y, eval_data, eval_metric, epoch_end_callback, batch_end_callback, kvstore, logger, work_load_list,
            eval_end_callback=eval_end_callback, eval_batch_end_callback=eval_batch_end_callback,
        )  # fmt: skip
        return model


def _joined(batches: Sequence[Sequence[Array]]) -> Any:
    """Every batch's arrays one after the other: one array, or a list of them."""
    made = [np.concatenate(parts) for parts in zip(*batches)]
    return made[0] if len(made) == 1 else made
