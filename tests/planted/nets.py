"""Small nets in which the broken passes of this folder show."""

from __future__ import annotations

from typing import Any

import symc as mx


def mlp() -> Any:
    """Square where axes are to be mixed up."""
    fc1 = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc1")
    act = mx.sym.Activation(fc1, act_type="relu", name="relu1")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(act, num_hidden=3, name="fc2"), name="softmax")


def conv() -> Any:
    """With states, windows and padding."""
    image = mx.sym.Convolution(mx.sym.Variable("data"), kernel=(3, 3), num_filter=2, pad=(1, 1), name="conv")
    norm = mx.sym.BatchNorm(image, name="bn", fix_gamma=False)
    pool = mx.sym.Pooling(mx.sym.relu(norm, name="act"), kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(pool, num_hidden=2, name="fc"), name="softmax")


def parts() -> Any:
    """Elementwise, with types, guards and a choice."""
    x, y = mx.sym.Variable("x"), mx.sym.Variable("y")
    narrow = mx.sym.cast(mx.sym.cast(x, dtype="float16", name="half"), dtype="float32", name="back")
    kept = mx.sym.clip(narrow - y, a_min=-1.0, a_max=1.0, name="clip")
    chosen = mx.sym.where(x > y, kept, mx.sym.tanh(y, name="tanh"), name="where")
    rows = mx.sym.sum(chosen * 0.3, axis=1, name="rows")
    return mx.sym.Group([chosen, mx.sym.broadcast_mul(y, mx.sym.expand_dims(rows, axis=1), name="scaled")])
