"""Which action of a pass makes a program wrong, and which value is the first that differs.

The pass runs again with only the first n of its actions allowed; halving n finds the first action with which a check
fails and without which it does not. What the program is with and without that action is then run, and the values that
both know by name are compared, operands first.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from symc.base import MXNetError
from symc.debug.checks import Judge, Scene, stepped
from symc.debug.compare import changed_between, difference, identical, near
from symc.debug.conduct import Conduct
from symc.debug.native_fault import Fault
from symc.debug.operator_fault import OPERATOR, file_of
from symc.debug.primitive_fault import is_outside, maker_of, raising, wrong_element, wrong_gradient
from symc.debug.reading import inputs_of
from symc.debug.trial import Failure, Trial, Wrong
from symc.extensions import files_of
from symc.ir.errors import IRError
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.origins import Origin, SymOrigin, symbols_of
from symc.ir.prims.tuples import Get
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Program, results_of
from symc.ir.syntax.printing import graphs_of, regions_of
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import values_of
from symc.ir.types import Array
from symc.passes.manager.manager import Instrument, Manager, Module, Pass, tolerance
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline

#: failures that no value shows, but what a pass does to names and sizes
CONDUCT = ("M9", "M10", "size")
#: how far, of the largest element, a value of the same name may be off after a pass that does not promise exact values
ROUGH = {"f2": 3e-2, "f4": 1e-3, "f8": 1e-6}


@dataclass(frozen=True)
class Blame:
    """What made a program wrong; "" and None for what is not known."""

    action: int | None = None
    rule: str = ""
    value: str = ""
    #: the value, and how it differs
    detail: str = ""
    symbol: str = ""
    #: FILE:LINE of the Symbol
    source: str = ""
    #: the pass that put a primitive there which is wrong itself, where another pass shows it
    maker: str = ""


class Few(Instrument):
    """Lets only the first `limit` rewrites of a pass happen (None: all), and notes their rules."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.rules: list[str] = []

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        if self.limit is not None and number >= self.limit:
            return False
        self.rules.append(rule)
        return True


def blame(trial: Trial, scene: Scene, failure: Failure) -> Blame:
    """The action and the value at fault, in the scene of a failure of the trial."""
    if failure.rule.startswith(OPERATOR):
        return _named(Blame(value=failure.value, maker=failure.rule), scene.before)
    if isinstance(scene.before, SymbolModule) and isinstance(trial.passes[scene.at], Decompose):
        name = _mentioned(failure.message, scene.before)
        guilty = next((n for n in scene.before.graph.nodes() if n.name == name and not n.is_variable), None)
        if guilty is not None and file_of(guilty):
            return _named(Blame(value=name, maker=f"{OPERATOR}{guilty.op}"), scene.before)
    if scene.at >= len(trial.passes):
        return _named(Blame(value=failure.value), scene.before)
    pass_ = trial.passes[scene.at]
    if failure.check == "gradient" and isinstance(scene.before, Graph):
        found = _of_primitive(scene.judges[0].trial, scene.before)
        if found is not None:
            return _named(found, scene.before)
    if failure.check == "values" and isinstance(scene.before, Program) and isinstance(scene.after, LoopModule):
        wrong = wrong_element(scene.judges[0].trial, scene.before)
        if wrong is not None:
            name, node, body, problem = wrong
            maker, action = maker_of(body, node)
            detail = f"the element of {node.op.name} is not what its value is: {problem.removeprefix('output out: ')}"
            return _named(Blame(action, "", name, detail, maker=maker), scene.before)
    if (
        failure.check in ("pass", "refused", "verifier")
        and isinstance(scene.before, (Graph, Program))
        and not files_of([pass_])
    ):
        fault = raising(trial, scene.before, pass_.name)
        if fault is not None:
            name, node, body = fault
            maker, action = maker_of(body, node)
            return _named(Blame(action, "", name, f"its primitive is {node.op.name}", maker=maker), scene.before)
    return _Search(trial, scene, failure).found()


def _of_primitive(trial: Trial, graph: Graph) -> Blame | None:
    """The value whose primitive has a wrong gradient, and who put that there."""
    plain = Manager(verify=False).step(Inline(), graph)
    found = wrong_gradient(trial, plain)
    if found is None:
        return None
    node, problem = found
    name = plain.names[node]
    twin = next((n for n, called in graph.names.items() if called == name and n.op == node.op), None)
    maker, action = maker_of(graph, twin) if twin is not None and is_outside(twin) else ("", None)
    return Blame(action, "", name, f"the gradient of {node.op.name} is no derivative: {problem}", maker=maker)


def mentioned(module: Module, failure: Failure) -> Blame:
    """The value that a failure's message names, of a module whose pass must not run again."""
    return _named(Blame(value=_mentioned(failure.message, module)), module)


