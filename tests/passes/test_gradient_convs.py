"""Protects the forms that gradients of convolutions take: same values for every stride, dilation, group and crop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program
from hypothesis import given
from hypothesis import strategies as st

from symc.ir.op import Node, input_node
from symc.ir.prims.linear import conv_dw, conv_dx, output_spatial
from symc.ir.prims.movement import slice_
from symc.ir.tensor.graph import topological
from symc.ir.tensor.interp import evaluate, evaluate_nodes
from symc.ir.types import F32, F64, TensorType
from symc.passes.manager.watching import Refused
from symc.passes.tensor.gradient_convs import MANY_PHASES, as_product, convolved, cropped

CASES = [
    (kernel, stride, dilate, groups, size)
    for kernel in ((1, 1), (2, 3), (3, 3), (4, 2), (5, 1))
    for stride in ((1, 1), (2, 2), (3, 1), (1, 2))
    for dilate, groups in (((1, 1), 1), ((2, 1), 2), ((1, 3), 1))
    for size in ((7, 8), (12, 9))
    if all((k - 1) * d < n for k, d, n in zip(kernel, dilate, size))
]


def agree(given: list[Node], *pairs: tuple[Node, Node | None]) -> None:
    rng = np.random.default_rng(0)
    arrays = {i: rng.standard_normal(i.shape) for i in given}
    found = evaluate_nodes([node for pair in pairs for node in pair if node is not None], arrays)
    for before, after in pairs:
        assert after is not None
        np.testing.assert_allclose(found[after], found[before], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("kernel", "stride", "dilate", "groups", "size"), CASES)
def test_values_stay(kernel, stride, dilate, groups, size) -> None:
    places = output_spatial(size, kernel, stride, dilate)
    outs, channels = 16 * groups, 32
    ct = input_node("ct", TensorType(F64, (2, outs, *places)))
    w = input_node("w", TensorType(F64, (outs, channels // groups, *kernel)))
    x = input_node("x", TensorType(F64, (2, channels, *size)))
    dx = conv_dx(ct, w, stride, dilate, groups, size)
    middle = slice_(dx, (0, 0, 1, 2), (2, channels, size[0], size[1] - 1))
    agree([ct, w], (dx, convolved(dx)), (middle, cropped(middle)))
    made = convolved(dx)
    assert made is not None and all(node.op.name != "conv_dx" for node in topological([made]))
    dw = conv_dw(x, ct, stride, dilate, groups, kernel)
    if groups == 1 and math.prod(places) <= 36:
        agree([x, ct], (dw, as_product(dw)))
    else:
        assert isinstance(as_product(dw), Refused)


@given(st.data())
def test_any_window_of_a_line(data: st.DataObject) -> None:
    """Windows at the ends too, where taps meet nothing, or positions no tap."""
    kernel, stride, dilate = (data.draw(st.integers(1, 4)) for _ in range(3))
    size = data.draw(st.integers((kernel - 1) * dilate + 1, (kernel - 1) * dilate + 7))
    begin = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(begin + 1, size))
    ct = input_node("ct", TensorType(F64, (1, 2, *output_spatial((size,), (kernel,), (stride,), (dilate,)))))
    w = input_node("w", TensorType(F64, (2, 3, kernel)))
    window = slice_(conv_dx(ct, w, (stride,), (dilate,), 1, (size,)), (0, 0, begin), (1, 3, end))
    if window.op.name == "slice":
        agree([ct, w], (window, cropped(window)))


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank: int) -> None:
    kernel, stride, dilate, size = (3,) * rank, (2,) * rank, (1,) * rank, (6, 7, 5)[:rank]
    places = output_spatial(size, kernel, stride, dilate)
    ct = input_node("ct", TensorType(F64, (2, 3, *places)))
    w = input_node("w", TensorType(F64, (3, 4, *kernel)))
    dx = conv_dx(ct, w, stride, dilate, 1, size)
    agree([ct, w], (dx, convolved(dx)))


def test_large_strides_and_nothing_stay() -> None:
    ct = input_node("ct", TensorType(F64, (1, 2, 3, 3)))
    w = input_node("w", TensorType(F64, (2, 2, 8, 8)))
    assert 4 * 4 > MANY_PHASES and convolved(conv_dx(ct, w, (4, 4), (1, 1), 1, (16, 16))) is None
    none = input_node("none", TensorType(F64, (0, 2, 3, 3)))
    assert convolved(conv_dx(none, w, (1, 1), (1, 1), 1, (10, 10))) is None


@pytest.mark.parametrize("stride", [1, 2])
def test_compiled(stride: int) -> None:
    """The whole way down, in single precision, crop included."""
    places = output_spatial((10, 10), (3, 3), (stride,) * 2, (1, 1))

    def gradients(ct: Node, w: Node, x: Node) -> Node:
        dx = conv_dx(ct, w, (stride,) * 2, (1, 1), 1, (10, 10))
        return slice_(dx, (0, 0, 1, 1), (2, 24, 9, 9))

    graph = graph_of(
        gradients, ct=TensorType(F32, (2, 32, *places)), w=TensorType(F32, (32, 24, 3, 3)), x=TensorType(F32, (1,))
    )
    arrays = arrays_for(graph)
    np.testing.assert_allclose(
        run_native(to_program(graph), arrays)["out0"], evaluate(graph, arrays).outputs["out0"], rtol=2e-5, atol=2e-5
    )
