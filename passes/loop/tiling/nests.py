"""Questions about loop nests, and what tile reckons their parts to cost."""

from __future__ import annotations

from dataclasses import dataclass

from symc.ir.changed import replace
from symc.ir.loop.nests import nest_of
from symc.ir.loop.nodes import For, If, Let, Stmt, walk
from symc.passes.cost import ALONE, SPILLING, SPREADING
from symc.passes.loop.tiling.strides import Access


@dataclass(frozen=True)
class Core:
    """What a register tile has to work with: vector registers, multiply-adds of whole vectors that begin in a cycle,
    the terms of a block of its sums, and bytes of the core's second cache."""

    registers: int
    ports: int
    block: int
    cache: int

    @property
    def panel(self) -> int:
        """Bytes of a panel: it has to stay in the second cache beside what streams past."""
        return 3 * self.cache // 8

    @property
    def far(self) -> int:
        """Bytes of an operand from which on it is not expected in the core's own caches."""
        return self.cache // 4

    @property
    def near(self) -> int:
        """Bytes that the core keeps near."""
        return 3 * self.cache // 4

    def cycles(self, turns: int, vectors: int, lines: int = 0) -> float:
        """Of one step: each of `turns` elements is multiplied by `vectors` vectors, and added up. An element for one
        vector need not be spread over a register first. Where sums of blocks and the sums in progress do not all find
        a register, those of blocks are loaded and stored for every block. `lines`: of memory that the step before did
        not touch, and that do not follow each other."""
        held = turns * vectors
        spread = turns * SPREADING if vectors > 1 else 0.0
        spilled = SPILLING * held / self.block if 2 * held + vectors + 1 > self.registers else 0.0
        return self.least(turns, vectors) + spread + spilled + lines * ALONE

    def least(self, turns: int, vectors: int) -> float:
        """What a step takes if all that it needs is at hand."""
        return max(turns * vectors / self.ports, (turns + vectors) / 2, 4.0) + 0.3


def rebuild(loops: list[For], body: tuple[Stmt, ...] | list[Stmt]) -> list[Stmt]:
    made: list[Stmt] = list(body)
    for loop in reversed(loops):
        made = [replace(loop, body=tuple(made))]
    return made


def with_vector_last(inner: list[For], piece: For) -> list[For]:
    if piece.kind == "vector":
        return [*inner, piece]
    vectors = [x for x in inner if x.kind == "vector"]
    return [*(x for x in inner if x.kind != "vector"), piece, *vectors]


def threaded_first(loops: list[For], sizes: dict[str, int]) -> list[For]:
    """Put first a loop that splits evenly, so that one loop over tiles is shared between threads."""

    def tiles(loop: For) -> int:
        size = sizes.get(loop.var, 1)
        return loop.trips // size if loop.trips % size == 0 else 0

    first = loops[0]
    if tiles(first) < 4:
        best = max(loops, key=tiles)
        if tiles(best) > max(tiles(first), 1):
            first = best
    return [first, *(x for x in loops if x is not first)]


def pieces(extent: int, size: int) -> list[tuple[int, int]]:
    """(size, times) of the tiles that cover an extent."""
    whole, rest = divmod(extent, size)
    return [p for p in ((size, whole), (rest, 1)) if p[0] and p[1]]


def narrowed(width: int, trips: int) -> int:
    """The narrowest vector (a power of two, at least 2) that holds a few turns: no lane idles behind a mask."""
    while width > 2 and trips <= width // 2:
        width //= 2
    return width


def trips(loops: list[For]) -> int:
    total = 1
    for loop in loops:
        total *= max(loop.trips, 1)
    return total


def turns(body: tuple[Stmt, ...]) -> int:
    """How often the innermost loops of a body turn, all together."""
    inner = [turns(s.body) * (s.trips if isinstance(s, For) else 1) for s in body if isinstance(s, (For, If))]
    return sum(inner) or 1


def share(trips: int, width: int) -> float:
    """Part of the lanes in use over a whole loop."""
    return trips / (-(-trips // width) * width) if trips else 1.0


def access_cost(found: list[Access], var: str, width: int) -> float:
    """Instructions for one vector of turns of `var`, all accesses."""
    total = 0.0
    for access in found:
        stride = access.stride(var)
        if stride == 1:
            cost = 1.0
        elif stride == 0:
            cost = 0.6 if not access.is_store else float(width)
        elif stride == -1:
            cost = 1.6
        elif stride == 2:
            cost = 3.0 if access.is_store else 2.5
        else:
            cost = 1.3 * width
        total += access.weight * cost
    return total


def reused(found: list[Access], var: str, vector: str) -> bool:
    """Whether some operand of the inner loop does not depend on `var` while another does, with a constant stride."""
    loads = [a for a in found if not a.is_store]
    strides = [a.stride(var) for a in loads]
    return None not in strides and 0 in strides and any(s for s in strides)


def short_reductions(body: tuple[Stmt, ...]) -> tuple[str, ...]:
    """The reduction loops of few turns (windows), which are written out."""
    made: list[str] = []
    for stmt in body:
        if isinstance(stmt, For) and stmt.carries and stmt.kind == "serial":
            if stmt.trips <= 4 and trips(nest_of(stmt)[0]) <= 12:
                made.append(stmt.var)
            made += short_reductions(stmt.body)
    return tuple(made)


def map_unroll(body: tuple[Stmt, ...], trips: int, width: int) -> int:
    """Vectors a turn: several for cheap bodies, so that loop overhead and latency vanish."""
    return max(1, min(vectors_a_turn(body), trips // width))


def vectors_a_turn(body: tuple[Stmt, ...]) -> int:
    """... of a loop with turns enough, by the cost of its operations."""
    work = sum(s.op.cost for s in walk(body) if isinstance(s, Let))
    return 4 if work <= 8 else 2 if work <= 24 else 1
