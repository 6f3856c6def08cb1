"""Values of the lockstep emitter: one scalar of the loop level, held for every lane at once.

A lane dimension is a jam loop (its turns, one register each) or a slice of a vector loop (some vectors of `width`
turns). A value varies over the dimensions it depends on and is shared over the others: in a matrix product the
left operand varies over the row jam only, the right one over the vector only, and the accumulators over both,
which makes them a register tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from symc.ir.types import DType

Coordinate = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane dimension: loop variable, how many registers it spans, lanes a register (0: a jam), first turn
    (an SSA i64 for a vector loop in progress, or a constant), turns (the last register may be partly used)."""

    var: str
    count: int
    width: int
    base: str
    turns: int
    step: int = 1

    def mask(self, at: int) -> int:
        """Lanes in use in register `at`."""
        return min(self.width, self.turns - at * self.width)


@dataclass(frozen=True)
class Val:
    """The registers of one value: `items` by coordinate over `dims` (in nesting order)."""

    dtype: DType
    dims: tuple[Lane, ...]
    items: dict[Coordinate, str]

    @property
    def lanes(self) -> int:
        """Lanes of each register; 0 for scalars."""
        return next((d.width for d in self.dims if d.width), 0)


def coordinates(dims: tuple[Lane, ...]) -> Iterator[Coordinate]:
    return product(*(range(d.count) for d in dims))


def project(value: Val, dims: tuple[Lane, ...], at: Coordinate) -> str:
    """The register of `value` for a coordinate over more dimensions."""
    if value.dims == dims:
        return value.items[at]
    where = dict(zip(dims, at))
    return value.items[tuple(where[d] for d in value.dims)]


def scalar(dtype: DType, text: str) -> Val:
    """A value that is the same in every lane."""
    return Val(dtype, (), {(): text})


def mask_text(lane: Lane, at: int) -> str:
    """The constant mask of a partly used register."""
    used = lane.mask(at)
    return "<" + ", ".join(f"i1 {'true' if i < used else 'false'}" for i in range(lane.width)) + ">"
