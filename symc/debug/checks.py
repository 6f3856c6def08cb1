"""What must hold after every pass: the verifier's rules, and the values that the interpreters give.

The program as it came (a Symbol: once decomposed and differentiated) gives the reference. Where all its values are
small whole numbers, every level must give every bit of it. Otherwise the values must be as near to those of double
precision as rounding in the declared types allows; a pass that promises exact values keeps every bit in any case.
"""

from __future__ import annotations

import copy
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

import symc.random
from symc.base import MXNetError, UserCodeError
from symc.custom import before_user_code
from symc.debug.alarm import TimeLimit, limited
from symc.debug.apart import Say
from symc.debug.compare import (
    Reference,
    approximated,
    changed_between,
    compare,
    difference,
    identical,
    reference_of,
    reference_of_kernels,
    too_far,
)
from symc.debug.conduct import Conduct
from symc.debug.kernels_near import kernels_too_far
from symc.debug.nearby import nearby
from symc.debug.operator_fault import OPERATOR, look_at_customs, look_at_operators
from symc.debug.primitive_fault import wrong_gradient
from symc.debug.reading import definition, gradients_of, inputs_of, turns
from symc.debug.running import check_executor, check_native
from symc.debug.smooth import check_gradients
from symc.debug.trial import Failure, Trial, Wrong
from symc.extensions import files_of, is_own
from symc.ir.errors import IRError, VerifyError, message_of
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims.control import HostCall
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import Results, evaluate
from symc.ir.text import collect_constants, print_module
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Manager, Module, Pass, tolerance
from symc.passes.manager.properties import held
from symc.passes.tensor.inline import Inline
from symc.typed import with_inferred

#: seconds that the values of loops may take until other inputs are left out
PATIENCE = 10.0
#: statements that are still interpreted one by one
SLOW = 500
#: seconds at most, beside its own, that a pass may take until its process is ended
GRACE = 5.0
#: how much longer the values of what a pass from outside gives may take than those of what it was given, and the
#: seconds that they may take in any case
SLOWER, LEAST = 20.0, 60.0


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
class Scene:
    """What was there when a check failed."""

    #: the number of the pass (that of all passes: machine code), what it was given, and what it gave
    at: int = 0
    before: Module = None
    after: Module = None
    #: the numbers of the passes that changed nothing
    idle: set[int] = field(default_factory=set)
    #: what was known of the values before it, for every trial; the one that failed first
    judges: list[Judge] = field(default_factory=list)
    #: which of the trials of symc.debug.nearby failed, if one of them did
    near: int | None = None


def check(
    trial: Trial,
    at: Say = lambda stage, seconds=0.0: None,
    also: Sequence[Trial] = (),
    scene: Scene | None = None,
    instruments: Sequence[Instrument] = (),
) -> Report:
    """Run the trial; the report says what failed first. `at` is told every stage before it begins; `also` are trials
    of the same passes on other inputs, which are looked at on the way; `scene` is left as it is where a check fails;
    `instruments` watch the passes."""
    report = Report()
    try:
        with before_user_code(_same_numbers):
            _Run(trial, also, report, at, scene or Scene()).all(instruments)
    except Wrong as wrong:
        report.failure = wrong.failure
    except np.linalg.LinAlgError:
        pass  # numpy refuses a matrix that is drawn at random: there is nothing to compare with
    return report


def _same_numbers() -> None:
    """What user code draws is the same whenever it is called."""
    random.seed(0)
    np.random.seed(0)
    symc.random.seed(0)


