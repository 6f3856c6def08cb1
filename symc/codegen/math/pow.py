"""Powers, roots, remainders and rounding."""

from __future__ import annotations

import functools
import math

from symc.codegen.math.code import BIAS, MANTISSA, Code, Value, function
from symc.codegen.math.exp import exp_within
from symc.codegen.math.log import log_pair


def exp_pair(c: Code, high: Value, low: Value) -> Value:
    """exp(high + low); infinite or 0 beyond the range of exp."""
    # an infinite sum's rest is nan
    return exp_within(c, c.clamp(high, -746.0, 710.0), low=(c.abs(high) < 746.0).pick(low, 0.0))


def _signed_power(c: Code, a: Value, b: Value, y: Value) -> Value:
    """pow(a, b) of C99 from y = |a|^b, which counts only for |a| positive and finite, and |b| finite."""
    zero, infinity = c.lift(0.0, "f64"), c.lift(math.inf, "f64")
    t, size = c.abs(a), c.abs(b)
    integer = c.call("trunc", b).equals(b)
    half = b * 0.5
    odd = integer & c.call("trunc", half).cmp("one", half) & (size < math.inf)
    # |a| of 0 or infinity to a positive or negative power; then |b| infinite
    grows = b > 0.0
    y = t.equals(0.0).pick(grows.pick(zero, math.inf), y)
    y = t.equals(math.inf).pick(grows.pick(infinity, 0.0), y)
    y = size.equals(math.inf).pick(((t > 1.0) ^ (b < 0.0)).pick(infinity, 0.0), y)
    y = (a.negative() & odd).pick(-y, y)
    y = ((a < 0.0) & (t < math.inf) & integer.invert() & (size < math.inf)).pick(math.nan, y)
    y = (a.is_nan() | b.is_nan()).pick(a + b, y)
    ones = a.equals(1.0) | b.equals(0.0) | (t.equals(1.0) & size.equals(math.inf))
    return ones.pick(1.0, y)


@function("pow", "f64")
def _pow(c: Code, a: Value, b: Value) -> Value:
    high, low = log_pair(c, c.abs(a))
    p, rest = c.two_product(high, b)
    return _signed_power(c, a, b, exp_pair(c, p, rest + low * b))


@function("pow", "f32")
def _pow32(c: Code, a: Value, b: Value) -> Value:
    a, b = a.to("f64"), b.to("f64")
    y = c.call("exp", b * c.call("log", c.abs(a)))
    return _signed_power(c, a, b, y).to("f32")


@function("rsqrt", "f32", "f64")
def _rsqrt(c: Code, x: Value) -> Value:
    return 1.0 / c.sqrt(x)


@function("cbrt", "f64")
def _cbrt(c: Code, x: Value) -> Value:
    """Through exp and log, then one step of Newton's; scaled so that the cube stays far from both ends."""
    t = c.abs(x)
    tiny, huge = t < 2.0**-900, t > 2.0**900
    u = t * tiny.pick(c.lift(2.0**180), huge.pick(c.lift(2.0**-180), 1.0))
    y = c.call("exp", c.call("log", u) * (1 / 3))
    square, rest = c.two_product(y, y)
    cube, lost = c.two_product(square, y)
    y = y - ((cube - u) + (lost + rest * y)) / (square * 3.0)
    y = y * tiny.pick(c.lift(2.0**-60), huge.pick(c.lift(2.0**60), 1.0))
    return c.copysign((t.equals(0.0) | t.equals(math.inf)).pick(t, y), x)


@function("rcbrt", "f64")
def _rcbrt(c: Code, x: Value) -> Value:
    return 1.0 / c.call("cbrt", x)


@function("hypot", "f64")
def _hypot(c: Code, a: Value, b: Value) -> Value:
    x, y = c.abs(a), c.abs(b)
    larger = (x > y).pick(x, y)
    huge, tiny = larger > 2.0**500, larger < 2.0**-500
    down = huge.pick(c.lift(2.0**-600), tiny.pick(c.lift(2.0**600), 1.0))
    up = huge.pick(c.lift(2.0**600), tiny.pick(c.lift(2.0**-600), 1.0))
    u, v = x * down, y * down
    return _infinite(x, y, c.sqrt(c.fma(u, u, v * v)) * up)


@function("hypot", "f32")
def _hypot32(c: Code, a: Value, b: Value) -> Value:
    x, y = a.to("f64"), b.to("f64")
    return _infinite(c.abs(a), c.abs(b), c.sqrt(c.fma(x, x, y * y)).to("f32"))


def _infinite(x: Value, y: Value, result: Value) -> Value:
    """Infinity where one side is infinite, even if the other is nan."""
    return (x.equals(math.inf) | y.equals(math.inf)).pick(math.inf, result)


# -- remainders


