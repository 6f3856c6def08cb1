"""Workloads with JAX, one compiled function each. Maps keep MXNet's order of axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from graph import ARITHMETIC, Graph, Node, cells, product
from jax import lax

_ACTIVATIONS = {"relu": "jnp.maximum(%s, 0)", "tanh": "jnp.tanh(%s)", "sigmoid": "jax.nn.sigmoid(%s)"}


def _convolution(n: Node, x: str, w: str, b: str = "") -> str:
    pads = [(p, p) for p in n.pair("pad", 0)]
    text = (
        f"lax.conv_general_dilated({x}, {w}, {n.pair('stride', 1)}, {pads}, rhs_dilation={n.pair('dilate', 1)}, "
        f"dimension_numbers=('NCHW', 'OIHW', 'NCHW'), feature_group_count={n.get('num_group', 1)})"
    )
    return text + f" + {b}[:, None, None]" if b else text


def _dense(n: Node, x: str, w: str, b: str) -> str:
    flat = n.get("flatten", True) and len(n.inputs[0].shape) > 2
    return "{} @ {}.T + {}".format(x + f".reshape({x}.shape[0], -1)" if flat else x, w, b)


def norm(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, training: bool, eps: float) -> Any:
    """Batch normalization of channels."""
    if training:
        mean = x.mean((0, 2, 3))
        var = (x * x).mean((0, 2, 3)) - mean * mean
    scale = lax.rsqrt(var + eps) * gamma
    return x * scale[:, None, None] + (beta - mean * scale)[:, None, None]


def _pool(n: Node, x: str) -> str:
    if n.get("global_pool"):
        return f"{x}.mean((2, 3), keepdims=True)"
    kernel, stride, pad = n.pair("kernel", 1), n.pair("stride", 1), n.pair("pad", 0)
    pads = ((0, 0), (0, 0), *((p, p) for p in pad))
    window = f"{(1, 1, *kernel)}, {(1, 1, *stride)}, {pads}"
    if n.get("pool_type") == "max":
        return f"lax.reduce_window({x}, -jnp.inf, lax.max, {window})"
    return f"lax.reduce_window({x}, 0., lax.add, {window}) / {kernel[0] * kernel[1]}"


def lstm(x: Any, parameters: Any, state: Any, cell: Any, layers: int, width: int) -> Any:
    """A loop a layer, behind the products of its inputs."""
    for k, (inner, outer, *biases) in enumerate(cells(parameters, layers, x.shape[-1], width)):

        def step(carry: Any, z: Any, outer: Any = outer) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ outer.T, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        _, x = lax.scan(step, (state[k], cell[k]), x @ inner.T + sum(biases))
    return x


def layer_norm(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps) * gamma + beta


def cross_entropy(logits: Any, labels: Any) -> Any:
    rows = jax.nn.log_softmax(logits, -1)
    return -jnp.take_along_axis(rows, labels[:, None], 1).mean()


#: operator -> what writes it
EMIT: dict[str, Any] = {
    "Convolution": _convolution,
    "FullyConnected": _dense,
    "BatchNorm": lambda n, *xs: "norm({}, training, {!r})".format(", ".join(xs), n.get("eps", 1e-3)),
    "Pooling": _pool,
    "Activation": lambda n, x: _ACTIVATIONS[n.get("act_type")] % x,
    "LeakyReLU": lambda n, x: {"gelu": "jax.nn.gelu(%s, approximate=False)"}[n.get("act_type")] % x,
    "Flatten": lambda n, x: f"{x}.reshape({x}.shape[0], -1)",
    "clip": lambda n, x: "jnp.clip({}, {!r}, {!r})".format(x, n.get("a_min"), n.get("a_max")),
    "Concat": lambda n, *xs: f"jnp.concatenate([{', '.join(xs)}], {n.get('dim', 1)})",
    "softmax": lambda n, x: "jax.nn.softmax({}, {!r})".format(x, n.get("axis", -1)),
    "SoftmaxOutput": lambda n, x, label: f"cross_entropy({x}, {label})",
    "LayerNorm": lambda n, *xs: "layer_norm({}, {!r})".format(", ".join(xs), n.get("eps", 1e-5)),
    "reshape": lambda n, x: f"{x}.reshape({n.shape!r})",
    "Reshape": lambda n, x: f"{x}.reshape({n.shape!r})",
    "transpose": lambda n, x: "{}.transpose({!r})".format(x, n.get("axes")),
    "dot": product,
    "batch_dot": product,
    "Embedding": lambda n, x, w: f"{w}[{x}]",
    "RNN": lambda n, *xs: f"lstm({', '.join(xs)}, {n.get('num_layers')}, {n.get('state_size')})",
    "_zeros": lambda n: f"jnp.zeros({n.shape!r})",
    "sum": lambda n, x: "jnp.sum({}, {!r})".format(x, n.get("axis")),
    "exp": lambda n, x: f"jnp.exp({x})",
    "tanh": lambda n, x: f"jnp.tanh({x})",
    "sigmoid": lambda n, x: f"jax.nn.sigmoid({x})",
    "broadcast_maximum": lambda n, a, b: f"jnp.maximum({a}, {b})",
    **ARITHMETIC,
}


def build(
    graph: Graph, arrays: dict[str, np.ndarray], threads: int, way: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The run, and what reads its result: the outputs, or a training step's loss."""
    names: dict[str, Any] = {
        "jnp": jnp, "jax": jax, "lax": lax, "norm": norm, "lstm": lstm, "layer_norm": layer_norm,
        "cross_entropy": cross_entropy,
    }  # fmt: skip
    exec(graph.source(EMIT), names)
    net = names["net"]
    values = {n: jnp.asarray(a.astype(np.int32) if n in graph.whole else a) for n, a in arrays.items()}
    if graph.label:
        values[graph.label] = values[graph.label].reshape(-1)
    last: list[Any] = [None]
    if graph.kind == "predict":
        predict = jax.jit(lambda v: net(v, False))

        def run() -> None:
            last[0] = predict(values).block_until_ready()

        return run, lambda: last[0]
    moved = [n for n in graph.parameters] + ([n for n in graph.data if n not in graph.whole] * (graph.kind == "grad"))
    weights, rest = ({n: v for n, v in values.items() if (n in moved) == kept} for kept in (True, False))
    if graph.kind == "grad":

        @jax.jit
        def gradients(w: Any, v: Any) -> Any:
            out, back = jax.vjp(lambda w: net({**v, **w}, True), w)
            return out, back(jnp.ones_like(out))

        def run() -> None:
            last[0], found = jax.block_until_ready(gradients(weights, rest))
    else:

        @jax.jit
        def step(w: Any, momentum: Any, v: Any) -> Any:
            loss, g = jax.value_and_grad(lambda w: net({**v, **w}, True))(w)
            momentum = {n: 0.9 * momentum[n] + g[n] for n in w}
            return loss, {n: w[n] - 1e-3 * momentum[n] for n in w}, momentum

        state = [weights, {n: jnp.zeros_like(w) for n, w in weights.items()}]

        def run() -> None:
            last[0], *state[:] = jax.block_until_ready(step(*state, rest))

    return run, lambda: last[0]
