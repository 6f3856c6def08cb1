"""Protects what is around a Module: monitors, callbacks, FeedForward, buckets and sequences of modules."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from training import RS, X, Y, assert_same, data, made, mlp, values

import symc as mx


def test_monitor():
    module = made()
    monitor = mx.mon.Monitor(2, pattern="fc1.*", sort=True)
    module.install_monitor(monitor)
    batch = next(data())
    seen = []
    for _ in range(3):
        monitor.tic()
        module.forward_backward(batch)
        module.update()
        seen.append([name for _, name, _ in monitor.toc()])
    gradients = [f"fc1_backward_output{i}" for i in range(3)]
    assert seen[0] == seen[2] == [*gradients, "fc1_bias", "fc1_output", "fc1_weight"] and seen[1] == []
    bad = mx.mon.Monitor(1, stat_func=lambda x: 3)
    bad.install(module._exec)
    bad.tic()
    with pytest.raises(TypeError, match="stat_func"):
        bad.toc()


def test_callbacks_log(caplog):
    metric = mx.metric.create("acc")
    metric.update([mx.nd.array([1])], [mx.nd.array([[0, 1]])])
    param = mx.model.BatchEndParam(1, 4, metric, None)
    with caplog.at_level(logging.INFO):
        mx.callback.LogValidationMetricsCallback()(param)
        mx.callback.ProgressBar(8, 10)(param)
        meter = mx.callback.Speedometer(2, 2, auto_reset=False)
        meter(mx.model.BatchEndParam(1, 1, None, None))
        meter(mx.model.BatchEndParam(1, 2, None, None))
        meter(param)
        mx.callback.log_train_metric(2, auto_reset=True)(param)
    for text in ("Validation-accuracy=1.0", "[=====-----] 50%", "Iter[1] Batch [2]", "Batch [0-4]", "Train-accuracy"):
        assert text in caplog.text
    assert np.isnan(metric.get()[1])


@pytest.mark.filterwarnings("ignore:FeedForward")
def test_feed_forward(tmp_path):
    model = mx.model.FeedForward(
        mlp(), num_epoch=3, learning_rate=0.1, numpy_batch_size=8, initializer=mx.init.Xavier()
    )
    model.fit(X, Y, eval_data=(X, Y))
    predicted = model.predict(X)
    assert predicted.shape == (24, 3)
    both = model.predict(data(), return_data=True)
    np.testing.assert_array_equal(both[1], X)
    np.testing.assert_array_equal(both[2], Y)
    assert model.score(data()) == pytest.approx((predicted.argmax(1) == Y).mean())
    model.save(str(tmp_path / "m"))
    again = mx.model.FeedForward.load(str(tmp_path / "m"), 3)
    np.testing.assert_array_equal(again.predict(X), predicted)
    created = mx.model.FeedForward.create(mlp(), X, Y, num_epoch=1, learning_rate=0.1)
    assert created.predict(X).shape == (24, 3)
    for wrong in (lambda: model.fit(X), lambda: model.fit(X, Y[:3]), lambda: model.fit(X, np.ones((24, 2)))):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(TypeError):
        model.fit(3)


@pytest.mark.filterwarnings("ignore:FeedForward")
def test_feed_forward_predicts_from_iterators_without_labels(tmp_path, caplog):
    """They describe labels of one number a row, whatever the net's own labels are."""
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=5, name="fc")
    model = mx.model.FeedForward(mx.sym.LogisticRegressionOutput(net, name="softmax"), num_epoch=2, numpy_batch_size=8)
    targets = np.random.RandomState(3).rand(len(X), 5)
    model.fit(mx.io.NDArrayIter(X, targets, 8), eval_metric="mse")
    wide = X.shape[1:]
    unlabelled = mx.io.CSVIter(data_csv=str(tmp_path / "x.csv"), data_shape=wide, batch_size=1)
    predicted = model.predict(unlabelled)
    np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-5)

    class Own(mx.io.NDArrayIter):
        provide_label = None

    np.testing.assert_array_equal(model.predict(Own(X, batch_size=1)), predicted)
    scored = model.score(mx.io.NDArrayIter(X, targets, 8), "mse")
    np.testing.assert_allclose(scored, ((predicted - targets) ** 2).mean(), rtol=1e-5)
    assert "Already bound" not in caplog.text


def test_feed_forward_is_deprecated():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mx.model.FeedForward(mlp())
    assert any(issubclass(w.category, DeprecationWarning) for w in caught)


def bucket_net(key):
    h = mx.sym.FullyConnected(mx.sym.mean(mx.sym.Variable("data"), axis=1), num_hidden=3, name="fc")
    return mx.sym.SoftmaxOutput(h, name="softmax"), ("data",), ("softmax_label",)


