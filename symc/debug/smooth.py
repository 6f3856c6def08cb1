"""Gradients against differences, in double precision, along one random direction of all arguments at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symc.debug.reading import gradients_of, heads_of, order_of
from symc.debug.trial import Trial, Wrong
from symc.ir.op import Node
from symc.ir.prims.reduce import Max, Min
from symc.ir.prims.window import WindowMax
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import by_node, evaluate, evaluate_nodes
from symc.ir.types import Array

STEP = 1e-5


def check_gradients(trial: Trial, graph: Graph, arrays: Mapping[str, Array], where: str) -> int:
    """The gradients of a graph are its derivative; 0 checks where there is no derivative to compare with."""
    order = order_of(graph)
    gradients, heads = gradients_of(graph, order), heads_of(graph, order)
    # an argument that the program overwrites (the gamma of a BatchNorm that fixes it) is read as what it becomes
    overwritten = {u.input for u in graph.updates}
    gradients = {name: found for name, found in gradients.items() if name not in overwritten}
    if not trial.smooth or trial.whole or not gradients or not heads:
        return 0
    rng = np.random.default_rng([trial.seed, 5])
    moving = {name: rng.uniform(-1.0, 1.0, arrays[name].shape) for name in gradients}
    found = evaluate(graph, arrays, "f64")
    expected = size = 0.0
    for name, (kind, called) in gradients.items():
        value = found.outputs[called] if kind == "output" else found.updates[called] - arrays[called]
        parts = value * moving[name]
        expected, size = expected + float(parts.sum()), size + float(np.abs(parts).sum())

    def loss(step: float) -> float:
        moved = {n: a + step * moving[n] if n in moving else a for n, a in arrays.items()}
        made = evaluate(graph, {n: a.astype(np.float64) if n in moving else a for n, a in moved.items()}, "f64").outputs
        return sum(float((made[out] * arrays[head]).sum()) for out, head in heads.items())

    near, margin = slope(loss, size)
    if near is None or not np.isfinite(expected):
        return 0
    if abs(near - expected) > 10 * margin:
        if _ties(graph, arrays):
            return 0
        raise Wrong("gradient", where, "differences", f"{expected:.9g}, but differences give {near:.9g}")
    return 1


def _ties(graph: Graph, arrays: Mapping[str, Array]) -> bool:
    """Whether some extremum is that of several elements. All of them get the whole gradient then, as in MXNet: that is
    no derivative where they move together, as rows do that are taken twice."""
    values: dict[Node, Any] = {}
    tied = False

    def watch(node: Node, value: Any) -> None:
        nonlocal tied
        values[node] = value
        if isinstance(node.op, (Max, Min)):
            hits = (values[node.inputs[0]] == np.expand_dims(value, node.op.axes)).sum(node.op.axes)
            tied = tied or bool((hits > 1).any())
        elif isinstance(node.op, WindowMax):
            parts = node.op.parts(values[node.inputs[0]])
            tied = tied or bool((np.sum([part == value for part in parts], axis=0) > 1).any())

    evaluate_nodes(list(dict.fromkeys(graph.roots)), by_node(graph, arrays), "f64", watch)
    return tied


def slope(
    loss: Callable[[float], float], size: float, step: float = STEP, least: float = 1e-6
) -> tuple[float | None, float]:
    """The slope of a function at 0, and what it may be off by, in units of terms of that `size`; None where it has
    none: a kink or a step lies within reach."""
    middle = loss(0.0)
    right, left = ([(loss(s * step) - middle) / (s * step) for s in (side, 4 * side)] for side in (1, -1))
    near, far = ((r + l) / 2 for r, l in zip(right, left))
    margin = least * max(1.0, size, abs(middle))
    bend, farther = (abs(r - l) for r, l in zip(right, left))
    # slopes on both sides differ by the curve, which is four times as much four times as far, or by a kink
    kink = bend > 10 * margin and farther < 2 * bend
    if not np.isfinite([near, far]).all() or abs(near - far) > margin or kink or bend > 1e-2 * max(1, size):
        return None, margin
    return near, margin
