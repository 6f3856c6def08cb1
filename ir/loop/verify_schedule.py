"""Whether a schedule fits a kernel: what it names exists, and may be done (rule L13 of symc.ir.verify)."""

from __future__ import annotations

from symc.ir.index import linear
from symc.ir.loop.nests import chain, has_branches, is_reduction, nest_of
from symc.ir.loop.nodes import Alloc, For, If, Load, LoopKernel, Stmt, walk
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.prims import elementwise as ew
from symc.ir.syntax.printing import value_name
from symc.ir.types import strides_of

#: lanes of a loop and turns that are written out, at the most: machine code grows with them
LANES, WRITTEN = 128, 64


class _Misfit(Exception):
    """Says what does not fit."""


def misfit(kernel: LoopKernel, schedule: Schedule) -> str:
    """What a schedule says that the plain loops of a kernel cannot be; empty where it fits."""
    try:
        _Check(kernel, schedule).check()
    except _Misfit as problem:
        return str(problem)
    return ""


class _Check:
    def __init__(self, kernel: LoopKernel, schedule: Schedule) -> None:
        self.kernel, self.schedule = kernel, schedule
        self.loops: dict[str, For] = {}
        #: loops that stand under a condition
        self.guarded: set[str] = set()

    def check(self) -> None:
        if not self.schedule.nests:
            return
        for stmt in walk(self.kernel.body):
            if isinstance(stmt, For):
                if stmt.var in self.loops:
                    raise _Misfit(f"two loops are called {value_name(stmt.var)}")
                self.loops[stmt.var] = stmt
            elif isinstance(stmt, If):
                self.guarded |= {s.var for s in walk(stmt.body) if isinstance(s, For)}
        taken: dict[str, str] = {}
        for nest in self.schedule.nests:
            for var in self._nest(nest):
                if var in taken:
                    both = f"{value_name(taken[var])} and {value_name(nest.at)}"
                    raise _Misfit(f"the nests {both} both say what becomes of {value_name(var)}")
                taken[var] = nest.at

    def _loop(self, var: str) -> For:
        found = self.loops.get(var)
        if found is None:
            names = ", ".join(map(value_name, self.loops)) or "none"
            raise _Misfit(f"there is no loop {value_name(var)}; its loops are {names}")
        if var in self.guarded:
            raise _Misfit(f"the loop {value_name(var)} stands under a condition")
        return found

    def _nest(self, nest: Nest) -> list[str]:
        """Check a nest; the loops that it decides on."""
        outer = self._loop(nest.at)
        if not nest.loops:
            if not outer.carries:
                raise _Misfit(f"{value_name(nest.at)} is no reduction: its nest has to name its loops")
            self._reduction(nest, [outer])
            return [*nest.unroll, *([nest.fold.var] if nest.fold else [])] or [nest.at]
        if outer.carries or outer.kind != "parallel":
            raise _Misfit(f"the turns of {value_name(nest.at)} are not independent")
        loops, body = chain(outer)
        names = [x.var for x in loops]
        for split in nest.loops:
            self._loop(split.var)
            if split.var not in names:
                raise _Misfit(f"{value_name(split.var)} is no loop of the nest of {', '.join(map(value_name, names))}")
            self._split(split, self.loops[split.var])
        given = [split.var for split in nest.loops]
        if sorted(given) != sorted(names):
            wanted = ", ".join(map(value_name, names))
            raise _Misfit(f"the nest of {value_name(nest.at)} has to name each of its loops once: {wanted}")
        if sum(split.lanes > 0 for split in nest.loops) + (nest.fold is not None) > 1:
            raise _Misfit(f"the nest of {value_name(nest.at)} has lanes in two loops")
        inner = [s for s in body if isinstance(s, For)]
        if has_branches(body) and any(split.turns or split.lanes for split in nest.loops):
            raise _Misfit(f"there is a condition in the nest of {value_name(nest.at)}: it has neither tiles nor lanes")
        tiled = [split.var for split in nest.loops if split.turns]
        if tiled and (len(inner) > 1 or any(not x.carries for x in inner)):
            raise _Misfit(f"{value_name(tiled[0])} has no tiles: there is more than one reduction in its nest")
        self._reduction(nest, inner)
        if nest.pack or nest.panel or nest.abreast:
            self._packed(nest, body, inner)
        return [*names, *nest.unroll, *([nest.fold.var] if nest.fold else [])]

    def _split(self, split: Split, loop: For) -> None:
        name = value_name(split.var)
        if split.turns > loop.trips:
            raise _Misfit(f"{name} has {loop.trips} turns: there is no tile of {split.turns}")
        if split.turns and (loop.lo or loop.step != 1):
            raise _Misfit(f"{name} has no tiles: it does not turn from 0 on, one by one")
        if split.lanes and (split.lanes & (split.lanes - 1) or split.lanes > LANES):
            raise _Misfit(f"{name} has {split.lanes} lanes: there are 2, 4, 8 and so on to {LANES}")

    def _reduction(self, nest: Nest, inner: list[For]) -> None:
        """What is said of the reductions in a nest."""
        for var in nest.unroll:
            loop = self._loop(var)
            if not any(loop is s for x in inner for s in walk((x,))) or not loop.carries:
                raise _Misfit(f"{value_name(var)} is no reduction in the nest of {value_name(nest.at)}")
            if loop.trips > WRITTEN:
                raise _Misfit(f"{value_name(var)} has {loop.trips} turns: {WRITTEN} are written out at the most")
        if nest.fold is None:
            return
        loop = self._loop(nest.fold.var)
        name = value_name(loop.var)
        self._split(nest.fold, loop)
        found = next((x for x in inner if loop in nest_of(x)[0]), None)
        if found is None or not loop.carries:
            raise _Misfit(f"{name} is no reduction in the nest of {value_name(nest.at)}")
        loops, last = nest_of(found)
        if not nest.fold.lanes or nest.fold.turns:
            raise _Misfit(f"fold says lanes, and vectors in a turn: fold={name}/8*4")
        if any(isinstance(s, For) for s in last) or not all(map(is_reduction, loops)):
            raise _Misfit(f"parts of the reduction over {name} do not combine: its lanes cannot be folded")
        if any(x.lo or x.step != 1 for x in loops) or nest.unroll:
            raise _Misfit(f"a reduction with lanes turns from 0 on, one by one, and is not written out: {name}")

    def _packed(self, nest: Nest, body: tuple[Stmt, ...], inner: list[For]) -> None:
        vector = nest.vector
        if vector is None or not vector.turns or len(inner) != 1:
            raise _Misfit(
                f"pack, panel and abreast are for a reduction under tiles of a loop with lanes (%j*24/8); the nest of "
                f"{value_name(nest.at)} has none"
            )
        loops, last = nest_of(inner[0])
        carry = inner[0].carries[0]
        sums = len(inner[0].carries) == 1 and carry.combine == ew.add and carry.init.is_literal and not carry.init.value
        sums = sums and not any(x.lo for x in loops)
        if (nest.panel or nest.abreast) and not sums:
            raise _Misfit(
                f"only a sum that begins with 0 is taken in parts; the nest of {value_name(nest.at)} has none"
            )
        if nest.panel and not nest.pack:
            raise _Misfit("panel says how large a packed operand may be, but none is packed (pack=%w)")
        if nest.abreast:
            if nest.pack or nest.fold or nest.unroll or len(loops) != 1 or not self.schedule.sums:
                raise _Misfit(
                    "abreast is for a sum over one loop in blocks (sums=24), neither packed, folded nor written out"
                )
            if any(split.turns for split in nest.loops if split is not vector):
                raise _Misfit(f"where terms are summed abreast, only {value_name(vector.var)} has tiles")
        if nest.pack:
            self._load(nest, vector, loops, last)

    def _load(self, nest: Nest, vector: Split, loops: list[For], last: tuple[Stmt, ...]) -> None:
        """What is packed is read at fixed strides, moved by the loop with lanes, and by none that has tiles."""
        name, lanes = value_name(nest.pack), value_name(vector.var)
        loads = [s for s in last if isinstance(s, Load)]
        load = next((s for s in loads if s.name == nest.pack), None)
        if load is None:
            found = ", ".join(value_name(s.name) for s in loads) or "nothing"
            raise _Misfit(f"the reduction loads no {name} that could be packed; it loads {found}")
        buffers = {b.name: b for b in self.kernel.buffers}
        buffers.update({s.buffer.name: s.buffer for s in walk(self.kernel.body) if isinstance(s, Alloc)})
        offset = linear(load.index, strides_of(buffers[load.buffer].type.shape))
        if load.guard or None in [offset.factor_of(var) for var in (*(x.var for x in loops), vector.var)]:
            raise _Misfit(f"{name} is not read at fixed steps everywhere: it cannot be packed")
        if not offset.factor_of(vector.var):
            raise _Misfit(f"{name} is the same in all lanes of {lanes}: nothing is gained by packing it")
        moving = {v.name for index in load.index for v in index.variables()}
        after = [split for split in nest.loops if split.var in moving and split is not vector]
        for split in after:
            if split.turns:
                raise _Misfit(f"{value_name(split.var)} moves {name}, which is packed: it has no tiles")
            if nest.loops.index(split) > nest.loops.index(vector):
                raise _Misfit(f"{value_name(split.var)} moves {name}, which is packed for tiles of {lanes}: "
                              f"it has to stand before {lanes}")  # fmt: skip
