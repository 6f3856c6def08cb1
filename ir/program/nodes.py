"""Level 2, the program: kernels in order, over buffers with places.

Each step is a fused group (its body is a tensor graph over numbered operands), a view (the same memory under another
shape), or a host call. Order, aliasing and memory exist here and only here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Union

from symc.ir.op import input_node
from symc.ir.program.form import Form, overwrite_refusal
from symc.ir.tensor.graph import Graph, Node, Origin
from symc.ir.types import TensorType


@dataclass(frozen=True)
class Place:
    """Where a value lives: `arena` at a byte offset, `arg` (the named parameter's buffer) or `out` (the caller's
    buffer number `offset`); kind "" before memory is planned."""

    kind: str = ""
    offset: int = 0
    name: str = ""

    def __str__(self) -> str:
        return {"arena": f"@A+{self.offset}", "arg": f"@arg.{self.name}", "out": f"@out.{self.offset}", "": ""}[
            self.kind
        ]


@dataclass(frozen=True)
class Result:
    """A value a step writes. `inplace` names the operand whose memory it takes over."""

    name: str
    type: TensorType
    place: Place = Place()
    inplace: str = ""


@functools.lru_cache(maxsize=4096)
def operand_node(at: int, tensor: TensorType) -> Node:
    """The input of a body that stands for the step's operand number `at`. Bodies that compute the same of operands of
    the same types are the same nodes, whatever their operands are called."""
    return input_node(f"in{at}", tensor)


@dataclass(frozen=True)
class KernelStep:
    """results = fuse form "label"(operands) { body }; the body's inputs are `operand_node`s."""

    label: str
    operands: tuple[str, ...]
    results: tuple[Result, ...]
    body: Graph
    form: Form
    origin: Origin

    def key(self) -> tuple[Node, ...]:
        """Equal for steps that compute the same, whatever their values are called."""
        return (*self.body.inputs, *(node for _, node in self.body.outputs))

    def overwritable(self, result: int) -> list[int]:
        """The positions of the operands over which result number `result` may be stored."""
        made, inputs = self.results[result].type, self.body.inputs
        return [at for at, i in enumerate(inputs) if not overwrite_refusal(self.form, result, made, at, i.tensor)]


@dataclass(frozen=True)
class ViewStep:
    """result = view(operand): the operand's memory read with another shape, `offset` elements further on."""

    operand: str
    result: Result
    origin: Origin
    offset: int = 0


Step = Union[KernelStep, ViewStep]


@dataclass(frozen=True)
class ProgramParam:
    """A buffer of the caller: role as for graph inputs."""

    name: str
    type: TensorType
    role: str


@dataclass(frozen=True)
class Program:
    """Steps [0, cut) are the forward half, the rest the backward half (cut == len(steps) if there is none).

    `outputs` are (name, value name); `updates` are (parameter, value name, phase). `arena` is the planned size in
    bytes, `lower_bound` the largest live set (no plan can be smaller without recomputing)."""

    name: str
    params: tuple[ProgramParam, ...]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, str], ...]
    updates: tuple[tuple[str, str, str], ...] = ()
    #: tensors that are part of the program: (name, node of the primitive `const`); read like parameters
    constants: tuple[tuple[str, Node], ...] = ()
    cut: int = 0
    arena: int = 0
    lower_bound: int = 0

    def value_types(self) -> dict[str, TensorType]:
        types = {p.name: p.type for p in self.params}
        types.update((name, node.tensor) for name, node in self.constants)
        for step in self.steps:
            for result in results_of(step):
                types[result.name] = result.type
        return types


def results_of(step: Step) -> tuple[Result, ...]:
    return step.results if isinstance(step, KernelStep) else (step.result,)


def operands_of(step: Step) -> tuple[str, ...]:
    return step.operands if isinstance(step, KernelStep) else (step.operand,)


def bases_of(program: Program) -> dict[str, str]:
    """For every value the one whose memory it is: itself, or what it is a view of."""
    base = {name: name for name in program.value_types()}
    for step in program.steps:
        if isinstance(step, ViewStep):
            base[step.result.name] = base[step.operand]
    return base
