"""One definition a name: the tables of what registers itself (primitives, nests, passes, operators)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

K = TypeVar("K")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform as dataclass_transform
else:
    T = TypeVar("T")

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        """What type checkers read; in typing itself only from Python 3.11 on."""
        return lambda function: function


def define(table: MutableMapping[K, Any], names: Iterable[K], made: Any, what: str) -> None:
    """Enter a class or function under its names. ValueError, with both places, for a name that something else has:
    what stood there would vanish without a word. What is only defined anew (see same_definition) replaces the first."""
    names = list(names)
    for name in names:
        other = table.get(name)
        if other is not None and not same_definition(other, made):
            label = getattr(name, "name", name)
            raise ValueError(
                f"{what} {label!r} is defined twice: by {place_of(other)}, and now by {place_of(made)}; "
                "choose another name, or take the first one out of its table"
            )
    for name in names:
        table[name] = made


def same_definition(old: Any, new: Any) -> bool:
    """Whether the second is the first defined anew: a notebook's cell that ran again, a module that is reloaded. What
    functions define is told apart, as one function may define many."""
    place = (old.__module__, old.__qualname__)
    return place == (new.__module__, new.__qualname__) and "<locals>" not in old.__qualname__


def place_of(made: Any) -> str:
    """Where a class or function is defined: its name, file and line (as far as they are known)."""
    name = f"{made.__module__}.{made.__qualname__}"
    try:
        return f"{name} ({inspect.getsourcefile(made)}:{inspect.getsourcelines(made)[1]})"
    except (OSError, TypeError):  # a notebook, an interactive line, a function written in C
        return name
