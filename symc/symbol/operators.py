"""The functions of `mx.sym`, its sub-namespaces, and the operators and methods of Symbol, all from the registry.

A function is made from an operator's class: inputs first, then its parameters with MXNet's defaults, `name` and `attr`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

from symc.ops.base import OPERATORS, Operator
from symc.ops.functions import METHODS, describe, signature
from symc.symbol.compose import compose
from symc.symbol.symbol import Symbol


def make_function(cls: type[Operator], called: str) -> Callable[..., Symbol]:
    """The function of `mx.sym` for an operator under one of its names."""

    def function(*args: Any, name: str | None = None, attr: dict[str, str] | None = None, **kwargs: Any) -> Symbol:
        kwargs.pop("out", None)
        # an operator that is defined anew (in a notebook) replaces the one the function was made for
        return compose(OPERATORS.get(cls.op_name, cls), called, args, kwargs, name, attr)

    function.__name__ = function.__qualname__ = called
    function.__doc__ = describe(cls)
    function.__module__ = "symc.symbol"
    function.__signature__ = signature(cls, Symbol)  # type: ignore[attr-defined]
    return function


#: the functions of operators that were registered after the module was imported
made_later = functools.cache(make_function)


# --------------------------------------------------------------------------------------------- Python operators


def _call(op: str, called: str, *args: Any, **kwargs: Any) -> Symbol:
    return compose(OPERATORS[op], called, args, kwargs)


#: method: (operator on two Symbols, its hint, operator with a scalar, its hint)
_BINARY = {
    "add": ("elemwise_add", "_plus", "_plus_scalar", "_plusscalar"),
    "sub": ("elemwise_sub", "_minus", "_minus_scalar", "_minusscalar"),
    "mul": ("elemwise_mul", "_mul", "_mul_scalar", "_mulscalar"),
    "truediv": ("elemwise_div", "_div", "_div_scalar", "_divscalar"),
    "mod": ("_mod", "_mod", "_mod_scalar", "_modscalar"),
    "pow": ("_power", "_power", "_power_scalar", "_powerscalar"),
    "eq": ("_equal", "_equal", "_equal_scalar", "_equal_scalar"),
    "ne": ("_not_equal", "_not_equal", "_not_equal_scalar", "_not_equal_scalar"),
    "gt": ("_greater", "_greater", "_greater_scalar", "_greater_scalar"),
    "ge": ("_greater_equal", "_greater_equal", "_greater_equal_scalar", "_greater_equal_scalar"),
    "lt": ("_lesser", "_lesser", "_lesser_scalar", "_lesser_scalar"),
    "le": ("_lesser_equal", "_lesser_equal", "_lesser_equal_scalar", "_lesser_equal_scalar"),
}
_REVERSED = {
    "sub": ("_rminus_scalar", "_rminusscalar"),
    "truediv": ("_rdiv_scalar", "_rdivscalar"),
    "mod": ("_rmod_scalar", "_rmodscalar"),
    "pow": ("_rpower_scalar", "_rpower_scalar"),
}


def is_scalar(value: Any) -> bool:
    """Python and numpy numbers."""
    import numpy as np

    return isinstance(value, (int, float, bool, np.number))


def _binary(word: str) -> Callable[[Symbol, Any], Symbol]:
    both, both_hint, one, one_hint = _BINARY[word]

    def method(self: Symbol, other: Any) -> Symbol:
        if isinstance(other, Symbol):
            return _call(both, both_hint, self, other)
        if is_scalar(other):
            return _call(one, one_hint, self, scalar=other)
        raise TypeError(f"type {type(other)} not supported")

    return method


def _reversed(word: str) -> Callable[[Symbol, Any], Symbol]:
    one, hint = _REVERSED[word]

    def method(self: Symbol, other: Any) -> Symbol:
        if is_scalar(other):
            return _call(one, hint, self, scalar=other)
        raise TypeError(f"type {type(other)} not supported")

    return method


def attach_methods(namespace: dict[str, Any]) -> None:
    """Give Symbol its arithmetic and its operator methods."""
    for word in _BINARY:
        setattr(Symbol, f"__{word}__", _binary(word))
    for word in ("add", "mul"):
        setattr(Symbol, f"__r{word}__", _binary(word))
    for word in _REVERSED:
        setattr(Symbol, f"__r{word}__", _reversed(word))
    Symbol.__neg__ = lambda self: _call("_mul_scalar", "_mulscalar", self, scalar=-1.0)  # type: ignore[attr-defined]
    Symbol.__abs__ = lambda self: self.abs()  # type: ignore[attr-defined]
    Symbol.__div__ = Symbol.__truediv__  # type: ignore[attr-defined]
    for name in METHODS:
        if name in namespace:
            setattr(Symbol, name, _method(namespace[name], name))
    Symbol.astype = _method(namespace["cast"], "astype")  # type: ignore[attr-defined]
    for name in ("expand_dims", "flatten", "squeeze"):
        if name in namespace:
            setattr(Symbol, name, _without_inplace(namespace[name], name))
    Symbol.reshape = _reshape  # type: ignore[attr-defined]


def _reshape(self: Symbol, *shape: Any, **kwargs: Any) -> Symbol:
    """Reshape with MXNet's codes; the shape as a tuple, after which `reverse` may follow, or as several arguments."""
    if shape and isinstance(shape[0], (tuple, list)):
        kwargs["shape"] = shape[0]
        kwargs.update(zip(("reverse",), shape[1:]))
    elif shape:
        kwargs["shape"] = shape
    return compose(OPERATORS["Reshape"], "reshape", (self,), kwargs, kwargs.pop("name", None), kwargs.pop("attr", None))


