"""Which numbers are given to machine code as arguments, so that kernels which differ in them alone are one.

The outermost extent of a tensor (its batch, its rows, or all of a flat one) says how often loops turn, and nothing
else: no stride depends on it. So its loops can be the same code for every extent. Inner extents are strides of others,
and constants are faster there: lanes, register tiles and windows keep theirs. Factors of means go with the turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Buffer, For, If, IndexValue, Let, Load, Stmt, Store, map_body, walk
from symc.ir.prims import elementwise as ew
from symc.ir.types import F32, F64
from symc.passes.cost import FAR
from symc.passes.loop.tiling.nests import vectors_a_turn

#: factors that machine code has better instructions for
SPARED = (0.0, 0.5, 1.0, 2.0)


def with_given_turns(body: tuple[Stmt, ...], buffers: Mapping[str, Buffer]) -> tuple[Stmt, ...]:
    """The body with the loops over outermost extents given. `buffers`: those of the kernel, its scratch included."""
    outer = _outermost(body)
    alone = len(body) == 1
    if alone and isinstance(body[0], For) and body[0].kind == "vector" and body[0].var in outer:
        body = (_flat(body[0]),)
    elif outer:
        body = _given(body, outer, _waits(body, buffers, outer), alone)
    return map_body(body, _with_given_factor) if any(isinstance(s, For) and s.given for s in walk(body)) else body


def _outermost(body: tuple[Stmt, ...]) -> set[str]:
    """Variables that move nothing but the outermost index of what is accessed, each by itself."""
    moving: set[str] = set()
    other: set[str] = set()

    def elsewhere(index: Affine) -> None:
        other.update(v.name for v in index.variables())

    for stmt in walk(body):
        if isinstance(stmt, IndexValue):
            elsewhere(stmt.index)
        elif isinstance(stmt, (Load, Store)):
            for index in stmt.index[1:]:
                elsewhere(index)
            for index in stmt.index[:1]:
                for atom, _ in index.terms:
                    if isinstance(atom, Var):
                        moving.add(atom.name)
                    else:
                        elsewhere(atom.expr)
            for tested, _, _ in stmt.guard:
                elsewhere(tested)
    return moving - other


def _waits(body: tuple[Stmt, ...], buffers: Mapping[str, Buffer], outer: set[str]) -> bool:
    """Whether a contraction reads a large operand again and again that the outermost extents do not move: machine code
    spreads over the turns of the loops inside what it asks memory for ahead, and has to know them."""
    large = {b.name for b in buffers.values() if b.mode == "in" and b.type.nbytes >= FAR}
    for stmt in walk(body):
        if isinstance(stmt, Load) and stmt.buffer in large:
            if not outer.intersection(v.name for index in stmt.index for v in index.variables()):
                return True
    return False


def _given(body: tuple[Stmt, ...], outer: set[str], waits: bool, first: bool) -> tuple[Stmt, ...]:
    """`waits`: loops inside of others are left alone. `first`: the body's only loop is the kernel's outermost one."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, For):
            counted = stmt.kind in ("serial", "parallel") and stmt.trips > (0 if first else 1)
            given = counted and stmt.var in outer and stmt.lo == 0
            inner = stmt.body if waits and not given else _given(stmt.body, outer, waits, False)
            stmt = replace(stmt, body=inner, given=given)
        elif isinstance(stmt, If):
            stmt = replace(stmt, body=_given(stmt.body, outer, waits, False))
        made.append(stmt)
    return tuple(made)


def _with_given_factor(stmt: Stmt) -> Stmt:
    """A product with a literal, or quotient by one, that no instruction is spared for."""
    if not isinstance(stmt, Let) or stmt.op not in (ew.mul, ew.div) or stmt.dtype not in (F32, F64):
        return stmt
    literals = [a.value for a in stmt.args if a.is_literal]
    if len(literals) != 1 or literals[0] is None or abs(literals[0]) in SPARED or not isfinite(literals[0]):
        return stmt
    return replace(stmt, given=True)


def _flat(loop: For) -> For:
    """A vector loop that is all of a kernel: so many vectors a turn as any long one takes."""
    if loop.carries or any(isinstance(s, (For, If)) for s in loop.body):
        return loop
    return replace(loop, given=True, unroll=vectors_a_turn(loop.body))
