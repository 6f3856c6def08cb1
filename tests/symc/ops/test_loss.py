"""Protects the output layers: predictions, and gradients that ignore the head."""

from __future__ import annotations

import numpy as np
import pytest
from operating import Built, check_numerically, forward, gradients, infer

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3))
LABEL = np.array([0.0, 2.0, 1.0, 2.0])


def _softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


P = _softmax(X)
HOT = np.eye(3)[LABEL.astype(int)]


@pytest.mark.parametrize(
    ("attrs", "wanted"),
    [
        ({}, P - HOT),
        ({"normalization": "batch", "grad_scale": 2.0}, (P - HOT) / 2),
        ({"normalization": "valid", "ignore_label": 2, "use_ignore": True}, (P - HOT) * (LABEL != 2)[:, None] / 2),
        ({"smooth_alpha": 0.2}, P - np.where(HOT, 0.8, 0.1)),
        ({"out_grad": True}, (P - HOT) * P),
    ],
)
def test_softmax_output(attrs, wanted):
    assert np.allclose(forward("SoftmaxOutput", X, LABEL, **attrs), P)
    dx, dlabel = gradients("SoftmaxOutput", X, LABEL, heads=[X * 100], **attrs)
    assert np.allclose(dx, wanted) and not dlabel.any()


def test_softmax_output_over_channels():
    x, label = RNG.normal(size=(2, 3, 4)), RNG.integers(0, 3, (2, 4)).astype(float)
    hot = np.moveaxis(np.eye(3)[label.astype(int)], -1, 1)
    dx, _ = gradients("SoftmaxOutput", x, label, multi_output=True, normalization="batch")
    assert np.allclose(dx, (_softmax(x) - hot) / 8)
    assert infer("SoftmaxOutput", (2, 3, 4, 5), None, multi_output=True)[0][1] == (2, 20)


def test_softmax_output_takes_probabilities():
    dx, _ = gradients("SoftmaxOutput", X, P[::-1].copy())
    assert np.allclose(dx, P - P[::-1])


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("LinearRegressionOutput", lambda x: x, lambda y, t: y - t),
        ("LogisticRegressionOutput", lambda x: 1 / (1 + np.exp(-x)), lambda y, t: y - t),
        ("MAERegressionOutput", lambda x: x, lambda y, t: np.sign(y - t)),
    ],
)
def test_regression(name, value, slope):
    target = RNG.normal(size=X.shape)
    assert np.allclose(forward(name, X, target), value(X))
    assert np.allclose(gradients(name, X, target, grad_scale=3.0)[0], slope(value(X), target))
    assert infer(name, (4, 1), None)[0][1] == (4,)


def test_svm():
    t = 2 * HOT - 1
    assert np.allclose(gradients("SVMOutput", X, LABEL)[0], -2 * t * np.maximum(0, 1 - t * X))
    assert np.allclose(gradients("SVMOutput", X, LABEL, use_linear=True)[0], -t * (t * X < 1))


def test_make_loss_counts_values_above_the_threshold():
    assert np.allclose(gradients("MakeLoss", X, normalization="valid", grad_scale=2.0)[0], 2 / max(1, (X > 0).sum()))


def test_softmax_cross_entropy():
    assert np.allclose(forward("softmax_cross_entropy", X, LABEL), -np.log(P[HOT > 0]).sum())
    check_numerically("softmax_cross_entropy", X, LABEL, wrt=[0])


def test_sparseness_penalty_uses_the_updated_average():
    x, moving = RNG.uniform(0.1, 0.9, (5, 2)).astype(np.float32), np.array([0.3, 0.4], np.float32)
    built = Built("IdentityAttachKLSparseReg", [x, moving], penalty=0.5)
    mean = moving * 0.9 + x.mean(0) * 0.1
    assert np.allclose(built.updates()[1], mean)
    assert np.allclose(built.backward()[0], 1 + 0.5 * (0.9 / (1 - mean) - 0.1 / mean) + 0 * x)


@pytest.mark.parametrize(("shape", "rows"), [((3,), 1), ((2, 3), 2), ((2, 3, 4), 6)])
def test_the_batch_of_make_loss_is_all_but_the_last_axis(shape, rows):
    grad = Built("MakeLoss", [np.ones(shape)], normalization="batch").backward()[0]
    assert np.allclose(grad, 1 / rows)


def test_the_batch_of_softmax_output_is_the_number_of_labels():
    data, label = np.zeros((2, 3, 2)), np.zeros((2, 3))
    one = Built("SoftmaxOutput", [data, label]).backward()[0]
    assert np.allclose(Built("SoftmaxOutput", [data, label], normalization="batch").backward()[0], one / 6)
