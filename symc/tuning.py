"""Schedules found by measuring, where the cost model of choose may be wrong.

Of a program's kernels those that take the most time are run alone, as machine code, on operands of their own: first as
they were chosen, then with schedules that differ a little (another tile, other lanes, an operand packed or not), as
long as that helps. A candidate and the best one so far run alternately, and their least times are compared. What a
candidate computes has to be what the kernel's plain loops compute, but for rounding. Operands lie in caches as far as
they fit, which those of a kernel in a program may not.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from symc.codegen.emit.description import describe
from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.target import Target
from symc.ir.changed import replace
from symc.ir.loop.nodes import For, Load, LoopKernel, walk
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.loop.verify_schedule import misfit
from symc.ir.modules import LoopModule
from symc.ir.program.nodes import LoopStep
from symc.ir.types import Array
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import scheduled
from symc.passes.manager.strict import reorders
from symc.runtime.link import entry_of
from symc.runtime.memory import address_of, empty
from symc.runtime.table import link_kernels, make_table

#: part of the time that a better schedule takes at most, and times that two are run alternately
BETTER, ROUNDS = 0.97, 6
#: seconds of a run of a kernel, which is repeated so often
RUN = 1e-3
#: vectors of sums in a tile, beyond which machine code is not worth making
TILE = 64
#: how far results may be off, as a part of the largest one, by bytes of an element
OFF = {2: 2e-2, 4: 1e-4, 8: 1e-10}


@dataclass(frozen=True)
class Found:
    """What was found for a kernel: its schedules and their least seconds; `after` is `before` where none was better."""

    kernel: LoopKernel
    before: Schedule
    after: Schedule
    seconds: tuple[float, float]
    tried: int


class Native:
    """A kernel's machine code on arrays."""

    def __init__(self, kernel: LoopKernel, target: Target, arrays: list[Array]) -> None:
        known = describe(kernel, target)
        wanted = (known.key, "kernel", functools.partial(emit_kernel, kernel, target))
        address = link_kernels([wanted], target)[known.key]
        args = [address_of(array) + shift for array, shift in zip(arrays, known.shifts)]
        self.table = make_table([entry_of(known, address, args)], known.scratch, arrays)
        self.turns = 1

    def seconds(self) -> float:
        """Of one run, when it runs again and again for a moment."""
        begin = time.perf_counter()
        for _ in range(self.turns):
            self.table.run(0, 1)
        return (time.perf_counter() - begin) / self.turns


def tune(
    module: LoopModule, choose: Choose, target: Target, seconds: float, tell: Callable[[Found], None]
) -> dict[str, Found]:
    """Measure kernels of a module, whose loops are plain, for so many seconds; what is found by their names, which
    `tell` is told of one by one."""
    end = time.monotonic() + seconds
    often = _calls(module)
    open_ones = [(n, k) for n, k in enumerate(module.kernels) if not k.is_scheduled and often.get(n)]
    # of sums in a strict region the order is not to be chosen
    open_ones = [(n, k) for n, k in open_ones if not (k.origin is not None and k.origin.strict and reorders(k))]
    searches = [(often[n], _Search(k, choose, target)) for n, k in open_ones]
    searches = sorted(searches, key=lambda pair: -pair[0] * pair[1].first)
    whole = sum(count * search.first for count, search in searches)
    found: dict[str, Found] = {}
    for at, (count, search) in enumerate(searches):
        left = end - time.monotonic()
        rest = sum(n * s.first for n, s in searches[at:])
        if left <= 0 or count * search.first < whole / 1000:
            break
        found[search.kernel.name] = made = search.run(time.monotonic() + left * count * search.first / rest)
        tell(made)
    return found


def _calls(module: LoopModule) -> dict[int, int]:
    """How often each kernel runs, by its number. What the prologue computes once does not count."""
    often: dict[int, int] = {}
    for at, (step, number) in enumerate(zip(module.program.steps, module.calls)):
        if at < module.program.prologue:
            continue
        if number is not None:
            often[number] = often.get(number, 0) + 1
        for inside in module.inside(at):
            turns = step.trips if isinstance(step, LoopStep) else 1
            for kernel, times in _calls(inside).items():
                often[kernel] = often.get(kernel, 0) + turns * times
    return often


