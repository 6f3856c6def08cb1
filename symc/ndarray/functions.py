"""Operators as functions from arrays to arrays, and the pullbacks of such functions, which are functions again.

A call of `mx.nd` runs the compiled program of one operator, kept by operator and types; the first few calls with new
types are answered by numpy, as long as that takes less time than compiling would (symc.ndarray.first). Its gradient is
made of the same graph, by the same sweep as a Symbol's: a program that takes what the call took and gave, and the
cotangents of what it gave. That program has a pullback in turn, which is how gradients of gradients come to be.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from symc.base import MXNetError
from symc.ir.errors import IRError
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import Origin, SymOrigin
from symc.ir.prims.control import CustomGrad
from symc.ir.prims.pullback import pullback
from symc.ir.process import once
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph, Update, finish, topological
from symc.ir.tensor.interp import evaluate
from symc.ir.types import BOOL, Array, TensorType, dtype_of
from symc.ndarray.first import elements_of, first_calls
from symc.ndarray.pool import Pool
from symc.ops.base import Operator
from symc.ops.shared.inferred import output_types
from symc.ops.stochastic.sampling import beginning_of
from symc.passes.tensor.decompose import Context, built_results
from symc.runtime.keys import next_key
from symc.runtime.memory import aligned, empty
from symc.runtime.versions import touch

#: functions of single operators kept at a time
KEEP = 2048

#: elements of all values of a gradient that is interpreted
QUICK = 1 << 13
#: elements from which on a step of an optimizer gets a program, once it was called so often with the same numbers; and
#: how many such steps are kept
LARGE, AGAIN, STEPS = 1 << 16, 2, 256
#: the modules of the primitives that numpy has a function for
_PLAIN = frozenset(f"symc.ir.prims.{m}" for m in ("elementwise", "indexing", "movement", "random", "reduce", "tuples"))

#: an input's value after the backward half, and the same for another value before it (BuildContext.update)
Later = tuple[Node, "Callable[[Node], Node] | None"]


class _Build(Context):
    """Updates by the operator's own input numbers."""

    def __init__(self, train: bool) -> None:
        super().__init__(train)
        self.changed: dict[int, Node] = {}
        self.later: dict[int, Later] = {}

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        if phase == "forward":
            self.changed[position] = value
        else:
            self.later[position] = value, again

    def becomes(self, position: int, value: Node) -> None: ...