def _fmod_step(c: Code, a: Value, b: Value) -> Value:
    """a mod b, exact, for 0 <= a < 2^53 b."""
    q = c.call("trunc", a / b)
    p, rest = c.two_product(q, b)
    r = (a - p) - rest
    # the rounded quotient may have reached the next integer
    return (r < 0.0).pick(r + b, r)


def _fmod_step_text(c: Code) -> str:
    """The text of a function that takes (a, b), both positive, and lowers a by a multiple of b * 2^k; k keeps the
    quotient below 2^52, or is 0."""
    key = f"@symc.fmod_step.f64x{c.width}"
    if key not in c.needs:
        f = Code("f64", c.width, c.features, c.needs)
        a, b = Value(f, "%a", "f64"), Value(f, "%b", "f64")
        small = b < 2.0**-1022
        exponent_b = (small.pick(b * 2.0**54, b).bits() >> 52) - small.pick(f.lift(54, "i64"), 0)
        gap = (a.bits() >> 52) - exponent_b - 51
        gap = gap.cmp("sgt", 0).pick(gap, 0)
        half = gap >> 1
        scaled = b
        for part in (half, gap - half):
            # at most 2^1023 each
            scaled = scaled * ((part + BIAS["f64"]) << 52).as_float()
        r = _fmod_step(f, a, scaled)
        t = f.type("f64")
        f.needs[key] = f.text(key, t, r.name, f"{t} %a, {t} %b")
    return key


def _fmod_large(c: Code, a: Value, b: Value) -> Value:
    """a mod b for any positive finite a and b: steps until every a is below its b."""
    key, t, mask = _fmod_step_text(c), c.type("f64"), c.type("i1")
    name = f"@symc.fmod_large.f64x{c.width}"
    some = (
        f"  %packed = bitcast {mask} %more to i{c.width}\n  %some = icmp ne i{c.width} %packed, 0"
        if c.width > 1
        else "  %some = or i1 %more, false"
    )
    c.needs.setdefault(
        name,
        f"define internal {t} {name}({t} %a, {t} %b) noinline nounwind willreturn memory(none) {{\n"
        f"entry:\n  br label %loop\nloop:\n"
        f"  %x = phi {t} [ %a, %entry ], [ %next, %loop ]\n"
        f"  %lowered = call {t} {key}({t} %x, {t} %b)\n"
        f"  %above = fcmp oge {t} %x, %b\n"
        f"  %next = select {mask} %above, {t} %lowered, {t} %x\n"
        f"  %more = fcmp oge {t} %next, %b\n{some}\n"
        f"  br i1 %some, label %loop, label %end\nend:\n  ret {t} %next\n}}",
    )
    return c.emit(f"call {t} {name}({t} {a.name}, {t} {b.name})", "f64")


@function("mod", "f64")
def _mod(c: Code, a: Value, b: Value) -> Value:
    """The remainder with the sign of b, and 0 for b = 0; MXNet computes it from C's fmod, as here."""
    x, y = c.abs(a), c.abs(b)
    usable = a.is_finite() & (y > 0.0) & (y < math.inf)
    x1, y1 = usable.pick(x, 1.0), usable.pick(y, 1.0)
    far = x1 * 2.0**-52 >= y1
    [r] = c.rare(far, [_fmod_step(c, x1, y1)], lambda: [_fmod_large(c, x1, y1)])
    # for infinite b the remainder is a itself; infinite a and nan give nan
    r = usable.pick(r, y.equals(math.inf).pick(x + (a - a), math.nan))
    r = c.copysign(r, a)
    other = (a.bits() ^ b.bits()).cmp("slt", 0) & r.cmp("une", 0.0)
    return b.equals(0.0).pick(0.0, other.pick(r + b, r))


# -- rounding


def _round_with(c: Code, x: Value, word: str) -> Value:
    """floor, ceil or trunc; without the instruction by adding and taking away a large number."""
    if c.features.round:
        return c.intrinsic(word, x)
    limit = 2.0 ** MANTISSA[x.dtype]
    t = c.abs(x)
    near = (t + limit) - limit
    if word == "trunc":
        y = (near > t).pick(near - 1.0, near)
    else:
        y = c.copysign(near, x)
        y = (y > x).pick(y - 1.0, y) if word == "floor" else (y < x).pick(y + 1.0, y)
    return (t < limit).pick(c.copysign(y, x), x)


for _word in ("floor", "ceil", "trunc"):
    function(_word, "f32", "f64")(functools.partial(_round_with, word=_word))


@function("round", "f32", "f64")
def _round(c: Code, x: Value) -> Value:
    """To the nearest integer, ties away from 0."""
    whole = c.call("trunc", x)
    step = c.copysign(c.lift(1.0, x.dtype), x)
    return (c.abs(x - whole) >= 0.5).pick(whole + step, whole)


@function("rint", "f32", "f64")
def _rint(c: Code, x: Value) -> Value:
    """To the nearest integer, ties to the smaller one (MXNet's rint)."""
    below, above = c.call("floor", x), c.call("ceil", x)
    return ((x - below) <= (above - x)).pick(below, above)
