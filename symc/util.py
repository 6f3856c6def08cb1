"""mx.util: small helpers that programs ask about the machine and about NumPy semantics."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from symc.context import gpu_memory_info, num_gpus
from symc.ghosts import ghost

__all__ = [
    "get_gpu_count",
    "get_gpu_memory",
    "getenv",
    "is_np_array",
    "is_np_shape",
    "makedirs",
    "np_shape",
    "set_module",
    "set_np_shape",
    "setenv",
    "use_np_shape",
]

F = TypeVar("F", bound=Callable[..., object])


class _Semantics(threading.local):
    """What a thread has asked for."""

    shape = False


_semantics = _Semantics()


def is_np_shape() -> bool:
    """Whether this thread has asked for NumPy's shapes. Arrays may have extents of 0 and no axes either way; what
    `infer_shape` is told and answers says unknown by -1 and None then."""
    return _semantics.shape


def set_np_shape(active: bool) -> bool:
    """Ask for NumPy's shapes from now on, or no longer; returns what was before."""
    before, _semantics.shape = _semantics.shape, bool(active)
    return before


class np_shape:
    """A `with` block, or a decorator, that asks for NumPy's shapes, or does not."""

    def __init__(self, active: bool = True) -> None:
        self._active = active
        self._outside: list[bool] = []

    def __enter__(self) -> None:
        self._outside.append(set_np_shape(self._active))

    def __exit__(self, *exc: object) -> None:
        set_np_shape(self._outside.pop())

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def inside(*args: object, **kwargs: object) -> object:
            with self:
                return function(*args, **kwargs)

        return cast(F, inside)


def use_np_shape(function: F) -> F:
    """A decorator for functions that ask for NumPy's shapes."""
    return np_shape()(function)


def is_np_array() -> bool:
    """Always False: arrays are mx.nd's."""
    return False


def get_gpu_count() -> int:
    """How many GPUs there are: 0."""
    return num_gpus()


def get_gpu_memory(gpu_dev_id: int) -> tuple[int, int]:
    """MXNetError: there is no GPU."""
    return gpu_memory_info(gpu_dev_id)


def makedirs(d: str) -> None:
    """Make a folder and those above it, if they are not there."""
    os.makedirs(os.path.expanduser(d), exist_ok=True)


def getenv(name: str) -> str | None:
    """The environment variable `name`; None where it is not set."""
    return os.environ.get(name)


def setenv(name: str, value: str | None) -> None:
    """Set the environment variable `name`; None takes it away."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def set_module(module: str | None) -> Callable[[F], F]:
    """Decorator: what is defined says that it comes from `module`."""

    def mark(function: F) -> F:
        if module is not None:
            function.__module__ = module
        return function

    return mark


def __getattr__(name: str) -> object:
    found = ghost("symc", name) or ghost("symc", f"util.{name}")
    if found is None:
        raise AttributeError(f"module 'symc.util' has no attribute {name!r}")
    return found
