"""Protects: a Module's training step as one program equals its steps one by one, bit for bit; deferred work happens
when somebody looks; checkpoints, shapes, sharing and errors. Values are compared with MXNet's in the golden tests."""

from __future__ import annotations

import logging
from collections import namedtuple

import numpy as np
import pytest
from training import X, Y, assert_same, data, made, mlp, trained, values

import symc as mx
from symc.module import module as module_file

# --------------------------------------------------------------------------------------------- one program per step


@pytest.mark.parametrize(
    "optimizer", ["sgd", "nag", "adam", "rmsprop", "ftrl", "adadelta", "nadam", "lamb", "signum", "dcasgd", "lars"]
)
@pytest.mark.parametrize("net", [mlp, lambda: mlp(batch_norm=True)], ids=["plain", "batch_norm"])
def test_fused_step_equals_steps(monkeypatch, optimizer, net):
    settings = {"learning_rate": 0.05, "wd": 0.01, "clip_gradient": 0.3}
    if optimizer in ("sgd", "nag", "dcasgd", "lars"):
        settings["momentum"] = 0.9
    fused = made(net(), optimizer, settings)
    together = trained(fused)
    assert next(iter(fused._fused.values())) is not None
    monkeypatch.setattr(module_file, "can_fuse", lambda *args: False)
    apart = made(net(), optimizer, settings)
    assert_same(together, trained(apart))
    assert not apart._fused
    assert fused._updater.get_states() == apart._updater.get_states()
    np.testing.assert_array_equal(fused.get_outputs()[0].asnumpy(), apart.get_outputs()[0].asnumpy())


def test_dropout_draws_anew_every_step():
    module = made(mlp(dropout=0.5))
    batch = next(data())
    seen = []
    for _ in range(2):
        module.forward_backward(batch)
        module.update()
        seen.append(module.get_outputs()[0].asnumpy())
    assert (seen[0] != seen[1]).any()
    assert_same(trained(made(mlp(dropout=0.5))), trained(made(mlp(dropout=0.5))))


def test_looking_before_update_changes_nothing():
    plain, curious = made(), made()
    batch = next(data())
    for module in (plain, curious):
        for _ in range(3):
            module.forward_backward(batch)
            if module is curious:
                assert module.get_outputs()[0].shape == (8, 3)
            module.update()
    assert_same(values(plain), values(curious))


def test_batches_may_be_overwritten_after_forward_backward():
    one, two = made(), made()
    batch = next(data())
    copy = mx.io.DataBatch([batch.data[0].copy()], [batch.label[0].copy()])
    one.forward_backward(batch)
    two.forward_backward(copy)
    copy.data[0][:] = 0
    one.update()
    two.update()
    assert_same(values(one), values(two))


def test_new_settings_reach_the_program():
    module = made(settings={"learning_rate": 1.0})
    batch = next(data())
    module.forward_backward(batch)
    module.update()
    module._optimizer.lr = 0.0
    before = values(module)
    module.forward_backward(batch)
    module.update()
    assert_same(before, values(module))
    module._optimizer.clip_gradient, module._optimizer.lr = 1e-6, 1.0
    module.forward_backward(batch)
    module.update()
    assert max(abs(values(module)[k] - before[k]).max() for k in before) < 1e-5


def test_without_optimizer_gradients_are_there():
    module = mx.mod.Module(mlp())
    it = data()
    module.bind(it.provide_data, it.provide_label, inputs_need_grad=True)
    module.init_params()
    module.forward_backward(next(it))
    assert np.abs(module.get_input_grads()[0].asnumpy()).sum() > 0


def test_heads_from_outside():
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    module = mx.mod.Module(net, label_names=None)
    module.bind([("data", (4, 3))])
    module.init_params()
    module.init_optimizer(optimizer_params={"learning_rate": 1.0, "rescale_grad": 1.0})
    before = values(module)
    module.forward(mx.io.DataBatch([mx.nd.ones((4, 3))]), is_train=True)
    module.backward([mx.nd.ones((4, 2))])
    module.update()
    np.testing.assert_allclose(values(module)["fc_bias"], before["fc_bias"] - 4, rtol=1e-6)
    module.forward_backward(mx.io.DataBatch([mx.nd.ones((4, 3))]))
    with pytest.raises(mx.MXNetError, match="head gradient"):
        module.update()


def test_fixed_parameters_stay():
    module = made(fixed_param_names=["fc1_weight"])
    before = values(module)
    after = trained(module)
    np.testing.assert_array_equal(before["fc1_weight"], after["fc1_weight"])
    assert (before["fc2_weight"] != after["fc2_weight"]).any()


