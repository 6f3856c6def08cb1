"""A reduction nest spread over lanes that collect partial results: what tile writes for a vector over a reduction."""

from __future__ import annotations

from dataclasses import replace

from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Carry, For, IndexValue, Let, Load, Stmt, Store
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, I64
from symc.passes.loop.tiling.strides import substitute


def spread_over_lanes(nest: list[For], loop: For, last: tuple[Stmt, ...], lane: Var, lanes: int, width: int) -> Stmt:
    """for lane in lanes {vector}: the nest with `loop` counting chunks of `lanes` turns, and a guarded last chunk."""
    whole, rest = divmod(loop.trips, lanes)
    outer = nest[0]

    def level(
        at: int, starts: list[Ref], suffix: str, outer_guard: tuple[Affine, int] | None
    ) -> tuple[list[Stmt], list[Ref]]:
        here = nest[at]
        names = [f"{c.name}{suffix}" for c in here.carries]
        inside = [Ref(n, c.init.dtype) for n, c in zip(names, here.carries)]
        innermost = at == len(nest) - 1

        def body_of(
            values: dict[str, Affine], guard: tuple[Affine, int] | None, tag: str
        ) -> tuple[tuple[Stmt, ...], list[Ref]]:
            if innermost:
                return _turn(last, here, inside, values, guard, tag)
            stmts, results = level(at + 1, inside, suffix, guard)
            return substitute(tuple(stmts), values), results

        if here is not loop:
            stmts, yields = body_of({}, outer_guard, suffix)
            results = [Ref(f"{c.result}{suffix}", c.init.dtype) for c in here.carries]
            return [replace(here, body=stmts, carries=_carried(here, names, starts, yields, results))], results
        made: list[Stmt] = []
        current = starts
        if whole:
            turns = Affine.of(Var(here.var, 0, whole)) * lanes + lane
            stmts, yields = body_of({here.var: turns}, None, suffix)
            results = [Ref(f"{c.result}{suffix}", c.init.dtype) for c in here.carries]
            carries = _carried(here, names, current, yields, results)
            made.append(replace(here, lo=0, hi=whole, body=stmts, carries=carries))
            current = results
        if rest:
            turn = Affine.of(lane) + whole * lanes
            stmts, yields = body_of({here.var: turn}, (turn, loop.trips), f"{suffix}.rest")
            results = [Ref(f"{c.result}{suffix}.rest", c.init.dtype) for c in here.carries]
            carries = _carried(here, names, current, yields, results)
            made.append(For(f"{here.var}.once", 0, 1, stmts, carries, "serial", origin=here.origin))
            current = results
        return made, current

    starts = [Ref(f"{c.name}.lane", c.init.dtype) for c in outer.carries]
    statements, yields = level(0, starts, "", None)
    renamed = _rename_results(tuple(statements), {c.result: f"{c.result}.part" for c in outer.carries})
    carries = tuple(
        Carry(s.name, c.init, replace(y, name=f"{y.name}.part") if y.name == c.result else y, c.result, c.combine)
        for s, c, y in zip(starts, outer.carries, yields)
    )
    return For(lane.name, 0, lanes, renamed, carries, "vector", width, 1, lanes // width, outer.origin)


def _carried(
    loop: For, names: list[str], starts: list[Ref], yields: list[Ref], results: list[Ref]
) -> tuple[Carry, ...]:
    """The loop's carries under other names."""
    return tuple(
        Carry(name, start, value, result.name, c.combine)
        for c, name, start, value, result in zip(loop.carries, names, starts, yields, results)
    )


def _rename_results(body: tuple[Stmt, ...], names: dict[str, str]) -> tuple[Stmt, ...]:
    """Rename the results of the top-level loops (and their uses as the next loop's start)."""

    def ref(r: Ref) -> Ref:
        return replace(r, name=names.get(r.name, r.name))

    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, For):
            carries = tuple(replace(c, init=ref(c.init), result=names.get(c.result, c.result)) for c in stmt.carries)
            stmt = replace(stmt, carries=carries)
        made.append(stmt)
    return tuple(made)


def _turn(
    last: tuple[Stmt, ...],
    loop: For,
    inside: list[Ref],
    values: dict[str, Affine],
    guard: tuple[Affine, int] | None,
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
