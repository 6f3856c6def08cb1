"""Exponentials and what is made of them: exp, exp2, expm1, sigmoid, softrelu, tanh, sinh, cosh."""

from __future__ import annotations

import math

from symc.codegen.math.code import BIAS, MANTISSA, Code, Value, function

#: (exp(r) - 1 - r) / r^2 on |r| < 0.3475
_EXP = {
    "f32": (0.001392637612298131, 0.008363333530724049, 0.04166655242443085, 0.16666576266288757, 0.5),
    "f64": (
        2.5100634461878497e-08,
        2.762041219449885e-07,
        2.7557267935231926e-06,
        2.4801520613566223e-05,
        0.00019841269863392214,
        0.0013888888917654016,
        0.008333333333329994,
        0.04166666666662324,
        0.16666666666666669,
        0.5000000000000001,
    ),
}
#: (2^r - 1) / r on |r| <= 0.5
_EXP2 = {
    "f32": (
        0.00015453163359779865,
        0.0013390863314270973,
        0.009618083015084267,
        0.055503569543361664,
        0.24022650718688965,
        0.6931471824645996,
    ),
    "f64": (
        4.4549605981865186e-10,
        7.072585949269223e-09,
        1.0178062445845774e-07,
        1.321544258792169e-06,
        1.525273382983612e-05,
        0.0001540353044173605,
        0.0013333558146416936,
        0.009618129107606888,
        0.0555041086648216,
        0.24022650695910097,
        0.6931471805599453,
    ),
}
#: log(1 + e) / e on [0, 1]
_LOG1P32 = (-0.0031760570127516985, 0.019542526453733444, -0.056373611092567444, 0.10543623566627502,
            -0.1526966691017151, 0.1966327428817749, -0.24951615929603577, 0.33329710364341736,
            -0.49999892711639404, 1.0)  # fmt: skip
#: log(2) in two parts; the first leaves room for a product with the exponent to be exact
_LN2 = {"f32": (0.693145751953125, 1.42860682030941723e-6), "f64": (6.93147180369123816e-01, 1.90821492927058770e-10)}
_LOG2E = 1 / math.log(2)
#: where exp has reached 0 and infinity
_ENDS = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}


def _reduce(c: Code, x: Value, offset: int, factor: float = _LOG2E) -> tuple[Value, Value]:
    """(n, j): n = x * factor rounded to an integer, as a float; the low bits of the integer j are n + offset.

    Adding 1.5 * 2^mantissa leaves the integer in the low bits of the sum, which needs no conversion.
    """
    magic = 1.5 * 2.0 ** MANTISSA[x.dtype] + offset
    shifted = c.fma(x, factor, magic) if factor != 1.0 else x + magic
    return shifted - magic, shifted.bits()


def _remainder(c: Code, x: Value, n: Value) -> Value:
    high, low = _LN2[x.dtype]
    return c.fma(n, -low, c.fma(n, -high, x))


def _power(x: Value, j: Value) -> Value:
    """x * 2^(j - 2 * bias) in two steps, each within range, so that the product may be denormal or overflow."""
    mantissa = MANTISSA[x.dtype]
    half = (j << (mantissa - 1)) & (-1 << mantissa)
    return x * half.as_float() * ((j << mantissa) - half).as_float()


def exp_within(c: Code, x: Value, offset: int = 0, low: Value | None = None) -> Value:
    """exp(x + low) * 2^offset for x between the ends of the range."""
    n, j = _reduce(c, x, 2 * BIAS[x.dtype] + offset)
    r = _remainder(c, x, n)
    if low is not None:
        r = r + low
    return _power(_exp_small(c, r), j)


def exp_limited(c: Code, x: Value) -> Value:
    """exp(x) where it is a normal number: one step of scaling."""
    n, j = _reduce(c, x, BIAS[x.dtype])
    return _exp_small(c, _remainder(c, x, n)) * (j << MANTISSA[x.dtype]).as_float()


def _exp_small(c: Code, r: Value) -> Value:
    if r.dtype == "f32":
        return c.poly(r, (*_EXP["f32"], 1.0, 1.0))
    return c.fma(c.poly(r, _EXP["f64"]), r * r, r) + 1.0


def _expm1_small(c: Code, r: Value) -> Value:
    return c.fma(c.poly(r, _EXP[r.dtype]), r * r, r)


def _expm1_within(c: Code, x: Value) -> Value:
    """exp(x) - 1 where 2^n is finite: (2^n - 1) + 2^n * (exp(r) - 1) keeps the digits near 0."""
    n, j = _reduce(c, x, BIAS[x.dtype])
    power = (j << MANTISSA[x.dtype]).as_float()
    return c.fma(power, _expm1_small(c, _remainder(c, x, n)), power - 1.0)


@function("exp", "f32", "f64")
def _exp(c: Code, x: Value) -> Value:
    return exp_within(c, c.clamp(x, *_ENDS[x.dtype]))


@function("exp2", "f32", "f64")
def _exp2(c: Code, x: Value) -> Value:
    x = c.clamp(x, -151.0, 129.0) if x.dtype == "f32" else c.clamp(x, -1076.0, 1025.0)
    n, j = _reduce(c, x, 2 * BIAS[x.dtype], 1.0)
    return _power(c.poly(x - n, (*_EXP2[x.dtype], 1.0)), j)


@function("expm1", "f32", "f64")
def _expm1(c: Code, x: Value) -> Value:
    t = c.clamp(x, -40.0, _ENDS[x.dtype][1])
    # half of the power, which at the end of the range is finite while the power is not
    n, j = _reduce(c, t, BIAS[x.dtype] - 1)
    power = (j << MANTISSA[x.dtype]).as_float()
    y = c.fma(power, _expm1_small(c, _remainder(c, t, n)), power - 0.5) * 2.0
    return (c.abs(x) < 1e-20).pick(x, y)


@function("sigmoid", "f32", "f64")
def _sigmoid(c: Code, x: Value) -> Value:
    """exp(x) / (1 + exp(x)) below 0, which stays exact where exp(-x) would overflow."""
    e = exp_within(c, c.at_least(-c.abs(x), _ENDS[x.dtype][0]))
    return (x < 0.0).pick(e, 1.0) / (e + 1.0)


@function("softrelu", "f32")
def _softrelu32(c: Code, x: Value) -> Value:
    e = exp_within(c, c.at_least(-c.abs(x), _ENDS["f32"][0]))
    return c.fma(c.poly(e, _LOG1P32), e, c.at_least(x, 0.0))


@function("softrelu", "f64")
def _softrelu(c: Code, x: Value) -> Value:
    return c.at_least(x, 0.0) + c.call("log1p", c.call("exp", -c.abs(x)))


@function("tanh", "f32", "f64")
def _tanh(c: Code, x: Value) -> Value:
    t = c.abs(x)
    e = _expm1_within(c, c.at_most(t + t, 20.0 if x.dtype == "f32" else 44.0))
    return c.copysign(e / (e + 2.0), x)


@function("sinh", "f64")
def _sinh(c: Code, x: Value) -> Value:
    t = c.abs(x)
    e = _expm1_within(c, c.at_most(t, 44.0))
    y = (e + e / (e + 1.0)) * 0.5
    y = (t < 22.0).pick(y, exp_within(c, c.at_most(t, 712.0), offset=-1))
    return c.copysign((t < 1e-20).pick(t, y), x)


@function("cosh", "f64")
def _cosh(c: Code, x: Value) -> Value:
    half = exp_within(c, c.at_most(c.abs(x), 712.0), offset=-1)
    return half + 0.25 / half
