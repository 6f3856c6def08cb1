"""What the turns of a loop read piece by piece, one piece right behind the other: known before code is written, as it
is part of what the code depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from symc.ir.index import linear
from symc.ir.loop.nodes import Buffer, For, If, Load, Stmt, walk
from symc.ir.types import strides_of
from symc.passes.cost import FAR


def contracts(loop: For) -> bool:
    """Whether there is a reduction in a loop, or it is one."""
    return bool(loop.carries) or any(isinstance(stmt, For) and stmt.carries for stmt in walk(loop.body))


def read_in_turns(loop: For, buffers: Mapping[str, Buffer]) -> dict[str, int]:
    """Of large operands that each turn of a parallel loop reads without gaps, right behind those of the turn before:
    the bytes of a turn."""
    if loop.kind != "parallel" or not any(b.mode == "in" and b.type.nbytes >= FAR for b in buffers.values()):
        return {}
    inside = {s.var: s for s in walk(loop.body) if isinstance(s, For)}
    found: dict[str, int] = {}
    for stmt in (*_copied(loop.body), *_used_again(loop.body)):
        if isinstance(stmt, Load) and stmt.buffer not in found:
            found[stmt.buffer] = _bytes(stmt, loop, inside, buffers.get(stmt.buffer))
    return {name: nbytes for name, nbytes in found.items() if nbytes}


def _bytes(load: Load, loop: For, inside: Mapping[str, For], buffer: Buffer | None) -> int:
    if buffer is None or buffer.mode != "in" or load.guard or buffer.type.nbytes < FAR:
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
