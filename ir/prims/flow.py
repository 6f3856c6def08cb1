"""Control flow: loops and branches over traced graphs. They never unroll; gradients are loops and branches again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import numpy as np

from symc.ir.op import Node, Primitive, Recorder, RunGraph, primitive, require
from symc.ir.origins import DerivedOrigin, Origin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import instantiate, placeholders, trace
from symc.ir.prims.movement import iota
from symc.ir.prims.pullback import pullback, reached
from symc.ir.prims.tuples import results
from symc.ir.tensor.graph import Graph, Output, finish
from symc.ir.types import BOOL, I64, Array, TensorType, TupleType, Type


def _visit(node: Node) -> AbstractContextManager[object]:
    """The origin of a node's gradient in a body: that of the loop's or branch's gradient, made from the node's own."""
    recorder = Recorder.active()
    here, own = recorder.origin, recorder.origins.get(node)
    if isinstance(here, DerivedOrigin) and own is not None:
        here = DerivedOrigin(here.pass_name, here.action, (own,))
    return recorder.at(here)


def _origins(graph: Graph) -> list[Origin | None]:
    return [graph.origins.get(node) for node in graph.nodes()]


def _placed(graph: Graph, origin: Origin) -> Graph:
    """The graph with this origin for values that have none, those of loops and branches in it too."""
    if all(node in graph.origins for node in graph.nodes()):
        return graph
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        inputs = [new.get(i, i) for i in node.inputs]
        op = node.op.placed(graph.origins.get(node, origin))
        if op is not node.op or any(a is not b for a, b in zip(inputs, node.inputs)):
            new[node] = Node.make(op, inputs)
    origins = {new.get(node, node): graph.origins.get(node, origin) for node in graph.nodes()}
    names = {new.get(node, node): name for node, name in graph.names.items()}
    return finish(
        graph.name, graph.inputs, [(o.name, new.get(o.node, o.node)) for o in graph.outputs], (), names, origins
    )


def _or_zero(ct: Node | None, like: Node) -> Node:
    return ew.zeros_like(like) if ct is None else ct


# --------------------------------------------------------------------------------------------- loop


@primitive("loop")
class Loop(Primitive):
    """`trips` turns of `body`, or fewer: with `cond`, until it is false.

    Operands: carries, xs (with a leading axis of `trips`; the body gets one row), constants. Both graphs take them
    in this order; the body gives the new carries, then ys; `cond` gives one i1. Results: with `cond` first the
    number of turns taken (i64), then the last carries, then the ys stacked (rows of turns not taken are zero). A loop
    that runs `backwards` reads and writes the last row first; it has no `cond`.
    """

    body: Graph
    cond: Graph | None = None
    carries: int = 0
    xs: int = 0
    trips: int = 0
    backwards: bool = False
    cost: ClassVar[int] = 1000
    is_control: ClassVar[bool] = True

    def marks(self) -> tuple[object, ...]:
        return (*_origins(self.body), *(_origins(self.cond) if self.cond is not None else ()))

    def placed(self, origin: Origin) -> Loop:
        cond = _placed(self.cond, origin) if self.cond is not None else None
        return dataclasses.replace(self, body=_placed(self.body, origin), cond=cond)

    def type(self, ins: Sequence[TensorType]) -> Type:
        rows = range(self.carries, self.carries + self.xs)
        stacked = all(ins[i].rank and ins[i].shape[0] == self.trips for i in rows if i < len(ins))
        require(self.trips >= 0 and stacked, self, f"xs need a leading axis of {self.trips}", *ins)
        given = [t.with_shape(t.shape[1:]) if i in rows else t for i, t in enumerate(ins)]
        require(given == [i.tensor for i in self.body.inputs], self, "operands are not the body's", *ins)
        made = [node.tensor for node in self.body.output_nodes]
        require(made[: self.carries] == given[: self.carries], self, "the body changes the carries' types", *made)
        count: list[TensorType] = []
        if self.cond is not None:
            require(not self.backwards, self, "only a loop of fixed turns runs backwards", *ins)
            ok = given == [i.tensor for i in self.cond.inputs]
            require(
                ok and [n.tensor for n in self.cond.output_nodes] == [TensorType(BOOL, ())], self, "cond gives one i1"
            )
            count = [TensorType(I64, ())]
        ys = [t.with_shape((self.trips, *t.shape)) for t in made[self.carries :]]
        return TupleType((*count, *made[: self.carries], *ys))

    def evaluate(self, args: Sequence[Array], out: Sequence[TensorType], run: RunGraph) -> tuple[Array, ...]:
        first, last = self.carries, self.carries + self.xs
        state = list(args[:first])
        ys = [np.zeros(t.shape, t.dtype.numpy) for t in out[len(out) - len(self.body.outputs) + first :]]
        done = 0
        while done < self.trips:
            row = self.trips - 1 - done if self.backwards else done
            given = [*state, *(x[row] for x in args[first:last]), *args[last:]]
            if self.cond is not None and not run(self.cond, given)[0]:
                break
            made = run(self.body, given)
            state = list(made[:first])
            for stacked, y in zip(ys, made[first:]):
                stacked[row] = y
            done += 1
        count = [np.asarray(done, np.int64)] if self.cond is not None else []
        return (*count, *state, *ys)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        """The loop again with the carries of every turn stacked, then the turns over them the other way round."""
        first, last = self.carries, self.carries + self.xs
        carries, xs, consts = node.inputs[:first], node.inputs[first:last], node.inputs[last:]
        head = 0 if self.cond is None else 1
        ct_carries, ct_ys = ct[head : head + first], ct[head + first :]
        if not self.trips:
            return [*ct_carries, *(None for _ in (*xs, *consts))]

        taken, saved = self._with_carries_saved(node)
        rows = [i for i, g in enumerate(ct_ys) if g is not None and g.dtype != BOOL]
        lf, xf, cf = self._reached([i for i, g in enumerate(ct_carries) if g is not None], rows)
        mask = [] if taken is None else [ew.lt(iota(TensorType(I64, (self.trips,)), 0), taken)]

        def turn(state: list[Node], row: list[Node], fixed: list[Node]) -> tuple[list[Node], list[Node]]:
            flowing, totals = state[: len(lf)], state[len(lf) :]
            on, rest = row[: len(mask)], row[len(mask) :]
            old, x, dys = rest[:first], rest[first:last], rest[last:]
            outs = instantiate(self.body, [*old, *x, *fixed], origins=True)
            wanted = [outs[i] for i in lf] + [outs[first + i] for i in rows]
            targets = [old[i] for i in lf] + [x[i] for i in xf] + [fixed[i] for i in cf]
            grads = [_or_zero(g, t) for g, t in zip(pullback(wanted, [*flowing, *dys], targets, _visit), targets)]
            dold, dx, dfixed = grads[: len(lf)], grads[len(lf) : len(lf) + len(xf)], grads[len(lf) + len(xf) :]
            if on:
                # turns that were not taken saw no real carries: whatever came out of them is dropped
                dold = [ew.select(on[0], new, before) for new, before in zip(dold, flowing)]
                dx = [ew.select(on[0], g, 0) for g in dx]
                dfixed = [ew.select(on[0], g, 0) for g in dfixed]
            return [*dold, *map(ew.add, totals, dfixed)], dx

        start = [_or_zero(ct_carries[i], carries[i]) for i in lf] + [ew.zeros_like(consts[i]) for i in cf]
        stacks = [*mask, *saved, *xs, *(y for i in rows if (y := ct_ys[i]) is not None)]
        if not start and not xf:
            return [None] * len(node.inputs)
        ended, dxs, _ = loop(turn, start, stacks, consts, self.trips, backwards=not self.backwards)
        found: list[Node | None] = [None] * len(node.inputs)
        for i, g in zip([*lf, *(last + i for i in cf)], ended):
            found[i] = g
        for i, g in zip(xf, dxs):
            found[first + i] = g
        return found

    def _reached(self, carries: Sequence[int], rows: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Positions of the carries, xs and constants that get cotangents, where these carries and ys have some."""
        first, last = self.carries, self.carries + self.xs
        outs, ins = self.body.output_nodes, self.body.inputs
        known = set(carries)
        while True:
            found = reached([outs[i] for i in known] + [outs[first + i] for i in rows])
            more = {i for i in range(first) if ins[i] in found} - known
            if not more:
                break
            known |= more
        return (
            sorted(known),
            [i for i in range(self.xs) if ins[first + i] in found],
            [i for i in range(len(ins) - last) if ins[last + i] in found],
        )

    def _with_carries_saved(self, node: Node) -> tuple[Node | None, list[Node]]:
        """(number of turns taken if that is not fixed, the carries before every turn, stacked)."""
        body = self.body
        named = [*body.outputs[: self.carries], *(Output(f"before{i}", body.inputs[i]) for i in range(self.carries))]
        saving = finish("body", body.inputs, named, (), body.names, body.origins)
        made = results(Node.make(dataclasses.replace(self, body=saving), node.inputs))
        return (None if self.cond is None else made[0]), made[len(made) - self.carries :] if self.carries else []


