"""AttrScope: attributes that every Symbol made inside a `with` block gets."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any, ClassVar


def current() -> AttrScope:
    """The scope in force in this thread."""
    found: AttrScope | None = getattr(AttrScope._current, "value", None)
    if found is None:
        found = AttrScope._current.value = AttrScope()
    return found


class _Scoped(type):
    """Makes `AttrScope.current` the scope in force; it may be assigned."""

    @property
    def current(cls) -> AttrScope:
        return current()

    @current.setter
    def current(cls, scope: AttrScope) -> None:
        AttrScope._current.value = scope


class AttrScope(metaclass=_Scoped):
    """`with AttrScope(ctx_group="dev1"): ...`; values are strings, inner scopes win. Override `get` to change them."""

    # programs read both, as in MXNet
    _current = threading.local()
    #: how often each name of a body of control flow was given
    _subgraph_names: ClassVar[defaultdict[str, int]] = defaultdict(int)

    def __init__(self, **kwargs: str) -> None:
        for key, value in kwargs.items():
            if not isinstance(value, str):
                raise ValueError(f"Attributes need to be string: {key!r} is of {type(value).__name__}")
        self._given = dict(kwargs)
        self._attr = self._given
        self._outer: list[AttrScope] = []

    def get(self, attr: dict[str, str] | None) -> dict[str, str]:
        """The scope's attributes with `attr` on top."""
        return {**self._attr, **(attr or {})}

    def __enter__(self) -> AttrScope:
        outer = current()
        self._outer.append(outer)
        self._attr = {**outer._attr, **self._given}
        AttrScope._current.value = self
        return self

    def __exit__(self, *exc: Any) -> None:
        AttrScope._current.value = self._outer.pop()
        self._attr = self._given
