"""Keys of random programs: every run takes the next one of a counter, so a seed makes a whole session repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np

from symc.ir.process import lock
from symc.ir.types import Array

_lock = lock("random")
_state = {"seed": 0x5EED, "count": 0}


def seed(seed_state: int, ctx: Any = "all") -> None:
    """Start the sequence of random numbers anew."""
    if not isinstance(seed_state, (int, np.integer)):
        raise ValueError("sd must be int")
    with _lock:
        _state["seed"], _state["count"] = int(seed_state), 0


def next_key() -> Array:
    """A key u32[2] for one run."""
    with _lock:
        _state["count"] += 1
        return np.array(
            [_state["seed"] & 0xFFFFFFFF, (_state["count"] + (_state["seed"] >> 32)) & 0xFFFFFFFF], np.uint32
        )


def numpy_generator() -> np.random.Generator:
    """A numpy generator that follows the seed (for initializers and data order)."""
    return np.random.default_rng(next_key())