LoopBody = Callable[[list[Node], list[Node], list[Node]], "tuple[Sequence[Node], Sequence[Node]]"]
Condition = Callable[[list[Node], list[Node], list[Node]], Node]


def loop(
    body: LoopBody,
    carries: Sequence[Node],
    xs: Sequence[Node] = (),
    consts: Sequence[Node] = (),
    trips: int | None = None,
    cond: Condition | None = None,
    backwards: bool = False,
) -> tuple[list[Node], list[Node], Node | None]:
    """Repeat body(carries, rows of xs, consts) -> (new carries, ys). `trips` turns (the xs' leading extent if not
    given), with `cond` (of the same arguments) only as long as it holds; `backwards` from the last row to the first.

    Returns (last carries, ys stacked, number of turns taken or None without `cond`). The functions must reach values
    from outside through `consts`. TypeMismatch if they do not, or if a carry changes its type.
    """
    if trips is None:
        trips = xs[0].shape[0]
    types = [c.tensor for c in carries]
    types += [x.tensor.with_shape(x.shape[1:]) for x in xs]
    types += [c.tensor for c in consts]
    first, last = len(carries), len(carries) + len(xs)
    with Recorder.inside() as recorder:
        ins = placeholders(types)
        parts = (ins[:first], ins[first:last], ins[last:])
        new, ys = body(*parts)
        outs = [(f"c{i}", n) for i, n in enumerate(new)] + [(f"y{i}", n) for i, n in enumerate(ys)]
        traced = trace("body", ins, outs, recorder)
        test = None if cond is None else trace("cond", ins, [("go", cond(*parts))], recorder)
    node = Node.make(Loop(traced, test, first, len(xs), trips, backwards), [*carries, *xs, *consts])
    made = results(node)
    head = 0 if cond is None else 1
    return made[head : head + first], made[head + first :], made[0] if head else None


