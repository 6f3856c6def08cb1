"""Elementary functions as LLVM IR, one template for every vector width; no call into a math library.

    required("exp", "f32", 8, features)   the texts a module needs to call the function: {key: text}
    symbol("exp", "f32", 8)               its name: @symc.exp.f32x8
"""

from __future__ import annotations

import functools

from symc.codegen import vector_math_exp, vector_math_log, vector_math_pow, vector_math_special, vector_math_trig
from symc.codegen.vector_math_code import ARITY, FUNCTIONS, Features, define, symbol

__all__ = ["Features", "arity", "definition", "names", "required", "symbol"]

# importing them registers their functions
_MODULES = (vector_math_exp, vector_math_log, vector_math_pow, vector_math_special, vector_math_trig)


@functools.lru_cache(maxsize=None)
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
