"""The reference interpreter of the program level: every step's body in numpy, on values in a real arena.

A planned value is a view of one byte buffer at its offset; results in place and views share memory for good. Where a
kernel stores over what it reads, and its form does not prove that this is right, it runs piece by piece, each piece on
what the ones before have left. So a wrong plan gives wrong numbers. Memory nobody has written yet holds a pattern that
floats read as nan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symc.ir.errors import IRError
from symc.ir.prims.elementwise import Const
from symc.ir.program.nodes import KernelStep, Place, Program, Result, ViewStep
from symc.ir.program.text import is_planned
from symc.ir.program.verify_form import form_fault
from symc.ir.tensor.graph import Node
from symc.ir.tensor.interp import Results, evaluate_nodes
from symc.ir.types import F64, Array, TensorType

#: bytes of unwritten memory: nan in every float type
POISON = 0xFF
#: pieces of a kernel that stores over what it reads: of small results every element is one
PIECES = 64


class Memory:
    """The buffers a program runs on: copies of the parameters, the arena, the outputs' buffers.

    `precision` "f64" takes floats as f64; arena offsets are then spread so that what shared memory still does.
    """

    def __init__(self, program: Program, buffers: Mapping[str, Array], precision: str = "declared") -> None:
        self.program, self.wide = program, precision == "f64"
        self.types = program.value_types()
        # f16 grows most, fourfold: offsets spread by as much keep apart what was apart
        self.spread = 4 if self.wide else 1
        self.arena = np.full(program.arena * self.spread, POISON, np.uint8)
        self.held: dict[str, Array] = {}
        for p in program.params:
            if p.name not in buffers:
                raise IRError(f"no value given for parameter {p.name!r}")
            array = np.asarray(buffers[p.name])
            if array.shape != p.type.shape:
                raise IRError(f"parameter {p.name!r} needs shape {p.type.shape}, got {array.shape}")
            self.held[p.name] = np.array(array, self.type(p.type).dtype.numpy, order="C")
        for name, node in program.constants:
            assert isinstance(node.op, Const)
            self.held[name] = node.op.array().astype(self.type(node.tensor).dtype.numpy)
        self.outputs = [fresh(self.type(self.types[value])) for _, value in program.outputs]
        self.planned = is_planned(program)

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
        if place.kind == "arena":
            start = place.offset * self.spread
            raw = self.arena[start : start + tensor.nbytes]
            if raw.nbytes != tensor.nbytes:
                raise IRError(f"{tensor} at offset {place.offset} leaves the arena of {self.program.arena} bytes")
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
            {name: self.held[value].copy() for name, value in self.program.outputs},
            {target: self.held[value].copy() for target, value, _ in self.program.updates},
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
    nodes = [node for _, node in step.body.outputs]
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


def run_program(program: Program, buffers: Mapping[str, Array], precision: str = "declared") -> Results:
    """Run a program on arrays by parameter name (they are not changed). Planned values live in a real arena.

    `precision` is "declared" or "f64". IRError for a missing or ill-shaped parameter."""
    memory = Memory(program, buffers, precision)
    for step in program.steps:
        if isinstance(step, ViewStep):
            memory.view(step)
        else:
            run_body(step, memory, precision)
    return memory.results()
