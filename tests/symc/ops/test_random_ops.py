"""Protects random operators (shapes, types, moments, refused parameters) and densities with their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from operating import check_numerically, forward, infer, infer_types, make

from symc.base import LateError
from symc.ops.base import MXNetError, ShapeError

SHAPE = (100, 100)
DRAWS = [
    ("uniform", {"low": -1.0, "high": 3.0}, 1.0, 4 / math.sqrt(12)),
    ("normal", {"loc": 2.0, "scale": 0.5}, 2.0, 0.5),
    ("gamma", {"alpha": 2.0, "beta": 0.5}, 1.0, math.sqrt(0.5)),
    ("exponential", {"lam": 4.0}, 0.25, 0.25),
    ("poisson", {"lam": 3.0}, 3.0, math.sqrt(3)),
    ("negative_binomial", {"k": 3, "p": 0.4}, 4.5, math.sqrt(3 * 0.6 / 0.16)),
    ("generalized_negative_binomial", {"mu": 2.0, "alpha": 0.3}, 2.0, math.sqrt(2 + 0.3 * 4)),
]


@pytest.mark.parametrize(("name", "attrs", "mean", "std"), DRAWS)
def test_moments(name, attrs, mean, std):
    x = forward(f"_random_{name}", shape=SHAPE, **attrs)
    like = forward(f"_random_{name}_like", np.zeros(SHAPE, np.float64), **attrs)
    assert x.dtype == np.float32 and like.dtype == np.float64
    for draws in (x, like):
        assert abs(draws.mean() - mean) < 6 * std / 100
        assert abs(draws.std() - std) < 0.1 * std
    rows = [np.array([v, v], np.float32) for v in attrs.values()]
    sample = forward(f"_sample_{name}", *rows, shape=(5000,))
    assert sample.shape == (2, 5000) and abs(sample.mean() - mean) < 6 * std / 100


def test_integers_and_choices():
    x = forward("_random_randint", low=-3, high=7, shape=SHAPE)
    assert x.dtype == np.int32 and x.min() == -3 and x.max() == 6 and abs(x.mean() - 1.5) < 0.2
    wide = forward("_random_randint", low=0, high=1 << 40, shape=SHAPE, dtype="int64")
    assert wide.max() > 1 << 38 and wide.min() >= 0
    classes, logs = forward("_sample_multinomial", np.array([[0.2, 0.0, 0.8]]), shape=(5000,), get_prob=True)
    assert abs((classes == 2).mean() - 0.8) < 0.05 and not (classes == 1).any()
    np.testing.assert_allclose(logs[0], np.log(np.where(classes[0] == 2, 0.8, 0.2)), rtol=1e-6)
    rows = np.arange(40.0).reshape(20, 2)
    mixed = forward("_shuffle", rows)
    assert mixed.tolist() != rows.tolist() and sorted(mixed.tolist()) == rows.tolist()
    values, tries = forward("_sample_unique_zipfian", range_max=1000, shape=(2, 30))
    assert all(len(set(row)) == 30 for row in values.tolist()) and (tries >= 30).all()


def test_parameters_at_the_limit():
    assert not forward("_random_poisson", shape=(5,), lam=0).any()
    assert not forward("_sample_poisson", np.array([-1.0, np.nan]), shape=(5,)).any()
    assert not forward("_random_negative_binomial", shape=(5,), k=3, p=1.5).any()


def test_ramps():
    assert forward("_arange", start=1, stop=3, step=0.3, dtype="int8").tolist() == [1] * 7
    assert forward("_arange", start=1, stop=3, infer_range=True).tolist() == [1, 2]
    assert forward("_contrib_arange_like", np.zeros(3, np.int32), start=0.5, step=2.5).tolist() == [0, 2, 4]
    assert forward("_eye", N=2, M=-1).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(MXNetError, match="stop"):
        make("_linspace", start=0, num=5)


def test_shapes_of_densities():
    assert infer("_random_pdf_dirichlet", (4,), (4,))[1] == [(1,)]
    with pytest.raises(ShapeError):
        infer("_random_pdf_dirichlet", (4,), (4, 4))
    with pytest.raises(ShapeError):
        infer("_random_pdf_uniform", (2, 3, 4), (2, 3), (2,))


def test_refused_parameters():
    for name, attrs in (
        ("_random_normal", {"scale": -1}),
        ("_random_randint", {"low": 3, "high": 3}),
        ("_random_uniform", {"low": 2, "high": 1}),
        ("_random_negative_binomial", {"k": 1, "p": -0.5}),
        ("_random_negative_binomial", {"k": -1, "p": 0.5}),
        ("_random_generalized_negative_binomial", {"mu": -1.0}),
    ):
        with pytest.raises(LateError):
            forward(name, shape=(2,), **attrs)
    with pytest.raises(MXNetError):
        make("_random_uniform", shape=(2,), dtype="int32")
    for name, attrs in (
        ("_random_normal", {"shape": (2, -2)}),
        ("_sample_unique_zipfian", {"range_max": 9, "shape": (3,)}),
        ("_zeros", {"shape": (-2,)}),
    ):
        with pytest.raises(ShapeError):
            infer(name, **attrs)
    with pytest.raises(ShapeError):
        infer_types("_random_normal_like", "int32")
    assert infer("_sample_normal", (3,), None, shape=(2, 2))[1] == [(3, 2, 2)]
    assert infer_types("_random_randint", low=0, high=2)[1] == [np.dtype(np.int32)]


DENSITIES = [
    ("uniform", ([0.3, 0.6], [0.0], [2.0]), lambda x, a, b: 1 / (b - a) + 0 * x),
    (
        "normal",
        ([0.3, -1.0], [0.5], [2.0]),
        lambda x, m, s: np.exp(-((x - m) ** 2) / (2 * s * s)) / (s * math.sqrt(2 * math.pi)),
    ),
    ("exponential", ([0.3, 1.0], [1.5]), lambda x, lam: lam * np.exp(-lam * x)),
    ("gamma", ([0.3, 1.0], [2.0], [1.5]), lambda x, a, b: b**2 * x * np.exp(-b * x)),
]


@pytest.mark.parametrize(("name", "arrays", "density"), DENSITIES)
@pytest.mark.parametrize("is_log", [False, True])
def test_densities(name, arrays, density, is_log):
    sample, *parameters = (np.array(a) for a in arrays)
    expected = density(sample, *parameters)
    given = [sample[None], *parameters]
    made = forward(f"_random_pdf_{name}", *given, is_log=is_log)
    np.testing.assert_allclose(made[0], np.log(expected) if is_log else expected, rtol=1e-10)
    check_numerically(f"_random_pdf_{name}", *given, is_log=is_log)


def test_discrete_densities_sum_to_one():
    counts = np.arange(200.0)[None]
    for name, parameters in (
        ("poisson", [3.0]),
        ("negative_binomial", [3.0, 0.4]),
        ("generalized_negative_binomial", [2.0, 0.3]),
    ):
        given = [np.array([p]) for p in parameters]
        assert forward(f"_random_pdf_{name}", counts, *given).sum() == pytest.approx(1)
        check_numerically(f"_random_pdf_{name}", counts[:, :4], *given, wrt=range(1, len(given) + 1))
    simplex = np.array([[[0.2, 0.3, 0.5]]])
    assert forward("_random_pdf_dirichlet", simplex, np.ones((1, 3)))[0] == pytest.approx([2.0])
    check_numerically("_random_pdf_dirichlet", simplex, np.array([[1.5, 2.0, 0.7]]))
