"""Control flow: operators whose bodies are symbol graphs of their own (foreach, while_loop, cond).

A node's subgraphs are what its operator runs: `Operator.with_subgraphs` gives the definition that knows them. Bodies
become the tensor level's `loop` and `branch`; nothing is unrolled, and gradients are loops and branches again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from symc.ir.errors import IRError
from symc.ir.op import Node, Recorder
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import branch, loop
from symc.ir.prims.movement import reshape
from symc.ir.prims.random import fold_key
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.inferred import output_types
from symc.passes.tensor.decompose import built_results
from symc.passes.tensor.infer_shape import Conflict, propagate

Entry = tuple[SymNode, int]
R = TypeVar("R")


class _KeyWanted(Exception):
    """A body draws random numbers, but is being built without a key."""


class _Inside:
    """The context (see BuildContext) that a body's operators are built in: random numbers come from the turn's key,
    new values of states are kept by the variable they belong to."""

    def __init__(self, train: bool, key: Node | None = None) -> None:
        self.train, self.key = train, key
        self.name = ""
        self.inner = False
        self.output_shapes: tuple[tuple[int, ...], ...] = ()
        self.node: SymNode | None = None
        self.written: dict[SymNode, tuple[Node, str]] = {}
        self.keys_given = 0

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        assert self.node is not None
        target, _ = self.node.inputs[position]
        if target.is_variable:
            self.written[target] = value, phase

    def becomes(self, position: int, value: Node) -> None: ...

    def random_key(self) -> Node:
        if self.key is None:
            raise _KeyWanted
        self.keys_given += 1
        return fold_key(self.key, self.keys_given)

    def build(self, graph: SymGraph, given: Sequence[Node]) -> list[Node]:
        """The graph's outputs over primitives; `given` are the values of its inputs, in order."""
        variables = inputs_of(graph)
        values: dict[Entry, Node] = {(v, 0): x for v, x in zip(variables, given)}
        inferred = output_types(graph, {(v, 0): x.tensor for v, x in zip(variables, given)})
        recorder = Recorder.active()
        for node in graph.nodes():
            if node.is_variable:
                continue
            assert node.definition is not None
            self.inner = bool(node.inputs) and not node.inputs[0][0].is_variable
            self.name, self.node = node.name, node
            known = () if node.inputs else inferred[node]  # of operators without inputs: theirs follow from their use
            self.output_shapes = tuple(t.shape for t in known if t is not None) if None not in known else ()
            with recorder.at(node.origin()):
                try:
                    made = node.definition.build(self, *(values[e] for e in node.inputs))
                except IRError as problem:
                    raise problem.within(f"in operator {node.op} {node.name!r}") from None
            results = built_results(node, made, inferred[node])
            for at, result in enumerate(results):
                values[node, at] = result
                recorder.names.setdefault(result, node.name if len(results) == 1 else f"{node.name}.{at}")
        return [values[e] for e in graph.outputs]


def inputs_of(graph: SymGraph) -> list[SymNode]:
    """A graph's inputs, arguments and states in one order, as the `*_locs` attributes count them."""
    return [n for n in graph.nodes() if n.is_variable]


def _keyed(ctx: BuildContext, build: Callable[[Node | None], R]) -> R:
    """build(key) with a key only if a body asks for one: programs that draw nothing stay repeatable."""
    try:
        return build(None)
    except _KeyWanted:
        return build(ctx.random_key())


class _Output(NamedTuple):
    """Where an output of a body goes: an output of the operator (stacked: once a turn, as a row) or nowhere (None);
    `state` is the input whose next value it is."""

    result: int | None = None
    stacked: bool = False
    state: int | None = None


class _Part(NamedTuple):
    """A body: the operator's inputs that its inputs are (or, for `rows`, whose rows they are), its outputs' ends, and
    the type that its first output must have, if any."""

    graph: SymGraph
    inputs: tuple[int, ...]
    rows: frozenset[int]
    outputs: tuple[_Output, ...]
    type: Any = None