def attempt(check: str, where: str, work: Callable[[], Any], refusable: bool = True, limit: float = 0.0) -> Any:
    """What `work` gives; its errors, and more than `limit` seconds, are failures. Where operators are `refusable`,
    MXNetError is none."""
    try:
        with limited(limit):
            return work()
    except VerifyError as problem:
        raise Wrong("verifier", where, problem.rule, str(problem)) from None
    except TimeLimit:
        raise Wrong("hang", where, "time", f"it did not end within {limit:g} s") from None
    except (Wrong, np.linalg.LinAlgError):
        raise
    except UserCodeError as problem:
        rule = f"{OPERATOR}Custom {problem.op_type}"
        raise Wrong("crash", where, rule, f"{problem.told()}{_line_of(problem)}", problem.symbol) from None
    except (Exception, SystemExit) as problem:
        if refusable and isinstance(problem, MXNetError):
            raise
        refused = check == "pass" and isinstance(problem, (IRError, MXNetError))
        kind = type(problem).__name__
        said = message_of(problem)
        text = said if isinstance(problem, (IRError, MXNetError)) else f"{kind}: {said}{_line_of(problem)}"
        raise Wrong("refused" if refused else check, where, kind, text) from problem


def _line_of(problem: BaseException) -> str:
    """Where it was raised, in a file that is not a part of this project or else in the last one."""
    frames = traceback.extract_tb(problem.__traceback__)
    outside = [f for f in frames if not is_own(f.filename)]
    frame = (outside or frames or [None])[-1]
    return "" if frame is None else f" ({frame.filename}:{frame.lineno} in {frame.name})"


class _Run:
    def __init__(self, trial: Trial, also: Sequence[Trial], report: Report, at: Say, scene: Scene) -> None:
        self.trial, self.report, self.at, self.scene = trial, report, at, scene
        scene.judges = [Judge(t, report) for t in (trial, *also)]

    def all(self, instruments: Sequence[Instrument]) -> None:
        """Every pass, then machine code."""
        trial, report, scene = self.trial, self.report, self.scene
        vetoes = [Veto(trial.seed, trial.veto)] if trial.veto else []
        watching = [*vetoes, *instruments]
        manager = Manager(watching, verify=True)
        module = self._typed(trial.module)
        attempt("verifier", "input", lambda: verify(module))
        for judge in scene.judges:
            judge.begin(module)
        spent = 0.0
        for number, pass_ in enumerate(trial.passes):
            scene.at, scene.before, scene.after = number, module, None
            # what hangs without running Python code is ended from outside
            self.at(pass_.name, trial.limit + min(trial.limit, GRACE))
            conduct = Conduct(pass_, module, watching) if files_of([pass_]) else None
            try:
                module = stepped(manager, pass_, self._typed(module), trial)
            except MXNetError:
                return  # an operator does not take the net's type
            changed = module is not scene.before
            if conduct is not None:
                changed = attempt("pass", pass_.name, partial(conduct.look, module), trial.refusable, 3 * trial.limit)
            # a pass from outside may give a program that never ends
            slow = conduct is not None and pass_.takes == pass_.gives
            self.at(pass_.name, max(SLOWER * spent, LEAST) if slow else 0.0)
            scene.after = module
            report.checks += 1
            if trial.seed % 8 == 0:
                self._text(module, pass_)
            if not changed:
                scene.idle.add(number)
                continue
            start = time.monotonic()
            if isinstance(scene.before, SymbolModule) and isinstance(module, Graph):
                self._operators(look_at_customs, scene.before, module)
            self._judge(module, pass_)
            if isinstance(scene.before, SymbolModule) and isinstance(module, Graph):
                self._operators(look_at_operators, scene.before, module)
            if conduct is not None and trial.rules:
                self._nearby(module, pass_)
            spent = time.monotonic() - start
        if trial.native and isinstance(module, LoopModule):
            scene.at, scene.before, scene.after = len(trial.passes), module, None
            reference = scene.judges[0].reference
            assert reference is not None
            self.at("native")
            report.native = True
            report.checks += check_native(trial, module, reference)
            if trial.bound and isinstance(trial.module, SymbolModule):
                self.at("executor")
                report.checks += check_executor(trial)

    def _nearby(self, module: Module, pass_: Pass) -> None:
        """What the pass changed is right on other operands, too."""
        before = self.scene.before
        if not isinstance(before, Graph) or not isinstance(module, Graph) or pass_.numerics not in ("exact", "reassoc"):
            return
        for number, small in enumerate(nearby(self.trial, before, module, pass_)):
            try:
                failure = check(small).failure
            except (IRError, MXNetError, ArithmeticError, ValueError, TypeError, KeyError):
                continue  # a part that is no program
            if failure is not None and failure.check == "values":
                self.scene.near = number
                raise Wrong(failure.check, failure.where, failure.rule, f"alone, {failure.message}", failure.value)

    def _judge(self, module: Module, pass_: Pass) -> None:
        judges = self.scene.judges
        before = [copy.copy(judge) for judge in judges]
        start = time.monotonic()
        for number, judge in enumerate(judges):
            if isinstance(module, LoopModule) and time.monotonic() - start > PATIENCE:
                break  # loops of a large net are interpreted on one kind of inputs only
            try:
                judge.look(pass_, module)
            except np.linalg.LinAlgError:
                if not number:
                    raise
            except Wrong:
                self.scene.judges = [before[number], *before[:number], *before[number + 1 :]]
                raise

    def _typed(self, module: Module) -> Module:
        """A Symbol with the types that its operators' programs must give."""
        if not isinstance(module, SymbolModule):
            return module
        return attempt("pass", "types", partial(with_inferred, module), self.trial.refusable)

    def _operators(self, look: Callable[[Trial, SymbolModule, Graph], int], module: SymbolModule, graph: Graph) -> None:
        """Operators from outside are what they say of themselves."""
        for judge in list(self.scene.judges):
            if look is look_at_customs and not judge.trial.rules:
                continue  # code that users write need not take what no user gives it
            try:
                found = attempt("interpreter", "decompose", partial(look, judge.trial, module, graph))
                self.report.checks += found
            except Wrong:
                self.scene.judges.sort(key=lambda other: other is not judge)
                raise

    def _text(self, module: Module, pass_: Pass) -> None:
        """The text reads back as the same text."""

        def again() -> str:
            return print_module(parse(text, collect_constants(module), definition))

        text = attempt("text", pass_.name, lambda: print_module(module))
        if attempt("text", pass_.name, again) != text:
            raise Wrong("text", pass_.name, "other", "the printed program reads back as another")
        self.report.checks += 1


