"""BucketingModule: one net per bucket (as, sequence length), all with the same parameters."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from symc import ndarray
from symc import symbol as symbols
from symc.aliases import standing_elsewhere
from symc.base import MXNetError
from symc.checkpoint import load_params
from symc.initializer import Uniform
from symc.module.base_module import BaseModule, Params
from symc.module.module import Module
from symc.name import NameManager
from symc.ndarray import NDArray

__getattr__ = standing_elsewhere(__name__)

__all__ = ["BucketingModule"]


class BucketingModule(BaseModule):
    """`sym_gen(bucket_key)` gives (symbol, data_names, label_names). The default bucket is the largest; it is bound
    first, and the others share its parameters. A batch's `bucket_key` selects its net. Automatic names start anew for
    every bucket, so that the buckets agree about them."""

    def __init__(
        self, sym_gen: Callable[[Any], tuple[Any, Any, Any]], default_bucket_key: Any = None, logger: Any = logging,
        context: Any = None, work_load_list: Any = None, fixed_param_names: Any = None, state_names: Any = None,
        group2ctxs: Any = None, compression_params: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(logger)
        if default_bucket_key is None:
            raise AssertionError("BucketingModule needs a default_bucket_key")
        self._sym_gen, self._default_bucket_key = sym_gen, default_bucket_key
        self._fixed_param_names, self._state_names = list(fixed_param_names or ()), list(state_names or ())
        self._context, self._work_load_list, self._group2ctxs = context, work_load_list, group2ctxs
        self._compression_params = compression_params
        #: nets of buckets that were read from files
        self._loaded: dict[Any, Any] = {}
        self._start: tuple[Params, Params] | None = None
        self._options = {
            "logger": logger, "context": context, "work_load_list": work_load_list, "state_names": state_names,
            "fixed_param_names": fixed_param_names, "group2ctxs": group2ctxs, "compression_params": compression_params,
        }  # fmt: skip
        BucketingModule._make(self, default_bucket_key)  # wrong names are told here, not at bind
        self._monitor: Any = None
        BucketingModule._reset_bind(self)  # a subclass's is not ready yet

    def _reset_bind(self) -> None:
        self.binded = False
        self._buckets: dict[Any, Module] = {}
        self._curr_module: Any = None
        self._curr_bucket_key: Any = None

    def _call_sym_gen(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """`sym_gen`, with automatic names from 0."""
        with NameManager():
            return self._sym_gen(*args, **kwargs)

    def _make(self, key: Any) -> Module:
        symbol, data_names, label_names = self._call_sym_gen(key)
        return Module(self._loaded.get(key, symbol), data_names, label_names, **self._options)

    @property
    def _current(self) -> Module:
        self._need(bound=True)
        found: Module = self._curr_module
        return found

    @property
    def _largest(self) -> Module:
        """The default bucket's module, which has all parameters."""
        self._need(bound=True)
        return self._buckets[self._default_bucket_key]

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        if self.binded:
            return self._current.data_names
        return list(self._call_sym_gen(self._default_bucket_key)[1])

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        if self.binded:
            return self._current.output_names
        names: list[str] = self._call_sym_gen(self._default_bucket_key)[0].list_outputs()
        return names

    @property
    def data_shapes(self) -> Any:
        """What the bucket in use is bound to."""
        return self._current.data_shapes

    @property
    def label_shapes(self) -> Any:
        """What the bucket in use is bound to."""
        return self._current.label_shapes

    @property
    def output_shapes(self) -> Any:
        """[(name, shape)] of the bucket in use."""
        return self._current.output_shapes

    @property
    def symbol(self) -> Any:
        """The Symbol of the bucket in use."""
        return self._current.symbol

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        """Bind the default bucket."""
        if shared_module is not None:
            raise AssertionError("shared_module for BucketingModule is not supported")
        params = self.get_params() if force_rebind and self.params_initialized else None
        if force_rebind:
            self._reset_bind()
        if self.binded:
            self.logger.warning("Already bound, ignoring bind()")
            return
        self.for_training, self.inputs_need_grad, self._grad_req = for_training, inputs_need_grad, grad_req
        module = self._make(self._default_bucket_key)
        if self._start is not None:
            module._arg_params, module._aux_params = dict(self._start[0]), dict(self._start[1])
            module.params_initialized = True
        module.bind(data_shapes, label_shapes, for_training, inputs_need_grad, grad_req=grad_req)
        self._curr_module, self._curr_bucket_key = module, self._default_bucket_key
        self._buckets[self._default_bucket_key] = module
        self.binded = True
        if params is not None:
            self.set_params(*params)

    def switch_bucket(self, bucket_key: Any, data_shapes: Any, label_shapes: Any = None) -> None:
        """Go on with another bucket, binding it the first time."""
        self._need(bound=True)
        if bucket_key == self._curr_bucket_key:
            return
        self._current._flush()
        if bucket_key not in self._buckets:
            module = self._make(bucket_key)
            try:
                module.bind(
                    data_shapes, label_shapes, self.for_training, self.inputs_need_grad,
                    shared_module=self._largest, grad_req=self._grad_req,
                )  # fmt: skip
            except MXNetError as problem:
                raise MXNetError(f"bucket {bucket_key!r}: {problem}") from None
            if self._monitor is not None:
                module.install_monitor(self._monitor)
            self._buckets[bucket_key] = module
        self._curr_module, self._curr_bucket_key = self._buckets[bucket_key], bucket_key
        default = self._largest
        if default.optimizer_initialized and not self._curr_module.optimizer_initialized:
            self._curr_module.borrow_optimizer(default)

    def init_params(
        self, initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_init: bool = False, allow_extra: bool = False,
    ) -> None:  # fmt: skip
        """Start values, as Module.init_params."""
        if self.params_initialized and not force_init:
            return
        self._need(bound=True)
        self._largest.init_params(initializer, arg_params, aux_params, allow_missing, force_init, allow_extra)
        self.params_initialized = True

    def set_params(
        self, arg_params: Params | None, aux_params: Params | None, allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:  # fmt: skip
        self._need(bound=True)
        self._largest.set_params(arg_params, aux_params, allow_missing, force_init, allow_extra)
        self.params_initialized = True

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """(parameters, states); all buckets have the same."""
        self._need(params=True)
        default = self._largest
        self._current._flush()
        # parameters live in arrays that all buckets share
        default._params_dirty = True
        return default.get_params()

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """The optimizer of all buckets."""
        self._need(bound=True, params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring.")
            return
        default = self._largest
        default.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        for module in self._buckets.values():
            if module is not default:
                module.borrow_optimizer(default)
        self.optimizer_initialized = True

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        """Bind the batch's bucket ahead of its turn."""
        self._need(bound=True, params=True)
        super().prepare(data_batch, sparse_row_id_fn)
        now, shapes = self._curr_bucket_key, (self.data_shapes, self.label_shapes)
        if data_batch.bucket_key not in self._buckets:
            # the outputs of the batch before may still be wanted: come back afterwards
            self.switch_bucket(data_batch.bucket_key, data_batch.provide_data, data_batch.provide_label)
            self.switch_bucket(now, *shapes)

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run the batch's bucket."""
        self._need(bound=True, params=True)
        self.switch_bucket(data_batch.bucket_key, data_batch.provide_data, data_batch.provide_label)
        self._current.forward(data_batch, is_train=is_train)

    def forward_backward(self, data_batch: Any) -> None:
        """forward(is_train=True), then backward(), of the batch's bucket."""
        self._need(bound=True, params=True)
        self.switch_bucket(data_batch.bucket_key, data_batch.provide_data, data_batch.provide_label)
        self._current.forward_backward(data_batch)

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of the bucket in use."""
        self._current.backward(out_grads)

    def update(self) -> None:
        """Apply the optimizer to the gradients of the bucket in use."""
        self._need(bound=True, params=True, optimizer=True)
        self._current.update()

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Outputs of the bucket in use."""
        return self._current.get_outputs(merge_multi_context)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Gradients of the data of the bucket in use."""
        return self._current.get_input_grads(merge_multi_context)

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """States of the bucket in use."""
        return self._current.get_states(merge_multi_context)

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Set the states of the bucket in use."""
        self._current.set_states(states, value)

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Take the outputs of the bucket in use into account."""
        self._current.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        """Watch all buckets."""
        self._need(bound=True)
        self._monitor = mon
        for module in self._buckets.values():
            module.install_monitor(mon)

    def save_checkpoint(self, prefix: str, epoch: int, remove_amp_cast: bool = False) -> None:
        """Write the parameters, `prefix-KEY-symbol.json` of every bucket that was used, and their keys, which have to
        be whole numbers, to `prefix.buckets`."""
        if not self._buckets:
            raise AssertionError("there is no bucket to save yet: call bind()")
        for key in self._buckets:
            if not isinstance(key, (int, np.integer)):
                raise TypeError(f"the key {key!r} of a bucket is no whole number: save_params() writes the parameters")
        self.save_params(f"{prefix}-{epoch:04d}.params")
        for key, module in self._buckets.items():
            module.symbol.save(f"{prefix}-{key}-symbol.json", remove_amp_cast=remove_amp_cast)
        ndarray.save(f"{prefix}.buckets", ndarray.array(list(self._buckets), dtype=np.int32))

    @staticmethod
    def load(
        prefix: str, epoch: int, sym_gen: Any = None, default_bucket_key: Any = None, **kwargs: Any
    ) -> BucketingModule:
        """The module that `save_checkpoint` wrote; keyword arguments as for BucketingModule."""
        keys = [int(k) for k in ndarray.load(f"{prefix}.buckets")[0].asnumpy()]
        nets = {key: symbols.load(f"{prefix}-{key}-symbol.json") for key in keys}
        return BucketingModule.load_dict(nets, sym_gen, default_bucket_key, *load_params(prefix, epoch), **kwargs)

    @staticmethod
    def load_dict(
        sym_dict: Any = None, sym_gen: Any = None, default_bucket_key: Any = None, arg_params: Params | None = None,
        aux_params: Params | None = None, **kwargs: Any,
    ) -> BucketingModule:  # fmt: skip
        """A module of nets by bucket key, and parameters; `sym_gen` tells the names of their data and labels, and makes
        the nets of other buckets."""
        given = {
            "sym_dict": sym_dict, "sym_gen": sym_gen, "arg_params": arg_params, "aux_params": aux_params,
            "default_bucket_key": default_bucket_key,
        }  # fmt: skip
        for name, value in given.items():
            if value is None:
                raise AssertionError(f"{name} is required for loading a BucketingModule")
        made = BucketingModule(sym_gen, default_bucket_key, **kwargs)
        made._loaded = dict(sym_dict)
        made._start = arg_params or {}, aux_params or {}
        made.params_initialized = True
        return made
