"""Protects None that is given on purpose: where MXNet refuses it, it is refused; else it means what it means there, for
every parameter of every operator (recorded in tests/golden/none), in mx.nd and mx.sym alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from golden.none import record

import symc as mx

HERE = Path(record.__file__).parent
QUESTIONS = json.loads((HERE / "questions.json").read_text())
ANSWERS = json.loads((HERE / "answers.json").read_text())
#: refused sooner: MXNet reads this number only when it takes the gradient, and refuses it there
SOONER = {(f"{kind}RegressionOutput", "grad_scale") for kind in ("Linear", "Logistic", "MAE")}

DATA = np.array([[1, 5, 3], [4, 2, 6]], "float32")
#: values of MXNet 1.9.1
CALLS = {
    "sort": ({}, [1, 2, 3, 4, 5, 6]),
    "argsort": ({}, [0, 4, 2, 3, 1, 5]),
    "topk": ({"k": 2}, [5, 1]),
}


@pytest.mark.parametrize("op", QUESTIONS)
def test_every_parameter(op):
    for parameter, answer in ANSWERS[op].items():
        question = QUESTIONS[op]
        if isinstance(answer, str) or (op, parameter) in SOONER:
            with pytest.raises(mx.MXNetError):
                record.arrays(mx, question, parameter)
            continue
        made = record.symbol(mx, question, parameter)
        given = [(name, tuple(shape)) for name, shape, _ in question[2]]
        known = {name: dtype for name, _, dtype in question[2]}
        shapes, types = made.infer_shape(**dict(given))[1], made.infer_type(**known)[1]
        assert [[list(s), np.dtype(t).name] for s, t in zip(shapes, types)] == answer, parameter


@pytest.mark.parametrize("name", CALLS)
def test_none_reaches_the_operator(name):
    given, want = CALLS[name]
    data = mx.nd.array(DATA)
    symbol = getattr(mx.sym, name)(mx.sym.Variable("x"), axis=None, **given)
    for found in (
        getattr(mx.nd, name)(data, axis=None, **given),
        getattr(data, name)(axis=None, **given),
        symbol.bind(mx.cpu(), {"x": data}).forward()[0],
    ):
        assert found.asnumpy().tolist() == want


def test_arrays_take_it_as_symbols_do():
    """A dtype of None is numpy's: float64. slice_like along no axis is the data."""
    data = mx.nd.array(DATA)
    assert mx.nd.one_hot(mx.nd.array([1]), 3, dtype=None).dtype == np.float64
    assert mx.nd.cast(data, None).dtype == np.float64 and mx.nd.slice_like(data, data[:1], axes=None).shape == (2, 3)
    for space in (mx.nd, mx.sym):
        data = mx.nd.array(DATA) if space is mx.nd else mx.sym.Variable("x")
        for name, given in (("softmax", "axis"), ("Dropout", "p"), ("transpose", "axes"), ("expand_dims", "axis")):
            with pytest.raises(mx.MXNetError, match=f"parameter {given}='None' is not valid"):
                getattr(space, name)(data, **{given: None})


def test_functions_beside_the_operators():
    assert mx.nd.arange(0, 3, dtype=None).dtype == mx.nd.linspace(0, 1, 3, dtype=None).dtype == np.float64
    assert mx.nd.eye(2, dtype=None).dtype == mx.nd.zeros((2,), dtype=None).dtype == np.float32
    assert mx.nd.random.normal(dtype=None).dtype == np.float64 and mx.nd.random.normal().dtype == np.float32
    for wrong in (lambda: mx.nd.arange(3, step=None), lambda: mx.nd.eye(2, None),
                  lambda: mx.nd.concatenate([mx.nd.ones(2)] * 2, axis=None)):  # fmt: skip
        with pytest.raises(TypeError):
            wrong()
    for wrong in (lambda: mx.nd.random.uniform(shape=None), lambda: mx.nd.random.randint(0, 5, dtype=None)):
        with pytest.raises(mx.MXNetError):
            wrong()


def test_where_it_has_no_meaning_it_is_refused():
    with pytest.raises(mx.MXNetError, match="axis=None is not supported"):
        mx.nd.pick(mx.nd.array(DATA), mx.nd.array([0, 1]), axis=None)


def test_none_in_the_place_of_an_input_is_no_input():
    """Code for arrays and Symbols alike hands on the bias it does not have."""
    data, weight = mx.nd.array(DATA), mx.nd.ones((2, 3))
    want = [[9, 9], [12, 12]]
    assert mx.nd.FullyConnected(data, weight, None, num_hidden=2, no_bias=True).asnumpy().tolist() == want
    assert mx.nd.FullyConnected(data, weight, None, 2, True).asnumpy().tolist() == want
    assert mx.nd.FullyConnected(data, weight, bias=None, num_hidden=2, no_bias=True).asnumpy().tolist() == want
    image, kernel = mx.nd.ones((1, 1, 3, 3)), mx.nd.ones((1, 1, 2, 2))
    made = mx.nd.Convolution(image, kernel, None, kernel=(2, 2), num_filter=1, no_bias=True)
    assert (made.asnumpy() == 4).all()
    assert mx.nd.sum(data, None).asnumpy().tolist() == [21]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_histogram_without_a_range_is_float32(dtype):
    """As MXNet's, which counts with numpy then."""
    x = mx.nd.array([[3, 1, 2], [9, 7, 8]], dtype=dtype)
    counts, edges = mx.nd.histogram(x, bins=3, range=None)
    assert counts.dtype == edges.dtype == np.float32
    assert counts.asnumpy().tolist() == [3, 0, 3]
    assert mx.nd.histogram(x, bins=3, range=(0, 10))[0].dtype == np.int64
