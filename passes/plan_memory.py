"""plan_memory: every value gets a place.

Results go to the caller's buffers, updates into their parameters where that is safe, and everything else into one
arena, at offsets chosen so that values alive at the same time never overlap. A value may take over the memory of an
operand that dies in its kernel, if the kernel reads that operand only at the index it writes.

The offsets are found by greedy placement (large values first, at the lowest offset free over the whole live range;
Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020) under several orders; the best
is kept. The largest live set is reported as the lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from symc.ir.graph import Graph, Node, Origin, SymOrigin
from symc.ir.prims.reduce import Reduction
from symc.ir.program import KernelStep, Place, Program, Result, Step, ViewStep, operand_node, operands_of, results_of
from symc.ir.types import Array
from symc.passes.coalesce import space_of
from symc.passes.pipeline import Pass, option, register_pass
from symc.passes.rewrite import Rewriter
from symc.passes.units import Access, access_through, is_pointwise


@dataclass
class _Storage:
    """One piece of memory, shared by a value, its views and what takes it over: its size and live range in steps."""

    size: int
    first: int
    last: int
    place: Place = field(default_factory=Place)


@register_pass("plan_memory", takes="program", gives="program")
class PlanMemory(Pass):
    """Assign places; `inplace` lets results take over dying operands."""

    inplace: bool = option(True, "results may take over the memory of operands that die")
    align: int = option(64, "alignment of arena offsets in bytes")

    def run(self, program: Program, rw: Rewriter) -> Program:
        inplace = _InplaceOperands()
        return _Planner(copy_results(program, inplace), self, inplace).planned()


def copy_results(program: Program, inplace: _InplaceOperands) -> Program:
    """Add copies so that every output and every update is a value of its own, written by a kernel of its half."""
    types = program.value_types()
    made_by = {r.name: at for at, step in enumerate(program.steps) for r in results_of(step)}
    base = _bases(program)
    steps = list(program.steps)
    taken: set[str] = set()
    forward: list[Step] = []
    backward: list[Step] = []

    last_read = {base[o]: at for at, step in enumerate(steps) for o in operands_of(step)}
    # results that are parameters as they were are copied at the end: until then those parameters must keep their value
    for value in (*(v for _, v in program.outputs), *(v for _, v, _ in program.updates)):
        if base[value] not in made_by:
            last_read[base[value]] = len(steps)

    def own(value: str, label: str, half: list[Step], earliest: int, parameter: str = "") -> str:
        at = made_by.get(base[value])
        direct = at is not None and isinstance(steps[at], KernelStep) and base[value] not in taken and at >= earliest
        if direct and parameter:
            # written straight into the parameter, once nobody reads its old value any more
            assert at is not None
            step, last = steps[at], last_read.get(parameter, -1)
            assert isinstance(step, KernelStep)
            written = [r.name for r in step.results].index(base[value])
            direct = last < at or last == at and any(step.operands[i] == parameter for i in inplace(step)[written])
        if direct:
            taken.add(base[value])
            return value
        name = f"{value}.{label}"
        node = operand_node(0, types[value])
        origin = steps[at].origin if at is not None else _any_origin(program)
        body = Graph("body", (node,), ((name, node),), (), {}, {node: origin})
        half.append(KernelStep("copy", (value,), (Result(name, types[value]),), body, origin))
        return name

    outputs = []
    for number, (name, value) in enumerate(program.outputs):
        late = name.endswith(".grad") or made_by.get(base[value], -1) >= program.cut
        outputs.append((name, own(value, f"out{number}", backward if late else forward, 0)))
    updates = []
    for name, value, phase in sorted(program.updates, key=lambda update: base[update[1]] in made_by):
        late = phase == "backward" and program.cut < len(program.steps)
        written = own(value, f"to.{name}", backward if late else forward, program.cut if late else 0, name)
        updates.append((name, written, phase))
    cut = program.cut + len(forward)
    ordered = [*steps[: program.cut], *forward, *steps[program.cut :], *backward]
    return replace(program, steps=tuple(ordered), outputs=tuple(outputs), updates=tuple(updates), cut=cut)


def _any_origin(program: Program) -> Origin:
    return program.steps[0].origin if program.steps else SymOrigin(program.name, "Group")


def _bases(program: Program) -> dict[str, str]:
    """For every value the one whose memory it is: itself, or what it is a view of."""
    base = {name: name for name in program.value_types()}
    for step in program.steps:
        if isinstance(step, ViewStep):
            base[step.result.name] = base[step.operand]
    return base


class _InplaceOperands:
    """For every result of a step the positions of the operands whose memory it may take over: operands of the same
    shape and size that the whole kernel reads only at the index being written. Equal kernels are looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Node, ...], list[list[int]]] = {}

    def __call__(self, step: KernelStep) -> list[list[int]]:
        key = step.key()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _inplace_operands(step.body)
        return found


