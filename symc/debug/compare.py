"""When values agree: what a program is compared with, and how far rounding may take it away from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np

from symc.debug.bounds import RUNS, approximation_bounds, kinds, rounding_bounds
from symc.debug.trial import Trial
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.prims.elementwise import Const
from symc.ir.process import once
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph, in_order
from symc.ir.tensor.interp import Results, by_node, evaluate, evaluate_nodes, values_of
from symc.ir.types import F16, F32, Array, TensorType, TupleType

#: the magnitude up to which whole numbers stay whole in products and their sums, whatever the order
_EXACT = {F16: 2**4, F32: 2**9}
_EXACT_F64 = 2**22
#: how much further from the program in double precision a value may be than the program as it came is, and how many
#: units in the last place of the largest element besides: for programs whose sums are not known one by one
FURTHER, UNITS = 16.0, 64.0


#: by name of the output, or of the input that is updated: how far all elements, or each, may be off
Bounds = dict[str, Union[float, Array]]


@dataclass
class Reference:
    """The values that every later level must give, and how far rounding may move them: that is found out once a value
    is not the very one of the program as it came."""

    #: None for a program that came as kernels
    graph: Graph | None
    arrays: dict[str, Array]
    declared: Results
    whole: bool
    judge: Callable[[], tuple[Results, Bounds]]

    @once
    def _judged(self) -> tuple[Results, Bounds]:
        return self.judge()

    @property
    def truth(self) -> Results:
        """What all values are compared with."""
        return self._judged[0]

    @property
    def bounds(self) -> Bounds:
        """How far they may be from it."""
        return self._judged[1]

    def within(self, bounds: Bounds) -> Reference:
        """The same with other bounds, of rounding and more."""
        return Reference(None, self.arrays, self.declared, False, lambda: (self.truth, bounds))


def stays_whole(graph: Graph, arrays: Mapping[str, Array]) -> bool:
    """All values, those in regions too, are whole numbers, so small that no sum of products rounds in whatever order it
    is taken."""
    whole = True

    def watch(node: Node, value: Any) -> None:
        nonlocal whole
        whole = whole and (isinstance(node.op, Const) or _adds_up(value, node.type))

    evaluate_nodes(list(dict.fromkeys(graph.roots)), by_node(graph, arrays), watch=watch)
    return whole


def _adds_up(value: Any, type_: TensorType | TupleType) -> bool:
    """Whether sums of products of these values are exact."""
    types = type_.items if isinstance(type_, TupleType) else (type_,)
    for tensor, v in zip(types, value if isinstance(value, tuple) else (value,)):
        limit = _EXACT.get(tensor.dtype, _EXACT_F64)
        if v.dtype.kind == "f" and not ((np.abs(v) <= limit) & (v == np.rint(v))).all():
            return False
    return True


def _is_whole(value: Array) -> bool:
    """Small whole numbers."""
    return value.dtype.kind != "f" or bool(((np.abs(value) <= _EXACT[F16]) & (value == np.rint(value))).all())


def reference_of(
    trial: Trial, graph: Graph, arrays: dict[str, Array], runs: int = RUNS, serial: bool = False
) -> Reference:
    """The reference that a graph gives; `serial`: for programs that take sums term by term."""
    declared = evaluate(graph, arrays)
    try:
        whole = trial.whole and stays_whole(graph, arrays)
    except np.linalg.LinAlgError:
        whole = False
    if whole:
        return Reference(graph, arrays, declared, True, lambda: (declared, {}))
    return Reference(graph, arrays, declared, False, lambda: _judged(graph, arrays, declared, runs, serial))


def _judged(
    graph: Graph, arrays: dict[str, Array], declared: Results, runs: int, serial: bool
) -> tuple[Results, Bounds]:
    """The values of a graph in double precision, and how far rounding may move them."""
    roots = list(dict.fromkeys(graph.roots))
    truth = values_of(graph, arrays, roots, "f64")
    outputs = {o.name: o.node for o in graph.outputs}
    updates = {u.input: u.value for u in in_order(graph.updates)}
    named: dict[str, Node] = {**outputs, **updates}
    bounds = rounding_bounds(graph, arrays, truth, runs, serial)
    for kind in (declared.outputs, declared.updates):
        for name, value in kind.items():
            node = named[name]
            # where it is another one, something on the way does not fit the declared types
            bounds[node] = np.where(kinds(value) != kinds(truth[node]), np.inf, bounds[node])
    found = Results({n: truth[v] for n, v in outputs.items()}, {n: truth[v] for n, v in updates.items()})
    return found, {name: bounds[node] for name, node in named.items()}


def reference_of_kernels(trial: Trial, module: Program | LoopModule, arrays: dict[str, Array]) -> Reference:
    """The reference that a program of kernels or loops gives."""
    if isinstance(module, LoopModule):
        declared, truth = (run_loop_module(module, arrays, precision=p) for p in ("declared", "f64"))
    else:
        declared, truth = (run_program(module, arrays, p) for p in ("declared", "f64"))
    bounds: Bounds = {}
    whole = trial.whole
    for had, has in ((truth.outputs, declared.outputs), (truth.updates, declared.updates)):
        for name, value in has.items():
            whole = whole and _is_whole(value)
            if value.dtype.kind != "f":
                bounds[name] = 0.0
                continue
            with np.errstate(all="ignore"):
                far = np.abs(value.astype(np.float64) - had[name])
                size = float(np.abs(had[name])[np.isfinite(had[name])].max(initial=0.0))
            apart = not np.isfinite(far).all()
            eps = float(np.finfo(value.dtype).eps)
            bounds[name] = np.inf if apart else FURTHER * float(far.max(initial=0.0)) + UNITS * eps * size
    return Reference(None, arrays, declared, whole, lambda: (declared if whole else truth, {} if whole else bounds))


def changed_between(before: Graph, after: Graph) -> list[Node]:
    """The nodes whose values another graph computes in another way, or not at all; that of operands does not count."""
    left, named = set(after.nodes()), {name: node for node, name in after.names.items()}
    found = []
    for node in before.nodes():
        name = before.names.get(node, "")
        twin = named.get(name, node if node in left else None)
        if not node.inputs or twin is node:
            continue
        read = [before.names.get(i) for i in node.inputs]
        if twin is None or twin.op != node.op or read != [after.names.get(i) for i in twin.inputs]:
            found.append(node)
    return found


def approximated(trial: Trial, graph: Graph, arrays: dict[str, Array], far: float, where: Sequence[Node]) -> Reference:
    """The reference for a program that computes the values of some nodes of a graph in another way, off by `far` times
    what they are."""
    plain = reference_of(replace(trial, whole=False), graph, arrays)
    named: dict[str, Node] = {o.name: o.node for o in graph.outputs} | {u.input: u.value for u in graph.updates}
    truth = {named[n]: v for n, v in {**plain.truth.outputs, **plain.truth.updates}.items()}
    extra = approximation_bounds(graph, arrays, truth, far, where)
    return plain.within({name: plain.bounds[name] + extra[node] for name, node in named.items()})


def too_far(
    before: Graph, after: Graph, arrays: Mapping[str, Array], far: float, changed: Sequence[Node]
) -> tuple[str, str]:
    """How a value that is computed in another way, of operands that are what they were, is off by more than `far` times
    itself in double precision, and its name; empty if none is."""
    reached, first = set(changed), []
    for node in before.nodes():
        if any(i in reached for i in node.inputs):
            reached.add(node)
        elif node in reached and hasattr(node.type, "shape"):
            first.append(node)
    twins = {name: node for node, name in after.names.items()}
    pairs = [(n, twins[before.names[n]]) for n in first if before.names.get(n) in twins]
    pairs = [(n, twin) for n, twin in pairs if twin.type == n.type]
    old = values_of(before, arrays, [n for n, _ in pairs], "f64")
    new = values_of(after, arrays, [twin for _, twin in pairs], "f64")
    for node, twin in pairs:
        value = old[node].astype(np.float64)
        eps = float(np.finfo(node.dtype.numpy).eps) if node.dtype.kind == "f" else 0.0
        size = np.abs(np.where(np.isfinite(value), value, 0))
        # sums in which large terms cancel are off by what double precision rounds of those
        rounded = UNITS * float(np.finfo(np.float64).eps) * float(size.max(initial=0.0))
        if not near(new[twin], old[node], size * (1.01 * far + UNITS * eps) + rounded):
            name = before.names[node]
            return f"%{name}: {difference(new[twin], old[node])} (allowed: {far:g} times it)", name
    return "", ""


def compare(trial: Trial, reference: Reference, found: Results, serial: bool = False) -> tuple[str, str]:
    """How the values differ from the reference by more than rounding can explain, and in which output or updated
    input; empty if they do not. `serial`: they come of sums that were taken term by term.

    Bounds come from a few runs with errors: what seems too far is judged again with many."""
    had = reference.declared
    if _every_bit(had.outputs, found.outputs) and _every_bit(had.updates, found.updates):
        return "", ""
    problem = _compared(reference, found)
    if problem[0] and not reference.whole and reference.graph is not None:
        closer = reference_of(trial, reference.graph, reference.arrays, 10 * RUNS, serial)
        problem = _compared(closer, found)
    return problem


def _every_bit(had: Mapping[str, Array], has: Mapping[str, Array]) -> bool:
    return all(name in has and identical(has[name], value) for name, value in had.items())


def _compared(reference: Reference, found: Results) -> tuple[str, str]:
    truth = reference.truth
    for kind, wanted, has in (("output", truth.outputs, found.outputs), ("update of", truth.updates, found.updates)):
        for name, value in wanted.items():
            if name not in has:
                return f"{kind} {name} is gone", name
            got = has[name]
            if got.shape != value.shape:
                return f"{kind} {name} has shape {got.shape} instead of {value.shape}", name
            if not (same(got, value) if reference.whole else near(got, value, reference.bounds[name])):
                limit = "" if reference.whole else f" (allowed: {float(np.min(reference.bounds[name])):.3g})"
                return f"{kind} {name}: {difference(got, value)}{limit}", name
    return "", ""


def same(a: Array, b: Array) -> bool:
    """Equal element for element; nan where nan is."""
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def identical(a: Array, b: Array) -> bool:
    """The same, and -0 where -0 is."""
    return same(a, b) and (a.dtype.kind != "f" or bool((np.signbit(a) == np.signbit(b))[b == 0].all()))


def near(got: Array, want: Array, bound: float | Array) -> bool:
    """Within `bound` wherever `want` is finite, and nan or infinite where it is; where a bound is infinite anything is
    allowed, for rounding decides there."""
    free = ~np.isfinite(bound)
    if want.dtype.kind != "f" and got.dtype.kind != "f":
        # large whole numbers are alike in double precision
        far = np.abs(got.astype(np.float64) - want.astype(np.float64))
        return bool((free | (got == want) | (np.less(0, bound) & (far <= bound))).all())
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), want.astype(np.float64)
        # what overflows in a narrow type is finite in the wide one
        large = np.abs(b) > 0.99 * np.finfo(got.dtype).max if got.dtype.kind == "f" else np.zeros(b.shape, bool)
        alike = np.where(np.isfinite(b), (np.abs(a - b) <= bound) | large, kinds(a) == kinds(b))
        return bool((free | alike).all())


def difference(got: Array, want: Array) -> str:
    """Where two arrays differ most."""
    if got.shape != want.shape:
        return f"{got.shape} instead of {want.shape}"
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    error = np.where(np.isnan(error) & (np.isnan(got) != np.isnan(want)), np.inf, np.nan_to_num(error, nan=0.0))
    if not error.any():  # then it is the sign of zeros, or whole numbers are too large for double precision
        both = got.dtype.kind == want.dtype.kind == "f"
        error = (np.signbit(got) != np.signbit(want) if both else np.asarray(got != want)).astype(np.float64)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape)) if error.size else ()
    count = int((error > 0).sum())
    return f"{got[at]} instead of {want[at]} at {list(at)}; {count} of {error.size} elements differ"
