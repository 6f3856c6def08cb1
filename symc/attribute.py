"""AttrScope: attributes that every Symbol made inside a `with` block gets."""

from __future__ import annotations

import threading


class AttrScope:
    """`with AttrScope(ctx_group="dev1"): ...`; values are strings, inner scopes win."""

    _current = threading.local()

    def __init__(self, **kwargs: str) -> None:
        for key, value in kwargs.items():
            if not isinstance(value, str):
                raise ValueError(f"attribute {key!r} needs a string, got {type(value).__name__}")
        self._attr = dict(kwargs)
        self._outer: AttrScope | None = None

    def get(self, attr: dict[str, str] | None) -> dict[str, str]:
        """The scope's attributes with `attr` on top."""
        if self._attr:
            return {**self._attr, **(attr or {})}
        return dict(attr) if attr else {}

    @classmethod
    def current(cls) -> AttrScope:
        """The scope in force."""
        found: AttrScope | None = getattr(cls._current, "value", None)
        if found is None:
            found = cls._current.value = AttrScope()
        return found

    def __enter__(self) -> AttrScope:
        self._outer = AttrScope.current()
        merged = AttrScope()
        merged._attr = {**self._outer._attr, **self._attr}
        AttrScope._current.value = merged
        return self

    def __exit__(self, *exc: object) -> None:
        AttrScope._current.value = self._outer


def current() -> AttrScope:
    """The scope in force."""
    return AttrScope.current()
