"""Protects inline: operators with their own gradient become their bodies, nested ones and tuples too."""

from __future__ import annotations

import numpy as np

from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import DerivedOrigin, SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import CustomGrad, custom_grad
from symc.ir.tensor.graph import Graph, finish
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Manager
from symc.passes.manager.rewrite import Rewriter
from symc.passes.tensor.inline import Inline

x = input_node("x", TensorType(F32, (4,)))
VALUES = {"x": np.array([-1.5, 0.0, 2.0, 3.0], np.float32)}


def straight_through(node: Node) -> Node:
    """round(x) whose gradient is that of x."""
    made = custom_grad([node], ew.round_, lambda ins, outs, cts: [cts[0]])
    assert isinstance(made, Node)
    return made


def graph_of(*roots: Node) -> Graph:
    origin = SymOrigin("net", "Custom")
    outputs = [(f"out{i}", r) for i, r in enumerate(roots)]
    nodes = finish("g", [x], outputs).nodes()
    return finish("g", [x], outputs, origins=dict.fromkeys(nodes, origin))


def inlined(*roots: Node) -> Graph:
    before = graph_of(*roots)
    after = Manager().step(Inline(), before)
    assert not any(isinstance(n.op, CustomGrad) for n in after.nodes())
    old, new = evaluate(before, VALUES).outputs, evaluate(after, VALUES).outputs
    for name in old:
        np.testing.assert_array_equal(new[name], old[name])
    return after


def test_one_result() -> None:
    root = ew.add(straight_through(x), x)
    assert inlined(root).outputs[0].node is ew.add(ew.round_(x), x)


def test_several_results() -> None:
    pair = custom_grad([x], lambda a: [ew.exp(a), ew.neg(a)], lambda ins, outs, cts: [cts[0]])
    assert isinstance(pair, list)
    assert inlined(ew.add(pair[0], pair[1])).outputs[0].node is ew.add(ew.exp(x), ew.neg(x))
    assert inlined(pair[1]).outputs[0].node is ew.neg(x)


def test_nested_and_chained() -> None:
    outer = custom_grad([x], lambda a: ew.exp(straight_through(a)), lambda ins, outs, cts: [cts[0]])
    assert isinstance(outer, Node)
    assert inlined(straight_through(outer)).outputs[0].node is ew.round_(ew.exp(ew.round_(x)))


def test_a_body_that_is_its_operand() -> None:
    same = custom_grad([x], lambda a: a, lambda ins, outs, cts: [ew.neg(cts[0])])
    assert isinstance(same, Node)
    assert inlined(ew.exp(same)).outputs[0].node is ew.exp(x)


def test_origins_lead_back_to_the_symbol() -> None:
    after = inlined(ew.neg(straight_through(x)))
    origin = after.origins[ew.round_(x)]
    assert isinstance(origin, DerivedOrigin) and origin.pass_name == "inline"
    assert [s.name for s in (p for p in origin.parents if isinstance(p, SymOrigin))] == ["net"]


def test_nothing_to_do() -> None:
    graph = graph_of(ew.exp(x))
    assert Inline().run(graph, Rewriter("inline")) is graph


def test_many_at_once_are_not_visited_one_by_one() -> None:
    node = x
    with Recorder():
        for _ in range(300):
            node = straight_through(node)
    assert len(inlined(node).nodes()) == 301
