"""The reference interpreter of the program level: every step's body in numpy, on values in a real arena.

A planned value is a view of one byte buffer at its offset; results in place and views share memory for good. Where a
kernel stores over what it reads, and its form does not prove that this is right, it runs piece by piece, each piece on
what the ones before have left. So a wrong plan gives wrong numbers. Memory nobody has written yet holds a pattern that
floats read as nan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from symc.ir.errors import IRError
from symc.ir.op import Node
from symc.ir.prims.elementwise import Const
from symc.ir.program.nodes import (
    Bound,
    BranchStep,
    ControlStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    Region,
    Result,
    Step,
    ViewStep,
    results_of,
)
from symc.ir.program.text import is_planned
from symc.ir.program.verify_form import form_fault
from symc.ir.tensor.graph import in_order
from symc.ir.tensor.interp import Results, evaluate_nodes
from symc.ir.types import F64, Array, TensorType

#: is told the name of a value and a copy of it
Seen = Callable[[str, Array], None]

#: bytes of unwritten memory: nan in every float type
POISON = 0xFF
#: pieces of a kernel that stores over what it reads: of small results every element is one
PIECES = 64


class Memory:
    """The buffers a program runs on: copies of the parameters, the arena, the outputs' buffers.

    `precision` "f64" takes floats as f64; arena offsets are then spread so that what shared memory still does.
    """

    def __init__(self, program: Program, buffers: Mapping[str, Array], precision: str = "declared") -> None:
        self._begin(program, precision)
        self.arena = np.full(program.arena * self.spread, POISON, np.uint8)
        self.kept = np.full(program.kept * self.spread, POISON, np.uint8)
        for p in program.params:
            if p.name not in buffers:
                raise IRError(f"no value given for parameter {p.name!r}")
            array = np.asarray(buffers[p.name])
            if array.shape != p.type.shape:
                raise IRError(f"parameter {p.name!r} needs shape {p.type.shape}, got {array.shape}")
            self.held[p.name] = np.array(array, self.type(p.type).dtype.numpy, order="C")
        self.outputs = [fresh(self.type(self.types[output.value])) for output in program.outputs]

    def _begin(self, program: Program, precision: str) -> None:
        self.program, self.precision, self.wide = program, precision, precision == "f64"
        self.types = program.value_types()
        # f16 grows most, fourfold: offsets spread by as much keep apart what was apart
        self.spread = 4 if self.wide else 1
        self.held: dict[str, Array] = {}
        for name, node in program.constants:
            assert isinstance(node.op, Const)
            self.held[name] = node.op.array().astype(self.type(node.tensor).dtype.numpy)
        self.planned = is_planned(program)

    def inside(self, step: ControlStep, region: Region, params: Sequence[Array], outputs: Sequence[Array]) -> Memory:
        """The memory of a region of a step: its buffers, and the step's frame (whatever an earlier turn left there is
        gone)."""
        made = Memory.__new__(Memory)
        made._begin(region.program, self.precision)
        size = region.program.arena * self.spread
        start = step.frame.offset * self.spread
        made.arena = self.arena[start : start + size] if self.planned else np.empty(size, np.uint8)
        made.arena[...] = POISON
        made.held.update((p.name, array) for p, array in zip(region.program.params, params))
        made.outputs = list(outputs)
        return made

    def finish(self) -> None:
        """Put what a region gave where it belongs, if no plan has put it there."""
        if not self.planned:
            found = self.results()
            for output, buffer in zip(self.program.outputs, self.outputs):
                buffer[...] = found.outputs[output.name]
            for name, value in found.updates.items():
                self.held[name][...] = value

    def type(self, tensor: TensorType) -> TensorType:
        """A type at the precision of this run."""
        return tensor.with_dtype(F64) if self.wide and tensor.dtype.is_float else tensor

    def result(self, result: Result) -> Array:
        """The memory of a kernel's result."""
        tensor = self.type(result.type)
        made = fresh(tensor) if not self.planned else self.at(result.place, tensor)
        self.held[result.name] = made
        return made

    def at(self, place: Place, tensor: TensorType) -> Array:
        """The array at a place."""
        if place.kind in ("arena", "kept"):
            start = place.offset * self.spread
            whole = self.arena if place.kind == "arena" else self.kept
            raw = whole[start : start + tensor.nbytes]
            if raw.nbytes != tensor.nbytes:
                size = len(whole) // self.spread
                raise IRError(f"{tensor} at {place} leaves memory of {size} bytes")
            return _over(raw, tensor)
        if place.kind == "out":
            return self.outputs[place.offset].reshape(tensor.shape)
        if place.kind == "arg":
            return self.held[place.name].reshape(tensor.shape)
        raise IRError("a value of a planned program has no place")

    def view(self, step: ViewStep) -> None:
        """A view: the operand's memory from an element on."""
        flat = self.held[step.operand].reshape(-1)
        tensor = step.result.type
        self.held[step.result.name] = flat[step.offset : step.offset + tensor.size].reshape(tensor.shape)

    def results(self) -> Results:
        """Copies of what the program gave."""
        return Results(
            {output.name: self.held[output.value].copy() for output in self.program.outputs},
            {update.input: self.held[update.value].copy() for update in in_order(self.program.updates)},
        )


