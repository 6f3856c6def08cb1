"""Graphs of recurrent cells made with MXNet 1.9.1 and with symc alike.

Run under MXNet to record the answers: `python scenarios.py` writes answers.json beside this file.
"""

from __future__ import annotations

import hashlib
import json
import warnings

import numpy as np


def stack(mx):
    made = mx.rnn.SequentialRNNCell()
    made.add(mx.rnn.LSTMCell(4, prefix="a_", forget_bias=0.5))
    made.add(mx.rnn.DropoutCell(0.3))
    made.add(mx.rnn.ResidualCell(mx.rnn.GRUCell(4, prefix="b_")))
    made.add(mx.rnn.ZoneoutCell(mx.rnn.RNNCell(4, activation="relu", prefix="c_"), 0.2, 0.1))
    return made


def both(mx):
    return mx.rnn.BidirectionalCell(mx.rnn.LSTMCell(3, prefix="l_"), mx.rnn.GRUCell(3, prefix="r_"), output_prefix="o_")


CELLS = {
    "rnn": lambda mx: mx.rnn.RNNCell(3),
    "rnn_relu": lambda mx: mx.rnn.RNNCell(3, activation="relu", prefix="p_"),
    "lstm": lambda mx: mx.rnn.LSTMCell(3),
    "gru": lambda mx: mx.rnn.GRUCell(3),
    "stack": stack,
    "both": both,
    "residual": lambda mx: mx.rnn.ResidualCell(mx.rnn.LSTMCell(5)),
    "fused_lstm": lambda mx: mx.rnn.FusedRNNCell(3, 2, "lstm", get_next_state=True, prefix="f_"),
    "fused_gru": lambda mx: mx.rnn.FusedRNNCell(3, 2, "gru", bidirectional=True, dropout=0.2),
    "fused_tanh": lambda mx: mx.rnn.FusedRNNCell(3, 1, "rnn_tanh", get_next_state=True),
    "unfused_lstm": lambda mx: mx.rnn.FusedRNNCell(3, 2, "lstm", dropout=0.2, bidirectional=True).unfuse(),
    "unfused_gru": lambda mx: mx.rnn.FusedRNNCell(3, 3, "gru", dropout=0.2).unfuse(),
    "unfused_relu": lambda mx: mx.rnn.FusedRNNCell(3, 2, "rnn_relu").unfuse(),
    "conv_rnn": lambda mx: mx.rnn.ConvRNNCell((2, 3, 8, 8), 4),
    "conv_lstm": lambda mx: mx.rnn.ConvLSTMCell((2, 3, 8, 8), 4, i2h_stride=(2, 2), activation="tanh"),
    "conv_gru": lambda mx: mx.rnn.ConvGRUCell((2, 3, 8, 8), 4, h2h_kernel=(5, 3), h2h_dilate=(2, 1), prefix="g_"),
}
SETTINGS = [
    {"layout": "NTC"}, {"layout": "TNC"}, {"layout": "NTC", "merge_outputs": True},
    {"layout": "TNC", "merge_outputs": True}, {"layout": "NTC", "merge_outputs": False},
    {"layout": "NTC", "steps": True}, {"layout": "TNC", "steps": True, "merge_outputs": True},
]  # fmt: skip


def flat(parts):
    return [s for part in parts for s in (flat(part) if isinstance(part, list) else [part])]


def graphs(mx):
    """{cell/setting: digest of the unrolled graph's JSON}, or the kind of error."""
    found = {}
    for cell, make in CELLS.items():
        for at, setting in enumerate(SETTINGS):
            setting = dict(setting)
            listed = setting.pop("steps", False)
            try:
                with mx.name.NameManager():
                    x = [mx.sym.Variable(f"x{i}") for i in range(3)] if listed else mx.sym.Variable("x")
                    outputs, states = make(mx).unroll(3, x, **setting)
                    text = mx.sym.Group(flat([outputs, states])).tojson()
                found[f"{cell}/{at}"] = hashlib.sha1(text.encode()).hexdigest()
            except Exception as problem:
                found[f"{cell}/{at}"] = type(problem).__name__
    return found


def weights(mx):
    """Weights unpacked and packed again, and packed for the cells a fused one turns into; sums by name."""
    found = {}
    rs = np.random.RandomState(0)
    for name, cell in CELLS.items():
        if not name.startswith(("rnn", "lstm", "gru", "fused", "both")):
            continue
        with mx.name.NameManager():
            made = cell(mx)
            outputs, _ = made.unroll(2, mx.sym.Variable("x"), layout="TNC", merge_outputs=True)
        shapes, _, _ = outputs.infer_shape(x=(2, 4, 5))
        args = {
            n: mx.nd.array(rs.randn(*s))
            for n, s in zip(outputs.list_arguments(), shapes)
            if n != "x" and "begin" not in n
        }
        apart = made.unpack_weights(args)
        again = made.pack_weights(apart)
        pairs = {"apart": apart, "again": again}
        if name.startswith("fused"):
            pairs["unfused"] = made.unfuse().pack_weights(apart)
        for kind, arrays in pairs.items():
            for key, array in arrays.items():
                found[f"{name}/{kind}/{key}"] = [list(array.shape), round(float(np.abs(array.asnumpy()).sum()), 4)]
    return found


SCENARIOS = [graphs, weights]

if __name__ == "__main__":
    import os

    import mxnet

    warnings.simplefilter("ignore")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.json"), "w") as file:
        json.dump({s.__name__: s(mxnet) for s in SCENARIOS}, file, indent=0)
