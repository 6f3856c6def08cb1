"""Circular functions and their inverses."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

from symc.codegen.math.code import Code, Value, function

#: (sin(x)/x - 1)/x^2 and (cos(x) - 1 + x^2/2)/x^4 in x^2 on [0, 0.617]
_SIN = {
    "f32": (-0.00019587870338000357, 0.008332747966051102, -0.166666641831398),
    "f64": (
        1.5918117983848587e-10,
        -2.5051131688000294e-08,
        2.755731610179909e-06,
        -0.0001984126983675712,
        0.008333333333330948,
        -0.16666666666666666,
    ),
}
_COS = {
    "f32": (2.454792229400482e-05, -0.001388830249197781, 0.0416666641831398),
    "f64": (
        -1.1382625349305145e-11,
        2.0876146170181556e-09,
        -2.75573172712585e-07,
        2.4801587298764778e-05,
        -0.0013888888888887398,
        0.041666666666666664,
    ),
}
#: (asin(x)/x - 1)/x^2 in x^2 on [0, 0.25]
_ASIN = (0.028757851367602328, -0.014851887071528912, 0.01740087944288715, 0.005457506718563782,
         0.0103228143502052, 0.011479177415181617, 0.013971212973553311, 0.017352392720869945, 0.02237217294214989,
         0.030381944138531247, 0.04464285714635543, 0.07499999999998433, 0.16666666666666669)  # fmt: skip
#: (atan(x)/x - 1)/x^2 in x^2 on [0, 0.1716]
_ATAN = (0.016285183029778966, -0.03457004418600986, 0.04551573086660509, -0.052304498567083385,
         0.058789283985170936, -0.06666424833613538, 0.07692296372129963, -0.09090908753400499,
         0.11111111105153429, -0.14285714285659806, 0.19999999999999804, -0.3333333333333333)  # fmt: skip
_PI_LOW = 1.2246467991473532e-16  # pi - float(pi)


@functools.cache
def _pi(bits: int) -> int:
    """floor(pi * 2^bits), give or take a few units, by Machin's formula."""

    def arctan_inverse(n: int) -> int:
        term = total = (1 << bits) // n
        i = 1
        while term:
            term //= -n * n
            i += 2
            total += term // i
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239))


