"""BaseModule: fit, score and predict, in terms of bind, forward, backward and update."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from symc import metric, ndarray
from symc.aliases import standing_elsewhere
from symc.checkpoint import BatchEndParam, save_params, split_params
from symc.initializer import Uniform
from symc.io import DataBatch, DataDesc, DataIter
from symc.module.live import Live
from symc.ndarray import NDArray

__getattr__ = standing_elsewhere(__name__)

__all__ = ["BaseModule"]

Params = Mapping[str, NDArray]
_PARAMETER_ENDINGS = ("_weight", "_bias", "_gamma", "_beta")


def as_list(given: Any) -> list[Any]:
    """A list of one thing or of several."""
    return list(given) if isinstance(given, (list, tuple)) else [given]


def call_all(callbacks: Any, param: Any) -> None:
    """Call one callback, or each of several."""
    if callbacks is not None:
        for callback in as_list(callbacks):
            callback(param)


def check_input_names(symbol: Any, names: Iterable[str], kind: str, throw: bool) -> None:
    """ValueError (or a warning) for a name that is no argument of the symbol."""
    arguments = symbol.list_arguments()
    for name in names:
        if name in arguments:
            continue
        candidates = "\n\t".join(a for a in arguments if not a.endswith(_PARAMETER_ENDINGS))
        text = (
            f"You created Module with Module(..., {kind}_names={list(names)}) "
            f"but input with name '{name}' is not found in "
            f"symbol.list_arguments(). Did you mean one of:\n\t{candidates}"
        )
        if throw:
            raise ValueError(text)
        warnings.warn(text, stacklevel=3)


def describe(given: Sequence[Any] | None, names: Sequence[str], kind: str, throw: bool) -> list[DataDesc]:
    """Descriptions from what `bind` got. ValueError (or a warning) if their names are not `names`."""
    found = [d if isinstance(d, DataDesc) else DataDesc(*d) for d in given or ()]
    for d in found:
        if not all(isinstance(extent, (int, np.integer)) for extent in d.shape):
            raise TypeError(f"the shape of {kind} {d.name!r} is whole numbers, not {d.shape}")
    if sorted(d.name for d in found) != sorted(names):
        text = f"Data provided by {kind}_shapes don't match names specified by {kind}_names ({given} vs. {list(names)})"
        if throw:
            raise ValueError(text)
        warnings.warn(text, stacklevel=4)
    return found


#: the names that programs with modules of their own import
_check_input_names = check_input_names


def _parse_data_desc(
    data_names: Sequence[str], label_names: Sequence[str], data_shapes: Sequence[Any], label_shapes: Any
) -> tuple[list[DataDesc], list[DataDesc] | None]:
    """What `bind` got, as descriptions: data and labels (None if None). ValueError if the data's names differ."""
    data = describe(data_shapes, data_names, "data", True)
    labels = describe(label_shapes, label_names, "label", False)
    return data, None if label_shapes is None else labels