def stepped(manager: Manager, pass_: Pass, module: Module, trial: Trial) -> Module:
    """The module after one pass; Wrong if it raises, takes too long, or gives what the verifier rejects."""
    return attempt("pass", pass_.name, lambda: manager.step(pass_, module), trial.refusable, trial.limit)


class Judge:
    """What is known of the values of a trial's program, and whether those of the next one agree."""

    def __init__(self, trial: Trial, report: Report) -> None:
        self.trial, self.report = trial, report
        self.reference: Reference | None = None
        self.last: Results | None = None
        #: the graph, and the kernels, that were looked at last
        self.graph: Graph | None = None
        self.kernels: Program | LoopModule | None = None

    def begin(self, module: Module) -> None:
        """The program as it came gives the reference; a Symbol only once it is decomposed."""
        if isinstance(module, Graph):
            self._begin(module, "input")
        elif isinstance(module, (Program, LoopModule)):
            arrays = {p.name: self.trial.value(p.name, p.role, p.type) for p in _program(module).params}
            made = attempt("interpreter", "input", lambda: reference_of_kernels(self.trial, module, arrays))
            self.reference, self.last, self.kernels = made, made.declared, module
            self.report.whole = made.whole
        elif any(p.takes == p.gives == "symbol" for p in self.trial.passes):
            graph = attempt("interpreter", "input", lambda: self.decomposed(module), self.trial.refusable)
            if graph is not None:
                self._begin(graph, "input")

    def look(self, pass_: Pass, module: Module) -> None:
        """Wrong if the module that a pass gave has other values than the one before it."""
        if isinstance(module, SymbolModule):
            graph = attempt("pass", pass_.name, lambda: self.decomposed(module), self.trial.refusable)
            if graph is not None:
                self._graph(graph, pass_)
        elif isinstance(module, Graph):
            if pass_.takes == "symbol":
                self.reference = None  # Symbols are compared with their gradients
            self._graph(module, pass_)
        elif isinstance(module, Program):
            self._program(module, pass_)
        else:
            self._loops(module, pass_)

    def decomposed(self, module: Module) -> Graph | None:
        """The graph of a Symbol with the gradients that follow, by the trial's own passes."""
        passes = [p for p in self.trial.passes if p.takes == "symbol" and p.gives == "tensor"]
        gradients = [p for p in self.trial.passes if p.numerics == "extends" and p.takes == "tensor"]
        if not passes:
            return None
        made: Graph = Manager(verify=False).run([*passes[:1], *gradients], module)
        return made

    # -- levels

    def _begin(self, graph: Graph, where: str) -> None:
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        found = attempt("interpreter", where, lambda: reference_of(self.trial, graph, arrays))
        self.reference, self.last, self.graph = found, found.declared, graph
        self.report.whole = found.whole

    def _graph(self, graph: Graph, pass_: Pass) -> None:
        where = pass_.name
        before, self.graph = self.graph, graph
        if self.reference is None:
            self._begin(graph, where)
            return
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        if pass_.numerics == "extends":
            found = attempt("interpreter", where, lambda: reference_of(self.trial, graph, arrays))
            self._bits("values", where, "common outputs", found.declared)
            self.report.checks += check_gradients(self.trial, graph, arrays, where)
            if self.trial.rules:
                self._derivatives(pass_, before)
            self.reference, self.last = found, found.declared
            self.report.whole = found.whole
            return
        declared = attempt("interpreter", where, lambda: evaluate(graph, arrays))
        if not tolerance(pass_.numerics):
            self._settle(where, pass_, "tensor", declared)
            return
        assert before is not None
        changed = changed_between(before, graph)
        problem, name = too_far(before, graph, arrays, tolerance(pass_.numerics), changed)
        if problem:
            raise Wrong("values", where, "tensor", problem, name)
        self._approximate(pass_, before, changed, "tensor", declared)
        self._begin(graph, where)

    def _approximate(self, pass_: Pass, before: Graph, changed: Sequence[Node], level: str, found: Results) -> None:
        """A pass that approximates is compared with what it was given; what it gave is the reference from then on."""
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(before)}
        allowed = approximated(self.trial, before, arrays, tolerance(pass_.numerics), changed)
        disagreement, name = attempt("interpreter", pass_.name, lambda: compare(self.trial, allowed, found))
        if disagreement:
            raise Wrong("values", pass_.name, level, disagreement, name)
        self.report.checks += 1

    def _derivatives(self, pass_: Pass, before: Graph | None) -> None:
        """What the pass adds to the graph without rules of operators are derivatives."""
        if before is None or gradients_of(before):
            return
        plain = Manager(verify=False).step(Inline(), before)
        if any(isinstance(node.op, HostCall) for node in plain.nodes()):
            return  # what is called has no gradient but its operator's, which is looked at alone
        graph = attempt("pass", pass_.name, lambda: Manager(verify=False).step(pass_, plain), self.trial.refusable)
        wrong = attempt("interpreter", pass_.name, lambda: wrong_gradient(self.trial, plain, from_outside=True))
        if wrong is not None:
            raise Wrong("gradient", pass_.name, "differences", wrong[1], plain.names.get(wrong[0], ""))
        arrays = {name: self.trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        self.report.checks += check_gradients(replace(self.trial, smooth=True), graph, arrays, pass_.name)

    def _program(self, program: Program, pass_: Pass) -> None:
        assert self.reference is not None
        arrays = self.reference.arrays
        declared = attempt("interpreter", pass_.name, lambda: run_program(program, arrays))
        self._kernels(pass_, "program", program)
        self._settle(pass_.name, pass_, "program", declared)
        self._renew(pass_, program)

    def _loops(self, loops: LoopModule, pass_: Pass) -> None:
        assert self.reference is not None
        arrays = self.reference.arrays
        lockstep = attempt("interpreter", pass_.name, lambda: run_loop_module(loops, arrays))
        self._kernels(pass_, "loops", loops)
        # loops that are not scheduled take long sums in one go
        self._settle(pass_.name, pass_, "loops", lockstep, serial="scheduled" not in held(loops))
        self._renew(pass_, loops)
        if sum(turns(k.body) for k in loops.kernels) <= SLOW:
            serial = attempt("interpreter", pass_.name, lambda: run_loop_module(loops, arrays, serial=True))
            self._agree(pass_.name, "turn by turn", serial, serial="scheduled" not in held(loops))

    def _kernels(self, pass_: Pass, level: str, module: Program | LoopModule) -> None:
        """What a pass that approximates changed in kernels is as near as it promises."""
        before, self.kernels = self.kernels, module
        far = tolerance(pass_.numerics)
        if far and before is not None:
            problem, name = attempt("interpreter", pass_.name, lambda: kernels_too_far(self.trial, before, module, far))
            if problem:
                raise Wrong("values", pass_.name, level, problem, name)

    # -- comparisons

    def _settle(self, where: str, pass_: Pass, level: str, declared: Results, serial: bool = False) -> None:
        far = tolerance(pass_.numerics)
        if far and self.graph is not None:  # of kernels it is not known which values were approximated
            self._approximate(pass_, self.graph, self.graph.nodes(), level, declared)
        elif far:
            self._near(where, level, declared, far)
        else:
            if pass_.numerics == "exact":
                self._bits("values", where, "exact", declared)
            self._agree(where, level, declared, serial)
        self.last = declared

    def _renew(self, pass_: Pass, module: Program | LoopModule) -> None:
        """What a pass that approximates gave is the reference from then on."""
        if tolerance(pass_.numerics):
            assert self.reference is not None
            self.reference, self.graph = reference_of_kernels(self.trial, module, self.reference.arrays), None

    def _near(self, where: str, level: str, found: Results, far: float) -> None:
        """Within `far` of the largest element beside what rounding allows, of a program that came as kernels."""
        assert self.reference is not None
        ends = {**self.reference.declared.outputs, **self.reference.declared.updates}
        with np.errstate(all="ignore"):
            sizes = {n: float(np.nanmax(np.abs(v.astype(np.float64)), initial=0.0)) for n, v in ends.items()}
        had = self.reference.bounds
        bounds = {name: had.get(name, 0.0) + far * size for name, size in sizes.items()}
        disagreement, name = compare(self.trial, self.reference.within(bounds), found)
        if disagreement:
            raise Wrong("values", where, level, disagreement, name)
        self.report.checks += 1

    def _bits(self, check: str, where: str, rule: str, after: Results) -> None:
        """Every bit of what there was before."""
        before = self.last
        assert before is not None
        for kind, had, has in (("output", before.outputs, after.outputs), ("update of", before.updates, after.updates)):
            for name, value in had.items():
                if name not in has:
                    raise Wrong(check, where, "missing", f"{kind} {name} is gone", name)
                if not identical(has[name], value):
                    raise Wrong(check, where, rule, f"{kind} {name}: {difference(has[name], value)}", name)
        self.report.checks += 1

    def _agree(self, where: str, level: str, found: Results, serial: bool = False) -> None:
        """As near to the reference as rounding allows."""
        assert self.reference is not None
        reference = self.reference
        disagreement, name = attempt("interpreter", where, lambda: compare(self.trial, reference, found, serial))
        if disagreement:
            raise Wrong("values", where, level, disagreement, name)
        self.report.checks += 1


def _program(module: Program | LoopModule) -> Program:
    return module.program if isinstance(module, LoopModule) else module
