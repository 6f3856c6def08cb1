"""Automatic names: a counter per hint, optionally behind a prefix; scopes are `with` blocks."""

from __future__ import annotations

import threading
from typing import Any

_scope = threading.local()


def current() -> NameManager:
    """The manager in force in this thread."""
    found: NameManager | None = getattr(_scope, "value", None)
    if found is None:
        found = _scope.value = NameManager()
    return found


class _Scoped(type):
    """Makes `NameManager.current` the manager in force; it may be assigned."""

    @property
    def current(cls) -> NameManager:
        return current()

    @current.setter
    def current(cls, manager: NameManager) -> None:
        _scope.value = manager


class NameManager(metaclass=_Scoped):
    """Gives names to Symbols made without one: `fullyconnected0`, `fullyconnected1`, ... Override `get` for others."""

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
        _scope.value = self
        return self

    def __exit__(self, *exc: Any) -> None:
        _scope.value = self._outer.pop()


class Prefix(NameManager):
    """Puts a prefix before every name, given ones included."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        return self._prefix + super().get(name, hint)
