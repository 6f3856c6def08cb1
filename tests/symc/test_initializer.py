"""Protects: which start value a parameter gets by its name and attributes, and the shape of random ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

import symc as mx


def start(initializer, name="fc_weight", shape=(4, 2, 3, 5), attrs=None):
    array = mx.nd.full(shape, 7)
    initializer(mx.init.InitDesc(name, attrs), array)
    return array.asnumpy()


@pytest.mark.parametrize(
    ("name", "value"),
    [("x_bias", 0), ("x_gamma", 1), ("x_beta", 0), ("x_moving_max", 1), ("x_min", 0), ("x_weight", 3)],
)
def test_by_name(name, value):
    assert (start(mx.init.Constant(3), name) == value).all()


@pytest.mark.parametrize(
    ("name", "value"), [("x_moving_var", 1), ("x_moving_mean", 0), ("x_bias", 0), ("stn_loc_weight", 0), ("x_gamma", 1)]
)
def test_plain_strings_are_deprecated_but_work(name, value):
    array = mx.nd.full((2, 2), 7)
    with pytest.warns(DeprecationWarning):
        mx.init.Uniform()(name, array)
    assert (array.asnumpy() == value).all()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="foo"):
        start(mx.init.Uniform(), "foo")
    assert (start(mx.init.Uniform(), "foo", attrs={"__init__": mx.init.Constant(4).dumps()}) == 4).all()


@pytest.mark.parametrize(
    ("initializer", "shape", "std"),
    [
        (mx.init.Uniform(0.3), (300, 300), 0.3 / 3**0.5),
        (mx.init.Normal(0.3), (300, 300), 0.3),
        (mx.init.Xavier(), (64, 32, 3, 3), (1 / (48 * 9)) ** 0.5),
        (mx.init.Xavier("gaussian", "in", 2), (500, 300), (2 / 300) ** 0.5),
        (mx.init.MSRAPrelu("out", 0), (500, 300), (2 / 500) ** 0.5),
    ],
)
def test_spread(initializer, shape, std):
    found = start(initializer, shape=shape)
    assert abs(found.std() / std - 1) < 0.05
    assert abs(found.mean()) < 0.05 * std


def test_seed():
    mx.random.seed(1)
    first, second = start(mx.init.Normal()), start(mx.init.Normal())
    mx.random.seed(1)
    np.testing.assert_array_equal(first, start(mx.init.Normal()))
    assert (first != second).any()


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_orthogonal(shape, kind):
    w = start(mx.init.Orthogonal(2.0, kind), shape=shape)
    gram = w @ w.T if shape[0] < shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(3), atol=1e-5)


def test_bilinear_and_lstm_bias():
    np.testing.assert_allclose(start(mx.init.Bilinear(), shape=(1, 1, 4, 4))[0, 0, 1], [0.1875, 0.5625, 0.5625, 0.1875])
    assert start(mx.init.LSTMBias(2.0), shape=(8,)).tolist() == [0, 0, 2, 2, 0, 0, 0, 0]


def test_fused_rnn():
    layers, hidden, inputs = 2, 3, 5
    size = 4 * hidden * (inputs + hidden + 2) + 4 * hidden * (2 * hidden + 2)
    found = start(mx.init.FusedRNN(mx.init.One(), hidden, layers, "lstm", forget_bias=2.0), shape=(size,))
    matrices = 4 * hidden * (inputs + 3 * hidden)
    assert (found[:matrices] == 1).all()
    assert found[matrices:].tolist() == [0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0] * 4


@pytest.mark.parametrize("mode, gates", [("lstm", "ifco"), ("gru", "rzo"), ("rnn_tanh", " ")])
def test_the_initializer_within_fused_rnn_is_asked_by_name(mode, gates):
    """Of every gate's matrix and bias, forget biases excepted, so that one that goes by names or biases has its say."""
    asked = []

    class Counting(mx.init.Initializer):
        def __call__(self, desc, arr):
            asked.append((str(desc), arr.shape, desc.global_init))
            arr[:] = len(asked)

    size = len(gates) * 3 * 2 * ((4 + 3 + 2) + (6 + 3 + 2))
    general = Counting()
    desc = mx.init.InitDesc("rnn_parameters", global_init=general)
    packed = mx.nd.zeros((size,))
    mx.init.FusedRNN(None, 3, 2, mode, bidirectional=True)._init_weight(desc, packed)
    gates = [f"_{g}" if g != " " else "" for g in gates]
    cells = [(layer, way, part) for layer in "01" for way in "lr" for part in ("i2h", "h2h")]
    names = [f"{way}{layer}_{part}{g}_{k}" for k in ("weight", "bias") for layer, way, part in cells for g in gates]
    names = [name for name in names if not (mode == "lstm" and name.endswith("_f_bias"))]
    assert [name for name, _, _ in asked] == names
    assert all(given is general for _, _, given in asked) and asked[0][1] == (3, 4) and asked[-1][1] == (3,)
    assert packed.asnumpy()[:12].tolist() == [1] * 12 and packed.asnumpy()[-1] == len(asked)


