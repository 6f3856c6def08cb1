"""Optimizers for large batches: LARS and LBSGD."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import and_, gt, select
from symc.ndarray import NDArray
from symc.optimizer.base import State, StepContext, register
from symc.optimizer.compiled import run_step
from symc.optimizer.rules import SGD, norm

#: parameters whose rates LARS leaves alone
_PLAIN = ("gamma", "beta", "bias")


@register
class LARS(SGD):
    """SGD with a rate for each layer: lr eta |w| / (|g| + wd |w| + eps), biases, gammas and betas excepted (You, Gitman
    and Ginsburg, 2017).

    With `momentum_correction` a scheduler's change of the rate scales the momentum once (Goyal et al., 2017): for every
    parameter, where MXNet's aggregated updates do it for the first few only.
    """

    fixed = ("eta", "eps")

    def __init__(
        self, momentum: float = 0.0, lazy_update: bool = True, eta: float = 0.001, eps: float = 0,
        momentum_correction: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(momentum, lazy_update, **kwargs)
        self.eta, self.eps, self.momentum_correction = eta, eps, momentum_correction
        self.last_lr: float | None = None
        self.cur_lr: float | None = None
        self._rated = 0

    def set_wd_mult(self, args_wd_mult: Mapping[Any, float]) -> None:
        """As for other optimizers, but gammas have no decay either."""
        plain = {n: 0.0 for n in self.idx2name.values() if not n.endswith("_weight")}
        self.wd_mult = {**plain, **self._symbol_factors("__wd_mult__"), **args_wd_mult}

    def scalars(self, index: Any) -> dict[str, float]:
        update, rate = self._index_update_count[index], self.learning_rate
        if update != self._rated:
            self.last_lr = rate if self.cur_lr is None else self.cur_lr
            self.cur_lr, self._rated = rate, update
        corrected = self.momentum_correction and self.last_lr
        momentum = self.momentum * (rate / self.last_lr) if corrected and self.last_lr else self.momentum
        adapts = not str(self.idx2name.get(index, index)).endswith(_PLAIN)
        return {**super().scalars(index), "momentum": momentum, "adapts": float(adapts)}

    def step(
        self, ctx: StepContext, weight: Node, grad: Node, states: Sequence[Node], s: Mapping[str, Node]
    ) -> tuple[Node, Sequence[Node]]:
        w, g = norm(weight), norm(grad) * s["rescale"]
        adapts = and_(gt(s["adapts"], 0.0), and_(gt(w, 0.0), gt(g, 0.0)))
        lr = select(adapts, s["lr"] * (self.eta * w / (g + s["wd"] * w + self.eps)), s["lr"])
        change = lr * (self.clipped(grad * s["rescale"]) + s["wd"] * weight)
        if not states:
            return weight - change, ()
        momentum = s["momentum"] * states[0] - change
        return weight + momentum, (momentum,)


@register
class LBSGD(SGD):
    """SGD on the mean gradient of `batch_scale` batches, at a rate that warms up to `batch_scale` times the given one
    (`warmup_strategy` linear, power2, sqrt), or follows |w| / |g| of the layer (lars; within 0.01 and 100)."""

    copy_first = True

    def __init__(
        self, momentum: float = 0.0, multi_precision: bool = False, warmup_strategy: str = "linear",
        warmup_epochs: int = 5, batch_scale: int = 1, updates_per_epoch: int = 32, begin_epoch: int = 0,
        num_epochs: int = 60, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(momentum, multi_precision=multi_precision, **kwargs)
        logging.info("Running Large-Batch SGD Algorithm")
        self.warmup_strategy, self.warmup_epochs = warmup_strategy, warmup_epochs
        self.batch_scale, self.updates_per_epoch, self.num_epochs = batch_scale, updates_per_epoch, num_epochs
        self.init_updates = begin_epoch * updates_per_epoch
        #: parameter -> (sum of gradients, number of batches so far)
        self.cumgrads: dict[Any, tuple[NDArray, int]] = {}
        self._rates: dict[Any, float] = {}

    def scalars(self, index: Any) -> dict[str, float]:
        found = super().scalars(index)
        return {**found, "lr": self._rates.get(index, found["lr"])}

    def update(self, index: Any, weight: NDArray, grad: NDArray, state: State) -> None:
        # MXNet asks for the rate before it counts the update
        rate, decay = self._get_lr(index), self._get_wd(index)
        self._update_count(index)
        total, count = self.cumgrads.get(index, (None, self.init_updates))
        if total is None:
            total = grad.copy()
        elif count % self.batch_scale == 0:
            total[:] = grad
        else:
            total += grad
        count += 1
        self.cumgrads[index] = total, count
        if count % self.batch_scale == 0:
            total /= self.batch_scale
            lars = self.warmup_strategy == "lars"
            self._rates[index] = rate * (self._lars(weight, total, decay) if lars else self._warmup(count))
            run_step(self, index, weight, total, state)

    def _warmup(self, count: int) -> float:
        """What the rate is multiplied by after so many batches."""
        whole = self.warmup_epochs * self.updates_per_epoch
        if count >= whole:
            return float(self.batch_scale)
        shares = {"linear": count / whole, "power2": (count / whole) ** 2, "sqrt": math.sqrt(count / whole)}
        return 1.0 + (self.batch_scale - 1) * (shares.get(self.warmup_strategy, 0.0) if whole > 1 else 0.0)

    @staticmethod
    def _lars(weight: NDArray, grad: NDArray, decay: float) -> float:
        w, g = (float(np.square(x.asnumpy()).sum()) for x in (weight, grad))
        return min(max(math.sqrt(w / (g + decay * w + 1e-18)), 0.01), 100.0)
