"""Classes that are made by name: `create("xavier", magnitude=2)`, or from the JSON that `dumps` wrote."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from symc.ir.definitions import place_of, same_definition

T = TypeVar("T")
C = TypeVar("C", bound=type)


def warn_if_replaced(what: str, name: str, old: Any, new: Any) -> None:
    """The warning that MXNet gives where a name is registered again (not for a notebook's cell that runs twice)."""
    if old is not None and not same_definition(old, new):
        message = f"{what} {name} is registered again: {place_of(new)} replaces {place_of(old)}"
        warnings.warn(message, UserWarning, stacklevel=3)


#: the registry of each base class
_BY_BASE: dict[type, Registry[Any]] = {}


class Registry(Generic[T]):
    """Names (without case) of one base class's subclasses. `what` names the kind in messages."""

    def __init__(self, base: type[T], what: str) -> None:
        self.base, self.what = base, what
        self.classes: dict[str, type[T]] = {}
        _BY_BASE[base] = self

    def register(self, klass: C, name: str | None = None) -> C:
        """Class decorator: known by its own name, or by the one given, from now on. As in MXNet, a name that is taken
        is replaced, with a warning."""
        name = (name or klass.__name__).lower()
        warn_if_replaced(self.what, name, self.classes.get(name), klass)
        self.classes[name] = klass
        return klass

    def alias(self, *names: str) -> Callable[[C], C]:
        """Class decorator: known by these names, too."""

        def mark(cls: C) -> C:
            for name in names:
                warn_if_replaced(self.what, name.lower(), self.classes.get(name.lower()), cls)
                self.classes[name.lower()] = cls
            return cls

        return mark

    def create(self, given: Any, *args: Any, **kwargs: Any) -> T:
        """An instance from itself, a name with arguments, or JSON (`["name", {...}]` or `{"<what>": "name", ...}`).
        AssertionError for an unknown name, as in MXNet."""
        if isinstance(given, self.base):
            if args or kwargs:
                raise ValueError(f"{given} is a {self.what} already; arguments make sense with a name only")
            return given
        if isinstance(given, dict):
            return self.create(**given) if self.what not in given else self._from_config(given)
        if not isinstance(given, str):
            raise ValueError(f"a {self.what} is named by a string, got {type(given).__name__}")
        if given.startswith("["):
            if args or kwargs:
                raise ValueError(f"arguments for {self.what} are in its JSON already")
            name, kwargs = json.loads(given)
            return self.create(name, **kwargs)
        if given.startswith("{"):
            return self._from_config({**json.loads(given), **kwargs})
        cls = self.classes.get(given.lower())
        if cls is None:
            raise AssertionError(f"{given!r} is no {self.what}; there are {', '.join(sorted(self.classes))}")
        return cls(*args, **kwargs)

    def _from_config(self, config: dict[str, Any]) -> T:
        return self.create(config[self.what], **{k: v for k, v in config.items() if k != self.what})


def _of(base_class: type, nickname: str) -> Registry[Any]:
    return _BY_BASE.get(base_class) or Registry(base_class, nickname)


def get_registry(base_class: type) -> dict[str, type]:
    """The registered classes of a base class, by name."""
    return dict(_of(base_class, base_class.__name__.lower()).classes)


def get_register_func(base_class: type, nickname: str) -> Callable[..., Any]:
    """A class decorator for subclasses of a base class of one's own: known by their name, or by one that is given, in
    small letters. `nickname` names the kind in messages."""
    kept = _of(base_class, nickname)

    def register(klass: Any, name: str | None = None) -> Any:
        if not (isinstance(klass, type) and issubclass(klass, base_class)):
            raise AssertionError(f"only subclasses of {base_class.__name__} are registered, got {klass!r}")
        kept.alias(name or klass.__name__)(klass)
        return klass

    return register


def get_alias_func(base_class: type, nickname: str) -> Callable[..., Any]:
    """As `get_register_func`, of a decorator that takes names."""
    register = get_register_func(base_class, nickname)

    def alias(*aliases: str) -> Callable[[Any], Any]:
        def mark(klass: Any) -> Any:
            for name in aliases:
                register(klass, name)
            return klass

        return mark

    return alias


def get_create_func(base_class: type, nickname: str) -> Callable[..., Any]:
    """A function that makes instances: of itself, by a name with arguments, or of JSON."""
    kept = _of(base_class, nickname)

    def create(*args: Any, **kwargs: Any) -> Any:
        given, *rest = args or (kwargs.pop(nickname),)
        return kept.create(given, *rest, **kwargs)

    return create
