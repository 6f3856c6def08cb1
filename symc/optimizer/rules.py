"""The optimizers of MXNet 1.9.1: each rule once, over tensor primitives.

w weight, g gradient (rescaled; clipped where MXNet clips), lr learning rate, wd weight decay, t the number of the
update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ir.op import Node
from symc.ir.prims import (
    abs_,
    add,
    and_,
    full,
    gt,
    maximum,
    minimum,
    mul,
    normal,
    reduce_sum,
    select,
    sign,
    sqrt,
)  # fmt: skip
from symc.ndarray import NDArray, zeros
from symc.optimizer.base import Optimizer, State, StepContext, like, register

Scalars = Mapping[str, Node]
Made = tuple[Node, Sequence[Node]]


def rest(share: float) -> float:
    """1 - share in single precision, as MXNet's update operators take it (1 - 0.999 is off by 5e-5 there)."""
    return float(np.float32(1) - np.float32(share))


@register
class SGD(Optimizer):
    """w -= lr (g + wd w); with momentum, m = momentum m - lr (g + wd w), w += m."""

    fixed = ("momentum",)
    copy_first = False

    def __init__(self, momentum: float = 0.0, lazy_update: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum, self.lazy_update = momentum, lazy_update

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight, weight.stype if self.lazy_update else "default") if self.momentum else None

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        return self.lazy_update and all(s.stype == weight.stype for s in states)

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        change = s["lr"] * (self.clipped(grad * s["rescale"]) + s["wd"] * weight)
        if not states or self.momentum <= 0:  # a state of another optimizer's is left as it is, as in MXNet
            return weight - change, tuple(states)
        momentum = self.momentum * states[0] - change
        return weight + momentum, (momentum,)


@register
class ccSGD(SGD):
    """SGD under its old name."""


@register
class NAG(SGD):
    """Nesterov's momentum: w += momentum (momentum m) - (1 + momentum) lr (g + wd w), then m = momentum m - lr (g +
    wd w)."""

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight) if self.momentum else None

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        return False

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        if not states:
            return super().step(ctx, weight, grad, states, s)
        g, carried = self.clipped(grad * s["rescale"]), self.momentum * states[0]
        moved = weight + self.momentum * carried - s["lr"] * (self.momentum + 1) * (g + s["wd"] * weight)
        # MXNet's kernel writes the weight before it decays the momentum by it
        return moved, (carried - s["lr"] * (g + s["wd"] * moved),)


@register
class Signum(Optimizer):
    """m = momentum m - (1 - momentum)(g + wd w), w = (1 - lr wd_lh) w + lr sign(m); without momentum,
    w = (1 - lr wd) w - lr sign(g) (Bernstein et al., 2018)."""

    fixed = ("momentum", "wd_lh")

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9, wd_lh: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum, self.wd_lh = momentum, wd_lh

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight, weight.stype) if self.momentum else None

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        lr, wd = s["lr"], s["wd"]
        if not states:
            return (1 - lr * wd) * weight - lr * sign(grad), ()
        pull = self.clipped(grad * s["rescale"]) + wd * weight
        momentum = self.momentum * states[0] - rest(self.momentum) * pull
        return (1 - self.wd_lh * lr) * weight + lr * sign(momentum), (momentum,)


@register
class FTML(Optimizer):
    """Follow the moving leader (Zheng and Kwok, 2017)."""

    fixed = ("beta1", "beta2", "epsilon")

    def __init__(self, beta1: float = 0.6, beta2: float = 0.999, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight), like(weight), like(weight)

    def scalars(self, index: Any) -> dict[str, float]:
        t = self._index_update_count[index]
        return {**super().scalars(index), "first": 1 - self.beta1**t, "second": 1 - self.beta2**t}

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        d, v, z = states
        g = self.clipped(grad * s["rescale"] + s["wd"] * weight)
        v = self.beta2 * v + rest(self.beta2) * (g * g)
        new_d = s["first"] / s["lr"] * (sqrt(v / s["second"]) + self.epsilon)
        z = self.beta1 * z + rest(self.beta1) * g - (new_d - self.beta1 * d) * weight
        return -z / new_d, (new_d, v, z)


@register
class Adam(Optimizer):
    """Kingma and Ba, 2014; the decay is part of the gradient, and the bias correction is in the learning rate."""

    fixed = ("beta1", "beta2", "epsilon")

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
        lazy_update: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon, self.lazy_update = beta1, beta2, epsilon, lazy_update

    def create_state(self, index: Any, weight: NDArray) -> State:
        stype = weight.stype if self.lazy_update else "default"
        return like(weight, stype), like(weight, stype)

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        return self.lazy_update and all(s.stype == weight.stype for s in states)

    def scalars(self, index: Any) -> dict[str, float]:
        found = super().scalars(index)
        t = self._index_update_count[index]
        return {**found, "lr": found["lr"] * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)}

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"] + s["wd"] * weight)
        mean = self.beta1 * states[0] + rest(self.beta1) * g
        var = self.beta2 * states[1] + rest(self.beta2) * (g * g)
        return weight - s["lr"] * mean / (sqrt(var) + self.epsilon), (mean, var)


