"""Values of inputs: random ones that keep away from kinks, whole numbers, numbers at the edges of their type, and those
of all magnitudes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symc.ir.types import Array

#: whole numbers are drawn from this one up to its negative
LEAST = -4


def between(low: float, high: float, *shape: int, seed: int = 0) -> Array:
    """Distinct values in random order, none near a multiple of a half."""
    rng = np.random.default_rng(seed)
    count = math.prod(shape)
    x = low + (high - low) * (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / max(count, 1)
    near = np.abs(2 * x - np.round(2 * x)) < 0.02
    return np.where(near, x + 0.02, x).reshape(shape)


def edges(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros of both signs, infinities, nan, the least and the largest numbers, and ties: each about as often, as far as
    there is room."""
    info = np.finfo(dtype)
    tiny, least, most = info.smallest_normal, info.smallest_subnormal, info.max
    odd = [np.nan, np.inf, -0.0, -np.inf, 0.5, 0.0, most, least, -1.5, 2.5, -most, -least, tiny / 2, -0.5, 1.0, -1.0]
    return rng.permutation(np.resize(np.array(odd, dtype), math.prod(shape))).reshape(shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers of both signs whose magnitudes are spread from a thousandth to a thousand."""
    return rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-3.0, 3.0, shape)