class Function:
    """A tensor program on arrays by position: `inputs` (the last may be a key of random bits), `outputs`, and the
    values that inputs have afterwards (`changes`) or when their gradient has been taken (`later`)."""

    def __init__(
        self,
        name: str,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        changes: Mapping[int, Node],
        origins: Mapping[Node, Origin],
        later: Mapping[int, Later] | None = None,
        operator: Operator | None = None,
        shown: int | None = None,
    ) -> None:
        self.name, self.inputs, self.outputs = name, tuple(inputs), tuple(outputs)
        self.changes, self.later, self.origins = dict(changes), dict(later or {}), origins
        #: the operator it computes, where it is one, and how many of its outputs are results
        self.operator, self.shown = operator, len(self.outputs) if shown is None else shown
        #: how many pullbacks it is away from an operator
        self.order = 0
        #: how often it was interpreted
        self.interpreted = 0
        self._pullbacks: dict[tuple[tuple[int, ...], tuple[int, ...]], Pullback] = {}
        self._calls = 0

    @property
    def keyed(self) -> bool:
        """Whether the last input takes random bits."""
        return bool(self.inputs) and getattr(self.inputs[-1].op, "role", "") == "key"

    @once
    def graph(self) -> Graph:
        """The program; its inputs are named by their positions."""
        names = [node.op.input_name for node in self.inputs]  # type: ignore[attr-defined]
        outputs = [(f"out{i}", node) for i, node in enumerate(self.outputs[: self.shown])]
        updates = [Update(names[i], node, "forward") for i, node in self.changes.items()]
        return finish(self.name, self.inputs, outputs, updates, {}, self.origins)

    @once
    def _compiled(self) -> tuple[Pool, list[str], list[TensorType]]:
        from symc.compile import compile_graph

        executable = compile_graph(self.graph)
        values = executable.program.value_types()
        names = [node.op.input_name for node in self.inputs]  # type: ignore[attr-defined]
        return Pool(executable), names, [values[output.value] for output in executable.program.outputs]

    @once
    def _quick(self) -> bool:
        """Whether it is a gradient that numpy computes before a program could be called, let alone compiled: few
        elements in all, in plain steps. (What operators give themselves is what their programs give.)"""
        if not self.order:
            return False
        plain = all(isinstance(n.op, CustomGrad) or type(n.op).__module__ in _PLAIN for n in self.graph.nodes())
        return plain and elements_of(self.graph) <= QUICK

    @once
    def _first(self) -> int:
        """How many calls numpy answers before there is a program. (Those of an optimizer's step are counted by
        run_operator.)"""
        return 0 if self.operator is not None and self.operator.is_update else first_calls(self.graph)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The results for these inputs; the inputs that change are changed in place."""
        if self._quick:
            return self.interpret(arrays)
        if self._calls < self._first:
            self._calls += 1
            return self.interpret(arrays)
        pool, names, types = self._compiled
        outputs = [empty(t.shape, t.dtype.numpy) for t in types]
        pool.run(dict(zip(names, arrays)), outputs)
        return outputs

    def interpret(self, arrays: Sequence[Array]) -> list[Array]:
        """As calling it, without compiling anything."""
        self.interpreted += 1
        given = {node.op.input_name: a for node, a in zip(self.inputs, arrays)}  # type: ignore[attr-defined]
        made = evaluate(self.graph, given)
        found = [aligned(a) for a in made.outputs.values()]
        for name, value in made.updates.items():
            given[name][...] = value
            touch(given[name])
        return found

    def pullback(self, wrt: tuple[int, ...], given: tuple[int, ...]) -> Pullback:
        """The cotangents of the inputs `wrt` from those of the outputs `given`, kept once it is made. MXNetError if
        nobody knows them."""
        found = self._pullbacks.get((wrt, given))
        if found is None:
            try:
                found = self._pullbacks[wrt, given] = _pullback(self, wrt, given)
            except IRError as problem:
                raise MXNetError(f"the gradient of {self.name}: {problem}") from None
        return found


class Pullback(NamedTuple):
    """How the cotangents of a call's inputs are computed."""

    #: what has to be computed; None where nothing has
    function: Function | None
    #: its inputs: ("in", number), ("out", number) and ("ct", number) of the call
    operands: tuple[tuple[str, int], ...]
    #: the call's input that each of its results belongs to
    results: tuple[int, ...]
    #: (input, output) where the input's cotangent is the output's, as it is
    passed: tuple[tuple[int, int], ...]


def _pullback(function: Function, wrt: tuple[int, ...], given: tuple[int, ...]) -> Pullback:
    operator = function.operator
    if operator is not None and operator.gradient == "none":
        raise MXNetError(f"operator {function.name} has no gradient, but one is wanted through it")
    origin = SymOrigin(function.name, function.name)
    stem = "" if not function.order else str(function.order + 1)
    types = [node.tensor for node in function.outputs]
    cts = {j: input_node(f"ct{stem}.{j}", types[j]) for j in given}
    outs = {j: input_node(f"out{stem}.{j}", types[j]) for j in range(len(function.outputs[: function.shown]))}
    places: dict[Node, tuple[str, int]] = {node: ("in", i) for i, node in enumerate(function.inputs)}
    places |= {node: ("out", j) for j, node in outs.items()} | {node: ("ct", j) for j, node in cts.items()}
    changed: dict[Node, Node] = {}

    def passed(node: Node, arrived: Sequence[Node | None]) -> None:
        if isinstance(node.op, CustomGrad):
            changed.update(node.op.states_after(node, arrived))

    def visit(node: Node) -> AbstractContextManager[object]:
        return nullcontext()

    with Recorder() as recorder, recorder.at(origin):
        if operator is not None and operator.gradient == "zero":
            found: list[Node | None] = [None] * len(wrt)
        else:
            heads = [j for j in given if types[j].dtype != BOOL]
            targets = [function.inputs[i] for i in wrt]
            found = pullback([function.outputs[j] for j in heads], [cts[j] for j in heads], targets, visit, passed)
        later = {i: again(function.inputs[i]) if again is not None else v for i, (v, again) in function.later.items()}
        later |= {i: changed[node] for i, node in enumerate(function.inputs) if node in changed}
        # what the call gave need not be computed again
        kept = {node: outs[j] for j, node in enumerate(function.outputs[: function.shown]) if node.inputs}
        roots = [g for g in found if g is not None]
        replaced = _replaced([*roots, *later.values()], kept)
    made = {i: replaced[g] for i, g in zip(wrt, found) if g is not None}
    results = {i: g for i, g in made.items() if places.get(g, ("", 0))[0] != "ct"}
    by_pass = tuple((i, places[g][1]) for i, g in made.items() if i not in results)
    updates = {i: replaced[node] for i, node in later.items()}
    if not results and not updates:
        return Pullback(None, (), (), by_pass)
    nodes = topological([*results.values(), *updates.values()])
    written = [function.inputs[i] for i in updates]
    used = [n for n in dict.fromkeys([*(n for n in nodes if n in places), *written]) if n not in function.inputs[-1:]]
    used += [n for n in function.inputs[-1:] if n in nodes or n in written]  # a key stays the last
    origins = {n: recorder.origins.get(n) or function.origins.get(n) or origin for n in [*nodes, *used]}
    changes = {used.index(function.inputs[i]): node for i, node in updates.items()}
    backward = Function(f"{function.name} backward", used, list(results.values()), changes, origins)
    backward.order = function.order + 1
    return Pullback(backward, tuple(places[n] for n in used), tuple(results), by_pass)


