"""choose: how the loops of every kernel are to run; the pass tile writes them so.

The loops of a kernel that are independent may be reordered at will, so every decision is local:

  lanes       the loop whose accesses cost least as lanes of a vector: an independent one, or a reduction
  tiles       of independent loops along which an operand is reused, as many turns at once as the registers hold
  panels      an operand that is read again and again from far apart is packed
  sums        long float32 sums are taken in blocks

A small cost model picks the sizes: instructions of the inner loop against the share of each tile in use. What is chosen
is a schedule (symc.ir.loop.schedule), which the kernel's text shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from symc.ir.changed import replace
from symc.ir.loop.nests import chain, has_branches, is_reduction, nest_of
from symc.ir.loop.nodes import Buffer, For, IndexValue, Let, Load, LoopKernel, Stmt, Store, walk
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.loop.schedule_text import parse_schedules
from symc.ir.loop.verify_schedule import misfit
from symc.ir.syntax.printing import global_name
from symc.ir.types import BOOL
from symc.passes.cost import ABREAST, APART, CACHE, LINE, SET, SEVERAL, STREAM
from symc.passes.loop.lower import LoopModule
from symc.passes.loop.tiling.depth import divisible
from symc.passes.loop.tiling.nests import (
    Core,
    access_cost,
    map_unroll,
    pieces,
    reused,
    share,
    short_reductions,
    threaded_first,
    trips,
    turns,
)
from symc.passes.loop.tiling.panels import laid_tile, packed_tile
from symc.passes.loop.tiling.streams import streamed
from symc.passes.loop.tiling.strides import Access, accesses, scratch_buffers
from symc.passes.loop.tiling.tuned import measured_for, tuned_schedules
from symc.passes.manager.manager import Pass, PipelineError, option, register_pass
from symc.passes.manager.rewrite import Rewriter

#: registers that the tiles of a small kernel fill
FEW = 6
#: turns of a loop that are transposed together, and bytes of an element that machine code does so with
TURNED, TURNED_BYTES = 4, 4


def _jams(loops: list[For], found: list[Access], vector: str) -> list[For]:
    """The jam loops of a register tile: one that moves what is the same in all lanes, and one that moves vectors."""
    moving = [x for x in loops if any(a.stride(x.var) and a.stride(vector) for a in found)]
    still = [x for x in loops if x not in moving]
    return [*still[-1:], *moving[-1:]] if still else moving[-1:]


def _transposable(access: Access) -> bool:
    stmt = access.stmt
    dtype = stmt.dtype if isinstance(stmt, Load) else stmt.value.dtype
    return not stmt.guard and dtype.itemsize == TURNED_BYTES


def _shown(kernel: str) -> tuple[str, str]:
    return f"the loops of @{kernel}", "their schedule"


@register_pass("choose", takes="loop", gives="loop", establishes=("chosen",))
class Choose(Pass):
    """Choose vector loops, register tiles and the threaded loop of every kernel that is open; nothing else changes."""

    vector_bytes: int = option(32, "bytes of a vector register", choices=(8, 16, 32, 64, 128))
    registers: int = option(16, "vector registers", min=3)
    ports: int = option(2, "multiply-adds of whole vectors that begin in a cycle", min=1)
    block: int = option(24, "terms of a block of a long sum: fewer are more exact and slower", min=2)
    cache: int = option(CACHE, "bytes of a core's second cache", min=1)
    small: int = option(0, "turns of innermost loops up to which a kernel's code is kept short", min=0)
    schedules: str = option("", "schedules of kernels, which are not asked about: @k0.dot(%i:%i*6,%j*24/8)@k1...")
    tuned: str = option("", "a file of measured schedules (symc tune), its path quoted as in URLs")

    def run(self, module: LoopModule, rw: Rewriter) -> LoopModule:
        given = self._given(module) if self.schedules else {}
        measured = tuned_schedules(self.tuned) if self.tuned else {}
        kernels = []
        for kernel in module.kernels:
            if kernel.name in given:
                problem = misfit(kernel, given[kernel.name])
                if problem:
                    raise PipelineError(f"the schedule given for {global_name(kernel.name)} does not fit: {problem}")
                kernels.append(replace(kernel, schedule=given[kernel.name]))
                continue
            if kernel.schedule is not None or kernel.is_scheduled:
                kernels.append(kernel)
                continue
            origins = [kernel.origin] if kernel.origin else []
            origin = rw.act(f"choose {kernel.name}", origins, _shown, kernel.name)
            # to leave a kernel as it is (a veto) is a decision, too
            schedule = measured_for(kernel, self.block, measured) if measured and origin is not None else None
            if schedule is None:
                schedule = Schedule() if origin is None else self.schedule_of(kernel)
            kernels.append(replace(kernel, schedule=schedule))
        return replace(module, kernels=tuple(kernels))

    def _given(self, module: LoopModule) -> dict[str, Schedule]:
        """The schedules that are given, each for a kernel of the module whose loops are plain."""
        given = parse_schedules(self.schedules)
        names = [kernel.name for kernel in module.kernels if not kernel.is_scheduled]
        for name in given:
            if name not in names:
                known = ", ".join(map(global_name, names)) or "none"
                raise PipelineError(f"a schedule is given for {global_name(name)}; open kernels are {known}")
        return given

    def schedule_of(self, kernel: LoopKernel) -> Schedule:
        """What the cost model makes of a kernel."""
        # large tiles of a kernel of few turns take LLVM longer than they ever save
        registers = min(self.registers, FEW) if turns(kernel.body) <= self.small else self.registers
        core = Core(registers, self.ports, self.block, self.cache)
        return _Chooser(kernel, self.vector_bytes, core).schedule(kernel.body)


def _splits(order: list[For], sizes: dict[str, int], lanes: dict[str, int]) -> tuple[Split, ...]:
    """Loops from the outermost one on, with the turns that are taken together, and in which lanes."""
    return tuple(Split(x.var, min(sizes.get(x.var, 0), x.trips), lanes.get(x.var, 0)) for x in order)


def _crowded(steps: list[int]) -> bool:
    """Whether steps of so many bytes go across lines of memory that share a set of a cache."""
    return min(steps) >= LINE and any(step % SET == 0 for step in steps)


@dataclass(frozen=True)
class _Choice:
    """A loop to vectorize and what the accesses then cost per element."""

    var: str
    cost: float


class _Chooser:
    def __init__(self, kernel: LoopKernel, vector_bytes: int, core: Core) -> None:
        self.buffers: dict[str, Buffer] = {b.name: b for b in kernel.buffers}
        self.buffers.update(scratch_buffers(kernel.body))
        self.vector_bytes, self.core = vector_bytes, core
        self.nests: list[Nest] = []

    def schedule(self, body: tuple[Stmt, ...]) -> Schedule:
        loops = [s for s in walk(body) if isinstance(s, For)]
        if len({loop.var for loop in loops}) == len(loops):  # else a name does not say which loop is meant
            self._statements(body)
        return Schedule(tuple(self.nests), self.core.block if any(loop.carries for loop in loops) else 0)

    def _statements(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            if isinstance(stmt, For) and stmt.kind == "parallel" and not stmt.carries:
                self._nest(stmt)
            elif isinstance(stmt, For) and stmt.carries and is_reduction(stmt):
                fold, unroll = self._reduction(stmt, self._width(stmt.body))
                if fold is not None or unroll:
                    self.nests.append(Nest(stmt.var, fold=fold, unroll=unroll))
            elif isinstance(stmt, For):
                self._statements(stmt.body)

    # -- one nest of independent loops

    def _nest(self, outer: For) -> None:
        loops, body = chain(outer)
        inner = [s for s in body if isinstance(s, For)]
        width = self._width(body)
        simple = not has_branches(body)
        packed = laid_tile(loops, body, self.buffers, width, self.core) if simple else None
        if packed is None and simple:
            packed = packed_tile(loops, body, self.buffers, width, self.core)
        if packed is not None:
            columns, lies = packed.vectors * width, packed.lies
            self._tiled(loops, body, packed.vector, packed.jams, columns, width, packed.load, lies)
            return
        across = self._best(loops, body, width) if simple else None
        within = self._inner_cost(inner, body, width) if inner else None
        if across is not None and (within is None or across.cost <= within):
            self._vector_outside(loops, body, across.var, width)
        elif within is not None and len(inner) == 1 and inner[0].carries and simple:
            self._tile_reduction(loops, inner[0], width)
        else:
            self._statements(body)

    def _width(self, body: tuple[Stmt, ...]) -> int:
        """Lanes by the widest element that is loaded, stored or computed."""
        sizes = [s.dtype.itemsize for s in walk(body) if isinstance(s, (Load, Let)) and s.dtype != BOOL]
        sizes += [s.value.dtype.itemsize for s in walk(body) if hasattr(s, "value")]
        narrow = [s for s in sizes if s <= 4] if any(isinstance(s, IndexValue) for s in walk(body)) else sizes
        return max(2, self.vector_bytes // max(narrow or sizes or [4]))

    def _best(self, loops: list[For], body: tuple[Stmt, ...], width: int) -> _Choice | None:
        """The independent loop that vectorizes best."""
        found = list(accesses(body, self.buffers))
        choices = []
        for loop in loops:
            if any(a.is_store and a.stride(loop.var) == 0 for a in found):
                continue
            cost = access_cost(found, loop.var, width) / share(loop.trips, width)
            choices.append(_Choice(loop.var, cost))
        scalar = sum(a.weight for a in found) * float(width)
        best = min(reversed(choices), key=lambda c: c.cost, default=None)
        return best if best is not None and best.cost < scalar * 0.9 else None

    def _inner_cost(self, inner: list[For], body: tuple[Stmt, ...], width: int) -> float | None:
        """What the accesses cost if the loops inside are vectorized instead, each in its best way."""
        inside = {id(s) for loop in inner for s in walk(loop.body)}
        total = sum(a.weight * float(width) for a in accesses(body, self.buffers) if id(a.stmt) not in inside)
        for loop in inner:
            loops, last = nest_of(loop)
            found = list(accesses(last, self.buffers, trips(loops)))
            options = []
            for candidate in loops:
                if candidate.carries and not is_reduction(candidate):
                    continue
                options.append(access_cost(found, candidate.var, width) / share(candidate.trips, width))
            if not options or any(isinstance(s, For) for s in last):
                total += sum(a.weight * float(width) for a in found)
            else:
                total += min(options) * 1.05
        return total

    # -- a vector over an independent loop

    def _vector_outside(self, loops: list[For], body: tuple[Stmt, ...], var: str, width: int) -> None:
        inner = [s for s in body if isinstance(s, For)]
        vector = next(x for x in loops if x.var == var)
        turned = self._turned(loops, body, var) if not inner else None
        if turned is not None:
            # of what comes from far every line is read once, and whole
            far = any(self._bytes(a.stmt) >= self.core.far for a in accesses(body, self.buffers))
            together = min(LINE // TURNED_BYTES, self.core.registers // 2) if far else TURNED
            self._tiled(loops, body, vector, {turned.var: min(together, turned.trips)}, width, width)
        elif len(inner) == 1 and inner[0].carries:
            found = list(accesses(inner[0].body, self.buffers))
            jams = _jams([x for x in loops if x is not vector and reused(found, x.var, var)], found, var)
            # what is written out keeps its operands in registers, too
            short = inner[0].var in short_reductions(body)
            budget = max(3, self.core.registers // 2) if short else self.core.registers
            columns = streamed(loops, body, vector, self.buffers, width, self.core.near)
            if columns:
                self._tiled(loops, body, vector, {}, columns, width, abreast=ABREAST)
            else:
                self._register_tile(loops, body, vector, jams, width, budget)
        else:
            vectors = map_unroll(body, vector.trips, width) if not inner else 1
            others = [Split(x.var) for x in loops if x is not vector]
            lanes = Split(var, 0, width, vectors)
            self.nests.append(Nest(loops[0].var, (*others, lanes), unroll=short_reductions(body)))

    def _turned(self, loops: list[For], body: tuple[Stmt, ...], var: str) -> For | None:
        """The loop whose turns lie side by side where the lanes of `var` lie apart: some of them together are
        transposed in registers."""
        found = list(accesses(body, self.buffers))
        for loop in reversed(loops):
            apart = [a for a in found if a.stride(var) not in (0, 1) and a.stride(loop.var) == 1]
            if loop.var != var and loop.trips > 1 and any(_transposable(a) for a in apart):
                return loop
        return None

    def _register_tile(
        self, loops: list[For], body: tuple[Stmt, ...], vector: For, jams: list[For], width: int, budget: int
    ) -> None:
        """Vector loop of NV registers by jam loops of MR turns, sized by the cost model; `budget`: registers in all."""
        core, steps = replace(self.core, registers=budget), self._steps(body)
        plan = self._tile_sizes([j.trips for j in jams[-2:]], vector.trips, width, core, steps)
        jam_sizes = dict(zip([j.var for j in jams[-2:]], plan[:-1]))
        self._tiled(loops, body, vector, jam_sizes, plan[-1] * width, width)

    def _tile_sizes(self, extents: list[int], columns: int, width: int, core: Core, steps: list[int]) -> list[int]:
        """[turns of each jam..., vectors] that cost least per result for an inner step, which goes so many bytes on in
        every operand."""
        best: tuple[float, list[int]] | None = None
        vectors = -(-columns // width)
        first = range(1, min(extents[0], 14) + 1) if extents else [1]
        second = range(1, min(extents[1], 6) + 1) if len(extents) > 1 else [1]
        # of several jams (a convolution's) nothing is said about where its operands lie
        several, across = len(extents) > 1, min(steps) >= LINE
        # what few tiles read comes from far, and what crowds in one set of a cache from the next one: the longer the
        # strips, the sooner they are there
        far = prod(extents) < SEVERAL * 14 or _crowded(steps)
        for a in first:
            for b in second:
                for nv in range(1, min(vectors, 6) + 1):
                    accumulators = a * b * nv
                    if accumulators + (nv * b if b > 1 else nv) + 1 > core.registers:
                        continue
                    cost = 0.0
                    for m, times_m in pieces(extents[0], a) if extents else [(1, 1)]:
                        for k, times_k in pieces(extents[1], b) if len(extents) > 1 else [(1, 1)]:
                            for v, times_v in pieces(vectors, nv):
                                cycles = core.cycles(m, k * v, 1 + v if across and not far else 0)
                                times = times_m * times_k * times_v
                                cost += times * (
                                    core.least(m, k * v) if several else cycles + (APART / v if far else 0)
                                )
                    ragged = bool(extents) and extents[0] % a != 0
                    cost *= 1.02 if ragged else 1.0
                    if best is None or cost < best[0] * 0.999:
                        sizes = [a, b][: len(extents)] + [nv]
                        best = cost, sizes
        assert best is not None
        return best[1]

    def _steps(self, body: tuple[Stmt, ...]) -> list[int]:
        """How many bytes the innermost loop of a reduction goes on in what it reads (0: none, or it varies)."""
        nest, last = nest_of(next(s for s in body if isinstance(s, For)))
        loads = [(a, a.stmt) for a in accesses(last, self.buffers)]
        return [abs(a.stride(nest[-1].var) or 0) * s.dtype.itemsize for a, s in loads if isinstance(s, Load)] or [0]

    def _bytes(self, access: Load | Store) -> int:
        return self.buffers[access.buffer].type.nbytes

    def _tiled(
        self,
        loops: list[For],
        body: tuple[Stmt, ...],
        vector: For,
        jams: dict[str, int],
        chunk: int,
        width: int,
        panel: Load | None = None,
        lies: bool = False,
        abreast: int = 0,
    ) -> None:
        """Tiles of `chunk` turns of the vector loop, and of the jam loops. `panel`: an operand to pack for every tile
        of the vector loop, if it does not lie packed already. `abreast`: turns of the reduction that a tile of the
        vector loop, long then, takes at once."""
        if panel is None and not abreast and any(isinstance(s, For) for s in body):
            panel = self._panel(loops, body, vector, jams, chunk)
        sizes = {**jams, vector.var: chunk}
        if panel is not None:
            # the packed panel serves all turns of the loops that do not move it, which therefore stand inside
            moved = {v.name for i in panel.index for v in i.variables()}
            outside = [x for x in loops if x.var in moved and x is not vector]
            order = [*outside, vector, *(x for x in loops if x.var not in moved and x is not vector)]
        else:
            order = threaded_first(loops, sizes)
        largest = 0
        if panel is not None and not lies:
            nest, _ = nest_of(next(s for s in body if isinstance(s, For)))
            if trips(nest) * min(chunk, vector.trips) * panel.dtype.itemsize > self.core.panel:
                largest = self.core.panel
        splits = _splits(order, sizes, {vector.var: width})
        pack = panel.name if panel is not None and not lies else ""
        nest_schedule = Nest(loops[0].var, splits, None, short_reductions(body), pack, largest, abreast)
        self.nests.append(nest_schedule)

    def _panel(
        self, loops: list[For], body: tuple[Stmt, ...], vector: For, jams: dict[str, int], chunk: int
    ) -> Load | None:
        """The operand of a matrix product that is worth copying into a dense panel: read along the vector loop, with
        rows far apart, and used by several tiles of the jam loops."""
        inner = next(s for s in body if isinstance(s, For))
        nest, last = nest_of(inner)
        tiles = 1
        for loop in loops:
            if loop.var in jams:
                tiles *= -(-loop.trips // jams[loop.var])
        if len(nest) != 1 or tiles < 4 or inner.trips < 16:
            return None
        found = [a for a in accesses(last, self.buffers) if isinstance(a.stmt, Load)]
        for access in found:
            load = access.stmt
            step = access.stride(inner.var)
            if isinstance(load, Load) and not load.guard and access.stride(vector.var) == 1 and step is not None:
                fixed = all(access.stride(v) == 0 for v in jams)
                if tiles < SEVERAL and chunk * load.dtype.itemsize >= STREAM:
                    continue
                if not fixed or step < 128:
                    continue
                free = [x for x in loops if access.stride(x.var) == 0]
                if chunk * inner.trips * load.dtype.itemsize > self.core.panel:
                    return load if divisible(loops, free, vector, chunk, inner) else None
                # every panel reads the other operand anew, and across its lines that is dear
                steps, largest = self._steps(body), max(self._bytes(a.stmt) for a in found)
                if min(steps) < LINE or self._bytes(load) == largest and not _crowded(steps):
                    return load
        return None

    # -- a vector over a reduction

    def _tile_reduction(self, loops: list[For], inner: For, width: int) -> None:
        """Lanes collect partial results of the reduction; loops around it with reuse become a register tile."""
        nest, last = nest_of(inner)
        found = list(accesses(last, self.buffers))
        reduced = self._reduction_var(nest, found, width)
        sizes = self._reduction_tile([x for x in loops if reused(found, x.var, reduced.var)], found)
        # what is chosen for loops inside of the reduction comes behind
        at = len(self.nests)
        fold, unroll = self._reduction(inner, width, unroll=1 if sizes else 0)
        if sizes or fold is not None or unroll:
            order = threaded_first(loops, sizes) if sizes else loops
            self.nests.insert(at, Nest(loops[0].var, _splits(order, sizes, {}), fold, unroll))

    def _reduction_tile(self, jams: list[For], found: list[Access]) -> dict[str, int]:
        """Turns of at most two jam loops whose operands do not depend on each other."""
        best: tuple[float, dict[str, int]] | None = None
        for i, a in enumerate(jams):
            for b in jams[i + 1 :]:
                both = [x for x in found if x.stride(a.var) != 0 and x.stride(b.var) != 0]
                if both:
                    continue
                for m in range(1, min(a.trips, 8) + 1):
                    for n in range(1, min(b.trips, 8) + 1):
                        if (
                            m * n + m + 1 > self.core.registers
                            or m * n + n + 1 > self.core.registers
                            or m * n > 12 * self.core.registers // 16
                        ):
                            continue
                        cost = 0.0
                        for x, tx in pieces(a.trips, m):
                            for y, ty in pieces(b.trips, n):
                                cost += tx * ty * (max(x * y / 2, (x + y) / 2, 2.0) + 0.2)
                        if best is None or cost < best[0] * 0.999:
                            best = cost, {a.var: m, b.var: n}
        if best is None and jams:
            single = jams[-1]
            return {single.var: min(4, single.trips)} if single.trips > 1 else {}
        return {k: v for k, v in best[1].items()} if best else {}

    def _reduction_var(self, nest: list[For], found: list[Access], width: int) -> For:
        return min(nest, key=lambda x: access_cost(found, x.var, width) / share(x.trips, width))

    def _reduction(self, outer: For, width: int, unroll: int = 0) -> tuple[Split | None, tuple[str, ...]]:
        """The lanes that collect parts of a reduction, or the loops of it that are written out. Where other loops stand
        in it, these are what is chosen for."""
        nest, last = nest_of(outer)
        if any(isinstance(s, For) for s in last) or not all(is_reduction(x) for x in nest):
            self._statements(outer.body)
            return None, ()
        found = list(accesses(last, self.buffers, 1))
        scalar = sum(a.weight for a in found) * float(width)
        loop = self._reduction_var(nest, found, width)
        if access_cost(found, loop.var, width) / share(loop.trips, width) > scalar * 0.8:
            return None, short_reductions((outer,))
        vectors = unroll or max(1, min(4, loop.trips // width, 8 // len(loop.carries)))
        return Split(loop.var, 0, width, vectors), ()
