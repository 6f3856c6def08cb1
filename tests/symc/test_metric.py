"""Protects: how metrics are made and named, what they refuse, and edge cases; values are recorded from MXNet."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

LABEL, PRED = mx.nd.array([0, 1]), mx.nd.array([[0.9, 0.1], [0.6, 0.4]])


def test_names_and_configs():
    for name in (
        "acc",
        "f1",
        "mcc",
        "mae",
        "mse",
        "rmse",
        "ce",
        "nll_loss",
        "pearsonr",
        "pcc",
        "loss",
        "torch",
        "caffe",
    ):
        metric = mx.metric.create(name)
        assert np.isnan(metric.get()[1]) and np.isnan(metric.get_global()[1])
        assert mx.metric.create(metric.get_config()).get_config() == metric.get_config()
    topk = mx.metric.create("top_k_acc", top_k=2)
    assert topk.get()[0] == "top_k_accuracy_2" and mx.metric.create(topk.get_config()).name == topk.name
    with pytest.raises(AssertionError, match="nothing"):
        mx.metric.create("nothing")
    with pytest.raises(AssertionError, match="Accuracy"):
        mx.metric.create("top_k_acc", top_k=1)
    with pytest.raises(NotImplementedError):
        mx.metric.create(lambda label, pred: 1).get_config()


def test_by_output_and_label_names():
    metric = mx.metric.create("acc", output_names=["a"], label_names=["l"])
    metric.update_dict({"l": LABEL, "other": 1}, {"a": PRED, "b": 0})
    assert metric.get() == ("accuracy", 0.5)
    assert str(metric) == "EvalMetric: {'accuracy': 0.5}"
    both = mx.metric.CompositeEvalMetric(["acc", "ce"], output_names=["a"], label_names=["l"])
    both.update_dict({"l": LABEL, "other": 1}, {"a": PRED, "b": 0})
    assert both.get()[0] == ["accuracy", "cross-entropy"] and both.get_metric(0).get()[1] == 0.5
    assert len(both.get_config()["metrics"]) == 2
    with pytest.raises(ValueError, match="out of range"):
        both.get_metric(5)
    both.reset()
    assert np.isnan(both.get()[1]).all()


def test_local_and_global():
    metric = mx.metric.create("acc")
    metric.update([LABEL], [PRED])
    metric.reset_local()
    assert np.isnan(metric.get()[1]) and metric.get_global() == ("accuracy", 0.5)
    assert metric.get_global_name_value() == [("accuracy", 0.5)]
    metric.reset()
    assert np.isnan(metric.get_global()[1])


def test_single_arrays():
    metric = mx.metric.create("mse")
    metric.update(LABEL, mx.nd.array([1, 1]))
    assert metric.get()[1] == 0.5


def test_custom():
    metric = mx.metric.create(lambda label, pred: (3.0, 2))
    assert metric.name == "custom(<lambda>)"
    metric.update([LABEL], [PRED])
    assert metric.get()[1] == 1.5
    extra = mx.metric.np(lambda label, pred: 1.0, "n", allow_extra_outputs=True)
    extra.update([LABEL], [PRED, PRED])
    assert extra.get() == ("n", 1.0)


@pytest.mark.parametrize(
    ("metric", "label", "pred"),
    [
        ("acc", [0, 1, 1], np.eye(2)),
        ("f1", [0, 1, 2], np.eye(3)),
        ("ce", [0, 1, 1], np.eye(2)),
        ("pearsonr", [0, 1, 1], np.eye(2)),
    ],
)
def test_what_does_not_fit(metric, label, pred):
    with pytest.raises((ValueError, AssertionError)):
        mx.metric.create(metric).update([mx.nd.array(label)], [mx.nd.array(pred)])
    with pytest.raises(ValueError, match="does not match"):
        mx.metric.create(metric).update([], [mx.nd.array(pred)])


def test_degenerate_classes():
    ones = mx.nd.array([[0, 1], [0, 1]])
    for name, value in (("f1", 1.0), ("mcc", 0.0)):
        metric = mx.metric.create(name)
        metric.update([mx.nd.ones(2)], [ones])
        assert metric.get()[1] == value
    pcc = mx.metric.create("pcc")
    pcc.update([mx.nd.ones(2)], [ones])
    assert np.isnan(pcc.get()[1])
    wide = mx.metric.create("pcc")
    wide.update([mx.nd.array([4, 0, 4])], [mx.nd.array(np.eye(5)[[4, 0, 3]])])
    assert 0 < wide.get()[1] < 1


def test_names_of_metrics_of_functions():
    """A function without a name of its own is a custom one, also through `np`."""
    for make in (mx.metric.np, mx.metric.CustomMetric, mx.metric.create):
        assert make(lambda label, pred: 0.0).name == "custom(<lambda>)", make
    assert mx.metric.np(lambda label, pred: 0.0, "mine").name == "mine"
