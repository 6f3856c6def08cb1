"""Deep reductions: one whose packed operand would not stay in a core's cache is taken in parts.

Every part has a panel of its own, and the results of the panel's columns add it to what they have so far, which waits
in scratch memory. (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008.)

A sum over several loops (images and positions, of a convolution's gradient in its weights) is cut at the first loop of
which some turns fit: every turn of those outside of it has parts of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nests import nest_of
from symc.ir.loop.nodes import Alloc, Buffer, For, Let, Load, Stmt, Store
from symc.ir.op import Ref
from symc.ir.origins import Origin
from symc.ir.prims import elementwise as ew
from symc.ir.types import TensorType
from symc.passes.cost import WAITING
from symc.passes.loop.tiling.nests import trips
from symc.passes.loop.tiling.strides import substitute


@dataclass(frozen=True)
class Parts:
    """Bodies that together do what one did, over the same loops: `clear` lets every result begin with 0 in the buffer
    `held`, `part` adds the part of its sum that `numbers` say, and `last` goes on with the sum, having added the last
    part where `part` does not (`rest`)."""

    held: Buffer
    clear: tuple[Stmt, ...]
    numbers: tuple[Var, ...]
    part: tuple[Stmt, ...]
    last: tuple[Stmt, ...]
    rest: bool


def divisible(loops: Sequence[For], free: Sequence[For], vector: For, columns: int, inner: For) -> bool:
    """Whether the reduction `inner` may be taken in parts for panels of so many columns along `vector`, which the
    loops `free` share: what waits is small, and threads have other loops to share."""
    (carry, *more) = inner.carries
    if more or carry.combine != ew.add or not carry.init.is_literal or carry.init.value != 0:
        return False
    if any(x.lo for x in nest_of(inner)[0]):
        return False
    outside = trips([x for x in loops if x is not vector and x not in free])
    several = outside > 1 or vector.trips > columns
    return several and trips(list(free)) * columns * carry.init.dtype.itemsize <= WAITING


def in_parts(
    body: tuple[Stmt, ...], panel: Load, largest: int, free: Sequence[For], column: Affine, columns: int,
    fresh: Callable[[str], str],
) -> Parts | None:  # fmt: skip
    """The parts of a body whose sum reads `panel`, of which a copy has so many bytes at the `largest`; its results lie
    along the loops `free` and at a `column` of so many. None where the whole panel is no larger."""
    (inner,) = (s for s in body if isinstance(s, For))
    nest, _ = nest_of(inner)
    row = columns * panel.dtype.itemsize
    if trips(nest) * row <= largest:
        return None
    at = next((k for k in range(len(nest)) if trips(nest[k + 1 :]) * row <= largest), len(nest) - 1)
    cut = nest[at]
    most = max(1, largest // (trips(nest[at + 1 :]) * row))
    if len(nest) == 1:
        turns = -(-cut.trips // -(-cut.trips // most))
    else:
        # parts of the same length, of which code is written once: that of a convolution is long
        turns = next(n for n in range(min(most, cut.trips), 0, -1) if cut.trips % n == 0)
    return parts_of(body, at, turns, free, column, columns, fresh)


def parts_of(
    body: tuple[Stmt, ...], at: int, turns: int, free: Sequence[For], column: Affine, columns: int,
    fresh: Callable[[str], str],
) -> Parts:  # fmt: skip
    """The parts of a body, of so many turns of loop `at` of its reduction."""
    (inner,) = (s for s in body if isinstance(s, For))
    nest, _ = nest_of(inner)
    cut, outer, single = nest[at], nest[:at], len(nest) == 1
    whole = (cut.trips - 1) // turns if single else cut.trips // turns
    carry, sum_of = inner.carries[0], cut.carries[0]
    dtype, origin = carry.init.dtype, inner.origin
    held = Buffer(fresh("sums"), TensorType(dtype, (*(x.trips for x in free), columns)), "scratch")
    place = (*(Affine.of(Var(x.var, 0, x.trips)) for x in free), column)

    def loaded(name: str) -> Load:
        return Load(name, held.name, dtype, place, origin=origin)

    def added(begin: Affine, many: int, result: str) -> tuple[Stmt, ...]:
        """The sum of these turns, added to what is held."""
        own = Ref(fresh("part"), dtype)
        turn = {cut.var: begin + Affine.of(Var(cut.var, 0, many))}
        carries = (replace(sum_of, init=carry.init, result=own.name),)
        loop = replace(cut, hi=many, body=substitute(cut.body, turn), carries=carries)
        before = loaded(fresh("held"))
        return loop, before, Let(result, dtype, ew.add, (before.ref, own), origin)

    number = Var(fresh(f"{cut.var}.part"), 0, whole)
    now = Ref(fresh("now"), dtype)
    turned = {x.var: Affine.of(Var(fresh(f"{x.var}.part"), 0, x.trips)) for x in outer}
    part = substitute(added(Affine.of(number) * turns, turns, now.name), turned)
    before, after = body[: body.index(inner)], body[body.index(inner) + 1 :]
    rest = added(Affine.of(whole * turns), cut.trips - whole * turns, carry.result) if single else ()
    return Parts(
        held,
        (Store(carry.init, held.name, place, origin=origin),),
        (*(v for i in turned.values() for v in i.variables()), number),
        (*part, Store(now, held.name, place, origin=origin)),
        (*before, *(rest or (loaded(carry.result),)), *after),
        bool(rest),
    )


def in_turn(parts: Parts, clear: list[Stmt], part: list[Stmt], last: list[Stmt], origin: Origin | None) -> list[Stmt]:
    """The parts one after the other; `clear`, `part` and `last`: the loops around each body."""
    for number in reversed(parts.numbers):
        part = [For(number.name, 0, number.hi, tuple(part), (), "serial", origin=origin)]
    return [Alloc(parts.held, origin), *clear, *part, *last]
