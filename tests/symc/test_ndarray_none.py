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
