"""numpy meanings of the elementwise primitives that numpy does not have as they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symc.ir.types import Array, DType


def _by_element(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A float function applied element by element in double precision."""
    vectorized = np.vectorize(function, otypes=[np.float64])

    def apply(x: Array) -> Array:
        x = np.asarray(x)
        return np.asarray(vectorized(x.astype(np.float64)) if x.size else x).astype(x.dtype)

    return apply


def sign(x: Array) -> Array:
    result: Array = np.sign(x)
    return np.where(np.isnan(x), np.zeros_like(x), result) if x.dtype.kind == "f" else result


def round_away(x: Array) -> Array:
    truncated = np.trunc(x)
    return np.asarray(truncated + np.where(np.abs(x - truncated) >= 0.5, np.copysign(1, x), 0).astype(x.dtype))


def round_half_down(x: Array) -> Array:
    below = np.floor(x)
    return np.asarray(np.where(x - below <= 0.5, below, np.ceil(x)))


def rsqrt(x: Array) -> Array:
    return np.asarray(1 / np.sqrt(x))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softrelu(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, np.zeros((), x.dtype)))


def isnan(x: Array) -> Array:
    return np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)


def isinf(x: Array) -> Array:
    return np.isinf(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)


def div(a: Array, b: Array) -> Array:
    """Floats divide; integers truncate toward zero and give 0 for a zero divisor."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    safe = np.where(b == 0, np.ones_like(b), b)
    quotient = np.floor_divide(a, safe)
    if a.dtype.kind == "i":
        quotient = quotient + ((quotient * safe != a) & ((a < 0) != (safe < 0)))
    return np.asarray(np.where(b == 0, np.zeros_like(quotient), quotient))


def mod(a: Array, b: Array) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    safe = np.where(b == 0, np.ones_like(b), b)
    return np.asarray(np.where(b == 0, np.zeros((), a.dtype), np.mod(a, safe)))


def power(a: Array, b: Array) -> Array:
    """IEEE pow; for integers computed in double precision and truncated, as MXNet does."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return np.asarray(np.power(a, b))
    return cast_numpy(np.power(a.astype(np.float64), b.astype(np.float64)), a.dtype)


def cast(x: Array, to: DType) -> Array:
    return cast_numpy(np.asarray(x), to.numpy)


def cast_numpy(x: Array, to: np.dtype[Any]) -> Array:
    if x.dtype.kind == "f" and to.kind in "iu":
        # Small integers wrap (by way of a wide integer); what no wide integer holds is its smallest value.
        with np.errstate(invalid="ignore"):
            wide = np.where(np.isfinite(x) & (np.abs(x) < 2.0**63), x, -(2.0**63)).astype(np.int64)
            if to == np.int32:
                wide = np.where(np.isfinite(x) & (np.abs(x) < 2.0**31), wide, -(2**31))
        return np.asarray(wide).astype(to)
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(to)


def _gamma(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, x)
    try:
        return math.gamma(x)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _gammaln(x: float) -> float:
    try:
        return math.lgamma(x)
    except (OverflowError, ValueError):
        return math.inf


def _digamma(x: float) -> float:
    if x <= 0 and (x == -math.inf or x == math.floor(x)):
        return math.inf  # the poles, as MXNet's psi answers them
    if math.isnan(x) or x == math.inf:
        return x
    total = 0.0
    if x < 0:  # reflection
        total -= math.pi / math.tan(math.pi * x)
        x = 1 - x
    while x < 10:
        total -= 1 / x
        x += 1
    u = 1 / (x * x)
    series = u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u * (1 / 132 - u * 691 / 32760)))))
    return total + math.log(x) - 0.5 / x - series


def _trigamma(x: float) -> float:
    if math.isnan(x) or x == -math.inf or (x <= 0 and x == math.floor(x)):
        return math.nan
    if x == math.inf:
        return 0.0
    total, flip = 0.0, 1.0
    if x < 0:
        total = (math.pi / math.sin(math.pi * x)) ** 2
        x, flip = 1 - x, -1.0
    while x < 10:
        total += flip / (x * x)
        x += 1
    u = 1 / (x * x)
    series = 1 / x + u / 2 + u / x * (1 / 6 - u * (1 / 30 - u * (1 / 42 - u * (1 / 30 - u * 5 / 66))))
    return total + flip * series


def _erfinv(y: float) -> float:
    if not -1 <= y <= 1:
        return math.nan
    if abs(y) == 1:
        return math.copysign(math.inf, y)
    w = -math.log((1 - y) * (1 + y))
    # Giles' polynomial to begin with, then Newton steps to full precision.
    if w < 5:
        w -= 2.5
        start = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
                 -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
    else:
        w = math.sqrt(w) - 3
        start = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
                 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip
    x = 0.0
    for c in start:
        x = x * w + c
    x *= y
    missing = 1 - abs(y)
    for _ in range(6):
        slope = 2 / math.sqrt(math.pi) * math.exp(-x * x)
        if missing > 0.5:
            x -= (math.erf(x) - y) / slope
        else:  # far out it is the logarithm of what is missing to 1 that is nearly straight
            rest = math.erfc(abs(x))
            x += math.copysign(1, y) * math.log(rest / missing) * rest / slope
    return x


erf = _by_element(math.erf)
erfinv = _by_element(_erfinv)
gamma = _by_element(_gamma)
gammaln = _by_element(_gammaln)
digamma = _by_element(_digamma)
trigamma = _by_element(_trigamma)
