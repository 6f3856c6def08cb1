"""Protects how far rounding may take a value: what honest kernels do is allowed, a whole unit more is not."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import graph_of

from symc.debug.bounds import rounding_bounds
from symc.ir.op import Node
from symc.ir.prims.elementwise import exp, floor, sqrt, tanh
from symc.ir.prims.reduce import cumsum
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


def test_a_running_sum_of_like_terms_is_rounded_to_one_side_at_each() -> None:
    graph = graph_of(lambda x: [cumsum(x, 0)], x=TensorType(F32, (2000,)))
    inputs = {"x": np.full(2000, -0.99999, np.float32)}
    (root,) = graph.output_nodes
    (truth,) = evaluate(graph, inputs, "f64").outputs.values()
    (made,) = evaluate(graph, inputs).outputs.values()
    error, allowed = np.abs(made - truth).max(), rounding_bounds(graph, inputs, {root: truth})[root].min()
    assert 20 * np.finfo(np.float32).eps * 2000 < error < allowed < 0.5
