"""Level 2, the program: kernels in order, over buffers with places.

Each step is a fused group (its body is a tensor graph over numbered operands), a view (the same memory under another
shape), or a loop or branch, which holds programs of its own (regions). Order, aliasing and memory exist here and only
here.

A region is a program like any other: it reads parameters, writes outputs' buffers and updates parameters in place. What
those buffers are is said by the step (`Region`): the memory of its operands and results, or a row of it that moves on
from turn to turn. The arena of a region is a part of the arena around it, the step's `frame`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Union

from symc.ir.changed import replace
from symc.ir.display import Described
from symc.ir.op import Node, input_node
from symc.ir.origins import Origin
from symc.ir.process import once
from symc.ir.program.form import Form, overwrite_refusal
from symc.ir.tensor.graph import Graph, few
from symc.ir.types import TensorType


@dataclass(frozen=True)
class Place:
    """Where a value lives: `arena` at a byte offset, `kept` likewise (what a prologue leaves for the runs that follow),
    `arg` (the named parameter's buffer) or `out` (the caller's buffer number `offset`); kind "" before memory is
    planned."""

    kind: str = ""
    offset: int = 0
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "arg":
            return f"@arg.{self.name}"
        return {"arena": f"@A+{self.offset}", "kept": f"@K+{self.offset}", "out": f"@out.{self.offset}", "": ""}[
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
        return (*self.body.inputs, *self.body.output_nodes)

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

    label = "view"


class Bound(NamedTuple):
    """The buffer of a region's parameter or output: that of the step's operand or result `number`, the row of the turn
    where it `moves`; or the loop's truth value, a byte behind the regions' arena."""

    of: str
    number: int = 0
    moves: bool = False


class Region(NamedTuple):
    """A program inside of a step, with the buffers of its parameters and of its outputs."""

    name: str
    program: Program
    params: tuple[Bound, ...]
    outputs: tuple[Bound, ...]


@dataclass(frozen=True)
class LoopStep:
    """results = loop(carries, xs, constants) { body, cond }: `trips` turns, with `cond` only as long as it gives true.

    The body updates its parameters of the carries, in the memory of the results that are the last carries; the others
    it reads where the operands lie, xs row by row. Its outputs are rows of the other results. Results: with `cond`
    first the number of turns taken, then the carries, then the stacked outputs (rows of turns not taken are zero). A
    loop that runs `backwards` takes the last row first.
    """

    operands: tuple[str, ...]
    results: tuple[Result, ...]
    carries: int
    xs: int
    trips: int
    body: Program
    cond: Program | None
    origin: Origin
    frame: Place = Place()
    backwards: bool = False

    label = "loop"

    @property
    def head(self) -> int:
        """The number of the first carry's result."""
        return int(self.cond is not None)

    @property
    def accesses(self) -> tuple[str, ...]:
        """How the operands are read."""
        rest = len(self.operands) - self.carries - self.xs
        return (*["carry"] * self.carries, *["row"] * self.xs, *["whole"] * rest)

    @property
    def regions(self) -> tuple[Region, ...]:
        first, last = self.carries, self.carries + self.xs
        params = tuple(
            Bound("result", self.head + at) if at < first else Bound("operand", at, at < last)
            for at in range(len(self.operands))
        )
        rows = tuple(Bound("result", at, True) for at in range(self.head + first, len(self.results)))
        body = Region("body", self.body, params, rows)
        return (body,) if self.cond is None else (body, Region("cond", self.cond, params, (Bound("truth"),)))

    @property
    def truth(self) -> int:
        """Where in the frame the truth value lies: behind the regions' arena, which they share."""
        return max(region.program.arena for region in self.regions)

    @property
    def frame_size(self) -> int:
        return self.truth + self.head

    def overwritable(self, result: int) -> list[int]:
        """The operands whose memory a result may take over: of a carry, what it begins with."""
        at = result - self.head
        return [at] if 0 <= at < self.carries and self.operands.count(self.operands[at]) == 1 else []

    def with_regions(self, programs: tuple[Program, ...]) -> LoopStep:
        return replace(self, body=programs[0], cond=programs[1] if self.cond is not None else None)


@dataclass(frozen=True)
class BranchStep:
    """results = branch(test, operands) { then, other }: one of two programs of the operands, which gives them all."""

    operands: tuple[str, ...]
    results: tuple[Result, ...]
    then: Program
    other: Program
    origin: Origin
    frame: Place = Place()

    label = "branch"

    @property
    def accesses(self) -> tuple[str, ...]:
        """How the operands are read."""
        return ("test", *["whole"] * (len(self.operands) - 1))

    @property
    def regions(self) -> tuple[Region, ...]:
        params = tuple(Bound("operand", at) for at in range(1, len(self.operands)))
        results = tuple(Bound("result", at) for at in range(len(self.results)))
        return Region("then", self.then, params, results), Region("other", self.other, params, results)

    @property
    def frame_size(self) -> int:
        return max(self.then.arena, self.other.arena)

    def overwritable(self, result: int) -> list[int]:
        """None: either side may store a result before it reads the operands for the last time."""
        return []

    def with_regions(self, programs: tuple[Program, ...]) -> BranchStep:
        return replace(self, then=programs[0], other=programs[1])