def test_gradients_that_add_up():
    module = mx.mod.Module(mlp())
    it = data()
    module.bind(it.provide_data, it.provide_label, grad_req="add")
    module.init_params()
    module.init_optimizer()
    batch = next(it)
    for _ in range(2):
        module.forward_backward(batch)
        module._flush()
    once = made()
    once.set_params(*module.get_params())
    once.forward(batch, is_train=True)
    once.backward()
    got, single = module._exec.grad_dict["fc1_weight"].asnumpy(), once._exec.grad_dict["fc1_weight"].asnumpy()
    np.testing.assert_allclose(got, 2 * single, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------------------------------- fit, score, predict


def test_fit_learns_and_tells(caplog):
    rs = np.random.RandomState(3)
    x = rs.randn(256, 6).astype("f")
    y = (x @ rs.randn(6, 3)).argmax(1).astype("f")
    it, check = mx.io.NDArrayIter(x, y, 32, shuffle=True), mx.io.NDArrayIter(x, y, 32)
    batches, epochs, scores = [], [], []
    module = mx.mod.Module(mlp())
    with caplog.at_level(logging.INFO):
        module.fit(
            it, check, num_epoch=8, optimizer="adam", optimizer_params={"learning_rate": 0.02},
            eval_metric=["acc", "ce"],
            initializer=mx.init.Xavier(), validation_metric="acc",
            batch_end_callback=[lambda p: batches.append((p.epoch, p.nbatch)), mx.callback.Speedometer(32, 4)],
            epoch_end_callback=lambda epoch, symbol, args, states: epochs.append((epoch, sorted(args))),
            eval_end_callback=lambda p: scores.append(p.eval_metric.get()[1]),
        )  # fmt: skip
    assert batches[:9] == [(0, b) for b in range(8)] + [(1, 0)] and len(epochs) == 8
    assert scores[-1] > 0.9 and module.score(check, "acc") == [("accuracy", scores[-1])]
    for text in ("Epoch[0] Train-accuracy=", "Epoch[7] Validation-accuracy=", "Time cost=", "samples/sec"):
        assert text in caplog.text
    with pytest.raises(AssertionError, match="epochs"):
        module.fit(it)


def test_predict():
    module = made()
    it = mx.io.NDArrayIter(X[:20], Y[:20], 8)
    together = module.predict(it)
    assert together.shape == (20, 3)
    apart = module.predict(it, merge_batches=False)
    assert [len(b) for b in apart] == [1, 1, 1] and apart[2][0].shape == (4, 3)
    np.testing.assert_array_equal(together.asnumpy(), np.concatenate([b[0].asnumpy() for b in apart]))
    assert isinstance(module.predict(it, always_output_list=True), list)
    assert module.predict(it, num_batch=1).shape == (8, 3)
    np.testing.assert_array_equal(module.predict(X[:8]).asnumpy(), together.asnumpy()[:8])
    for outputs, number, batch in module.iter_predict(it):
        assert outputs[0].shape[0] == 8 - batch.pad and number < 3
    with pytest.raises(ValueError, match="NDArray or DataIter"):
        module.predict([1])


# --------------------------------------------------------------------------------------------- files


def test_checkpoints(tmp_path):
    module = made(optimizer="adam")
    trained(module)
    prefix = str(tmp_path / "net")
    module.save_checkpoint(prefix, 3, save_optimizer_states=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net-0003.params", "net-0003.states", "net-symbol.json"]
    again = mx.mod.Module.load(prefix, 3, load_optimizer_states=True)
    it = data()
    again.bind(it.provide_data, it.provide_label)
    again.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.1})
    again._optimizer._index_update_count.update(module._optimizer._index_update_count)
    assert_same(values(module), values(again))
    assert_same(trained(module), trained(again))
    symbol, args, states = mx.model.load_checkpoint(prefix, 3)
    assert (
        symbol.list_arguments() == mlp().list_arguments() and sorted(args) == sorted(module._param_names) and not states
    )
    module.save_params(str(tmp_path / "p"))
    again.load_params(str(tmp_path / "p"))
    assert_same(values(module), values(again))


def test_files_that_are_no_parameters(tmp_path):
    mx.nd.save(tmp_path / "x-0001.params", {"weight": mx.nd.ones(1)})
    with pytest.raises(ValueError, match="arg:"):
        mx.model.load_params(str(tmp_path / "x"), 1)
    mx.nd.save(tmp_path / "x-0001.params", [mx.nd.ones(1)])
    with pytest.raises(ValueError, match="no names"):
        mx.model.load_params(str(tmp_path / "x"), 1)


