"""Where values come from: a Symbol and the user's line, or a pass and what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Union


@dataclass(frozen=True)
class SymOrigin:
    """The Symbol a value comes from: its name, MXNet operator, and the user's file and line (0: unknown). `strict`: it
    stands in a region whose values keep their rounding (symc.passes.manager.strict)."""

    name: str
    op: str
    file: str = ""
    line: int = 0
    strict: bool = False


@dataclass(frozen=True, eq=False)
class DerivedOrigin:
    """A value made by a pass: `fuse#3(...)`; parents are the origins it was made from (a shared DAG). It is `strict`
    where one of them is."""

    pass_name: str
    action: int
    parents: tuple[Origin, ...]
    strict: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strict", any([p.strict for p in self.parents]))


Origin = Union[SymOrigin, DerivedOrigin]


def symbols_of(origin: Origin) -> list[SymOrigin]:
    """Every Symbol an origin goes back to, in order of first appearance."""
    return list(dict.fromkeys(_symbols(origin)))


def named_symbol(origin: Origin | None, value: str) -> SymOrigin | None:
    """The Symbol whose value this is: of several that of the value's name, else the first; None where unknown."""
    symbols = symbols_of(origin) if origin is not None else []
    return next((s for s in symbols if s.name == value), symbols[0] if symbols else None)


def first_symbol(origin: Origin) -> SymOrigin | None:
    """The first of the Symbols an origin goes back to."""
    return next(_symbols(origin), None)


def passed(origin: Origin, pass_name: str) -> bool:
    """Whether a pass of that name had a part in a value."""
    seen: set[int] = set()
    stack: list[Origin] = [origin]
    while stack:
        here = stack.pop()
        if isinstance(here, DerivedOrigin) and id(here) not in seen:
            if here.pass_name == pass_name:
                return True
            seen.add(id(here))
            stack.extend(here.parents)
    return False


def called(origin: Origin | None) -> str:
    """The operator that an origin goes back to first, as errors name it: `Convolution 'c1' (net.py:7)`; "" if there is
    none, or one called by itself (`nd.sum(x)`), which has no name but its operator's."""
    symbol = first_symbol(origin) if origin is not None else None
    if symbol is None or symbol.name == symbol.op:
        return ""
    return f"{symbol.op} {symbol.name!r}" + (f" ({symbol.file}:{symbol.line})" if symbol.file else "")


def _symbols(origin: Origin) -> Iterator[SymOrigin]:
    seen: set[int] = set()
    stack: list[Origin] = [origin]
    while stack:
        here = stack.pop()
        if isinstance(here, SymOrigin):
            yield here
        elif id(here) not in seen:
            seen.add(id(here))
            stack.extend(reversed(here.parents))
