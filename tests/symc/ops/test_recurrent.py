"""Protects recurrent layers and CTC: their recursions, packed parameters and hand-written gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from operating import check_numerically, forward, infer, make

RNG = np.random.default_rng(9)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_is_its_recursion():
    x, h, c = RNG.normal(size=(3, 2, 4)), RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
    packed = RNG.normal(size=108)
    wi, wh = packed[:48].reshape(12, 4), packed[48:84].reshape(12, 3)
    y, last_h, last_c = forward(
        "RNN", x, packed, h[None], c[None], mode="lstm", num_layers=1, state_size=3, state_outputs=True
    )
    for t in range(3):
        i, f, g, o = np.split(x[t] @ wi.T + packed[84:96] + h @ wh.T + packed[96:], 4, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        assert np.allclose(y[t], h)
    assert np.allclose(last_h[0], h) and np.allclose(last_c[0], c)


@pytest.mark.parametrize("mode", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
def test_gradients_of_two_layers_in_both_directions(mode):
    attrs = dict(mode=mode, num_layers=2, state_size=2, bidirectional=True, state_outputs=True)
    ins = infer("RNN", (2, 1, 2), *[None] * (3 if mode == "lstm" else 2), **attrs)[0]
    check_numerically("RNN", *(RNG.uniform(-1, 1, shape) for shape in ins), **attrs)


def test_ended_sequences_keep_their_state_and_give_zeros():
    x, packed, h = RNG.normal(size=(3, 2, 2)), RNG.normal(size=12), RNG.normal(size=(1, 2, 2))
    attrs = dict(mode="rnn_tanh", num_layers=1, state_size=2, state_outputs=True)
    y, last = forward("RNN", x, packed, h, np.array([3, 1]), use_sequence_length=True, **attrs)
    full = forward("RNN", x, packed, h, **attrs)[0]
    assert np.allclose(y[:, 0], full[:, 0]) and np.allclose(y[0, 1], full[0, 1]) and not y[1:, 1].any()
    assert np.allclose(last[0], [full[2, 0], full[0, 1]])


def test_inputs_and_outputs_follow_the_mode():
    assert make("RNN", mode="gru", num_layers=1, state_size=1).list_inputs() == ("data", "parameters", "state")
    lstm = make("RNN", mode="lstm", num_layers=1, state_size=1)
    assert lstm.num_visible_outputs() == 1 and len(lstm.list_outputs()) == 3


def test_ctc_sums_over_all_spellings():
    x = RNG.normal(size=(4, 1, 3))
    p = np.exp(x[:, 0]) / np.exp(x[:, 0]).sum(-1, keepdims=True)
    total = 0.0
    for path in product(range(3), repeat=4):
        merged = [k for at, k in enumerate(path) if at == 0 or path[at - 1] != k]
        if [k for k in merged if k] == [1, 2]:
            total += np.prod(p[range(4), path])
    label = np.array([[1.0, 2.0, 0.0]])
    assert np.allclose(forward("CTCLoss", x, label), -np.log(total))
    check_numerically("CTCLoss", x, label, wrt=[0])