def _parts(widths: tuple[int, ...]) -> list[float]:
    """pi/2 as a sum of floats of so many significant bits each."""
    rest, parts = Fraction(_pi(400), 1 << 401), []
    for width in widths:
        exponent = math.frexp(float(rest))[1] - width
        unit = Fraction(2) ** exponent
        part = (rest // unit) * unit
        parts.append(float(part))
        rest -= part
    return parts


# -- reduction of huge arguments (Payne and Hanek, 1983)

_HUGE = "@symc.reduce_huge"
_BITS = "@symc.two_over_pi"


def _huge_scalar(c: Code) -> None:
    """{r, its rest, k mod 4} of x - k * pi/2 for |x| > 1, from the 192 bits of 2/pi that count for x."""
    if _HUGE in c.needs:
        return
    words = 21
    # 2/pi, after 64 zero bits, in words of 64, most significant first
    size = 64 * (words - 1)
    digits = (2 << (2 * size + 64)) // _pi(size + 64)
    table = [(digits >> (size - 64 * (i + 1))) & (2**64 - 1) for i in range(words - 1)]
    entries = ", ".join(f"i64 {w - 2**64 if w >> 63 else w}" for w in [0, *table])
    c.needs[_BITS] = f"{_BITS} = private unnamed_addr constant [{words} x i64] [{entries}], align 64"
    f = Code("f64", 1, c.features, c.needs)
    for name, parameters in (("fshl", "i64, i64, i64"), ("ctlz", "i64, i1")):
        f.needs.setdefault(f"llvm.{name}.i64", f"declare i64 @llvm.{name}.i64({parameters})")
    pattern = Value(f, "%a0", "f64").bits()
    exponent = (pattern >> 52) & 2047
    m = (pattern & (2**52 - 1)) | (1 << 52)
    # x = m * 2^(exponent - 1075); bits of weight 4 and more in m * 2^.. * 2/pi do not matter
    place = exponent - (1075 - 62)
    place = place.cmp("sgt", 0).pick(place, 0)
    first, shift = place >> 6, place & 63
    loads = []
    for i in range(4):
        at = f.emit(f"getelementptr i64, ptr {_BITS}, i64 {(first + i).name}", "i64")
        loads.append(f.emit(f"load i64, ptr {at.name}", "i64"))

    def funnel(high: Value, low: Value, by: Value) -> Value:
        return f.emit(f"call i64 @llvm.fshl.i64(i64 {high.name}, i64 {low.name}, i64 {by.name})", "i64")

    windows = [funnel(loads[i], loads[i + 1], shift).to("i128") for i in range(3)]
    wide = m.to("i128")
    product = (windows[2] * wide >> 64) + windows[1] * wide + (windows[0] * wide << 64)
    # the product is in units of 2^-126 of pi/2: to the nearest whole number, and what is left as a signed fraction
    k = ((product + (1 << 125)) >> 126).to("i64")
    fraction = product << 2
    below = fraction.cmp("slt", 0)
    magnitude = below.pick(f.lift(0, "i128") - fraction, fraction)
    high, low = (magnitude >> 64).to("i64"), magnitude.to("i64")
    zeros = f.emit(f"call i64 @llvm.ctlz.i64(i64 {(high | 1).name}, i1 true)", "i64")
    top, next_ = funnel(high, low, zeros), low << zeros
    scale = ((f.lift(1023 - 53, "i64") - zeros) << 52).as_float()
    a = (top >> 11).to_double() * scale
    b = (((top & 2047) << 42) | (next_ >> 22)).to_double() * scale * 2.0**-53
    p, rest = f.two_product(a, math.pi / 2)
    rest = rest + (a * (_PI_LOW / 2) + b * (math.pi / 2))
    p, rest = f.quick_two_sum(p, rest)
    negative = Value(f, "%a0", "f64").negative()
    flip = negative ^ below
    p, rest = flip.pick(-p, p), flip.pick(-rest, rest)
    k = negative.pick(f.lift(0, "i64") - k, k)
    result = "{ double, double, i64 }"
    x = f.emit(f"insertvalue {result} poison, double {p.name}, 0", "f64")
    x = f.emit(f"insertvalue {result} {x.name}, double {rest.name}, 1", "f64")
    x = f.emit(f"insertvalue {result} {x.name}, i64 {k.name}, 2", "f64")
    f.needs[_HUGE] = f.text(_HUGE, result, x.name, "double %a0", inline=False)


def _huge(c: Code, x: Value, large: Value, usual: list[Value]) -> list[Value]:
    """`usual` = [r, rest, k] of f64 x, replaced in the lanes that are `large`."""
    key, t, word = f"{_HUGE}.f64x{c.width}", c.type("f64"), c.type("i64")
    result = f"{{ {t}, {t}, {word} }}"
    if key not in c.needs:
        _huge_scalar(c)
        f = Code("f64", c.width, c.features, c.needs)
        f.needs[key] = f.text(key, result, _lane_by_lane(f, result), f"{t} %a0", inline=False)
    triple = c.emit(f"call {result} {key}({t} {x.name})", "f64").name
    values = [c.emit(f"extractvalue {result} {triple}, {i}", u.dtype) for i, u in enumerate(usual)]
    return [large.pick(v, u) for v, u in zip(values, usual)]


def _lane_by_lane(f: Code, result: str) -> str:
    """The name of the vectors of what the scalar reduction gives for each lane of %a0."""
    one = "{ double, double, i64 }"
    types = ("double", "double", "i64")
    values = ["poison", "poison", "poison"]
    for lane in range(f.width):
        x = "%a0"
        if f.width > 1:
            x = f.emit(f"extractelement {f.type('f64')} %a0, i64 {lane}", "f64").name
        triple = f.emit(f"call {one} {_HUGE}(double {x})", "f64").name
        for i, scalar in enumerate(types):
            part = f.emit(f"extractvalue {one} {triple}, {i}", "f64").name
            if f.width > 1:
                t = f"<{f.width} x {scalar}>"
                part = f.emit(f"insertelement {t} {values[i]}, {scalar} {part}, i64 {lane}", "f64").name
            values[i] = part
    whole = "poison"
    for i, scalar in enumerate(types):
        t = f"<{f.width} x {scalar}>" if f.width > 1 else scalar
        whole = f.emit(f"insertvalue {result} {whole}, {t} {values[i]}, {i}", "f64").name
    return whole


def _reduce(c: Code, x: Value) -> list[Value]:
    """[r, rest, k] with x = k * pi/2 + r + rest, for x >= 0; k counts modulo 4."""
    shifted = c.fma(x, 2 / math.pi, 1.5 * 2.0**52)
    n = shifted - 1.5 * 2.0**52
    # products with the first three parts (33 bits each) are exact for n below 2^20
    p0, p1, p2, p3 = _parts((33, 33, 33, 53))
    r, e1 = c.two_sum(x - n * p0, -(n * p1))
    r, e2 = c.two_sum(r, -(n * p2))
    r, rest = c.quick_two_sum(r, (e1 + e2) - n * p3)
    large = x > 1e6
    usual = [r, rest, shifted.bits()]
    return c.rare(large, usual, lambda: _huge(c, x, large, usual))


def _kernels(c: Code, r: Value, rest: Value | None) -> tuple[Value, Value]:
    """sin and cos of r + rest, within pi/4."""
    s = r * r
    half = s * 0.5
    level = 1.0 - half
    sine = s * r * c.poly(s, _SIN[r.dtype])
    cosine = s * s * c.poly(s, _COS[r.dtype])
    if rest is not None:
        sine = sine + rest * level
        cosine = cosine - r * rest
        cosine = cosine + ((1.0 - level) - half)
    return r + sine, level + cosine


def _finish(c: Code, x: Value, sine: Value, cosine: Value, k: Value, shift: int) -> Value:
    """sin (shift 0) or cos (1) of x from those of its remainder."""
    word = x.bits()
    k = k.to(word.dtype)
    k = k + 1 if shift else k
    y = (k & 1).equals(0).pick(sine, cosine)
    top = 31 if x.dtype == "f32" else 63
    sign = (k & 2) << (top - 1)
    if not shift:
        sign = sign ^ (word & (-1 << top))
    y = (y.bits() ^ sign).as_float()
    return x.is_finite().pick(y, math.nan)


def _turn(c: Code, x: Value, shift: int) -> Value:
    r, rest, k = _reduce(c, c.abs(x))
    sine, cosine = _kernels(c, r, rest)
    return _finish(c, x, sine, cosine, k, shift)


def _turn32(c: Code, x: Value, shift: int) -> Value:
    t = c.abs(x)
    if c.features.fma:
        shifted = c.fma(t, 2 / math.pi, 1.5 * 2.0**23)
        n = shifted - 1.5 * 2.0**23
        r = t
        for part in _parts((24, 24, 24)):
            r = c.fma(n, -part, r)
        k, large = shifted.bits(), t > 1e5
    else:
        wide = t.to("f64")
        shifted = wide * (2 / math.pi) + 1.5 * 2.0**52
        n = shifted - 1.5 * 2.0**52
        first, second = _parts((33, 53))
        r = ((wide - n * first) - n * second).to("f32")
        k, large = shifted.bits().to("i32"), t > 1e6

    def unusual() -> list[Value]:
        r64, _, k64 = _huge(c, t.to("f64"), large, [r.to("f64"), c.lift(0.0, "f64"), k.to("i64")])
        return [r64.to("f32"), k64.to("i32")]

    r, k = c.rare(large, [r, k], unusual)
    sine, cosine = _kernels(c, r, None)
    return _finish(c, x, sine, cosine, k, shift)


for _name, _shift in (("sin", 0), ("cos", 1)):
    function(_name, "f64")(functools.partial(_turn, shift=_shift))
    function(_name, "f32")(functools.partial(_turn32, shift=_shift))


@function("tan", "f64")
def _tan(c: Code, x: Value) -> Value:
    r, rest, k = _reduce(c, c.abs(x))
    sine, cosine = _kernels(c, r, rest)
    even = (k & 1).equals(0)
    y = even.pick(sine, cosine) / even.pick(cosine, sine)
    sign = (k << 63) ^ (x.bits() & (-1 << 63))
    return x.is_finite().pick((y.bits() ^ sign).as_float(), math.nan)


# -- inverses


def _arcsine(c: Code, t: Value) -> tuple[Value, Value, Value]:
    """(t > 1/2, asin(t), or asin of sqrt((1-t)/2) where t > 1/2, and what its rounding lost there)."""
    big = t > 0.5
    z = big.pick((1.0 - t) * 0.5, t * t)
    root = c.sqrt(z)
    r = big.pick(root, t)
    p, rest = c.two_product(root, root)
    # sqrt's own rounding error, from z - root^2
    lost = (big & (z > 0.0)).pick(((z - p) - rest) / (root * 2.0), 0.0)
    return big, r, c.fma(c.poly(z, _ASIN), z * r, lost)


@function("asin", "f64")
def _asin(c: Code, x: Value) -> Value:
    big, r, y = _arcsine(c, c.abs(x))
    outer = math.pi / 2 - (r * 2.0 - (_PI_LOW / 2 - y * 2.0))
    return c.copysign(big.pick(outer, r + y), x)


@function("acos", "f64")
def _acos(c: Code, x: Value) -> Value:
    big, r, y = _arcsine(c, c.abs(x))
    outer = (r + y) * 2.0
    outer = (x < 0.0).pick(math.pi - (outer - _PI_LOW), outer)
    s, low = c.copysign(r, x), c.copysign(y, x)
    return big.pick(outer, math.pi / 2 - (s - (_PI_LOW / 2 - low)))


def _arctangent(c: Code, y: Value, x: Value) -> Value:
    """atan(y / x) for y, x >= 0, not both 0 or infinite: the angle less 0, pi/4 or pi/2, whichever is near."""
    low = y < x * (math.sqrt(2) - 1)
    high = y > x * (math.sqrt(2) + 1)
    above = low.pick(y, high.pick(-x, y - x))
    below = low.pick(x, high.pick(y, y + x))
    w = above / below
    z = w * w
    rest = c.poly(z, _ATAN) * (z * w)
    base = low.pick(c.lift(0.0), high.pick(c.lift(math.pi / 2), math.pi / 4))
    base_low = low.pick(c.lift(0.0), high.pick(c.lift(_PI_LOW / 2), _PI_LOW / 4))
    return base + (w + (rest + base_low))


@function("atan", "f64")
def _atan(c: Code, x: Value) -> Value:
    t = c.abs(x)
    return c.copysign(_arctangent(c, t, c.lift(1.0)), x)


@function("atan2", "f64")
def _atan2(c: Code, a: Value, b: Value) -> Value:
    y, x = c.abs(a), c.abs(b)
    # both infinite is a diagonal, both 0 the axis
    infinite = y.equals(math.inf) & x.equals(math.inf)
    y, x = infinite.pick(1.0, y), infinite.pick(1.0, x)
    x = (y.equals(0.0) & x.equals(0.0)).pick(1.0, x)
    larger = (y > x).pick(y, x)
    scale = (larger > 2.0**1000).pick(c.lift(2.0**-100), (larger < 2.0**-900).pick(c.lift(2.0**100), 1.0))
    angle = _arctangent(c, y * scale, x * scale)
    angle = b.negative().pick(math.pi - (angle - _PI_LOW), angle)
    return (a.is_nan() | b.is_nan()).pick(math.nan, c.copysign(angle, a))
