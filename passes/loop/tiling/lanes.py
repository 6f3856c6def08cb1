"""A reduction nest spread over lanes that collect partial results: what tile writes for a vector over a reduction."""

from __future__ import annotations

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Carry, For, IndexValue, Let, Load, Stmt, Store
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, I64
from symc.passes.loop.tiling.strides import substitute

#: index < end
Guard = tuple[Affine, int]


def spread_over_lanes(nest: list[For], loop: For, last: tuple[Stmt, ...], lane: Var, lanes: int, width: int) -> Stmt:
    """for lane in lanes {vector}: the nest with `loop` counting chunks of `lanes` turns, and a guarded last chunk."""
    whole, rest = divmod(loop.trips, lanes)

    def level(at: int, starts: list[Ref], outside: Guard | None) -> tuple[list[Stmt], list[Ref]]:
        """The loop `at` and those inside of it, from `starts`; what they end with. `outside`: a guard of every turn."""
        here = nest[at]
        inside = [Ref(c.name, c.init.dtype) for c in here.carries]

        def body(values: dict[str, Affine], guard: Guard | None, tag: str = "") -> tuple[tuple[Stmt, ...], list[Ref]]:
            if at == len(nest) - 1:
                return _turn(last, here, inside, values, guard, tag)
            stmts, results = level(at + 1, inside, guard)
            return substitute(tuple(stmts), values), results

        def carried(starts: list[Ref], yields: list[Ref], tag: str) -> tuple[tuple[Carry, ...], list[Ref]]:
            results = [Ref(f"{c.result}{tag}", c.init.dtype) for c in here.carries]
            rows = zip(here.carries, starts, yields, results)
            return tuple(replace(c, init=s, yields=y, result=r.name) for c, s, y, r in rows), results

        # the names of the nest's results are those of the loop over the lanes
        part = ".part" if at == 0 else ""
        if here is not loop:
            stmts, yields = body({}, outside)
            carries, results = carried(starts, yields, part)
            return [replace(here, body=stmts, carries=carries)], results
        made: list[Stmt] = []
        if whole:
            turns = Affine.of(Var(here.var, 0, whole)) * lanes + lane
            stmts, yields = body({here.var: turns}, None)
            carries, starts = carried(starts, yields, part)
            made.append(replace(here, lo=0, hi=whole, body=stmts, carries=carries))
        if rest:
            turn = Affine.of(lane) + whole * lanes
            stmts, yields = body({here.var: turn}, (turn, loop.trips), ".rest")
            carries, starts = carried(starts, yields, ".rest")
            made.append(For(f"{here.var}.once", 0, 1, stmts, carries, "serial", origin=here.origin))
        return made, starts

    outer = nest[0]
    partial = [Ref(f"{c.name}.lane", c.init.dtype) for c in outer.carries]
    statements, yields = level(0, partial, None)
    carries = tuple(replace(c, name=p.name, yields=y) for c, p, y in zip(outer.carries, partial, yields))
    return For(lane.name, 0, lanes, tuple(statements), carries, "vector", width, 1, lanes // width, outer.origin)


def _turn(
    last: tuple[Stmt, ...],
    loop: For,
    inside: list[Ref],
    values: dict[str, Affine],
    guard: Guard | None,
    tag: str,
) -> tuple[tuple[Stmt, ...], list[Ref]]:
    """One turn of the innermost body; where `guard` (index < end) fails, the carries stay as they are."""
    rename = {c.name: r for c, r in zip(loop.carries, inside)}

    def ref(r: Ref) -> Ref:
        return rename.get(r.name, r) if r.name else r

    made: list[Stmt] = []
    for stmt in substitute(last, values):
        if isinstance(stmt, Let):
            stmt = replace(stmt, args=tuple(ref(a) for a in stmt.args))
        elif isinstance(stmt, Load) and guard is not None:
            index, end = guard
            other = stmt.other or Ref("", stmt.dtype, 0)
            stmt = replace(stmt, guard=(*stmt.guard, (index, 0, end)), other=other)
        elif isinstance(stmt, Store):
            stmt = replace(stmt, value=ref(stmt.value))
            if guard is not None:
                stmt = replace(stmt, guard=(*stmt.guard, (guard[0], 0, guard[1])))
        made.append(stmt)
    yields = [ref(c.yields) for c in loop.carries]
    if guard is None:
        return tuple(made), yields
    index, end = guard
    position = IndexValue(f"at{tag}", I64, index, loop.origin)
    inside_range = Let(f"in{tag}", BOOL, ew.lt, (position.ref, Ref("", I64, end)), loop.origin)
    made.extend((position, inside_range))
    kept = []
    for y, held in zip(yields, inside):
        choice = Let(f"{y.name}.kept", y.dtype, ew.Select(), (inside_range.ref, y, held), loop.origin)
        made.append(choice)
        kept.append(choice.ref)
    return tuple(made), kept
