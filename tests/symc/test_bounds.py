"""Protects how far rounding may take a value: what honest kernels do is allowed, a whole unit more is not."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import graph_of

from symc.debug.bounds import rounding_bounds
from symc.ir.op import Node
from symc.ir.prims.control import custom_grad, host_call
from symc.ir.prims.elementwise import exp, floor, sqrt, tanh
from symc.ir.prims.reduce import cumsum, reduce_sum
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, TensorType


def slope(x: Node) -> list[Node]:
    y = tanh(x)
    return [1.0 - y * y]


def bound(function, value: float) -> float:  # type: ignore[no-untyped-def]
    graph = graph_of(function, x=TensorType(F64, (1,)))
    inputs = {"x": np.array([value])}
    (root,) = graph.output_nodes
    (found,) = evaluate(graph, inputs).outputs.values()
    return float(rounding_bounds(graph, inputs, {root: found})[root][0])


@pytest.mark.parametrize("value", [-19.05184, 19.0619, 18.9])
def test_functions_near_their_limits_may_be_a_unit_off(value: float) -> None:
    """tanh there is 1 or the number before it: its slope is 0 or 2e-16."""
    assert 2.2e-16 < bound(slope, value) < 1e-13


@pytest.mark.parametrize("value", [0.0, 4.0])
def test_whole_results_of_whole_numbers_are_exact(value: float) -> None:
    assert bound(lambda x: [floor(sqrt(x))], value) < 1e-13
    assert bound(lambda x: [floor(exp(x * 0.0))], value) < 1e-13


@pytest.mark.parametrize("taken", ["cumsum", "sum in order"])
def test_sums_of_like_terms_in_order_are_rounded_to_one_side_at_each(taken: str) -> None:
    terms = np.full(4000, -0.99999, np.float32)
    summed = cumsum if taken == "cumsum" else lambda x, axis: reduce_sum(x, [axis])
    graph = graph_of(lambda x: [summed(x, 0)], x=TensorType(F32, terms.shape))
    (root,) = graph.output_nodes
    (truth,) = evaluate(graph, {"x": terms}, "f64").outputs.values()
    error = np.abs(np.cumsum(terms)[-1] - np.atleast_1d(truth)[-1])
    allowed = rounding_bounds(graph, {"x": terms}, {root: truth}, serial=taken != "cumsum")[root].min()
    assert 20 * np.finfo(np.float32).eps * 4000 < error < allowed < 4
    if taken != "cumsum":  # in short parts it would be near
        assert rounding_bounds(graph, {"x": terms}, {root: truth})[root].min() < error


def test_vectors_of_a_matrix_may_lie_the_other_way_round() -> None:
    """Of two elements that are as large one says which way: rounding decides."""
    a = np.array([[-4, 4, 4], [4, -1, 4], [4, 4, -4]], np.float32)
    types = [TensorType(F32, (3, 3)), TensorType(F32, (3,))]
    graph = graph_of(lambda a: host_call("linalg.eigh", [a], types), a=types[0])
    vectors, values = graph.output_nodes
    truth = dict(zip((vectors, values), evaluate(graph, {"a": a}, "f64").outputs.values()))
    bounds = rounding_bounds(graph, {"a": a}, truth, 40)
    assert bounds[vectors].max() > 1.4 and bounds[values].max() < 1e-3


@pytest.mark.parametrize("inside", [False, True])
def test_a_matrix_that_has_no_full_rank_settles_nothing(inside: bool) -> None:
    """What its factors are is decided by rounding; in the body of an operator with a rule of its own, too."""
    types = [TensorType(F32, (2, 3)), TensorType(F32, (2, 2))]

    def factor(x: Node) -> Node:
        return host_call("linalg.lq", [x], types)[0]

    def graph(x: Node) -> list[Node]:
        made = custom_grad([x], factor, lambda ins, outs, cts: [ins[0]]) if inside else factor(x)
        assert isinstance(made, Node)
        return [made * 2.0]

    traced = graph_of(graph, x=types[0])
    for matrix, settled in (([[1, 1, 1], [2, 2, 2]], False), ([[1, 1, 1], [2, 2, 1]], True)):
        inputs = {"x": np.array(matrix, np.float32)}
        (root,) = traced.output_nodes
        (truth,) = evaluate(traced, inputs, "f64").outputs.values()
        assert np.isfinite(rounding_bounds(traced, inputs, {root: truth})[root]).all() == settled
