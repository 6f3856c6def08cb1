"""Protects mx.rnn: cells make MXNet 1.9.1's graphs to the byte, weights survive packing, sentences come in buckets."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from loading import GOLDEN, module_at

import symc as mx

FOLDER = GOLDEN / "rnn"
scenarios = module_at(FOLDER / "scenarios.py")
ANSWERS = json.loads((FOLDER / "answers.json").read_text())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
def test_same_as_mxnet(scenario):
    assert scenario(mx) == ANSWERS[scenario.__name__]


def outputs(cell, args, data):
    made, _ = cell.unroll(data.shape[0], mx.sym.Variable("x"), layout="TNC", merge_outputs=True)
    exe = made.simple_bind(mx.cpu(), grad_req="null", x=data.shape)
    for name, array in args.items():
        exe.arg_dict[name][:] = array
    return exe.forward(x=data)[0].asnumpy()


@pytest.mark.parametrize("mode", ["rnn_relu", "rnn_tanh", "lstm", "gru"])
def test_unfused_cells_compute_the_same(mode):
    fused = mx.rnn.FusedRNNCell(3, 2, mode, bidirectional=True, prefix="f_")
    rs = np.random.RandomState(1)
    gates = {"lstm": 4, "gru": 3}.get(mode, 1)
    size = 2 * gates * 3 * ((4 + 3 + 2) + (6 + 3 + 2))
    packed = {"f_parameters": mx.nd.array(rs.uniform(-0.5, 0.5, size))}
    data = mx.nd.array(rs.randn(3, 2, 4))
    stack = fused.unfuse()
    apart = stack.pack_weights(fused.unpack_weights(packed))
    np.testing.assert_allclose(outputs(fused, packed, data), outputs(stack, apart, data), rtol=1e-5, atol=1e-6)


def test_cells_are_stepped():
    cell = mx.rnn.SequentialRNNCell()
    cell.add(mx.rnn.LSTMCell(3, prefix="a_"))
    cell.add(mx.rnn.GRUCell(3, prefix="b_"))
    begin = cell.begin_state(func=mx.sym.Variable)
    assert [s.name for s in begin] == ["a_begin_state_0", "a_begin_state_1", "b_begin_state_0"]
    assert cell.state_shape == [(0, 3)] * 3
    output, states = cell(mx.sym.Variable("x"), begin)
    assert output.name == "b_t0_out" and len(states) == 3
    cell.reset()
    assert cell(mx.sym.Variable("x"), begin)[0].name == "b_t0_out"


def test_parameters_are_shared():
    params = mx.rnn.RNNParams("s_")
    one, two = mx.rnn.RNNCell(3, prefix="s_", params=params), mx.rnn.RNNCell(3, prefix="s_", params=params)
    net = two(one(mx.sym.Variable("x"), one.begin_state())[0], two.begin_state())[0]
    assert net.list_arguments().count("s_i2h_weight") == 1


def test_what_cells_refuse():
    x = mx.sym.Variable("x")
    base = mx.rnn.RNNCell(3)
    mx.rnn.ResidualCell(base)
    shared = mx.rnn.SequentialRNNCell(params=mx.rnn.RNNParams())
    stack = mx.rnn.SequentialRNNCell()
    stack.add(scenarios.both(mx))
    taken = mx.rnn.LSTMCell(3)
    assert taken.params is not None
    for attempt, error, text in (
        (base.begin_state, AssertionError, "modifier cell"),
        (lambda: mx.rnn.LSTMCell(3).unroll(2, None), AssertionError, "deprecated"),
        (lambda: mx.rnn.LSTMCell(3).unroll(2, [x]), AssertionError, "2 steps"),
        (lambda: mx.rnn.LSTMCell(3).unroll(2, mx.sym.Group([x, x])), AssertionError, "list"),
        (lambda: mx.rnn.FusedRNNCell(3)(x, []), NotImplementedError, "unroll"),
        (lambda: scenarios.both(mx)(x, []), NotImplementedError, "unroll"),
        (lambda: stack(x, stack.begin_state()), AssertionError, "stepped"),
        (lambda: shared.add(taken), AssertionError, "not both"),
        (lambda: mx.rnn.ZoneoutCell(mx.rnn.FusedRNNCell(3)), AssertionError, "unfuse"),
        (lambda: mx.rnn.ZoneoutCell(scenarios.both(mx)), AssertionError, "underneath"),
        (lambda: mx.rnn.DropoutCell("a"), AssertionError, "number"),
        (lambda: mx.rnn.FusedRNNCell(3, mode="lstn"), ValueError, "lstn"),
        (lambda: mx.rnn.ConvRNNCell((1, 1, 8, 8), 2, h2h_kernel=(2, 3)), AssertionError, "odd"),
    ):
        with pytest.raises(error, match=text):
            attempt()


def test_checkpoints_hold_the_gates_apart(tmp_path):
    cell = mx.rnn.LSTMCell(2, prefix="l_")
    net, _ = cell.unroll(2, mx.sym.Variable("x"), merge_outputs=True)
    args = {
        f"l_{g}_{k}": mx.nd.array(np.random.rand(*((8, 2) if k == "weight" else (8,))))
        for g in ("i2h", "h2h")
        for k in ("weight", "bias")
    }
    prefix = str(tmp_path / "m")
    callback = mx.rnn.do_rnn_checkpoint(cell, prefix, 2)
    callback(0, net, args, {})
    assert not list(tmp_path.iterdir())
    callback(1, net, args, {})
    assert "l_i2h_f_weight" in mx.model.load_params(prefix, 2)[0]
    found, packed, _ = mx.rnn.load_rnn_checkpoint([cell], prefix, 2)
    assert found.tojson() == net.tojson() and packed.keys() == args.keys()
    for name, array in args.items():
        np.testing.assert_array_equal(packed[name].asnumpy(), array.asnumpy())


def test_sentences():
    coded, vocab = mx.rnn.encode_sentences([["a", "b"], ["b", "c", "a"]], invalid_label=0, start_label=1)
    assert coded == [[1, 2], [2, 3, 1]] and vocab == {"\n": 0, "a": 1, "b": 2, "c": 3}
    with pytest.raises(AssertionError, match="Unknown token d"):
        mx.rnn.encode_sentences([["d"]], vocab)
    assert mx.rnn.encode_sentences([["d", "a"]], dict(vocab), unknown_token="?")[0] == [[0, 1]]


def test_buckets_of_sentences_train(caplog):
    """A language model over buckets of two lengths; what is longer is left out."""
    random.seed(0)
    np.random.seed(0)
    sentences = [[1, 2, 3]] * 6 + [[2, 3, 1, 2, 3]] * 4 + [[1] * 9]
    it = mx.rnn.BucketSentenceIter(sentences, 2, buckets=[3, 5], invalid_label=0)
    assert "discarded 1 sentences" in caplog.text
    assert it.default_bucket_key == 5 and it.provide_data[0].shape == (2, 5)
    first = next(it)
    label, data = first.label[0].asnumpy(), first.data[0].asnumpy()
    np.testing.assert_array_equal(label[:, :-1], data[:, 1:])
    assert not label[:, -1].any() and first.provide_data[0].shape == data.shape == (2, first.bucket_key)
    cell = mx.rnn.LSTMCell(8, prefix="l_")

    def net(length):
        embedded = mx.sym.Embedding(mx.sym.Variable("data"), input_dim=4, output_dim=6, name="e")
        cell.reset()
        states, _ = cell.unroll(length, embedded, merge_outputs=True)
        scores = mx.sym.FullyConnected(mx.sym.reshape(states, (-1, 8)), num_hidden=4, name="p")
        label = mx.sym.reshape(mx.sym.Variable("softmax_label"), (-1,))
        return mx.sym.SoftmaxOutput(scores, label, name="softmax"), ("data",), ("softmax_label",)

    module = mx.mod.BucketingModule(net, it.default_bucket_key)
    metric = mx.metric.Perplexity(0)
    module.fit(it, eval_metric=metric, num_epoch=8, optimizer="adam", optimizer_params={"learning_rate": 0.05})
    assert metric.get()[1] < 1.5
    turned = mx.rnn.BucketSentenceIter(sentences, 2, buckets=[5], layout="TN")
    assert next(turned).data[0].shape == (5, 2)
    with pytest.raises(ValueError, match="layout"):
        mx.rnn.BucketSentenceIter(sentences, 2, buckets=[5], layout="TTN")


def test_modifiers_of_modifiers_begin_with_the_innermost_states():
    inner = mx.rnn.LSTMCell(4, prefix="l_")
    cell = mx.rnn.ZoneoutCell(mx.rnn.ResidualCell(inner), zoneout_outputs=0.3)
    assert [s.name for s in cell.begin_state()] == ["l_begin_state_0", "l_begin_state_1"]
    given = cell.begin_state(func=mx.sym.ones)
    assert [json.loads(s.tojson())["nodes"][0]["op"] for s in given] == ["_ones", "_ones"]
    stack = mx.rnn.SequentialRNNCell()
    stack.add(cell)
    stack.add(mx.rnn.ZoneoutCell(mx.rnn.ResidualCell(mx.rnn.GRUCell(4, prefix="g_"))))
    outputs, states = stack.unroll(2, [mx.sym.Variable("a"), mx.sym.Variable("b")])
    assert len(states) == 3 and len(outputs) == 2
