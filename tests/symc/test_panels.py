"""Protects contractions whose operand is packed into panels, and the transposed loads and stores of their tiles:
native code against numpy for sizes with and without rests."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.bench.cases import CASES
from symc.bench.description import compiled
from symc.ir.loop.nodes import Alloc, walk


def _run(symbol, **arrays):
    exe = symbol.bind(mx.cpu(), {name: mx.nd.array(a) for name, a in arrays.items()})
    exe.forward()
    return exe.outputs[0].asnumpy()


@pytest.mark.parametrize("rows, inner, columns", [(64, 100, 48), (33, 131, 37), (50, 64, 16)])
def test_dense_layer(rows, inner, columns):
    rs = np.random.RandomState(0)
    x, w = rs.randint(-4, 5, (rows, inner)).astype("f"), rs.randint(-4, 5, (columns, inner)).astype("f")
    net = mx.sym.FullyConnected(mx.sym.Variable("x"), mx.sym.Variable("w"), num_hidden=columns, no_bias=True)
    np.testing.assert_array_equal(_run(net, x=x, w=w), x @ w.T)


@pytest.mark.parametrize("kernel, stride, size", [(3, 1, 11), (3, 2, 11), (1, 2, 13), (1, 1, 7)])
@pytest.mark.parametrize("filters", [16, 43])
def test_convolution_with_residual(kernel, stride, size, filters):
    rs = np.random.RandomState(1)
    x = rs.randint(-3, 4, (2, 64, size, size)).astype("f")
    w = rs.randint(-3, 4, (filters, 64, kernel, kernel)).astype("f")
    places = (size - kernel) // stride + 1
    wanted = np.zeros((2, filters, places, places), "f")
    for i in range(kernel):
        for j in range(kernel):
            part = x[:, :, i : i + places * stride : stride, j : j + places * stride : stride]
            wanted += np.einsum("nchw,oc->nohw", part, w[:, :, i, j])
    residual = rs.randint(-3, 4, wanted.shape).astype("f")
    made = mx.sym.Convolution(
        mx.sym.Variable("x"), mx.sym.Variable("w"), kernel=(kernel,) * 2, stride=(stride,) * 2, num_filter=filters,
        no_bias=True,
    )  # fmt: skip
    net = mx.sym.Activation(made + mx.sym.Variable("r"), act_type="relu")
    np.testing.assert_array_equal(_run(net, x=x, w=w, r=residual), np.maximum(wanted + residual, 0))


def test_weights_are_packed():
    found = [
        stmt.buffer.name
        for kernel in compiled(CASES["predict/resnet18-b1"]).loops.kernels
        for stmt in walk(kernel.body)
        if isinstance(stmt, Alloc)
    ]
    assert any(name.startswith("panel") for name in found)
