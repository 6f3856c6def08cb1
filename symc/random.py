"""Random numbers: one process-wide seed and a counter of programs run, from which every program's key follows."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "exponential", "gamma", "generalized_negative_binomial", "multinomial", "negative_binomial", "next_key", "normal",
    "poisson", "randint", "randn", "seed", "shuffle", "uniform",
]  # fmt: skip

_lock = threading.Lock()
_state = {"seed": 0, "counter": 0}


def seed(seed_state: int, ctx: Any = "all") -> None:
    """Start over: the same seed and the same sequence of programs give the same numbers. `ctx` is not needed, as all
    devices are one."""
    if isinstance(seed_state, bool) or not isinstance(seed_state, (int, np.integer)):
        raise ValueError(f"seed_state must be int, got {type(seed_state).__name__}")
    with _lock:
        _state["seed"], _state["counter"] = int(seed_state), 0


def next_key() -> npt.NDArray[np.uint32]:
    """A key (two words) that no earlier program had since the last `seed`."""
    with _lock:
        count = _state["counter"]
        _state["counter"] = count + 1
        start = _state["seed"]
    # Neighbouring seeds are spread over all bits, so that seed 1, run 2 is not seed 2, run 1.
    high = (start * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF
    mixed = (high ^ (high >> 29)) & 0xFFFFFFFF
    return np.array([mixed ^ (count >> 32), ((high >> 32) + count) & 0xFFFFFFFF], np.uint32)


def __getattr__(name: str) -> Any:
    """The distributions are those of mx.nd.random."""
    if name in __all__:
        from symc.ndarray import random as distributions

        return getattr(distributions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
