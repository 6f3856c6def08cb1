"""How far rounding may take the values of a graph: by evaluating it again in double precision with errors, of the size
of every type's rounding, put in after every step, as stochastic arithmetic does.

What a sum of many terms loses depends on its terms, not on itself: for contractions, sums and windows the errors are
those of the sum of the terms' magnitudes.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from symc.ir.op import Node, parameter
from symc.ir.prims.control import CustomGrad, HostCall
from symc.ir.prims.elementwise import Elementwise
from symc.ir.prims.indexing import Gather, GatherAlong, GatherNd, ScatterAdd, ScatterAlongAdd, ScatterNd
from symc.ir.prims.linear import Contraction
from symc.ir.prims.movement import Movement
from symc.ir.prims.reduce import CumSum, Reduction
from symc.ir.prims.tuples import Get
from symc.ir.prims.window import WindowMax, WindowSpread, WindowSum
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import result_types, values_of
from symc.ir.types import F16, Array, TupleType

#: primitives that add up products of their operands
_SUMS = (Contraction, Reduction, CumSum, WindowSum, WindowSpread, ScatterAdd, ScatterAlongAdd, ScatterNd)
#: primitives whose results are elements of their operands, or whole numbers
_EXACT = (Movement, Gather, GatherAlong, GatherNd, WindowMax)
_EXACT_NAMES = frozenset("neg abs sign floor ceil trunc round rint relu maximum minimum select max min".split())
#: runs with errors, and how much further than the furthest of them an honest value may be
RUNS, MARGIN = 4, 12.0
#: runs with errors of the size that an approximation may have
APPROXIMATIONS = 8


def rounding_bounds(
    graph: Graph, inputs: Mapping[str, Array], truth: Mapping[Node, Array], runs: int = RUNS, serial: bool = False
) -> dict[Node, Array]:
    """For every element of the roots of the graph, how far rounding in the declared types may take it from the value
    `truth` in double precision; infinite where rounding may turn a finite value into none or the other way round, and
    where it is not settled (see `unsettled`) what becomes of values that are not finite. `serial`: sums are taken
    term by term, however long."""
    args = [inputs[parameter(node).input_name] for node in graph.inputs]
    found = dict.fromkeys(truth, 0.0)
    loose = unsettled(graph, args, truth)
    for run in range(runs):
        made = _perturbed(graph, args, np.random.default_rng([run, 17]), serial=serial)
        for node, value in truth.items():
            found[node] = max(found[node], _apart(made[node], value, loose[node]))
    made_bounds = {}
    for node, far in found.items():
        value = np.abs(truth[node].astype(np.float64))
        size = float(value[np.isfinite(value)].max(initial=0.0))
        bound = MARGIN * far + 4 * _unit(node.dtype.numpy) * size + 4 * _least(node.dtype.numpy)
        made_bounds[node] = np.where(loose[node], np.inf, bound)
    return made_bounds


def approximation_bounds(
    graph: Graph, inputs: Mapping[str, Array], truth: Mapping[Node, Array], far: float, where: Collection[Node]
) -> dict[Node, Array]:
    """For every element of the roots of the graph, how far it may be from `truth` where the values of the nodes in
    `where` may be off by `far` times themselves; infinite where that may turn a finite value into none."""
    args = [inputs[parameter(node).input_name] for node in graph.inputs]
    found = dict.fromkeys(truth, 0.0)
    loose = {node: np.zeros(value.shape, bool) for node, value in truth.items()}
    for run in range(APPROXIMATIONS):
        made = _perturbed(graph, args, np.random.default_rng([run, 19]), far, where)
        for node, value in truth.items():
            found[node] = max(found[node], _apart(made[node], value, loose[node]))
    return {node: np.where(loose[node], np.inf, 1.25 * most) for node, most in found.items()}


def _apart(made: Array, value: Array, loose: Array) -> float:
    """How far values are apart where both are finite; `loose` becomes true where one is not, and they differ."""
    with np.errstate(all="ignore"):
        error = np.abs(made.astype(np.float64) - value.astype(np.float64))
    loose |= kinds(made) != kinds(value)
    return float(error[np.isfinite(error)].max(initial=0.0))


def kinds(value: Array) -> Array:
    """0 for finite elements, 1 and -1 for infinite ones, 2 for nan."""
    if value.dtype.kind != "f":
        return np.zeros(value.shape, np.int8)
    return np.where(np.isnan(value), 2, np.where(np.isinf(value), np.sign(value), 0)).astype(np.int8)


def unsettled(graph: Graph, args: Sequence[Array], roots: Collection[Node]) -> dict[Node, Array]:
    """For every element of some nodes, whether it is open what becomes of a value on the way that is not finite: what a
    loop nest skips, and what it multiplies by zero, and whether a sum is too large on the way to a finite one, differs
    with the order. Elementwise operators settle it for every element, and sums where no part of them is too large."""
    with np.errstate(all="ignore"):
        values = _evaluated(graph, args)
        loose: dict[Node, Array] = {node: np.zeros(node.shape, bool) for node in graph.inputs}
        for node in graph.nodes():
            if node not in loose:
                loose[node] = _unsettled(node, values, loose)
    return {node: loose[node].copy() for node in roots}


def _unsettled(node: Node, values: Mapping[Node, Any], loose: Mapping[Node, Array]) -> Array:
    if isinstance(node.op, CustomGrad) and not _doubtful(node, values, loose):
        body = node.op.body
        inside = unsettled(body, [values[i] for i in node.inputs], body.output_nodes)
        some = any(bool(found.any()) for found in inside.values())
        return np.array(some) if isinstance(node.type, TupleType) else np.full(node.shape, some)
    if isinstance(node.type, TupleType):
        return np.array(_doubtful(node, values, loose))
    if isinstance(node.op, Get):
        return np.broadcast_to(loose[node.inputs[0]], node.shape)
    before = [loose[i] for i in node.inputs]
    some = any(bool(found.any()) for found in before)
    if isinstance(node.op, Elementwise):
        return (
            np.broadcast_to(functools.reduce(np.logical_or, before), node.shape) if some else np.zeros(node.shape, bool)
        )
    if isinstance(node.op, Movement):
        if not some:
            return np.zeros(node.shape, bool)
        return np.asarray(node.op.value(before, result_types(node, "f64"))).astype(bool)
    if isinstance(node.op, _SUMS):
        # what is not finite says itself what the sum is, unless the others are too large
        sizes = [np.where(kinds(values[i]) == 0, np.abs(values[i]), 0) for i in node.inputs]
        large = ~(_sizes(node, sizes) < 0.5 * _most(node.dtype.numpy))
        if isinstance(node.op, Reduction):
            return np.asarray(large | before[0].any(axis=node.op.axes))
        return np.broadcast_to(large | _doubtful(node, values, loose), node.shape)
    return np.full(node.shape, _doubtful(node, values, loose))


def _sizes(node: Node, given: Sequence[Any]) -> Array:
    """For every element of a sum of products the magnitudes of its terms, added up."""
    args, types = [np.abs(a) for a in given], result_types(node, "f64")
    return np.asarray(node.op.sizes(args, types) if isinstance(node.op, Contraction) else node.op.value(args, types))


def _doubtful(node: Node, values: Mapping[Node, Any], loose: Mapping[Node, Array]) -> bool:
    """Whether an operand is not settled, or not finite; or a matrix that is factorised has no full rank but for its
    rounding, which decides then."""
    known = [(i.tensor.dtype.numpy, values[i]) for i in node.inputs if not isinstance(values[i], tuple)]
    if any(bool(loose[i].any()) for i in node.inputs) or any(bool(kinds(v).any()) for _, v in known):
        return True
    factorised = isinstance(node.op, HostCall) and node.op.function.startswith("linalg.")
    return factorised and any(_deficient(value, dtype) for dtype, value in known)


def _deficient(matrices: Array, dtype: Any) -> bool:
    """Whether one of the matrices loses rank within what rounding to an element type may do to it."""
    sizes = np.linalg.svd(matrices, compute_uv=False) if matrices.ndim > 1 else np.ones((1, 1))
    return bool((sizes[..., -1:] <= 100 * _unit(dtype) * sizes[..., :1]).any())


def _evaluated(graph: Graph, args: Sequence[Array]) -> dict[Node, Any]:
    """The values of all nodes in double precision."""
    named = {parameter(node).input_name: array for node, array in zip(graph.inputs, args)}
    return dict(values_of(graph, named, graph.nodes(), "f64"))


def _most(dtype: Any) -> float:
    """The largest number of an element type."""
    return float(np.finfo(dtype).max) if np.dtype(dtype).kind == "f" else np.inf


def _unit(dtype: Any) -> float:
    """The rounding error of 1 in an element type."""
    return float(np.finfo(dtype).eps) if np.dtype(dtype).kind == "f" else 0.0


def _least(dtype: Any) -> float:
    """The smallest number above 0: what lies below is lost."""
    return float(np.finfo(dtype).smallest_subnormal) if np.dtype(dtype).kind == "f" else 0.0


def _perturbed(
    graph: Graph,
    args: Sequence[Array],
    rng: np.random.Generator,
    far: float = 0.0,
    where: Collection[Node] | None = None,
    serial: bool = False,
) -> dict[Node, Array]:
    """Values of the roots for those of the inputs, every step a little wrong; with `where`, only these nodes, by `far`
    times what they are."""

    def run(region: Graph, given: Sequence[Array]) -> list[Array]:
        found = _perturbed(region, given, rng, far, where, serial)
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
        if isinstance(node.op, HostCall) and node.op.function.startswith("linalg.") and where is None:
            # a factorisation is the exact one of a matrix nearby, which may have its vectors the other way round
            given = [_wrong(v, v, i.dtype.numpy, 1.0, rng, np.False_) for i, v in zip(node.inputs, given)]
        with np.errstate(all="ignore"):
            made = node.op.evaluate(given, types, run)
            if isinstance(made, tuple):
                dtypes = [t.dtype.numpy for t in _types(node)]
                if where is not None:
                    values[node] = tuple(_off(np.asarray(m), far if node in where else 0.0, rng) for m in made)
                    continue
                values[node] = tuple(_wrong(np.asarray(m), m, dtype, 1.0, rng) for m, dtype in zip(made, dtypes))
                continue
            if where is not None:
                values[node] = _off(np.asarray(made), far if node in where else 0.0, rng)
                continue
            size = _sizes(node, given) if isinstance(node.op, _SUMS) else made
        # elementary functions may be off by a few units in the last place; a constant is what it is
        exact = not given or isinstance(node.op, _EXACT) or node.op.name in _EXACT_NAMES
        function = isinstance(node.op, Elementwise) and node.op.cost > 2 and not exact
        times = 0.0 if exact else 4.0 if function else 1.0
        if isinstance(node.op, CumSum) or serial and isinstance(node.op, _SUMS):
            times = max(1.0, _terms(node) / (2 * MARGIN))
        # what is whole comes of exact operations, or a function is near a limit: tanh of 19.05 is 1, or just below
        whole = np.logical_and.reduce(np.broadcast_arrays(*map(_whole, given))) if function else np.True_
        values[node] = _wrong(np.asarray(made), size, node.dtype.numpy, times, rng, whole)
    return {node: values[node] for node in dict.fromkeys(graph.roots)}


def _terms(node: Node) -> float:
    """How many terms a sum has, that is rounded at every one; of terms that are alike, always to the same side. Halves
    are added in single precision."""
    if node.dtype == F16:
        return 1
    if isinstance(node.op, CumSum):
        return node.shape[node.op.axis]
    if isinstance(node.op, Contraction):
        return node.op.multiply_adds(node) / max(node.tensor.size, 1)
    if isinstance(node.op, WindowSum):
        return float(np.prod(node.op.size))
    return sum(i.tensor.size for i in node.inputs) / max(node.tensor.size, 1)


def _off(value: Array, far: float, rng: np.random.Generator) -> Array:
    """The value, off by `far` times itself, upwards or downwards."""
    if value.dtype.kind != "f":
        return value
    return np.asarray(value * (1.0 + far * rng.choice([-1.0, 1.0], value.shape))) if far else value


def _types(node: Node) -> Any:
    return node.type.items  # type: ignore[union-attr]


def _whole(value: Any) -> Array:
    return np.asarray(value == np.rint(value))


def _wrong(value: Array, size: Any, dtype: Any, times: float, rng: np.random.Generator, exact: Any = np.True_) -> Array:
    """The value with errors of up to `times` what rounding a number of `size` to an element type may cost; whole
    numbers have none where they may be `exact`."""
    if value.dtype.kind != "f" or not times:
        return value
    with np.errstate(all="ignore"):
        far = times * (_unit(dtype) * np.abs(np.asarray(size)) + _least(dtype))
        wrong = value + far * rng.uniform(-1.0, 1.0, value.shape)
    return np.where(_whole(value) & exact, value, wrong)