def fresh(tensor: TensorType) -> Array:
    """Memory of its own, unwritten."""
    raw = np.full(tensor.nbytes, POISON, np.uint8)
    return _over(raw, tensor)


def _over(raw: Array, tensor: TensorType) -> Array:
    """Bytes as an array of a type (the same memory)."""
    made: Array = np.ndarray(tensor.shape, tensor.dtype.numpy, raw.data)
    return made


def run_body(step: KernelStep, memory: Memory, precision: str = "declared") -> None:
    """One step by the numpy meaning of its body, its results stored as a kernel of its form stores them."""
    nodes = step.body.output_nodes
    given = {i: memory.held[o] for i, o in zip(step.body.inputs, step.operands)}
    results = [memory.result(result) for result in step.results]

    def values() -> list[Array]:
        found = evaluate_nodes(list(dict.fromkeys(nodes)), given, precision)
        # Copies: a value may be a view of an operand whose memory the first result takes over.
        return [np.array(found[node]) for node in nodes]

    if step.form.kind == "host" or not memory.planned or _stores_apart(step, given, results):
        for result, value in zip(results, values()):
            result[...] = value
        return
    pieces = max(1, min(PIECES, max(r.size for r in results)))
    for piece in [*range(pieces)] * (2 if step.form.stores == "twice" else 1):
        for result, value in zip(results, values()):
            some = slice(result.size * piece // pieces, result.size * (piece + 1) // pieces)
            result.reshape(-1)[some] = value.reshape(-1)[some]


def _stores_apart(step: KernelStep, given: Mapping[Node, Array], results: Sequence[Array]) -> bool:
    """Whether no result is stored over an operand, unless the form allows it and is proved."""
    for number, result in enumerate(results):
        for at, operand in enumerate(given.values()):
            if _overlap(result, operand):
                same = result.ctypes.data == operand.ctypes.data
                if not same or at not in step.overwritable(number) or form_fault(step) is not None:
                    return False
    return True


def _overlap(a: Array, b: Array) -> bool:
    """Whether two contiguous arrays share memory."""
    first, second = a.ctypes.data, b.ctypes.data
    return first < second + b.nbytes and second < first + a.nbytes


def run_program(
    program: Program, buffers: Mapping[str, Array], precision: str = "declared", seen: Seen | None = None
) -> Results:
    """Run a program on arrays by parameter name (they are not changed). Planned values live in a real arena.

    `precision` is "declared" or "f64". `seen` is told every value of the program when it has been written. IRError for
    a missing or ill-shaped parameter."""
    memory = Memory(program, buffers, precision)
    _run_steps(memory, seen)
    return memory.results()


def tell(seen: Seen | None, step: Step, memory: Memory) -> None:
    """Say what a step has written."""
    if seen is not None:
        for result in results_of(step):
            seen(result.name, memory.held[result.name].copy())


def _run_steps(memory: Memory, seen: Seen | None = None) -> None:
    for step in memory.program.steps:
        if isinstance(step, ViewStep):
            memory.view(step)
        elif isinstance(step, KernelStep):
            run_body(step, memory, memory.precision)
        else:
            run_control(step, memory, lambda at, inside: _run_steps(inside))
        tell(seen, step, memory)


def run_control(step: ControlStep, memory: Memory, run: Callable[[int, Memory], None]) -> None:
    """A loop or branch in a memory; `run(i, memory)` runs its region i in that one's own."""
    operands = [memory.held[o] for o in step.operands]
    results = [memory.result(r) for r in step.results]
    truth = np.zeros((), np.bool_)

    def region(at: int, turn: int) -> None:
        found = step.regions[at]

        def buffer(bound: Bound) -> Array:
            if bound.of == "truth":
                return truth
            whole = (operands if bound.of == "operand" else results)[bound.number]
            if not bound.moves:
                return whole
            row = len(whole) - 1 - turn if isinstance(step, LoopStep) and step.backwards else turn
            return whole[row : row + 1].reshape(whole.shape[1:])

        inside = memory.inside(step, found, [buffer(b) for b in found.params], [buffer(b) for b in found.outputs])
        run(at, inside)
        inside.finish()

    if isinstance(step, BranchStep):
        region(0 if operands[0] else 1, 0)
        return
    for at in range(step.carries):
        results[step.head + at][...] = operands[at]
    done = 0
    while done < step.trips:
        if step.cond is not None:
            region(1, done)
            if not truth:
                break
        region(0, done)
        done += 1
    if step.cond is not None:
        results[0][...] = done
    for stacked in results[step.head + step.carries :]:
        stacked[done:] = 0
