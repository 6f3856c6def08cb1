"""Workloads with numpy, as far as one writes them so: element by element, products, sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from graph import ARITHMETIC, Graph, Node, Unsupported, product

_ACTIVATIONS = {"relu": "np.maximum(%s, 0)", "tanh": "np.tanh(%s)", "sigmoid": "1 / (1 + np.exp(-%s))"}


def _dense(n: Node, x: str, w: str, b: str) -> str:
    return f"{x} @ {w}.T + {b}"


def _sum(n: Node, x: str) -> str:
    return "np.sum({}, axis={!r})".format(x, n.get("axis"))


def _softmax(n: Node, x: str) -> str:
    return f"(lambda e: e / e.sum(-1, keepdims=True))(np.exp({x} - {x}.max(-1, keepdims=True)))"


#: operator -> what writes it
EMIT: dict[str, Any] = {
    "Activation": lambda n, x: _ACTIVATIONS[n.get("act_type")] % x,
    "FullyConnected": _dense,
    "dot": product,
    "sum": _sum,
    "softmax": _softmax,
    "transpose": lambda n, x: f"np.ascontiguousarray({x}.T)",
    "exp": lambda n, x: f"np.exp({x})",
    "tanh": lambda n, x: f"np.tanh({x})",
    "sigmoid": lambda n, x: f"1 / (1 + np.exp(-{x}))",
    "broadcast_maximum": lambda n, a, b: f"np.maximum({a}, {b})",
    **ARITHMETIC,
}


def build(
    graph: Graph, arrays: dict[str, np.ndarray], threads: int, way: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The run, and what reads its result."""
    if graph.kind != "predict":
        raise Unsupported("gradients")
    names: dict[str, Any] = {"np": np}
    exec(graph.source(EMIT), names)
    net, last = names["net"], [None]

    def run() -> None:
        last[0] = net(arrays, False)

    return run, lambda: last[0]
