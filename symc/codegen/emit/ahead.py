"""What the next turn of a loop reads is asked of memory while this one computes.

A contraction packs a panel of weights and computes with it for long; coming from far, weights would be waited for at
every new panel. Where the turns of a loop copy an operand piece by piece, one piece after the other, the loops that
compute with a piece ask for some lines of the next one in every turn. They go to the second cache, as the first one is
full of what is computed with.

A tile that goes across the lines of an operand reads a strip of each, which lie far apart (a product's positions in the
map of every channel): no processor sees that the next tile reads the strips beside them. The loops of a tile ask for
the strip of the next one in every turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from symc.codegen.emit.pieces import contracts, read_in_turns
from symc.ir.index import linear
from symc.ir.loop.nodes import For, Load
from symc.ir.types import strides_of
from symc.passes.cost import ASKED, BESIDE, FURTHER, LINE

if TYPE_CHECKING:
    from symc.codegen.emit.kernel import _Emitter


@dataclass(frozen=True)
class _Piece:
    """The next piece: its address, its lines, and the loops that were open where it is known."""

    pointer: str
    lines: int
    depth: int


class Ahead:
    """The counted loops that are open, as (turn, turns; 0: they are given) from the outermost, and the pieces that are
    to come."""

    def __init__(self, emitter: _Emitter) -> None:
        self.e = emitter
        self._open: list[tuple[str, int]] = []
        #: of the loops over tiles that are open: how many loops were open within it, and its variable
        self._tiles: list[tuple[int, str]] = []
        self._pieces: list[_Piece] = []
        #: how many loops were open where lines were asked for, if that is one of those that are open
        self._asked = 0

    def enter(self, loop: For, turn: str) -> None:
        """A counted loop's turn begins."""
        self._open.append((turn, 0 if loop.given else max(loop.trips, 1)))
        if loop.carries:
            self._strips(loop)
        else:
            self._tiles.append((len(self._open), loop.var))
        if not contracts(loop):
            return
        for buffer, nbytes in read_in_turns(loop, self.e.memory.buffers).items():
            lines = self.e.lines
            own = lines.value(f"mul nsw i64 {turn}, {nbytes}")
            pointer = lines.value(f"getelementptr i8, ptr {self.e.memory.pointers[buffer]}, i64 {own}")
            pointer = lines.value(f"getelementptr i8, ptr {pointer}, i64 {nbytes}")
            self._pieces.append(_Piece(pointer, nbytes // LINE, len(self._open)))
        if self._pieces and not self._asked and loop.carries:
            self._ask(self._pieces[-1])

    def leave(self) -> None:
        """The turn ends."""
        while self._pieces and self._pieces[-1].depth == len(self._open):
            self._pieces.pop()
        if self._asked > len(self._open):  # loops beside the one that asked do not ask again
            self._asked = 0
        if self._tiles and self._tiles[-1][0] == len(self._open):
            self._tiles.pop()
        self._open.pop()

    def _strips(self, loop: For) -> None:
        """Ask for what the next tile reads beside what this one reads in a turn of a reduction. (How large an operand
        is does not count: its outermost extent may not be known, and what is near is there at once.)"""
        for load in loop.body:
            if not self._tiles or not isinstance(load, Load) or load.guard:
                continue
            buffer, size = self.e.memory.buffers[load.buffer], load.dtype.itemsize
            whole = linear(load.index, strides_of(buffer.type.shape))
            step, beside = (abs(whole.factor_of(var) or 0) * size for var in (loop.var, self._tiles[-1][1]))
            if buffer.mode != "in" or step < LINE or not 0 < beside <= BESIDE:
                continue
            offset, lanes, regular = self.e.memory.offset(load.buffer, load.index)
            if regular:
                last = sum(stride * (lane.count * max(lane.width, 1) - 1) for lane, stride in lanes.items())
                pointer = self.e.memory.uniform_pointer(load.buffer, offset, size)
                for line in range(-(-beside // LINE)):
                    self._prefetch(self.e.memory.at(pointer, (beside - line * LINE) // size + last, size))

    def _prefetch(self, pointer: str) -> None:
        """Into the second cache."""
        lines = self.e.lines
        lines.do(lines.intrinsic("llvm.prefetch.p0", "void", [f"ptr {pointer}", "i32 0", "i32 2", "i32 1"]))

    def _ask(self, piece: _Piece) -> None:
        """Some lines of the piece, further on in every turn of the loops since it is known; none in loops of so few
        turns that they would be many."""
        v, inside = self.e.lines.value, self._open[piece.depth :]
        turns = prod(trips for _, trips in inside)
        if not turns:  # they are given
            return
        count = -(-piece.lines // turns)
        if count > ASKED or turns > FURTHER * piece.lines:
            return
        done = ""
        for turn, trips in inside:
            done = turn if not done else v(f"add nsw i64 {v(f'mul nsw i64 {done}, {trips}')}, {turn}")
        first = v(f"mul nsw i64 {done}, {count * LINE}")
        at = v(f"getelementptr i8, ptr {piece.pointer}, i64 {first}")
        for k in range(count):
            self._prefetch(v(f"getelementptr i8, ptr {at}, i64 {k * LINE}") if k else at)
        self._asked = len(self._open)
