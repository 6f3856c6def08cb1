"""mx.contrib.autograd: the names that recording and gradients had before `mx.autograd`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from symc import autograd
from symc.autograd import mark_variables
from symc.ndarray import NDArray

__all__ = [
    "NDArray", "backward", "compute_gradient", "grad", "grad_and_loss", "mark_variables", "set_is_training",
    "test_section", "train_section",
]  # fmt: skip


def set_is_training(is_train: bool) -> bool:
    """Record, and run operators as for training, from now on or not; returns whether this thread recorded before."""
    autograd.set_training(is_train)
    return autograd.set_recording(is_train)


class TrainingStateScope:
    """A `with` block in which this thread trains, or does not."""

    def __init__(self, enter_state: bool) -> None:
        self._inside = enter_state
        self._outside = False

    def __enter__(self) -> None:
        self._outside = set_is_training(self._inside)

    def __exit__(self, *exc: object) -> None:
        set_is_training(self._outside)


def train_section() -> TrainingStateScope:
    """A block that is recorded, as for training."""
    return TrainingStateScope(True)


def test_section() -> TrainingStateScope:
    """A block inside of `train_section` that is not."""
    return TrainingStateScope(False)


def backward(
    outputs: Sequence[NDArray], out_grads: Sequence[NDArray | None] | None = None, retain_graph: bool = False
) -> None:
    """Gradients of a list of arrays into those of the variables; see `mx.autograd.backward`."""
    if not isinstance(outputs, (list, tuple)):
        raise AssertionError(f"backward takes a list of NDArrays, not a {type(outputs).__name__}")
    autograd.backward(outputs, out_grads, retain_graph)


def compute_gradient(outputs: Sequence[NDArray]) -> None:
    """`backward` under its oldest name."""
    backward(outputs)


def grad_and_loss(func: Callable[..., Any], argnum: int | Sequence[int] | None = None) -> Callable[..., Any]:
    """A function that gives (gradients of func's value with respect to its arguments, that value); `argnum` says which
    arguments, by position."""

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        chosen = args
        if argnum is not None:
            chosen = tuple(args[at] for at in ([argnum] if isinstance(argnum, int) else argnum))
        for x in chosen:
            if not isinstance(x, NDArray):
                raise AssertionError(f"gradients are taken with respect to NDArrays, not a {type(x).__name__}")
        grads = [x.zeros_like() for x in chosen]  # type: ignore[attr-defined]
        mark_variables(list(chosen), grads)
        with train_section():
            outputs = func(*args)
        compute_gradient([outputs] if isinstance(outputs, NDArray) else outputs)
        return grads, outputs

    return wrapped


def grad(func: Callable[..., Any], argnum: int | Sequence[int] | None = None) -> Callable[..., Any]:
    """A function that gives the gradients of func's value with respect to its arguments."""
    both = grad_and_loss(func, argnum)

    @functools.wraps(both)
    def wrapped(*args: Any) -> Any:
        return both(*args)[0]

    return wrapped