class BaseModule:
    """Base of all modules. They are bound to shapes, get parameters and an optimizer, and then take batches."""

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self.binded = self.for_training = self.inputs_need_grad = False
        self.params_initialized = self.optimizer_initialized = False
        self._symbol: Any = None

    # -- what subclasses give; see Module for what each does

    data_names: Any
    output_names: Any
    data_shapes: Any
    label_shapes: Any
    output_shapes: Any

    def __repr__(self) -> str:
        """`<Module of softmax: bound for training, with parameters and an optimizer>`."""
        name = getattr(self._symbol, "name", None)
        whom = f"{type(self).__name__} of {name}" if name else type(self).__name__
        bound = f"bound for {'training' if self.for_training else 'prediction'}" if self.binded else "not bound"
        held = [("parameters", self.params_initialized), ("an optimizer", self.optimizer_initialized)]
        words = " and ".join(word for word, there in held if there)
        return f"<{whom}: {bound}{f', with {words}' if words else ''}>"

    @property
    def symbol(self) -> Any:
        """The Symbol of this module."""
        return self._symbol

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def init_params(
        self, initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_init: bool = False, allow_extra: bool = False,
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        raise NotImplementedError

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        raise NotImplementedError

    def backward(self, out_grads: Any = None) -> None:
        raise NotImplementedError

    def update(self) -> None:
        raise NotImplementedError

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        raise NotImplementedError

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        raise NotImplementedError

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        raise NotImplementedError

    def install_monitor(self, mon: Any) -> None:
        raise NotImplementedError

    # -- parameters

    def set_params(
        self, arg_params: Params | None, aux_params: Params | None, allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:  # fmt: skip
        """Copy parameters and states in. RuntimeError for a missing one unless `allow_missing`; a warning for one too
        many unless `allow_extra`, and with `allow_missing` ValueError, as in MXNet."""
        self.init_params(
            None, arg_params, aux_params, allow_missing=allow_missing, force_init=force_init, allow_extra=allow_extra
        )

    def save_params(self, fname: str) -> None:
        """Write parameters and states to a file."""
        save_params(fname, *self.get_params())

    def load_params(self, fname: str) -> None:
        """Read parameters and states from a file."""
        self.set_params(*split_params(ndarray.load(fname), fname))

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """States of recurrent modules: none here."""
        self._need(bound=True, params=True)
        return []

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """States of recurrent modules: none here."""
        self._need(bound=True, params=True)
        if states or value:
            raise AssertionError("this module has no states")

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        """What a module does before a batch arrives. `sparse_row_id_fn(batch)` gives a dict of the rows that it needs,
        by the name of a row_sparse parameter; they are there already, as executors read what is trained."""
        if sparse_row_id_fn is not None and not isinstance(sparse_row_id_fn(data_batch), dict):
            raise AssertionError("sparse_row_id_fn gives a dict of rows by parameter")

    def _need(self, bound: bool = False, params: bool = False, optimizer: bool = False) -> None:
        """AssertionError, with what to call, for a module that is not that far."""
        if bound and not self.binded:
            raise AssertionError("the module is not bound yet: call bind(data_shapes, label_shapes)")
        if params and not self.params_initialized:
            raise AssertionError("the module has no parameters yet: call init_params() or set_params()")
        if optimizer and not self.optimizer_initialized:
            raise AssertionError("the module has no optimizer yet: call init_optimizer()")

    # -- running

    def forward_backward(self, data_batch: Any) -> None:
        """forward(is_train=True), then backward()."""
        self.forward(data_batch, is_train=True)
        self.backward()

    def _batches(self, eval_data: Any, num_batch: int | None, reset: bool, row_ids: Any) -> Iterator[tuple[int, Any]]:
        """Batches of an iterator, each run through a prediction."""
        self._need(bound=True, params=True)
        if reset:
            eval_data.reset()
        for number, batch in enumerate(eval_data):
            if number == num_batch:
                return
            self.prepare(batch, sparse_row_id_fn=row_ids)
            self.forward(batch, is_train=False)
            yield number, batch

    def _measure(self, eval_metric: Any, batch: Any) -> None:
        if isinstance(batch, list):
            self.update_metric(eval_metric, [b.label for b in batch], pre_sliced=True)
        else:
            self.update_metric(eval_metric, batch.label)

    def score(
        self, eval_data: Any, eval_metric: Any, num_batch: int | None = None, batch_end_callback: Any = None,
        score_end_callback: Any = None, reset: bool = True, epoch: int = 0, sparse_row_id_fn: Any = None,
    ) -> list[tuple[str, float]]:  # fmt: skip
        """[(name, value)] of a metric over an iterator's batches."""
        eval_metric = metric.create(eval_metric) if not isinstance(eval_metric, metric.EvalMetric) else eval_metric
        eval_metric.reset()
        count = 0
        for count, batch in self._batches(eval_data, num_batch, reset, sparse_row_id_fn):
            self._measure(eval_metric, batch)
            call_all(batch_end_callback, BatchEndParam(epoch, count, eval_metric, locals()))
            count += 1
        call_all(score_end_callback, BatchEndParam(epoch, count, eval_metric, locals()))
        pairs: list[tuple[str, float]] = eval_metric.get_name_value()
        return pairs

    def iter_predict(
        self, eval_data: Any, num_batch: int | None = None, reset: bool = True, sparse_row_id_fn: Any = None
    ) -> Iterator[tuple[list[NDArray], int, Any]]:
        """(outputs without padding, number, batch) for every batch; the outputs are overwritten by the next one."""
        for number, batch in self._batches(eval_data, num_batch, reset, sparse_row_id_fn):
            pad = getattr(batch, "pad", None) or 0
            yield [o[: o.shape[0] - pad] for o in self.get_outputs()], number, batch

    def predict(
        self, eval_data: Any, num_batch: int | None = None, merge_batches: bool = True, reset: bool = True,
        always_output_list: bool = False, sparse_row_id_fn: Any = None,
    ) -> Any:  # fmt: skip
        """Outputs for an array or for all batches of an iterator: joined (an array if the net has one output), or with
        `merge_batches=False` a list per batch."""
        if isinstance(eval_data, (NDArray, np.ndarray)):
            self._need(bound=True, params=True)
            data = eval_data if isinstance(eval_data, NDArray) else ndarray.array(eval_data)
            self.forward(DataBatch([data]), is_train=False)
            return self.get_outputs()[0].copy()
        if not isinstance(eval_data, DataIter):
            raise ValueError("eval_data must be of type NDArray or DataIter")
        found = [
            [o.copy() for o in outputs]
            for outputs, _, _ in self.iter_predict(eval_data, num_batch, reset, sparse_row_id_fn)
        ]
        if not found or not merge_batches:
            return found
        if any(len(outputs) != len(found[0]) for outputs in found):
            raise AssertionError(
                "Cannot merge batches, as num of outputs is not the same in mini-batches. Maybe bucketing is used?"
            )
        joined = [ndarray.concatenate(list(parts)) for parts in zip(*found)]
        return joined[0] if len(joined) == 1 and not always_output_list else joined

    def fit(
        self, train_data: Any, eval_data: Any = None, eval_metric: Any = "acc", epoch_end_callback: Any = None,
        batch_end_callback: Any = None, kvstore: Any = "local", optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),), eval_end_callback: Any = None,
        eval_batch_end_callback: Any = None,
        initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_rebind: bool = False, force_init: bool = False, begin_epoch: int = 0,
        num_epoch: int | None = None, validation_metric: Any = None, monitor: Any = None, sparse_row_id_fn: Any = None,
    ) -> None:  # fmt: skip
        """Bind, initialize what is not yet, and train from `begin_epoch` to `num_epoch`, scoring `eval_data` after each
        epoch. Callbacks get a BatchEndParam after batches, (epoch, symbol, parameters, states) after epochs. On a
        terminal one line shows how far it is, unless callbacks after batches, or a monitor, already do."""
        if num_epoch is None:
            raise AssertionError("please specify number of epochs")
        self.bind(train_data.provide_data, train_data.provide_label, for_training=True, force_rebind=force_rebind)
        if monitor is not None:
            self.install_monitor(monitor)
        if not self.params_initialized or force_init:
            self.init_params(initializer, arg_params, aux_params, allow_missing=allow_missing, force_init=force_init)
        self.init_optimizer(kvstore, optimizer, optimizer_params)
        validation_metric = eval_metric if validation_metric is None else validation_metric
        eval_metric = metric.create(eval_metric) if not isinstance(eval_metric, metric.EvalMetric) else eval_metric
        epochs = range(begin_epoch, num_epoch)
        speaks = batch_end_callback is not None or monitor is not None
        with closing(Live(epochs, train_data, speaks)) as live:
            for epoch in epochs:
                start = time.time()
                self._before_epoch(epoch, train_data)
                for name, value in self._epoch(
                    train_data, epoch, eval_metric, batch_end_callback, monitor, sparse_row_id_fn, live, locals()
                ):
                    self.logger.info("Epoch[%d] Train-%s=%f", epoch, name, value)
                self.logger.info("Epoch[%d] Time cost=%.3f", epoch, time.time() - start)
                arg_params, aux_params = self.get_params()
                if epoch_end_callback is not None:
                    # callbacks may change the parameters, as MXNet allows
                    self.set_params(arg_params, aux_params)
                    for callback in as_list(epoch_end_callback):
                        callback(epoch, self.symbol, arg_params, aux_params)
                if eval_data is not None:
                    scores = self.score(
                        eval_data, validation_metric, score_end_callback=eval_end_callback,
                        batch_end_callback=eval_batch_end_callback, epoch=epoch,
                    )  # fmt: skip
                    for name, value in scores:
                        self.logger.info("Epoch[%d] Validation-%s=%f", epoch, name, value)
                train_data.reset()

    def _before_epoch(self, epoch: int, train_data: Any) -> None:
        """What a module does before an epoch of `fit`."""

    def _epoch(
        self,
        train_data: Any,
        epoch: int,
        eval_metric: Any,
        callbacks: Callable[..., Any] | None,
        monitor: Any,
        row_ids: Any,
        live: Live,
        names: Mapping[str, Any],
    ) -> list[tuple[str, float]]:
        """One pass over the training data; the metric's values over all of it. `names` are those of `fit`, which
        callbacks find in their parameter's `locals`."""
        eval_metric.reset()
        batches = iter(train_data)
        batch = next(batches, None)
        number = 0
        pairs: list[tuple[str, float]] = []
        live.begin()
        while batch is not None:
            if monitor is not None:
                monitor.tic()
            self.forward_backward(batch)
            self.update()
            self._measure(eval_metric, batch)
            following = next(batches, None)
            if following is not None:
                self.prepare(following, sparse_row_id_fn=row_ids)
            else:
                # before the callbacks, which may reset the metric
                pairs = eval_metric.get_global_name_value()
            live.step(eval_metric, batch, epoch)
            if monitor is not None:
                monitor.toc_print()
            if callbacks is not None:
                here = {**names, "nbatch": number, "data_batch": batch, "next_data_batch": following}
                call_all(callbacks, BatchEndParam(epoch, number, eval_metric, here))
            number += 1
            batch = following
        live.end(pairs, epoch)
        return pairs
