"""mx.random: the seed of the process, and random arrays."""

from __future__ import annotations

from typing import Any

from symc import ndarray
from symc.runtime.keys import seed

__all__ = ["seed"]


def __getattr__(name: str) -> Any:
    """uniform, normal, ...: as in mx.nd.random."""
    functions = vars(ndarray)["random"]
    if not hasattr(functions, name):
        raise AttributeError(f"module 'symc.random' has no attribute {name!r}")
    return getattr(functions, name)
