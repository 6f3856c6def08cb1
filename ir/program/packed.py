"""Planned programs as bytes, for a later process: all that stands in the IR, origins included.

What occurs often (types, primitives, nodes, origins) stands in tables and is meant by its number, operands before who
reads them, so that nothing recurs however deep a program is. The bytes are pickle's form of tuples, numbers and text;
no class is named in them, and none is looked up when they are read.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from symc.ir.changed import replace
from symc.ir.modules import Calls
from symc.ir.op import PRIMITIVES, Node, Primitive
from symc.ir.origins import DerivedOrigin, Origin, SymOrigin
from symc.ir.prims.control import HostCall
from symc.ir.program.form import Form
from symc.ir.program.nodes import (
    BranchStep,
    KernelStep,
    LoopStep,
    Place,
    Program,
    ProgramOutput,
    ProgramParam,
    ProgramUpdate,
    Result,
    Step,
    ViewStep,
)
from symc.ir.program.renaming import Renaming
from symc.ir.tensor.graph import Graph, Output, topological
from symc.ir.types import DTYPES, DType, TensorType, TupleType, Type

_PLAIN = (type(None), bool, int, float, str, bytes)


class Unpackable(Exception):
    """A program holds what means something in this process only: functions in Python, primitives of a user's own."""


def pack(program: Program, called: Calls) -> bytes:
    """The bytes of a program and of the numbers of the kernels it calls. Unpackable for one that cannot be kept."""
    packer = _Packer()
    whole = packer.program(program), _calls(called)
    tables = packer.types, packer.ops, packer.nodes, packer.origins
    return pickle.dumps((tables, whole), protocol=5)


def unpack(data: bytes, renaming: Renaming | None = None) -> tuple[Program, Calls]:
    """What `pack` was given, under other names where there is a `renaming`. Clash where there is no such program."""
    tables, (program, called) = _Reader(io.BytesIO(data)).load()
    return _Unpacker(renaming, *tables).program(program), _called(called)


def content(graph: Graph) -> object:
    """All that stands in a tensor graph, as tuples, numbers and text: equal for graphs that are the same, names and
    origins included. Unpackable for one that holds what means something in this process only."""
    packer = _Content()
    updates = [(update.input, packer.node(update.value), update.phase) for update in graph.updates]
    whole = packer.graph(replace(graph, updates=())), updates
    return packer.types, packer.ops, packer.nodes, packer.origins, whole


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in a program")


def _calls(called: Calls) -> tuple[Any, ...]:
    return called.calls, called.shifts, tuple(tuple(map(_calls, held)) for held in called.regions)


def _called(packed: tuple[Any, ...]) -> Calls:
    calls, shifts, regions = packed
    return Calls(calls, shifts, tuple(tuple(map(_called, held)) for held in regions))


