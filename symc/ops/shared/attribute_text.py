"""The text of one attribute, as MXNet writes and reads it: numbers, truth values, names, tuples of numbers, None."""

from __future__ import annotations

import ast
import math
import re
import typing
from typing import Any, Literal, Union

import numpy as np


def attribute_text(value: Any) -> str:
    """A parameter as MXNet's text."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """numpy's numbers inside lists and tuples print with their types; Python's do not. A number keeps the digits of its
    type: 0.1 of float32 is not 0.10000000149."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else tuple(map(_plain, value))
    if isinstance(value, np.generic):
        return float(str(value)) if isinstance(value, np.floating) else value.item()
    return value


_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


def parse_value(annotation: Any, text: str) -> Any:
    """One attribute's text as its annotated type. ValueError or SyntaxError where it is none."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Union and type(None) in args or (args and type(None) in args and origin is not Literal):
        if text == "None":
            return None
        inner = next(a for a in args if a is not type(None))
        if inner is float and not text.strip("+-")[:1].isdigit() and not text.strip("+-").startswith("."):
            raise ValueError("expected a finite number or None")
        return parse_value(inner, text)
    if origin is Literal:
        # MXNet prints enumerations by name; None is spelled "None".
        for choice in args:
            if text == str(choice):
                return choice
        raise ValueError(f"expected one of {', '.join(map(repr, args))}")
    if annotation is bool:
        if text in ("True", "true", "1"):
            return True
        if text in ("False", "false", "0"):
            return False
        raise ValueError("expected True or False")
    if annotation is int:
        return _parse_int(text)
    if annotation is float:
        return _parse_float(text)
    if annotation is str:
        return text
    if origin is tuple:
        return _parse_tuple(text, args[0])
    raise TypeError(f"a parameter has an unsupported annotation {annotation}")


def _parse_int(text: str) -> int:
    if "_" in text or not _LEAST <= (value := _whole(text)) <= _MOST:
        raise ValueError("expected a whole number of at most 64 bits")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _parse_float(text: str) -> float:
    value = float(text)
    # what Python takes and C++ does not: digits grouped by _, blanks behind the number, numbers beyond the range
    if "_" in text or text != text.rstrip() or (math.isinf(value) and "inf" not in text.lower()):
        raise ValueError("expected a number")
    return value


#: a number alone, or numbers in round or square brackets
_TUPLE_TEXT = re.compile(r"\s*(-?\d[\d.eE+-]*|[(\[].*[)\]])\s*", re.DOTALL)


def literal(text: str) -> Any:
    """Numbers in brackets (MXNet once wrote 2L), as Python values. ValueError or SyntaxError for anything else."""
    try:
        return ast.literal_eval(text.replace("L", "").strip())
    except (MemoryError, RecursionError):
        raise ValueError("it is nested too deeply") from None


def _parse_tuple(text: str, item: Any) -> tuple[Any, ...]:
    if not _TUPLE_TEXT.fullmatch(text):
        raise ValueError("expected numbers in brackets")
    value = literal(text)
    value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    kinds = (int, float) if item is float else (int, type(None)) if type(None) in typing.get_args(item) else int
    for v in value:
        if not isinstance(v, kinds) or isinstance(v, bool):
            raise ValueError(f"{v!r} cannot be an element")
        if isinstance(v, int) and not _LEAST <= v <= _MOST:
            raise ValueError("an element has more than 64 bits")
    return value