@register
class Adamax(Optimizer):
    """Adam with the largest gradient in place of the variance (Kingma and Ba, 2014, section 7)."""

    fixed = ("beta1", "beta2")

    def __init__(self, learning_rate: float = 0.002, beta1: float = 0.9, beta2: float = 0.999, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2 = beta1, beta2

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight), like(weight)

    def scalars(self, index: Any) -> dict[str, float]:
        found = super().scalars(index)
        return {**found, "lr": found["lr"] / (1 - self.beta1 ** self._index_update_count[index])}

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"] + s["wd"] * weight)
        mean = self.beta1 * states[0] + (1 - self.beta1) * g
        largest = maximum(self.beta2 * states[1], abs_(g))
        return weight - s["lr"] * mean / largest, (mean, largest)


@register
class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    fixed = ("beta1", "beta2", "epsilon")

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
        schedule_decay: float = 0.004, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon, self.schedule_decay = beta1, beta2, epsilon, schedule_decay
        self.m_schedule = 1.0

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight), like(weight)

    def scalars(self, index: Any) -> dict[str, float]:
        t = self._index_update_count[index]
        now, later = (self.beta1 * (1 - 0.5 * 0.96 ** (k * self.schedule_decay)) for k in (t, t + 1))
        # MXNet multiplies one schedule for all parameters, once per parameter and step
        self.m_schedule *= now
        return {
            **super().scalars(index), "now": (1 - now) / (1 - self.m_schedule),
            "later": later / (1 - self.m_schedule * later), "second": 1 - self.beta2**t,
        }  # fmt: skip

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"] + s["wd"] * weight)
        mean = self.beta1 * states[0] + (1 - self.beta1) * g
        var = self.beta2 * states[1] + (1 - self.beta2) * (g * g)
        ahead = s["now"] * g + s["later"] * mean
        return weight - s["lr"] * ahead / (sqrt(var / s["second"]) + self.epsilon), (mean, var)


