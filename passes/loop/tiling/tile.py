"""tile: the loops of every kernel as its schedule says, and nothing is chosen here.

vector      the lanes of a loop: an independent one, or a reduction, whose lanes then collect partial results over the
            whole nest and are folded once at the end
jam         independent loops along which an operand is reused become register tiles (with the vector loop, the
            accumulators of a contraction)
parallel    the outermost loop is shared between threads
blocks      long float32 sums are added up block by block, which keeps their rounding errors small
"""

from __future__ import annotations

from collections.abc import Callable

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.index import Affine, Var
from symc.ir.loop.nests import chain, nest_of
from symc.ir.loop.nodes import Buffer, For, If, IndexValue, Let, Load, LoopKernel, Stmt, walk
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.loop.verify_schedule import misfit
from symc.ir.op import Ref
from symc.ir.prims import elementwise as ew
from symc.ir.types import BOOL, I64
from symc.passes.loop.lower import LoopModule
from symc.passes.loop.tiling.depth import Parts, in_parts, in_turn, parts_of
from symc.passes.loop.tiling.given import with_given_turns
from symc.passes.loop.tiling.lanes import spread_over_lanes
from symc.passes.loop.tiling.nests import narrowed, rebuild, with_vector_last
from symc.passes.loop.tiling.panels import pack
from symc.passes.loop.tiling.streams import row_by_row
from symc.passes.loop.tiling.strides import scratch_buffers, substitute
from symc.passes.loop.tiling.sums import blocked_sums
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter
from symc.passes.manager.strict import reorders


def _shown(kernel: str) -> tuple[str, str]:
    return f"the loops of @{kernel}", "scheduled loops"


@register_pass(
    "tile", "loop", "loop", numerics="reassoc", optional=True, requires=("chosen",), establishes=("scheduled",)
)
class Tile(Pass):
    """Write the loops of every kernel as its schedule says; scheduled ones stay as they are."""

    def run(self, module: LoopModule, rw: Rewriter) -> LoopModule:
        kernels = []
        for kernel in module.kernels:
            if kernel.is_scheduled or kernel.schedule is None:
                kernels.append(kernel)
                continue
            origins = [kernel.origin] if kernel.origin else []
            # vectors and tiles of what carries nothing compute every value as it was
            exact = not reorders(kernel)
            origin = rw.act(f"tile {kernel.name}", origins, _shown, kernel.name, exact=exact)
            # to leave a kernel as it is (a veto) is a decision, too
            plain = replace(kernel, scheduled=True, schedule=Schedule())
            kernels.append(plain if origin is None else scheduled(kernel, kernel.schedule))
        return replace(module, kernels=tuple(kernels))


def scheduled(kernel: LoopKernel, schedule: Schedule) -> LoopKernel:
    """The kernel with its loops as a schedule says. IRError for a schedule that does not fit it."""
    problem = misfit(kernel, schedule)
    if problem:
        raise IRError(f"the schedule of kernel @{kernel.name} does not fit: {problem}")
    tiler = _Tiler(kernel, schedule)
    body = with_given_turns(tiler.statements(kernel.body), tiler.buffers)
    if schedule.sums:
        body = blocked_sums(body, schedule.sums)
    return replace(kernel, body=body, scheduled=True, schedule=schedule)


def _same(load: Load, body: tuple[Stmt, ...]) -> Load:
    """A load as it stands in a body that was made of its own."""
    return next(s for s in walk(body) if isinstance(s, Load) and (s.name, s.buffer) == (load.name, load.buffer))


def _written_out(body: tuple[Stmt, ...], names: tuple[str, ...]) -> tuple[Stmt, ...]:
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, For):
            kind = "unroll" if stmt.var in names else stmt.kind
            stmt = replace(stmt, body=_written_out(stmt.body, names), kind=kind)
        made.append(stmt)
    return tuple(made)


