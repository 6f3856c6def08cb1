"""How far rounding may take the values of a graph: by evaluating it again in double precision with errors, of the size
of every type's rounding, put in after every step, as stochastic arithmetic does.

What a sum of many terms loses depends on its terms, not on itself: for contractions, sums and windows the errors are
those of the sum of the terms' magnitudes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.ir.op import Node, parameter
from symc.ir.prims.elementwise import Elementwise
from symc.ir.prims.indexing import Gather, GatherAlong, GatherNd, ScatterAdd, ScatterAlongAdd, ScatterNd
from symc.ir.prims.linear import Contraction
from symc.ir.prims.movement import Movement
from symc.ir.prims.reduce import CumSum, Reduction
from symc.ir.prims.tuples import Get
from symc.ir.prims.window import WindowMax, WindowSpread, WindowSum
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import result_types
from symc.ir.types import Array

#: primitives that add up products of their operands
_SUMS = (Contraction, Reduction, CumSum, WindowSum, WindowSpread, ScatterAdd, ScatterAlongAdd, ScatterNd)
#: primitives whose results are elements of their operands, or whole numbers
_EXACT = (Movement, Gather, GatherAlong, GatherNd, WindowMax)
_EXACT_NAMES = frozenset("neg abs sign floor ceil trunc round rint relu maximum minimum select max min".split())
#: runs with errors, and how much further than the furthest of them an honest value may be
RUNS, MARGIN = 4, 12.0


def rounding_bounds(
    graph: Graph, inputs: Mapping[str, Array], truth: Mapping[Node, Array], runs: int = RUNS
) -> dict[Node, float]:
    """For every root of the graph, how far rounding in the declared types may take any of its elements from the value
    `truth` in double precision. Infinite where it may turn a finite value into none, and everywhere if there is a nan
    on the way: what a loop nest skips, and what it multiplies by zero, is then not the same."""
    found: dict[Node, float] = {}
    args = [inputs[parameter(node).input_name] for node in graph.inputs]
    for run in range(runs):
        try:
            made = _perturbed(graph, args, np.random.default_rng([run, 17]))
        except _NotANumber:
            return dict.fromkeys(truth, np.inf)
        for node, value in truth.items():
            with np.errstate(all="ignore"):
                error = np.abs(made[node].astype(np.float64) - value.astype(np.float64))
                apart = np.isfinite(made[node]) != np.isfinite(value)
            error = error[np.isfinite(error)]
            far = np.inf if apart.any() else float(error.max(initial=0.0))
            found[node] = max(found.get(node, 0.0), far)
    made_bounds = {}
    for node, far in found.items():
        value = np.abs(truth[node].astype(np.float64))
        size = float(value[np.isfinite(value)].max(initial=0.0))
        made_bounds[node] = MARGIN * far + 4 * _unit(node.dtype.numpy) * size + 4 * _least(node.dtype.numpy)
    return made_bounds


class _NotANumber(Exception):
    """A value on the way is nan."""


def _unit(dtype: Any) -> float:
    """The rounding error of 1 in an element type."""
    return float(np.finfo(dtype).eps) if np.dtype(dtype).kind == "f" else 0.0


def _least(dtype: Any) -> float:
    """The smallest number above 0: what lies below is lost."""
    return float(np.finfo(dtype).smallest_subnormal) if np.dtype(dtype).kind == "f" else 0.0


def _perturbed(graph: Graph, args: Sequence[Array], rng: np.random.Generator) -> dict[Node, Array]:
    """Values of the roots for those of the inputs, every step a little wrong."""

    def run(region: Graph, given: Sequence[Array]) -> list[Array]:
        found = _perturbed(region, given, rng)
        return [found[node] for node in region.output_nodes]

    values: dict[Node, Any] = {}
    for node, array in zip(graph.inputs, args):
        values[node] = np.asarray(array).astype(result_types(node, "f64")[0].dtype.numpy)
    for node in graph.nodes():
        if node in values:
            continue
        if isinstance(node.op, Get):
            values[node] = values[node.inputs[0]][node.op.index]
            continue
        given, types = [values[i] for i in node.inputs], result_types(node, "f64")
        with np.errstate(all="ignore"):
            made = node.op.evaluate(given, types, run)
            if isinstance(made, tuple):
                dtypes = [t.dtype.numpy for t in _types(node)]
                values[node] = tuple(_wrong(np.asarray(m), m, dtype, 1.0, rng) for m, dtype in zip(made, dtypes))
                continue
            size = node.op.value([np.abs(a) for a in given], types) if isinstance(node.op, _SUMS) else made
        # elementary functions may be off by a few units in the last place; a constant is what it is
        exact = not given or isinstance(node.op, _EXACT) or node.op.name in _EXACT_NAMES
        times = 0.0 if exact else 4.0 if isinstance(node.op, Elementwise) and node.op.cost > 2 else 1.0
        values[node] = _wrong(np.asarray(made), size, node.dtype.numpy, times, rng)
    return {node: values[node] for node in dict.fromkeys(graph.roots)}


def _types(node: Node) -> Any:
    return node.type.items  # type: ignore[union-attr]


def _wrong(value: Array, size: Any, dtype: Any, times: float, rng: np.random.Generator) -> Array:
    """The value with errors of up to `times` what rounding a number of `size` to an element type may cost."""
    if value.dtype.kind == "f" and np.isnan(value).any():
        raise _NotANumber
    if value.dtype.kind != "f" or not times:
        return value
    with np.errstate(all="ignore"):
        far = times * (_unit(dtype) * np.abs(np.asarray(size)) + _least(dtype))
        wrong = value + far * rng.uniform(-1.0, 1.0, value.shape)
    return np.where(value == np.rint(value), value, wrong)  # whole numbers come of exact operations
