"""mx.contrib.svrg_optimization: stochastic gradients with less variance (Johnson and Zhang 2013).

Every `update_freq` epochs the gradient of all data is computed at the parameters as they are then. A step's gradient is
the batch's, less what the batch's was at those parameters, plus the gradient of all data.
"""

from __future__ import annotations

import logging
from typing import Any

from symc import ndarray, optimizer
from symc.module import Module
from symc.ndarray import NDArray
from symc.updating import _create_kvstore

__all__ = ["SVRGModule"]

#: a package to the import system: names below it are in symc.aliases
__path__: list[str] = []

#: what the gradients of all data are called in a kvstore, behind the parameters' names
FULL = "_full"
#: what an Optimizer takes; the rest is for the optimizer that an _SVRGOptimizer has inside
_COMMON = (
    "rescale_grad", "param_idx2name", "wd", "clip_gradient", "learning_rate", "lr_scheduler", "sym", "begin_num_update",
    "multi_precision", "param_dict",
)  # fmt: skip


@optimizer.register
class _AssignmentOptimizer(optimizer.Optimizer):
    """The new value is the gradient itself: a kvstore that has it sums what it gets."""

    def update(self, index: Any, weight: NDArray, grad: NDArray, state: Any) -> None:
        weight[:] = grad


@optimizer.register
class _SVRGOptimizer(optimizer.Optimizer):
    """`default_optimizer` (a name, or an Optimizer) for parameters; the gradients of all data are assigned."""

    def __init__(self, default_optimizer: Any, **kwargs: Any) -> None:
        super().__init__(**{name: value for name, value in kwargs.items() if name in _COMMON})
        made = optimizer.create(default_optimizer, **kwargs) if isinstance(default_optimizer, str) else None
        self.default_opt = default_optimizer if made is None else made
        self.aux_opt = optimizer.create(_AssignmentOptimizer.__name__)

    def _of(self, index: Any) -> Any:
        name = index if index in self.idx2name.values() else self.idx2name[index]
        return self.aux_opt if "full" in name else self.default_opt

    def create_state(self, index: Any, weight: NDArray) -> Any:
        """The state of the optimizer that the parameter has."""
        return self._of(index).create_state(index, weight)

    def update(self, index: Any, weight: NDArray, grad: NDArray, state: Any) -> None:
        """A step of the optimizer that the parameter has."""
        self._of(index).update(index, weight, grad, state)


