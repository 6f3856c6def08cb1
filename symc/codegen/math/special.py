"""The error function, its inverse, and gamma's family."""

from __future__ import annotations

import math
from collections.abc import Callable

from symc.codegen.math.code import Code, Value, function
from symc.codegen.math.exp import exp_limited, exp_within
from symc.codegen.math.log import log_pair

#: erf(x)/x in x^2 on [0, 1]
_ERF = (-4.230945824295338e-12, 8.709045129053106e-11, -1.216456005728345e-09, 1.4792401209404813e-08,
        -1.6364642158167616e-07, 1.6462045441468418e-06, -1.4925647567519332e-05, 0.00012055332902888736,
        -0.000854832702193483, 0.0052239776254232985, -0.02686617064512984, 0.1128379167095512,
        -0.37612638903183754, 1.1283791670955126)  # fmt: skip
#: erfc(x) exp(x^2) in (x-2)/(x+2) for x in [0.98, 6.1]
_ERFC = (-2.9225121416020097e-08, 1.0364446761675588e-07, 8.446411221843401e-08, -1.571823598725803e-07,
         -5.03238657077116e-07, -4.0833836623768726e-07, 1.192585214657053e-06, 3.7491372587900336e-06,
         1.393756670926098e-06, -1.396145586315812e-05, -2.758044023983507e-05, 2.7524860919681047e-05,
         0.0001743612315875969, 4.3555636098489825e-05, -0.0009819770300789762, -0.0008471432519748724,
         0.0069974617392900024, 0.003732892404344563, -0.07897858101573309, 0.24165819424246635,
         -0.4271858474139584, 0.25539567631050575)  # fmt: skip
#: erf(x)/x - 1 in x^2 on [0, 0.865]
_ERF32 = (-0.0005967310862615705, 0.0049889059737324715, -0.026763994246721268, 0.11281754076480865,
          -0.37612488865852356, 0.12837915122509003)  # fmt: skip
#: -log(erfc(x))/x on [0.92, 3.95]
_ERFQ32 = (1.674598934187088e-05, -0.0003755579818971455, 0.0038428837433457375, -0.024146966636180878,
           0.10662838816642761, 0.634952962398529, 1.1286871433258057)  # fmt: skip
#: erfinv(y)/y, with w = -log(1 - y^2): in w - 3.125 on [0, 6.3]; in sqrt(w) - 3.25 on [2.49, 4.01]; in sqrt(w) - 5 on
#: [3.99, 6.02]
_ERFINV_CENTRE = (-3.625502695198861e-22, 3.2011049346727176e-21, 2.0188101350630903e-20, -3.477387093047827e-19,
                  6.023275446772442e-19, 1.5520142231363264e-17, -1.2207759631457903e-16, -3.952940114530596e-17,
                  6.52057337272076e-15, -4.001894098721346e-14, -8.071441439596867e-14, 2.6305207635397846e-12,
                  -1.2978825971324588e-11, -5.4143010731451284e-11, 1.0512234347167468e-09, -4.112660488815244e-09,
                  -2.9070391377969756e-08, 4.2347881689585674e-07, -1.36546917577143e-06, -1.3882523394015669e-05,
                  0.0001867342080197539, -0.0007407025341546219, -0.006033670871426839, 0.24015818242558834,
                  1.6536545626831027)  # fmt: skip
_ERFINV_MIDDLE = (-1.3958023542991192e-09, 7.551732458851473e-09, -1.1161361838309653e-08, -2.0559420999446915e-08,
                  1.2631199906814287e-07, -2.459149594057554e-07, -2.3858260747815215e-08, 1.4818682924574064e-06,
                  -3.987349015665568e-06, 2.932472486478249e-06, 1.2465481955054665e-05, -4.732065500811663e-05,
                  6.828703881132073e-05, 2.4031509089838923e-05, -0.00035503780559854284, 0.0009532893418980105,
                  -0.00168827553591809, 0.0024914420979433383, -0.0037512085082123878, 0.005370914553555258,
                  1.0052589676941652, 3.0838856104922208)  # fmt: skip
_ERFINV_END = (-1.679036859252103e-13, -7.926736536054175e-13, 6.783156246377402e-12, -1.6443043902695613e-11,
               1.2639982165215632e-11, 6.11720619813179e-11, -3.7803861342184284e-10, 1.3259496864540846e-09,
               -3.5363699142630573e-09, 7.814229751758656e-09, -1.521250503938473e-08, 2.9021913711081786e-08,
               -6.75731179973046e-08, 2.2905190756801525e-07, -9.930254201370969e-07, 4.526052673100389e-06,
               -1.968177120383564e-05, 7.599527808464302e-05, -0.00021503011979881977, -0.0001387193183797559,
               1.0103004648645448, 4.849906401408584)  # fmt: skip
