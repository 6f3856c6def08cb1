"""A program under other names: what was compiled of one Symbol, for another that differs in nothing but its names and
lines.

Values are called by Symbols: by a name alone, or followed by a dot and more (`symc.ir.tensor.graph.finish`). So what
they would be called had the other Symbol been compiled follows from the Symbols' names, and where it does not, as two
values would have one name, there is no such program (Clash).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from symc.ir.origins import SymOrigin


class Clash(Exception):
    """Two things of a program would get one name, or one thing two."""


class Renaming:
    """From old names to new ones, and from Symbols to those that stand in their places."""

    def __init__(self, names: Iterable[tuple[str, str]], symbols: Iterable[tuple[SymOrigin, SymOrigin]]) -> None:
        self._whole: dict[str, str] = {}
        self._symbols: dict[SymOrigin, SymOrigin] = {}
        for old, new in names:
            if self._whole.setdefault(old, new) != new:
                raise Clash(f"{old!r} is {self._whole[old]!r} and {new!r}")
        for before, after in symbols:
            if self._symbols.setdefault(before, after) != after:
                raise Clash(f"{before} is {self._symbols[before]} and {after}")
        self._made: dict[str, str] = {"": ""}
        self._taken: dict[str, str] = {}

    def name(self, old: str) -> str:
        """What a value, parameter or output of that name is called."""
        found = self._made.get(old)
        if found is None:
            found = self._renamed(old)
            if self._taken.setdefault(found, old) != old:
                raise Clash(f"{old!r} and {self._taken[found]!r} would both be {found!r}")
            self._made[old] = found
        return found

    def origin(self, old: SymOrigin) -> SymOrigin:
        """The Symbol in the place of another; what is none of them keeps all but its name."""
        found = self._symbols.get(old)
        return replace(old, name=self._renamed(old.name)) if found is None else found

    def _renamed(self, old: str) -> str:
        stem = old
        while stem not in self._whole:
            end = stem.rfind(".")
            if end <= 0:
                return old
            stem = stem[:end]
        return self._whole[stem] + old[len(stem) :]