class SVRGModule(Module):
    """A Module whose steps are corrected by the gradient of all data, which is computed every `update_freq` epochs."""

    def __init__(
        self, symbol: Any, data_names: Any = ("data",), label_names: Any = ("softmax_label",), logger: Any = logging,
        context: Any = None, work_load_list: Any = None, fixed_param_names: Any = None, state_names: Any = None,
        group2ctxs: Any = None, compression_params: Any = None, update_freq: int | None = None,
    ) -> None:  # fmt: skip
        given = (
            symbol, data_names, label_names, logger, context, work_load_list, fixed_param_names, state_names,
            group2ctxs, compression_params,
        )  # fmt: skip
        super().__init__(*given)
        if not isinstance(update_freq, int):
            raise TypeError(f"update_freq is the number of epochs between two full gradients, got {update_freq!r}")
        if update_freq <= 0:
            raise ValueError(f"update_freq is the number of epochs between two full gradients, got {update_freq}")
        self.update_freq = update_freq
        #: the net at the parameters that the full gradient belongs to
        self._mod_aux = Module(*given)
        #: for every context the gradient of all data by parameter
        self._param_dict: list[dict[str, NDArray]] | None = None

    def _reset_bind(self) -> None:
        super()._reset_bind()
        self._mod_aux._reset_bind()

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        """Bind the net twice: at the parameters of now, and at those of the full gradient."""
        given = data_shapes, label_shapes, for_training, inputs_need_grad, force_rebind, shared_module, grad_req
        super().bind(*given)
        if for_training:
            self._mod_aux.bind(*given)

    def reshape(self, data_shapes: Any, label_shapes: Any = None) -> None:
        """Go on with other input shapes and the same parameters."""
        super().reshape(data_shapes, label_shapes)
        self._mod_aux.reshape(data_shapes, label_shapes)

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """The optimizer inside of one that knows gradients of all data, too."""
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        self._param_dict = self._zeros()
        assert self._arg_params is not None
        count = len(self._context)
        if _create_kvstore(kvstore, count, self._arg_params)[1]:
            count = 1
        names = {i * count + k: n for i, n in enumerate(self._param_names) for k in range(count)}
        names |= {len(names) + i: n + FULL for i, n in enumerate(self._param_names)}
        settings = {"rescale_grad": 1.0 / (self._exec_group.batch_size or 1), **dict(optimizer_params)}
        made = _SVRGOptimizer(optimizer, param_idx2name=names, **settings)
        super().init_optimizer(kvstore, made, optimizer_params, force_init)
        if self._kvstore is not None:
            for name in self._param_names:
                self._kvstore.init(name + FULL, ndarray.zeros(self._arg_params[name].shape))

    def _zeros(self) -> list[dict[str, NDArray]]:
        args, _ = self.get_params()
        return [{n: ndarray.zeros(a.shape, ctx=one) for n, a in args.items()} for one in self._context]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run the net on a batch; in training, at both sets of parameters."""
        super().forward(data_batch, is_train)
        if is_train:
            self._mod_aux.forward(data_batch, is_train)

    def forward_backward(self, data_batch: Any) -> None:
        """forward(is_train=True), then backward(), at both sets of parameters."""
        self.forward(data_batch, is_train=True)
        self.backward()

    def backward(self, out_grads: Any = None) -> None:
        """Gradients at both sets of parameters."""
        super().backward(out_grads)
        if self._mod_aux.binded:
            self._mod_aux.backward(out_grads)

    def update(self) -> None:
        """Apply the optimizer to the corrected gradients."""
        self._need(bound=True, params=True, optimizer=True)
        assert self._param_dict is not None
        for grads, others, name in zip(
            self._exec_group.grad_arrays, self._mod_aux._exec_group.grad_arrays, self._param_names
        ):
            for grad, other, full in zip(grads, others, (held[name] for held in self._param_dict)):
                if grad is not None:
                    grad[:] = grad - other + full
        super().update()

    def update_full_grads(self, train_data: Any) -> None:
        """Compute the gradient of all data, as the mean of the batches', at the parameters of now."""
        self._mod_aux.set_params(*self.get_params())
        self._param_dict = self._zeros()
        train_data.reset()
        count, pad = 0, 0
        for batch in train_data:
            self._mod_aux.forward(batch, is_train=True)
            self._mod_aux.backward()
            count, pad = count + 1, getattr(batch, "pad", None) or 0
            for grads, name in zip(self._mod_aux._exec_group.grad_arrays, self._param_names):
                for grad, held in zip(grads, self._param_dict):
                    if grad is not None:
                        held[name] += grad
        batches = count - pad / train_data.batch_size
        for name in self._param_names:
            for held in self._param_dict:
                held[name] /= batches
            if self._kvstore is not None:
                self._accumulate_kvstore(name, [held[name] for held in self._param_dict])

    def _accumulate_kvstore(self, key: str, value: list[NDArray]) -> None:
        """The mean over the contexts, by way of the kvstore."""
        assert self._param_dict is not None
        self._kvstore.push(key + FULL, value)
        self._kvstore.pull(key + FULL, value)
        for held, one in zip(self._param_dict, value):
            held[key] = one / len(self._context)

    def _before_epoch(self, epoch: int, train_data: Any) -> None:
        if epoch % self.update_freq == 0:
            self.update_full_grads(train_data)
            train_data.reset()