def _replaced(roots: Iterable[Node], new: Mapping[Node, Node]) -> dict[Node, Node]:
    """The roots by themselves, with the nodes in `new` taken instead of those they stand for."""
    made = dict(new)
    roots = list(roots)
    for node in topological(roots):
        if node not in made:
            inputs = [made[i] for i in node.inputs]
            made[node] = node if all(a is b for a, b in zip(inputs, node.inputs)) else node.on(inputs)
    return {root: made[root] for root in roots}


@functools.lru_cache(maxsize=KEEP)
def function_of(op: Any, types: tuple[TensorType, ...], train: bool, rows: int | None = None) -> Function:
    """An operator as a function of arrays of these types (and a key, if it draws random numbers). `rows` where the
    number of the output's rows is not told by the types. IRError for types that it does not take."""
    origin = SymOrigin(op.op_name, op.op_name)
    inputs = [input_node(f"in{i}", t) for i, t in enumerate(types)]
    context = _Build(train)
    context.name = op.op_name
    if rows is not None:
        context.output_shapes = ((rows, *types[0].shape[1:]),)
    variables = [SymNode("null", f"in{i}") for i in range(len(types))]
    node = SymNode(op.op_name, op.op_name, {}, [(v, 0) for v in variables], op)
    known = {(v, 0): t for v, t in zip(variables, types)}
    inferred = output_types(SymGraph(((node, 0),)), known, {} if rows is None else {node.name: rows})
    with Recorder() as recorder, recorder.at(origin):
        outs = built_results(node, op.build(context, *inputs), inferred[node])
    if context.key is not None:
        inputs.append(context.key)
    recorder.origins.update({node: origin for node in inputs})
    return Function(
        op.op_name, inputs, outs, context.changed, recorder.origins, context.later, op, op.num_visible_outputs()
    )


def function_for(op: Operator, arrays: Sequence[Array], train: bool) -> Function:
    """An operator as a function of these arrays."""
    rows = None if op.row_chooser is None else op.count_rows(arrays[op.row_chooser])
    make: Callable[..., Function] = function_of
    if op.is_update:
        # steps of optimizers are made for one learning rate: few are kept, if any
        make = _large_step if sum(a.size for a in arrays) >= LARGE else function_of.__wrapped__
    return make(op, tuple([TensorType(dtype_of(a.dtype), a.shape) for a in arrays]), train, rows)


_large_step = functools.lru_cache(maxsize=STEPS)(function_of.__wrapped__)


def run_operator(
    op: Operator, arrays: Sequence[Array], train: bool = False
) -> tuple[list[Array], Function, list[Array]]:
    """An operator on arrays: its outputs, the function that made them, and what that was given (a key besides).
    Inputs that the operator changes are changed in place."""
    if (more := beginning_of(op)) is not None:
        (made,), function, given = run_operator(more[0], arrays, train)
        result = empty(more[1], made.dtype)
        result.reshape(-1)[...] = made[: result.size]
        return [result], function, given
    function = function_for(op, arrays, train)
    given = [*arrays, next_key()] if function.keyed else list(arrays)
    by_numpy = op.is_update and function.interpreted < AGAIN
    return (function.interpret(given) if by_numpy else function(given)), function, given