class _Packer:
    """The tables, and the number of everything in them."""

    def __init__(self) -> None:
        self.types: list[Any] = []
        self.ops: list[Any] = []
        self.nodes: list[Any] = []
        self.origins: list[Any] = []
        self._types: dict[Type, int] = {}
        self._ops: dict[Primitive, int] = {}
        self._nodes: dict[Node, int] = {}
        #: by ids: origins are the same only if they are one; `_kept` holds them meanwhile
        self._origins: dict[int, int] = {}
        self._kept: list[Origin] = []

    def type(self, t: Type) -> int:
        number = self._types.get(t)
        if number is None:
            made: Any
            if isinstance(t, TupleType):
                made = tuple(map(self.type, t.items))
            else:
                made = t.dtype.name, t.shape
            number = self._types[t] = len(self.types)
            self.types.append(made)
        return number

    def op(self, op: Primitive) -> int:
        number = self._ops.get(op)
        if number is None:
            if PRIMITIVES.get(op.name) is not type(op) or not type(op).__module__.startswith("symc.ir."):
                raise Unpackable(f"the primitive {op.name}")
            if isinstance(op, HostCall):
                raise Unpackable(f"the function {op.function}")
            fields = tuple(self._value(getattr(op, field.name)) for field in dataclasses.fields(op))  # type: ignore[arg-type]
            number = self._ops[op] = len(self.ops)
            self.ops.append((op.name, fields))
        return number

    def _value(self, value: Any) -> Any:
        """An attribute: what is plain as it is, else a list of its kind and its parts."""
        if type(value) in _PLAIN:
            return value
        if type(value) is tuple:
            made = tuple(map(self._value, value))
            return value if all(a is b for a, b in zip(made, value)) else made
        if isinstance(value, DType):
            return ["dtype", value.name]
        if isinstance(value, (TensorType, TupleType)):
            return ["type", self.type(value)]
        if isinstance(value, Primitive):
            return ["op", self.op(value)]
        raise Unpackable(f"an attribute that is a {type(value).__name__}")

    def node(self, node: Node) -> int:
        if node not in self._nodes:
            for part in topological([node]):
                if part not in self._nodes:
                    packed = self.op(part.op), tuple(self._nodes[i] for i in part.inputs), self.type(part.type)
                    self._nodes[part] = len(self.nodes)
                    self.nodes.append(packed)
        return self._nodes[node]

    def origin(self, origin: Origin) -> int:
        known = self._origins
        stack = [origin]
        while stack:
            here = stack[-1]
            if id(here) in known:
                stack.pop()
                continue
            if isinstance(here, SymOrigin):
                packed: Any = (here.name, here.op, here.file, here.line, here.strict)
            else:
                waiting = [parent for parent in here.parents if id(parent) not in known]
                if waiting:
                    stack += waiting
                    continue
                packed = (here.pass_name, here.action, tuple(known[id(parent)] for parent in here.parents))
            known[id(here)] = len(self.origins)
            self.origins.append(packed)
            self._kept.append(here)
            stack.pop()
        return known[id(origin)]

    def graph(self, graph: Graph) -> tuple[Any, ...]:
        if graph.updates:
            raise Unpackable("a body with updates")
        nodes = [self.node(node) for node in graph.nodes()]
        names = [graph.names.get(node) for node in graph.nodes()]
        found = [graph.origins.get(node) for node in graph.nodes()]
        origins = [None if origin is None else self.origin(origin) for origin in found]
        outputs = [(o.name, self.node(o.node), o.role, o.of, o.order, o.phase) for o in graph.outputs]
        return graph.name, [self.node(i) for i in graph.inputs], outputs, nodes, names, origins

    def results(self, results: Sequence[Result]) -> list[Any]:
        return [(r.name, self.type(r.type), _place(r.place), r.inplace) for r in results]

    def step(self, step: Step) -> tuple[Any, ...]:
        origin = self.origin(step.origin)
        if isinstance(step, ViewStep):
            return ("view", step.operand, self.results([step.result]), step.offset, origin)
        results = self.results(step.results)
        if isinstance(step, KernelStep):
            form = tuple(getattr(step.form, field.name) for field in dataclasses.fields(Form))
            return ("kernel", step.label, step.operands, results, self.graph(step.body), form, origin)
        if isinstance(step, LoopStep):
            cond = None if step.cond is None else self.program(step.cond)
            numbers = step.carries, step.xs, step.trips, step.backwards
            return ("loop", step.operands, results, numbers, self.program(step.body), cond, _place(step.frame), origin)
        sides = self.program(step.then), self.program(step.other)
        return ("branch", step.operands, results, sides, _place(step.frame), origin)

    def program(self, program: Program) -> tuple[Any, ...]:
        return (
            program.name,
            [(p.name, self.type(p.type), p.role, p.of, p.order) for p in program.params],
            [self.step(step) for step in program.steps],
            [(o.name, o.value, o.role, o.of, o.order, o.phase) for o in program.outputs],
            [(u.input, u.value, u.phase) for u in program.updates],
            [(name, self.node(node)) for name, node in program.constants],
            (program.cut, program.arena, program.lower_bound, program.prologue, program.kept),
        )


class _Content(_Packer):
    """Of graphs, those in attributes too (what an operator's own gradient is): they are read, and never made again."""

    def _value(self, value: Any) -> Any:
        if isinstance(value, Graph) and not value.updates:
            return ["graph", self.graph(value)]
        return super()._value(value)


def _place(place: Place) -> tuple[str, int, str]:
    return place.kind, place.offset, place.name


