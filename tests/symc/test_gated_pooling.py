"""Gradients of max pooling whose windows leave gaps, behind a gated convolution, against differences. Protects kernels
that write over an operand: the gate dies in the gradient's kernel, which stores where the gate lies."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.ir.program.nodes import KernelStep

CASES = [
    ((4, 4), (2, 2), (3, 3)), ((5, 5), (2, 2), (3, 3)), ((8, 8), (2, 2), (3, 3)), ((9, 4), (1, 2), (2, 2)),
    ((7, 6), (2, 2), (2, 3)), ((6, 11), (2, 1), (2, 4)), ((7,), (2,), (3,)), ((4, 5, 4), (2, 1, 2), (3, 2, 2)),
]  # fmt: skip
STEP = 1e-5


def bound(spatial: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]):
    data, gate = mx.sym.Variable("data"), mx.sym.Variable("gate")
    y = mx.sym.Convolution(data, kernel=(1,) * len(spatial), num_filter=3, name="conv")
    y = y * mx.sym.sigmoid(mx.sym.tanh(gate))
    y = mx.sym.Pooling(y, kernel=kernel, stride=stride, pool_type="max")
    shapes = {"data": (2, 2, *spatial), "gate": (2, 3, *spatial)}
    grads = {"data": "null", "gate": "null", "conv_weight": "write", "conv_bias": "write"}
    exe = y.simple_bind(mx.cpu(), grad_req=grads, type_dict=dict.fromkeys(shapes, "float64"), **shapes)
    rng = np.random.default_rng(0)
    for array in exe.arg_dict.values():
        array[:] = rng.standard_normal(array.shape)
    return exe


@pytest.mark.parametrize("spatial, kernel, stride", CASES)
def test_gradients_are_differences(spatial: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
    exe = bound(spatial, kernel, stride)
    exe.forward(is_train=True)
    exe.backward(mx.nd.ones(exe.outputs[0].shape, dtype="float64"))
    for name in ("conv_weight", "conv_bias"):
        given, found = exe.arg_dict[name], exe.grad_dict[name].asnumpy()
        assert found.dtype == np.float64
        start = given.asnumpy()
        for at in np.ndindex(*start.shape):
            ends = []
            for side in (STEP, -STEP):
                moved = start.copy()
                moved[at] += side
                given[:] = moved
                ends.append(exe.forward(is_train=True)[0].asnumpy().sum())
            given[:] = start
            assert found[at] == pytest.approx((ends[0] - ends[1]) / (2 * STEP), abs=1e-6), (name, at)


def test_the_gate_is_overwritten() -> None:
    """The case is the one that is meant: else these tests protect nothing."""
    exe = bound((5, 5), (2, 2), (3, 3))
    exe.forward(is_train=True)
    program = exe._instances[True].executable.program
    steps = [step for step in program.steps if isinstance(step, KernelStep) and "window_max_grad" in step.label]
    assert [bool(result.inplace) for step in steps for result in step.results] == [True]
