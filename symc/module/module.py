"""Module: a Symbol with its parameters, an executor and an optimizer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from symc import optimizer as opt
from symc.aliases import standing_elsewhere
from symc.checkpoint import load_checkpoint
from symc.context import Context, cpu
from symc.inference import infer_shapes
from symc.initializer import Uniform
from symc.io import DataDesc
from symc.kvstore import KVStore
from symc.module.base_module import BaseModule, Params, check_input_names, describe
from symc.module.batches import described, merged
from symc.module.executor_group import ModuleGroup
from symc.module.fused import FusedStep, can_fuse
from symc.module.parameters import known_values, start_values, warn_of_extra, zeros_like
from symc.ndarray import NDArray
from symc.sharing import warn_left
from symc.updating import _create_kvstore, _initialize_kvstore, _update_params, _update_params_on_kvstore

__getattr__ = standing_elsewhere(__name__)

__all__ = ["Module"]


class Module(BaseModule):
    """A net that is trained and used: bind, init_params, init_optimizer, then forward, backward, update, or `fit`.

    `data_names` and `label_names` are the arguments that batches fill; all others are parameters, except
    `state_names`. `fixed_param_names` are not trained. Several contexts each take their rows of a batch, by their share
    of `work_load_list`, with parameters and statistics of their own; a kvstore sums the gradients.
    """

    def __init__(
        self, symbol: Any, data_names: Sequence[str] | None = ("data",),
        label_names: Sequence[str] | None = ("softmax_label",),
        logger: Any = logging, context: Context | Sequence[Context] | None = None, work_load_list: Any = None,
        fixed_param_names: Sequence[str] | None = None, state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
        compression_params: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(logger)
        contexts = [cpu()] if context is None else [context] if isinstance(context, Context) else list(context)
        for one in contexts:
            one.check()
        if work_load_list is not None and len(work_load_list) != len(contexts):
            raise AssertionError(f"work_load_list has {len(work_load_list)} entries for {len(contexts)} contexts")
        self._context, self._symbol = contexts, symbol
        self._work_load_list = list(work_load_list or [1] * len(contexts))
        self._group2ctxs, self._compression_params = group2ctxs, compression_params
        self._data_names, self._label_names = list(data_names or ()), list(label_names or ())
        self._state_names, self._fixed_param_names = list(state_names or ()), list(fixed_param_names or ())
        check_input_names(symbol, self._data_names, "data", True)
        check_input_names(symbol, self._label_names, "label", False)
        check_input_names(symbol, self._state_names, "state", True)
        check_input_names(symbol, self._fixed_param_names, "fixed_param", True)
        inputs = {*self._data_names, *self._label_names, *self._state_names}
        self._param_names = [n for n in symbol.list_arguments() if n not in inputs]
        self._aux_names: list[str] = symbol.list_auxiliary_states()
        self._output_names: list[str] = symbol.list_outputs()
        self._arg_params: dict[str, NDArray] | None = None
        self._aux_params: dict[str, NDArray] | None = None
        #: the executor has newer parameters than the two dicts
        self._params_dirty = False
        self._optimizer: opt.Optimizer | None = None
        self._updater: opt.Updater | None = None
        self._kvstore: Any = None
        self._update_on_kvstore: bool | None = None
        self._preload_opt_states: str | None = None
        #: the optimizer's numbers of parameters; modules with one optimizer have one table
        self._indices: dict[str, int] = {}
        self._monitor: Any = None
        #: those of the modules with the same arrays whose forward_backward is put off until update() or until somebody
        #: looks
        self._waiting: list[Module] = []
        Module._reset_bind(self)  # a subclass's is not ready yet

    def _reset_bind(self) -> None:
        self.binded = False
        if self in self._waiting:
            self._waiting.remove(self)
        self._waiting = []
        self._exec_group: Any = None
        self._data_shapes: list[DataDesc] = []
        self._label_shapes: list[DataDesc] = []
        self._fused: dict[int, FusedStep | None] = {}

    # -- files

    @staticmethod
    def load(prefix: str, epoch: int, load_optimizer_states: bool = False, **kwargs: Any) -> Module:
        """The module of a checkpoint; keyword arguments as for Module."""
        symbol, args, states = load_checkpoint(prefix, epoch)
        module = Module(symbol, **kwargs)
        module._arg_params, module._aux_params, module.params_initialized = args, states, True
        if load_optimizer_states:
            module._preload_opt_states = f"{prefix}-{epoch:04d}.states"
        return module

    def save_checkpoint(
        self, prefix: str, epoch: int, save_optimizer_states: bool = False, remove_amp_cast: bool = True
    ) -> None:
        """Write `prefix-symbol.json`, `prefix-NNNN.params` and, if wanted, `prefix-NNNN.states`."""
        self._symbol.save(f"{prefix}-symbol.json", remove_amp_cast=remove_amp_cast)
        name = f"{prefix}-{epoch:04d}.params"
        self.save_params(name)
        logging.info('Saved checkpoint to "%s"', name)
        if save_optimizer_states:
            name = f"{prefix}-{epoch:04d}.states"
            self.save_optimizer_states(name)
            logging.info('Saved optimizer state to "%s"', name)

    def save_optimizer_states(self, fname: str) -> None:
        """Write the optimizer's states (momenta and so on)."""
        self._need(optimizer=True)
        if self._update_on_kvstore:
            self._kvstore.save_optimizer_states(fname)
            return
        assert self._updater is not None
        with open(fname, "wb") as file:
            file.write(self._updater.get_states())

    def load_optimizer_states(self, fname: str) -> None:
        """Read the optimizer's states."""
        self._need(optimizer=True)
        if self._update_on_kvstore:
            self._kvstore.load_optimizer_states(fname)
            return
        assert self._updater is not None
        with open(fname, "rb") as file:
            self._updater.set_states(file.read())

    # -- facts

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        return self._data_names

    @property
    def label_names(self) -> list[str]:
        """Names of the label inputs."""
        return self._label_names

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return self._output_names

    @property
    def data_shapes(self) -> list[DataDesc]:
        """What the module is bound to."""
        self._need(bound=True)
        return self._data_shapes

    @property
    def label_shapes(self) -> list[DataDesc] | None:
        """What the module is bound to; None without labels."""
        self._need(bound=True)
        return self._label_shapes or None

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """[(name, shape)] of the outputs."""
        self._need(bound=True)
        shapes = {d.name: d.shape for d in [*self._data_shapes, *self._label_shapes]}
        _, found, _ = infer_shapes(self._symbol, False, (), shapes)
        return list(zip(self._output_names, found))

    # -- binding

    def bind(
        self, data_shapes: Any, label_shapes: Any = None, for_training: bool = True, inputs_need_grad: bool = False,
        force_rebind: bool = False, shared_module: Any = None, grad_req: Any = "write",
    ) -> None:  # fmt: skip
        """Make the executor for these input shapes. `shared_module`: another Module whose parameters this one
        shares."""
        if force_rebind:
            if self.binded and self.params_initialized:
                self._sync_params_from_devices()
            self._reset_bind()
        if self.binded:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if inputs_need_grad and not for_training:
            raise AssertionError("inputs_need_grad needs for_training=True")
        self.for_training, self.inputs_need_grad, self._grad_req = for_training, inputs_need_grad, grad_req
        if shared_module is not None and not (shared_module.binded and shared_module.params_initialized):
            raise AssertionError("shared_module must be bound and have parameters")
        if shared_module is not None and len(shared_module._context) < len(self._context):
            raise AssertionError("shared_module must have as many contexts")
        self._data_shapes = describe(data_shapes, self._data_names, "data", True)
        self._label_shapes = describe(label_shapes, self._label_names, "label", False)
        group = ModuleGroup.of(self, shared_module, grad_req, self._data_shapes, self._label_shapes)
        if shared_module is not None:
            self._waiting = shared_module._waiting
            self.params_initialized = True
            self._arg_params, self._aux_params = shared_module._arg_params, shared_module._aux_params
        else:
            self._fill(group)
        self._exec_group, self.binded = group, True
        if shared_module is not None and shared_module.optimizer_initialized:
            self.borrow_optimizer(shared_module)

    def _fill(self, group: ModuleGroup) -> None:
        """What is known of the parameters goes into new executors."""
        first = group._execs[0]
        held = {n: first.arg_dict[n] for n in self._param_names}, first.aux_dict
        if self.params_initialized:
            assert self._arg_params is not None and self._aux_params is not None
            known = known_values(self._label(), held, (self._arg_params, self._aux_params))
            for executor in group._execs:
                executor.copy_params_from(*known)
        else:
            known = zeros_like(held[0]), zeros_like(held[1])
        self._arg_params, self._aux_params = known

    @property
    def _total_exec_bytes(self) -> int:
        return 0 if self._exec_group is None else self._exec_group._total_exec_bytes

    @property
    def _exec(self) -> Any:
        """The (first) executor as it is; what was put off is not done."""
        return self._exec_group._execs[0]

    def _label(self) -> str:
        return f"Module of {self._symbol.name or 'Group'}"

    def reshape(self, data_shapes: Any, label_shapes: Any = None) -> None:
        """Go on with other input shapes and the same parameters. MXNetError if one of them would need another shape."""
        self._need(bound=True)
        self._flush()
        data = describe(data_shapes, self._data_names, "data", True)
        label = describe(label_shapes, self._label_names, "label", False)
        self._exec_group.reshape(data, label)
        self._data_shapes, self._label_shapes = data, label

    # -- parameters

    def init_params(
        self, initializer: Any = Uniform(0.01), arg_params: Params | None = None, aux_params: Params | None = None,
        allow_missing: bool = False, force_init: bool = False, allow_extra: bool = False,
    ) -> None:  # fmt: skip
        """Start values: from the given dicts, and by `initializer` for what is not in them (RuntimeError unless
        `allow_missing`)."""
        if self.params_initialized and not force_init:
            warnings.warn(
                "Parameters already initialized and force_init=False. init_params call ignored.", stacklevel=2
            )
            return
        self._need(bound=True)
        self._flush()
        assert self._arg_params is not None and self._aux_params is not None
        fresh = not self.params_initialized
        pairs = [(self._arg_params, arg_params), (self._aux_params, aux_params)]
        start_values(self._label(), self._symbol, pairs, initializer, allow_missing, fresh)
        if not allow_extra:
            warn_of_extra(self._symbol, arg_params, aux_params)
        self.params_initialized, self._params_dirty = True, False
        self._exec_group.set_params(self._arg_params, self._aux_params)

    def set_params(
        self, arg_params: Params | None, aux_params: Params | None, allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:  # fmt: skip
        if not allow_missing:
            super().set_params(arg_params, aux_params, False, force_init, allow_extra)
            return
        if self.params_initialized and not force_init:
            warnings.warn("Parameters already initialized and force_init=False. set_params call ignored.", stacklevel=2)
            return
        self._need(bound=True)
        self._flush()
        self._exec_group.set_params(arg_params or {}, aux_params or {}, allow_extra)
        if not self.params_initialized:
            given = {**(arg_params or {}), **(aux_params or {})}
            left = [n for n in [*self._param_names, *self._aux_names] if n not in given]
            warn_left(left, "parameters that were not given")
        self._params_dirty = self.params_initialized = True

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """(parameters, states) as copies; the dicts are those of earlier calls, brought up to date."""
        self._need(params=True)
        if self.binded:
            self._flush()
            if self._params_dirty:
                self._sync_params_from_devices()
        assert self._arg_params is not None and self._aux_params is not None
        return self._arg_params, self._aux_params

    def _sync_params_from_devices(self) -> None:
        """Bring the two dicts up to date: with the mean over the contexts."""
        self._exec_group.get_params(self._arg_params, self._aux_params)
        self._params_dirty = False

    # -- training

    def init_optimizer(
        self, kvstore: Any = "local", optimizer: Any = "sgd", optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:  # fmt: skip
        """The optimizer, by name with parameters or as an object. By name, gradients are divided by the batch size
        unless `rescale_grad` is given."""
        self._need(bound=True, params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        self._flush()
        if self._params_dirty:
            self._sync_params_from_devices()
        assert self._arg_params is not None
        store, on_store = _create_kvstore(kvstore, len(self._context), self._arg_params)
        rescale, count = 1.0 / (self._exec_group.batch_size or 1), 1 if on_store else len(self._context)
        names = {i * count + k: n for i, n in enumerate(self._param_names) for k in range(count)}
        self._indices = {n: i for i, n in enumerate(self._param_names)}
        if isinstance(optimizer, str):
            settings = {"rescale_grad": rescale, **dict(optimizer_params)}
            optimizer = opt.create(optimizer, sym=self._symbol, param_idx2name=names, **settings)
        elif not isinstance(optimizer, opt.Optimizer):
            raise AssertionError(f"optimizer is a name or an Optimizer, got {type(optimizer).__name__}")
        else:
            if optimizer.rescale_grad != rescale:
                warnings.warn(
                    "Optimizer created manually outside Module but rescale_grad is not normalized to "
                    f"1.0/batch_size/num_workers ({optimizer.rescale_grad} vs. {rescale}). Is this intended?",
                    stacklevel=2,
                )
            optimizer.idx2name = optimizer.idx2name or names
        self._optimizer, self._kvstore, self._update_on_kvstore, self._fused = optimizer, store, on_store, {}
        self._updater = None if on_store else opt.get_updater(optimizer)
        if store is not None:
            if self._compression_params:
                store.set_gradient_compression(self._compression_params)
            if on_store:
                store.set_optimizer(optimizer)
            arrays = self._exec_group.param_arrays
            _initialize_kvstore(store, arrays, self._arg_params, self._param_names, on_store)
            if self._alone:
                # the store's values are the one executor's parameters, so a step can be one program
                store.adopt({n: a[0] for n, a in zip(self._param_names, arrays)})
        self.optimizer_initialized = True
        if self._preload_opt_states is not None:
            self.load_optimizer_states(self._preload_opt_states)
            self._preload_opt_states = None

    def borrow_optimizer(self, shared_module: Module) -> None:
        """Use another module's optimizer and its states."""
        shared_module._need(optimizer=True)
        self._optimizer, self._updater = shared_module._optimizer, shared_module._updater
        self._kvstore, self._update_on_kvstore = shared_module._kvstore, shared_module._update_on_kvstore
        self._fused, self.optimizer_initialized = {}, True
        self._indices = shared_module._indices

    @property
    def _alone(self) -> bool:
        """Whether one updater has the one executor's parameters: there is no store, or it is of this process."""
        return len(self._context) == 1 and (
            self._kvstore is None or (bool(self._update_on_kvstore) and type(self._kvstore) is KVStore)
        )

    def _index(self, name: str) -> int | str:
        """The optimizer's number of a parameter (a store knows it by its name); it is the same in all modules that
        share the optimizer."""
        return name if self._update_on_kvstore else self._indices.setdefault(name, len(self._indices))

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run the net on a batch (training form if `is_train`, by default if bound for training). Other shapes than
        bound rebind it."""
        self._need(bound=True, params=True)
        self._flush()
        self._load(data_batch)
        self._exec_group.run_forward(self.for_training if is_train is None else is_train)

    def backward(self, out_grads: Any = None) -> None:
        """Gradients, given those of the outputs (not needed for loss outputs)."""
        self._need(bound=True, params=True)
        self._flush()
        self._exec_group.backward(out_grads)

    def forward_backward(self, data_batch: Any) -> None:
        """forward(is_train=True), then backward(). The work is done with update() in one go, or when somebody asks for
        outputs or gradients before."""
        self._need(bound=True, params=True)
        self._flush()
        self._load(data_batch)
        self._waiting.append(self)
        if not self.optimizer_initialized:
            self._flush()

    def _flush(self, but: Module | None = None) -> None:
        """Do the work that was put off, here and wherever the same arrays are used."""
        for module in self._waiting[:] if self._waiting else ():
            if module is not but:
                self._waiting.remove(module)
                module._exec_group.run_forward(True)
                module._exec_group.backward()

    def update(self) -> None:
        """Apply the optimizer to the gradients of the last backward."""
        self._need(bound=True, params=True, optimizer=True)
        self._params_dirty = True
        self._flush(but=self)
        step = self._fused_step() if self._waiting else None
        if step is not None:
            self._waiting.clear()
            step.run()
            return
        self._flush()
        group = self._exec_group
        if self._update_on_kvstore:
            _update_params_on_kvstore(group.param_arrays, group.grad_arrays, self._kvstore, self._param_names)
            return
        assert self._updater is not None
        if len(self._context) > 1 or self._kvstore is not None:
            names = self._param_names
            _update_params(
                group.param_arrays, group.grad_arrays, self._updater, len(self._context), self._kvstore, names
            )
            return
        arrays, grads = self._exec.arg_dict, self._exec.grad_dict
        for name in self._param_names:
            if grads[name] is not None:
                self._updater(self._index(name), grads[name], arrays[name])

    def _fused_step(self) -> FusedStep | None:
        """The step as one program, if it can be one."""
        if not self._alone:
            return None
        updater, store, arrays = self._updater, self._kvstore, self._exec.arg_dict
        if store is not None:
            updater = store._updater
            if not store.holds({n: arrays[n] for n in self._param_names}):
                return None
        held = self._fused.get(id(self._exec))
        if held is not None and held.fits(self._exec, updater):
            return held if not held.heads_needed and self._exec._monitor is None else None
        if not can_fuse(self._exec, updater, self._param_names):
            return None
        grads = self._exec.grad_dict
        params = [(self._index(n), n) for n in self._param_names if grads[n] is not None]
        made = self._fused[id(self._exec)] = FusedStep(self._exec, updater, params)
        return None if made.heads_needed else made

    def _load(self, data_batch: Any) -> None:
        """Copy a batch into the inputs, rebinding for other shapes."""
        if isinstance(data_batch, list):
            data_batch = merged(data_batch)
        if tuple(a.shape for a in data_batch.data) != tuple(d.shape for d in self._data_shapes):
            self.reshape(*described(data_batch, self._data_shapes, self._label_shapes))
        self._exec_group.load(data_batch)

    # -- results

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Outputs of the last forward, overwritten by the next."""
        self._need(bound=True, params=True)
        self._flush()
        return list(self._exec_group.get_outputs(merge_multi_context))

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Gradients of the data; the module must be bound with `inputs_need_grad=True`."""
        self._need(bound=True, params=True)
        if not self.inputs_need_grad:
            raise AssertionError("get_input_grads needs bind(..., inputs_need_grad=True)")
        return list(self._exec_group.get_input_grads(merge_multi_context))

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """Arrays of `state_names`."""
        self._need(bound=True, params=True)
        return list(self._exec_group.get_states(merge_multi_context))

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Set the arrays of `state_names`: each from a list, or all to a number."""
        self._need(bound=True, params=True)
        self._exec_group.set_states(states, value)

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Take the last outputs into account."""
        self._exec_group.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        """Watch this module's executors."""
        self._need(bound=True)
        self._exec_group.install_monitor(mon)
