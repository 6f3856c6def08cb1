"""fuse: which values share a kernel; protects kernels from falling apart, and memory from results made too early."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.prims import (
    add,
    broadcast,
    const,
    conv,
    dot,
    exp,
    mul,
    reduce_sum,
    relu,
    reverse,
    sigmoid,
    slice_,
    sub,
    tanh,
    transpose,
)
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType

X = TensorType(F32, (16, 32))
W = TensorType(F32, (32, 32))


def kernels(function, **types):
    """The operations of every kernel, each once, in the order they run; the program's answers are checked."""
    graph = graph_of(function, **types)
    program = to_program(graph)
    arrays = arrays_for(graph)
    native = run_native(program, arrays)
    for name, value in evaluate(graph, arrays, "f64").outputs.items():
        np.testing.assert_allclose(native[name], value, atol=1e-4)
    steps = [step for step in program.steps if isinstance(step, KernelStep)]
    return [sorted({n.op.name for n in s.body.nodes() if n.inputs}) for s in steps]


def test_a_contraction_takes_in_what_follows() -> None:
    assert kernels(lambda x, w: relu(dot(x, w)), x=X, w=W) == [["dot", "relu"]]


def test_weights_turned_round_are_read_where_they_lie() -> None:
    """As the gradient of a convolution needs them: a copy of them would cost as much as the product."""

    def net(x, w):
        turned = reverse(transpose(w, (1, 0, 2, 3)), (2, 3))
        return conv(x, turned, (1, 1), (1, 1), 1)

    found = kernels(net, x=TensorType(F32, (2, 16, 9, 9)), w=TensorType(F32, (16, 24, 3, 3)))
    assert len(found) == 1 and "conv" in found[0]


def test_rows_and_values_of_one_space_are_one_kernel() -> None:
    def softmax(x):
        top = exp(x)
        return top / broadcast(reduce_sum(top, (1,)), top.shape, (0,))

    assert len(kernels(softmax, x=X)) == 1


def test_values_of_one_computed_value_are_one_kernel() -> None:
    """The gates of a recurrent cell, which are all wanted later, and the state they make."""

    def cell(x, w, c):
        y = dot(x, w)
        i, f, u = (slice_(y, (0, 8 * k), (16, 8 * k + 8)) for k in range(3))
        i, f, u = sigmoid(i), sigmoid(f), tanh(u)
        return [add(mul(f, c), mul(i, u)), i, f, u]

    found = kernels(cell, x=X, w=W, c=TensorType(F32, (16, 8)))
    assert found == [["dot"], ["add", "mul", "sigmoid", "slice", "tanh"]]


def test_values_of_a_parameter_are_made_where_they_are_read() -> None:
    """A parameter's memory is never freed, so that computing from it early would only keep results alive."""
    found = kernels(lambda x, w: dot(tanh(x), w) + dot(dot(sigmoid(x), w), w), x=X, w=W)
    assert ["tanh"] in found and ["sigmoid"] in found


def test_a_value_does_not_wait_for_another() -> None:
    """The difference reads of y what tanh reads, but also a product, which tanh would have to wait for."""

    def net(x, w):
        y = slice_(dot(x, w), (0, 0), (16, 16))
        late = slice_(dot(dot(x, w + 1.0), w), (0, 0), (16, 16))
        return [tanh(y), sub(late, y)]

    assert ["slice", "tanh"] in kernels(net, x=X, w=W)


def test_a_result_may_be_a_constant_number() -> None:
    """As the gradient of a scalar that nothing depends on."""
    assert kernels(lambda x: [tanh(x), const(2.5, F32)], x=X) == [["tanh"], []]


@pytest.mark.parametrize("rows", [True, False])
def test_values_of_other_shapes_stay_apart(rows: bool) -> None:
    def net(x, w):
        y = dot(x, w)
        part = slice_(y, (0, 0), (8, 32)) if rows else slice_(y, (0, 0), (16, 16))
        return [tanh(y), sigmoid(part), tanh(part)]

    assert ["sigmoid", "slice", "tanh"] in kernels(net, x=X, w=W)
