"""Optimizers that SVRGModule uses."""

from __future__ import annotations

import inspect
from typing import Any

from symc import optimizer as opt
from symc.ndarray import NDArray
from symc.optimizer import Optimizer

_BASE = frozenset(inspect.signature(Optimizer.__init__).parameters) - {"self"}


@opt.register
class _AssignmentOptimizer(Optimizer):
    """The gradient becomes the weight: for sums of gradients that a store keeps under keys of their own."""

    def update(self, index: Any, weight: NDArray, grad: NDArray, state: Any) -> None:
        weight[:] = grad


@opt.register
class _SVRGOptimizer(Optimizer):
    """`default_optimizer` (a name with its settings, or an optimizer) for parameters; what has "full" in its name is
    assigned."""

    def __init__(self, default_optimizer: str | Optimizer, **kwargs: Any) -> None:
        super().__init__(**{key: value for key, value in kwargs.items() if key in _BASE})
        self.default_opt = (
            opt.create(default_optimizer, **kwargs) if isinstance(default_optimizer, str) else default_optimizer
        )
        self.aux_opt = _AssignmentOptimizer()

    def _chosen(self, index: Any) -> Optimizer:
        name = index if index in self.idx2name.values() else self.idx2name.get(index, index)
        return self.aux_opt if "full" in str(name) else self.default_opt

    def create_state(self, index: Any, weight: NDArray) -> Any:
        return self._chosen(index).create_state(index, weight)

    def update(self, index: Any, weight: NDArray, grad: NDArray, state: Any) -> None:
        self._chosen(index).update(index, weight, grad, state)
