"""mx.optimizer.contrib: optimizers that MXNet keeps apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.ir.op import Node
from symc.ir.prims import broadcast_to, mean, reshape, sqrt
from symc.ndarray import NDArray, zeros
from symc.optimizer.base import Optimizer, State, StepContext, register
from symc.optimizer.rules import Made, Scalars

__all__ = ["GroupAdaGrad"]


@register
class GroupAdaGrad(Optimizer):
    """AdaGrad with one rate for each row of a matrix: h += mean(g g), w -= lr g / sqrt(h + eps). There is no decay."""

    fixed = ("float_stable_eps",)

    def __init__(self, eps: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.float_stable_eps = eps

    def create_state(self, index: Any, weight: NDArray) -> State:
        """The mean squares of the rows' gradients. AssertionError for what is no matrix."""
        if len(weight.shape) != 2:
            raise AssertionError(f"GroupAdaGrad is for matrices, not for a parameter of shape {weight.shape}")
        return zeros((weight.shape[0], 1), weight.context, stype=weight.stype)

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        if self.wd:
            raise AssertionError(f"GroupAdaGrad has no weight decay: wd is 0, not {self.wd}")
        g = self.clipped(grad * s["rescale"])
        history = states[0] + reshape(mean(g * g, (1,)), states[0].shape)
        size = broadcast_to(sqrt(history + self.float_stable_eps), weight.shape)
        return weight - s["lr"] * g / size, (history,)