def test_mixed_and_load(tmp_path):
    mixed = mx.init.Mixed([".*bias", ".*"], [mx.init.Zero(), mx.init.One()])
    assert (start(mixed, "a_bias") == 0).all() and (start(mixed) == 1).all()
    with pytest.raises(ValueError, match="pattern"):
        start(mx.init.Mixed(["b"], [mx.init.Zero()]))
    mx.nd.save(tmp_path / "p", {"arg:fc_weight": mx.nd.full((2, 2), 5)})
    load = mx.init.Load(str(tmp_path / "p"), default_init=mx.init.One())
    assert (start(load, shape=(2, 2)) == 5).all() and (start(load, "other_weight") == 1).all()
    with pytest.raises(AssertionError, match="shape"):
        start(load, shape=(3, 2))
    with pytest.raises(AssertionError, match="not found"):
        start(mx.init.Load({}), "x_weight")


def test_dumps_and_create():
    for made in (
        mx.init.Xavier(magnitude=2),
        mx.init.MSRAPrelu(),
        mx.init.Constant(3),
        mx.init.Zero(),
        mx.init.LSTMBias(),
    ):
        again = mx.init.create(made.dumps())
        assert again == made and again.dumps() == made.dumps()
    assert json.loads(mx.init.Constant(np.ones(2)).dumps()) == ["constant", {"value": [1.0, 1.0]}]
    assert mx.init.create("zeros") == mx.init.Zero() and mx.init.Uniform() != mx.init.Uniform(1)
    for wrong in ("nothing", 3):
        with pytest.raises((AssertionError, ValueError)):
            mx.init.create(wrong)
    for refused in (mx.init.Xavier("odd"), mx.init.Xavier(factor_type="odd"), mx.init.Orthogonal(rand_type="odd")):
        with pytest.raises(ValueError):
            start(refused, shape=(2, 2))
    with pytest.raises(ValueError, match="2D"):
        start(mx.init.Xavier(), shape=(3,))


def test_verbose(caplog):
    with caplog.at_level("INFO"):
        start(mx.init.One().set_verbosity(True))
    assert "fc_weight as weight: 1.0" in caplog.text


def test_parts_that_programs_call():
    """Programs start single arrays by the steps that initializers are made of, also of the base class."""
    base, up, six = mx.init.Initializer(), mx.nd.zeros((2, 1, 4, 4)), mx.nd.zeros(6)
    base._init_bilinear("upsampling_weight", up)
    np.testing.assert_array_equal(up.asnumpy(), start(mx.init.Bilinear(), shape=(2, 1, 4, 4)))
    base._init_loc_bias("stn_loc_bias", six)
    assert six.asnumpy().tolist() == [1, 0, 0, 0, 1, 0]
    with pytest.raises(AssertionError, match="6 elements"):
        base._init_loc_bias("stn_loc_bias", up)

    class Own(mx.init.Xavier):
        def _init_bilinear(self, name, arr):
            arr[:] = 7

    with pytest.warns(DeprecationWarning):
        Own()("upsampling_weight", up)
    assert (up.asnumpy() == 7).all()
