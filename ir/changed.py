"""Frozen dataclasses with other values in some fields."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _fields(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def replace(thing: T, /, **changes: Any) -> T:
    """As dataclasses.replace, in a fifth of the time, of classes that keep what they are given as it is: passes change
    statements, steps and nodes by the hundred thousand. What was computed of the old one is computed anew."""
    cls: Any = type(thing)
    made: T = object.__new__(cls)
    held, own = thing.__dict__, made.__dict__
    for name in _fields(cls):
        own[name] = changes.pop(name) if name in changes else held[name]
    if changes:
        raise TypeError(f"a {cls.__name__} has no field {next(iter(changes))!r}")
    return made
