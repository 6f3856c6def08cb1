"""Protects mx.operator's older ways to write operators, and what it says of them; mx.nd's functions beside them."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx


class Softmax(mx.operator.NumpyOp):
    """As in MXNet's examples: a loss on numpy's arrays."""

    def __init__(self):
        super().__init__(False)

    def list_arguments(self):
        return ["data", "label"]

    def infer_shape(self, in_shape):
        return [in_shape[0], (in_shape[0][0],)], [in_shape[0]]

    def forward(self, in_data, out_data):
        assert isinstance(in_data[0], np.ndarray)
        out_data[0][:] = np.exp(in_data[0] - in_data[0].max(axis=1, keepdims=True))
        out_data[0] /= out_data[0].sum(axis=1, keepdims=True)

    def backward(self, out_grad, in_data, out_data, in_grad):
        in_grad[0][:] = out_data[0]
        in_grad[0][np.arange(len(in_data[1])), in_data[1].astype(int)] -= 1


def test_an_operator_on_numpy_arrays():
    op = Softmax()
    net = op(data=mx.sym.Variable("data"), name="softmax")
    assert net.list_arguments() == ["data", "softmax_label"]
    x, label = mx.nd.array([[1, 2, 3], [3, 2, 1]]), mx.nd.array([0, 1])
    same = mx.sym.SoftmaxOutput(mx.sym.Variable("data"), name="softmax")
    found = []
    for symbol in (net, same, op.get_symbol(mx.sym.Variable("data"), mx.sym.Variable("softmax_label"))):
        exe = symbol.simple_bind(mx.cpu(), data=(2, 3))
        exe.forward(is_train=True, data=x, softmax_label=label)
        exe.backward()
        found.append([exe.outputs[0].asnumpy(), exe.grad_dict["data"].asnumpy()])
    for other in (found[1], found[2]):
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(found[0], other))


def test_an_operator_on_arrays():
    class Scaled(mx.operator.NDArrayOp):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, in_data, out_data):
            out_data[0][:] = in_data[0] * self.factor

        def backward(self, out_grad, in_data, out_data, in_grad):
            in_grad[0][:] = out_grad[0] * self.factor

    net = Scaled(3)(mx.sym.Variable("x")) + Scaled(5)(mx.sym.Variable("x2"))
    exe = net.simple_bind(mx.cpu(), x=(2,), x2=(2,))
    assert exe.forward(is_train=True, x=mx.nd.ones(2), x2=mx.nd.ones(2))[0].asnumpy().tolist() == [8, 8]
    exe.backward(mx.nd.array([1, 2]))
    assert [exe.grad_dict[n].asnumpy().tolist() for n in ("x", "x2")] == [[3, 6], [5, 10]]
    copied = mx.operator.NumpyOp()(mx.sym.Variable("x")).simple_bind(mx.cpu(), x=(2,))
    assert copied.forward(x=mx.nd.array([3, 4]))[0].asnumpy().tolist() == [3, 4]


def test_what_operators_take():
    assert "Convolution" in mx.operator.get_all_registered_operators()
    found = mx.operator.get_operator_arguments("Activation")
    assert (found.narg, found.names, found.types[0]) == (2, ["data", "act_type"], "NDArray-or-Symbol")
    with pytest.raises(mx.MXNetError, match="no operator 'nothing'"):
        mx.operator.get_operator_arguments("nothing")


def test_functions_beside_operators():
    x = mx.nd.arange(12).reshape((4, 3))
    assert [a.shape for a in mx.nd.split_v2(x, 2)] == [(2, 3), (2, 3)]
    assert [a.shape for a in x.split_v2((1, 3))] == [(1, 3), (2, 3), (1, 3)]
    assert [a.shape for a in mx.nd.split_v2(x, 3, axis=1, squeeze_axis=True)] == [(4,)] * 3
    counts, edges = mx.nd.histogram(x, 3)
    assert counts.asnumpy().tolist() == [4, 4, 4] and np.allclose(edges.asnumpy(), [0, 11 / 3, 22 / 3, 11])
    assert [a.asnumpy().tolist() for a in mx.nd.histogram(x, mx.nd.array([0, 2, 5]))] == [[2, 4], [0, 2, 5]]
    assert mx.nd.histogram(x, 3, (0, 6))[0].asnumpy().tolist() == [2, 2, 3]
    for wrong in (lambda: mx.nd.split_v2(x, None), lambda: mx.nd.histogram(x, "a")):
        with pytest.raises(ValueError, match="must|should"):
            wrong()
    assert mx.nd.from_dlpack(mx.nd.to_dlpack_for_read(x)).shape == (4, 3)
