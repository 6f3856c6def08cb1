"""Long sums taken in blocks, so that rounding errors do not grow with their length.

A running float32 sum of n terms is off by about sqrt(n) roundings of its own size. Summed in blocks of b terms, whose
sums are summed in blocks in turn, it is off by about sqrt(b log(n) / log(b)): a convolution over 512 channels of 3x3 by
a sixth of that. Training needs it: in a deep net with batch normalization a rounding error decides which way a
rectifier near zero goes, and gradients then differ in the second digit.
(N. Higham, The accuracy of floating point summation, SIAM J. Sci. Comput. 14, 1993.)
"""

from __future__ import annotations

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Carry, For, If, Let, Stmt
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import F32
from symc.passes.loop.tiling.strides import substitute


def blocked_sums(body: tuple[Stmt, ...], block: int) -> tuple[Stmt, ...]:
    """The statements with the outermost loop of every float32 sum of twice `block` terms or more taken in blocks."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, For):
            total = _terms(stmt)
            if total >= 2 * block:
                made += _in_blocks(stmt, total, block)
                continue
            stmt = replace(stmt, body=blocked_sums(stmt.body, block))
        elif isinstance(stmt, If):
            stmt = replace(stmt, body=blocked_sums(stmt.body, block))
        made.append(stmt)
    return tuple(made)


def _terms(loop: For) -> int:
    """How many terms each running sum of the loop takes, one after the other; 0 where it carries anything else."""
    if not loop.carries or loop.kind not in ("serial", "unroll"):
        return 0
    inside = 0
    for carry in loop.carries:
        found = _terms_of(loop, carry)
        if found == 0 or inside not in (0, found):
            return 0
        inside = found
    return loop.trips * inside


def _terms_of(loop: For, carry: Carry) -> int:
    """The terms that one turn adds."""
    if carry.init.dtype != F32 or carry.combine != ew.add:
        return 0
    for inner in loop.body:
        if isinstance(inner, For) and any(c.result == carry.yields.name for c in inner.carries):
            return _terms(inner) if any(c.init.name == carry.name for c in inner.carries) else 0
    return 1


def _in_blocks(loop: For, terms: int, size: int) -> list[Stmt]:
    """for block { part = the block's turns, from 0; total = total + part }, then the turns that are left."""
    turns = max(1, size * loop.trips // terms)
    whole, rest = divmod(loop.trips, turns)
    block = Var(f"{loop.var}.block", 0, whole)
    begin = Affine.of(block) * (turns * loop.step)
    parts = tuple(replace(c, init=Ref("", c.init.dtype, 0.0), result=f"{c.result}.part") for c in loop.carries)
    end = loop.lo + turns * loop.step
    left_over = bool(rest) or loop.given  # of turns that are given there may be some left, or none
    moved = {loop.var: begin + Affine.of(Var(loop.var, loop.lo, end))}
    within = blocked_sums(substitute(loop.body, moved), size)
    inner = replace(loop, hi=end, body=within, carries=parts, given=False)
    after = [f"{c.result}.blocks" if left_over else c.result for c in loop.carries]
    running = [Ref(f"{c.name}.total", c.init.dtype) for c in loop.carries]
    adds = tuple(
        Let(f"{c.result}.sum", c.init.dtype, ew.add, (total, Ref(part.result, c.init.dtype)), loop.origin)
        for c, total, part in zip(loop.carries, running, parts)
    )
    carries = tuple(
        Carry(total.name, c.init, add.ref, result, ew.add)
        for c, total, add, result in zip(loop.carries, running, adds, after)
    )
    blocks = For(block.name, 0, whole, (inner, *adds), carries, "serial", origin=loop.origin, given=loop.given)
    made = list(blocked_sums((blocks,), size))  # the sums of the blocks are a sum, too
    if left_over:
        starts = tuple(replace(c, init=Ref(name, c.init.dtype)) for c, name in zip(loop.carries, after))
        begin_rest = loop.lo + whole * turns * loop.step
        left = {loop.var: Affine.of(Var(loop.var, begin_rest, loop.hi))}
        made.append(replace(loop, lo=begin_rest, body=substitute(loop.body, left), carries=starts))
    return made
