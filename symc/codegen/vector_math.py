"""Elementary functions as LLVM IR, one template for every vector width; no call into a math library.

    required("exp", "f32", 8, features)   the texts a module needs to call the function: {key: text}
    symbol("exp", "f32", 8)               its name: @symc.exp.f32x8

Correct for nan, the infinities, signed zeros and denormals. Largest errors in units in the last place, as measured by
the tests over each function's range:

    f32   exp, expm1, log, log1p, log2, log10, tanh, sigmoid, softrelu, erf, sin, cos      2.5
          all others (computed in f64)                                                      1
    f64   exp, log, sqrt forms, tanh, sinh, cosh, asin, acos, atan, cbrt, expm1, log1p      4
          erf, erfinv, tan, gamma, gammaln, digamma, trigamma, pow: relative 1e-12 (absolute near zeros)
    sin, cos, tan   for |x| below 2^20; beyond, reduction loses digits in proportion

Approximations are fits made for this file (Chebyshev interpolation, in the intervals named beside each), with
Cody-Waite reduction; gamma by Lanczos' series, digamma by its asymptotic expansion.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Features:
    """What the target has: fused multiply-add, and rounding instructions (SSE 4.1)."""

    fma: bool = True
    round: bool = True


def symbol(name: str, dtype: str, width: int) -> str:
    """The function's LLVM name."""
    return f"@symc.{name}.{dtype}x{width}"


@functools.lru_cache(maxsize=None)
def required(name: str, dtype: str, width: int, features: Features) -> dict[str, str]:
    """Declarations and definitions, dependencies first, by a unique key each."""
    needs: dict[str, str] = {}
    _define(name, dtype, width, features, needs)
    return needs


def names() -> list[str]:
    """Every function of the library."""
    return sorted(_FUNCTIONS)


def _define(name: str, dtype: str, width: int, features: Features, needs: dict[str, str]) -> None:
    key = symbol(name, dtype, width)
    if key in needs:
        return
    arity = _ARITY.get(name, 1)
    fast = _FAST32.get(name) if dtype == "f32" else None
    code = _Code(dtype, width, features, needs)
    args = [_V(code, f"%a{i}", dtype) for i in range(arity)]
    if fast is not None:
        result = fast(code, *args)
    elif dtype == "f32":
        wide = [a.to("f64") for a in args]
        result = code.call(name, *wide).to("f32")
    else:
        result = _FUNCTIONS[name](code, *args)
    t = code.type(dtype)
    parameters = ", ".join(f"{t} {a.name}" for a in args)
    # short bodies are worth having inside the loops; long ones once per module
    hint = "alwaysinline" if len(code.lines) < 60 else "noinline"
    body = "\n".join(code.lines)
    needs[key] = f"define internal {t} {key}({parameters}) nounwind {hint} {{\n{body}\n  ret {t} {result.name}\n}}"


# --------------------------------------------------------------------------------------------- a small language


