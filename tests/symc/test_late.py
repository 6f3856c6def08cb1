"""Values that an operator refuses are told where its result is looked at, once, as MXNet tells them."""

import contextlib

import numpy as np
import pytest

import symc as mx
from symc.base import LateError

nd = mx.nd


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    nd.waitall()


@pytest.mark.parametrize("make", [
    lambda: nd.random.normal(0, -1, (2, 2)),
    lambda: nd.random.uniform(2, 1, (2, 2)),
    lambda: nd.random.exponential(-1, (2, 2)),
    lambda: nd.random.poisson(-1, (2, 2)),
    lambda: nd.random.gamma(-1, 1, (2, 2)),
    lambda: nd.random.gamma(1, -1, (2, 2)),
    lambda: nd.random.negative_binomial(-1, 0.5, (2, 2)),
    lambda: nd.random.generalized_negative_binomial(-1, 0.5, (2, 2)),
    lambda: nd.random.randint(5, 1, (2, 2)),
    lambda: nd.random.normal_like(nd.ones((2, 2)), loc=0, scale=-1),
    lambda: nd.sample_gamma(nd.array([1, -1]), nd.ones((2,)), shape=2),
    lambda: nd.sample_poisson(nd.array([1, np.inf]), shape=2),
    lambda: nd.sample_negative_binomial(nd.array([np.nan, 1]), nd.ones((2,)), shape=2),
    lambda: nd.linalg.potrf(-nd.ones((2, 2))),
    lambda: nd.linalg.inverse(nd.zeros((2, 2))),
    lambda: nd.take(nd.ones((4, 2)), nd.array([1, 7]), mode="raise"),
    lambda: nd.gather_nd(nd.ones((4, 2)), nd.array([[1, 4]])),
    lambda: nd.scatter_nd(nd.ones((1, 2)), nd.array([[2]]), shape=(2, 2)),
])  # fmt: skip
def test_it_is_told_once_by_whoever_looks(make):
    for look in (lambda a: a.asnumpy(), lambda a: a.wait_to_read(), lambda a: nd.waitall(), str, np.array):
        made = make()
        assert made.shape == (2, 2)
        with pytest.raises(LateError, match=r"called at .*test_late.py"):
            look(made)
        nd.waitall()
        assert np.isnan(made.asnumpy()).all() or made.dtype == np.int32
        assert "NDArray 2x2" in str(made)


COMPUTED = [
    lambda a: nd.dot(a, nd.ones((2, 3))), lambda a: nd.ones((2, 2)) + a, lambda a: 1 - a, lambda a: -a > 0,
    lambda a: a.reshape((4,)).T, lambda a: a[0], lambda a: list(a)[1], lambda a: a.copyto(mx.cpu(1)),
    lambda a: a.astype("int32").copy(), lambda a: nd.split(a, num_outputs=2)[1], lambda a: a.sum(axis=0),
    lambda a: nd.FullyConnected(a, nd.ones((5, 2)), no_bias=True, num_hidden=5),
]  # fmt: skip


@pytest.mark.parametrize("compute", COMPUTED)
def test_what_is_computed_of_it_fails_for_the_same_reason(compute):
    first = nd.random.normal(0, -1, (2, 2))
    second, sound = compute(first), compute(nd.ones((2, 2)))
    assert (second.shape, second.dtype, second.context) == (sound.shape, sound.dtype, sound.context)
    with pytest.raises(LateError, match="_random_normal"):
        second.asnumpy()
    first.asnumpy()  # it was told


def test_draws_that_fail_before_anybody_looks_are_told_once():
    nd.random.normal(0, -1, (2, 2))
    with pytest.raises(LateError):
        nd.random.uniform(2, 1, (2, 2)).asnumpy()
    nd.waitall()
    with pytest.raises(LateError):
        nd.random.uniform(2, 1, (2, 2)).asnumpy()


def test_of_several_the_first_is_told_by_waitall():
    made = [nd.random.uniform(2, 1, (1,)), nd.linalg.inverse(nd.zeros((2, 2)))]
    with pytest.raises(LateError, match="uniform"):
        nd.waitall()
    assert all(np.isnan(a.asnumpy()).all() for a in made)


