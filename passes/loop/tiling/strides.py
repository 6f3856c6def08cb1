"""How loops touch memory: strides of every access by loop variable, and rewriting of loop bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import is_

from symc.ir.changed import replace
from symc.ir.index import Affine, linear
from symc.ir.loop.nodes import Alloc, Buffer, For, If, IndexValue, Load, Stmt, Store, map_body
from symc.ir.types import strides_of


@dataclass(frozen=True)
class Access:
    """One load or store: its offset in elements, how often it runs per turn of the enclosing nest, loop depth."""

    stmt: Load | Store
    offset: Affine
    weight: int

    def stride(self, var: str) -> int | None:
        """Elements per turn of `var`; None if it is no constant."""
        return self.offset.factor_of(var)

    @property
    def is_store(self) -> bool:
        return isinstance(self.stmt, Store)


def accesses(body: tuple[Stmt, ...], buffers: Mapping[str, Buffer], weight: int = 1) -> Iterator[Access]:
    """Every access of a body with its weight."""
    for stmt in body:
        if isinstance(stmt, (Load, Store)):
            buffer = buffers.get(stmt.buffer)
            strides = strides_of(buffer.type.shape) if buffer is not None else ()
            yield Access(stmt, linear(stmt.index, strides), weight)
        elif isinstance(stmt, For):
            yield from accesses(stmt.body, buffers, weight * max(stmt.trips, 1))
        elif isinstance(stmt, If):
            yield from accesses(stmt.body, buffers, weight)


def scratch_buffers(body: tuple[Stmt, ...]) -> dict[str, Buffer]:
    """Buffers allocated anywhere in a body."""
    found: dict[str, Buffer] = {}
    for stmt in body:
        if isinstance(stmt, Alloc):
            found[stmt.buffer.name] = stmt.buffer
        elif isinstance(stmt, (For, If)):
            found.update(scratch_buffers(stmt.body))
    return found


def substitute(body: tuple[Stmt, ...], values: Mapping[str, Affine]) -> tuple[Stmt, ...]:
    """The body with loop variables replaced by expressions."""

    def change(stmt: Stmt) -> Stmt:
        if isinstance(stmt, IndexValue):
            return replace(stmt, index=stmt.index.substitute(values))
        if isinstance(stmt, (Load, Store)):
            index = tuple([i.substitute(values) for i in stmt.index])
            guard = tuple([(g.substitute(values), lo, hi) for g, lo, hi in stmt.guard])
            if all(map(is_, index, stmt.index)) and all(a[0] is b[0] for a, b in zip(guard, stmt.guard)):
                return stmt
            return replace(stmt, index=index, guard=guard)
        return stmt

    return map_body(body, change)