class _Search:
    """The search of one kernel's schedule."""

    def __init__(self, kernel: LoopKernel, choose: Choose, target: Target) -> None:
        self.kernel, self.choose, self.target = kernel, choose, target
        self.chosen = choose.schedule_of(kernel)
        native = self._native(self.chosen, self._arrays())
        #: seconds of what was chosen: the first run touches memory, the second says which kernels matter
        self.first = min(native.seconds(), native.seconds())

    def _arrays(self) -> list[Array]:
        """Operands of any numbers (whole ones are zeros, as they may be positions), and results that are zeros."""
        rng = np.random.default_rng(0)
        made = []
        for buffer in self.kernel.buffers:
            array = empty(buffer.type.shape, buffer.type.dtype.numpy)
            array[...] = rng.uniform(-1, 1, array.shape) if buffer.mode != "out" and buffer.type.dtype.is_float else 0
            made.append(array)
        return made

    def _native(self, schedule: Schedule, arrays: list[Array]) -> Native:
        return Native(scheduled(self.kernel, schedule), self.target, arrays)

    def _results(self, schedule: Schedule) -> list[Array]:
        """What one run leaves in the arrays that it writes."""
        arrays = self._arrays()
        self._native(schedule, arrays).table.run(0, 1)
        return [array for buffer, array in zip(self.kernel.buffers, arrays) if buffer.mode != "in"]

    def run(self, end: float) -> Found:
        """Go from one schedule to a better one near it until there is none, or time is over."""
        arrays = self._arrays()
        best, now = self.chosen, self._native(self.chosen, arrays)
        wanted: list[Array] | None = None
        now.turns = max(1, int(RUN / max(now.seconds(), 1e-7)))
        least = before = min(now.seconds() for _ in range(ROUNDS))
        tried, again = {best}, True
        while again and time.monotonic() < end:
            again = False
            for candidate in self._near(best):
                if candidate in tried or time.monotonic() >= end:
                    continue
                tried.add(candidate)
                native = self._native(candidate, arrays)
                native.turns = now.turns
                pair = _alternately(now, native)
                if pair[1] > BETTER * pair[0]:
                    continue
                wanted = wanted if wanted is not None else self._results(Schedule())
                if all(map(_agree, self._results(candidate), wanted)):
                    best, now, again = candidate, native, True
                    least = pair[1]
                    break
        if best != self.chosen:  # once more, against what was chosen, as the machine may have changed
            before, least = _alternately(self._native(self.chosen, arrays), now, now.turns)
            if least > BETTER * before:
                best, least = self.chosen, before
        return Found(self.kernel, self.chosen, best, (before, least), len(tried))

    def _near(self, schedule: Schedule) -> Iterator[Schedule]:
        """Schedules that fit the kernel and differ from one in one thing; at first what the cost model makes of other
        machines."""
        if schedule == self.chosen:
            for registers in (8, 16, 32):
                for width in (self.choose.vector_bytes, self.choose.vector_bytes // 2):
                    other = replace(self.choose, registers=registers, vector_bytes=width, small=0)
                    yield other.schedule_of(self.kernel)
        loads = [s.name for s in walk(self.kernel.body) if isinstance(s, Load)]
        short = [s.var for s in walk(self.kernel.body) if isinstance(s, For) and s.carries and s.trips <= 8]
        for at, nest in enumerate(schedule.nests):
            for other in near_nests(nest, loads, short):
                nests = (*schedule.nests[:at], other, *schedule.nests[at + 1 :])
                candidate = replace(schedule, nests=nests)
                if not misfit(self.kernel, candidate):
                    yield candidate


def _alternately(one: Native, other: Native, turns: int = 0) -> tuple[float, float]:
    """The least seconds of two kernels that run one after the other; less often where one is clearly slower."""
    if turns:
        one.turns = other.turns = turns
    least = [one.seconds(), other.seconds()]
    for _ in range(ROUNDS - 1):
        if least[1] > 1.2 * least[0]:
            break
        least = [min(least[0], one.seconds()), min(least[1], other.seconds())]
    return least[0], least[1]


def _agree(found: Array, wanted: Array) -> bool:
    """Whether results are those of the plain loops, but for rounding."""
    if found.dtype.kind != "f":
        return bool(np.array_equal(found, wanted))
    scale = float(np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))) or 1.0
    return bool(np.allclose(found, wanted, rtol=0, atol=OFF[found.dtype.itemsize] * scale, equal_nan=True))


def near_nests(nest: Nest, loads: list[str], short: list[str]) -> Iterator[Nest]:
    """What differs from a nest in one thing; not all of it fits. `loads`: values that may be packed, `short`:
    reductions that may be written out."""
    for at, split in enumerate(nest.loops):
        for other in _near_splits(split):
            loops = (*nest.loops[:at], other, *nest.loops[at + 1 :])
            if prod(max(1, -(-x.turns // max(x.lanes, 1))) for x in loops) <= TILE:
                yield replace(nest, loops=loops)
    for at in range(len(nest.loops) - 1):
        one, other = nest.loops[at : at + 2]
        yield replace(nest, loops=(*nest.loops[:at], other, one, *nest.loops[at + 2 :]))
    if nest.fold is not None:
        for vectors in (1, 2, 4, 8):
            yield replace(nest, fold=replace(nest.fold, vectors=vectors))
    if nest.pack:
        yield replace(nest, pack="", panel=0)
    elif nest.vector is not None and nest.vector.turns:
        for name in loads:
            yield replace(nest, pack=name)
    if nest.panel:
        for bytes_ in (nest.panel // 2, nest.panel * 2):
            yield replace(nest, panel=bytes_)
    if nest.abreast:
        for many in (nest.abreast // 2, nest.abreast * 2):
            yield replace(nest, abreast=max(many, 1))
    for unroll in ((), tuple(short)):
        if unroll != nest.unroll and nest.loops:
            yield replace(nest, unroll=unroll)


def _near_splits(split: Split) -> Iterator[Split]:
    if split.lanes and not split.turns:
        for vectors in (1, 2, 4, 8):
            yield replace(split, vectors=vectors)
        yield from (replace(split, lanes=lanes) for lanes in (split.lanes // 2, split.lanes * 2) if lanes >= 2)
        return
    step = max(split.lanes, 1)
    sizes = [split.turns + step, split.turns - step, split.turns * 2, -(-split.turns // (2 * step)) * step]
    yield from (replace(split, turns=turns) for turns in sizes if split.turns and turns >= 1)