def test_nothing_else_is_computed_of_it_in_silence():
    """Where an array is written, bound or trained on, it is told at once."""
    net = mx.sym.exp(mx.sym.Variable("x")).simple_bind(mx.cpu(), x=(2, 2))
    target = nd.ones((2, 2))
    for use in (
        lambda a: a.copyto(target),
        lambda a: net.forward(x=a),
        lambda a: nd.sgd_update(target, a, lr=1, out=target),
        lambda a: target.__iadd__(a),
        lambda a: target.__setitem__(slice(None), a),
        lambda a: a.__setitem__(slice(None), 1),
        lambda a: a.backward(),
        lambda a: float(a.sum().asscalar()),
        lambda a: nd.random.normal(0, -1, out=target),
    ):
        with pytest.raises(LateError):
            use(nd.random.normal(0, -1, (2, 2)))
        assert (target.asnumpy() == 1).all()
        with contextlib.suppress(LateError):
            nd.waitall()


def test_symbols_say_it_when_they_run():
    drawn = mx.sym.random.normal(0, -1, shape=(2, 2))
    assert drawn.infer_shape()[1] == [(2, 2)]
    with pytest.raises(mx.MXNetError, match="positive"):
        drawn.simple_bind(mx.cpu()).forward()


@pytest.mark.parametrize("name", ["take", "gather_nd", "potrf"])
def test_executors_tell_it_where_their_outputs_are_looked_at(name):
    a, i = mx.sym.Variable("a"), mx.sym.Variable("i")
    symbol, bad, good = {
        "take": (mx.sym.take(a, i, mode="raise"), [0, 9], [0, 1]),
        "gather_nd": (mx.sym.gather_nd(a, i), [[0, 9]], [[0, 1]]),
        "potrf": (mx.sym.linalg.potrf(mx.sym.broadcast_mul(a, i)), [[-1]], [[1]]),
    }[name]
    exe = symbol.bind(mx.cpu(), {"a": nd.array([[2, 1], [1, 2]]), "i": nd.array(bad)}, {"a": nd.zeros((2, 2))})
    kept = exe.outputs
    for train in (True, False):
        (made,) = exe.forward(is_train=train)
        assert made.shape == exe.outputs[0].shape
        with pytest.raises(LateError, match=r"Executor of .*run at .*test_late.py"):
            exe.outputs[0].asnumpy()
        assert np.isnan(made.asnumpy()).all() and np.isnan(kept[0].asnumpy()).all()
        with pytest.raises((LateError, np.linalg.LinAlgError)):
            exe.backward(nd.ones(made.shape))
    exe.forward()
    exe.arg_dict["i"][:] = nd.array(good)
    (made,) = exe.forward(is_train=True)
    assert np.isfinite(made.asnumpy()).all() and made is kept[0]
    with pytest.raises(LateError):
        nd.waitall()
    exe.backward(nd.ones(made.shape))
    assert np.isfinite(exe.grad_dict["a"].asnumpy()).all()


def test_a_gradient_that_a_matrix_does_not_have_is_refused_by_the_operators_name():
    """A factorisation that is only begun in the backward half refuses as any other."""
    net = mx.sym.linalg.gelqf(mx.sym.Variable("a"), name="lq")
    exe = net.bind(mx.cpu(), {"a": nd.zeros((2, 3))}, {"a": nd.zeros((2, 3))})
    exe.forward(is_train=True)
    with pytest.raises(LateError, match="'lq'.*Singular matrix"):
        exe.backward([nd.ones((2, 3)), nd.ones((2, 2))])


def test_an_index_outside_is_an_index_error_too():
    """Programs catch either, of arrays, of an executor, and in a call that is compiled by then."""
    data, at = nd.array([[0, 1, 2], [3, 4, 5]]), nd.array([[0, 1], [0, 3]])
    exe = mx.sym.gather_nd(mx.sym.Variable("a"), mx.sym.Variable("i")).bind(mx.cpu(), {"a": data, "i": at})
    for kind in (IndexError, mx.MXNetError):
        for _ in range(4):
            with pytest.raises(kind, match="outside of the extents"):
                nd.gather_nd(data, at).asnumpy()
        with pytest.raises(kind, match="outside of the extents"):
            exe.forward()[0].asnumpy()
        with pytest.raises(kind, match="outside of 0 to 1"):
            nd.take(data, nd.array([5]), mode="raise").wait_to_read()
    with pytest.raises(mx.MXNetError) as told:
        nd.linalg.potrf(nd.array([[-1.0]])).asnumpy()
    assert not isinstance(told.value, IndexError)
