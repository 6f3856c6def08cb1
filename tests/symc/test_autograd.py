"""Recording and gradients of arrays: what is recorded, what is refused, and what the gradients are."""

from __future__ import annotations

import threading

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


# ----------------------------------------------------------------------------------------------- states


def test_the_states_are_a_threads_own_and_come_back():
    assert (ag.is_recording(), ag.is_training()) == (False, False)
    seen = []
    with ag.record():
        assert (ag.is_recording(), ag.is_training()) == (True, True)
        other = threading.Thread(target=lambda: seen.append((ag.is_recording(), ag.is_training())))
        other.start()
        other.join()
        with ag.pause():
            assert (ag.is_recording(), ag.is_training()) == (False, False)
        with ag.predict_mode():
            assert (ag.is_recording(), ag.is_training()) == (True, False)
        with ag.pause(train_mode=True):
            assert (ag.is_recording(), ag.is_training()) == (False, True)
    assert seen == [(False, False)]
    with ag.record(train_mode=False), ag.train_mode():
        assert (ag.is_recording(), ag.is_training()) == (True, True)
    with pytest.raises(RuntimeError), ag.record():
        raise RuntimeError
    assert (ag.is_recording(), ag.is_training()) == (False, False)
    assert ag.set_recording(True) is False and ag.set_recording(False) is True
    assert ag.set_training(True) is False and ag.set_training(False) is True


def test_dropout_drops_in_training_only_and_its_gradient_is_that_of_the_same_draw():
    x = nd.ones((20, 20))
    x.attach_grad()
    with ag.record():
        y = nd.Dropout(x, p=0.5)
        with ag.pause():
            assert (nd.Dropout(x, p=0.5).asnumpy() == 1).all()
    assert sorted(set(y.asnumpy().ravel().tolist())) == [0.0, 2.0]
    y.backward()
    assert (x.grad.asnumpy() == y.asnumpy()).all()
    with ag.train_mode():
        assert (nd.Dropout(x, p=0.5).asnumpy() != 1).any()


# ----------------------------------------------------------------------------------------------- gradients


def test_gradients_are_written_added_or_not_kept(x):
    w = nd.array([4.0, 5.0, 6.0])
    w.attach_grad("add")
    plain = nd.array([1.0, 1.0, 1.0])
    plain.attach_grad("null")
    for _ in range(2):
        with ag.record():
            y = x * w + plain
        y.backward()
    assert values(x.grad) == [4.0, 5.0, 6.0] and values(w.grad) == [2.0, 4.0, 6.0] and plain.grad is None
    assert x._fresh_grad and y.grad is None
    x._fresh_grad = False
    with ag.record():
        y = x.detach() * w
    y.backward()
    assert not x._fresh_grad and values(w.grad) == [3.0, 6.0, 9.0]


def test_heads_and_their_weights(x):
    with ag.record():
        y = x * 2
        z = y * 3
    ag.backward([z, y], [nd.array([1.0, 0.0, 1.0]), None])
    assert values(x.grad) == [8.0, 2.0, 8.0]
    with ag.record():
        y = x * 2
    with pytest.raises(mx.MXNetError, match="float32"):
        y.backward(nd.ones((3,), dtype="float64"))
    with pytest.raises(mx.MXNetError, match="head 0"):
        y.backward(nd.ones((2,)))
    y.backward(nd.ones((3, 1)))
    assert values(x.grad) == [2.0, 2.0, 2.0]


def test_the_history_is_kept_only_where_it_is_asked_for(x):
    with ag.record():
        y = x * x
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(mx.MXNetError, match="retain_graph"):
        y.backward()
    with pytest.raises(mx.MXNetError, match="record"):
        (x * 2).backward()


def test_arrays_without_variables_are_refused(x):
    plain = nd.ones((3,))
    with ag.record():
        y = plain * 2
    with pytest.raises(mx.MXNetError, match="not recorded"):
        y.backward()
    z = nd.ones((3,))
    z.attach_grad("null")
    with ag.record():
        y = z * 2
    with pytest.raises(mx.MXNetError, match="requires a gradient"):
        y.backward()
    with ag.record():
        y = x * 2
        z = y * 2
    with pytest.raises(mx.MXNetError, match="variable 1 does not require"):
        ag.grad(z, y)
    with pytest.raises(mx.MXNetError, match="not computed from variable 2"):
        other = nd.ones((1,))
        other.attach_grad()
        ag.grad(z, [x, other])


def test_grad_gives_new_arrays(x):
    with ag.record():
        y = x * x
    (found,) = ag.grad(y, [x], head_grads=nd.array([1.0, 10.0, 100.0]))
    assert values(found) == [2.0, 40.0, 600.0] and values(x.grad) == [0.0, 0.0, 0.0]