def bucket_batch(key):
    return mx.io.DataBatch(
        [mx.nd.array(RS.randn(4, key, 6))], [mx.nd.array([0, 1, 2, 1])], 0, bucket_key=key,
        provide_data=[("data", (4, key, 6))], provide_label=[("softmax_label", (4,))],
    )  # fmt: skip


def test_buckets(tmp_path):
    module = mx.mod.BucketingModule(bucket_net, 10)
    assert module.data_names == ["data"] and module.output_names == ["softmax_output"]
    module.bind([("data", (4, 10, 6))], [("softmax_label", (4,))])
    module.init_params(mx.init.Xavier())
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    for key in (10, 4, 7, 4):
        before = values(module)
        batch = bucket_batch(key)
        module.prepare(batch)
        module.forward_backward(batch)
        module.update()
        assert module.data_shapes[0].shape == (4, key, 6)
        assert (values(module)["fc_weight"] != before["fc_weight"]).any()
    assert len(module._buckets) == 3
    module.save_checkpoint(str(tmp_path / "b"), 1)
    assert sorted(mx.model.load_params(str(tmp_path / "b"), 1)[0]) == ["fc_bias", "fc_weight"]
    before = values(module)
    again = mx.mod.BucketingModule.load(str(tmp_path / "b"), 1, bucket_net, module._default_bucket_key)
    again.bind(module._largest.data_shapes, module._largest.label_shapes)
    assert_same(before, values(again))
    assert set(again._loaded) == set(module._buckets)
    with pytest.raises(AssertionError, match="arg_params is required"):
        mx.mod.BucketingModule.load_dict({}, bucket_net, 10)
    module._buckets["long"] = module._largest
    with pytest.raises(TypeError, match="'long'"):
        module.save_checkpoint(str(tmp_path / "c"), 1)
    del module._buckets["long"]
    module.bind([("data", (2, 10, 6))], [("softmax_label", (2,))], force_rebind=True)
    assert_same(before, values(module))
    with pytest.raises(AssertionError, match="default_bucket_key"):
        mx.mod.BucketingModule(bucket_net)


def test_sequence_refuses():
    module = mx.mod.SequentialModule()
    with pytest.raises(AssertionError, match="empty"):
        module.bind([("data", (1, 2))])
    with pytest.raises(AssertionError, match="typo"):
        module.add(mx.mod.Module(mlp()), take_label=True)
    twice = mx.mod.SequentialModule()
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    twice.add(mx.mod.Module(net, label_names=None)).add(mx.mod.Module(net, label_names=None), auto_wiring=True)
    twice.bind([("data", (1, 2))])
    with pytest.raises(AssertionError, match="Duplicated"):
        twice.init_params()


def test_python_modules_say_what_is_missing():
    loss = mx.mod.PythonLossModule(name="l", label_names=("y",))
    assert (loss.data_names, loss.output_names) == (["data"], ["l_output"])
    with pytest.raises(AssertionError, match="takes data \\['data'\\]"):
        loss.bind([("x", (2, 3))])
    with pytest.raises(AssertionError, match="write gradient"):
        loss.bind([("data", (2, 3))], [("y", (2,))], grad_req="add")
    loss.bind([("data", (2, 3))], [("y", (2,))])
    assert loss.output_shapes == [("l_output", (2, 3))] and loss.label_shapes == [("y", (2,))]
    loss.forward(mx.io.DataBatch([mx.nd.ones((2, 3))], [mx.nd.zeros(2)]))
    with pytest.raises(AssertionError, match="out_grads"):
        loss.backward([mx.nd.ones((2, 3))])
    with pytest.raises(NotImplementedError, match="grad_func"):
        loss.backward()
    with pytest.raises(AssertionError, match="function"):
        mx.mod.PythonLossModule(grad_func=3)
    with pytest.raises(AssertionError, match="one data"):
        mx.mod.PythonLossModule(data_names=("a", "b"))
    with pytest.raises(RuntimeError, match="presliced"):
        loss.update_metric(mx.metric.create("acc"), [], pre_sliced=True)
    with pytest.raises(NotImplementedError):
        mx.mod.PythonModule(["data"], None, ["out"]).bind([("data", (2,))])


def test_callbacks_find_what_fit_was_given():
    """Programs read the names of `fit` in the `locals` of what callbacks after batches get."""
    module, seen = mx.mod.Module(mlp()), []
    batches = data()
    module.fit(batches, num_epoch=2, eval_metric="acc", batch_end_callback=lambda param: seen.append(param))
    names = seen[-1].locals
    assert names["self"] is module and names["train_data"] is batches and names["eval_metric"] is seen[-1].eval_metric
    assert (names["epoch"], names["nbatch"], names["num_epoch"]) == (1, seen[-1].nbatch, 2)
    assert names["next_data_batch"] is None and names["data_batch"].data[0].shape[1:] == X.shape[1:]
