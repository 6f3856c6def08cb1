"""The outermost loop of a kernel, of which a thread runs the turns from %lo to %hi.

The turns of a parallel loop are shared one by one. Of a vector loop the threads share the chunks (`width * unroll`
turns each), and who has the last one does the turns that fill no chunk: masked, if their number is known, or by single
vectors and then one by one, if it is an argument. An elementwise operation gives the same bits in all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from symc.codegen.emit.description import given_begin, given_turns
from symc.codegen.emit.lanes import Lane
from symc.ir.changed import replace
from symc.ir.loop.nodes import For

if TYPE_CHECKING:
    from symc.codegen.emit.kernel import _Emitter


def emit_outermost(e: _Emitter, loop: For) -> None:
    """All of the kernel."""
    if loop.kind == "parallel":
        begin = e.numbers.get(given_begin(loop), str(loop.lo)) if loop.given else str(loop.lo)
        e.where("slt", "%lo", "%hi", lambda: e.counted(loop, "%lo", "%hi", begin, loop.step))
    elif loop.given:
        _given(e, loop)
    else:
        _known(e, loop)


def _known(e: _Emitter, loop: For) -> None:
    chunk = loop.width * loop.unroll
    whole, rest = divmod(loop.trips, chunk)
    if whole:
        end = _least(e, str(whole)) if rest else "%hi"
        e.where("slt", "%lo", end, lambda: _chunks(e, loop, "%lo", end))
    if rest:
        e.where("sgt", "%hi", str(whole), lambda: e.rest(loop, whole * chunk, rest))


def _given(e: _Emitter, loop: For) -> None:
    """As many chunks as there are, then single vectors, then single turns."""
    value, turns = e.lines.value, e.numbers[given_turns(loop)]
    whole = value(f"udiv i64 {turns}, {loop.width * loop.unroll}")
    end = _least(e, whole)
    e.where("slt", "%lo", end, lambda: _chunks(e, loop, "%lo", end))

    def rest() -> None:
        done, vectors = value(f"mul nuw nsw i64 {whole}, {loop.unroll}"), value(f"udiv i64 {turns}, {loop.width}")
        if loop.unroll > 1:
            single = replace(loop, unroll=1)
            e.where("slt", done, vectors, lambda: _chunks(e, single, done, vectors))
        first = value(f"mul nuw nsw i64 {vectors}, {loop.width}")
        e.where("slt", first, turns, lambda: e.counted(loop, first, turns, str(loop.lo), loop.step))

    e.where("sgt", "%hi", whole, rest)


def _least(e: _Emitter, chunks: str) -> str:
    """Where the whole chunks of this thread end."""
    return e.lines.value(e.lines.intrinsic("llvm.smin.i64", "i64", ["i64 %hi", f"i64 {chunks}"]))


def _chunks(e: _Emitter, loop: For, first: str, last: str) -> None:
    """A counted loop over the chunks [first, last) of a vector loop without carries."""
    lines, chunk, base = e.lines, loop.width * loop.unroll, e.lines.name("b")
    lane = Lane(loop.var, loop.unroll, loop.width, base, chunk, loop.step)
    chunks = For(f"{loop.var}.chunk", 0, 1, (), (), "serial", origin=loop.origin)
    outer = e.open

    def turn() -> None:
        start = e.vars[chunks.var]
        assert isinstance(start, str)
        scaled = lines.value(f"mul nsw i64 {start}, {chunk * loop.step}")
        lines.do(f"{base} = add nsw i64 {scaled}, {loop.lo}")
        e.open, e.vars[loop.var] = (*outer, lane), lane
        e.depth[loop.var] = e.depth[chunks.var]
        e.statements(loop.body)
        e.open = outer

    e.counted(chunks, first, last, "0", 1, turn)
    e.depth.pop(loop.var, None)
