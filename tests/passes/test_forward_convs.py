"""Protects the forms that convolutions take: same values for every stride and dilation, and only where they pay."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.op import Node, input_node
from symc.ir.prims import relu
from symc.ir.prims.linear import conv, conv_dw, output_spatial
from symc.ir.tensor.interp import evaluate, evaluate_nodes
from symc.ir.text import print_program
from symc.ir.types import F32, F64, TensorType
from symc.passes.manager.watching import Refused
from symc.passes.tensor.forward_convs import one_tap, patch_product


def node(name: str, *shape: int) -> Node:
    return input_node(name, TensorType(F64, shape))


def agree(before: Node, after: Node | None) -> None:
    assert after is not None and after.type == before.type
    rng = np.random.default_rng(0)
    arrays = {i: rng.standard_normal(i.shape) for i in before.inputs}
    found = evaluate_nodes([before, after], arrays)
    np.testing.assert_allclose(found[after], found[before], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("groups", [1, 4])
def test_kernels_of_one_tap_read_the_positions_that_are_used(stride, groups) -> None:
    x, w = node("x", 2, 8, 7, 6), node("w", 12, 8 // groups, 1, 1)
    made = conv(x, w, stride, (1, 1), groups)
    agree(made, one_tap(made))
    ct = node("ct", 2, 12, *output_spatial((7, 6), (1, 1), stride, (1, 1)))
    gradient = conv_dw(x, ct, stride, (1, 1), groups, (1, 1))
    agree(gradient, one_tap(gradient))


def reason(answer: object) -> str:
    """Why a rule does not apply."""
    assert isinstance(answer, Refused)
    return answer.reason


def test_other_kernels_stay() -> None:
    x = node("x", 2, 8, 7, 6)
    assert "no stride" in reason(one_tap(conv(x, node("w", 4, 8, 1, 1), (1, 1), (1, 1), 1)))
    assert "2 taps, not one" in reason(one_tap(conv(x, node("w", 4, 8, 1, 2), (2, 2), (1, 1), 1)))


@pytest.mark.parametrize(
    ("kernel", "size", "stride", "dilate"),
    [
        ((3, 3), (4, 4), (1, 1), (1, 1)),
        ((3, 2), (6, 5), (2, 1), (2, 3)),
        ((2,), (4,), (1,), (1,)),
        ((2, 3, 2), (4, 4, 3), (2, 1, 1), (1, 1, 2)),
    ],
)
def test_few_positions_are_a_product(kernel, size, stride, dilate) -> None:
    x, w = node("x", 2, 5, *size), node("w", 6, 5, *kernel)
    made = conv(x, w, stride, dilate, 1)
    agree(made, patch_product(made))


def test_one_tap_is_a_product_as_it_is() -> None:
    assert "one tap" in reason(
        patch_product(conv(node("x", 3, 2000, 4, 3), node("w", 5, 2000, 1, 1), (1, 1), (1, 1), 1))
    )


def test_many_positions_groups_and_computed_weights_stay() -> None:
    x, w = node("x", 2, 4, 4, 4), node("w", 6, 4, 3, 3)
    assert "positions, no fewer than" in reason(patch_product(conv(node("y", 2, 4, 5, 5), w, (1, 1), (1, 1), 1)))
    assert "2 groups" in reason(patch_product(conv(x, node("v", 6, 2, 3, 3), (1, 1), (1, 1), 2)))
    assert "weights are computed" in reason(patch_product(conv(x, relu(w), (1, 1), (1, 1), 1)))


@pytest.mark.parametrize(("images", "channels", "size", "kernel", "stride"), [(2, 24, 4, 3, 1), (1, 40, 9, 1, 2)])
def test_the_compiled_answers_are_right(images, channels, size, kernel, stride) -> None:
    def net(x, w):
        return relu(conv(x, w, (stride, stride), (1, 1), 1))

    shapes = (images, channels, size, size), (48, channels, kernel, kernel)
    graph = graph_of(net, x=TensorType(F32, shapes[0]), w=TensorType(F32, shapes[1]))
    program, arrays = to_program(graph), arrays_for(graph)
    assert ("dot" in print_program(program)) == (kernel == 3)
    want = evaluate(graph, arrays, "f64").outputs["out0"]
    np.testing.assert_allclose(run_native(program, arrays)["out0"], want, atol=1e-4)