class _V:
    """A value while a function is written, with arithmetic."""

    __slots__ = ("code", "name", "dtype")

    def __init__(self, code: _Code, name: str, dtype: str) -> None:
        self.code, self.name, self.dtype = code, name, dtype

    def _bin(self, op: str, other: _V | float, swap: bool = False) -> _V:
        o = self.code.lift(other, self.dtype)
        a, b = (o, self) if swap else (self, o)
        prefix = "f" if self.dtype in ("f32", "f64") else ""
        return self.code.emit(f"{prefix}{op} {self.code.type(self.dtype)} {a.name}, {b.name}", self.dtype)

    def __add__(self, o: _V | float) -> _V:
        return self._bin("add", o)

    __radd__ = __add__

    def __sub__(self, o: _V | float) -> _V:
        return self._bin("sub", o)

    def __rsub__(self, o: _V | float) -> _V:
        return self._bin("sub", o, True)

    def __mul__(self, o: _V | float) -> _V:
        return self._bin("mul", o)

    __rmul__ = __mul__

    def __truediv__(self, o: _V | float) -> _V:
        return self._bin("div", o)

    def __rtruediv__(self, o: _V | float) -> _V:
        return self._bin("div", o, True)

    def __neg__(self) -> _V:
        return self.code.emit(f"fneg {self.code.type(self.dtype)} {self.name}", self.dtype)

    def cmp(self, word: str, o: _V | float) -> _V:
        """A comparison: ordered words (olt, ogt, oeq...) for floats, integer ones otherwise."""
        other = self.code.lift(o, self.dtype)
        kind = "fcmp" if self.dtype in ("f32", "f64") else "icmp"
        return self.code.emit(f"{kind} {word} {self.code.type(self.dtype)} {self.name}, {other.name}", "i1")

    def pick(self, a: _V | float, b: _V | float, dtype: str = "") -> _V:
        """self ? a : b."""
        dtype = dtype or (a.dtype if isinstance(a, _V) else b.dtype if isinstance(b, _V) else "f64")
        x, y = self.code.lift(a, dtype), self.code.lift(b, dtype)
        t = self.code.type(dtype)
        return self.code.emit(f"select {self.code.type('i1')} {self.name}, {t} {x.name}, {t} {y.name}", dtype)

    def both(self, o: _V) -> _V:
        return self.code.emit(f"and {self.code.type('i1')} {self.name}, {o.name}", "i1")

    def either(self, o: _V) -> _V:
        return self.code.emit(f"or {self.code.type('i1')} {self.name}, {o.name}", "i1")

    def bits(self) -> _V:
        """The bit pattern as an integer of the same size."""
        to = "i32" if self.dtype == "f32" else "i64"
        return self.code.emit(f"bitcast {self.code.type(self.dtype)} {self.name} to {self.code.type(to)}", to)

    def bits_of_constant(self) -> int:
        """The bit pattern of a constant as a signed integer."""
        text = self.name[self.name.index("0x") + 2 :].rstrip(")")
        value = struct.unpack("<d", struct.pack("<Q", int(text, 16)))[0]
        if self.dtype == "f32":
            return int(struct.unpack("<i", struct.pack("<f", value))[0])
        return int(struct.unpack("<q", struct.pack("<d", value))[0])

    def as_float(self) -> _V:
        """The float of a bit pattern."""
        to = "f32" if self.dtype == "i32" else "f64"
        return self.code.emit(f"bitcast {self.code.type(self.dtype)} {self.name} to {self.code.type(to)}", to)

    def iop(self, word: str, o: _V | int) -> _V:
        other = self.code.lift(o, self.dtype)
        return self.code.emit(f"{word} {self.code.type(self.dtype)} {self.name}, {other.name}", self.dtype)

    def to(self, dtype: str) -> _V:
        """Conversion between the float types."""
        if dtype == self.dtype:
            return self
        word = "fpext" if dtype == "f64" else "fptrunc"
        return self.code.emit(f"{word} {self.code.type(self.dtype)} {self.name} to {self.code.type(dtype)}", dtype)

    def to_float(self) -> _V:
        """A signed integer as a float of its size."""
        to = "f32" if self.dtype == "i32" else "f64"
        return self.code.emit(f"sitofp {self.code.type(self.dtype)} {self.name} to {self.code.type(to)}", to)


