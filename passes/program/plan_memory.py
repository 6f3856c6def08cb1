"""plan_memory: every value gets a place.

Results go to the caller's buffers, updates into their parameters, what the prologue leaves for later runs into memory
that is kept, and everything else into one arena, at offsets chosen so that values alive at the same time never overlap.
A value may take over the memory of an operand that dies in its kernel, if the kernel's form says that it reads that
operand only at the index it writes.

The offsets are found by greedy placement (large values first, at the lowest offset free over the whole live range;
Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020) under several orders; the best
is kept. The largest live set is reported as the lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from symc.ir.changed import replace
from symc.ir.errors import IRError
from symc.ir.origins import first_symbol
from symc.ir.program.form import overwrite_refusal
from symc.ir.program.nodes import (
    BranchStep,
    ControlStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    Result,
    Step,
    ViewStep,
    bases_of,
    in_regions,
    operands_of,
    origin_of,
)
from symc.ir.types import Array
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter


@dataclass
class _Storage:
    """One piece of memory, shared by a value, its views and what takes it over: its size and live range in steps."""

    size: int
    first: int
    last: int
    place: Place = field(default_factory=Place)


@register_pass("plan_memory", takes="program", gives="program", requires=("owned",), establishes=("planned",))
class PlanMemory(Pass):
    """Assign places; `inplace` lets results take over dying operands."""

    inplace: bool = option(True, "results may take over the memory of operands that die")
    align: int = option(64, "alignment of arena offsets in bytes", choices=[8 << n for n in range(10)])

    def run(self, program: Program, rw: Rewriter) -> Program:
        return _Planner(in_regions(program, lambda region: self.run(region, rw)), self, rw).planned()


class _Planner:
    def __init__(self, program: Program, options: PlanMemory, rw: Rewriter) -> None:
        self.program, self.options, self.rw = program, options, rw
        self.base = bases_of(program)
        self.last_read: dict[str, int] = {}
        for at, step in enumerate(program.steps):
            for operand in operands_of(step):
                self.last_read[self.base[operand]] = at
        self.storage: dict[str, _Storage] = {}
        self.inplace: dict[str, str] = {}
        self.pieces: list[_Storage] = []
        self.fixed: dict[str, Place] = {}
        #: the memory of the regions of a step
        self.frames: dict[int, _Storage] = {}
        #: bytes that the prologue's values have so far
        self.kept = 0

    def planned(self) -> Program:
        self._fix_results()
        for at, step in enumerate(self.program.steps):
            if not isinstance(step, ViewStep):
                self._kernel(at, step)
            if isinstance(step, (LoopStep, BranchStep)) and step.frame_size:
                self.frames[at] = _Storage(step.frame_size, at, at)
                self.pieces.append(self.frames[at])
        arena = [p for p in self.pieces if not p.place.kind]
        self._check_size(arena)
        size = place_all(arena, self.options.align)
        steps = tuple(self._placed(at, step) for at, step in enumerate(self.program.steps))
        bound = lower_bound(arena, self.options.align)
        return replace(self.program, steps=steps, arena=size, lower_bound=bound, kept=self.kept)

    def _check_size(self, arena: Sequence[_Storage]) -> None:
        """IRError for values that no 64-bit address reaches."""
        total = sum(_rounded(piece.size, self.options.align) for piece in arena)
        if total < ADDRESSES:
            return
        steps = [step for step in self.program.steps if not isinstance(step, ViewStep)]
        written = [(result, origin_of(step, at)) for step in steps for at, result in enumerate(step.results)]
        result, origin = max(written, key=lambda pair: pair[0].type.nbytes)
        symbol = first_symbol(origin)
        whose = f" of Symbol '{symbol.name}'" if symbol is not None else ""
        raise IRError(
            f"plan_memory: the program's values have {total} bytes, more than addresses of 64 bits reach; the largest "
            f"is %{result.name}: {result.type}{whose}, of {result.type.nbytes}"
        )

    def _fix_results(self) -> None:
        """Outputs live in the caller's buffers, updates in their parameter's: memory of a kernel's result each."""
        owned = {r.name for step in self.program.steps if not isinstance(step, ViewStep) for r in step.results}
        ends = [(f"output {o.name}", o.value, Place("out", i)) for i, o in enumerate(self.program.outputs)]
        ends += [(f"the update of %{u.input}", u.value, Place("arg", 0, u.input)) for u in self.program.updates]
        for what, value, place in ends:
            base = self.base[value]
            if base not in owned or base in self.fixed:
                raise IRError(f"plan_memory: {what}, %{value}, is no value of its own; own_results makes it one")
            self.fixed[base] = place

    def _kernel(self, at: int, step: KernelStep | ControlStep) -> None:
        taken: set[str] = set()
        for number, result in enumerate(step.results):
            last = self.last_read.get(result.name, at)
            place = self.fixed.get(result.name)
            if place is not None:
                self.rw.miss("take over", result.name, f"it is a result: it lies in the caller's buffer {place}")
            elif at < self.program.prologue <= last:
                place = Place("kept", self.kept)
                self.kept += _rounded(result.type.nbytes, self.options.align)
                self.rw.miss("take over", result.name, "it is kept from run to run")
            elif not self.options.inplace:
                self.rw.miss("take over", result.name, "inplace=false")
            if place is None and self.options.inplace:
                operand = self._victim(at, step, number, taken)
                if operand:
                    taken.add(self.base[operand])
                    piece = self.storage[self.base[operand]]
                    piece.last = max(piece.last, last)
                    self.storage[result.name] = piece
                    self.inplace[result.name] = operand
                    continue
            piece = _Storage(result.type.nbytes, at, last, place or Place())
            if place is not None and place.kind == "arg":
                # at most one operand lies there: the parameter, or its update of the forward half
                self.inplace.update((result.name, o) for o in step.operands if self._place_of(o) == place)
            self.storage[result.name] = piece
            self.pieces.append(piece)

    def _victim(self, at: int, step: KernelStep | ControlStep, result: int, taken: set[str]) -> str:
        """An operand whose memory the result takes over; empty if there is none."""
        made = step.results[result]
        allowed = step.overwritable(result)
        for number, operand in enumerate(step.operands):
            if number in allowed:
                refused = self._refusal(at, step, made, operand, taken)
                if not refused and self.rw.act("take over", [step.origin], _shown, made, operand) is not None:
                    return operand
                if refused:
                    self.rw.miss("take over", made.name, refused, operand)
            elif self.rw.watcher is not None:
                self.rw.miss("take over", made.name, _form_refusal(step, result, number), operand)
        return ""

    def _refusal(self, at: int, step: KernelStep | ControlStep, made: Result, operand: str, taken: set[str]) -> str:
        """Why a result does not take over an operand's memory, though the step would write it there; or nothing."""
        base = self.base[operand]
        piece = self.storage.get(base)
        if piece is None:
            return f"%{base} is a parameter or constant: its memory is the caller's"
        if piece.place.kind == "kept":
            return f"%{base} is kept from run to run"
        if piece.place.kind:
            return f"%{base} lies in the caller's buffer {piece.place}"
        if base in taken:
            return f"another result of the step has taken over %{base}"
        if piece.size != made.type.nbytes:
            return f"%{base} lies in memory of {piece.size} bytes, the result has {made.type.nbytes}"
        if piece.last > at:
            return f"%{base}'s memory is read until step {piece.last}, the result is written by step {at}"
        if sum(1 for o in step.operands if self.storage.get(self.base[o]) is piece) > 1:
            return f"the step reads the memory of %{base} by another operand too"
        return ""

    def _placed(self, at: int, step: Step) -> Step:
        if isinstance(step, ViewStep):
            return replace(step, result=replace(step.result, place=self._place_of(step.operand)))
        results = tuple(
            replace(r, place=self._place_of(r.name), inplace=self.inplace.get(r.name, "")) for r in step.results
        )
        if isinstance(step, (LoopStep, BranchStep)) and at in self.frames:
            return replace(step, results=results, frame=self.frames[at].place)
        return replace(step, results=results)

    def _place_of(self, value: str) -> Place:
        base = self.base[value]
        piece = self.storage.get(base)
        if piece is None:
            return Place("arg", 0, base)
        return piece.place


