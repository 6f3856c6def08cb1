"""SVRGModule: a Module whose gradients have less variance."""

from __future__ import annotations

import logging
from typing import Any

from symc import ndarray
from symc.context import cpu
from symc.contrib.svrg_optimization.svrg_optimizer import _SVRGOptimizer
from symc.module import Module
from symc.ndarray import NDArray
from symc.symbol import Symbol

__all__ = ["SVRGModule"]


class SVRGModule(Module):
    """A Module that corrects the gradient of each batch, g(w), to g(w) - g(v) + G(v), where v are the parameters of a
    while ago and G(v) is their mean gradient over all batches. Every `update_freq` epochs v becomes w.

    Where MXNet adds the G(v) of the epochs before to the next one, symc begins from 0 each time.
    """

    def __init__(
        self, symbol: Symbol, data_names: Any = ("data",), label_names: Any = ("softmax_label",), logger: Any = logging,
        context: Any = None, work_load_list: Any = None, fixed_param_names: Any = None, state_names: Any = None,
        group2ctxs: Any = None, compression_params: Any = None, update_freq: int | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(update_freq, int):
            raise TypeError(f"update_freq is a whole number of epochs, got {update_freq!r}")
        if update_freq <= 0:
            raise ValueError(f"update_freq is a positive number of epochs, got {update_freq}")
        given = (
            symbol, data_names, label_names, logger, cpu() if context is None else context, work_load_list,
            fixed_param_names, state_names, group2ctxs, compression_params,
        )  # fmt: skip
        super().__init__(*given)
        self.update_freq = update_freq
        #: the net with the parameters v
        self._mod_aux = Module(*given)
        #: G(v) by name, for each context
        self._param_dict: list[dict[str, NDArray]] = []

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        given = (data_shapes, label_shapes, for_training, inputs_need_grad, force_rebind, shared_module, grad_req)
        super().bind(*given)
        if for_training:
            self._mod_aux.bind(*given)

    def reshape(self, data_shapes: Any, label_shapes: Any = None) -> None:
        super().reshape(data_shapes, label_shapes)
        self._mod_aux.reshape(data_shapes, label_shapes)

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """As Module's; the optimizer is that of SVRG around the one that is asked for."""
        self._need(bound=True, params=True)
        count = len(self._context)
        names = dict(enumerate(self._param_names)) if count == 1 else {
            i * count + k: name for i, name in enumerate(self._param_names) for k in range(count)
        }  # fmt: skip
        settings = {"rescale_grad": 1.0 / (self._exec_group.batch_size or 1), **dict(optimizer_params)}
        made = _SVRGOptimizer(optimizer, param_idx2name=names, sym=self._symbol, **settings)
        super().init_optimizer(kvstore, made, optimizer_params, force_init)
        self._clear()

    def _clear(self) -> None:
        params = self.get_params()[0]
        self._param_dict = [
            {name: ndarray.zeros(params[name].shape, ctx, params[name].dtype) for name in self._param_names}
            for ctx in self._context
        ]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """As Module's; in training the net with the earlier parameters runs, too."""
        super().forward(data_batch, is_train)
        if self.for_training if is_train is None else is_train:
            if not self._mod_aux.params_initialized:
                self._mod_aux.set_params(*self.get_params())
            self._mod_aux.forward(data_batch, True)

    def backward(self, out_grads: Any = None) -> None:
        super().backward(out_grads)
        if self._mod_aux.binded:
            self._mod_aux.backward(out_grads)

    def forward_backward(self, data_batch: Any) -> None:
        """forward(is_train=True), then backward()."""
        self.forward(data_batch, is_train=True)
        self.backward()

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        super().prepare(data_batch, sparse_row_id_fn=sparse_row_id_fn)
        self._mod_aux.prepare(data_batch, sparse_row_id_fn=sparse_row_id_fn)

    def update(self) -> None:
        """Correct the gradients, and apply the optimizer."""
        self._need(bound=True, params=True, optimizer=True)
        groups = zip(self._param_names, self._exec_group.grad_arrays, self._mod_aux._exec_group.grad_arrays)
        for name, here, earlier in groups:
            for at, (gradient, other) in enumerate(zip(here, earlier)):
                if gradient is not None:
                    gradient[:] = gradient - other + self._param_dict[at][name]
        super().update()

    def update_full_grads(self, train_data: Any) -> None:
        """The parameters of now are the earlier ones from here on; their mean gradient is taken over an iterator, of
        which the rows that only fill the last batch do not count."""
        self._need(bound=True, params=True, optimizer=True)
        self._mod_aux.set_params(*self.get_params())
        self._clear()
        train_data.reset()
        batches, pad = 0, 0
        for batch in train_data:
            self._mod_aux.forward(batch, is_train=True)
            self._mod_aux.backward()
            batches, pad = batches + 1, batch.pad or 0
            for name, gradients in zip(self._param_names, self._mod_aux._exec_group.grad_arrays):
                for sums, gradient in zip(self._param_dict, gradients):
                    if gradient is not None:
                        sums[name] += gradient
        counted = batches - pad / train_data.batch_size
        for name in self._param_names:
            parts = [sums[name] / counted for sums in self._param_dict]
            if self._kvstore is not None and len(parts) > 1:
                total = sum(part.as_in_context(cpu()) for part in parts[1:]) + parts[0]
                parts = [(total / len(parts)).as_in_context(part.context) for part in parts]
            for sums, part in zip(self._param_dict, parts):
                sums[name] = part

    def _epoch(self, train_data: Any, epoch: int, *args: Any, **kwargs: Any) -> list[tuple[str, float]]:
        if epoch % self.update_freq == 0:
            self.update_full_grads(train_data)
        train_data.reset()
        return super()._epoch(train_data, epoch, *args, **kwargs)
