"""Panels: an operand of a contraction, copied a tile at a time into dense scratch memory.

The lanes of a register tile read one operand side by side. Where it lies the other way round (the weights of a
convolution, one output channel far from the next) a tile of it is packed first, and serves every position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from math import gcd, prod

from symc.ir.changed import replace
from symc.ir.index import Affine, Var
from symc.ir.loop.nests import nest_of
from symc.ir.loop.nodes import Alloc, Buffer, For, Load, Stmt, Store, map_body
from symc.ir.types import TensorType
from symc.passes.cost import (
    ANEW,
    CROWD,
    DENSE,
    ENTERING,
    FOLDED,
    FOLDING,
    LINE,
    PACKING,
    RAGGED,
    SET,
    SEVERAL,
    SPARSE,
    STORING,
)
from symc.passes.loop.tiling.depth import divisible
from symc.passes.loop.tiling.nests import Core, pieces, share, trips
from symc.passes.loop.tiling.strides import Access, accesses, substitute


@dataclass(frozen=True)
class PackedTile:
    """Lanes over the loop `vector`, along which `load` is packed, or lies so already; turns of the jam loops, and
    vectors."""

    vector: For
    load: Load
    jams: dict[str, int]
    vectors: int
    lies: bool = False


def packed_tile(
    loops: list[For], body: tuple[Stmt, ...], buffers: Mapping[str, Buffer], width: int, core: Core
) -> PackedTile | None:
    """The best tile with a packed operand, if it is better than lanes along the innermost loop."""
    inner = [s for s in body if isinstance(s, For)]
    if len(inner) != 1 or not inner[0].carries:
        return None
    nest, last = nest_of(inner[0])
    steps = trips(nest)
    found = list(accesses(last, buffers))
    if steps < 2 * STORING or len(found) != 2 or any(isinstance(s, For) for s in last):
        return None
    apart = max(abs(core.far if step is None else step) for step in (a.stride(loops[-1].var) for a in found))
    best = share(loops[-1].trips, width) * (DENSE if apart < 2 else SPARSE if apart == 2 else 0.0)
    if all(a.stride(nest[-1].var) in (0, 1) for a in found):
        whole, rest = divmod(nest[-1].trips, width)
        best = max(best, FOLDED * nest[-1].trips / width / (whole + FOLDING + (RAGGED if rest else 0)))
    # what runs a few turns only is written out
    inner_turns = next((x.trips for x in reversed(nest) if x.trips > 4), steps)
    tile: PackedTile | None = None
    for vector in loops:
        moving = [a for a in found if a.stride(vector.var) != 0]
        if len(moving) != 1 or vector.trips < 2 * width:
            continue
        (still,) = (a for a in found if a is not moving[0])
        load = moving[0].stmt
        free = [x for x in loops if moving[0].stride(x.var) == 0]
        dense = moving[0].stride(vector.var) == 1
        if not isinstance(load, Load) or not _can_pack(moving[0], nest, vector):
            continue
        if dense and not _apart(moving[0], still, load.dtype.itemsize, nest, trips(free)):
            continue
        jams = [x for x in free if x.trips > 1 and still.stride(x.var)][-2:]
        if trips(free) < 2 * PACKING or not jams:
            continue
        most = core.panel // (steps * width * load.dtype.itemsize)
        # a convolution's panels come of maps that are long, and its channels are few: two panels are enough to share
        wide = 6 if len(nest) == 1 else min(6, vector.trips // (2 * width))
        if most < 2 and divisible(loops, free, vector, wide * width, nest[0]):
            most = wide
        across = abs(still.stride(nest[-1].var) or 0) * load.dtype.itemsize >= LINE
        crowds = [_crowd(still.stride(j.var) or 0, load.dtype.itemsize) for j in jams]
        efficiency, sizes = _sizes([j.trips for j in jams], vector.trips, width, core, most, across, crowds)
        uses = trips(free)
        if not dense:
            efficiency *= steps / (steps + STORING) * uses / (uses + PACKING)
        efficiency *= inner_turns / (inner_turns + ENTERING)
        if len(nest) == 1 and (across or _bytes(still, buffers) > 2 * _bytes(moving[0], buffers)):
            efficiency *= ANEW
        if sizes and efficiency > best:
            best = efficiency
            tile = PackedTile(vector, load, dict(zip([j.var for j in jams], sizes[:-1])), sizes[-1])
    return tile


def laid_tile(
    loops: list[For], body: tuple[Stmt, ...], buffers: Mapping[str, Buffer], width: int, core: Core
) -> PackedTile | None:
    """The tile of an operand that lies packed in memory: the lanes of a loop are its vectors side by side, those of the
    reduction's next turn follow, and what is stored for them lies apart. Whoever packed it has chosen the lanes."""
    inner = [s for s in body if isinstance(s, For)]
    if len(inner) != 1 or not inner[0].carries:
        return None
    nest, last = nest_of(inner[0])
    found = list(accesses(last, buffers))
    stores = [a for a in accesses(body, buffers) if a.is_store]
    if len(found) != 2 or any(isinstance(s, For) for s in last):
        return None
    for vector in loops:
        moving = [a for a in found if a.stride(vector.var) != 0]
        vectors, rest = divmod(vector.trips, width)
        if len(moving) != 1 or rest or not 0 < vectors <= 6 or any(s.stride(vector.var) == 1 for s in stores):
            continue
        (still,) = (a for a in found if a is not moving[0])
        load, strides = moving[0].stmt, (moving[0].stride(vector.var), moving[0].stride(nest[-1].var))
        jams = [x for x in loops if x.trips > 1 and moving[0].stride(x.var) == 0 and still.stride(x.var)][-2:]
        if not isinstance(load, Load) or load.guard or strides != (1, vector.trips) or not jams:
            continue
        options: list[tuple[float, tuple[int, ...]]] = []
        for sizes in product(*(range(1, min(j.trips, 14) + 1) for j in jams)):
            if prod(sizes) * vectors + vectors < core.registers:
                parts = product(*(pieces(j.trips, size) for j, size in zip(jams, sizes)))
                tiles = [(prod(size for size, _ in part), prod(count for _, count in part)) for part in parts]
                options.append((sum(times * core.cycles(turns, vectors) for turns, times in tiles), sizes))
        if options:
            return PackedTile(vector, load, dict(zip([j.var for j in jams], min(options)[1])), vectors, True)
    return None