class _Control(Operator):
    """Base of the three: the number of bodies, and inference through them."""

    counts: ClassVar[tuple[str, ...]] = ("num_outputs", "num_out_data")

    subgraphs: Any  # list[SymGraph]; not a parameter, so not one of the fields
    num_args: int
    num_outputs: int

    def with_subgraphs(self, graphs: Sequence[SymGraph]) -> Operator:
        if len(graphs) != self.graphs:
            raise MXNetError(f"{self.op_name} needs {self.graphs} subgraph(s), got {len(graphs)}")
        made = dataclasses.replace(self)  # type: ignore[type-var]
        object.__setattr__(made, "subgraphs", list(graphs))
        made._check_places()
        return made

    def _check_places(self) -> None:
        for part in self.parts():
            count = len(self.list_inputs())
            if len(part.inputs) != len(inputs_of(part.graph)):
                raise MXNetError(
                    f"{self.op_name}: its attributes place {len(part.inputs)} inputs, "
                    f"but the subgraph has {len(inputs_of(part.graph))}"
                )
            if any(not 0 <= at < count for at in part.inputs):
                raise MXNetError(f"{self.op_name}: its attributes name inputs {part.inputs}, but it has {count}")
            if len(part.outputs) != len(part.graph.outputs):
                raise MXNetError(
                    f"{self.op_name}: its attributes speak of {len(part.outputs)} outputs, "
                    f"but the subgraph has {len(part.graph.outputs)}"
                )

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"data{i}" for i in range(self.num_args - self.graphs))

    def list_outputs(self) -> tuple[str, ...]:
        return ("output",) if self.num_outputs == 1 else tuple(f"output{i}" for i in range(self.num_outputs))

    def parts(self) -> list[_Part]:
        """The bodies with their places."""
        raise NotImplementedError(f"{self.op_name} has no bodies")

    def written_inputs(self) -> tuple[int, ...]:
        found: set[int] = set()
        for part in self.parts():
            place = dict(zip(inputs_of(part.graph), part.inputs))
            for node in part.graph.nodes():
                if not node.is_variable:
                    written: Sequence[int] = node.definition.written_inputs()  # type: ignore[union-attr]
                    found.update(place[n] for n, _ in (node.inputs[at] for at in written) if n in place)
        return tuple(sorted(found))

    # -- inference

    def turns(self, s: Shapes) -> int:
        """Extent of the axis that turns stack on, 0 while it is not known."""
        return 0

    def complete(self, s: Shapes) -> None:
        """Shapes follow through the body, both ways; rows of the data lose axis 0, stacked outputs gain one."""
        turns = self.turns(s)

        def down(shape: Any, row: bool) -> Any:
            # a row of a vector is a vector of one element: MXNet's classic arrays have at least one axis
            return (shape[1:] or (1,)) if row and shape is not None else shape

        def up(shape: Any, row: bool, outer: Any) -> Any:
            if not row or shape is None:
                return shape
            return outer if outer is not None and len(outer) == 1 and shape == (1,) else (turns, *shape)

        self._complete(s, Shapes, lambda n, row: n.definition.complete(row), down, up)

    def complete_types(self, t: Types) -> None:
        self._complete(t, Types, lambda n, row: n.definition.infer_types(row), lambda d, _: d, lambda d, *_: d)

    def _complete(self, s: Any, table: Any, rule: Any, down: Any, up: Any) -> None:
        """Complete a row of shapes or types by completing the bodies. `down` makes an input's value that of its row,
        `up` the other way round."""
        for part in self.parts():
            variables = inputs_of(part.graph)
            # of the body's own inputs and outputs, unified through a row of the same kind
            inner = table(
                [down(s.ins[at], at in part.rows) for at in part.inputs],
                [down(s.outs[o.result], o.stacked) if o.result is not None else None for o in part.outputs],
                [v.name for v in variables],
            )
            for at, output in enumerate(part.outputs):
                if output.state is not None:
                    inner.set_out(at, s.ins[output.state])
            if part.type is not None and table is Types:
                inner.set_out(0, part.type)
            known = {(v, 0): x for v, x in zip(variables, inner.ins) if x is not None}
            known.update({e: x for e, x in zip(part.graph.outputs, inner.outs) if x is not None and e not in known})
            try:
                found = propagate(part.graph, known, table, rule)
            except Conflict as problem:
                raise ShapeError(f"Error in operator {problem.node.name}: {problem.reason}") from None
            for variable, at in zip(variables, part.inputs):
                s.set_in(at, up(found.get((variable, 0)), at in part.rows, s.ins[at]))
            for entry, output in zip(part.graph.outputs, part.outputs):
                value = found.get(entry)
                if output.result is not None:
                    s.set_out(output.result, up(value, output.stacked, None))
                if output.state is not None:
                    s.set_in(output.state, value)

    # -- meaning

    def _loop(
        self, ctx: BuildContext, inputs: Sequence[Node], states: Sequence[int], trips: int, body: _Part,
        condition: _Part | None = None,
    ) -> list[Node]:  # fmt: skip
        """The loop over the body; `states` are the inputs that change from turn to turn."""
        written = [at for at in self.written_inputs() if at not in states] if ctx.train else []
        moving, rows = [*states, *written], sorted(body.rows)
        fixed = [at for at in range(len(inputs)) if at not in moving and at not in body.rows]
        phases: dict[int, str] = {}
        label = f"{self.op_name} {ctx.name!r}"

        def run(key: Node | None) -> list[Node]:
            def value_at(held: list[Node], row: list[Node], consts: list[Node]) -> dict[int, Node]:
                return dict(zip([*moving, *rows, *fixed], [*held[: len(moving)], *row, *consts]))

            def turn(held: list[Node], row: list[Node], consts: list[Node]) -> tuple[list[Node], list[Node]]:
                at = value_at(held, row, consts)
                inside = _Inside(ctx.train, held[-1] if key is not None else None)
                outs = inside.build(body.graph, [at[i] for i in body.inputs])
                new = dict(at)
                for variable, place in zip(inputs_of(body.graph), body.inputs):
                    if variable in inside.written:
                        new[place], phases[place] = inside.written[variable]
                for out, end in zip(outs, body.outputs):
                    if end.state is not None:
                        new[end.state] = out
                ys = [out for out, end in zip(outs, body.outputs) if end.stacked]
                return [new[i] for i in moving] + ([fold_key(held[-1], 0)] if key is not None else []), ys

            def goes_on(held: list[Node], row: list[Node], consts: list[Node]) -> Node:
                assert condition is not None
                at = value_at(held, row, consts)
                inside = _Inside(ctx.train, fold_key(held[-1], 1 << 20) if key is not None else None)
                return _truth(inside.build(condition.graph, [at[i] for i in condition.inputs])[0], label)

            start = [inputs[i] for i in moving] + ([key] if key is not None else [])
            last, ys, _ = loop(
                turn, start, [inputs[i] for i in rows], [inputs[i] for i in fixed], trips,
                goes_on if condition is not None else None,
            )  # fmt: skip
            for position, value in zip(written, last[len(states) :]):
                if position in phases:
                    ctx.update(position, value, phases[position])
            return [*ys, *last[: len(states)]]

        return _keyed(ctx, run)


