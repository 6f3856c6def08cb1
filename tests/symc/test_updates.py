"""States and arguments that operators change while others read them: protects the order in which that happens. Answers
are MXNet 1.9.1's but where the text says so."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

X = np.arange(8, dtype=np.float32).reshape(4, 2) * np.array([1, 2], np.float32)


def trained(net, steps: int = 1, **shapes):
    """An executor after training steps; arrays of the data's shape hold X, others 5, states 2."""
    exe = net.simple_bind(mx.cpu(), **shapes)
    for array in exe.arg_arrays:
        array[:] = X if array.shape == X.shape else 5
    for array in exe.aux_arrays:
        array[:] = 2
    for _ in range(steps):
        exe.forward(is_train=True)
        exe.backward([mx.nd.array(np.arange(np.prod(o.shape)).reshape(o.shape) + 1) for o in exe.outputs])
    return exe


def fixed(data, gamma, name: str):
    return mx.sym.BatchNorm(data, gamma, name=name, fix_gamma=True)


def test_who_reads_gamma_after_it_was_fixed_reads_one() -> None:
    gamma, x = mx.sym.Variable("g"), mx.sym.Variable("x")
    exe = trained(mx.sym.broadcast_mul(fixed(x, gamma, "bn"), gamma), x=X.shape, g=(2,))
    np.testing.assert_allclose(exe.outputs[0].asnumpy()[:, 0], [3.658, 4.553, 5.447, 6.342], atol=2e-3)
    np.testing.assert_allclose(exe.grad_dict["g"].asnumpy(), [88.943, 108.944], rtol=1e-4)
    np.testing.assert_allclose(exe.grad_dict["bn_beta"].asnumpy(), [16, 20], rtol=1e-5)
    assert exe.arg_dict["g"].asnumpy().tolist() == [1, 1]


@pytest.mark.parametrize("train", [True, False])
def test_in_prediction_as_in_training(train: bool) -> None:
    gamma, x = mx.sym.Variable("g"), mx.sym.Variable("x")
    net = mx.sym.Group([fixed(x, gamma, "bn"), mx.sym.broadcast_mul(x, gamma), gamma])
    exe = net.simple_bind(mx.cpu(), x=X.shape, g=(2,))
    exe.arg_dict["x"][:], exe.arg_dict["g"][:] = X, 5
    _, product, shown = exe.forward(is_train=train)
    assert shown.asnumpy().tolist() == [1, 1]
    np.testing.assert_array_equal(product.asnumpy(), X)


def test_who_reads_gamma_before_reads_it_in_both_halves() -> None:
    """MXNet's gradient takes what is in the array by then, 1, and contradicts its forward half, which took 5."""
    gamma, x = mx.sym.Variable("g"), mx.sym.Variable("x")
    net = mx.sym.Group([mx.sym.broadcast_mul(x, gamma), fixed(x, gamma, "bn")])
    exe = trained(net, x=X.shape, g=(2,))
    heads = np.arange(8).reshape(4, 2) + 1
    np.testing.assert_array_equal(exe.outputs[0].asnumpy(), 5 * X)
    np.testing.assert_allclose(exe.grad_dict["x"].asnumpy(), 5 * heads, atol=1e-3)
    np.testing.assert_allclose(exe.grad_dict["g"].asnumpy(), (heads * X).sum(0), rtol=1e-5)
    exe.forward(is_train=True)
    np.testing.assert_array_equal(exe.outputs[0].asnumpy(), X)


def test_states_that_two_layers_share_are_moved_by_both() -> None:
    """A net that looks at two pictures with one tower. The backward half comes to the second layer first."""
    mean, x = mx.sym.Variable("m"), mx.sym.Variable("x")
    layer = dict(moving_mean=mean, fix_gamma=False, momentum=0.5)
    first = mx.sym.BatchNorm(x, name="b1", **layer)
    exe = trained(mx.sym.BatchNorm(first * 3, name="b2", **layer), 2, x=X.shape)
    np.testing.assert_allclose(exe.aux_dict["m"].asnumpy(), [6.688, 9.812], atol=1e-3)


class Adding(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        aux[0][:] = aux[0] + 1
        self.assign(out_data[0], req[0], in_data[0] * aux[0])

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_grad[0] * aux[0])


@mx.operator.register("adding_one")
class AddingProp(mx.operator.CustomOpProp):
    def list_auxiliary_states(self):
        return ["count"]

    def infer_shape(self, in_shape):
        return in_shape, in_shape, [(1,)]

    def create_operator(self, ctx, shapes, dtypes):
        return Adding()


def test_one_operator_reads_what_the_one_before_made_of_their_state() -> None:
    count, x = mx.sym.Variable("c"), mx.sym.Variable("x")
    y = mx.sym.Custom(x, count, op_type="adding_one", name="a")
    exe = mx.sym.Custom(y, count, op_type="adding_one", name="b").simple_bind(mx.cpu(), x=(2,))
    exe.aux_dict["c"][:], exe.arg_dict["x"][:] = 1, 1
    assert exe.forward(is_train=True)[0].asnumpy().tolist() == [6, 6]
    assert exe.aux_dict["c"].asnumpy().tolist() == [3]
    assert exe.forward(is_train=False)[0].asnumpy().tolist() == [20, 20]


@pytest.mark.parametrize("req", ["null", "write", "add"])
def test_moving_averages_move_in_the_backward_half(req: str) -> None:
    net = mx.sym.BatchNorm(mx.sym.Variable("x"), name="bn", fix_gamma=False, momentum=0.5)
    exe = net.simple_bind(mx.cpu(), x=X.shape, grad_req=req)
    exe.arg_dict["x"][:] = X
    exe.forward(is_train=True)
    assert exe.aux_dict["bn_moving_mean"].asnumpy().tolist() == [0, 0]
    if req != "null":
        exe.backward(mx.nd.ones(X.shape))
        assert exe.aux_dict["bn_moving_mean"].asnumpy().tolist() == [1.5, 4]
