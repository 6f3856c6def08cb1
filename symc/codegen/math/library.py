"""Elementary functions as LLVM IR, one template for every vector width; no call into a math library.

    required("exp", "f32", 8, features)   the texts a module needs to call the function: {key: text}
    symbol("exp", "f32", 8)               its name: @symc.exp.f32x8

Functions are right for nan, infinities, signed zeros and denormals, and within ERRORS everywhere, with and without
fused multiply-add, but for gammaln and digamma of negative numbers: those have zeros between the poles, where the
error is a few units of 2^-53 of the larger of 1 and the result.

The f32 functions that networks spend time in (exp, log, tanh, sigmoid, erf, sin, cos, softrelu...) have f32 bodies of
15 to 50 instructions, which are inlined; other f32 functions go through f64. Only sin, cos and tan of large arguments
(beyond 1e5 to 1e6) and mod with quotients beyond 2^52 branch, to slower exact code.
"""

from __future__ import annotations

import functools

from symc.codegen.math import exp as vector_math_exp
from symc.codegen.math import log as vector_math_log
from symc.codegen.math import pow as vector_math_pow
from symc.codegen.math import special as vector_math_special
from symc.codegen.math import trig as vector_math_trig
from symc.codegen.math.code import ARITY, FUNCTIONS, Features, define, symbol

__all__ = ["ERRORS", "Features", "arity", "definition", "names", "required", "symbol"]

#: largest errors in units in the last place, in f32 and f64
ERRORS: dict[str, tuple[float, float]] = {
    "exp": (1.2, 1.1), "exp2": (1.2, 1.2), "expm1": (1.7, 2.2), "log": (0.9, 0.9), "log2": (1.7, 1.6),
    "log10": (1.9, 2.8), "log1p": (1.5, 1.4), "sin": (1.5, 0.9), "cos": (1.5, 0.9), "tan": (0.51, 2.2),
    "asin": (0.51, 1.2), "acos": (0.51, 1.1), "atan": (0.51, 1.8), "atan2": (0.51, 1.6), "sinh": (0.51, 2.6),
    "cosh": (0.51, 1.4), "tanh": (2.3, 2.6), "asinh": (0.51, 2.0), "acosh": (0.51, 2.0), "atanh": (0.51, 2.0),
    "sigmoid": (2.4, 2.3), "softrelu": (2.4, 1.8), "erf": (1.2, 1.5), "erfinv": (0.51, 2.0), "gamma": (0.51, 5.0),
    "gammaln": (0.51, 6.0), "digamma": (0.51, 4.0), "trigamma": (0.51, 6.0), "cbrt": (0.51, 0.51),
    "rcbrt": (0.51, 1.5), "rsqrt": (1.5, 1.5), "pow": (0.51, 1.1), "hypot": (0.51, 1.2), "mod": (0, 0),
    "floor": (0, 0), "ceil": (0, 0), "trunc": (0, 0), "round": (0, 0), "rint": (0, 0),
}  # fmt: skip

# importing them registers their functions
_MODULES = (vector_math_exp, vector_math_log, vector_math_pow, vector_math_special, vector_math_trig)


@functools.cache
def required(name: str, dtype: str, width: int, features: Features) -> dict[str, str]:
    """Declarations and definitions, by a unique key each: a module takes each key once, in any order.

    `dtype` is "f32" or "f64"; width 1 is the scalar type. Raises KeyError for a name that is not in names().
    """
    needs: dict[str, str] = {}
    define(name, dtype, width, features, needs)
    return needs


def definition(name: str, dtype: str, width: int, features: Features = Features()) -> str:
    """The text of the function alone."""
    return required(name, dtype, width, features)[symbol(name, dtype, width)]


def arity(name: str) -> int:
    """How many operands a function takes."""
    return ARITY.get(name, 1)


def names() -> list[str]:
    """Every function of the library."""
    return sorted(FUNCTIONS)
