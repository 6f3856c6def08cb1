"""Nested lists of arrays or Symbols as flat ones."""

from __future__ import annotations

from typing import Any, Union

#: how a value was nested: None for one that is no list, else the forms of its members and whether it was a tuple
Form = Union[None, list[Any]]


def flatten(value: Any) -> tuple[list[Any], Form]:
    """The members of nested lists in order, and how they were nested."""
    if not isinstance(value, (list, tuple)):
        return [value], None
    parts = [flatten(v) for v in value]
    return [x for flat, _ in parts for x in flat], [form for _, form in parts]


def regroup(flat: list[Any], form: Form) -> Any:
    """The nested lists again, of other members."""
    taken = iter(flat)

    def build(form: Form) -> Any:
        return next(taken) if form is None else [build(f) for f in form]

    return build(form)