def native_blame(trial: Trial, found: Fault, known: Blame) -> Blame:
    """What machine code makes wrong, with the rule of the action and the Symbol."""
    rule = ""
    if found.action is not None:
        noting = Few()
        module = Manager(verify=False).run(trial.passes[: found.at], trial.module)
        Manager([noting], verify=False).step(trial.passes[found.at], module)
        rule = noting.rules[found.action]
    return _named(Blame(found.action, rule, found.value or known.value, found.detail), found.loops)


class _Search:
    def __init__(self, trial: Trial, scene: Scene, failure: Failure) -> None:
        self.trial, self.scene, self.failure = trial, scene, failure
        self.pass_: Pass = trial.passes[scene.at]

    def found(self) -> Blame:
        """The first action that makes it wrong, and the first value that is wrong because of it."""
        everything = Few()
        failure, after = self._tried(everything)
        action, rule = None, ""
        before: Module = self.scene.before
        if failure is not None and everything.rules and self.pass_.numerics != "extends":
            first = self._first(len(everything.rules))
            if first is not None:
                action, rule = first, everything.rules[first]
                _, after = self._tried(Few(first + 1))
                without = self._tried(Few(first))[1]
                before = before if without is None else without
        name, detail = self._value(before, after)
        name = name or _value_of(before, self.failure.value) or _mentioned(self.failure.message, self.scene.before)
        return _named(Blame(action, rule, name, detail), before, after)

    def _first(self, count: int) -> int | None:
        """The action with which it fails and without which it does not."""
        if self._fails(0):
            return None
        right, wrong = 0, count
        while wrong - right > 1:
            middle = (right + wrong) // 2
            right, wrong = (right, middle) if self._fails(middle) else (middle, wrong)
        return right

    def _fails(self, limit: int) -> bool:
        found, _ = self._tried(Few(limit))
        return found is not None and found.check == self.failure.check

    def _tried(self, few: Few) -> tuple[Failure | None, Module]:
        """How the pass fails with some of its actions, and what it gives (None: nothing)."""
        after: Module = None
        try:
            after = stepped(Manager([few]), self.pass_, self.scene.before, self.trial)
            if self.failure.rule in CONDUCT:
                Conduct(self.pass_, self.scene.before, [few]).look(after)
                return None, after  # whoever asked for more would wait for values of what exploded
            for judge in self.scene.judges:
                copy.copy(judge).look(self.pass_, after)
        except Wrong as wrong:
            return wrong.failure, after
        except (MXNetError, np.linalg.LinAlgError):
            return None, after
        return None, after

    def _value(self, before: Module, after: Module) -> tuple[str, str]:
        """The first value that differs, and how."""
        if after is None or self.failure.check != "values":
            return "", ""
        try:
            old, new = (dict(values_by_name(m, self.scene.judges[0], self.trial)) for m in (before, after))
        except (IRError, ArithmeticError, ValueError, TypeError, IndexError, KeyError):
            return "", ""  # a wrong program need not run
        # passes of tensors may give a name that they make up to something else
        any_shape = isinstance(before, SymbolModule)
        shared = [n for n, value in new.items() if n in old and (any_shape or old[n].shape == value.shape)]
        far = tolerance(self.pass_.numerics)
        wrong = [n for n in shared if self.pass_.numerics != "exact" and not _close(new[n], old[n], far)]
        # where none is far off, those that differ at all
        wrong = wrong or [n for n in shared if not identical(new[n], old[n])]
        if not wrong:
            return "", ""
        name = _inside(before, after, _replaced_operand(before, after, wrong[0]))
        return name, difference(new[name], old[name]) if name in new and name in old else ""


def _value_of(module: Module, end: str) -> str:
    """The value that is an output, or the update of an input, of that name."""
    if isinstance(module, Graph):
        ends = {o.name: o.node for o in module.outputs} | {u.input: u.value for u in module.updates}
        return module.names.get(ends[end], end) if end in ends else end
    program = module.program if isinstance(module, LoopModule) else module
    if isinstance(program, Program):
        return next((o.value for o in program.outputs if o.name == end), end)
    return end


def _replaced_operand(before: Module, after: Module, name: str) -> str:
    """The value at fault where a value differs: an operand of it that is another node now and has no name any more,
    or else the value itself."""
    if not isinstance(before, Graph) or not isinstance(after, Graph):
        return name
    old, new = ({n: node for node, n in graph.names.items()} for graph in (before, after))
    if old[name].op == new[name].op:
        for had, has in zip(old[name].inputs, new[name].inputs):
            called = before.names.get(had, "")
            if had is not has and had.inputs and called and called not in new:
                return called
    return name


