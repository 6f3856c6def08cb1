"""Automatic names: a counter per hint, optionally behind a prefix; scopes are `with` blocks."""

from __future__ import annotations

import threading


class NameManager:
    """Gives names to Symbols made without one: `fullyconnected0`, `fullyconnected1`, ..."""

    _current = threading.local()

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}
        self._outer: NameManager | None = None

    def get(self, name: str | None, hint: str) -> str:
        """`name` itself, or the next name of the hint."""
        if name:
            return name
        count = self._counter.get(hint, 0)
        self._counter[hint] = count + 1
        return f"{hint}{count}"

    @classmethod
    def current(cls) -> NameManager:
        """The manager in force."""
        found: NameManager | None = getattr(cls._current, "value", None)
        if found is None:
            found = cls._current.value = NameManager()
        return found

    def __enter__(self) -> NameManager:
        self._outer = NameManager.current()
        NameManager._current.value = self
        return self

    def __exit__(self, *exc: object) -> None:
        NameManager._current.value = self._outer


class Prefix(NameManager):
    """Puts a prefix before every name, given ones included."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        return self._prefix + super().get(name, hint)


def current() -> NameManager:
    """The manager in force."""
    return NameManager.current()
