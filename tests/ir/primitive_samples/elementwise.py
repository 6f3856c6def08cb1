"""Samples of the elementwise primitives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from primitive_samples.sample import Sample, by_element, floats, ints
from symc.ir import prims as p
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, F32, U8, U32


def _slope(function: Callable[[float], float], step: float) -> Callable[[float], float]:
    return lambda x: (
        (8 * (function(x + step) - function(x - step)) - (function(x + 2 * step) - function(x - 2 * step)))
        / (12 * step)
    )


def _inverse_erf(y: float) -> float:
    low, high = -6.0, 6.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return (low + high) / 2


_digamma = _slope(math.lgamma, 1e-3)


#: name, reference, lowest and highest argument, what is wrong with its (second) gradient, tolerance
UNARY: list[tuple[str, Callable[..., Any], float, float, str, float]] = [
    ("neg", lambda x: -x, -2, 2, "", 0),
    ("abs", lambda x: np.where(x < 0, -x, x), -2, 2, "", 0),
    ("sign", lambda x: 1.0 * (x > 0) - (x < 0), -2, 2, "", 0),
    ("floor", by_element(math.floor), -3, 3, "", 0),
    ("ceil", by_element(math.ceil), -3, 3, "", 0),
    ("trunc", by_element(math.trunc), -3, 3, "", 0),
    ("round", by_element(round), -3, 3, "", 0),
    ("rint", by_element(round), -3, 3, "", 0),
    ("sqrt", by_element(math.sqrt), 0.3, 3, "", 1e-15),
    ("rsqrt", lambda x: x**-0.5, 0.3, 3, "", 1e-14),
    ("cbrt", by_element(lambda x: math.copysign(abs(x) ** (1 / 3), x)), 0.3, 3, "", 1e-14),
    ("exp", by_element(math.exp), -2, 2, "", 1e-14),
    ("expm1", by_element(math.expm1), -2, 2, "", 1e-14),
    ("log", by_element(math.log), 0.3, 3, "", 1e-14),
    ("log2", by_element(math.log2), 0.3, 3, "", 1e-14),
    ("log10", by_element(math.log10), 0.3, 3, "", 1e-14),
    ("log1p", by_element(math.log1p), -0.5, 3, "", 1e-14),
    ("sin", by_element(math.sin), -3, 3, "", 1e-14),
    ("cos", by_element(math.cos), -3, 3, "", 1e-14),
    ("tan", by_element(math.tan), -1, 1, "", 1e-14),
    ("asin", by_element(math.asin), -0.9, 0.9, "", 1e-14),
    ("acos", by_element(math.acos), -0.9, 0.9, "", 1e-14),
    ("atan", by_element(math.atan), -2, 2, "", 1e-14),
    ("sinh", by_element(math.sinh), -2, 2, "", 1e-14),
    ("cosh", by_element(math.cosh), -2, 2, "", 1e-14),
    ("tanh", by_element(math.tanh), -2, 2, "", 1e-14),
    ("asinh", by_element(math.asinh), -2, 2, "", 1e-14),
    ("acosh", by_element(math.acosh), 1.3, 3, "", 1e-14),
    ("atanh", by_element(math.atanh), -0.9, 0.9, "", 1e-14),
    ("erf", by_element(math.erf), -2, 2, "", 1e-14),
    ("erfinv", by_element(_inverse_erf), -0.9, 0.9, "", 1e-13),
    ("sigmoid", by_element(lambda x: 1 / (1 + math.exp(-x))), -2, 2, "", 1e-14),
    ("softrelu", by_element(lambda x: math.log(1 + math.exp(x))), -2, 2, "", 1e-14),
    ("gamma", by_element(math.gamma), 0.6, 3, "", 1e-14),
    ("gammaln", by_element(math.lgamma), 0.6, 3, "", 1e-13),
    ("digamma", by_element(_digamma), 0.6, 3, "second", 1e-8),
    ("trigamma", by_element(_slope(_digamma, 1e-2)), 0.8, 3, "first", 1e-4),
    ("relu", lambda x: np.where(x > 0, x, 0), -2, 2, "", 0),
    ("isnan", lambda x: x != x, -2, 2, "", 0),
    ("isinf", lambda x: np.abs(x) > 1e308, -2, 2, "", 0),
]


BINARY: list[tuple[str, Callable[..., Any]]] = [
    ("add", lambda a, b: a + b),
    ("sub", lambda a, b: a - b),
    ("mul", lambda a, b: a * b),
    ("div", lambda a, b: a / b),
    ("mod", lambda a, b: a - b * np.floor(a / b)),
    ("pow", lambda a, b: np.exp(b * np.log(a))),
    ("maximum", lambda a, b: np.where(a > b, a, b)),
    ("minimum", lambda a, b: np.where(a < b, a, b)),
    ("atan2", np.vectorize(math.atan2)),
    ("hypot", lambda a, b: np.sqrt(a * a + b * b)),
    ("eq", lambda a, b: a == b),
    ("ne", lambda a, b: a != b),
    ("lt", lambda a, b: a < b),
    ("le", lambda a, b: a <= b),
    ("gt", lambda a, b: a > b),
    ("ge", lambda a, b: a >= b),
]


BITS: list[tuple[str, Callable[[int, int], int]]] = [
    ("and", lambda a, b: a & b),
    ("or", lambda a, b: a | b),
    ("xor", lambda a, b: a ^ b),
    ("shl", lambda a, b: (a << (b % 8)) % 2**32),
    ("shr", lambda a, b: a >> (b % 8)),
]


def _op(name: str) -> Any:
    return getattr(ew, name, None) or getattr(ew, name + "_")


def elementwise_samples() -> list[Sample]:
    made = []
    for name, reference, low, high, lacks, tolerance in UNARY:
        x = floats(1, 3, 4, low=low, high=high)
        made.append(Sample(name, _op(name), (x,), reference, lacks != "first", lacks == "", tolerance or 1e-300))
    for name, reference2 in BINARY:
        a, b = floats(2, 3, 4, low=0.3, high=3), floats(3, 3, 4, low=0.35, high=3.1)
        made.append(Sample(name, _op(name), (a, b), reference2))
        made.append(Sample(name, _op(name), (a, b[0, 0]), reference2, note="scalar"))
    for name, bits in BITS:
        a, b = ints(4, 0, 2**31, 3, 4, dtype=np.uint32), ints(5, 0, 8, 3, 4, dtype=np.uint32)
        made.append(Sample(name, _op(name), (a, b), np.vectorize(bits, otypes=[np.uint32]), grad=False))
    truth = ints(6, 0, 2, 3, 4, dtype=np.bool_)
    x, y = floats(7, 3, 4), floats(8, 3, 4)
    word = floats(9, 3).astype(np.float32)
    made += [
        Sample("not", p.not_, (truth,), lambda t: t ^ True, grad=False),
        Sample("select", p.select, (truth, x, y), lambda t, a, b: t * a + (1 - t) * b),
        Sample("select", p.select, (truth[0, 0], x, y), lambda t, a, b: a if t else b, note="scalar"),
        Sample("fma", ew.Fma(), (x, y, x + y), lambda a, b, c: a * b + c),
        Sample("cast", lambda a: p.cast(a, F32), (x,), lambda a: np.array(a.tolist(), "f"), tolerance=1e-7),
        Sample(
            "cast", lambda a: p.cast(a, U8), (x * 200,), lambda a: np.trunc(a).astype(int) % 256, False, note="wraps"
        ),
        Sample("cast", lambda a: p.cast(a, BOOL), (np.trunc(x),), lambda a: a != 0, False, note="truth"),
        Sample("bitcast", lambda a: p.bitcast(a, U32), (word,), lambda a: np.frombuffer(a.tobytes(), "u4"), False),
        Sample("const", lambda: p.const(x), (), lambda: x),
        Sample("const", lambda: p.const(-0.0, F32), (), lambda: np.float32(-0.0), note="scalar"),
    ]
    return made