def test_checkpoint_callbacks(tmp_path):
    module = made()
    prefix = str(tmp_path / "net")
    args, states = module.get_params()
    callbacks = (mx.callback.do_checkpoint(prefix, 2), mx.callback.module_checkpoint(module, prefix + "m", 2))
    for epoch in range(4):
        callbacks[0](epoch, module.symbol, args, states)
        callbacks[1](epoch)
    names = sorted(p.name for p in tmp_path.glob("*.params"))
    assert names == ["net-0002.params", "net-0004.params", "netm-0002.params", "netm-0004.params"]


# --------------------------------------------------------------------------------------------- shapes and sharing


def test_other_shapes():
    module = made()
    reference = module.predict(data()).asnumpy()
    module.forward(mx.io.DataBatch([mx.nd.array(X[:3])], [mx.nd.array(Y[:3])]), is_train=False)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), reference[:3], rtol=1e-5)
    assert module.data_shapes[0].shape == (3, 6) and module.output_shapes == [("softmax_output", (3, 3))]
    small = mx.io.DataBatch([mx.nd.array(X[:3])], [mx.nd.array(Y[:3])])
    before = values(module)
    module.forward_backward(small)
    module.update()
    assert (values(module)["fc1_weight"] != before["fc1_weight"]).any()
    executors = len(module._exec_group._known)
    for _ in range(2):
        module.forward(next(data()), is_train=False)
        module.forward(small, is_train=False)
    assert len(module._exec_group._known) == executors
    module.reshape([("data", (5, 6))], [("softmax_label", (5,))])
    assert module.predict(mx.nd.array(X[:5])).shape == (5, 3)


def test_one_batch_may_have_no_labels():
    module = made()
    module.forward(mx.io.DataBatch([mx.nd.array(X[:3])]), is_train=False)
    assert module.get_outputs()[0].shape == (3, 3)


