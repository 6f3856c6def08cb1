"""Protects reductions: axes, kept and excluded dimensions, integer arithmetic, gradients at ties, zeros and nan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operating import check_numerically, forward, gradients, infer, make

from symc.ops.base import MXNetError, ShapeError

NUMPY = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "nansum": np.nansum,
    "nanprod": np.nanprod,
}
X = np.array([[[0.5, -1.25], [2.0, 0.75]], [[1.5, -0.25], [-2.0, 3.0]], [[1.0, 4.0], [0.125, -3.5]]])


@pytest.mark.parametrize("name", NUMPY)
@given(axes=st.sets(st.sampled_from([0, 1, 2, -1, -3])), keepdims=st.booleans(), exclude=st.booleans())
def test_axes_as_in_numpy(name, axes, keepdims, exclude):
    positive = {a % 3 for a in axes}
    if len(positive) != len(axes):
        with pytest.raises(ShapeError):
            infer(name, X.shape, axis=tuple(axes))
        return
    over = tuple(sorted(positive)) or (0, 1, 2)
    if exclude and axes:
        over = tuple(a for a in range(3) if a not in positive)
    expected = NUMPY[name](X, axis=over, keepdims=keepdims)
    made = forward(name, X, axis=tuple(axes), keepdims=keepdims, exclude=exclude)
    assert made.shape == (expected.shape or (1,))
    np.testing.assert_allclose(made, expected.reshape(made.shape), rtol=1e-12)


@pytest.mark.parametrize("name", [*NUMPY, "norm"])
def test_gradients(name):
    check_numerically(name, X, axis=(0, 2))


def test_integers_wrap_and_truncate():
    assert forward("sum", np.array([200, 100], np.uint8)).tolist() == [44]
    assert forward("mean", np.array([255, 255, 255], np.uint8)).tolist() == [84]
    assert forward("mean", np.array([-7, 2], np.int32)).tolist() == [-2]


def test_half_precision_accumulates_wide():
    x = np.full(4096, 1.0, np.float16)
    assert forward("sum", x)[0] == 4096 and forward("sum", x).dtype == np.float16


def test_ties_zeros_and_nan():
    assert gradients("max", np.array([3.0, 1.0, 3.0]))[0].tolist() == [1, 0, 1]
    with np.errstate(all="ignore"):
        assert np.isnan(gradients("prod", np.array([0.0, 2.0]))[0]).tolist() == [True, False]
        assert np.isnan(gradients("norm", np.zeros(2))[0]).all()
    assert np.isnan(forward("max", np.array([1.0, np.nan])))[0]
    assert gradients("nansum", np.array([1.0, np.nan]))[0].tolist() == [1, 0]


def test_positions_have_the_datas_type():
    x = np.array([[1, 5, 5], [np.nan, 9, 0]], np.float32)
    assert forward("argmax", x, axis=1).tolist() == [1, 0]
    assert forward("argmin", x, axis=1).dtype == np.float32
    assert forward("argmax", x[:1], keepdims=True).tolist() == [[1]]
    assert forward("argmax_channel", x[:1]).tolist() == [1]


def test_norm_moments_cumsum():
    x = np.array([[3.0, -4.0], [6.0, 8.0]])
    assert forward("norm", x, axis=1).tolist() == [5, 10]
    assert forward("norm", x, axis=1, ord=1).tolist() == [7, 14]
    mean, var = forward("moments", x, axes=(0,))
    assert mean.tolist() == [4.5, 2] and var.tolist() == [2.25, 36]
    check_numerically("moments", x, axes=(1,))
    assert forward("cumsum", x).tolist() == [3, -1, 5, 13]
    check_numerically("cumsum", x, axis=0)
    with pytest.raises(MXNetError):
        make("norm", ord=3)
    with pytest.raises(ShapeError):
        forward("cumsum", x, axis=-1)


def test_finiteness():
    assert forward("all_finite", np.array([1.0, 2.0], np.float32)).tolist() == [1]
    assert forward("multi_all_finite", np.ones(2, np.float32), np.array([np.inf], np.float32)).tolist() == [0]
    assert forward("multi_sum_sq", np.array([3.0, 4.0]), np.ones(3)).tolist() == [25, 3]
    with pytest.raises(ShapeError, match="differ"):
        forward("multi_all_finite", np.ones(2, np.float32), np.ones(2, np.float16))


@pytest.mark.parametrize(
    ("name", "data", "attrs"),
    [
        ("sort", np.ones(3, np.float16), {}),
        ("argsort", np.ones(3, np.float16), {}),
        ("_histogram", np.ones(3), {"bin_cnt": 3, "range": (2, 1)}),
        ("_histogram", np.ones(3), {"bin_cnt": 3}),
        ("_histogram", np.ones(3), {"range": (1, 2)}),
    ],
)
def test_refused(name, data, attrs):
    with pytest.raises(MXNetError):
        forward(name, data, **attrs)


def test_histogram_edges():
    counts, edges = forward("_histogram", np.array([-1.5, 0.9, 3.25, 4.0]), bin_cnt=2, range=(-1.5, 3.25))
    assert counts.tolist() == [1, 2] and edges.tolist() == [-1.5, 0.875, 3.25]
    for bins in ((1,), (2, 2)):
        with pytest.raises(ShapeError):
            infer("_histogram", (4,), bins, outs=(None, None))
