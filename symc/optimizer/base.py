"""Optimizer: the rule that changes parameters, with learning rates and weight decays by parameter.

A rule is written once, as `step` over tensor primitives. `update` compiles it for one parameter; a Module puts it
into the program of the whole training step. What changes from step to step (learning rate, ...) are scalar inputs,
so nothing is compiled twice.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import maximum, minimum
from symc.ndarray import NDArray, zeros
from symc.registry import warn_if_replaced

State = Any  # None, an NDArray, or a tuple of those


class StepContext(Protocol):
    """What a rule may ask for."""

    def random_key(self) -> Node:
        """A key (u32[2]) of its own for every parameter and step."""


class Optimizer:
    """Base of all optimizers; made by `create("sgd", learning_rate=0.1)`.

    Subclasses give `create_state`, `step` and, if more numbers change from step to step than the base's, `scalars`.
    `fixed` names the attributes that `step` builds into its program.
    """

    opt_registry: ClassVar[dict[str, type[Optimizer]]] = {}
    fixed: ClassVar[tuple[str, ...]] = ()
    #: the order of the two parts of the state of a half precision weight, as files have it
    copy_first: ClassVar[bool] = True

    def __init__(
        self, rescale_grad: float = 1.0, param_idx2name: Mapping[int, str] | None = None, wd: float = 0.0,
        clip_gradient: float | None = None, learning_rate: float | None = None, lr_scheduler: Any = None,
        sym: Any = None,
        begin_num_update: int = 0, multi_precision: bool = False, param_dict: Mapping[int, Any] | None = None,
    ) -> None:  # fmt: skip
        self.rescale_grad, self.wd, self.clip_gradient = rescale_grad, wd, clip_gradient
        self.lr_scheduler = lr_scheduler
        self.lr = 0.01 if learning_rate is None and lr_scheduler is None else learning_rate
        if lr_scheduler is not None and learning_rate is not None and lr_scheduler.base_lr != learning_rate:
            logging.warning("learning rate from lr_scheduler has been overwritten by learning_rate in optimizer.")
            lr_scheduler.base_lr = learning_rate
        self.begin_num_update = self.num_update = begin_num_update
        self._index_update_count: dict[Any, int] = {}
        self._all_index_update_counts = {0: self._index_update_count}
        self.multi_precision = multi_precision
        self.aggregate_num = 0
        if param_idx2name is not None and not isinstance(param_idx2name, dict):
            raise AssertionError("param_idx2name should be a dict of param indexes to names.")
        self.idx2name = dict(param_idx2name or {})
        self.sym_info = (sym.attr_dict(), sym.list_arguments()) if sym is not None else ()
        self.param_dict = dict(param_dict or {})
        self.lr_mult: dict[Any, float] = {}
        self.wd_mult: dict[Any, float] = {}
        self.set_lr_mult({})
        self.set_wd_mult({})

    # -- by name

    @staticmethod
    def register(klass: Any) -> Any:
        """Class decorator: `create` knows it by its name without case. A name that is taken is replaced, with a
        warning."""
        name = klass.__name__.lower()
        warn_if_replaced("optimizer", name, Optimizer.opt_registry.get(name), klass)
        Optimizer.opt_registry[name] = klass
        return klass

    @staticmethod
    def create_optimizer(name: str, **kwargs: Any) -> Optimizer:
        """An optimizer by name. ValueError if there is none."""
        found = Optimizer.opt_registry.get(name.lower())
        if found is None:
            raise ValueError(f"Cannot find optimizer {name}; there are {', '.join(sorted(Optimizer.opt_registry))}")
        return found(**kwargs)

    # -- what subclasses say

    def create_state(self, index: Any, weight: NDArray) -> State:
        """What is kept for a parameter from step to step: None, an array, or a tuple of arrays and Nones."""
        return None

    def step(
        self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Mapping[str, Node]
    ) -> tuple[Node, Sequence[Node]]:
        """The new weight and states. `states` are the arrays of `create_state` without Nones; `s` the `scalars`, as
        rank-0 nodes of the weight's type."""
        raise NotImplementedError(f"{type(self).__name__} has no rule: give it step() or update()")

    def scalars(self, index: Any) -> dict[str, float]:
        """The numbers of this step for a parameter, after its count of updates has gone up."""
        return {"lr": self._get_lr(index), "wd": self._get_wd(index), "rescale": self.rescale_grad}

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        """Whether a row_sparse gradient changes the rows that it has, and no others."""
        return False

    def rule_key(self) -> tuple[Any, ...]:
        """Equal for optimizers whose `step` builds the same program."""
        return (type(self), self.clip_gradient, *(getattr(self, name) for name in self.fixed))

    # -- updating

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Change `weight` and `state` in place; those of lists one after the other."""
        from symc.optimizer.compiled import run_step

        if isinstance(index, (list, tuple)):
            for one in zip(index, weight, grad, state):
                self.update(*one)
            return
        self._update_count(index)
        run_step(self, index, weight, grad, state)

    def create_state_multi_precision(self, index: Any, weight: NDArray) -> State:
        """As `create_state`; with `multi_precision`, half precision weights get a float32 copy: (copy, its state), or
        (its state, copy) where `copy_first` is False."""
        if weight.dtype == np.float16:
            if self.multi_precision:
                master = weight.astype(np.float32)
                inner = self.create_state(index, master)
                return (master, inner) if self.copy_first else (inner, master)
            warnings.warn(
                "Accumulating with float16 in optimizer can lead to poor accuracy or slow convergence. "
                "Consider using multi_precision=True option of the optimizer",
                stacklevel=2,
            )
        return self.create_state(index, weight)

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """As `update`, through the float32 copy if there is one."""
        if isinstance(index, (list, tuple)):
            for one in zip(index, weight, grad, state):
                self.update_multi_precision(*one)
            return
        if self.multi_precision and weight.dtype == np.float16:
            master, inner = state if self.copy_first else reversed(state)
            self.update(index, master, grad.astype(np.float32), inner)
            weight[:] = master
        else:
            self.update(index, weight, grad, state)

    # -- rates

    @property
    def learning_rate(self) -> float:
        """The rate in force, before multipliers."""
        rate: Any = self.lr if self.lr_scheduler is None else self.lr_scheduler(self.num_update)
        return float(rate)

    def set_learning_rate(self, lr: float) -> None:
        """A new rate. UserWarning if a scheduler decides it."""
        if self.lr_scheduler is not None:
            raise UserWarning("the learning rate is decided by the optimizer's LRScheduler; change that one")
        self.lr = lr

    def set_lr_mult(self, args_lr_mult: Mapping[Any, float]) -> None:
        """Factors on the rate by parameter name (or index), on top of the Symbol's `__lr_mult__` attributes."""
        self.lr_mult = {**self._symbol_factors("__lr_mult__"), **args_lr_mult}

    def set_lr_scale(self, args_lrscale: Mapping[Any, float]) -> None:
        """DeprecationWarning: factors on the rate are `set_lr_mult`'s."""
        raise DeprecationWarning("set_lr_scale is no more; give the factors to set_lr_mult")

    def set_wd_mult(self, args_wd_mult: Mapping[Any, float]) -> None:
        """Factors on the decay by parameter name (or index). Parameters that are neither weights nor gammas have
        none."""
        plain = {n: 0.0 for n in self.idx2name.values() if not n.endswith(("_weight", "_gamma"))}
        self.wd_mult = {**plain, **self._symbol_factors("__wd_mult__"), **args_wd_mult}

    def _symbol_factors(self, key: str) -> dict[str, float]:
        if not self.sym_info:
            return {}
        attributes, names = self.sym_info
        return {n: float(attributes[n][key]) for n in names if key in attributes.get(n, {})}

    def _factor(self, index: Any, factors: Mapping[Any, float], attribute: str) -> float:
        if index in self.param_dict:
            return float(getattr(self.param_dict[index], attribute))
        if index in factors:
            return factors[index]
        return factors.get(self.idx2name.get(index), 1.0)

    def _get_lr(self, index: Any) -> float:
        return self.learning_rate * self._factor(index, self.lr_mult, "lr_mult")

    def _get_wd(self, index: Any) -> float:
        return self.wd * self._factor(index, self.wd_mult, "wd_mult")

    def _get_lrs(self, indices: Sequence[Any]) -> list[float]:
        return [self._get_lr(index) for index in indices]

    def _get_wds(self, indices: Sequence[Any]) -> list[float]:
        return [self._get_wd(index) for index in indices]

    def _update_count(self, index: Any) -> None:
        if isinstance(index, (list, tuple)):
            for one in index:
                self._update_count(one)
            return
        count = self._index_update_count.get(index, self.begin_num_update) + 1
        self._index_update_count[index] = count
        self.num_update = max(count, self.num_update)

    def _set_current_context(self, device_id: int) -> None:
        self._index_update_count = self._all_index_update_counts.setdefault(device_id, {})

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "param_dict"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.param_dict = {}

    # -- shared by rules

    def clipped(self, grad: Node) -> Node:
        """The gradient within +-clip_gradient."""
        limit = self.clip_gradient
        return minimum(maximum(grad, -limit), limit) if limit else grad


register = Optimizer.register
create = Optimizer.create_optimizer
O = TypeVar("O", bound=type[Optimizer])


def flat_states(state: State) -> list[NDArray]:
    """The arrays of a state, in order."""
    if state is None:
        return []
    if isinstance(state, NDArray):
        return [state]
    return [array for part in state for array in flat_states(part)]


def like(weight: NDArray, stype: str = "default") -> NDArray:
    """Zeros of the weight's shape and type."""
    return zeros(weight.shape, weight.context, dtype=weight.dtype, stype=stype)
