"""How the loops of a kernel are to run: what is chosen for them, before it is done.

A schedule names loops by their variables, and says of each nest how many turns are taken together, in which lanes, in
which order, and which operand is packed. It is all that the pass `tile` goes by. Its text, as it stands behind the
parameters of a kernel (`schedule(...)`) and in a file of schedules:

    sums=24; %i: %j*24/8, %i*6, pack=%w, panel=393216; %r: fold=%r/8*4

    sums=24           float32 sums of twice as many terms or more are taken in blocks of these
    %i: ...           of the nest whose outermost loop is %i, or of the reduction %i:
    %n, %i*6, %j*24/8 its loops from the outermost one on: turn by turn; 6 turns at once, as a register tile; 24 turns
                      at once in vectors of 8 lanes. `%j/8*4`: the whole loop in vectors of 8 lanes, four in a turn
    fold=%r/8*4       the lanes of four vectors collect parts of the reduction over %r
    unroll=%k+%l      reductions that are written out
    pack=%w           the operand that is loaded as %w is copied for every tile of the loop with lanes
    panel=393216      ... in parts of the reduction, so that a copy has no more bytes than these
    abreast=16        terms of the sum that a tile of the loop with lanes takes at once, which the others wait for
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """A loop of a nest: `turns` at once (0: turn by turn or, with `lanes`, the whole loop, `vectors` in a turn)."""

    var: str
    turns: int = 0
    lanes: int = 0
    vectors: int = 1


@dataclass(frozen=True)
class Nest:
    """What is chosen for a nest of independent loops, or for a reduction, whose outermost loop is `at`."""

    at: str
    loops: tuple[Split, ...] = ()
    fold: Split | None = None
    unroll: tuple[str, ...] = ()
    pack: str = ""
    panel: int = 0
    abreast: int = 0

    @property
    def vector(self) -> Split | None:
        """The independent loop that has lanes."""
        return next((split for split in self.loops if split.lanes), None)


@dataclass(frozen=True)
class Schedule:
    """What is chosen for a kernel; loops that no nest names stay as they are. `sums`: terms of a block (0: none)."""

    nests: tuple[Nest, ...] = ()
    sums: int = 0
