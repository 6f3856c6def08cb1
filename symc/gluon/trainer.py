"""Trainer: an optimizer's steps on the parameters of a net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symc import optimizer as optimizers
from symc.gluon.parameter import Parameter, ParameterDict
from symc.optimizer import Updater, get_updater


class Trainer:
    """`step(batch_size)` after `backward` moves every parameter by what the optimizer makes of its gradient, divided by
    the batch's size. Gradients of several contexts are added up first.

    All arrays are in one process, so `kvstore` has no other meaning than in MXNet's interface: None, "local", "device"
    or a KVStore. ValueError for a store over several machines, and for what are no parameters.
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
        self._compression_params, self._kvstore_kind = compression_params, kind
        given = dict(optimizer_params or {})
        self._scale = float(given.get("rescale_grad", 1.0))
        self._update_on_kvstore = bool(update_on_kvstore)
        self._make_optimizer(optimizer, given)

    def _make_optimizer(self, optimizer: Any, given: dict[str, Any]) -> None:
        numbered = dict(enumerate(self._params))
        if isinstance(optimizer, optimizers.Optimizer):
            if given:
                raise AssertionError("optimizer_params go with the name of an optimizer; an Optimizer has its own")
            optimizer.param_dict = numbered
            self._optimizer = optimizer
        else:
            self._optimizer = optimizers.create(optimizer, param_dict=numbered, **given)
        self._updater: Updater = get_updater(self._optimizer)

    # -- facts

    @property
    def optimizer(self) -> Any:
        """The optimizer."""
        return self._updater.optimizer

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.learning_rate)

    def set_learning_rate(self, lr: float) -> None:
        """Change the rate. UserWarning if a scheduler says it."""
        self.optimizer.set_learning_rate(lr)

    # -- steps

    def step(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Add up gradients, and update every parameter. UserWarning for one whose gradient was not computed since the
        last step, unless `ignore_stale_grad`: it stays as it is then."""
        self._rescale(batch_size)
        self._reduce()
        self._update(ignore_stale_grad)

    def allreduce_grads(self) -> None:
        """Add up the gradients of all contexts, without updating: for what is done to them before `update`."""
        if self._update_on_kvstore:
            raise AssertionError(
                "with update_on_kvstore=True gradients are added up in step() only; leave it False to do it by hand"
            )
        self._reduce()

    def update(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Update every parameter, by gradients that `allreduce_grads` has added up."""
        if self._update_on_kvstore:
            raise AssertionError("with update_on_kvstore=True there is step() only; leave it False to update by hand")
        self._rescale(batch_size)
        self._update(ignore_stale_grad)

    def _rescale(self, batch_size: float) -> None:
        self.optimizer.rescale_grad = self._scale / batch_size

    def _wanted(self) -> list[tuple[int, Parameter]]:
        return [(at, p) for at, p in enumerate(self._params) if p.grad_req != "null"]

    def _reduce(self) -> None:
        for _, parameter in self._wanted():
            grads = parameter.list_grad()
            if len(grads) > 1:
                total = np.add.reduce([g._data for g in grads])
                for grad in grads:
                    grad._data[...] = total

    def _update(self, ignore_stale_grad: bool) -> None:
        for at, parameter in self._wanted():
            held = parameter.list_data()
            if not all(data._fresh_grad for data in held):
                if not ignore_stale_grad:
                    raise UserWarning(
                        f"the gradient of {parameter.name!r} was not computed since the last step: does the loss "
                        "depend on it, and was backward() called? With ignore_stale_grad=True such "
                        "parameters stay as they are"
                    )
                continue
            # the sum of the gradients is the same on all contexts, and so is the step
            self._updater(at, parameter.list_grad()[0], held[0])
            for data in held:
                if data is not held[0]:
                    data._data[...] = held[0]._data
                data._fresh_grad = False

    # -- files

    def save_states(self, fname: str) -> None:
        """Write the optimizer and its states."""
        Path(fname).write_bytes(self._updater.get_states(dump_optimizer=True))

    def load_states(self, fname: str) -> None:
        """Read what `save_states` wrote. MXNetError for a file that is nothing of the kind."""
        self._updater.set_states(Path(fname).read_bytes())
        self._updater.optimizer.param_dict = dict(enumerate(self._params))
        self._optimizer = self._updater.optimizer
