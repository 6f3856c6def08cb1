"""Recurrent layers of whole sequences give what the stacks of cells give that have their parameters."""

import numpy as np
import pytest

import symc as mx
from symc import gluon

KINDS = [
    (gluon.rnn.RNN, {"activation": "tanh"}), (gluon.rnn.RNN, {"activation": "relu"}), (gluon.rnn.LSTM, {}),
    (gluon.rnn.GRU, {}),
]  # fmt: skip
T, N, C, H = 5, 3, 4, 2


def made(kind, **facts):
    mx.random.seed(0)
    layer = kind(H, prefix="r_", **facts)
    layer.initialize(mx.init.Uniform(0.7))
    return layer


def slopes(call, layer, x):
    x.attach_grad()
    with mx.autograd.record():
        value = (call(x) ** 2).sum()
    value.backward()
    return [value.asnumpy(), x.grad.asnumpy(), *(layer.params[k].grad().asnumpy() for k in sorted(layer.params))]


@pytest.mark.parametrize("layout", ["TNC", "NTC"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
@pytest.mark.parametrize(("kind", "facts"), KINDS)
def test_layers_are_stacks_of_cells(kind, facts, layers, bidirectional, layout):
    layer = made(kind, num_layers=layers, bidirectional=bidirectional, layout=layout, **facts)
    shape = (T, N, C) if layout == "TNC" else (N, T, C)
    x = mx.nd.array(np.random.RandomState(1).uniform(-1, 1, shape))
    layer(x)
    cells = layer._unfuse()
    wanted = slopes(lambda v: cells.unroll(T, v, layout=layout, merge_outputs=True)[0], layer, x)
    for hybrid in (False, True):
        if hybrid:
            layer.hybridize()
        for found, expected in zip(slopes(layer, layer, x), wanted):
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "facts"), KINDS)
def test_states_go_in_and_come_out(kind, facts, tmp_path):
    layer = made(kind, num_layers=2, **facts)
    x = mx.nd.array(np.random.RandomState(1).uniform(-1, 1, (T, N, C)))
    whole, last = layer(x, layer.begin_state(N))
    first, states = layer(x[:2], layer.begin_state(N))
    second, states = layer(x[2:], states)
    np.testing.assert_allclose(np.concatenate([first.asnumpy(), second.asnumpy()]), whole.asnumpy(), rtol=1e-5)
    for a, b in zip(states, last):
        assert a.shape == (2, N, H)
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-5)
    assert len(last) == (2 if kind is gluon.rnn.LSTM else 1)
    with pytest.raises(ValueError, match="state"):
        layer(x, layer.begin_state(N + 1))
    path = str(tmp_path / "layer")
    layer.save_parameters(path)
    assert "_unfused.1.h2h_bias" in mx.nd.load(path)
    again = kind(H, num_layers=2, **facts)
    again.load_parameters(path)
    np.testing.assert_array_equal(again(x).asnumpy(), whole.asnumpy())
    assert repr(again).startswith(f"{kind.__name__}(4 -> 2, TNC, num_layers=2)")


def test_examples_of_several_lengths():
    layer = made(gluon.rnn.LSTM, use_sequence_length=True)
    x = mx.nd.array(np.random.RandomState(1).uniform(-1, 1, (T, N, C)))
    outputs, (state, _) = layer(x, layer.begin_state(N), mx.nd.array([5, 2, 3]))
    alone = made(gluon.rnn.LSTM)
    short, (wanted, _) = alone(x[:2, 1:2], alone.begin_state(1))
    np.testing.assert_allclose(state.asnumpy()[:, 1:2], wanted.asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(outputs.asnumpy()[:2, 1:2], short.asnumpy(), rtol=1e-5)


def test_a_projection_is_narrower_than_the_cell():
    layer = made(gluon.rnn.LSTM, projection_size=1, bidirectional=True)
    outputs, (state, cell) = layer(mx.nd.ones((T, N, C)), layer.begin_state(N))
    assert outputs.shape == (T, N, 2) and state.shape == (2, N, 1) and cell.shape == (2, N, H)
    with pytest.raises(AssertionError, match="project"):
        layer._unfuse()
    with pytest.raises(AssertionError, match="layout"):
        gluon.rnn.GRU(2, layout="CTN")


def test_a_net_with_layers_in_it_learns_and_is_exported(tmp_path):
    mx.random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(gluon.rnn.GRU(8, layout="NTC"), gluon.nn.Dense(1))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    x = mx.nd.array(np.random.RandomState(1).uniform(-1, 1, (16, T, C)))
    y = x.sum(axis=(1, 2)).reshape((-1, 1))
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
    losses = []
    for _ in range(30):
        with mx.autograd.record():
            loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        trainer.step(1)
        losses.append(loss.asscalar())
    assert losses[-1] < 0.1 * losses[0]
    net.export(str(tmp_path / "net"))
    block = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    np.testing.assert_allclose(block(x).asnumpy(), net(x).asnumpy(), rtol=1e-5)
