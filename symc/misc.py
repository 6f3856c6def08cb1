"""The learning rates of MXNet's earliest programs, functions of the iteration. New ones are in `mx.lr_scheduler`."""

from __future__ import annotations

import logging

__all__ = ["FactorScheduler", "LearningRateScheduler"]


class LearningRateScheduler:
    """Base: called with an iteration, it gives the rate for it. `base_lr` is the first, 0.01 until somebody sets it."""

    def __init__(self) -> None:
        self.base_lr = 0.01

    def __call__(self, iteration: int) -> float:
        """The rate at an iteration."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(iteration)")


class FactorScheduler(LearningRateScheduler):
    """`base_lr` times `factor` for every `step` iterations that are over. The log tells each new rate."""

    def __init__(self, step: int, factor: float = 0.1) -> None:
        super().__init__()
        if step < 1:
            raise ValueError(f"step={step} must be at least 1")
        if factor >= 1.0:
            raise ValueError(f"factor={factor} must be below 1, so that the rate falls")
        self.step, self.factor = step, factor
        self.old_lr = self.base_lr
        self.init = False

    def __call__(self, iteration: int) -> float:
        if not self.init:
            self.init, self.old_lr = True, self.base_lr
        rate = self.base_lr * self.factor ** (iteration // self.step)
        if rate != self.old_lr:
            self.old_lr = rate
            logging.info("iteration %d: the learning rate is %.5f from now on", iteration, rate)
        return rate