def _bytes(access: Access, buffers: Mapping[str, Buffer]) -> int:
    return buffers[access.stmt.buffer].type.nbytes


def _can_pack(access: Access, nest: list[For], vector: For) -> bool:
    return not access.stmt.guard and None not in [access.stride(x.var) for x in (*nest, vector)]


def _apart(access: Access, still: Access, size: int, nest: list[For], uses: int) -> bool:
    """Whether what lies side by side along the vector loop is worth a copy: its rows are far from each other and used
    often, and those of the other operand, which is read anew for every panel, are not."""
    steps = [a.stride(nest[0].var) for a in (access, still)]
    if len(nest) > 1 or None in steps or uses < 14 * SEVERAL:
        return False
    own, other = (abs(step or 0) * size for step in steps)
    return own >= 8 * LINE and other < LINE


def _crowd(stride: int, size: int) -> int:
    """How many elements so far from each other a core's first cache holds besides others."""
    return CROWD * SET // gcd(stride * size, SET)


def _sizes(
    extents: list[int], columns: int, width: int, core: Core, most: int, across: bool, crowds: list[int]
) -> tuple[float, list[int]]:
    """(part of the arithmetic limit, [turns of each jam..., vectors]) of the best tile: every vector of the panel is
    loaded once a step, every element of the other operand is broadcast, from other lines of memory in every step where
    the steps go `across` them. `crowds`: turns of each jam beyond which they crowd each other out of a cache. (Maps
    that steps go across come from far, so that tiles which read them seldom are best.)"""
    vectors = -(-columns // width)
    ideal = columns / width / core.ports * prod(extents)
    best: tuple[float, list[int]] = 0.0, []
    maps = across and len(extents) > 1
    for sizes in product(*(range(1, min(e, 14) + 1) for e in extents)):
        places = prod(sizes)
        crowded = places if any(size > most_of for size, most_of in zip(sizes, crowds)) else 0
        for nv in range(1, min(vectors, most, 6) + 1):
            if places * nv + nv + 1 > core.registers:
                continue
            cost = 0.0
            for parts in product(*(pieces(e, s) for e, s in zip(extents, sizes))):
                turns, times = prod(size for size, _ in parts), prod(count for _, count in parts)
                for v, count in pieces(vectors, nv):
                    cycles = core.least(turns, v) if maps else core.cycles(turns, v, int(across))
                    cost += times * count * (cycles + crowded)
            # threads share the tiles: an odd one leaves half of them idle
            shared = -(-vectors // (2 * nv)) * 2 * nv
            efficiency = ideal / cost * vectors / shared
            if efficiency > best[0] * 1.001:
                best = efficiency, [*sizes, nv]
    return best


def pack(
    panel: Load, body: tuple[Stmt, ...], column: str, tile: Affine, piece: For, fresh: Callable[[str], str]
) -> tuple[Buffer, list[Stmt], tuple[Stmt, ...]]:
    """(scratch buffer, statements that copy the panel's tile there, the body reading it there)."""
    nest, _ = nest_of(next(s for s in body if isinstance(s, For)))
    shape = tuple(x.trips for x in nest)
    buffer = Buffer(fresh("panel"), TensorType(panel.dtype, (*shape, piece.trips)), "scratch")
    made: list[Stmt] = []
    # one register of columns after the other: each column is read on, and few of them at a time
    for first, many, times in _columns(piece):
        block, col = Var(fresh("cols"), 0, times), Var(fresh("col"), 0, many)
        at = Affine.of(col) + first + (Affine.of(block) * many if times > 1 else Affine())
        rows = {x.var: Var(fresh("row"), 0, x.trips) for x in nest}
        # the copy follows the operand's memory upwards: a kernel that is turned round is copied from its last tap on
        places = {x.var: _upwards(rows[x.var], x, panel) for x in nest}
        index = tuple(i.substitute({**places, column: tile + at}) for i in panel.index)
        load = Load(fresh("packed"), panel.buffer, panel.dtype, index, origin=panel.origin)
        copy = Store(load.ref, buffer.name, (*places.values(), at), origin=panel.origin)
        columns: tuple[Stmt, ...] = (replace(piece, var=col.name, hi=many, unroll=1, body=(load, copy)),)
        part = _by_fours(rows[nest[-1].var], columns, fresh, panel)
        for x in reversed(nest[:-1]):
            part = (For(rows[x.var].name, 0, x.trips, part, (), "serial", origin=panel.origin),)
        if times > 1:
            part = (For(block.name, 0, times, part, (), "serial", origin=panel.origin),)
        made += part
    local = [Affine.of(Var(x.var, 0, x.trips)) for x in nest]
    column_here = Affine.of(Var(column, 0, piece.trips)) - tile

    def read(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Load) and stmt.name == panel.name and stmt.buffer == panel.buffer:
            return replace(stmt, buffer=buffer.name, index=(*local, column_here))
        return stmt

    return buffer, [Alloc(buffer, panel.origin), *made], map_body(body, read)


def _columns(piece: For) -> list[tuple[int, int, int]]:
    """The columns of a panel a register at a time: (first, how many, how often)."""
    whole, rest = divmod(piece.trips, piece.width)
    found = [(0, piece.width, whole), (whole * piece.width, rest, 1)]
    return [(first, trips, times) for first, trips, times in found if trips and times]


def _upwards(row: Var, loop: For, load: Load) -> Affine:
    """`loop`'s variable in terms of a `row` along which `load` reads upwards."""
    falls = any((i.factor_of(loop.var) or 0) < 0 for i in load.index)
    return Affine.of(loop.trips - 1) - row if falls else Affine.of(row)


def _by_fours(row: Var, body: tuple[Stmt, ...], fresh: Callable[[str], str], panel: Load) -> tuple[Stmt, ...]:
    """The loop over `row` with four turns at once, which a copy across memory transposes in registers."""
    made: list[Stmt] = []
    whole, rest = divmod(row.hi, 4)
    if whole:
        four, chunk = Var(fresh("row"), 0, 4), Var(fresh("rows"), 0, whole)
        inside = substitute(body, {row.name: Affine.of(chunk) * 4 + four})
        jam = For(four.name, 0, 4, inside, (), "jam", origin=panel.origin)
        made.append(For(chunk.name, 0, whole, (jam,), (), "serial", origin=panel.origin))
    if rest:
        last = Var(fresh("row"), 0, rest)
        inside = substitute(body, {row.name: Affine.of(last) + whole * 4})
        made.append(For(last.name, 0, rest, inside, (), "jam", origin=panel.origin))
    return tuple(made)