#: 1/gamma(x) in x - 1.5 on [1, 2]
_RGAMMA = (-2.76936022375562e-10, -8.475278521147793e-10, 1.7107616495239485e-08, -8.917479963625388e-08,
           5.7941594656335966e-08, 2.1562132202348084e-06, -1.3896805564037045e-05, 2.5355203461086256e-05,
           0.00015235762075417166, -0.0011107302544683159, 0.002120731442573585, 0.006612897826817975,
           -0.04215516936853562, 0.050966860247706226, 0.17510202604393457, -0.5266544355255445,
           -0.0411745264452831, 1.1283791670955126)  # fmt: skip
#: log(gamma(x)) / ((x-1)(x-2)) as a quotient of polynomials in x - 0.5 on [0.5, 2.5]
_LGAMMA_P = (2.598329695961595e-06, 0.001548582252050006, 0.06107244411316858, 0.7511789341041631,
             4.018533373130705, 10.808959908971698, 15.608127912160557, 12.206026370812488, 4.846999330921002,
             0.7631532572329333)  # fmt: skip
_LGAMMA_Q = (0.00037967092297359965, 0.023886680416648265, 0.4285688677479152, 3.260083069506769,
             12.452694510124342, 26.00527747273638, 30.78344334244324, 20.488517833321087,
             7.115133552618746, 1.0)  # fmt: skip
#: digamma(x) / (x - root) as a quotient of polynomials in x - 1 on [1, 2]; the root in two parts
_PSI_P = (1.0894678528383955e-06, 0.0005811135063985677, 0.01996408274151926, 0.21631407251432455,
          0.9711327526262392, 1.8675925104074453, 1.2503801375034054)  # fmt: skip
_PSI_Q = (0.00012043151172286901, 0.006100975692434821, 0.09111902253303285, 0.5710455727133128,
          1.6630736963665909, 2.1771665986671342, 1.0)  # fmt: skip
