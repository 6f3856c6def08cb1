"""Trainer: an optimizer's steps on the parameters of a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symc import optimizer as optimizers
from symc.context import Context
from symc.gluon.parameter import Parameter, ParameterDict
from symc.kvstore import KVStore, KVStoreBase
from symc.kvstore import create as create_kvstore
from symc.ndarray import NDArray, arange
from symc.optimizer import Updater, get_updater
from symc.updating import _create_kvstore


class Trainer:
    """`step(batch_size)` after `backward` moves every parameter by what the optimizer makes of its gradient, divided by
    the batch's size. Gradients of several contexts are added up first.

    A `kvstore` (a store, or the name of one) adds up, and runs the optimizer unless `update_on_kvstore` is False or it
    is not capable of that; parameters on one context need none where it is given by name. Parameters with row_sparse
    values live in the store. ValueError for a store over several machines, for what are no parameters, and, in the
    first step, for a store that cannot do what is asked for.
    """

    def __init__(
        self, params: Any, optimizer: Any, optimizer_params: Mapping[str, Any] | None = None, kvstore: Any = "device",
        compression_params: Any = None, update_on_kvstore: bool | None = None,
    ) -> None:  # fmt: skip
        if isinstance(params, (dict, ParameterDict)):
            params = [params[name] for name in sorted(params)]
        if not isinstance(params, (list, tuple)):
            raise ValueError(f"a Trainer takes a list or dict of Parameters, not a {type(params).__name__}")
        for parameter in params:
            if not isinstance(parameter, Parameter):
                raise ValueError(
                    f"a Trainer takes a list or dict of Parameters; there is a {type(parameter).__name__} in it"
                )
        kind = getattr(kvstore, "type", kvstore)
        if isinstance(kind, str) and kind.startswith("dist"):
            raise ValueError(f"kvstore={kind!r}: symc trains in one process; use 'local' or 'device'")
        self._params: list[Parameter] = list(params)
        self._sparse_weights = any(p._stype != "default" for p in self._params)
        self._sparse_gradients = any(p._grad_stype != "default" for p in self._params)
        self._contexts = _common_contexts(self._params)
        for parameter in self._params:
            parameter._set_trainer(self)
        self._numbers = {parameter.name: at for at, parameter in enumerate(self._params)}
        given = dict(optimizer_params or {})
        self._make_optimizer(optimizer, given)
        self._scale = self._optimizer.rescale_grad
        self._compression_params = compression_params
        #: what the store is made of, when the first step needs it
        self._store_wanted, self._update_wanted = kvstore, update_on_kvstore
        self._reset_kvstore()

    def _make_optimizer(self, optimizer: Any, given: dict[str, Any]) -> None:
        numbered = dict(enumerate(self._params))
        if isinstance(optimizer, optimizers.Optimizer):
            if given:
                raise AssertionError("optimizer_params go with the name of an optimizer; an Optimizer has its own")
            optimizer.param_dict = numbered
            self._optimizer = optimizer
        else:
            self._optimizer = optimizers.create(optimizer, param_dict=numbered, **given)
        #: one for each context, where no store runs the optimizer
        self._updaters: list[Updater] = [get_updater(self._optimizer) for _ in self._contexts]

    # -- facts

    @property
    def optimizer(self) -> Any:
        """The optimizer."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.learning_rate)

    def set_learning_rate(self, lr: float) -> None:
        """Change the rate. UserWarning if a scheduler says it."""
        self.optimizer.set_learning_rate(lr)

    # -- the store

    def _reset_kvstore(self) -> None:
        """Let the next step make a new store."""
        self._kvstore: Any = None
        self._kv_initialized = False
        self._update_on_kvstore: bool | None = None
        #: parameters whose values are not in the store yet
        self._params_to_init = list(self._params)

    def _init_kvstore(self) -> None:
        """Make the store. ValueError and TypeError for one that cannot do what is asked for."""
        wanted = self._store_wanted
        if self._sparse_weights:
            if self._update_wanted is False:
                raise ValueError("update_on_kvstore=False: row_sparse values are in the store, and are updated there")
            if not isinstance(wanted, (str, KVStore)):
                raise TypeError(f"row_sparse values need a KVStore, or the name of one, not {type(wanted).__name__}")
            store, on_store = create_kvstore(wanted) if isinstance(wanted, str) else wanted, True
        else:
            first = {p.name: p.data(self._contexts[0]) for p in self._params}
            store, on_store = _create_kvstore(wanted, len(self._contexts), first)
            if self._sparse_gradients:
                if store is not None and not isinstance(store, KVStore):
                    raise ValueError(f"a {type(store).__name__} cannot add up sparse gradients; use a KVStore")
                on_store = False
            on_store = on_store if self._update_wanted is None else self._update_wanted
            if on_store and (store is None or not store.is_capable(KVStoreBase.OPTIMIZER)):
                what = "there is no store for one context" if store is None else f"{type(store).__name__} cannot do it"
                raise ValueError(f"update_on_kvstore=True: {what}; leave it out")
        if store is not None:
            if self._compression_params:
                store.set_gradient_compression(self._compression_params)
            if on_store:
                store.set_optimizer(self._optimizer)
            self._kvstore, self._update_on_kvstore = store, on_store
        self._kv_initialized = True

    def _ready(self) -> None:
        """Have the store, and in it the values of all parameters that have any."""
        if not self._kv_initialized:
            self._init_kvstore()
        if not self._params_to_init:
            return
        waiting = [p for p in self._params_to_init if p._waiting is not None]
        for parameter in self._params_to_init if self._kvstore is not None else ():
            if parameter not in waiting:
                at, held = self._numbers[parameter.name], parameter._held()
                if parameter._stype != "default":
                    self._kvstore.init(at, held[0])
                else:
                    self._kvstore.broadcast(at, held[0], held)
        self._params_to_init = waiting if self._kvstore is not None else []

    def _row_sparse_pull(self, parameter: Parameter, out: Sequence[NDArray], rows: NDArray) -> None:
        """Rows of a parameter's values, out of the store."""
        self._ready()
        self._kvstore.row_sparse_pull(self._numbers[parameter.name], out=list(out), row_ids=rows)

    def _drop_store_of(self, parameter: Parameter) -> None:
        """Before a parameter gets other values: a store that holds them is given up. Rows of others are kept."""
        if not self._update_on_kvstore or parameter in self._params_to_init:
            return
        for other in self._params:
            if other._stype == "row_sparse" and other not in (parameter, *self._params_to_init):
                self._row_sparse_pull(other, other._held(), arange(0, other._held()[0].shape[0], dtype=np.int64))
        self._reset_kvstore()

    # -- steps

    def step(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Add up gradients, and update every parameter. UserWarning for one whose gradient was not computed since the
        last step, unless `ignore_stale_grad`: it stays as it is then."""
        self._optimizer.rescale_grad = self._scale / batch_size
        self._ready()
        fresh = self._fresh(ignore_stale_grad)
        if self._update_on_kvstore:
            for at, parameter in fresh:
                self._push(at, parameter, parameter._held())
        else:
            self._reduce()
            self._update(fresh)
        self._mark(fresh)

    def allreduce_grads(self) -> None:
        """Add up the gradients of all contexts, without updating: for what is done to them before `update`."""
        self._by_hand("allreduce_grads")
        self._reduce()

    def update(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Update every parameter, by gradients that `allreduce_grads` has added up."""
        self._by_hand("update")
        self._optimizer.rescale_grad = self._scale / batch_size
        fresh = self._fresh(ignore_stale_grad)
        self._update(fresh)
        self._mark(fresh)

    def _by_hand(self, what: str) -> None:
        """AssertionError where the store does all of a step."""
        self._ready()
        if self._update_on_kvstore:
            raise AssertionError(
                f"{what}(): the store updates parameters in step(); to do it by hand, make the Trainer with "
                "update_on_kvstore=False"
            )

    def _wanted(self) -> list[tuple[int, Parameter]]:
        return [(at, p) for at, p in enumerate(self._params) if p.grad_req != "null"]

    def _fresh(self, ignore_stale: bool) -> list[tuple[int, Parameter]]:
        """The parameters to update, all of them looked at before one is."""
        found = []
        for at, parameter in self._wanted():
            if all(data._fresh_grad for data in parameter._held()):
                found.append((at, parameter))
            elif not ignore_stale:
                raise UserWarning(
                    f"the gradient of {parameter.name!r} was not computed since the last step: does the loss "
                    "depend on it, and was backward() called? With ignore_stale_grad=True such "
                    "parameters stay as they are"
                )
        return found

    def _mark(self, updated: Sequence[tuple[int, Parameter]]) -> None:
        for _, parameter in updated:
            for data in parameter._held():
                data._fresh_grad = False

    def _reduce(self) -> None:
        if self._kvstore is not None:
            for at, parameter in self._wanted():
                self._push(at, parameter, parameter.list_grad())

    def _push(self, at: int, parameter: Parameter, out: list[NDArray]) -> None:
        """The gradients into the store, and what it makes of them into `out`. Rows of sparse values are pulled when
        they are asked for."""
        grads = parameter.list_grad()
        if parameter._stype != "default":
            self._kvstore.push(at, grads, priority=-at)
        elif grads[0].stype != "default":
            self._kvstore.push(at, grads, priority=-at)
            self._kvstore.pull(at, out, priority=-at, ignore_sparse=False)
        elif out[0] is grads[0]:
            self._kvstore.pushpull(at, grads, priority=-at)
        else:
            self._kvstore.pushpull(at, grads, out=out, priority=-at)

    def _update(self, parameters: Sequence[tuple[int, Parameter]]) -> None:
        for number, (context, updater) in enumerate(zip(self._contexts, self._updaters)):
            if len(self._contexts) > 1:
                self._optimizer._set_current_context(context.device_id)  # each counts its own updates
            for at, parameter in parameters:
                updater(at, parameter.list_grad()[number], parameter._held()[number])

    # -- files

    def save_states(self, fname: str) -> None:
        """Write the optimizer and its states."""
        self._ready()
        if self._update_on_kvstore:
            self._kvstore.save_optimizer_states(fname, dump_optimizer=True)
        else:
            Path(fname).write_bytes(self._updaters[0].get_states(dump_optimizer=True))

    def load_states(self, fname: str) -> None:
        """Read what `save_states` wrote. MXNetError for a file that is nothing of the kind."""
        self._ready()
        if self._update_on_kvstore:
            self._kvstore.load_optimizer_states(fname)
            self._optimizer = self._kvstore._updater.optimizer
        else:
            data = Path(fname).read_bytes()
            for updater in self._updaters:
                updater.set_states(data)
                updater.optimizer = self._updaters[0].optimizer
            self._optimizer = self._updaters[0].optimizer
        self._optimizer.param_dict = dict(enumerate(self._params))


def _common_contexts(params: Sequence[Parameter]) -> list[Context]:
    """The contexts that all parameters are on. RuntimeError for one that was not initialized, AssertionError where they
    are on different ones."""
    found: list[Context] = []
    for parameter in params:
        contexts = parameter.list_ctx()
        if found and contexts != found:
            raise AssertionError(
                f"a Trainer's parameters are on the same contexts, but {parameter.name!r} is on {contexts} and "
                f"{params[0].name!r} on {found}"
            )
        found = contexts
    return found
