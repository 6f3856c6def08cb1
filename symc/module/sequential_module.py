"""SequentialModule: modules in a row, each fed with the outputs of the one before."""

from __future__ import annotations

import logging
from typing import Any

from symc.initializer import Uniform
from symc.io import DataBatch, DataDesc
from symc.module.base_module import BaseModule, Params
from symc.module.batches import labels_of
from symc.ndarray import NDArray

__all__ = ["SequentialModule"]


class SequentialModule(BaseModule):
    """`add` modules in order; `take_labels=True` gives a module the batch's labels, `auto_wiring=True` renames what it
    gets to its own data names."""

    META_TAKE_LABELS = "take_labels"
    META_AUTO_WIRING = "auto_wiring"

    def __init__(self, logger: Any = logging) -> None:
        super().__init__(logger)
        self._modules: list[Any] = []
        self._metas: list[dict[str, Any]] = []
        self._label_shapes: Any = None

    def add(self, module: BaseModule, **kwargs: Any) -> SequentialModule:
        """One more module at the end; gives back this one, so that calls can be chained."""
        unknown = set(kwargs) - {self.META_TAKE_LABELS, self.META_AUTO_WIRING}
        if unknown:
            raise AssertionError(f'Unknown meta "{min(unknown)}", a typo?')
        self._modules.append(module)
        self._metas.append(kwargs)
        self.binded = self.params_initialized = self.optimizer_initialized = False
        return self

    @property
    def data_names(self) -> list[str]:
        """Data names of the first module."""
        return list(self._modules[0].data_names) if self._modules else []

    @property
    def output_names(self) -> list[str]:
        """Output names of the last module."""
        return list(self._modules[-1].output_names) if self._modules else []

    @property
    def data_shapes(self) -> Any:
        """What the first module is bound to."""
        self._need(bound=True)
        return self._modules[0].data_shapes

    @property
    def label_shapes(self) -> Any:
        """The labels that were bound."""
        self._need(bound=True)
        return self._label_shapes

    @property
    def output_shapes(self) -> Any:
        """[(name, shape)] of the last module."""
        self._need(bound=True)
        return self._modules[-1].output_shapes

    def _takes_labels(self, at: int) -> bool:
        return bool(self._metas[at].get(self.META_TAKE_LABELS))

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        """Bind the modules one after the other."""
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if shared_module is not None:
            raise AssertionError("Shared module is not supported")
        if not self._modules:
            raise AssertionError("Attempting to bind an empty SequentialModule")
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        shapes, anybody = list(data_shapes), False
        for at, module in enumerate(self._modules):
            takes = self._takes_labels(at)
            anybody = anybody or takes
            if self._metas[at].get(self.META_AUTO_WIRING):
                names = module.data_names
                if len(names) != len(shapes):
                    raise AssertionError(
                        f"module {at} has inputs {names}, but the one before gives {len(shapes)} outputs"
                    )
                shapes = [DataDesc(n, d[1]) for n, d in zip(names, shapes)]
            module.bind(
                shapes, label_shapes if takes else None, for_training, inputs_need_grad or (for_training and at > 0),
                force_rebind, None, grad_req,
            )  # fmt: skip
            shapes = module.output_shapes
        self._label_shapes = label_shapes if anybody else None
        self.binded = True

    def init_params(
        self, initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_init: bool = False, allow_extra: bool = False,
    ) -> None:  # fmt: skip
        """Start values for every module; two modules may not have a parameter of the same name."""
        if self.params_initialized and not force_init:
            return
        self._need(bound=True)
        seen: dict[str, int] = {}
        for at, module in enumerate(self._modules):
            # the dicts are for all modules together: what is not this one's is no mistake
            module.init_params(initializer, arg_params, aux_params, allow_missing, force_init, allow_extra=True)
            for name in [n for params in module.get_params() for n in params]:
                if name in seen:
                    raise AssertionError(
                        f'Duplicated parameter names: name "{name}" in layer {at} ({type(module)}) is already used in '
                        f"layer {seen[name]} ({type(self._modules[seen[name]])})."
                    )
                seen[name] = at
        self.params_initialized = True

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """(parameters, states) of all modules."""
        self._need(bound=True, params=True)
        args: dict[str, NDArray] = {}
        states: dict[str, NDArray] = {}
        for module in self._modules:
            some_args, some_states = module.get_params()
            args.update(some_args)
            states.update(some_states)
        return args, states

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """An optimizer for every module."""
        self._need(bound=True, params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring.")
            return
        for module in self._modules:
            module.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        self.optimizer_initialized = True

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run the modules one after the other."""
        self._need(bound=True, params=True)
        data, last = data_batch.data, len(self._modules) - 1
        for at, module in enumerate(self._modules):
            label = labels_of(data_batch) if self._takes_labels(at) else None
            module.forward(DataBatch(list(data), label, getattr(data_batch, "pad", None)), is_train=is_train)
            if at < last:
                data = module.get_outputs()

    def backward(self, out_grads: Any = None) -> None:
        """Gradients, from the last module to the first."""
        self._need(bound=True, params=True)
        for at, module in reversed(list(enumerate(self._modules))):
            module.backward(out_grads)
            if at:
                out_grads = module.get_input_grads()

    def update(self) -> None:
        """Update every module."""
        self._need(bound=True, params=True, optimizer=True)
        for module in self._modules:
            module.update()

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Outputs of the last module."""
        self._need(bound=True, params=True)
        found: list[Any] = self._modules[-1].get_outputs(merge_multi_context)
        return found

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Gradients of the first module's data."""
        self._need(bound=True, params=True)
        found: list[Any] = self._modules[0].get_input_grads(merge_multi_context)
        return found

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Take the outputs of the modules that have labels into account."""
        self._need(bound=True, params=True)
        for at, module in enumerate(self._modules):
            if self._takes_labels(at):
                module.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        """Watch every module."""
        self._need(bound=True)
        for module in self._modules:
            module.install_monitor(mon)