def test_gradients_of_gradients_of_any_order(x):
    with ag.record():
        y = nd.sin(x) * x * x
    third = y
    for _ in range(3):
        (third,) = ag.grad(third, x, create_graph=True, retain_graph=True)
    v = np.array([1.0, 2.0, 3.0])
    expected = -(v**2) * np.cos(v) - 6 * v * np.sin(v) + 6 * np.cos(v)
    assert np.allclose(third.asnumpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_gradient_takes_part_in_what_follows(x):
    with ag.record():
        y = x * x * x
        (g,) = ag.grad(y, x, create_graph=True, retain_graph=True)
        z = g * y
    z.backward()
    assert values(x.grad) == [15.0, 240.0, 1215.0]


def test_the_second_gradient_of_a_linear_function_is_zero(x):
    head = nd.ones((3,))
    with ag.record():
        y = x + 1
    (g,) = ag.grad(y, x, head_grads=head, create_graph=True)
    g.backward()
    assert values(x.grad) == [0.0, 0.0, 0.0]


def test_integers_and_what_has_no_gradient():
    n = nd.array([1, 2, 3], dtype="int32")
    n.attach_grad()
    with ag.record():
        y = n * 2
    y.backward()
    assert n.grad.dtype == np.int32 and values(n.grad) == [2, 2, 2]
    x = nd.array([1.0, 2.0, 3.0])
    for function in (nd.BlockGrad, nd.argmax, lambda x: x > 2):
        x.attach_grad()
        x.grad[:] = 7
        with ag.record():
            y = function(x)
        y.backward()
        assert values(x.grad) == [0.0, 0.0, 0.0]


def test_broadcasting_and_numbers(x):
    row = nd.array([[10.0], [20.0]])
    row.attach_grad()
    with ag.record():
        y = (2 - x) * row / 4 + x**2
    y.backward()
    assert values(x.grad) == [-7.5 + 4, -7.5 + 8, -7.5 + 12] and values(row.grad) == [[0.0], [0.0]]


MOVES = {
    "row": (lambda m: m[1], [[0, 0, 0], [1, 1, 1]]),
    "one": (lambda m: m[1, 2], [[0, 0, 0], [0, 0, 1]]),
    "strided": (lambda m: m[:, ::2], [[1, 0, 1], [1, 0, 1]]),
    "new axis": (lambda m: m[None, ..., 1], [[0, 1, 0], [0, 1, 0]]),
    "advanced": (lambda m: m[nd.array([0, 0, 1]), nd.array([1, 1, 2])], [[0, 2, 0], [0, 0, 1]]),
    "mask": (lambda m: m[np.array([True, False])], [[1, 1, 1], [0, 0, 0]]),
    "reshape": (lambda m: m.reshape((3, 2)), [[1, 1, 1], [1, 1, 1]]),
    "T": (lambda m: m.T[0:2], [[1, 1, 0], [1, 1, 0]]),
    "copies": (lambda m: m.copy().astype("float64").copyto(mx.cpu()).as_in_context(mx.cpu(1)), [[1] * 3] * 2),
    "axes": (lambda m: m.expand_dims(0).flatten().squeeze(), [[1] * 3] * 2),
    "like": (lambda m: m.reshape_like(nd.ones((6,)))[1:3], [[0, 1, 1], [0, 0, 0]]),
    "broadcast": (lambda m: m.broadcast_to((4, 2, 3)), [[4] * 3] * 2),
    "concatenate": (lambda m: nd.concatenate([m, m[:1]], axis=0), [[2, 2, 2], [1, 1, 1]]),
    "moveaxis": (lambda m: nd.moveaxis(m, 0, 1)[0], [[1, 0, 0], [1, 0, 0]]),
    "iteration": (lambda m: sum(row * (at + 1) for at, row in enumerate(m)), [[1] * 3, [2] * 3]),
}


@pytest.mark.parametrize("move", MOVES)
def test_what_moves_values_is_recorded(move):
    function, expected = MOVES[move]
    m = nd.array(np.arange(6).reshape(2, 3))
    m.attach_grad()
    with ag.record():
        y = function(m)
    y.backward()
    assert values(m.grad) == expected
    with ag.record():
        squared = function(m * m)
    (first,) = ag.grad(squared, m, create_graph=True)
    first.backward()
    assert values(m.grad) == (2 * np.array(expected)).tolist()


# ----------------------------------------------------------------------------------------------- writing


def test_what_is_written_after_recording_is_what_the_gradient_sees(x):
    with ag.record():
        y = x * x
        z = nd.exp(x)
    x[:] = 5
    z[:] = 7
    y.backward()
    assert values(x.grad) == [10.0, 10.0, 10.0]
    z.backward()
    assert values(x.grad) == [7.0, 7.0, 7.0]


REFUSED = {
    "a variable in place": lambda x, y, c: x.__iadd__(1),
    "a variable": lambda x, y, c: x.__setitem__(slice(None), 1),
    "an element": lambda x, y, c: x.__setitem__(0, 1),
    "part, by numpy": lambda x, y, c: x.__setitem__(slice(1, None), np.ones(2)),
    "a result in place": lambda x, y, c: y.__imul__(2),
    "an element of a result": lambda x, y, c: y.__setitem__(0, 1),
    "a constant that was read": lambda x, y, c: c.__iadd__(1),
    "a fresh array in place, by a result": lambda x, y, c: nd.zeros((3,)).__iadd__(y),
    "part of a fresh array, by a result": lambda x, y, c: nd.zeros((3,)).__setitem__(slice(0, 2), y[0:2]),
    "out": lambda x, y, c: nd.exp(x, out=y),
    "copyto": lambda x, y, c: nd.ones((3,)).copyto(x),
}


@pytest.mark.parametrize("how", REFUSED)
def test_arrays_of_a_recorded_computation_are_not_written(x, how):
    c = nd.ones((3,))
    with ag.record():
        y = x * c
        with pytest.raises(mx.MXNetError, match="not supported when recording"):
            REFUSED[how](x, y, c)
    y.backward()
    assert values(x.grad) == [1.0, 1.0, 1.0]
    c += 1  # free again, and everything is under pause
    with ag.record():
        c += 1
        z = x * c
        with ag.pause():
            z += 1
    z.backward()
    assert values(x.grad) == [3.0, 3.0, 3.0]


def test_a_fresh_array_that_is_given_a_value_becomes_part_of_the_computation(x):
    for assign in (
        lambda target, value: target.__setitem__(slice(None), value),
        lambda target, value: value.copyto(target),
        lambda target, value: nd.elemwise_mul(value, nd.ones((3,)), out=target),
    ):
        with ag.record():
            target = nd.zeros((3,))
            target[1] = 7  # nothing of the computation yet
            assign(target, x * 2)
            y = target * target
        y.backward()
        assert values(x.grad) == [8.0, 16.0, 24.0]


def test_attach_grad_begins_a_new_history(x):
    with ag.record():
        y = x * 2
        y.attach_grad()
        z = y * 3
    z.backward()
    assert values(x.grad) == [0.0, 0.0, 0.0] and values(y.grad) == [3.0, 3.0, 3.0]


# ----------------------------------------------------------------------------------------------- users' functions


class Halves(ag.Function):
    def forward(self, x, y):
        assert not ag.is_recording()
        self.save_for_backward(x, y)
        return x / y, x * y

    def backward(self, dm, dn):
        assert not ag.is_recording()
        x, y = self.saved_tensors
        return dm / y + dn * y, dn * x - dm * x / y / y


def test_a_function_with_a_gradient_of_its_own(x):
    y = nd.array([2.0, 4.0, 8.0])
    y.attach_grad()
    with ag.record():
        m, n = Halves()(x * 1, y)
        loss = m * 2 + n
    loss.backward()
    given = x.grad.asnumpy(), y.grad.asnumpy()
    with ag.record():
        loss = x / y * 2 + x * y
    loss.backward()
    assert np.allclose(given[0], x.grad.asnumpy()) and np.allclose(given[1], y.grad.asnumpy())
    used = Halves()
    assert len(used(x, y)) == 2  # not recorded: the plain results
    with pytest.raises(AssertionError, match="once"):
        used(x, y)


def test_what_a_function_may_give_back(x):
    class Gives(ag.Function):
        def __init__(self, found):
            super().__init__()
            self.found = found

        def forward(self, x):
            return x

        def backward(self, dy):
            return self.found(dy)

    def gradient(found, **kwargs):
        x.grad[:] = 0
        with ag.record():
            y = Gives(found)(x) * 2
        y.backward(**kwargs)
        return values(x.grad)

    assert gradient(lambda dy: dy * 3) == [6.0, 6.0, 6.0]
    assert gradient(lambda dy: None) == [0.0, 0.0, 0.0]
    with pytest.raises(mx.MXNetError, match="Gives.backward gave 2 gradients"):
        gradient(lambda dy: (dy, dy))
    with pytest.raises(TypeError, match="NDArrays"):
        gradient(lambda dy: 3.0)
    with ag.record():
        y = Gives(lambda dy: dy)(x)
    with pytest.raises(mx.MXNetError, match="differentiated again"):
        ag.grad(y, x, create_graph=True)


# ----------------------------------------------------------------------------------------------- histories


def test_the_history_is_a_symbol_that_computes_the_same(x):
    with ag.record():
        w = nd.ones((2, 3))
        y = nd.FullyConnected(x.reshape((1, 3)), w, no_bias=True, num_hidden=2) ** 2 - 3 + x[1]
        z = (1 - y)[0, 1:]
    symbol = ag.get_symbol(z)
    names = symbol.list_arguments()
    assert [n.rstrip("0123456789") for n in names] == ["var", "null"]
    bound = symbol.bind(mx.cpu(), dict(zip(names, [x, w])))
    assert values(bound.forward()[0]) == values(z)
    assert len(ag.get_symbol(x * 2 if ag.is_recording() else x).list_arguments()) == 1
    with pytest.raises(mx.MXNetError, match="not recorded"):
        ag.get_symbol(nd.ones((1,)))


# ----------------------------------------------------------------------------------------------- the older names


def test_the_names_before_mx_autograd():
    old = mx.contrib.autograd
    from symc.contrib.autograd import grad_and_loss

    a, b = nd.array([1.0, 2.0]), nd.array([3.0, 4.0])
    grads, loss = grad_and_loss(lambda a, b: a * b)(a, b)
    assert [values(g) for g in grads] == [[3.0, 4.0], [1.0, 2.0]] and values(loss) == [3.0, 8.0]
    assert [values(g) for g in old.grad(lambda a, b: a * a * b, argnum=0)(a, b)] == [[6.0, 16.0]]
    with old.train_section():
        assert ag.is_recording() and ag.is_training()
        y = a * b
        with old.test_section():
            assert not ag.is_recording() and not ag.is_training()
        old.compute_gradient([y])
    assert values(a.grad) == [3.0, 4.0]


def test_head_gradients_of_other_shapes_and_storage_types(x):
    with ag.record():
        y = x * 2
    y.backward(nd.array([[1.0, 2.0], [3.0, 4.0]]), retain_graph=True)  # the first elements count
    assert values(x.grad) == [2.0, 4.0, 6.0]
    m = nd.ones((2, 2))
    m.attach_grad()
    with ag.record():
        y = m * 3
    y.backward(nd.ones((2, 2)).tostype("row_sparse"))
    assert values(m.grad) == [[3.0, 3.0], [3.0, 3.0]]
    for stype in ("row_sparse", "csr"):
        s = m.tostype(stype)
        s.attach_grad()
        with ag.record():
            y = s * 2
        assert y.stype == stype
        y.backward(nd.full((2, 2), 3).tostype(stype))
        assert values(s.grad) == [[6.0, 6.0], [6.0, 6.0]]


def test_sums_of_gradients_are_nobody_elses(x):
    """Values that several entries share are not added to in place, whichever arrays were let go meanwhile."""
    with ag.record():
        y = x
        for _ in range(12):
            a, b = y + 1, y + 2
            y = a + b + a
        z = y + x
    z.backward()
    assert values(x.grad) == [3.0**12 + 1] * 3


def test_an_operator_may_record_in_itself_and_keep_one_growing_list_of_gradients():
    """Of more gradients than variables the first ones count: a pooling of pyramids adds to its list in every step."""
    old = mx.contrib.autograd

    class Inner(mx.operator.CustomOp):
        def __init__(self):
            super().__init__()
            self.held = []

        def forward(self, is_train, req, in_data, out_data, aux):
            self.held += [mx.nd.zeros_like(in_data[0])]
            old.mark_variables([in_data[0]], self.held, ["write"] * len(self.held))
            with old.train_section():
                self.made = in_data[0] * in_data[0]
            self.assign(out_data[0], req[0], self.made)

        def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
            with old.train_section():
                old.compute_gradient([out_grad[0] * self.made])
            self.assign(in_grad[0], req[0], self.held[0])

    @mx.operator.register("recording_square")
    class Prop(mx.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return Inner()

    exe = mx.sym.Custom(mx.sym.Variable("x"), op_type="recording_square").simple_bind(mx.cpu(), x=(3,))
    for step in range(3):
        values = np.arange(3, dtype="float32") + step
        exe.forward(is_train=True, x=mx.nd.array(values))
        exe.backward(mx.nd.array([1, 2, 3]))
        np.testing.assert_array_equal(exe.grad_dict["x"].asnumpy(), 2 * values * [1, 2, 3])
    with pytest.raises(ValueError, match="2 variables, but 1 gradients"):
        old.mark_variables([mx.nd.ones(1), mx.nd.ones(1)], [mx.nd.ones(1)])