def _inplace_operands(body: Graph) -> list[list[int]]:
    space, _ = space_of(body)
    reads: dict[Node, set[Access]] = {}
    stack: list[tuple[Node, Access]] = []
    for _, node in body.outputs:
        stack.append((node, "same" if node.shape == space else "row"))
    seen = set(stack)
    while stack:
        node, access = stack.pop()
        if not node.inputs:
            reads.setdefault(node, set()).add(access)
            continue
        for source in node.inputs:
            through: Access
            if isinstance(node.op, Reduction):
                through = "same" if source.shape == space else "other"
            elif not is_pointwise(node.op):
                through = "other"
            else:
                through = access_through(node, source, access)
                through = "other" if through == () and source.rank else through
            if (source, through) not in seen:
                seen.add((source, through))
                stack.append((source, through))
    return [
        [
            at
            for at, i in enumerate(body.inputs)
            if reads.get(i) == ({"same"} if node.shape == space else {"row"})
            and (i.shape, i.tensor.nbytes) == (node.shape, node.tensor.nbytes)
        ]
        for _, node in body.outputs
    ]


class _Planner:
    def __init__(self, program: Program, options: PlanMemory, inplace_operands: _InplaceOperands) -> None:
        self.program, self.options, self.inplace_operands = program, options, inplace_operands
        self.base = _bases(program)
        self.last_read: dict[str, int] = {}
        for at, step in enumerate(program.steps):
            for operand in operands_of(step):
                self.last_read[self.base[operand]] = at
        self.storage: dict[str, _Storage] = {}
        self.inplace: dict[str, str] = {}
        self.pieces: list[_Storage] = []
        self.fixed: dict[str, Place] = {}

    def planned(self) -> Program:
        self._fix_results()
        for at, step in enumerate(self.program.steps):
            if isinstance(step, KernelStep):
                self._kernel(at, step)
        arena = [p for p in self.pieces if not p.place.kind]
        size = place_all(arena, self.options.align)
        steps = tuple(self._placed(step) for step in self.program.steps)
        return replace(self.program, steps=steps, arena=size, lower_bound=lower_bound(arena, self.options.align))

    def _fix_results(self) -> None:
        """Outputs live in the caller's buffers, updates in their parameter's."""
        for number, (_, value) in enumerate(self.program.outputs):
            self.fixed[self.base[value]] = Place("out", number)
        for name, value, _ in self.program.updates:
            self.fixed[self.base[value]] = Place("arg", 0, name)

    def _kernel(self, at: int, step: KernelStep) -> None:
        taken: set[str] = set()
        allowed = self.inplace_operands(step) if self.options.inplace else []
        for number, result in enumerate(step.results):
            place = self.fixed.get(result.name)
            if place is None and self.options.inplace:
                operand = self._victim(at, step, result, allowed[number], taken)
                if operand:
                    taken.add(self.base[operand])
                    piece = self.storage[self.base[operand]]
                    piece.last = max(piece.last, self.last_read.get(result.name, at))
                    self.storage[result.name] = piece
                    self.inplace[result.name] = operand
                    continue
            last = self.last_read.get(result.name, at)
            piece = _Storage(result.type.nbytes, at, last, place or Place())
            if place is not None and place.kind == "arg" and place.name in step.operands:
                self.inplace[result.name] = place.name
            self.storage[result.name] = piece
            self.pieces.append(piece)

    def _victim(self, at: int, step: KernelStep, result: Result, allowed: list[int], taken: set[str]) -> str:
        """An operand whose memory the result takes over; empty if there is none."""
        for operand in (step.operands[i] for i in allowed):
            base = self.base[operand]
            piece = self.storage.get(base)
            if piece is None or piece.place.kind or base in taken or piece.size != result.type.nbytes:
                continue  # a parameter's or a result's memory is not ours to take
            if piece.last <= at and self._read_once(step, base):
                return operand
        return ""

    def _read_once(self, step: KernelStep, base: str) -> bool:
        """No other operand of the kernel is a view of the same memory."""
        piece = self.storage[base]
        return sum(1 for o in step.operands if self.storage.get(self.base[o]) is piece) == 1

    def _placed(self, step: Step) -> Step:
        if isinstance(step, ViewStep):
            return replace(step, result=replace(step.result, place=self._place_of(step.operand)))
        results = tuple(
            replace(r, place=self._place_of(r.name), inplace=self.inplace.get(r.name, "")) for r in step.results
        )
        return replace(step, results=results)

    def _place_of(self, value: str) -> Place:
        base = self.base[value]
        piece = self.storage.get(base)
        if piece is None:
            return Place("arg", 0, base)
        return piece.place


# --------------------------------------------------------------------------------------------- offsets

#: a plan this near to the lower bound is not worth looking for a better one
NEAR = 1.01


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