def _truth(x: Node, label: str) -> Node:
    """An array of one element as a truth value."""
    if int(np.prod(x.shape)) != 1:
        raise MXNetError(f"{label}: its condition must have one element, but has shape {x.shape}; take its sum")
    return ew.ne(reshape(x, ()), 0)


@operator("_foreach", variadic="num_args")
class Foreach(_Control):
    """A body applied to every row (axis 0) of the data in turn: what it gives is stacked, states go from turn to turn.

    Inputs: data, initial states, then what the body uses from outside. The `*_locs` are the places of the three among
    the body's inputs.
    """

    graphs: ClassVar[int] = 1

    num_args: int
    num_outputs: int
    num_out_data: int
    in_state_locs: Tuple
    in_data_locs: Tuple
    remain_locs: Tuple

    def parts(self) -> list[_Part]:
        order = [*self.in_data_locs, *self.in_state_locs, *self.remain_locs]
        if sorted(order) != list(range(len(order))):
            raise MXNetError(f"_foreach: its *_locs {order} are not the places 0 to {len(order) - 1}")
        places = tuple(order.index(at) for at in range(len(order)))
        first = len(self.in_data_locs)
        outs = [_Output(i, i < self.num_out_data, None) for i in range(self.num_out_data)]
        outs += [_Output(self.num_out_data + i, False, first + i) for i in range(len(self.in_state_locs))]
        return [_Part(self.subgraphs[0], places, frozenset(range(first)), tuple(outs))]

    def turns(self, s: Shapes) -> int:
        stacked = [*s.ins[: len(self.in_data_locs)], *s.outs[: self.num_out_data]]
        return next((shape[0] for shape in stacked if shape and shape[0]), 0)

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        first = len(self.in_data_locs)
        lengths = {x.shape[0] if x.rank else 0 for x in inputs[:first]}
        if len(lengths) != 1:
            raise MXNetError(f"_foreach {ctx.name!r}: the data have different lengths {sorted(lengths)} along axis 0")
        states = range(first, first + len(self.in_state_locs))
        # a row of a vector is a vector of one element
        given = [reshape(x, (*x.shape, 1)) if x.rank == 1 else x for x in inputs[:first]]
        return self._loop(ctx, [*given, *inputs[first:]], states, lengths.pop(), self.parts()[0])


