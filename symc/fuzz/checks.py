"""What must hold after every pass: the verifier's rules, and the values that the interpreters give.

The program as it came (a Symbol: once decomposed and differentiated) gives the reference. Where all its values are
small whole numbers, every level must give every bit of it. Otherwise the values must be as near to those of double
precision as rounding in the declared types allows; a pass that promises exact values keeps every bit in any case.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symc.base import MXNetError
from symc.fuzz.bounds import RUNS, rounding_bounds
from symc.fuzz.reading import definition, inputs_of
from symc.fuzz.smooth import check_gradients
from symc.fuzz.trial import Failure, Trial, Wrong
from symc.ir.errors import VerifyError
from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import For, If, Stmt
from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims.elementwise import Const
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph, in_order
from symc.ir.tensor.interp import Results, evaluate, values_of
from symc.ir.text import collect_constants, print_module
from symc.ir.types import F16, F32, Array
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Manager, Module, Pass
from symc.passes.tensor.autodiff import Autodiff

#: the magnitude up to which whole numbers stay whole in products and their sums, whatever the order
_EXACT = {F16: 2**4, F32: 2**9}
_EXACT_F64 = 2**22


#: statements that are still interpreted one by one
SLOW = 500


def turns(body: Sequence[Stmt]) -> int:
    """Statements of a loop nest, as often as they run."""
    total = 0
    for stmt in body:
        if isinstance(stmt, For):
            total += stmt.trips * turns(stmt.body)
        else:
            total += 1 + (turns(stmt.body) if isinstance(stmt, If) else 0)
    return total


class Veto(Instrument):
    """Forbids a share of the rewrites, chosen by the seed; those of passes that add results must happen."""

    def __init__(self, seed: int, share: float) -> None:
        self.seed, self.share = seed, share
        self._may = True

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._may = pass_.numerics != "extends"
        return True

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        return not self._may or random.Random(f"{self.seed} {pass_name} {number}").random() >= self.share


@dataclass
class Report:
    """What was done with one trial."""

    checks: int = 0
    whole: bool = False
    native: bool = False
    failure: Failure | None = None


@dataclass
class Reference:
    """The values that every later level must give, and how far rounding may move them."""

    graph: Graph
    arrays: dict[str, Array]
    declared: Results
    truth: Results
    whole: bool
    #: by name of the output, or of the input that is updated
    bounds: dict[str, float]


def check(trial: Trial, at: Callable[[str], None] = lambda stage: None) -> Report:
    """Run the trial; the report says what failed first. `at` is told every stage before it begins."""
    report = Report()
    try:
        _Run(trial, report, at).all()
    except Wrong as wrong:
        report.failure = wrong.failure
    except np.linalg.LinAlgError:
        pass  # numpy refuses a matrix that is drawn at random: there is nothing to compare with
    return report


def stays_whole(graph: Graph, arrays: Mapping[str, Array]) -> bool:
    """All values are whole numbers, so small that no sum of products rounds in whatever order it is taken."""
    nodes = [n for n in graph.nodes() if not isinstance(n.op, Const)]
    values = values_of(graph, arrays, nodes)
    for node, found in values.items():
        types = getattr(node.type, "items", (node.type,))
        for tensor, v in zip(types, found if isinstance(found, tuple) else (found,)):
            if v.dtype.kind != "f":
                continue
            limit = _EXACT.get(tensor.dtype, _EXACT_F64)
            if not ((np.abs(v) <= limit) & (v == np.rint(v))).all():
                return False
    return True


def reference_of(trial: Trial, graph: Graph, arrays: dict[str, Array], runs: int = RUNS) -> Reference:
    """The reference that a graph gives."""
    declared = evaluate(graph, arrays)
    try:
        whole = trial.whole and stays_whole(graph, arrays)
    except np.linalg.LinAlgError:
        whole = False
    if whole:
        return Reference(graph, arrays, declared, declared, True, {})
    roots = list(dict.fromkeys(graph.roots))
    truth = values_of(graph, arrays, roots, "f64")
    outputs = {o.name: o.node for o in graph.outputs}
    updates = {u.input: u.value for u in in_order(graph.updates)}
    named: dict[str, Node] = {**outputs, **updates}
    bounds = rounding_bounds(graph, arrays, truth, runs)
    for kind in (declared.outputs, declared.updates):
        for name, value in kind.items():
            node = named[name]
            if (np.isfinite(value) != np.isfinite(truth[node])).any():
                bounds[node] = np.inf  # something on the way does not fit the declared types
    return Reference(
        graph, arrays, declared,
        Results({n: truth[v] for n, v in outputs.items()}, {n: truth[v] for n, v in updates.items()}),
        False, {name: bounds[node] for name, node in named.items()},
    )  # fmt: skip


class _Run:
    def __init__(self, trial: Trial, report: Report, at: Callable[[str], None]) -> None:
        self.trial, self.report, self.at = trial, report, at
        self.reference: Reference | None = None
        self.last: Results | None = None

    def all(self) -> None:
        """Every pass, then machine code."""
        trial = self.trial
        vetoes = [Veto(trial.seed, trial.veto)] if trial.veto else []
        manager = Manager(vetoes, verify=True)
        module: Module = trial.module
        self._attempt("verifier", "input", lambda: verify(module))
        if isinstance(module, Graph):
            self._graph(module, None)
        for pass_ in trial.passes:
            before = module
            self.at(pass_.name)
            try:
                module = self._attempt("pass", pass_.name, lambda p=pass_, m=before: manager.step(p, m))
            except MXNetError:
                return  # an operator does not take the net's type
            self.report.checks += 1
            if trial.seed % 8 == 0:
                self._text(module, pass_)
            if isinstance(module, Graph):
                self._graph(module, pass_)
            elif isinstance(module, Program):
                self._program(module, pass_)
            else:
                self._loops(module, pass_)
        if trial.native and isinstance(module, LoopModule):
            from symc.fuzz.running import check_executor, check_native

            assert self.reference is not None
            self.at("native")
            self.report.native = True
            self.report.checks += check_native(trial, module, self.reference)
            if not isinstance(trial.module, Graph):
                self.at("executor")
                self.report.checks += check_executor(trial)

    def _attempt(self, check: str, where: str, work):  # type: ignore[no-untyped-def]
        """What `work` gives; its errors are failures."""
        try:
            return work()
        except VerifyError as problem:
            raise Wrong("verifier", where, problem.rule, str(problem)) from None
        except (np.linalg.LinAlgError, MXNetError):
            raise
        except Exception as problem:
            raise Wrong(check, where, type(problem).__name__, str(problem)) from problem

    def _text(self, module: Module, pass_: Pass) -> None:
        """The text reads back as the same text."""

        def again() -> str:
            return print_module(parse(text, collect_constants(module), definition))

        text = self._attempt("text", pass_.name, lambda: print_module(module))
        if self._attempt("text", pass_.name, again) != text:
            raise Wrong("text", pass_.name, "other", "the printed program reads back as another")
        self.report.checks += 1

    # -- levels

    def _graph(self, graph: Graph, pass_: Pass | None) -> None:
        where = pass_.name if pass_ is not None else "input"
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        first = self.reference is None or pass_ is None
        if first or isinstance(pass_, Autodiff):
            found = self._attempt("interpreter", where, lambda: reference_of(self.trial, graph, arrays))
            if not first:
                self._bits("values", where, "common outputs", self.last, found.declared)
                self.report.checks += check_gradients(self.trial, graph, arrays, where)
            self.reference, self.last = found, found.declared
            self.report.whole = found.whole
            return
        assert pass_ is not None
        declared = self._attempt("interpreter", where, lambda: evaluate(graph, arrays))
        if pass_.numerics == "exact":
            self._bits("values", where, "exact", self.last, declared)
        self._agree(where, "tensor", declared)
        self.last = declared

    def _program(self, program: Program, pass_: Pass) -> None:
        assert self.reference is not None
        arrays = self.reference.arrays
        declared = self._attempt("interpreter", pass_.name, lambda: run_program(program, arrays))
        if pass_.numerics == "exact":
            self._bits("values", pass_.name, "exact", self.last, declared)
        self._agree(pass_.name, "program", declared)
        self.last = declared

    def _loops(self, loops: LoopModule, pass_: Pass) -> None:
        assert self.reference is not None
        arrays = self.reference.arrays
        lockstep = self._attempt("interpreter", pass_.name, lambda: run_loop_module(loops, arrays))
        self._agree(pass_.name, "loops", lockstep)
        if sum(turns(k.body) for k in loops.kernels) <= SLOW:
            serial = self._attempt("interpreter", pass_.name, lambda: run_loop_module(loops, arrays, serial=True))
            self._agree(pass_.name, "turn by turn", serial)

    # -- comparisons

    def _bits(self, check: str, where: str, rule: str, before: Results | None, after: Results) -> None:
        """Every bit of what there was before."""
        assert before is not None
        for kind, had, has in (("output", before.outputs, after.outputs), ("update of", before.updates, after.updates)):
            for name, value in had.items():
                if name not in has:
                    raise Wrong(check, where, "missing", f"{kind} {name} is gone")
                if not same(has[name], value):
                    raise Wrong(check, where, rule, f"{kind} {name}: {difference(has[name], value)}")
        self.report.checks += 1

    def _agree(self, where: str, level: str, found: Results) -> None:
        """As near to the reference as rounding allows."""
        assert self.reference is not None
        disagreement = compare(self.trial, self.reference, found)
        if disagreement:
            raise Wrong("values", where, level, disagreement)
        self.report.checks += 1


def compare(trial: Trial, reference: Reference, found: Results) -> str:
    """How the values differ from the reference by more than rounding can explain; empty if they do not.

    Bounds come from a few runs with errors: what seems too far is judged again with many."""
    problem = _compared(reference, found)
    if problem and not reference.whole:
        closer = reference_of(trial, reference.graph, reference.arrays, 10 * RUNS)
        problem = _compared(closer, found)
    return problem


def _compared(reference: Reference, found: Results) -> str:
    truth = reference.truth
    for kind, wanted, has in (("output", truth.outputs, found.outputs), ("update of", truth.updates, found.updates)):
        for name, value in wanted.items():
            if name not in has:
                return f"{kind} {name} is gone"
            got = has[name]
            if got.shape != value.shape:
                return f"{kind} {name} has shape {got.shape} instead of {value.shape}"
            if not (same(got, value) if reference.whole else near(got, value, reference.bounds[name])):
                limit = "" if reference.whole else f" (allowed: {reference.bounds[name]:.3g})"
                return f"{kind} {name}: {difference(got, value)}{limit}"
    return ""


def same(a: Array, b: Array) -> bool:
    """Equal element for element; nan where nan is."""
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def near(got: Array, want: Array, bound: float) -> bool:
    """Within `bound` wherever `want` is finite; an infinite bound allows anything, for rounding decides there."""
    if not np.isfinite(bound):
        return True
    if want.dtype.kind != "f" and got.dtype.kind != "f":
        return bool((np.abs(got.astype(np.float64) - want.astype(np.float64)) <= bound).all())
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(b)
        # what overflows in a narrow type is finite in the wide one
        large = np.abs(b) > 0.99 * np.finfo(got.dtype).max if got.dtype.kind == "f" else np.zeros(b.shape, bool)
        return bool(((np.abs(a - b) <= bound) | ~finite | large).all())


def difference(got: Array, want: Array) -> str:
    """Where two arrays differ most."""
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    error = np.where(np.isnan(error) & (np.isnan(got) != np.isnan(want)), np.inf, np.nan_to_num(error, nan=0.0))
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape)) if error.size else ()
    count = int((error > 0).sum())
    return f"{got[at]!r} instead of {want[at]!r} at {list(at)}; {count} of {error.size} elements differ"