class _Tiler:
    def __init__(self, kernel: LoopKernel, schedule: Schedule) -> None:
        self.buffers: dict[str, Buffer] = {b.name: b for b in kernel.buffers}
        self.buffers.update(scratch_buffers(kernel.body))
        #: nests that were not met yet
        self.nests, self.block = {nest.at: nest for nest in schedule.nests}, schedule.sums
        #: names in use that new loops and scratch buffers must not have
        self.names = {s.var for s in walk(kernel.body) if isinstance(s, For)} | set(self.buffers)

    def statements(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        if not self.nests:
            return body
        made: list[Stmt] = []
        for stmt in body:
            if not isinstance(stmt, For):
                made.append(stmt)
                continue
            nest = self.nests.pop(stmt.var, None)
            if nest is None:
                made.append(replace(stmt, body=self.statements(stmt.body)))
            elif nest.loops:
                made.extend(self._nest(stmt, nest))
            else:
                made.append(self._reduction(stmt, nest))
        return tuple(made)

    def _nest(self, outer: For, nest: Nest) -> list[Stmt]:
        """A nest of independent loops; reductions in it that the nest says nothing of may be nests of their own."""
        loops, body = chain(outer)
        inside: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, For) and nest.fold is not None and nest.fold.var in [x.var for x in nest_of(stmt)[0]]:
                inside.append(self._reduction(stmt, nest))
            else:
                inside.extend(_written_out(self.statements((stmt,)), nest.unroll))
        return self._tiled(loops, tuple(inside), nest)

    def _reduction(self, outer: For, nest: Nest) -> Stmt:
        """The reduction nest with one of its loops spread over lanes. The lane loop stands outside the nest, so that
        partial results stay in registers until its end."""
        if nest.fold is None:
            return _written_out((outer,), nest.unroll)[0]
        loops, last = nest_of(outer)
        loop = next(x for x in loops if x.var == nest.fold.var)
        lanes = nest.fold.lanes * nest.fold.vectors
        lane = Var(self._fresh(f"{loop.var}l"), 0, lanes)
        return spread_over_lanes(loops, loop, last, lane, lanes, nest.fold.lanes)

    def _tiled(self, loops: list[For], body: tuple[Stmt, ...], nest: Nest) -> list[Stmt]:
        """Split the loops into tiles: outer loops in their order, then the jam loops and the vector loop. An operand
        that is packed is copied for every tile of the vector loop."""
        named = {x.var: x for x in loops}
        order = [(named[split.var], split) for split in nest.loops]
        panel = next((s for s in walk(body) if isinstance(s, Load) and s.name == nest.pack), None)

        def level(at: int, values: dict[str, Affine], inner: list[For], body: tuple[Stmt, ...]) -> list[Stmt]:
            if at == len(order):
                return rebuild(inner, substitute(body, values)) if inner else list(substitute(body, values))
            loop, split = order[at]
            if split.lanes and not split.turns:
                whole = replace(loop, kind="vector", width=split.lanes, unroll=split.vectors)
                return level(at + 1, values, with_vector_last(inner, whole), body)
            if not split.turns:
                return [replace(loop, body=tuple(level(at + 1, values, inner, body)))]
            return self._pieces(
                loop, split, at > 0, lambda *piece: placed(at, loop, split, values, inner, body, *piece)
            )

        def placed(
            at: int, loop: For, split: Split, values: dict[str, Affine], inner: list[For], body: tuple[Stmt, ...],
            begin: Affine, trips: int,
        ) -> list[Stmt]:  # fmt: skip
            """One tile of a loop, and what is inside of it."""
            lanes = narrowed(split.lanes, trips) if split.lanes else 0
            unroll = -(-trips // lanes) if lanes and not nest.abreast else 1
            made = For(loop.var, 0, trips, (), (), "vector" if lanes else "jam", lanes, 1, unroll, loop.origin)
            inside = {**values, loop.var: begin + Var(loop.var, 0, trips)}
            nested = with_vector_last(inner, made)
            column = Affine.of(Var(loop.var, 0, trips)) - begin
            free = [x for x, _ in order[at + 1 :]]

            def cut(body: tuple[Stmt, ...], terms: int) -> Parts:
                return parts_of(body, 0, terms, free, column, trips, self._fresh)

            if lanes and nest.abreast:
                return row_by_row(body, nest.abreast, self.block, cut, lambda b: level(at + 1, inside, nested, b))
            if not lanes or panel is None:
                return level(at + 1, inside, nested, body)

            def packed(body: tuple[Stmt, ...], panel: Load) -> list[Stmt]:
                buffer, packing, reading = pack(panel, body, loop.var, begin, made, self._fresh)
                self.buffers[buffer.name] = buffer
                return [*substitute(tuple(packing), values), *level(at + 1, inside, nested, reading)]

            parts = in_parts(body, panel, nest.panel, free, column, trips, self._fresh) if nest.panel else None
            if parts is None:
                return packed(body, panel)
            clear = level(at + 1, inside, nested, parts.clear)
            part = packed(parts.part, _same(panel, parts.part))
            if parts.rest:
                last = packed(parts.last, _same(panel, parts.last))
            else:
                last = level(at + 1, inside, nested, parts.last)
            return in_turn(parts, clear, part, last, loop.origin)

        return level(0, {}, [], body)

    def _pieces(self, loop: For, split: Split, within: bool, piece: Callable[[Affine, int], list[Stmt]]) -> list[Stmt]:
        """The tiles of a loop, `piece(begin, turns)` each, and its rest; `within`: other loops are around it."""
        whole, rest = divmod(loop.trips, split.turns)
        if whole + bool(rest) == 1:
            return piece(Affine(), loop.trips)
        var = Var(self._fresh(f"{loop.var}t"), 0, whole)
        full = piece(Affine.of(var) * split.turns, split.turns)
        last = piece(Affine.of(whole * split.turns), rest) if rest else []
        if last and not within:
            return [self._ragged(var.name, whole, full, last, loop)]
        if whole == 1:
            return [*substitute(tuple(full), {var.name: Affine()}), *last]
        return [For(var.name, 0, whole, tuple(full), (), "parallel", origin=loop.origin), *last]

    def _ragged(self, var: str, whole: int, full: list[Stmt], last: list[Stmt], loop: For) -> Stmt:
        """One loop over the whole tiles and the rest, so that all of them are shared between threads."""
        index = Affine.of(Var(var, 0, whole + 1))
        at = IndexValue(self._fresh(f"{var}.at"), I64, index, loop.origin)
        inside = Let(self._fresh(f"{var}.whole"), BOOL, ew.lt, (at.ref, Ref("", I64, whole)), loop.origin)
        beyond = Let(self._fresh(f"{var}.rest"), BOOL, ew.ge, (at.ref, Ref("", I64, whole)), loop.origin)
        body = (at, inside, beyond, If(inside.ref, tuple(full), loop.origin), If(beyond.ref, tuple(last), loop.origin))
        return For(var, 0, whole + 1, body, (), "parallel", origin=loop.origin)

    def _fresh(self, stem: str) -> str:
        name, count = stem, 0
        while name in self.names:
            count += 1
            name = f"{stem}{count}"
        self.names.add(name)
        return name
