"""Protects None that is given on purpose: where it has a meaning that is not the default, mx.nd takes it as mx.sym."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

DATA = np.array([[1, 5, 3], [4, 2, 6]], "float32")
#: values of MXNet 1.9.1
CALLS = {
    "sort": ({}, [1, 2, 3, 4, 5, 6]),
    "argsort": ({}, [0, 4, 2, 3, 1, 5]),
    "topk": ({"k": 2}, [5, 1]),
}


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