@operator("_while_loop", variadic="num_args")
class WhileLoop(_Control):
    """A body repeated while a condition on the loop variables holds, `max_iterations` times at most.

    What the body gives is stacked in `max_iterations` rows; rows of turns that were not taken are zero.
    """

    graphs: ClassVar[int] = 2
    dynamic: ClassVar[bool] = True

    num_args: int
    num_outputs: int
    num_out_data: int
    max_iterations: int
    cond_input_locs: Tuple
    func_input_locs: Tuple
    func_var_locs: Tuple

    def check(self) -> None:
        if self.max_iterations < 1:
            raise MXNetError(f"_while_loop: max_iterations={self.max_iterations} must be positive")

    def _states(self) -> list[int]:
        return [self.func_input_locs[at] for at in self.func_var_locs]

    def parts(self) -> list[_Part]:
        outs = [_Output(i, True, None) for i in range(self.num_out_data)]
        outs += [_Output(self.num_out_data + i, False, at) for i, at in enumerate(self._states())]
        cond, func = self.subgraphs
        return [
            _Part(cond, tuple(self.cond_input_locs), frozenset(), (_Output(),)),
            _Part(func, tuple(self.func_input_locs), frozenset(), tuple(outs)),
        ]

    def turns(self, s: Shapes) -> int:
        return self.max_iterations

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        condition, body = self.parts()
        return self._loop(ctx, inputs, self._states(), self.max_iterations, body, condition)


@operator("_cond", variadic="num_args")
class Cond(_Control):
    """The results of one of two bodies, chosen by a condition of one element; the other is not computed."""

    graphs: ClassVar[int] = 3
    dynamic: ClassVar[bool] = True

    num_args: int
    num_outputs: int
    cond_input_locs: Tuple
    then_input_locs: Tuple
    else_input_locs: Tuple

    def parts(self) -> list[_Part]:
        outs = tuple(_Output(i) for i in range(self.num_outputs))
        cond, then, other = self.subgraphs
        return [
            _Part(cond, tuple(self.cond_input_locs), frozenset(), (_Output(),), np.float32),
            _Part(then, tuple(self.then_input_locs), frozenset(), outs),
            _Part(other, tuple(self.else_input_locs), frozenset(), outs),
        ]

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        condition, *sides = self.parts()
        used = sorted({at for side in sides for at in side.inputs})
        written = [at for at in self.written_inputs() if at in used] if ctx.train else []
        phases: dict[int, str] = {}

        def side_of(side: _Part, keyed: bool) -> Callable[..., list[Node]]:
            def run(*given: Node) -> list[Node]:
                at = dict(zip(used, given))
                inside = _Inside(ctx.train, given[-1] if keyed else None)
                outs = inside.build(side.graph, [at[i] for i in side.inputs])
                for variable, place in zip(inputs_of(side.graph), side.inputs):
                    if variable in inside.written:
                        at[place], phases[place] = inside.written[variable]
                return [*outs, *(at[i] for i in written)]

            return run

        def choose(key: Node | None) -> list[Node]:
            inside = _Inside(ctx.train, key)
            (value,) = inside.build(condition.graph, [inputs[i] for i in condition.inputs])
            pred = _truth(value, f"_cond {ctx.name!r}")
            extra = [] if key is None else [fold_key(key, 0)]
            taken = [side_of(side, key is not None) for side in sides]
            made = branch(pred, taken[0], taken[1], [*(inputs[i] for i in used), *extra])
            for position, value in zip(written, made[self.num_outputs :]):
                if position in phases:
                    ctx.update(position, value, phases[position])
            return made[: self.num_outputs]

        return _keyed(ctx, choose)