# --------------------------------------------------------------------------------------------- branch


@primitive("branch")
class Branch(Primitive):
    """Operands: an i1 scalar, then what both graphs take. Results: those of `then` where it holds, else of `other`."""

    then: Graph
    other: Graph
    cost: ClassVar[int] = 1000
    is_control: ClassVar[bool] = True

    def marks(self) -> tuple[object, ...]:
        return (*_origins(self.then), *_origins(self.other))

    def placed(self, origin: Origin) -> Branch:
        return dataclasses.replace(self, then=_placed(self.then, origin), other=_placed(self.other, origin))

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(bool(ins) and ins[0] == TensorType(BOOL, ()), self, "takes an i1 scalar first", *ins)
        for side in (self.then, self.other):
            require(list(ins[1:]) == [i.tensor for i in side.inputs], self, f"operands are not {side.name}'s", *ins)
        then, other = (tuple(node.tensor for node in side.output_nodes) for side in (self.then, self.other))
        require(then == other, self, "the sides give different types", TupleType(then), TupleType(other))
        return TupleType(then)

    def evaluate(self, args: Sequence[Array], out: Sequence[TensorType], run: RunGraph) -> tuple[Array, ...]:
        return tuple(run(self.then if args[0] else self.other, args[1:]))

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        """A branch over the gradients of the two sides."""
        pred, operands = node.inputs[0], node.inputs[1:]
        rows = [i for i, g in enumerate(ct) if g is not None and g.dtype != BOOL]
        sides = (self.then, self.other)
        found_in = [reached([side.outputs[i].node for i in rows]) for side in sides]
        wrt = [i for i in range(len(operands)) if any(s.inputs[i] in f for s, f in zip(sides, found_in))]
        found: list[Node | None] = [None] * len(node.inputs)
        if not rows or not wrt:
            return found

        def backward(side: Graph) -> Callable[..., list[Node]]:
            def run(*given: Node) -> list[Node]:
                ins = given[: len(operands)]
                outs = instantiate(side, ins, origins=True)
                targets = [ins[i] for i in wrt]
                grads = pullback([outs[i] for i in rows], given[len(operands) :], targets, _visit)
                return [_or_zero(g, t) for g, t in zip(grads, targets)]

            return run

        cts = [g for i in rows if (g := ct[i]) is not None]
        grads = branch(pred, backward(self.then), backward(self.other), [*operands, *cts])
        for i, g in zip(wrt, grads):
            found[1 + i] = g
        return found


def branch(
    pred: Node, then: Callable[..., Sequence[Node]], other: Callable[..., Sequence[Node]], operands: Sequence[Node]
) -> list[Node]:
    """then(*operands) where the i1 scalar `pred` holds, else other(*operands); only one side is computed.

    The functions must reach values from outside through `operands`. TypeMismatch if they do not, or if their results
    differ in type.
    """
    with Recorder.inside() as recorder:
        ins = placeholders([x.tensor for x in operands])
        sides = [
            trace(name, ins, [(f"out{i}", n) for i, n in enumerate(function(*ins))], recorder)
            for name, function in (("then", then), ("other", other))
        ]
    node = Node.make(Branch(sides[0], sides[1]), [pred, *operands])
    return results(node)
