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


def mixed() -> Any:
    """Of many kinds, beside each other; one is nan."""
    x, y = mx.sym.Variable("x"), mx.sym.Variable("y")
    image = mx.sym.reshape(x, shape=(1, 1, 3, 3))
    return mx.sym.Group([
        mx.sym.concat(x, mx.sym.exp(y, name="e"), dim=1, name="both"),
        mx.sym.log(mx.sym.exp(x, name="ex"), name="lg"),
        mx.sym.log(y, name="ly"),
        mx.sym.sqrt(mx.sym.square(y, name="sq"), name="root"),
        mx.sym.broadcast_sub(x, mx.sym.mean(x, axis=1, keepdims=True, name="mean"), name="centred"),
        mx.sym.round(y, name="rnd"),
        mx.sym.broadcast_maximum(x, y, name="big"),
        mx.sym.broadcast_mul(x, mx.sym.zeros_like(y), name="zero"),
        mx.sym.pad(image, mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1), name="pad"),
    ])  # fmt: skip


def whole() -> Any:
    """Whole numbers, with a sign and without."""
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    i, j = mx.sym.cast(a, dtype="int32", name="i"), mx.sym.cast(b, dtype="int32", name="j")
    least = mx.sym.broadcast_maximum(j, mx.sym.ones_like(j))
    u, v = (mx.sym.cast(mx.sym.clip(n * 100, 0, 250), dtype="uint8") for n in (a, b))
    return mx.sym.Group([
        mx.sym.broadcast_div(i, least, name="q"),
        mx.sym.broadcast_mul(i, j, name="p"),
        mx.sym.broadcast_lesser(u, v, name="less"),
    ])  # fmt: skip


def steps() -> Any:
    """A loop."""
    w = mx.sym.Variable("w")

    def body(x: Any, state: Any) -> Any:
        new = mx.sym.tanh(mx.sym.dot(x, w) + state, name="new")
        return new * 2.0, new

    outputs, last = mx.sym.contrib.foreach(body, mx.sym.Variable("data"), mx.sym.Variable("h"))
    return mx.sym.Group([outputs, last])


def dropping() -> Any:
    """What is random."""
    x = mx.sym.Variable("x")
    both = mx.sym.Dropout(x, p=0.5, name="d1") + mx.sym.Dropout(x * 2, p=0.5, name="d2")
    return mx.sym.FullyConnected(both, num_hidden=3, name="fc")


def typed() -> Any:
    """Inputs of whole types and of double precision, and what has no order of its own."""
    i, n, b, d, x = (mx.sym.Variable(v, dtype=t) for v, t in zip("inbdx", "int32 int64 uint8 float64 float32".split()))
    return mx.sym.Group([
        mx.sym.broadcast_add(i, i, name="twice"),
        mx.sym.abs(n, name="size"),
        mx.sym.broadcast_add(b, b, name="bytes"),
        mx.sym.sum(d, axis=1, name="rows"),
        mx.sym.abs(x, name="least"),
        mx.sym.broadcast_div(x, mx.sym.sum(x, axis=1, keepdims=True), name="share"),
        mx.sym.reverse(x, axis=1, name="back"),
    ])  # fmt: skip


def choice() -> Any:
    """A branch."""
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    return mx.sym.contrib.cond(
        mx.sym.sum(a) > 0, lambda: mx.sym.tanh(a, name="yes") + b, lambda: mx.sym.relu(b, name="no") - a
    )


def decided() -> Any:
    """Small errors do not reach the result."""
    fc1 = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc1")
    return mx.sym.argmax(mx.sym.FullyConnected(fc1, num_hidden=3, name="fc2"), axis=1, name="best")
