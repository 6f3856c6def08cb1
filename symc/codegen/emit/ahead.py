"""What the next turn of a loop reads is asked of memory while this one computes.

A contraction packs a panel of weights and computes with it for long; coming from far, weights would be waited for at
every new panel. Where the turns of a loop copy an operand piece by piece, one piece after the other, the loops that
compute with a piece ask for some lines of the next one in every turn. They go to the second cache, as the first one is
full of what is computed with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from symc.codegen.emit.description import is_far
from symc.ir.index import linear
from symc.ir.loop.nodes import For, If, Load, Stmt, walk
from symc.ir.types import strides_of
from symc.passes.cost import ASKED, FURTHER, LINE

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
        self._pieces: list[_Piece] = []
        #: how many loops were open where lines were asked for, if that is one of those that are open
        self._asked = 0

    def enter(self, loop: For, turn: str) -> None:
        """A counted loop's turn begins."""
        self._open.append((turn, 0 if loop.given else max(loop.trips, 1)))
        if not (loop.carries or any(_carries(stmt) for stmt in walk(loop.body))):
            return
        found = list(self._read_in_turns(loop)) if loop.kind == "parallel" else []
        for buffer, nbytes in found:
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
        self._open.pop()

    def _read_in_turns(self, loop: For) -> Iterator[tuple[str, int]]:
        """(operand, bytes) that each turn reads without gaps, right behind those of the turn before."""
        inside = {s.var: s for s in walk(loop.body) if isinstance(s, For)}
        found: dict[str, int] = {}
        for stmt in (*_copied(loop.body), *_used_again(loop.body)):
            if isinstance(stmt, Load) and stmt.buffer not in found:
                found[stmt.buffer] = self._bytes(stmt, loop, inside)
        yield from ((name, nbytes) for name, nbytes in found.items() if nbytes)

    def _bytes(self, load: Load, loop: For, inside: dict[str, For]) -> int:
        buffer = self.e.memory.buffers.get(load.buffer)
        if buffer is None or load.guard or not is_far(buffer):
            return 0
        offset = linear(load.index, strides_of(buffer.type.shape))
        step, span = offset.factor_of(loop.var), 1
        for var in offset.variables():
            if var.name in inside:
                factor = offset.factor_of(var.name)
                if factor is None or factor < 0 or inside[var.name].given:
                    return 0
                span += factor * (inside[var.name].trips - 1)
            elif var.name != loop.var:
                return 0
        return step * buffer.type.dtype.itemsize if step and step == span else 0

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
            here = v(f"getelementptr i8, ptr {at}, i64 {k * LINE}") if k else at
            self.e.lines.do(
                self.e.lines.intrinsic("llvm.prefetch.p0", "void", [f"ptr {here}", "i32 0", "i32 2", "i32 1"])
            )
        self._asked = len(self._open)


def _copied(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """The statements outside of reductions."""
    for stmt in body:
        if isinstance(stmt, For) and not stmt.carries or isinstance(stmt, If):
            yield from _copied(stmt.body)
        else:
            yield stmt


def _used_again(body: tuple[Stmt, ...], loops: tuple[For, ...] = ()) -> Iterator[Load]:
    """What reductions read side by side, and read again in other turns of the loops around them: panels that lie packed
    in memory."""
    for stmt in body:
        if isinstance(stmt, (For, If)):
            yield from _used_again(stmt.body, (*loops, stmt) if isinstance(stmt, For) else loops)
        elif isinstance(stmt, Load) and any(loop.carries for loop in loops) and loops[-1].kind == "vector":
            moved = {v.name for i in stmt.index for v in i.variables()}
            if loops[-1].var in moved and any(not x.carries and x.trips > 1 and x.var not in moved for x in loops):
                yield stmt


def _carries(stmt: Stmt) -> bool:
    return isinstance(stmt, For) and bool(stmt.carries)