def _without_inplace(function: Callable[..., Symbol], name: str) -> Callable[..., Symbol]:
    """A method whose `inplace` says nothing for Symbols."""

    def method(self: Symbol, *args: Any, inplace: bool = False, **kwargs: Any) -> Symbol:
        if name == "squeeze" and not args:
            kwargs.setdefault("axis", None)
        return function(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, function.__doc__
    return method


def _method(function: Callable[..., Symbol], name: str) -> Callable[..., Symbol]:
    def method(self: Symbol, *args: Any, **kwargs: Any) -> Symbol:
        return function(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, function.__doc__
    return method


# --------------------------------------------------------------------------------------------- helpers


def _either(ops: tuple[str, str, str], hints: tuple[str, str, str], python: Callable[[Any, Any], Any]) -> Any:
    """A function of two operands, each a Symbol or a number: the operators (and hints of names) of two Symbols, of a
    Symbol and a number, of a number and a Symbol; `python` of two numbers."""
    both, scalar, reverse = ops

    def function(left: Any, right: Any) -> Any:
        if isinstance(left, Symbol) and isinstance(right, Symbol):
            return _call(both, hints[0], left, right)
        if isinstance(left, Symbol) and is_scalar(right):
            return _call(scalar, hints[1], left, scalar=right)
        if is_scalar(left) and isinstance(right, Symbol):
            return _call(reverse, hints[2], right, scalar=left)
        if is_scalar(left) and is_scalar(right):
            return python(left, right)
        raise TypeError(f"types ({type(left)}, {type(right)}) not supported")

    return function


def helper_functions() -> dict[str, Any]:
    """pow, power, maximum, minimum and hypot of Symbols and numbers."""
    table: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
        "power": ("rpower", operator.pow), "hypot": ("hypot", math.hypot),
        "maximum": ("maximum", max), "minimum": ("minimum", min),
    }  # fmt: skip
    made = {
        word: _either(
            (f"_{word}", f"_{word}_scalar", f"_{mirrored}_scalar"),
            (f"_{word}", f"_{word}scalar", f"_{mirrored}scalar"),
            python,
        )
        for word, (mirrored, python) in table.items()
    }
    raised = made["power"]

    def power(base: Any, exp: Any) -> Any:
        return raised(base, exp)

    made["power"] = made["pow"] = power
    texts = {"maximum": "The larger of both", "minimum": "The smaller of both", "hypot": "sqrt(left^2 + right^2)"}
    texts["power"] = "base^exp"
    for name, text in texts.items():
        made[name].__name__ = made[name].__qualname__ = name
        made[name].__doc__ = f"{text}, elementwise, of Symbols (of one shape) and numbers; a number if both are."
    return made