_LLVM = {"f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "i1": "i1"}


class _Code:
    """The function being written."""

    def __init__(self, dtype: str, width: int, features: Features, needs: dict[str, str]) -> None:
        self.dtype, self.width, self.features, self.needs = dtype, width, features, needs
        self.lines: list[str] = []

    def type(self, dtype: str) -> str:
        return f"<{self.width} x {_LLVM[dtype]}>" if self.width > 1 else _LLVM[dtype]

    def emit(self, right: str, dtype: str) -> _V:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {right}")
        return _V(self, name, dtype)

    def lift(self, value: _V | float, dtype: str) -> _V:
        if isinstance(value, _V):
            return value
        if dtype in ("f32", "f64"):
            rounded = float(np.float32(value)) if dtype == "f32" else float(value)
            text = f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
        else:
            text = str(int(value))
        return _V(self, f"splat ({_LLVM[dtype]} {text})" if self.width > 1 else text, dtype)

    def intrinsic(self, name: str, *args: _V) -> _V:
        dtype = args[0].dtype
        t = self.type(dtype)
        full = f"llvm.{name}.{f'v{self.width}' if self.width > 1 else ''}{dtype}"
        self.needs.setdefault(full, f"declare {t} @{full}({', '.join(t for _ in args)})")
        return self.emit(f"call {t} @{full}({', '.join(f'{t} {a.name}' for a in args)})", dtype)

    def call(self, name: str, *args: _V) -> _V:
        """Another function of the library."""
        dtype = args[0].dtype
        _define(name, dtype, self.width, self.features, self.needs)
        t = self.type(dtype)
        return self.emit(f"call {t} {symbol(name, dtype, self.width)}({', '.join(f'{t} {a.name}' for a in args)})", dtype)

    def fma(self, a: _V, b: _V | float, c: _V | float) -> _V:
        if self.features.fma:
            return self.intrinsic("fma", a, self.lift(b, a.dtype), self.lift(c, a.dtype))
        return a * b + c

    def abs(self, x: _V) -> _V:
        return self.intrinsic("fabs", x)

    def copysign(self, x: _V, sign: _V) -> _V:
        return self.intrinsic("copysign", x, sign)

    def sqrt(self, x: _V) -> _V:
        return self.intrinsic("sqrt", x)

    def poly(self, x: _V, coefficients: Sequence[float]) -> _V:
        """Horner's scheme, highest coefficient first."""
        total: _V = self.lift(coefficients[0], x.dtype)
        for c in coefficients[1:]:
            total = self.fma(total, x, c)
        return total

    def nearest(self, x: _V) -> tuple[_V, _V]:
        """(nearest integer as a float, the same as a signed integer) for |x| below 2^21 (f32) or 2^50."""
        magic = 1.5 * 2.0**23 if x.dtype == "f32" else 1.5 * 2.0**52
        shifted = x + magic
        whole = shifted - magic
        return whole, shifted.bits().iop("sub", self.lift(magic, x.dtype).bits_of_constant())

    def scale(self, x: _V, n: _V) -> _V:
        """x * 2^n in two steps, so that results may be denormal."""
        mantissa, bias = (23, 127) if x.dtype == "f32" else (52, 1023)
        half = n.iop("ashr", 1)
        rest = n.iop("sub", half)
        first = half.iop("add", bias).iop("shl", mantissa).as_float()
        second = rest.iop("add", bias).iop("shl", mantissa).as_float()
        return x * first * second

    def clamp(self, x: _V, low: float, high: float) -> _V:
        """x within [low, high]; nan stays."""
        x = x.cmp("ogt", high).pick(high, x, x.dtype)
        return x.cmp("olt", low).pick(low, x, x.dtype)


_FUNCTIONS: dict[str, Callable[..., _V]] = {}
_FAST32: dict[str, Callable[..., _V]] = {}
_ARITY = {"pow": 2, "atan2": 2, "hypot": 2, "mod": 2}
_INF, _NAN = math.inf, math.nan


def _f64(name: str) -> Callable[[Callable[..., _V]], Callable[..., _V]]:
    def register(function: Callable[..., _V]) -> Callable[..., _V]:
        _FUNCTIONS[name] = function
        return function

    return register


def _f32(name: str) -> Callable[[Callable[..., _V]], Callable[..., _V]]:
    def register(function: Callable[..., _V]) -> Callable[..., _V]:
        _FAST32[name] = function
        return function

    return register


# --------------------------------------------------------------------------------------------- exponentials

#: (exp(r) - 1 - r) / r^2 on |r| < 0.3467
_EXP32 = (0.0013926203361634337, 0.008363194882419041, 0.0416665544984137, 0.166665768946066, 0.5)


@_f32("exp")
def _exp32(c: _Code, x: _V) -> _V:
    x = c.clamp(x, -104.0, 88.8)
    n, k = c.nearest(x * 1.4426950408889634)
    r = c.fma(n, -0.693145751953125, x)
    r = c.fma(n, -1.42860682030941723212e-6, r)
    p = c.fma(c.poly(r, _EXP32), r * r, r) + 1.0
    return c.scale(p, k)


@_f64("exp")
def _exp64(c: _Code, x: _V) -> _V:
    x = c.clamp(x, -746.0, 710.0)
    n, k = c.nearest(x * 1.4426950408889634)
    r = c.fma(n, -6.93147180369123816490e-01, x)
    r = c.fma(n, -1.90821492927058770002e-10, r)
    p = c.poly(r, [1 / math.factorial(i) for i in range(13, 1, -1)])
    return c.scale(c.fma(p, r * r, r) + 1.0, k)


@_f64("expm1")
def _expm1(c: _Code, x: _V) -> _V:
    small = c.fma(c.poly(x, [1 / math.factorial(i) for i in range(17, 1, -1)]), x * x, x)
    return c.abs(x).cmp("olt", 0.5).pick(small, c.call("exp", x) - 1.0)


@_f64("sigmoid")
def _sigmoid(c: _Code, x: _V) -> _V:
    return 1.0 / (c.call("exp", -x) + 1.0)


@_f32("sigmoid")
def _sigmoid32(c: _Code, x: _V) -> _V:
    return 1.0 / (c.call("exp", -x) + 1.0)


#: (tanh(x) / x - 1) / x^2 in s = x^2 below 0.4
_TANH32 = (0.002269501684162354, -0.008323187058278775, 0.021762502907359264, -0.0539584616274522, 0.13333300146188914,
           -0.33333333149374506)  # fmt: skip


@_f32("tanh")
def _tanh32(c: _Code, x: _V) -> _V:
    t, s = c.abs(x), x * x
    small = c.fma(c.poly(s, _TANH32), s * x, x)
    large = 1.0 - 2.0 / (c.call("exp", t + t) + 1.0)
    return t.cmp("olt", 0.625).pick(small, c.copysign(large, x))


@_f64("tanh")
def _tanh(c: _Code, x: _V) -> _V:
    e = c.call("expm1", c.clamp(c.abs(x), 0.0, 22.0) * 2.0)
    return c.copysign(e / (e + 2.0), x)


@_f64("sinh")
def _sinh(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    e = c.call("expm1", t)
    half = c.call("exp", t * 0.5)
    moderate = (e + e / (e + 1.0)) * 0.5
    return c.copysign(t.cmp("ogt", 40.0).pick(half * 0.5 * half, moderate), x)


@_f64("cosh")
def _cosh(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    e = c.call("exp", t)
    half = c.call("exp", t * 0.5)
    return t.cmp("ogt", 40.0).pick(half * 0.5 * half, (e + 1.0 / e) * 0.5)


# --------------------------------------------------------------------------------------------- logarithms

#: (log(1+f) - f) / f^2 on [-0.293, 0.414]
_LOG32 = (-0.0767161148625852, 0.12722076525110815, -0.13127966598022367, 0.14204953595207695, -0.16626618396956333,
          0.2000123004595018, -0.25000781847098813, 0.33333330075399326, -0.4999999764757204)  # fmt: skip


def _split(c: _Code, x: _V) -> tuple[_V, _V]:
    """(f, k) with x = (1 + f) * 2^k and 1 + f in [sqrt(1/2), sqrt(2)); denormals too."""
    single = x.dtype == "f32"
    mantissa, tiny, lift = (23, 1.17549435e-38, 2.0**25) if single else (52, 2.2250738585072014e-308, 2.0**54)
    small = x.cmp("olt", tiny)
    x = small.pick(x * lift, x)
    bits = x.bits()
    root = c.lift(math.sqrt(0.5), x.dtype).bits_of_constant()
    k = bits.iop("sub", root).iop("ashr", mantissa)
    f = bits.iop("sub", k.iop("shl", mantissa)).as_float() - 1.0
    exponent = k.to_float() - small.pick(25.0 if single else 54.0, 0.0, x.dtype)
    return f, exponent


def _log_ends(x: _V, result: _V) -> _V:
    """log of 0, negative numbers, infinity and nan."""
    result = x.cmp("oeq", 0.0).pick(-_INF, result)
    result = x.cmp("olt", 0.0).pick(_NAN, result)
    result = x.cmp("oeq", _INF).pick(_INF, result)
    return x.cmp("uno", x).pick(x, result)


@_f32("log")
def _log32(c: _Code, x: _V) -> _V:
    f, k = _split(c, x)
    s = f * f
    tail = c.fma(c.poly(f, _LOG32), s, k * -2.12194440e-4)
    return _log_ends(x, c.fma(k, 0.693359375, f + tail))


@_f64("log")
def _log64(c: _Code, x: _V) -> _V:
    f, k = _split(c, x)
    s = f / (f + 2.0)
    z = s * s
    # log((1+s)/(1-s)) = 2s + s*R(s^2): the series of atanh, |s| < 0.1716
    r = c.poly(z, [2.0 / (2 * i + 1) for i in range(11, 0, -1)]) * z
    half = f * f * 0.5
    rest = half - (s * (half + r) + k * 1.90821492927058770002e-10)
    return _log_ends(x, c.fma(k, 6.93147180369123816490e-01, f - rest))


def _log1p(c: _Code, x: _V) -> _V:
    """log(u) for u = 1 + x, corrected by what rounding u lost."""
    u = x + 1.0
    lost = x - (u - 1.0)
    y = c.call("log", u) + lost / u
    y = u.cmp("oeq", 1.0).pick(x, y)
    return x.cmp("oeq", _INF).pick(x, x.cmp("oeq", -1.0).pick(-_INF, y))


_FUNCTIONS["log1p"] = _log1p


@_f64("log2")
def _log2(c: _Code, x: _V) -> _V:
    return c.call("log", x) * (1 / math.log(2))


@_f64("log10")
def _log10(c: _Code, x: _V) -> _V:
    return c.call("log", x) * (1 / math.log(10))


@_f64("softrelu")
def _softrelu(c: _Code, x: _V) -> _V:
    positive = x.cmp("ogt", 0.0).pick(x, 0.0)
    return x.cmp("uno", x).pick(x, positive + c.call("log1p", c.call("exp", -c.abs(x))))


@_f32("softrelu")
def _softrelu32(c: _Code, x: _V) -> _V:
    e = c.call("exp", -c.abs(x))
    u = e + 1.0
    y = c.call("log", u) + (e - (u - 1.0)) / u
    return x.cmp("uno", x).pick(x, x.cmp("ogt", 0.0).pick(x, 0.0, "f32") + y)


# --------------------------------------------------------------------------------------------- powers


@_f64("rsqrt")
def _rsqrt(c: _Code, x: _V) -> _V:
    return 1.0 / c.sqrt(x)


_FAST32["rsqrt"] = _rsqrt


@_f64("cbrt")
def _cbrt(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    y = c.call("exp", c.call("log", t) * (1 / 3))
    y = y - (y * y * y - t) / (y * y * 3.0)
    y = t.cmp("oeq", 0.0).pick(t, t.cmp("oeq", _INF).pick(t, y))
    return c.copysign(y, x)


@_f64("pow")
def _pow(c: _Code, a: _V, b: _V) -> _V:
    t = c.abs(a)
    y = c.call("exp", b * c.call("log", t))
    whole = c.call("trunc", b)
    integer = whole.cmp("oeq", b)
    half = b * 0.5
    odd = integer.both(c.call("trunc", half).cmp("one", half)).both(c.abs(b).cmp("olt", 2.0**53))
    negative = a.bits().cmp("slt", 0)
    y = negative.both(odd).pick(-y, y)
    bad = a.cmp("olt", 0.0).both(a.cmp("ogt", -_INF)).both(integer.pick(0.0, 1.0).cmp("oeq", 1.0))
    y = bad.both(c.abs(b).cmp("olt", _INF)).pick(_NAN, y)
    # whole numbers have whole powers: exact while the error of exp and log stays below a half
    exact = c.call("trunc", a).cmp("oeq", a).both(integer).both(b.cmp("ogt", 0.0)).both(c.abs(y).cmp("olt", 2.0**42))
    y = exact.pick(c.nearest(y)[0], y)
    even_small = integer.both(c.abs(b).cmp("olt", 3.0))
    square = b.cmp("oeq", 2.0).pick(a * a, b.cmp("oeq", 1.0).pick(a, b.cmp("oeq", -1.0).pick(1.0 / a, y)))
    y = even_small.pick(square, y)
    y = a.cmp("oeq", 1.0).either(b.cmp("oeq", 0.0)).pick(1.0, y)
    one = t.cmp("oeq", 1.0).both(c.abs(b).cmp("oeq", _INF))
    return one.pick(1.0, y)


@_f64("hypot")
def _hypot(c: _Code, a: _V, b: _V) -> _V:
    x, y = c.abs(a), c.abs(b)
    larger = x.cmp("ogt", y).pick(x, y)
    smaller = x.cmp("ogt", y).pick(y, x)
    ratio = larger.cmp("oeq", 0.0).pick(0.0, smaller / larger)
    r = larger * c.sqrt(ratio * ratio + 1.0)
    return x.cmp("oeq", _INF).either(y.cmp("oeq", _INF)).pick(_INF, r)


@_f32("hypot")
def _hypot32(c: _Code, a: _V, b: _V) -> _V:
    x, y = a.to("f64"), b.to("f64")
    r = c.sqrt(x * x + y * y).to("f32")
    return c.abs(a).cmp("oeq", _INF).either(c.abs(b).cmp("oeq", _INF)).pick(_INF, r)


@_f64("mod")
def _mod(c: _Code, a: _V, b: _V) -> _V:
    q = c.call("floor", a / b)
    r = a - q * b if not c.features.fma else c.fma(-q, b, a)
    # the quotient may be one off where it was rounded
    wrong = r.cmp("olt", 0.0).both(b.cmp("ogt", 0.0)).either(r.cmp("ogt", 0.0).both(b.cmp("olt", 0.0)))
    r = wrong.pick(r + b, r)
    r = c.abs(b).cmp("oeq", _INF).pick(a.cmp("oeq", 0.0).pick(a, (a * b).cmp("olt", 0.0).pick(b, a)), r)
    return b.cmp("oeq", 0.0).pick(0.0, r)


# --------------------------------------------------------------------------------------------- rounding


def _round_with(c: _Code, x: _V, word: str) -> _V:
    """floor, ceil or trunc; without the instruction by way of adding and taking away a large number."""
    if c.features.round:
        return c.intrinsic(word, x)
    limit = 2.0**23 if x.dtype == "f32" else 2.0**52
    t = c.abs(x)
    near = (t + limit) - limit
    down = near.cmp("ogt", t).pick(near - 1.0, near)
    if word == "trunc":
        y = c.copysign(down, x)
    else:
        signed = c.copysign(near, x)
        if word == "floor":
            y = signed.cmp("ogt", x).pick(signed - 1.0, signed)
        else:
            y = signed.cmp("olt", x).pick(signed + 1.0, signed)
        y = c.copysign(y, x)
    return t.cmp("olt", limit).pick(y, x)


for _word in ("floor", "ceil", "trunc"):
    _FUNCTIONS[_word] = _FAST32[_word] = functools.partial(_round_with, word=_word)


def _round(c: _Code, x: _V) -> _V:
    whole = c.call("trunc", x)
    step = c.copysign(c.lift(1.0, x.dtype), x)
    return c.abs(x - whole).cmp("oge", 0.5).pick(whole + step, whole)


def _rint(c: _Code, x: _V) -> _V:
    below = c.call("floor", x)
    y = (x - below).cmp("ole", 0.5).pick(below, c.call("ceil", x))
    return (x - x).cmp("oeq", 0.0).pick(y, x)


_FUNCTIONS["round"] = _FAST32["round"] = _round
_FUNCTIONS["rint"] = _FAST32["rint"] = _rint


# --------------------------------------------------------------------------------------------- trigonometry

#: (sin(x)/x - 1)/x^2 and (cos(x) - 1 + x^2/2)/x^4 in x^2 below 0.62
_SIN32 = (2.7248364773036666e-06, -0.00019840074665737465, 0.008333331852310973, -0.16666666663797544)
_COS32 = (-2.7299656316022867e-07, 2.4800590303711416e-05, -0.0013888887653322967, 0.04166666666427301)
_PIO2 = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)


def _quadrant(c: _Code, x: _V) -> tuple[_V, _V]:
    """(x - k*pi/2, k) in f64, three-part reduction."""
    n, k = c.nearest(x * (2 / math.pi))
    r = x
    for part in _PIO2:
        r = c.fma(n, -part, r)
    return r, k


def _sin_cos(c: _Code, r: _V) -> tuple[_V, _V]:
    """sin and cos on |r| <= pi/4 by their series."""
    s = r * r
    sine = c.fma(c.poly(s, [(-1) ** i / math.factorial(2 * i + 1) for i in range(8, 0, -1)]), s * r, r)
    cosine = c.poly(s, [(-1) ** i / math.factorial(2 * i) for i in range(9, -1, -1)])
    return sine, cosine


def _turn(c: _Code, x: _V, shift: int) -> _V:
    r, k = _quadrant(c, x)
    sine, cosine = _sin_cos(c, r)
    k = k.iop("add", shift)
    y = k.iop("and", 1).cmp("eq", 0).pick(sine, cosine)
    y = k.iop("and", 2).cmp("eq", 0).pick(y, -y)
    return (x - x).cmp("oeq", 0.0).pick(y, _NAN)


def _turn32(c: _Code, x: _V, shift: int) -> _V:
    r, k = _quadrant(c, x.to("f64"))
    if shift:
        k = k.iop("add", shift)
    r32, s = r.to("f32"), (r * r).to("f32")
    sine = c.fma(c.poly(s, _SIN32), s * r32, r32)
    cosine = c.fma(c.poly(s, _COS32), s * s, c.fma(s, -0.5, 1.0))
    y = k.iop("and", 1).cmp("eq", 0).pick(sine, cosine)
    y = k.iop("and", 2).cmp("eq", 0).pick(y, -y)
    return (x - x).cmp("oeq", 0.0).pick(y, _NAN)


_FUNCTIONS["sin"] = functools.partial(_turn, shift=0)
_FUNCTIONS["cos"] = functools.partial(_turn, shift=1)
_FAST32["sin"] = functools.partial(_turn32, shift=0)
_FAST32["cos"] = functools.partial(_turn32, shift=1)


@_f64("tan")
def _tan(c: _Code, x: _V) -> _V:
    r, k = _quadrant(c, x)
    sine, cosine = _sin_cos(c, r)
    y = k.iop("and", 1).cmp("eq", 0).pick(sine / cosine, -(cosine / sine))
    return (x - x).cmp("oeq", 0.0).pick(y, _NAN)


#: (asin(x)/x - 1)/x^2 in x^2 below 0.26
_ASIN = (0.030901965313865982, -0.017987450928062528, 0.019402976206842414, 0.004724783107431964, 0.010492447205768038,
         0.011453310809451294, 0.01397383591536882, 0.01735221825629625, 0.022372180269032375, 0.030381943957815016,
         0.044642857148646096, 0.07499999999997303, 0.16666666666666669)  # fmt: skip
#: (atan(x)/x - 1)/x^2 in x^2 below 0.1735
_ATAN = (0.016131374410967812, -0.03443047457981133, 0.045461155248090315, -0.05229246657303611, 0.05878764107124824,
         -0.0666641046372755, 0.07692295567509481, -0.09090908725412945, 0.11111111104587781, -0.1428571428565397,
         0.19999999999999782, -0.3333333333333333)  # fmt: skip


@_f64("asin")
def _asin(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    big = t.cmp("ogt", 0.5)
    z = big.pick((1.0 - t) * 0.5, t * t)
    r = big.pick(c.sqrt(z), t)
    y = c.fma(c.poly(z, _ASIN), z * r, r)
    return c.copysign(big.pick(math.pi / 2 - y * 2.0, y), x)


@_f64("acos")
def _acos(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    big = t.cmp("ogt", 0.5)
    z = big.pick((1.0 - t) * 0.5, t * t)
    r = big.pick(c.sqrt(z), t)
    y = c.fma(c.poly(z, _ASIN), z * r, r)
    negative = x.cmp("olt", 0.0)
    outer = negative.pick(math.pi - y * 2.0, y * 2.0)
    return big.pick(outer, math.pi / 2 - c.copysign(y, x))


@_f64("atan")
def _atan(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    over = t.cmp("ogt", 1.0)
    u = over.pick(1.0 / t, t)
    shifted = u.cmp("ogt", math.sqrt(2) - 1)
    w = shifted.pick((u - 1.0) / (u + 1.0), u)
    z = w * w
    y = c.fma(c.poly(z, _ATAN), z * w, w)
    y = shifted.pick(y + math.pi / 4, y)
    y = over.pick(math.pi / 2 - y, y)
    return c.copysign(y, x)


@_f64("atan2")
def _atan2(c: _Code, a: _V, b: _V) -> _V:
    y, x = c.abs(a), c.abs(b)
    both_inf = y.cmp("oeq", _INF).both(x.cmp("oeq", _INF))
    ratio = both_inf.pick(1.0, x.cmp("oeq", 0.0).both(y.cmp("oeq", 0.0)).pick(0.0, y / x))
    angle = c.call("atan", ratio)
    angle = b.bits().cmp("slt", 0).pick(math.pi - angle, angle)
    return c.copysign(angle, a) + (a + b).cmp("uno", a + b).both(both_inf.pick(0.0, 1.0).cmp("oeq", 1.0)).pick(_NAN, 0.0)


@_f64("asinh")
def _asinh(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    y = c.call("log1p", t + t * t / (c.sqrt(t * t + 1.0) + 1.0))
    return c.copysign(t.cmp("ogt", 1e9).pick(c.call("log", t) + math.log(2), y), x)


@_f64("acosh")
def _acosh(c: _Code, x: _V) -> _V:
    t = x - 1.0
    y = c.call("log1p", t + c.sqrt(t * 2.0 + t * t))
    return x.cmp("ogt", 1e9).pick(c.call("log", x) + math.log(2), y)


@_f64("atanh")
def _atanh(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    return c.copysign(c.call("log1p", t * 2.0 / (1.0 - t)) * 0.5, x)


# --------------------------------------------------------------------------------------------- error function

#: erf(x)/x in x^2 below 1
_ERF = (2.8067128195611264e-13, -6.1967364287877e-12, 9.323723518153027e-11, -1.2277734486795524e-09,
        1.4806027146128752e-08, -1.636576864883207e-07, 1.6462110782018636e-06, -1.4925650236967501e-05,
        0.00012055332978879483, -0.0008548327023403001, 0.005223977625441674, -0.026866170645131218,
        0.11283791670955126, -0.37612638903183754, 1.1283791670955126)  # fmt: skip
#: erfc(x) exp(x^2) in (x-2)/(x+2) for x in [0.95, 6.2]
_ERFC = (-2.690685287638415e-08, 9.830291369925612e-08, 8.774043238955339e-08, -1.5598060112179644e-07,
         -5.051480727043005e-07, -4.081072785043452e-07, 1.1929768147530915e-06, 3.7490237691365516e-06,
         1.3937173375997772e-06, -1.3961438700186224e-05, -2.758043827556592e-05, 2.7524859574880708e-05,
         0.0001743612315534918, 4.3555636157858e-05, -0.0009819770300798169, -0.0008471432519763225,
         0.006997461739290044, 0.0037328924043445806, -0.07897858101573309, 0.24165819424246635, -0.4271858474139584,
         0.25539567631050575)  # fmt: skip
#: erf(x)/x in x^2 below 0.81
_ERF32 = (-1.0090026994389878e-05, 0.0001139673863912596, -0.0008499891072645067, 0.005221974285731961,
          -0.026865717151933376, 0.11283786605418339, -0.376126386868846, 1.128379167080315)  # fmt: skip
#: -log(erfc(x))/x on [0.9, 4.1]
_ERFQ32 = (1.3154690027017314e-07, -3.2270183101379867e-06, 3.318874601521609e-05, -0.00017136114150513812,
           0.000271503747176867, 0.002444850052577826, -0.02225505411881465, 0.10508679480038151, 0.6356372193565458,
           1.1285614536732118)  # fmt: skip


@_f64("erf")
def _erf64(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    small = c.poly(x * x, _ERF) * x
    u = c.clamp(t, 0.0, 6.2)
    tail = c.poly((u - 2.0) / (u + 2.0), _ERFC) * c.call("exp", -(u * u))
    return t.cmp("olt", 1.0).pick(small, c.copysign(1.0 - tail, x))


@_f32("erf")
def _erf32(c: _Code, x: _V) -> _V:
    t = c.abs(x)
    small = c.poly(x * x, _ERF32) * x
    u = c.clamp(t, 0.0, 4.1)
    large = 1.0 - c.call("exp", -(c.poly(u, _ERFQ32) * u))
    return t.cmp("olt", 0.9).pick(small, c.copysign(large, x))


@_f64("erfinv")
def _erfinv(c: _Code, y: _V) -> _V:
    """A rational start (Giles, "Approximating the erfinv function", 2011), then Newton's steps."""
    w = -c.call("log", (1.0 - y) * (y + 1.0))
    centre = c.poly(w - 2.5, (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                              -0.00125372503, -0.00417768164, 0.246640727, 1.50140941))  # fmt: skip
    far = c.poly(c.sqrt(w) - 3.0, (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                                   -0.0076224613, 0.00943887047, 1.00167406, 2.83297682))  # fmt: skip
    x = w.cmp("olt", 5.0).pick(centre, far) * y
    for _ in range(2):
        x = x - (c.call("erf", x) - y) * (math.sqrt(math.pi) / 2) * c.call("exp", x * x)
    x = c.abs(y).cmp("oeq", 1.0).pick(c.copysign(c.lift(_INF, "f64"), y), x)
    return c.abs(y).cmp("ogt", 1.0).pick(_NAN, x)


# --------------------------------------------------------------------------------------------- gamma

_LANCZOS = (0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
            12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7)  # fmt: skip


def _lanczos(c: _Code, x: _V) -> _V:
    """The series for gamma(x + 1), x >= -0.5."""
    total = c.lift(_LANCZOS[0], "f64") + 0.0
    for i, g in enumerate(_LANCZOS[1:], 1):
        total = total + g / (x + float(i))
    return total


def _sin_pi(c: _Code, x: _V) -> _V:
    """sin(pi x), exactly 0 at integers."""
    r = x - c.call("round", x)
    odd = c.call("trunc", c.call("round", x) * 0.5) * 2.0
    flip = (c.call("round", x) - odd).cmp("une", 0.0)
    y = c.call("sin", r * math.pi)
    return flip.pick(-y, y)


@_f64("gamma")
def _gamma(c: _Code, x: _V) -> _V:
    low = x.cmp("olt", 0.5)
    z = low.pick(1.0 - x, x) - 1.0
    t = z + 7.5
    # t^(z+1/2) in two halves: the whole may overflow where the product does not
    root = c.call("exp", c.call("log", t) * ((z + 0.5) * 0.5))
    g = c.call("exp", -t) * root * (math.sqrt(2 * math.pi) * _lanczos(c, z)) * root
    y = low.pick(math.pi / (_sin_pi(c, x) * g), g)
    y = x.cmp("ogt", 171.7).pick(_INF, y)
    y = x.cmp("olt", -184.0).pick(0.0, y)
    pole = x.cmp("olt", 0.0).both(c.call("trunc", x).cmp("oeq", x))
    y = pole.pick(_NAN, y)
    return x.cmp("oeq", 0.0).pick(1.0 / x, y)


@_f64("gammaln")
def _gammaln(c: _Code, x: _V) -> _V:
    low = x.cmp("olt", 0.5)
    z = low.pick(1.0 - x, x) - 1.0
    t = z + 7.5
    g = (z + 0.5) * c.call("log", t) - t + c.call("log", _lanczos(c, z) * math.sqrt(2 * math.pi))
    y = low.pick(math.log(math.pi) - c.call("log", c.abs(_sin_pi(c, x))) - g, g)
    y = x.cmp("oeq", 1.0).either(x.cmp("oeq", 2.0)).pick(0.0, y)
    pole = x.cmp("ole", 0.0).both(c.call("trunc", x).cmp("oeq", x))
    return c.abs(x).cmp("oeq", _INF).either(pole).pick(_INF, y)


def _psi(c: _Code, x: _V, order: int) -> _V:
    """digamma (order 0) or trigamma (1): recurrence to x >= 10, then the asymptotic series; reflection below 0."""
    low = x.cmp("olt", 0.0)
    z = low.pick(1.0 - x, x)
    total = c.lift(0.0, "f64") + 0.0
    for _ in range(10):
        small = z.cmp("olt", 10.0)
        term = 1.0 / z if order == 0 else 1.0 / (z * z)
        total = total + small.pick(term, 0.0)
        z = small.pick(z + 1.0, z)
    u = 1.0 / (z * z)
    if order == 0:
        series = c.poly(u, (-691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)) * u
        y = c.call("log", z) - 0.5 / z - series - total
        reflected = y - math.pi / c.call("tan", (x - c.call("round", x)) * math.pi)
    else:
        y = 1.0 / z + u * 0.5 + c.poly(u, (5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)) * u / z + total
        s = _sin_pi(c, x)
        reflected = (math.pi * math.pi) / (s * s) - y
    y = low.pick(reflected, y)
    pole = x.cmp("ole", 0.0).both(c.call("trunc", x).cmp("oeq", x))
    y = pole.pick(_NAN, y)
    return x.cmp("oeq", _INF).pick(_INF if order == 0 else 0.0, y)


_FUNCTIONS["digamma"] = functools.partial(_psi, order=0)
_FUNCTIONS["trigamma"] = functools.partial(_psi, order=1)
