"""Sums of what is read once: a product of one row, the sums of a matrix's columns.

A register tile reads a few lines of memory of every row, and comes back for the next ones after all rows: each is on
a page of its own, and the processor does not guess what it wants next. An operand that no cache holds is therefore read
along its rows, some of them at once, and the sums so far wait in scratch memory near by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from symc.ir.changed import replace
from symc.ir.loop.nests import nest_of
from symc.ir.loop.nodes import Buffer, For, Load, Stmt
from symc.passes.cost import ABREAST, RUN, SHARES
from symc.passes.loop.tiling.depth import Parts, divisible, in_turn
from symc.passes.loop.tiling.nests import trips
from symc.passes.loop.tiling.strides import accesses


def streamed(
    loops: list[For], body: tuple[Stmt, ...], vector: For, buffers: Mapping[str, Buffer], width: int, near: int
) -> int:
    """Turns of `vector` in a tile of a sum whose large operand, of more bytes than are kept `near`, lies along it and
    serves one result a turn; 0 for all other nests."""
    (inner,) = (s for s in body if isinstance(s, For))
    nest, last = nest_of(inner)
    if len(nest) != 1 or trips([x for x in loops if x is not vector]) != 1 or inner.trips < 4 * ABREAST:
        return 0
    found = [a for a in accesses(last, buffers) if isinstance(a.stmt, Load) and a.stride(vector.var) != 0]
    if len(found) != 1 or found[0].stride(vector.var) != 1 or found[0].stmt.guard:
        return 0
    shares = -(-vector.trips // (RUN * SHARES)) * SHARES
    columns = -(-vector.trips // (shares * width)) * width
    if buffers[found[0].stmt.buffer].type.nbytes <= near or columns < RUN // 4:
        return 0
    return columns if divisible(loops, [], vector, columns, inner) else 0


def row_by_row(
    body: tuple[Stmt, ...], rows: int, block: int, cut: Callable[[tuple[Stmt, ...], int], Parts],
    around: Callable[[tuple[Stmt, ...]], list[Stmt]],
) -> list[Stmt]:  # fmt: skip
    """The sum of a body in blocks of blocks, the least of so many `rows`, which are written out. `cut` gives the parts
    of so many terms, `around` the loops around a body."""
    (inner,) = (s for s in body if isinstance(s, For))
    if inner.trips <= rows:
        return around(tuple(replace(s, kind="unroll") if s is inner else s for s in body))
    size = rows
    while size * block < inner.trips:
        size *= block
    parts = cut(body, size)
    part, last = (row_by_row(b, rows, block, cut, around) for b in (parts.part, parts.last))
    return in_turn(parts, around(parts.clear), part, last, inner.origin)
