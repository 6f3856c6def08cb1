"""Protects the tensor level's interpreter: results by name, precisions, errors, and that values are let go."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from symc.ir import prims as p
from symc.ir.errors import IRError
from symc.ir.op import Node, Primitive, input_node
from symc.ir.tensor.graph import Graph, Update, finish
from symc.ir.tensor.interp import evaluate, evaluate_nodes, values_of
from symc.ir.types import F16, F32, F64, Array, TensorType


def small() -> Graph:
    x, s = input_node("x", TensorType(F32, (2, 3))), input_node("s", TensorType(F32, (3,)), "aux")
    y = p.exp(x)
    total = p.reduce_sum(y, (0,))
    return finish("small", [x, s], [("y", y), ("total", total), ("again", y)], [Update("s", s + total)])


DATA = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) / 7, "s": np.ones(3, np.float32)}


def test_outputs_and_updates_by_name() -> None:
    made = evaluate(small(), DATA)
    np.testing.assert_allclose(made.outputs["y"], np.exp(DATA["x"]), rtol=1e-6)
    np.testing.assert_array_equal(made.outputs["again"], made.outputs["y"])
    np.testing.assert_allclose(made.updates["s"], 1 + np.exp(DATA["x"]).sum(0), rtol=1e-6)
    assert all(a.dtype == np.float32 for a in (*made.outputs.values(), *made.updates.values()))


def test_full_precision_is_the_truth() -> None:
    made = evaluate(small(), DATA, "f64")
    exact = np.exp(DATA["x"].astype(np.float64))
    assert made.outputs["y"].dtype == np.float64
    np.testing.assert_array_equal(made.outputs["y"], exact)
    np.testing.assert_array_equal(made.updates["s"], 1 + exact.sum(0))


def test_full_precision_reaches_traced_graphs() -> None:
    """A half-precision body, loop and branch are computed in doubles too, whatever the type of their first result."""
    x = input_node("x", TensorType(F16, (4,)))
    custom = p.custom_grad([x], lambda a: [p.gt(a, 0.0), a * a], lambda ins, outs, cts: [cts[1]])
    assert isinstance(custom, list)
    carries, ys, _ = p.loop(lambda c, r, k: ([p.exp(c[0])], [c[0] / 3.0]), [x], trips=2)
    side = p.branch(p.gt(p.reduce_sum(x, (0,)), 0.0), lambda a: [p.log(a)], lambda a: [a], [x])
    data = np.array([0.1, 0.2, 0.3, 0.4])
    roots = [custom[1], carries[0], ys[0], side[0]]
    found = evaluate_nodes(roots, {x: data}, "f64")
    third = np.stack([data, np.exp(data)]) / np.float16(3)
    for node, expected in zip(roots, (data * data, np.exp(np.exp(data)), third, np.log(data))):
        np.testing.assert_allclose(found[node], expected, rtol=1e-15)
    assert evaluate_nodes(roots, {x: data})[carries[0]].dtype == np.float16


def test_inputs_are_taken_in_the_declared_type() -> None:
    x = input_node("x", TensorType(F32, (1,)))
    assert evaluate_nodes([x], {x: np.array([0.1])})[x].dtype == np.float32


def test_values_of_any_nodes() -> None:
    graph = small()
    found = values_of(graph, DATA, graph.nodes())
    assert set(found) == set(graph.nodes())


def test_nodes_may_be_given_instead_of_computed() -> None:
    x = input_node("x", TensorType(F64, ()))
    y = p.exp(x)
    assert evaluate_nodes([y * 2.0], {y: np.asarray(3.0)}).popitem()[1] == 6


def test_errors_say_what_is_missing() -> None:
    with pytest.raises(IRError, match="no value given for input 's'"):
        evaluate(small(), {"x": DATA["x"]})
    with pytest.raises(IRError, match=r"'x'.*\(2, 3\).*\(3, 2\)"):
        evaluate(small(), {**DATA, "x": DATA["x"].T})


def test_values_are_freed_when_nobody_needs_them() -> None:
    alive: list[weakref.ref[Array]] = []
    most = 0

    class Watched(Primitive):
        name = "watched"

        def type(self, ins: Sequence[TensorType]) -> TensorType:
            return ins[0]

        def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
            nonlocal most
            made: Array = args[0] + 1
            alive.append(weakref.ref(made))
            most = max(most, sum(r() is not None for r in alive))
            return made

    x = input_node("x", TensorType(F64, (4,)))
    y, op = x, Watched()
    for _ in range(50):
        y = Node.make(op, [y])
    assert evaluate_nodes([y], {x: np.zeros(4)})[y][0] == 50
    assert most <= 3
