"""Protects: rates and decays by parameter, states that survive pickling, and one compiled program per rule and
shape."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

import symc as mx
from symc.optimizer import compiled


def step(updater, weight, gradient=None, index=0):
    updater(index, mx.nd.ones(weight.shape, dtype=weight.dtype) if gradient is None else gradient, weight)
    return weight.asnumpy()


def test_create_by_name():
    assert isinstance(mx.optimizer.create("SGD", momentum=0.9), mx.optimizer.SGD)
    assert isinstance(mx.optimizer.create("ccsgd"), mx.optimizer.SGD)
    with pytest.raises(ValueError, match="nothing"):
        mx.optimizer.create("nothing")
    with pytest.raises(AssertionError, match="dict"):
        mx.optimizer.create("sgd", param_idx2name=["a"])


def test_register_own_rule():
    @mx.optimizer.register
    class Halve(mx.optimizer.Optimizer):
        def step(self, ctx, weight, grad, states, s):
            return weight * 0.5, ()

    np.testing.assert_array_equal(
        step(mx.optimizer.get_updater(mx.optimizer.create("halve")), mx.nd.ones(3)), [0.5] * 3
    )
    with pytest.warns(UserWarning, match="halve"):
        mx.optimizer.register(Halve)
    del mx.optimizer.Optimizer.opt_registry["halve"]


def test_a_rule_may_be_written_over_arrays():
    class Plain(mx.optimizer.Optimizer):
        def update(self, index, weight, grad, state):
            weight[:] -= grad

    np.testing.assert_array_equal(step(mx.optimizer.get_updater(Plain()), mx.nd.ones(2)), [0, 0])


def test_without_a_rule():
    with pytest.raises(NotImplementedError, match="Optimizer"):
        step(mx.optimizer.get_updater(mx.optimizer.Optimizer()), mx.nd.ones(2))


def test_rates_and_decays_by_name():
    names = {0: "a_weight", 1: "a_bias", 2: "a_gamma"}
    sgd = mx.optimizer.create("sgd", learning_rate=1.0, wd=0.1, param_idx2name=names)
    assert [sgd._get_wd(i) for i in range(3)] == [0.1, 0.0, 0.1]
    sgd.set_lr_mult({"a_weight": 0.5, 2: 0.25})
    sgd.set_wd_mult({"a_bias": 2.0})
    assert [sgd._get_lr(i) for i in range(3)] == [0.5, 1.0, 0.25]
    assert [sgd._get_wd(i) for i in range(3)] == [0.1, 0.2, 0.1]


def test_rates_from_the_symbol():
    weight = mx.sym.Variable("fc_weight", lr_mult=0.1, wd_mult=3.0)
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), weight=weight, num_hidden=2, name="fc")
    sgd = mx.optimizer.create("sgd", learning_rate=1.0, wd=1.0, sym=net, param_idx2name={0: "fc_weight", 1: "fc_bias"})
    assert (sgd._get_lr(0), sgd._get_wd(0), sgd._get_wd(1)) == (0.1, 3.0, 0.0)


def test_schedulers_decide():
    scheduler = mx.lr_scheduler.FactorScheduler(1, 0.5, base_lr=1.0)
    sgd = mx.optimizer.create("sgd", lr_scheduler=scheduler)
    updater, weight = mx.optimizer.get_updater(sgd), mx.nd.zeros(1)
    assert [float(step(updater, weight)[0]) for _ in range(3)] == [-1.0, -1.5, -1.75]
    with pytest.raises(UserWarning, match="LRScheduler"):
        sgd.set_learning_rate(0.1)
    plain = mx.optimizer.create("sgd")
    plain.set_learning_rate(0.3)
    assert plain.learning_rate == 0.3


@pytest.mark.parametrize("make", [
    lambda s: s.FactorScheduler(0), lambda s: s.FactorScheduler(2, 1.5), lambda s: s.MultiFactorScheduler([3, 2]),
    lambda s: s.MultiFactorScheduler([0]), lambda s: s.MultiFactorScheduler([]), lambda s: s.PolyScheduler(0),
    lambda s: s.LRScheduler(0.1, warmup_steps=-1), lambda s: s.LRScheduler(0.1, 2, 0.5),
    lambda s: s.LRScheduler(warmup_mode="steep"),
])  # fmt: skip
def test_schedulers_refuse(make):
    with pytest.raises(ValueError):
        make(mx.lr_scheduler)


@pytest.mark.parametrize("name", ["sgd", "nag", "adam", "rmsprop", "ftml", "dcasgd", "lars", "lbsgd"])
def test_states_survive(name):
    settings = {"momentum": 0.9} if name in ("sgd", "nag", "dcasgd", "lars", "lbsgd") else {}
    first = mx.optimizer.get_updater(mx.optimizer.create(name, learning_rate=0.1, **settings))
    one = mx.nd.ones((2, 3))
    for _ in range(2):
        step(first, one)
    second = mx.optimizer.get_updater(mx.optimizer.create("sgd"))
    second.set_states(first.get_states(dump_optimizer=True))
    two = one.copy()
    np.testing.assert_array_equal(step(first, one), step(second, two))
    third = mx.optimizer.get_updater(pickle.loads(pickle.dumps(first.optimizer)))
    third.set_states(first.get_states())
    np.testing.assert_array_equal(step(first, one), step(third, two))


def test_rates_that_change_compile_nothing_new():
    adam = mx.optimizer.create("adam")
    updater, weight = mx.optimizer.get_updater(adam), mx.nd.ones((5, 3))
    step(updater, weight)
    before = compiled._program.cache_info().currsize
    for k in range(5):
        adam.lr, adam.wd, adam.rescale_grad = 0.1 + k, 0.01 * k, 1.0 / (k + 1)
        step(updater, weight)
        step(updater, mx.nd.ones((5, 3)), index=k + 1)
    assert compiled._program.cache_info().currsize == before


def test_attributes_of_the_rule_are_noticed():
    sgd = mx.optimizer.create("sgd", learning_rate=1.0)
    updater, weight = mx.optimizer.get_updater(sgd), mx.nd.zeros(1)
    step(updater, weight)
    sgd.clip_gradient = 0.25
    assert step(updater, weight)[0] == -1.25


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.filterwarnings("ignore:Accumulating")
def test_other_precisions(dtype):
    for name in ("sgd", "adam", "adagrad", "lamb"):
        updater = mx.optimizer.get_updater(mx.optimizer.create(name, learning_rate=0.5))
        single = mx.optimizer.get_updater(mx.optimizer.create(name, learning_rate=0.5))
        weight, reference = mx.nd.array([1, 2, 3], dtype=dtype), mx.nd.array([1, 2, 3])
        got, expected = step(updater, weight), step(single, reference)
        assert got.dtype == np.dtype(dtype)
        np.testing.assert_allclose(got, expected, rtol=2e-3 if dtype == "float16" else 1e-4)


def test_half_precision_warns_and_keeps_a_copy():
    weight = mx.nd.ones(2, dtype="float16")
    with pytest.warns(UserWarning, match="multi_precision"):
        mx.optimizer.create("sgd").create_state_multi_precision(0, weight)
    for name in ("sgd", "nag", "lars", "lbsgd", "adagrad"):
        made = mx.optimizer.create(name, multi_precision=True).create_state_multi_precision(0, weight)
        # MXNet's order, which its files have: the copy comes last for three of them
        copy = made[1] if name in ("sgd", "nag", "lars") else made[0]
        assert len(made) == 2 and copy.dtype == np.float32 and (copy.asnumpy() == 1).all()


def test_langevin_noise_follows_the_seed():
    found = []
    for _ in range(2):
        mx.random.seed(3)
        updater = mx.optimizer.get_updater(mx.optimizer.create("sgld", learning_rate=0.01))
        weight = mx.nd.zeros(2000)
        found.append([step(updater, weight), step(updater, weight)])
    np.testing.assert_array_equal(found[0], found[1])
    assert abs(found[0][0].std() - 0.1) < 0.01


def test_updater_takes_lists():
    updater = mx.optimizer.get_updater(mx.optimizer.create("sgd", learning_rate=1.0))
    weights = [mx.nd.zeros(2), mx.nd.zeros(3)]
    updater([0, 1], [mx.nd.ones(2), mx.nd.ones(3)], weights)
    assert [w.asnumpy().tolist() for w in weights] == [[-1, -1], [-1, -1, -1]]


def test_kvstore():
    store = mx.kv.create("local")
    store.init([3, 7], [mx.nd.zeros(2), mx.nd.ones(2)])
    store.push(3, [mx.nd.ones(2), mx.nd.ones(2)])
    out = mx.nd.zeros(2)
    store.pull(3, out=out)
    assert out.asnumpy().tolist() == [2, 2]
    store.set_optimizer(mx.optimizer.create("sgd", learning_rate=0.5))
    store.pushpull(7, mx.nd.ones(2), out=out)
    assert out.asnumpy().tolist() == [0.5, 0.5]
    # keys are all numbers or all texts
    mixed = lambda: store.init("a", out)
    for wrong in (lambda: store.pull(8, out=out), lambda: store.init(3, out), mixed, lambda: mx.kv.create("dist_sync")):
        with pytest.raises(mx.MXNetError):
            wrong()


class Evil:
    """What a pickle would have called."""

    def __reduce__(self):
        return print, ("called",)


def test_states_are_made_of_nothing_but_arrays_and_optimizers(capsys):
    updater = mx.optimizer.get_updater(mx.optimizer.SGD(momentum=0.9, lr_scheduler=mx.lr_scheduler.FactorScheduler(5)))
    updater(0, mx.nd.ones(2), mx.nd.ones(2))
    for whole in (False, True):
        again = mx.optimizer.get_updater(mx.optimizer.SGD(momentum=0.9))
        again.set_states(updater.get_states(dump_optimizer=whole))
        np.testing.assert_array_equal(again.states[0].asnumpy(), updater.states[0].asnumpy())
    for thing in (Evil(), {0: Evil()}):
        with pytest.raises(mx.MXNetError, match="builtins.print is none of the arrays"):
            updater.set_states(pickle.dumps(thing))
    assert capsys.readouterr().out == ""


def test_states_that_mxnet_wrote_are_read():
    """The bytes of `get_updater(SGD(learning_rate=0.1, momentum=0.9)).get_states()` after a step on ones."""
    name = b"\x8c\x15mxnet.ndarray.ndarray\x8c\x07NDArray\x93N\x85R}\x8c\x06handle\x8c\x08builtins\x8c\tbytearray\x93"
    array = struct.pack("<IiiqqiiI", 0xF993FAC9, 0, 2, 2, 2, 1, 0, 0) + np.full(4, -0.1, "<f4").tobytes()
    data = b"\x80\x04}K\x00" + name + b"C" + bytes([len(array)]) + array + b"\x85Rsbs."
    updater = mx.optimizer.get_updater(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9))
    updater.set_states(data)
    np.testing.assert_allclose(updater.states[0].asnumpy(), np.full((2, 2), -0.1), rtol=1e-6)


def test_states_of_half_precision_weights_that_mxnet_wrote_are_read():
    """The bytes of `get_updater(SGD(learning_rate=0.1, momentum=0.9, multi_precision=True)).get_states()` after a step
    from ones by ones: the momentum and the weight of single precision must not be taken for each other."""
    name = b"\x8c\x15mxnet.ndarray.ndarray\x94\x8c\x07NDArray\x94\x93\x94N\x85\x94R\x94}\x94\x8c\x06handle\x94"
    head = struct.pack("<IiiqqiiI", 0xF993FAC9, 0, 2, 1, 2, 1, 0, 0)
    momentum, copy = (b"C0" + head + np.full(2, v, "<f4").tobytes() for v in (-0.1, 0.9))
    data = b"\x80\x04}\x94K\x00" + name + b"\x8c\x08builtins\x94\x8c\tbytearray\x94\x93\x94" + momentum
    data += b"\x94\x85\x94R\x94sbh\x03h\x04R\x94}\x94h\x07h\n" + copy + b"\x94\x85\x94R\x94sb\x86\x94s."
    updater = mx.optimizer.get_updater(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9, multi_precision=True))
    updater.set_states(data)
    weight = mx.nd.array([[0.9, 0.9]], dtype="float16")
    np.testing.assert_allclose(step(updater, weight), [[0.71, 0.71]], rtol=1e-3)


def test_group_adagrad_has_a_rate_for_each_row():
    rng = np.random.RandomState(0)
    weight = mx.nd.array(rng.randn(3, 4))
    updater = mx.optimizer.get_updater(mx.optimizer.create("groupadagrad", learning_rate=0.1, rescale_grad=0.5))
    want, history = weight.asnumpy(), np.zeros((3, 1))
    for _ in range(3):
        grad = rng.randn(3, 4).astype("float32")
        updater(0, mx.nd.array(grad), weight)
        history += ((0.5 * grad) ** 2).mean(axis=1, keepdims=True)
        want = want - 0.1 * 0.5 * grad / np.sqrt(history + 1e-5)
    np.testing.assert_allclose(weight.asnumpy(), want, rtol=1e-5)
    assert isinstance(updater.optimizer, mx.optimizer.contrib.GroupAdaGrad)
    with pytest.raises(AssertionError, match="matrices"):
        updater(1, mx.nd.ones(3), mx.nd.ones(3))


def test_programs_register_stores_of_their_own():
    """Such a store sums; the optimizer stays with the Module."""

    @mx.kv.KVStoreBase.register
    class Counting(mx.kv.KVStoreBase.kv_registry["teststore"]):
        sums = 0

        def pushpull(self, key, value, out=None, priority=0):
            type(self).sums += 1
            super().pushpull(key, value, out, priority)

    try:
        store = mx.kv.create("COUNTING")
        module = mx.mod.Module(
            mx.sym.LinearRegressionOutput(
                mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=1, name="fc"), name="lro"
            ),
            label_names=["lro_label"],
            context=[mx.cpu(0), mx.cpu(1)],
        )
        module.bind([("data", (4, 2))], [("lro_label", (4, 1))])
        module.init_params(mx.init.One())
        module.init_optimizer(store, "sgd", {"learning_rate": 1.0, "rescale_grad": 1.0})
        assert module._updater is not None and not module._update_on_kvstore
        module.forward_backward(mx.io.DataBatch([mx.nd.ones((4, 2))], [mx.nd.zeros((4, 1))]))
        module.update()
        assert Counting.sums == 2 and module.get_params()[0]["fc_bias"].asscalar() == -8
    finally:
        del mx.kv.KVStoreBase.kv_registry["counting"]
    with pytest.raises(NotImplementedError):
        mx.kv.create("teststore").set_optimizer(module._optimizer)


def test_svrg_corrects_by_the_gradient_of_all_data():
    """With the same parameters at both places a step's gradient is that of all data."""
    from symc.contrib.svrg_optimization.svrg_module import SVRGModule

    rng = np.random.RandomState(0)
    data = rng.randn(32, 2)
    label = data @ np.array([[1.0], [2.0]])
    train = mx.io.NDArrayIter(data, label, 8, label_name="lro_label")
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=1, no_bias=True, name="fc")
    net = mx.sym.LinearRegressionOutput(net, name="lro")
    for context in (mx.cpu(), [mx.cpu(0), mx.cpu(1)]):
        module = SVRGModule(net, label_names=["lro_label"], context=context, update_freq=2)
        module.bind(train.provide_data, train.provide_label)
        module.init_params(mx.init.Zero())
        module.init_optimizer("local", "sgd", {"learning_rate": 1.0})
        module.update_full_grads(train)
        train.reset()
        module.forward_backward(next(train))
        module.update()
        want = (data.T @ label).T / 32  # of 4 batches of 8 rows
        np.testing.assert_allclose(module.get_params()[0]["fc_weight"].asnumpy(), want, rtol=1e-4)
        module = SVRGModule(net, label_names=["lro_label"], context=context, update_freq=2)
        module.fit(train, num_epoch=4, eval_metric="mse", optimizer_params={"learning_rate": 0.5})
        assert module.score(train, "mse")[0][1] < 0.05
    with pytest.raises(TypeError, match="update_freq"):
        SVRGModule(net)


def test_rates_and_counts_of_several_parameters_at_once():
    """Rules of programs update lists of parameters, and ask the base class by lists of indices."""
    opt = mx.optimizer.SGD(learning_rate=0.5, wd=0.25, param_idx2name={0: "a_weight", 1: "b_bias"})
    opt.set_lr_mult({"b_bias": 2.0})
    opt._update_count([0, 1])
    opt._update_count((1,))
    assert (opt._index_update_count, opt.num_update) == ({0: 1, 1: 2}, 2)
    assert (opt._get_lrs([0, 1]), opt._get_wds([0, 1])) == ([0.5, 1.0], [0.25, 0.0])


@pytest.mark.parametrize("momentum", [0.0, -0.5])
def test_sgd_without_momentum_leaves_a_state_that_it_is_given(momentum: float) -> None:
    weight, state = mx.nd.ones((2, 3)), mx.nd.ones((2, 3))
    mx.optimizer.create("sgd", learning_rate=0.1, momentum=momentum).update(0, weight, mx.nd.ones((2, 3)), state)
    np.testing.assert_allclose(weight.asnumpy(), 0.9, rtol=1e-6)
    np.testing.assert_array_equal(state.asnumpy(), 1)
