"""What loops carry: a carry that says what it combines does so (L10), and turns at once need one that says it (L11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from symc.ir.loop.nodes import LOCKSTEP, Carry, For, If, IndexValue, Let, Load, Stmt, Store
from symc.ir.op import Primitive
from symc.ir.prims import elementwise as ew

#: the scalars that a loop's turns read, by the loop's identity
Reads = dict[int, frozenset[str]]


def broken_carry(loop: For, reads: Reads) -> tuple[str, str] | None:
    """The rule that one of the loop's carries breaks, and how. `reads` holds what is known of the loops inside."""
    for carry in loop.carries:
        what = f"for %{loop.var} carries %{carry.name}"
        if carry.combine is None:
            if loop.kind in LOCKSTEP and loop.trips:
                return "L11", f"{what}: turns of a {loop.kind} loop have no order, and the carry says no `combine`"
            continue
        if carry.combine.neutral(carry.init.dtype) is None:
            return "L10", f"{what}: {carry.combine.name} does not combine partial results of {carry.init.dtype}"
        why = _not_combined(loop, carry, carry.combine, reads)
        if why:
            return "L10", f"{what} combine={carry.combine.name}, but {why}"
    return None


def _not_combined(loop: For, carry: Carry, combine: Primitive, reads: Reads) -> str:
    """Why a turn is not `combine` of the carried value and something that does not depend on it; "" where it is.

    The running value is the carried one, and what is made of it in ways that keep to the combination."""
    running = {carry.name}
    for stmt in loop.body:
        if isinstance(stmt, Let):
            read = [a.name in running for a in stmt.args]
            if not any(read):
                continue
            if not _continues(stmt.op, read, combine):
                return f"%{stmt.name} = {stmt.op.name} takes the running value"
            running.add(stmt.name)
        elif isinstance(stmt, For):
            for inner in stmt.carries:
                if inner.init.name in running:
                    if inner.combine != combine:
                        return f"for %{stmt.var} carries it on as %{inner.name}, which does not combine so"
                    running.add(inner.result)
            if not running.isdisjoint(turns_read(stmt, reads)):
                return f"for %{stmt.var} reads the running value"
        elif not running.isdisjoint(_names_inside(stmt, reads)):
            return f"{_called(stmt)} reads the running value"
    if carry.yields.name not in running:
        return f"what it yields ({carry.yields.name or carry.yields.value}) does not continue it"
    for other in loop.carries:
        if other is not carry and other.yields.name in running:
            return f"%{other.name} goes on with its running value"
    return ""


def _continues(op: Primitive, read: Sequence[bool], combine: Primitive) -> bool:
    """Whether an operation keeps a running value one, by which operands are."""
    if isinstance(op, ew.Fma):
        return combine == ew.add and list(read) == [False, False, True]
    if isinstance(op, ew.Select):  # a turn that may be left out
        return list(read) == [False, True, True]
    return op == combine and sum(read) == 1


def turns_read(loop: For, reads: Reads) -> frozenset[str]:
    """The scalars that a loop's turns read."""
    found = reads.get(id(loop))
    if found is None:
        names = {c.yields.name for c in loop.carries}
        for stmt in loop.body:
            names.update(_names_inside(stmt, reads))
        found = reads[id(loop)] = frozenset(names)
    return found


def _names_inside(stmt: Stmt, reads: Reads) -> Iterator[str]:
    """The scalars that a statement reads, and those inside of it."""
    yield from names_read(stmt)
    if isinstance(stmt, For):
        yield from turns_read(stmt, reads)
    elif isinstance(stmt, If):
        for part in stmt.body:
            yield from _names_inside(part, reads)


def names_read(stmt: Stmt) -> Iterator[str]:
    """The scalars that a statement reads itself (not those of the statements inside)."""
    if isinstance(stmt, Let):
        yield from (a.name for a in stmt.args)
    elif isinstance(stmt, IndexValue):
        yield from (v.name for v in stmt.index.variables() if v.dynamic)
    elif isinstance(stmt, (Load, Store)):
        for index in (*stmt.index, *(e for e, _, _ in stmt.guard)):
            yield from (v.name for v in index.variables() if v.dynamic)
        value = stmt.value if isinstance(stmt, Store) else stmt.other
        if value is not None:
            yield value.name
    elif isinstance(stmt, For):
        yield from (c.init.name for c in stmt.carries)
    elif isinstance(stmt, If):
        yield stmt.cond.name


def _called(stmt: Stmt) -> str:
    if isinstance(stmt, Store):
        return f"a store to %{stmt.buffer}"
    return f"%{stmt.name}" if isinstance(stmt, (Load, IndexValue)) else "a condition"