ControlStep = Union[LoopStep, BranchStep]
Step = Union[KernelStep, ViewStep, LoopStep, BranchStep]


@dataclass(frozen=True)
class ProgramParam:
    """A buffer of the caller; what it is, as for graph inputs."""

    name: str
    type: TensorType
    role: str
    of: str = ""
    order: int = 1


@dataclass(frozen=True)
class ProgramOutput:
    """A value in a buffer of the caller; what it is, as for graph outputs."""

    name: str
    value: str
    role: str = "result"
    of: str = ""
    order: int = 1
    phase: str = "forward"


@dataclass(frozen=True)
class ProgramUpdate:
    """A value that the caller finds in a parameter's buffer when the half `phase` has run; as for graph updates."""

    input: str
    value: str
    phase: str = "forward"


@dataclass(frozen=True, repr=False)
class Program(Described):
    """Steps [0, cut) are the forward half, the rest the backward half (cut == len(steps) if there is none). Steps
    [0, prologue) run only where a parameter may have been written since they ran: what the others read of theirs is
    kept in memory of its own, of `kept` bytes.

    `arena` is the planned size in bytes, `lower_bound` the largest live set (no plan can be smaller without
    recomputing)."""

    name: str
    params: tuple[ProgramParam, ...]
    steps: tuple[Step, ...]
    outputs: tuple[ProgramOutput, ...]
    updates: tuple[ProgramUpdate, ...] = ()
    #: tensors that are part of the program: (name, node of the primitive `const`); read like parameters
    constants: tuple[tuple[str, Node], ...] = ()
    cut: int = 0
    arena: int = 0
    lower_bound: int = 0
    prologue: int = 0
    kept: int = 0

    @once
    def key(self) -> str:
        """The parameter that takes fresh random bits for every run; empty if there is none."""
        return next((p.name for p in self.params if p.role == "key"), "")

    def __repr__(self) -> str:
        """`<Program mlp: 3 steps, 1 of them backward, arena 4096 B, (data: f32[2,3]) -> (out: f32[2,4])>`."""
        types = self.value_types()
        params = [f"{p.name}: {p.type}" for p in self.params]
        outputs = [f"{o.name}: {types.get(o.value, '?')}" for o in self.outputs]
        back = len(self.steps) - self.cut
        apart = f", {self.prologue} of them in the prologue" if self.prologue else ""
        apart += f", {back} of them backward" if self.cut and back else ""
        steps = f"{len(self.steps)} steps{apart}"
        return f"<Program {self.name}: {steps}, arena {self.arena} B, ({few(params)}) -> ({few(outputs)})>"

    @once
    def _types(self) -> Mapping[str, TensorType]:
        types = {p.name: p.type for p in self.params}
        types.update((name, node.tensor) for name, node in self.constants)
        for step in self.steps:
            for result in results_of(step):
                types[result.name] = result.type
        return types

    def value_types(self) -> Mapping[str, TensorType]:
        """The types of all values by name; of names that stand for several, of the last."""
        return self._types


def results_of(step: Step) -> tuple[Result, ...]:
    return (step.result,) if isinstance(step, ViewStep) else step.results


def origin_of(step: Step, number: int) -> Origin:
    """Where a step's result comes from: of a kernel, which may compute the values of many Symbols, that value."""
    if isinstance(step, KernelStep):
        return step.body.origins.get(step.body.outputs[number].node, step.origin)
    return step.origin


def operands_of(step: Step) -> tuple[str, ...]:
    return (step.operand,) if isinstance(step, ViewStep) else step.operands


def bases_of(program: Program) -> dict[str, str]:
    """For every value the one whose memory it is: itself, or what it is a view of."""
    base = dict(zip(program.value_types(), program.value_types()))
    for step in program.steps:
        if isinstance(step, ViewStep):
            base[step.result.name] = base[step.operand]
    return base


def fixed_of(program: Program) -> set[str]:
    """What a prologue may read from outside: constants, and parameters that no run writes to."""
    written = {update.input for update in program.updates}
    found = {p.name for p in program.params if p.role in ("arg", "aux") and p.name not in written}
    return found.union(name for name, _ in program.constants)


def regions_of_step(step: Step) -> tuple[Region, ...]:
    """The programs inside of a step."""
    return step.regions if isinstance(step, (LoopStep, BranchStep)) else ()


def in_regions(program: Program, change: Callable[[Program], Program]) -> Program:
    """The program with those inside of its steps changed: how passes go down into them."""
    if not any(isinstance(step, (LoopStep, BranchStep)) for step in program.steps):
        return program
    steps: list[Step] = []
    for step in program.steps:
        if isinstance(step, (LoopStep, BranchStep)):
            step = step.with_regions(tuple(change(region.program) for region in step.regions))
        steps.append(step)
    return replace(program, steps=tuple(steps))


def programs_of(program: Program) -> list[Program]:
    """The program and all that are inside of its steps, in the order of the text."""
    found = [program]
    for step in program.steps:
        for region in regions_of_step(step):
            found += programs_of(region.program)
    return found
