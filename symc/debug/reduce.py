"""A failure made small: fewer passes, outputs and nodes, smaller shapes, as long as the same check fails at the same
place. Any state of it is a trial that fails, so the work may stop at any time."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping

from symc.base import MXNetError
from symc.debug.reading import inputs_of, operators_of
from symc.debug.shrink import halves, neighbourhoods, parts, shrunk_graphs, single_operators, smaller_symbols
from symc.debug.shrink_bodies import shrunk_bodies
from symc.debug.shrink_programs import program_of, shrunk_programs
from symc.debug.trial import Failure, Trial
from symc.ir.errors import IRError
from symc.ir.modules import SymbolModule
from symc.ir.prims.control import HostCall
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Manager, Pass

#: operators that are few enough
FEW = 3

Fails = Callable[[Trial], "Failure | None"]


def reduce(trial: Trial, failure: Failure, fails: Fails, seconds: float = 20.0) -> tuple[Trial, Failure]:
    """A smaller trial that fails the same way, and how it fails now."""
    return _Reduction(trial, failure, fails, seconds).smallest()


class _Reduction:
    def __init__(self, trial: Trial, failure: Failure, fails: Fails, seconds: float) -> None:
        self.trial, self.failure, self.fails = trial, failure, fails
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def smallest(self) -> tuple[Trial, Failure]:
        """Shortest pipelines first, which makes every later try cheaper; until nothing gets smaller, or Ctrl-C."""
        try:
            if not any(p.name == self.failure.where and p.gives == "symbol" for p in self.trial.passes):
                self._first(_over_primitives(self.trial))
            if isinstance(self.trial.module, SymbolModule):
                self._first(single_operators(self.trial))
            if isinstance(self.trial.module, Graph):
                self._first(halves(self.trial))
                self._all(parts)
                self._first(neighbourhoods(self.trial), self.end - 2 * self.seconds / 3)
            changed = True
            while changed and time.monotonic() < self.end:
                changed = self._all(_simpler_pipelines)
                changed |= self._all(_smaller)
                if not changed and operators_of(self.trial.module) > FEW:
                    changed = self._first(_where_it_fails(self.trial))
        except KeyboardInterrupt:
            pass  # what there is is the best so far
        return self.trial, self.failure

    def _holds(self, candidate: Trial) -> bool:
        """Whether the candidate fails as before; then it is the trial from now on."""
        try:
            found = self.fails(candidate)
        except (IRError, MXNetError, ArithmeticError, ValueError, TypeError, KeyError):
            return False  # not a trial at all: a candidate is made without looking at all that it breaks
        if found is None or found.signature != self.failure.signature:
            return False
        self.trial, self.failure = candidate, found
        return True

    def _first(self, candidates: Iterator[Trial], end: float = math.inf) -> bool:
        """Take the first candidate that holds, of those there is time for."""
        end = min(end, self.end)
        return any(self._holds(c) for c in itertools.takewhile(lambda _: time.monotonic() < end, candidates))

    def _all(self, candidates: Callable[[Trial], Iterator[Trial]]) -> bool:
        """Take candidates of the trial, as long as one holds. What did not hold for the trial before is tried last."""
        first = self.trial
        at = 0
        while time.monotonic() < self.end:
            before = self.trial
            numbered = enumerate(candidates(before))
            later = ((number, c) for number, c in enumerate(candidates(before)) if number < at)
            for number, candidate in itertools.chain((pair for pair in numbered if pair[0] >= at), later):
                if time.monotonic() >= self.end:
                    return self.trial is not first
                if self._holds(candidate):
                    at = number
                    break
            if self.trial is before:
                break
        return self.trial is not first


def _smaller(trial: Trial) -> Iterator[Trial]:
    """Trials with less in their program."""
    if isinstance(trial.module, Graph):
        return shrunk_graphs(trial)
    if isinstance(trial.module, SymbolModule):
        return smaller_symbols(trial)
    return itertools.chain(shrunk_programs(trial), shrunk_bodies(trial))


def _where_it_fails(trial: Trial) -> Iterator[Trial]:
    """The trial of the program that the last passes, the last one first, were given: kernels, of which there are fewer
    than there are operators in them."""
    for at in range(len(trial.passes) - 1, 0, -1):
        if trial.passes[at].takes not in ("program", "loop"):
            return
        try:
            module = Manager(verify=False).run(trial.passes[:at], trial.module)
        except IRError:
            continue
        params = program_of(module).params
        given = {p.name: trial.value(p.name, p.role, p.type) for p in params}
        yield dataclasses.replace(trial, module=module, passes=trial.passes[at:], given=given)


def _over_primitives(trial: Trial) -> Iterator[Trial]:
    """A Symbol's trial as one of the graph that the passes before `inline` make of it."""
    if not isinstance(trial.module, SymbolModule):
        return
    for at in range(len(trial.passes) - 1, 0, -1):
        if trial.passes[at - 1].gives != "tensor":
            continue
        try:
            graph = Manager(verify=False).run(trial.passes[:at], trial.module)
        except IRError:
            continue
        if _calls_python(graph):
            continue  # functions have no text
        given = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        yield dataclasses.replace(trial, module=graph, passes=trial.passes[at:], given=given, requests={}, smooth=False)


def _calls_python(graph: Graph) -> bool:
    """Whether the graph, or one that a primitive of it holds, calls a function of the host."""
    ops = [node.op for node in graph.nodes()]
    return any(isinstance(op, HostCall) or any(_calls_python(held) for _, held in regions_of(op)) for op in ops)


def _simpler_pipelines(trial: Trial) -> Iterator[Trial]:
    """Without the passes at the end, without veto, without one pass, with default options, without machine code."""
    passes = trial.passes
    for at in range(1, len(passes)):
        yield dataclasses.replace(trial, passes=passes[:at], native=False)
    if trial.native:
        yield dataclasses.replace(trial, native=False)
    if trial.veto:
        yield dataclasses.replace(trial, veto=0.0)
    for at, pass_ in enumerate(passes):
        if pass_.takes == pass_.gives:
            yield dataclasses.replace(trial, passes=(*passes[:at], *passes[at + 1 :]))
    for at, pass_ in enumerate(passes):
        for plain in _plainer(pass_):
            yield dataclasses.replace(trial, passes=(*passes[:at], plain, *passes[at + 1 :]))


def _plainer(pass_: Pass) -> Iterator[Pass]:
    kept: Mapping[str, tuple[str, ...]] = {"autodiff": ("wrt", "add", "ones"), "decompose": ("train",)}
    for field in dataclasses.fields(pass_):
        if getattr(pass_, field.name) != field.default and field.name not in kept.get(pass_.name, ()):
            yield dataclasses.replace(pass_, **{field.name: field.default})
