"""Deep reductions: one whose packed operand would not stay in a core's cache is taken in parts.

Every part has a panel of its own, and the results of the panel's columns add it to what they have so far, which waits
in scratch memory. (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Buffer, For, Let, Load, Stmt, Store
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import TensorType
from symc.passes.cost import LARGEST, WAITING
from symc.passes.loop.tiling.nests import trips
from symc.passes.loop.tiling.strides import substitute


@dataclass(frozen=True)
class Parts:
    """Bodies that together do what one did, over the same loops: `clear` lets every result begin with 0 in the buffer
    `held`, `part` adds part `number` of its sum, and `last` adds the last part and goes on with the sum."""

    held: Buffer
    clear: tuple[Stmt, ...]
    number: Var
    part: tuple[Stmt, ...]
    last: tuple[Stmt, ...]


def divisible(loops: Sequence[For], free: Sequence[For], vector: For, columns: int, inner: For) -> bool:
    """Whether the reduction `inner` may be taken in parts for panels of so many columns along `vector`, which the
    loops `free` share: what waits is small, and threads have other loops to share."""
    (carry, *more) = inner.carries
    if more or carry.combine != ew.add or not carry.init.is_literal or carry.init.value != 0 or inner.lo:
        return False
    outside = trips([x for x in loops if x is not vector and x not in free])
    several = outside > 1 or vector.trips > columns
    return several and trips(list(free)) * columns * carry.init.dtype.itemsize <= WAITING


def in_parts(
    body: tuple[Stmt, ...], panel: Load, free: Sequence[For], column: Affine, columns: int, fresh: Callable[[str], str]
) -> Parts | None:
    """The parts of a body whose sum reads `panel`; its results lie along the loops `free` and at a `column` of so many.
    None where the whole panel stays in the cache."""
    (inner,) = (s for s in body if isinstance(s, For))
    count = -(-inner.trips * columns * panel.dtype.itemsize // LARGEST)
    if count < 2:
        return None
    turns = -(-inner.trips // count)
    whole = (inner.trips - 1) // turns
    (carry,) = inner.carries
    dtype, origin = carry.init.dtype, inner.origin
    held = Buffer(fresh("sums"), TensorType(dtype, (*(x.trips for x in free), columns)), "scratch")
    at = (*(Affine.of(Var(x.var, 0, x.trips)) for x in free), column)

    def added(begin: Affine, many: int, result: str) -> tuple[Stmt, ...]:
        """The sum of these turns, added to what is held."""
        own = Ref(fresh("part"), dtype)
        turn = {inner.var: begin + Affine.of(Var(inner.var, 0, many))}
        loop = replace(inner, hi=many, body=substitute(inner.body, turn), carries=(replace(carry, result=own.name),))
        before = Load(fresh("held"), held.name, dtype, at, origin=origin)
        return loop, before, Let(result, dtype, ew.add, (before.ref, own), origin)

    number = Var(fresh(f"{inner.var}.part"), 0, whole)
    now = Ref(fresh("now"), dtype)
    where = body.index(inner)
    last = added(Affine.of(whole * turns), inner.trips - whole * turns, carry.result)
    return Parts(
        held,
        (Store(carry.init, held.name, at, origin=origin),),
        number,
        (*added(Affine.of(number) * turns, turns, now.name), Store(now, held.name, at, origin=origin)),
        (*body[:where], *last, *body[where + 1 :]),
    )