class _Unpacker:
    """Everything in the tables, made again."""

    def __init__(
        self,
        renaming: Renaming | None,
        types: Sequence[Any],
        ops: Sequence[Any],
        nodes: Sequence[Any],
        origins: Sequence[Any],
    ) -> None:
        self._name: Callable[[str], str] = str if renaming is None else renaming.name
        self.types: list[Any] = []
        for packed in types:
            if packed and isinstance(packed[0], str):
                self.types.append(TensorType(DTYPES[packed[0]], packed[1]))
            else:
                self.types.append(TupleType(tuple(self.types[number] for number in packed)))
        self.ops: list[Primitive] = []
        for name, fields in ops:
            self.ops.append(PRIMITIVES[name](*map(self._value, fields)))
        self.nodes: list[Node] = []
        for op, inputs, t in nodes:
            self.nodes.append(Node.known(self.ops[op], tuple([self.nodes[i] for i in inputs]), self.types[t]))
        self.origins: list[Origin] = []
        for packed in origins:
            if len(packed) != 3:
                origin = SymOrigin(*packed)
                self.origins.append(origin if renaming is None else renaming.origin(origin))
            else:
                parents = tuple([self.origins[number] for number in packed[2]])
                self.origins.append(DerivedOrigin(packed[0], packed[1], parents))

    def _value(self, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(self._value, value))
        if type(value) is not list:
            return value
        kind, part = value
        return DTYPES[part] if kind == "dtype" else self.types[part] if kind == "type" else self.ops[part]

    def graph(self, packed: tuple[Any, ...]) -> Graph:
        name, inputs, outputs, numbers, names, origins = packed
        nodes = [self.nodes[number] for number in numbers]
        made = Graph(
            name,
            tuple([self.nodes[number] for number in inputs]),
            tuple([Output(self._name(called), self.nodes[number], *rest) for called, number, *rest in outputs]),
            (),
            {node: self._name(called) for node, called in zip(nodes, names) if called is not None},
            {node: self.origins[origin] for node, origin in zip(nodes, origins) if origin is not None},
        )
        made.__dict__["_order"] = tuple(nodes)
        return made

    def _names(self, packed: Sequence[str]) -> tuple[str, ...]:
        return tuple([self._name(name) for name in packed])

    def results(self, packed: Sequence[Any]) -> tuple[Result, ...]:
        name = self._name
        return tuple(
            [
                Result(name(n), self.types[t], Place(kind, at, name(of)), name(over))
                for n, t, (kind, at, of), over in packed
            ]
        )

    def step(self, packed: tuple[Any, ...]) -> Step:
        kind, origin = packed[0], self.origins[packed[-1]]
        if kind == "view":
            _, operand, results, offset, _ = packed
            return ViewStep(self._name(operand), self.results(results)[0], origin, offset)
        if kind == "kernel":
            _, label, operands, results, body, form, _ = packed
            return KernelStep(
                label, self._names(operands), self.results(results), self.graph(body), Form(*form), origin
            )
        if kind == "loop":
            _, operands, results, (carries, xs, trips, backwards), body, cond, frame, _ = packed
            inside = None if cond is None else self.program(cond)
            made = self.results(results)
            whole = self._names(operands), made, carries, xs, trips, self.program(body), inside, origin
            return LoopStep(*whole, Place(*frame), backwards)
        _, operands, results, (then, other), frame, _ = packed
        sides = self.program(then), self.program(other)
        return BranchStep(self._names(operands), self.results(results), *sides, origin, Place(*frame))

    def program(self, packed: tuple[Any, ...]) -> Program:
        called, params, steps, outputs, updates, constants, numbers = packed
        name = self._name
        return Program(
            name(called),
            tuple([ProgramParam(name(n), self.types[t], role, name(of), order) for n, t, role, of, order in params]),
            tuple([self.step(step) for step in steps]),
            tuple([ProgramOutput(name(n), name(v), role, name(of), *rest) for n, v, role, of, *rest in outputs]),
            tuple([ProgramUpdate(name(changed), name(value), phase) for changed, value, phase in updates]),
            tuple([(name(n), self.nodes[number]) for n, number in constants]),
            *numbers,
        )
