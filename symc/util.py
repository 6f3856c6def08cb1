"""mx.util: small helpers that programs ask about the machine and about NumPy semantics, which symc does not have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from symc.context import gpu_memory_info, num_gpus
from symc.ghosts import ghost

__all__ = [
    "get_gpu_count",
    "get_gpu_memory",
    "getenv",
    "is_np_array",
    "is_np_shape",
    "makedirs",
    "set_module",
    "setenv",
]

F = TypeVar("F", bound=Callable[..., object])


def is_np_shape() -> bool:
    """Always False: an extent of 0 means unknown."""
    return False


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
    found = ghost("symc", name)
    if found is None:
        raise AttributeError(f"module 'symc.util' has no attribute {name!r}")
    return found
