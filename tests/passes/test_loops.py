"""Protects the passes that make loops and branches smaller: merge_loops and prune. What is left computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of

from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import Branch, Loop, branch, loop
from symc.ir.prims.tuples import Get
from symc.ir.syntax.printing import graphs_of
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.merge_loops import MergeLoops
from symc.passes.tensor.prune import Prune


def t(*shape: int) -> TensorType:
    return TensorType(F32, shape)


def loops_in(graph: Graph) -> list[Loop]:
    return [n.op for part in graphs_of(graph) for n in part.nodes() if isinstance(n.op, Loop)]


def same(before: Graph, after: Graph) -> None:
    """Bit for bit."""
    arrays = arrays_for(before)
    want, got = evaluate(before, arrays).outputs, evaluate(after, arrays).outputs
    assert list(want) == list(got)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


def recurrence(x, h):
    last, ys, _ = loop(lambda c, r, _: ([ew.tanh(ew.add(c[0], r[0]))], [ew.mul(c[0], r[0])]), [h], [x])
    return [*last, *ys]


def with_condition(x, h):
    last, ys, count = loop(
        lambda c, r, _: ([ew.mul(ew.sin(c[0]), r[0]), ew.add(c[1], 1.0)], [ew.exp(c[0])]),
        [h, ew.full(0.0, t())],
        [x],
        cond=lambda c, *_: ew.lt(c[1], 2.5),
    )
    return [*last, *ys, count]


def nested(x, h):
    def turn(c, r, _):
        last, ys, _ = loop(lambda c, r, _: ([ew.sin(ew.mul(c[0], r[0]))], [c[0]]), [c[0]], [ew.exp(r[0])])
        return last, ys

    rows = ew.mul(x, 0.5)
    last, ys, _ = loop(turn, [h], [rows], backwards=True)
    return [*last, *ys]


@pytest.mark.parametrize(("net", "shape", "before", "after"), [
    (recurrence, (4, 3), 3, 2), (with_condition, (4, 3), 3, 2), (nested, (4, 2, 3), 7, 5),
])  # fmt: skip
def test_a_gradient_takes_no_turn_again(net, shape, before, after) -> None:
    graph = Manager().run([Autodiff()], graph_of(net, x=t(*shape), h=t(3)))
    merged = Manager().run([MergeLoops()], graph)
    assert len(loops_in(graph)) == before and len(loops_in(merged)) == after
    same(graph, merged)
    same(graph, Manager().run([Inline(), Prune()], merged))


def test_loops_that_differ_stay_apart() -> None:
    def net(x, y, h):
        one, *_ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], []), [h], [x])
        two, *_ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], []), [h], [y])
        three, *_ = loop(lambda c, r, _: ([ew.mul(c[0], r[0])], []), [h], [x])
        four, *_ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], []), [h], [x], backwards=True)
        return [*one, *two, *three, *four]

    graph = graph_of(net, x=t(4, 3), y=t(4, 3), h=t(3))
    assert Manager().run([MergeLoops()], graph) is graph


def test_what_nobody_reads_of_a_loop_is_not_computed() -> None:
    def net(x, y, h, w, v):
        def turn(c, r, k):
            # the second state is for the third, which nobody reads; the last stack needs y and v
            states = [ew.add(c[0], r[0]), ew.mul(c[1], k[0]), ew.add(c[1], c[2])]
            return states, [ew.mul(c[0], 2.0), ew.add(r[1], k[1])]

        last, ys, _ = loop(turn, [h, h, h], [x, y], [w, v])
        return [last[0], ys[0]]

    graph = graph_of(net, x=t(4, 3), y=t(4, 3), h=t(3), w=t(3), v=t(3))
    pruned = Manager().run([Prune()], graph)
    (op,) = loops_in(pruned)
    assert (op.carries, op.xs, len(op.body.inputs), len(op.body.outputs)) == (1, 1, 2, 2)
    same(graph, pruned)
    assert Manager().run([Prune()], pruned) is pruned


def test_a_state_that_the_condition_or_another_state_reads_stays() -> None:
    def net(h):
        def turn(c, _, __):
            return [ew.add(c[0], c[1]), ew.mul(c[1], 1.5), ew.add(c[2], 1.0), ew.sin(c[3])], [ew.exp(c[0])]

        last, _, count = loop(turn, [h, h, ew.full(0.0, t()), h], trips=5, cond=lambda c, *_: ew.lt(c[2], 3.0))
        return [last[0], count]

    graph = graph_of(net, h=t(3))
    pruned = Manager().run([Prune()], graph)
    (op,) = loops_in(pruned)
    assert op.carries == 3 and len(op.body.outputs) == 3
    same(graph, pruned)


def test_a_branch_keeps_what_is_taken_of_it() -> None:
    def net(p, a, b, c):
        made = branch(
            ew.gt(p, 0.0),
            lambda a, b, c: [ew.add(a, c), ew.exp(b)],
            lambda a, b, c: [ew.neg(a), ew.mul(b, c)],
            [a, b, c],
        )
        return [made[0]]

    graph = graph_of(net, p=t(), a=t(3), b=t(3), c=t(3))
    pruned = Manager().run([Prune()], graph)
    (op,) = [n.op for n in pruned.nodes() if isinstance(n.op, Branch)]
    assert len(op.then.inputs) == 2 and len(op.then.outputs) == 1
    same(graph, pruned)


def test_bodies_are_pruned_for_what_is_left_of_the_loop_around() -> None:
    def net(x, h):
        def turn(c, r, _):
            last, ys, _ = loop(lambda c, r, _: ([ew.add(c[0], r[0])], [ew.exp(c[0])]), [c[0]], [r[0]])
            return last, ys

        return loop(turn, [h], [x])[0]

    graph = graph_of(net, x=t(2, 4, 3), h=t(3))
    pruned = Manager().run([Prune()], graph)
    assert [len(op.body.outputs) for op in loops_in(pruned)] == [1, 1]
    same(graph, pruned)


def test_vetoed_actions_leave_the_loops() -> None:
    class Veto(Instrument):
        def action(self, pass_name: str, number: int, rule: str) -> bool:
            return False

    graph = Manager().run([Autodiff(), Inline()], graph_of(recurrence, x=t(4, 3), h=t(3)))
    assert Manager([Veto()]).run([MergeLoops(), Prune()], graph) == graph
    assert any(isinstance(n.op, Get) for n in graph.nodes())
