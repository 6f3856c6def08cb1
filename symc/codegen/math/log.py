"""Logarithms and inverse hyperbolic functions."""

from __future__ import annotations

import math

from symc.codegen.math.code import BIAS, MANTISSA, Code, Value, function

#: (log(1+f) - f) / f^2 on [-0.293, 0.414]
_LOG32 = (-0.0767161148625852, 0.12722076525110815, -0.13127966598022367, 0.14204953595207695, -0.16626618396956333,
          0.2000123004595018, -0.25000781847098813, 0.33333330075399326, -0.4999999764757204)  # fmt: skip
#: (log((1+s)/(1-s)) / s - 2) / s^2 in s^2 on [0, 0.02946]
_LOG64 = (0.1461749869387011, 0.15331636699545695, 0.18182891680439733, 0.22222211099711295, 0.28571428626190487,
          0.39999999999899033, 0.666666666666667)  # fmt: skip
#: (log((1+s)/(1-s)) / s - 2 - 2 s^2/3) / s^4 in s^2 on [0, 0.02946]
_LOG_TAIL = (0.10763319316199482, 0.10456228483641337, 0.11766817531129829, 0.13333296432446515,
             0.15384615762468876, 0.18181818179648007, 0.2222222222222846, 0.28571428571428564, 0.4)  # fmt: skip
#: log(2) and log10(2) in two parts; the first leaves room for a product with the exponent to be exact
_LN2 = {"f32": (0.693145751953125, 1.42860682030941723e-6), "f64": (6.93147180369123816e-01, 1.90821492927058770e-10)}
_LOG10_2 = {"f32": (0.30078125, 2.48745663981195213e-4), "f64": (3.01029995663611771e-01, 3.69423907715893078e-13)}
_DENORMAL = {"f32": (2.0**-126, 25), "f64": (2.0**-1022, 54)}


def _split(c: Code, x: Value) -> tuple[Value, Value, Value]:
    """(m - 1, k, 2^-k) with x = m * 2^k and m in [sqrt(1/2), sqrt(2)), for x positive and finite, denormals too."""
    mantissa, bias = MANTISSA[x.dtype], BIAS[x.dtype]
    tiny, lift = _DENORMAL[x.dtype]
    small = x < tiny
    bits = small.pick(x * 2.0**lift, x).bits()
    one = bias << mantissa
    # the pattern of sqrt(1/2): adding 1's less it carries into the exponent where m would exceed sqrt(2)
    root = 0x3F3504F3 if x.dtype == "f32" else 0x3FE6A09E667F3BCD
    shifted = bits + (one - root)
    power = shifted & (-1 << mantissa)
    f = ((bits - power) + one).as_float() - 1.0
    # the exponent as a float by way of the low bits of 2^mantissa, as there is no conversion from i64 before AVX-512
    whole = ((shifted >> mantissa) | ((mantissa + bias) << mantissa)).as_float()
    k = whole - small.pick(c.lift(2.0**mantissa + bias + lift, x.dtype), 2.0**mantissa + bias)
    return f, k, (c.lift(2 * one, power.dtype) - power).as_float()


def _tail(c: Code, f: Value) -> Value:
    """log(1 + f) - f."""
    if f.dtype == "f32":
        return c.poly(f, _LOG32) * (f * f)
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    return s * (half + c.poly(z, _LOG64) * z) - half


def _ends(c: Code, x: Value, y: Value) -> Value:
    """log's value y, put right for x zero, negative, infinite or nan."""
    y = (x < math.inf).pick(y, x)
    y = x.equals(0.0).pick(-math.inf, y)
    return (x < 0.0).pick(math.nan, y)


def _combine(c: Code, f: Value, k: Value) -> Value:
    high, low = _LN2[f.dtype]
    return c.fma(k, high, f + c.fma(k, low, _tail(c, f)))


@function("log", "f32", "f64")
def _log(c: Code, x: Value) -> Value:
    f, k, _ = _split(c, x)
    return _ends(c, x, _combine(c, f, k))


@function("log2", "f32", "f64")
def _log2(c: Code, x: Value) -> Value:
    f, k, _ = _split(c, x)
    return _ends(c, x, c.fma(f + _tail(c, f), 1 / math.log(2), k))


@function("log10", "f32", "f64")
def _log10(c: Code, x: Value) -> Value:
    f, k, _ = _split(c, x)
    high, low = _LOG10_2[x.dtype]
    rest = c.fma(f + _tail(c, f), 1 / math.log(10), k * low)
    return _ends(c, x, c.fma(k, high, rest))


@function("log1p", "f32", "f64")
def _log1p(c: Code, x: Value) -> Value:
    """log of u = 1 + x, with what rounding u lost added to its mantissa."""
    u, lost = c.two_sum(x, 1.0)
    f, k, scale = _split(c, u)
    f = f + (x < 2.0**60).pick(lost * scale, 0.0)
    return c.copysign(_ends(c, u, _combine(c, f, k)), x)


def log_pair(c: Code, x: Value) -> tuple[Value, Value]:
    """log(x) as a sum of two doubles, to about 2^-65 of its size, for x positive and finite."""
    f, k, _ = _split(c, x)
    # s = f / (2 + f) as a pair
    d, d_low = c.quick_two_sum(c.lift(2.0), f)
    s = f / d
    p, p_low = c.two_product(s, d)
    s_low = ((f - p) - p_low - s * d_low) / d
    z, z_low = c.two_product(s, s)
    z_low = z_low + s * s_low * 2.0
    # 2 s^3 / 3 as a pair; the terms after it are small enough for one double
    t, t_low = c.two_product(z, s)
    t_low = t_low + (z * s_low + z_low * s)
    third = 2 / 3
    q, q_low = c.two_product(t, third)
    q_low = q_low + (t_low * third + t * (third / 2**54))
    q_low = q_low + c.poly(z, _LOG_TAIL) * (z * z * s)
    high, low = _LN2["f64"]
    # the rest of log(2) beyond its two parts is below 2^-85
    w, w_low = c.two_product(k, low)
    total, e0 = c.two_sum(k * high, s * 2.0)
    total, e1 = c.two_sum(total, q)
    total, e2 = c.two_sum(total, w)
    return c.quick_two_sum(total, ((e0 + e1) + e2) + ((q_low + w_low) + s_low * 2.0))


@function("asinh", "f64")
def _asinh(c: Code, x: Value) -> Value:
    t = c.abs(x)
    big = t > 1e9
    inner = t + t * t / (c.sqrt(t * t + 1.0) + 1.0)
    y = c.call("log1p", big.pick(t - 1.0, inner))
    return c.copysign(big.pick(y + math.log(2), y), x)


@function("acosh", "f64")
def _acosh(c: Code, x: Value) -> Value:
    t = x - 1.0
    big = x > 1e9
    y = c.call("log1p", big.pick(t, t + c.sqrt(t * 2.0 + t * t)))
    return (x < 1.0).pick(math.nan, big.pick(y + math.log(2), y))


@function("atanh", "f64")
def _atanh(c: Code, x: Value) -> Value:
    t = c.abs(x)
    y = c.call("log1p", t * 2.0 / (1.0 - t)) * 0.5
    return c.copysign((t < 1e-10).pick(t, (t > 1.0).pick(math.nan, y)), x)
