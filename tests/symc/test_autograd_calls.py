"""What is recorded beside plain operators: loops of arrays, operators in Python, states of batch norm; and how often
something is compiled."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc import autograd as ag

nd = mx.nd


@pytest.fixture
def x():
    made = nd.array([1.0, 2.0, 3.0])
    made.attach_grad()
    return made


def values(array):
    return array.asnumpy().tolist()


def test_loops_of_arrays_are_recorded():
    data, state = nd.array([[1.0, 2.0], [3.0, 4.0]]), nd.array([1.0, 1.0])
    for array in (data, state):
        array.attach_grad()
    with ag.record():
        outs, last = nd.contrib.foreach(lambda row, s: (row * s, row + s), data, state)
        total = outs.sum() + last.sum()
    total.backward()
    assert values(data.grad) == [[5.0, 6.0], [3.0, 4.0]] and values(state.grad) == [5.0, 7.0]
    with ag.record():
        outs, _ = nd.contrib.while_loop(
            lambda i, s: i < 2, lambda i, s: (s * s, (i + 1, s * 2)), [nd.zeros(1), state], 4
        )
    assert values(outs) == [[1.0, 1.0], [4.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
    outs.backward()
    assert values(state.grad) == [10.0, 10.0]
    with ag.record():
        y = nd.contrib.cond(nd.array([1.0]), lambda: state * 5, lambda: state * 7)
    y.backward()
    assert values(state.grad) == [5.0, 5.0]


@mx.operator.register("doubled_and_counted")
class DoubledProp(mx.operator.CustomOpProp):
    def list_auxiliary_states(self):
        return ["calls"]

    def infer_shape(self, in_shape):
        return in_shape, in_shape, [(1,)]

    def create_operator(self, ctx, shapes, dtypes):
        return Doubled()


class Doubled(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        assert not ag.is_recording() and ag.is_training() == is_train
        self.assign(out_data[0], req[0], in_data[0] * 2)
        aux[0][:] += 1 if is_train else 100

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_grad[0] * 2 + aux[0])


def test_operators_in_python_are_recorded(x):
    calls = nd.zeros((1,))
    with ag.record():
        y = nd.Custom(x, calls, op_type="doubled_and_counted")
        z = y * y
    assert values(calls) == [1.0]
    z.backward()
    assert values(x.grad) == [9.0, 17.0, 25.0]
    assert values(nd.Custom(x, calls, op_type="doubled_and_counted")) == [2.0, 4.0, 6.0] and values(calls) == [101.0]


def test_batch_norm_moves_its_states_when_the_gradient_is_taken():
    data, one, zero = nd.array([[1.0], [3.0]]), nd.ones((1,)), nd.zeros((1,))
    mean, var = nd.zeros((1,)), nd.ones((1,))
    data.attach_grad()
    with ag.record():
        y = nd.BatchNorm(data, one, zero, mean, var, momentum=0.5, fix_gamma=False)
    assert values(mean) == [0.0]
    y.backward()
    assert values(mean) == [1.0] and values(var) == [1.0]
    with ag.record(train_mode=False):
        y = nd.BatchNorm(data, one, zero, mean, var, momentum=0.5, fix_gamma=False)
    y.backward()
    assert values(mean) == [1.0] and np.allclose(data.grad.asnumpy(), 1, atol=1e-3)


def test_a_loop_compiles_nothing_after_its_first_turn():
    from symc.ndarray.functions import function_of

    w = nd.array(np.random.RandomState(0).randn(40, 40))
    w.attach_grad()

    def turn(count):
        with ag.record():
            h = nd.ones((40, 40))
            for at in range(count):
                h = nd.tanh(nd.dot(h, w) * (0.1 * at))
        h.backward()

    turn(2)
    known = function_of.cache_info().currsize
    turn(5)
    assert function_of.cache_info().currsize == known
