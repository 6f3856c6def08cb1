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
    there is room. Of whole numbers those at the ends of the type, and the first that narrower types do not hold."""
    odd = _whole_edges(dtype) if np.dtype(dtype).kind in "iu" else _float_edges(dtype)
    return rng.permutation(np.resize(np.array(odd, dtype), math.prod(shape))).reshape(shape)


def _float_edges(dtype: Any) -> list[Any]:
    info = np.finfo(dtype)
    tiny, least, most = info.smallest_normal, info.smallest_subnormal, info.max
    return [np.nan, np.inf, -0.0, -np.inf, 0.5, 0.0, most, least, -1.5, 2.5, -most, -least, tiny / 2, -0.5, 1.0, -1.0]


def _whole_edges(dtype: Any) -> list[int]:
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    # where int8, float16, float32, int32 and float64 end, and odd numbers: they round in a type that ends before them
    ends = [2**bits + 1 for bits in (7, 11, 24, 31, 53)]
    odd = [high, low, 0, high // 2, -1, *ends, 1, high - 1, low + 1, *(-end for end in ends), 2, 3]
    return [value for value in odd if low <= value <= high]


def wide(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Numbers of both signs of magnitudes spread from a thousandth to a thousand, as far as the type has them."""
    made = rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-3.0, 3.0, shape)
    return made if np.dtype(dtype).kind == "f" else made.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