_PSI_ROOT = (1.4616321449683622, 9.549995429965697e-17)
#: Stirling's series: log(gamma(x)) - (x - 1/2) log(x) + x - log(2 pi)/2 is 1/x times this in 1/x^2
_STIRLING = (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
#: the same for log(x) - 1/(2x) - digamma(x), 1/x^2 times this, and trigamma(x) - 1/x - 1/(2 x^2), 1/x^3 times this
_DIGAMMA = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
_TRIGAMMA = (7 / 6, -691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)
#: log(2 pi)/2 and what its rounding lost
_HALF_LOG_2PI = (0.9189385332046728, -3.8782941580672414e-17)


# -- error function


@function("erf", "f64")
def _erf(c: Code, x: Value) -> Value:
    t = c.abs(x)
    small = c.poly(x * x, _ERF) * x
    u = c.at_most(t, 6.1)
    tail = c.poly((u - 2.0) / (u + 2.0), _ERFC) * exp_limited(c, -(u * u))
    return (t < 1.0).pick(small, c.copysign(1.0 - tail, x))


@function("erf", "f32")
def _erf32(c: Code, x: Value) -> Value:
    t = c.abs(x)
    small = c.fma(c.poly(x * x, _ERF32), x, x)
    u = c.at_most(t, 3.95)
    large = 1.0 - exp_limited(c, -(c.poly(u, _ERFQ32) * u))
    return (t < 0.92).pick(small, c.copysign(large, x))


@function("erfinv", "f64")
def _erfinv(c: Code, y: Value) -> Value:
    """Polynomials in three intervals of w = -log(1 - y^2), as in Giles, "Approximating the erfinv function" (2011)."""
    w = -c.call("log", (1.0 - y) * (y + 1.0))
    root = c.sqrt(w)
    middle = c.poly(root - 3.25, _ERFINV_MIDDLE)
    far = (w < 16.0).pick(middle, c.poly(root - 5.0, _ERFINV_END))
    x = (w < 6.25).pick(c.poly(w - 3.125, _ERFINV_CENTRE), far) * y
    t = c.abs(y)
    x = t.equals(1.0).pick(c.copysign(c.lift(math.inf), y), x)
    return (t > 1.0).pick(math.nan, x)


# -- gamma


def _sin_pi(c: Code, y: Value) -> Value:
    """sin(pi y) for y >= 0, exactly 0 at integers."""
    whole = c.call("round", y)
    half = whole * 0.5
    s = c.call("sin", (y - whole) * math.pi)
    return c.call("trunc", half).cmp("one", half).pick(-s, s)


def _pole(c: Code, x: Value) -> Value:
    """x is a negative integer or 0."""
    return (x <= 0.0) & c.call("trunc", x).equals(x)


def _lower(
    z: Value, limit: float, steps: int, total: Value, step: Callable[[Value, Value], Value]
) -> tuple[Value, Value]:
    """z less the integer that brings it below `limit`, and `total` after a step at each value on the way."""
    for _ in range(steps):
        above = z >= limit
        z = above.pick(z - 1.0, z)
        total = above.pick(step(total, z), total)
    return z, total


@function("gamma", "f64")
def _gamma(c: Code, x: Value) -> Value:
    """1/gamma on [1, 2] and the recurrence below 12, Stirling's series above, the reflection for x < 0.

    Stirling's value is computed as gamma(y) * 2^-128, since gamma(-y) exists where gamma(y) overflows.
    """
    y = c.abs(x)
    z, product = _lower(c.at_most(y, 12.0), 2.0, 10, c.lift(1.0), lambda p, z: p * z)
    first = y < 1.0
    small = product / c.poly(z - first.pick(c.lift(0.5), 1.5), _RGAMMA)
    u = c.clamp(y, 2.0, 200.0)
    high, low = log_pair(c, u)
    p, rest = c.two_product(high, u - 0.5)
    total, e1 = c.two_sum(p, -u)
    total, e2 = c.two_sum(total, _HALF_LOG_2PI[0])
    v = 1.0 / u
    rest = (rest + low * (u - 0.5)) + (e1 + e2) + (_HALF_LOG_2PI[1] + c.poly(v * v, _STIRLING) * v)
    large = exp_within(c, total, offset=-128, low=rest)
    stirling = y >= 12.0
    g = stirling.pick(large, small)
    # gamma(y) or, for x < 0, gamma(1 + y)
    positive = first.pick(g / y, g) * stirling.pick(c.lift(2.0**128), 1.0)
    next_ = first.pick(g, g * y)
    negative = -math.pi / (_sin_pi(c, y) * next_) * stirling.pick(c.lift(2.0**-128), 1.0)
    result = (x < 0.0).pick((y > 190.0).pick(0.0, negative), positive)
    result = ((x < 0.0) & _pole(c, x)).pick(math.nan, result)
    result = (x > 190.0).pick(math.inf, result)
    return x.is_nan().pick(x, x.equals(0.0).pick(1.0 / x, result))


@function("gammaln", "f64")
def _gammaln(c: Code, x: Value) -> Value:
    y = c.abs(x)
    first, large = y < 0.5, y >= 10.0
    z, product = _lower(c.at_most(y, 10.0), 2.5, 8, c.lift(1.0), lambda p, z: p * z)
    # gamma(1 + y) below 0.5, without rounding 1 + y
    u = first.pick(z + 0.5, z - 0.5)
    ends = first.pick(z, z - 1.0) * first.pick(z - 1.0, z - 2.0)
    centre = ends * (c.poly(u, _LGAMMA_P) / c.poly(u, _LGAMMA_Q))
    log = c.call("log", (first | large).pick(y, product))
    v = 1.0 / y
    stirling = (y - 0.5) * (log - 1.0) + (c.poly(v * v, _STIRLING) * v + (_HALF_LOG_2PI[0] - 0.5))
    positive = large.pick(stirling, centre + first.pick(-log, log))
    divisor = c.abs(_sin_pi(c, y)) * first.pick(1.0, y)
    negative = -c.call("log", divisor * (1 / math.pi)) - first.pick(centre, positive)
    result = (x < 0.0).pick(negative, positive)
    result = (y.equals(math.inf) | _pole(c, x)).pick(math.inf, result)
    return x.is_nan().pick(x, result)


@function("digamma", "f64")
def _digamma(c: Code, x: Value) -> Value:
    y = c.abs(x)
    first = y < 1.0
    z, total = _lower(c.at_most(y, 10.0), 2.0, 8, c.lift(0.0), lambda s, z: s + 1.0 / z)
    u = first.pick(z, z - 1.0)
    distance = first.pick(z - (_PSI_ROOT[0] - 1.0), z - _PSI_ROOT[0]) - _PSI_ROOT[1]
    centre = distance * (c.poly(u, _PSI_P) / c.poly(u, _PSI_Q))
    v = 1.0 / y
    s = v * v
    far = c.call("log", y) - v * 0.5 - c.poly(s, _DIGAMMA) * s
    above = (y >= 10.0).pick(far, centre + total)
    positive = first.pick(above - v, above)
    # digamma(1 + y) + pi / tan(pi y)
    turn = math.pi / c.call("tan", (y - c.call("round", y)) * math.pi)
    negative = first.pick(above, above + v) + turn
    result = (x < 0.0).pick(negative, positive)
    # at its poles MXNet answers +inf
    result = (_pole(c, x) | x.equals(-math.inf)).pick(math.inf, result)
    return x.equals(math.inf).pick(math.inf, result)


@function("trigamma", "f64")
def _trigamma(c: Code, x: Value) -> Value:
    y = c.abs(x)
    negative = x < 0.0
    z, total = negative.pick(y + 1.0, y), c.lift(0.0)
    for _ in range(10):
        small = z < 10.0
        total = small.pick(total + 1.0 / (z * z), total)
        z = small.pick(z + 1.0, z)
    v = 1.0 / z
    s = v * v
    value = (c.poly(s, _TRIGAMMA) * (s * v) + s * 0.5) + v + total
    sine = _sin_pi(c, y)
    ratio = math.pi / sine
    result = negative.pick(ratio * ratio - value, value)
    result = (_pole(c, x) | x.equals(-math.inf)).pick(math.nan, result)
    return x.equals(math.inf).pick(0.0, result)