def test_shared_module():
    first = made()
    second = mx.mod.Module(mlp())
    second.bind([("data", (4, 6))], [("softmax_label", (4,))], shared_module=first)
    assert second.optimizer_initialized
    second.forward_backward(mx.io.DataBatch([mx.nd.array(X[:4])], [mx.nd.array(Y[:4])]))
    second.update()
    np.testing.assert_array_equal(
        first._exec.arg_dict["fc1_weight"].asnumpy(), second._exec.arg_dict["fc1_weight"].asnumpy()
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_module_that_only_predicts_sees_what_the_one_that_trains_learned(optimizer):
    """Between steps, too, whatever else the module that trains does. (MXNet's predicts with the first weights.)"""
    first = made()
    first.init_optimizer(optimizer=optimizer, optimizer_params={"learning_rate": 0.1}, force_init=True)
    second = mx.mod.Module(mlp())
    second.bind([("data", (5, 6))], [("softmax_label", (5,))], for_training=False, shared_module=first)
    batch = mx.io.DataBatch([mx.nd.array(X[:4])], [mx.nd.array(Y[:4])])
    before = None
    for _ in range(3):
        first.forward_backward(batch)
        first.update()
        seen = second.predict(mx.nd.array(X[:5])).asnumpy()
        alone = mx.mod.Module(mlp())
        alone.bind([("data", (5, 6))], [("softmax_label", (5,))], for_training=False)
        alone.set_params(*first.get_params())
        np.testing.assert_allclose(seen, alone.predict(mx.nd.array(X[:5])).asnumpy(), rtol=1e-5, atol=1e-6)
        assert before is None or abs(seen - before).max() > 1e-4
        before = seen


def test_rebinding_keeps_parameters():
    module = made()
    trained(module, 2)
    before = values(module)
    module.bind([("data", (4, 6))], [("softmax_label", (4,))], force_rebind=True)
    assert_same(before, values(module))
    assert module.predict(mx.nd.array(X[:4])).shape == (4, 3)


def test_lists_of_batches():
    module = made(context=[mx.cpu(0), mx.cpu(1)])
    halves = [mx.io.DataBatch([mx.nd.array(X[i : i + 4])], [mx.nd.array(Y[i : i + 4])], 0) for i in (0, 4)]
    module.forward(halves, is_train=False)
    expected = module.predict(mx.nd.array(X[:8])).asnumpy()
    module.forward(halves, is_train=False)
    parts = module.get_outputs(merge_multi_context=False)[0]
    np.testing.assert_array_equal(np.concatenate([p.asnumpy() for p in parts]), expected)
    with pytest.raises(mx.MXNetError, match="CPU"):
        mx.mod.Module(mlp(), context=mx.gpu())


def test_states_of_recurrent_nets():
    net = mx.sym.FullyConnected(mx.sym.Variable("data") + mx.sym.Variable("state"), num_hidden=2, name="fc")
    module = mx.mod.Module(net, label_names=None, state_names=["state"])
    module.bind(
        [
            ("data", (4, 3)),
        ],
        for_training=False,
    )
    module.init_params()
    module.set_states(value=2)
    assert (module.get_states()[0].asnumpy() == 2).all()
    module.set_states(states=[mx.nd.ones((4, 3))])
    assert (module.get_states(merge_multi_context=False)[0][0].asnumpy() == 1).all()
    with pytest.raises(AssertionError):
        module.set_states()


# --------------------------------------------------------------------------------------------- errors


def test_order_of_calls():
    module = mx.mod.Module(mlp())
    for early in (
        lambda: module.forward(None), lambda: module.init_params(), lambda: module.get_params(),
        lambda: module.data_shapes,
        lambda: module.init_optimizer(), lambda: module.score(data(), "acc"), lambda: module.update(),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="call"):
            early()


def test_wrong_names_and_parameters():
    with pytest.raises(ValueError, match="nope"):
        mx.mod.Module(mlp(), data_names=["nope"])
    with pytest.warns(UserWarning, match="other_label"):
        mx.mod.Module(mlp(), label_names=["other_label"])
    module = mx.mod.Module(mlp())
    with pytest.raises(ValueError, match="data_shapes"):
        module.bind([("x", (1, 6))])
    module = made()
    args, states = module.get_params()
    with pytest.raises(RuntimeError, match="not presented"):
        module.set_params({}, {})
    with pytest.warns(UserWarning, match="no parameter 'extra'"):
        module.set_params({**args, "extra": mx.nd.ones(1)}, states)
    with pytest.raises(ValueError, match="extra"):
        module.set_params({**args, "extra": mx.nd.ones(1)}, states, allow_missing=True)
    module.set_params({**args, "extra": mx.nd.ones(1)}, states, allow_extra=True)
    module.set_params({"fc1_bias": mx.nd.full(5, 3)}, {}, allow_missing=True)
    assert (values(module)["fc1_bias"] == 3).all()
    with pytest.raises(mx.MXNetError, match="'fc1_bias', the bias of FullyConnected 'fc1'.*shape"):
        module.set_params({**args, "fc1_bias": mx.nd.ones(2)}, states)
    with pytest.warns(UserWarning, match="ignored"):
        module.init_params()
    with pytest.raises(AssertionError, match="Optimizer"):
        module.init_optimizer(optimizer=3, force_init=True)
    with pytest.warns(UserWarning, match="rescale_grad"):
        module.init_optimizer(optimizer=mx.optimizer.create("sgd"), force_init=True)
    with pytest.raises(AssertionError, match="inputs_need_grad"):
        module.get_input_grads()


def test_a_batch_is_any_object_with_data():
    batch = namedtuple("Batch", ["data"])
    module = made()
    module.forward(batch([mx.nd.array(X[:4])]), is_train=False)
    assert module.get_outputs()[0].shape == (4, 3)
    module.forward(batch([mx.nd.array(X[:8])]), is_train=False)
    assert module.get_outputs()[0].shape == (8, 3)
    group = mx.mod.Module(mlp())
    with pytest.raises(TypeError, match="whole numbers"):
        group.bind([("data", mx.nd.array([4, 6]))])
    assert not group.binded


def test_subclasses_are_ready_before_their_methods_are_called():
    class Mine(mx.mod.Module):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.mine = True

        def _reset_bind(self):
            assert self.mine
            super()._reset_bind()

    Mine(mlp()).bind([("data", (4, 6))], [("softmax_label", (4,))], force_rebind=True)


@pytest.mark.parametrize("store", [None, "local", "create"])
def test_stores_train_alike_and_their_states_are_saved(store, tmp_path):
    """A store of one context has the executor's own parameters, so that a step is one program with it, too."""

    def run(kvstore, steps):
        module = mx.mod.Module(mlp())
        it = data()
        module.bind(it.provide_data, it.provide_label)
        mx.random.seed(1)
        module.init_params(mx.init.Uniform(0.1))
        module.init_optimizer(kvstore, "adam", {"learning_rate": 0.1})
        return module, trained(module, steps)

    module, got = run(mx.kv.create("local") if store == "create" else store, 3)
    assert_same(got, run("local", 3)[1])
    assert bool(module._update_on_kvstore) is (store == "create") and (module._fused_step() is not None)
    module.save_optimizer_states(str(tmp_path / "states"))
    module.load_optimizer_states(str(tmp_path / "states"))
    if store == "create":
        held = mx.nd.zeros(got["fc1_weight"].shape)
        module._kvstore.pull("fc1_weight", held)
        np.testing.assert_array_equal(held.asnumpy(), got["fc1_weight"])