def _shown(made: Result, operand: str) -> tuple[str, str]:
    return f"%{made.name}", f"%{made.name} in the memory of %{operand}"


def _form_refusal(step: KernelStep | ControlStep, result: int, operand: int) -> str:
    """Why a step may not write a result over an operand."""
    if isinstance(step, KernelStep):
        held = step.body.inputs[operand].tensor
        return overwrite_refusal(step.form, result, step.results[result].type, operand, held)
    return f"a {step.label} writes no result over that operand"


# --------------------------------------------------------------------------------------------- offsets

#: a plan this near to the lower bound is not worth looking for a better one
NEAR = 1.01
#: bytes that can be told apart
ADDRESSES = 1 << 62


def _rounded(size: int, align: int) -> int:
    return -(-max(size, 1) // align) * align


def lower_bound(pieces: Sequence[_Storage], align: int) -> int:
    """The largest sum of sizes alive at one step."""
    change: dict[int, int] = {}
    for p in pieces:
        change[p.first] = change.get(p.first, 0) + _rounded(p.size, align)
        change[p.last + 1] = change.get(p.last + 1, 0) - _rounded(p.size, align)
    alive = peak = 0
    for step in sorted(change):
        alive += change[step]
        peak = max(peak, alive)
    return peak


def place_all(pieces: Sequence[_Storage], align: int) -> int:
    """Give every piece an arena offset; returns the arena's size in bytes."""
    if not pieces:
        return 0
    bound = lower_bound(pieces, align)
    sizes = np.array([_rounded(p.size, align) for p in pieces], np.int64)
    first = np.array([p.first for p in pieces], np.int64)
    last = np.array([p.last for p in pieces], np.int64)
    best: tuple[int, Array] | None = None
    orders = [
        np.lexsort((first, -sizes)),
        np.lexsort((first, -sizes * (last - first + 1))),
        np.lexsort((-sizes, first)),
        np.lexsort((-sizes, -(last - first))),
    ]
    for order in orders:
        offsets, size = _greedy(order, sizes, first, last)
        if best is None or size < best[0]:
            best = size, offsets
        if best[0] <= bound * NEAR or len(pieces) > 2000:
            break
    assert best is not None
    for piece, offset in zip(pieces, best[1]):
        piece.place = Place("arena", int(offset))
    return best[0]


def _greedy(order: Array, sizes: Array, first: Array, last: Array) -> tuple[Array, int]:
    """Each piece at the lowest offset where it overlaps no placed piece alive at the same time."""
    count = len(sizes)
    offsets = np.zeros(count, np.int64)
    # the placed pieces in the order of their offsets: begin, end, first and last step
    placed = np.empty((4, count), np.int64)
    tops = np.empty(count + 1, np.int64)
    top = 0
    for number, at in enumerate(order.tolist()):
        begins, ends, births, deaths = placed[:, :number]
        alive = ((births <= last[at]) & (deaths >= first[at])).nonzero()[0]
        size = sizes[at]
        # the gaps before each living piece: from the highest end so far to its begin
        lows = tops[: len(alive) + 1]
        lows[0] = 0
        np.maximum.accumulate(ends[alive], out=lows[1:])
        fits = (begins[alive] - lows[:-1] >= size).nonzero()[0]
        offset = int(lows[fits[0] if len(fits) else -1])
        offsets[at] = offset
        where = int(begins.searchsorted(offset, "right"))
        placed[:, where + 1 : number + 1] = placed[:, where:number]
        placed[:, where] = offset, offset + size, first[at], last[at]
        top = max(top, offset + int(size))
    return offsets, top
