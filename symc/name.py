"""Automatic names: a counter per hint, optionally behind a prefix; scopes are `with` blocks."""

from __future__ import annotations

import threading
from typing import Any


def current() -> NameManager:
    """The manager in force in this thread."""
    found: NameManager | None = getattr(NameManager._current, "value", None)
    if found is None:
        found = NameManager._current.value = NameManager()
    return found


class _Scoped(type):
    """Makes `NameManager.current` the manager in force; it may be assigned."""

    @property
    def current(cls) -> NameManager:
        return current()

    @current.setter
    def current(cls, manager: NameManager) -> None:
        NameManager._current.value = manager


class NameManager(metaclass=_Scoped):
    """Gives names to Symbols made without one: `fullyconnected0`, `fullyconnected1`, ... Override `get` for others."""

    # programs read it, as in MXNet
    _current = threading.local()

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}
        self._outer: list[NameManager] = []

    def get(self, name: str | None, hint: str) -> str:
        """`name` itself, or the next name of the hint."""
        if name:
            return name
        count = self._counter.get(hint, 0)
        self._counter[hint] = count + 1
        return f"{hint}{count}"

    def __enter__(self) -> NameManager:
        self._outer.append(current())
        NameManager._current.value = self
        return self

    def __exit__(self, *exc: Any) -> None:
        NameManager._current.value = self._outer.pop()


class Prefix(NameManager):
    """Puts a prefix before every name, given ones included."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        return self._prefix + super().get(name, hint)