def _inside(before: Module, after: Module, name: str) -> str:
    """Where a value is the result of a loop or branch: the first value in there that is computed in another way."""
    if not isinstance(before, Graph) or not isinstance(after, Graph):
        return name
    found = []
    for graph in (before, after):
        node = next((n for n, called in graph.names.items() if called == name), None)
        node = node.inputs[0] if node is not None and isinstance(node.op, Get) else node
        found.append([] if node is None else [held for _, held in regions_of(node.op)])
    for had, has in zip(*found):
        changed = [had.names[n] for n in changed_between(had, has) if n in had.names]
        if changed:
            return changed[0]
    return name


def _close(new: Array, old: Array, far: float) -> bool:
    return new.shape == old.shape and near(new, old, _rough(old, far))


def _rough(value: Array, far: float) -> float:
    """How far a value may be off after a pass that does not promise exact values; `far`: of what it approximates."""
    if value.dtype.kind != "f":
        return 0.0
    finite = np.abs(value[np.isfinite(value)])
    return (far or ROUGH[value.dtype.str[1:]]) * float(finite.max(initial=0.0))


def values_by_name(module: Module, judge: Judge, trial: Trial) -> Mapping[str, Array]:
    """Every value of a program that has a name, operands first, on the inputs of a judge."""
    if isinstance(module, SymbolModule):
        graph = judge.decomposed(module)
        return {} if graph is None else values_by_name(graph, judge, trial)
    kept: dict[str, Array] = {}
    if isinstance(module, Graph):
        arrays = {name: judge.trial.value(name, role, t) for name, role, t in inputs_of(module)}
        nodes = [n for n in module.nodes() if n in module.names and n.inputs and hasattr(n.type, "shape")]
        found = values_of(module, arrays, nodes)
        return {module.names[n]: found[n] for n in nodes}
    assert judge.reference is not None
    run: Callable[..., object] = run_loop_module if isinstance(module, LoopModule) else run_program
    run(module, judge.reference.arrays, seen=kept.__setitem__)
    return kept


def _mentioned(message: str, module: Module) -> str:
    """The first value that a message names; of a kernel, the value that it writes."""
    kernel = re.search(r"kernel @([\w.]+)", message)
    if kernel and isinstance(module, LoopModule):
        for step, number in zip(module.program.steps, module.calls):
            if number is not None and module.kernels[number].name == kernel[1]:
                return results_of(step)[0].name
    step = re.search(r"\bstep (\d+)", message)
    program = module.program if isinstance(module, LoopModule) else module
    if step and isinstance(program, Program) and int(step[1]) < len(program.steps):
        return results_of(program.steps[int(step[1])])[0].name
    found = re.search(r"(?:%|(?:the|but) output )([A-Za-z_][\w.]*)|operator \w+ '([^']+)'", message)
    return (found[1] or found[2]) if found else ""


def _named(found: Blame, *modules: Module) -> Blame:
    """With the Symbol that the value comes from, in one of the modules."""
    for module in modules:
        origin = origin_of(module, found.value)
        symbols = [] if origin is None else symbols_of(origin)
        # a kernel comes from several Symbols
        own = [s for s in symbols if found.value == s.name] or [s for s in symbols if found.value.startswith(s.name)]
        for symbol in (*own, *symbols):
            return replace(found, symbol=symbol.name, source=source_of(symbol))
    return found


def origin_of(module: Module, value: str) -> Origin | None:
    """Where a value, or an output of that name, comes from."""
    if isinstance(module, SymbolModule):
        ends = {name: node for name, (node, _) in zip(module.output_names, module.graph.outputs)}
        nodes = {node.name: node for node in module.graph.nodes()}
        found = nodes.get(value, ends.get(value))
        while found is None and "." in value:  # one of the values that an operator is made of
            value = value.rpartition(".")[0]
            found = nodes.get(value)
        return None if found is None else found.origin()
    if isinstance(module, Graph):
        ends = {o.name: o.node for o in module.outputs} | {u.input: u.value for u in module.updates}
        for graph in graphs_of(module):
            named = {name: node for node, name in graph.names.items()}
            for node in (named.get(value), ends.get(value)):
                if node is not None and node in graph.origins:
                    return graph.origins[node]
        return None
    program = module.program if isinstance(module, LoopModule) else module
    if not isinstance(program, Program):
        return None
    ends_of = {o.name: o.value for o in program.outputs} | {u.input: u.value for u in program.updates}
    for name in (value, ends_of.get(value)):
        for step in program.steps:
            if name in [r.name for r in results_of(step)]:
                return step.origin
    return None


def source_of(symbol: SymOrigin) -> str:
    """FILE:LINE; "" where it is not known."""
    return f"{symbol.file}:{symbol.line}" if symbol.file and symbol.line else symbol.file
