"""Protects loops and branches, alone and in each other, by random graphs: every level computes what the tensor graph
does, in the interpreters and natively, with gradients and without, and every text reads back."""

from __future__ import annotations

import random

import pytest
from compiling import arrays_for, assert_close, graph_of

from symc.codegen.target import host_target
from symc.compile import emit, loop_passes, tensor_passes
from symc.ir.loop.interp import run_loop_module
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import branch, loop
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import concat, reshape, transpose
from symc.ir.prims.reduce import reduce_sum
from symc.ir.program.interp import run_program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Manager, Pass
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.merge_loops import MergeLoops
from symc.runtime.memory import empty

SIDE = 3
#: the values of a graph are numbers, vectors and matrices of these shapes
VECTOR, MATRIX = TensorType(F32, (SIDE,)), TensorType(F32, (SIDE, SIDE))


def step(r: random.Random, pool: list[Node]) -> Node:
    """A value made from others, about as large as they are."""
    a = r.choice(pool)
    b = r.choice([other for other in pool if other.shape == a.shape])
    kind = r.randrange(8)
    if kind == 0:
        return ew.tanh(a)
    if kind == 1:
        return ew.add(a, b)
    if kind == 2:
        return ew.mul(ew.tanh(a), ew.sin(b))
    if kind == 3:
        return ew.sub(a, ew.mul(b, 0.5))
    if kind == 4:
        return ew.select(ew.gt(a, b), a, ew.neg(b))
    if kind == 5 and a.rank == 2:
        return ew.mul(transpose(a, (1, 0)), 0.5)
    if kind == 6 and a.rank == 2:
        return ew.tanh(dot(a, b))
    return ew.mul(a, 0.9)


def like(r: random.Random, pool: list[Node], wanted: Node) -> Node:
    return r.choice([value for value in pool if value.shape == wanted.shape])


def a_branch(r: random.Random, pool: list[Node]) -> list[Node]:
    operands = [r.choice(pool) for _ in range(r.randrange(1, 5))]
    wanted = [r.choice(operands) for _ in range(r.randrange(1, 3))]
    seed = r.random()

    def side(number: int):
        def build(*given: Node) -> list[Node]:
            inner, values = random.Random(seed + number), list(given)
            for _ in range(3):
                values.append(step(inner, values))
            return [like(inner, values, w) for w in wanted]

        return build

    x = r.choice(operands)
    test = ew.gt(reduce_sum(x, range(x.rank)) if x.rank else x, 0.1)
    return branch(test, side(1), side(2), operands)


def a_loop(r: random.Random, pool: list[Node], depth: int) -> list[Node]:
    """A loop with any numbers of states, rows, constants and stacked results, with a condition or backwards or neither;
    its states may change places, stay, or become what was read."""
    start = [r.choice(pool) for _ in range(r.randrange(4))]
    consts = [r.choice(pool) for _ in range(r.randrange(3))]
    trips = r.randrange(5)
    vector = r.choice([value for value in pool if value.rank == 1])
    rows = [
        concat([reshape(ew.mul(vector, 1.0 + 0.1 * i), (1, SIDE)) for i in range(trips)], 0)
        if trips
        else ew.full(0.5, TensorType(F32, (0, SIDE)))
        for _ in range(r.randrange(3))
    ]
    cond, limit = r.random() < 0.3, r.choice([0.5, 1.5, 10.0])
    backwards = not cond and r.random() < 0.4
    seed = r.random()

    def turn(state: list[Node], row: list[Node], fixed: list[Node]) -> tuple[list[Node], list[Node]]:
        inner = random.Random(seed)
        values = [*state, *row, *fixed] or [ew.full(0.3, VECTOR)]
        if depth < 2 and inner.random() < 0.5 and any(v.rank == 1 for v in values):
            values += control(inner, values, depth + 1)
        for _ in range(inner.randrange(1, 5)):
            values.append(step(inner, values))
        own = state[:-1] if cond else state
        new = [like(inner, values, s) for s in own]
        ys = [inner.choice(values) for _ in range(inner.randrange(3))]
        return [*new, ew.add(state[-1], 1.0)] if cond else new, ys

    first = [*start, ew.full(0.0, TensorType(F32, ()))] if cond else start
    last, ys, count = loop(
        turn, first, rows, consts, trips, (lambda s, *_: ew.lt(s[-1], limit)) if cond else None, backwards
    )
    made = [*last, *(reduce_sum(y, (0,)) for y in ys)]
    return [*made, ew.cast(count, F32)] if count is not None else made or [vector]


def control(r: random.Random, pool: list[Node], depth: int = 0) -> list[Node]:
    return a_branch(r, pool) if r.random() < 0.2 else a_loop(r, pool, depth)


def graph(seed: int) -> Graph:
    r = random.Random(seed)

    def net(a: Node, b: Node, m: Node) -> list[Node]:
        values = [a, b, m]
        for _ in range(2):
            values.append(step(r, values))
            values += control(r, values)
        return list(dict.fromkeys([values[-1], values[-2], *r.sample(values[3:], min(3, len(values) - 3))]))

    made = graph_of(net, a=VECTOR, b=VECTOR, m=MATRIX)
    gradients: list[Pass] = [[], [Autodiff(), MergeLoops()], [Autodiff()]][seed % 3]
    return Manager().run(gradients, made)


@pytest.mark.parametrize("seed", range(24))
def test_every_level_computes_the_same(seed: int) -> None:
    made = graph(seed)
    arrays = arrays_for(made, seed)
    want = evaluate(made, arrays, "f64").outputs
    passes = [p for p in tensor_passes() if seed % 4 or not p.optional]
    program = Manager().run(passes, made)
    module = Manager().run(loop_passes(host_target()), program)
    for level in (program, module):
        text = print_module(level)
        assert print_module(parse(text)) == text
    found = [
        run_program(program, arrays).outputs,
        run_program(program, arrays, "f64").outputs,
        run_loop_module(module, arrays).outputs,
    ]
    buffers = {name: empty(array.shape, array.dtype) for name, array in arrays.items()}
    for name, array in arrays.items():
        buffers[name][...] = array
    instance = emit(module, host_target()).bind(buffers)
    for _ in range(2):  # the second run begins where the first did
        instance.run()
        found.append({output.name: array.copy() for output, array in zip(program.outputs, instance.outputs)})
    for outputs in found:
        for name, array in want.items():
            assert_close(outputs[name], array, 2e-3)