@register
class AdaGrad(Optimizer):
    """h += g g, w -= lr (g / sqrt(h + eps) + wd w) (Duchi et al., 2011)."""

    fixed = ("float_stable_eps",)

    def __init__(self, eps: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.float_stable_eps = eps

    def create_state(self, index: Any, weight: NDArray) -> State:
        return zeros(weight.shape, weight.context, stype=weight.stype)

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        if self.wd:
            raise MXNetError(f"AdaGrad has no weight decay for row_sparse gradients: wd is 0, not {self.wd}")
        return True

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"])
        history = states[0] + g * g
        return weight - s["lr"] * (g / sqrt(history + self.float_stable_eps) + s["wd"] * weight), (history,)


@register
class RMSProp(Optimizer):
    """n = gamma1 n + (1 - gamma1) g g, w -= lr g / sqrt(n + eps) (Tieleman and Hinton, 2012); `centered` subtracts the
    squared mean and has momentum gamma2 (Graves, 2013)."""

    fixed = ("gamma1", "gamma2", "epsilon", "centered", "clip_weights")

    def __init__(
        self, learning_rate: float = 0.001, gamma1: float = 0.9, gamma2: float = 0.9, epsilon: float = 1e-8,
        centered: bool = False, clip_weights: float | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.gamma1, self.gamma2, self.epsilon = gamma1, gamma2, epsilon
        self.centered, self.clip_weights = centered, clip_weights

    def create_state(self, index: Any, weight: NDArray) -> State:
        return tuple(zeros(weight.shape, weight.context, stype=weight.stype) for _ in range(3 if self.centered else 1))

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"] + s["wd"] * weight)
        n = self.gamma1 * states[0] + rest(self.gamma1) * (g * g)
        new: tuple[Node, ...] = (n,)
        if self.centered:
            mean = self.gamma1 * states[1] + rest(self.gamma1) * g
            delta = self.gamma2 * states[2] - s["lr"] * g / sqrt(n - mean * mean + self.epsilon)
            new, weight = (n, mean, delta), weight + delta
        else:
            weight = weight - s["lr"] * g / sqrt(n + self.epsilon)
        if self.clip_weights:
            weight = minimum(maximum(weight, -self.clip_weights), self.clip_weights)
        return weight, new


@register
class AdaDelta(Optimizer):
    """Zeiler, 2012; there is no learning rate."""

    fixed = ("rho", "epsilon")

    def __init__(self, rho: float = 0.90, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rho, self.epsilon = rho, epsilon

    def create_state(self, index: Any, weight: NDArray) -> State:
        return zeros(weight.shape, weight.context), zeros(weight.shape, weight.context)

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"])
        seen = self.rho * states[0] + (1 - self.rho) * (g * g)
        change = sqrt(states[1] + self.epsilon) / sqrt(seen + self.epsilon) * g
        moved = self.rho * states[1] + (1 - self.rho) * (change * change)
        return weight - (change + s["wd"] * weight), (seen, moved)


@register
class Ftrl(Optimizer):
    """Follow the regularized leader (McMahan et al., 2013): weights whose |z| is at most lamda1 are 0."""

    fixed = ("lamda1", "beta")

    def __init__(self, lamda1: float = 0.01, learning_rate: float = 0.1, beta: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lamda1, self.beta, self.lr = lamda1, beta, learning_rate

    def create_state(self, index: Any, weight: NDArray) -> State:
        z, n = (zeros(weight.shape, weight.context, stype=weight.stype) for _ in range(2))
        return z, n

    def is_lazy(self, weight: NDArray, states: Sequence[NDArray]) -> bool:
        return weight.stype == "row_sparse" and all(s.stype == "row_sparse" for s in states)

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        z, n = states
        g = self.clipped(grad * s["rescale"])
        new_n = n + g * g
        z = z + g - (sqrt(new_n) - sqrt(n)) * weight / s["lr"]
        pulled = (sign(z) * self.lamda1 - z) / ((self.beta + sqrt(new_n)) / s["lr"] + s["wd"])
        return select(gt(abs_(z), self.lamda1), pulled, full(0, weight.tensor)), (z, new_n)


@register
class DCASGD(Optimizer):
    """SGD with a correction for gradients of an older weight (Zheng et al., 2016)."""

    fixed = ("momentum", "lamda")

    def __init__(self, momentum: float = 0.0, lamda: float = 0.04, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum, self.lamda = momentum, lamda

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight) if self.momentum else None, weight.copy()

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"])
        pull = g + s["wd"] * weight + self.lamda * (g * g) * (weight - states[-1])
        change = -(s["lr"] * pull)
        if len(states) == 1:
            return weight + change, (weight,)
        momentum = self.momentum * states[0] + change
        return weight + momentum, (momentum, weight)


@register
class SGLD(Optimizer):
    """Stochastic gradient Langevin dynamics (Welling and Teh, 2011): w -= lr/2 (g + wd w) - sqrt(lr) noise."""

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"])
        noise = normal(ctx.random_key(), weight.shape, weight.dtype)
        return weight - s["lr"] * 0.5 * (g + s["wd"] * weight) + sqrt(s["lr"]) * noise, ()


@register
class LAMB(Optimizer):
    """Adam's direction at a length in proportion to the weight's (You et al., 2019)."""

    fixed = ("beta1", "beta2", "epsilon", "lower_bound", "upper_bound", "bias_correction")

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6,
        lower_bound: float | None = None, upper_bound: float | None = None, bias_correction: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.lower_bound, self.upper_bound, self.bias_correction = lower_bound, upper_bound, bias_correction

    def create_state(self, index: Any, weight: NDArray) -> State:
        return like(weight, weight.stype), like(weight, weight.stype)

    def scalars(self, index: Any) -> dict[str, float]:
        t = self._index_update_count[index]
        return {**super().scalars(index), "first": 1 - self.beta1**t, "second": 1 - self.beta2**t}

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        g = self.clipped(grad * s["rescale"])
        mean = self.beta1 * states[0] + rest(self.beta1) * g
        var = self.beta2 * states[1] + rest(self.beta2) * (g * g)
        way_mean, way_var = (mean / s["first"], var / s["second"]) if self.bias_correction else (mean, var)
        way = way_mean / (sqrt(way_var) + self.epsilon) + s["wd"] * weight
        length, way_length = norm(weight), norm(way)
        bounded = length
        if self.lower_bound is not None and self.lower_bound > 0:
            bounded = maximum(bounded, self.lower_bound)
        if self.upper_bound is not None and self.upper_bound > 0:
            bounded = minimum(bounded, self.upper_bound)
        one = full(1, bounded.tensor)
        ratio = select(and_(gt(bounded, 0.0), gt(way_length, 0.0)), bounded / way_length, one)
        return weight - mul(s["lr"], ratio) * way, (mean, var)


def norm(x: Node) -> Node:
    """The 2-norm of all elements."""
    return sqrt(reduce_sum(x * x, tuple(range(x.rank))))


@register
class Test(Optimizer):
    """w += g, for tests of what is around it."""

    def create_state(self, index: Any, weight: NDArray) -> State:
        return zeros(weight.shape, weight.context)

    def step(self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Scalars) -> Made:
        moved = add(weight, grad * s["rescale"])
        return moved, (moved,)
