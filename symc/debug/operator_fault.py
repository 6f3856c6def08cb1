"""Faults of operators from outside: nothing that follows can tell that the program of one is wrong, for it is what the
others are compared with. What can be looked at is whether it is the same when it is built again, what the operator says
of itself (`reference`), and whether a gradient of its own is a derivative."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from symc.debug.compare import difference, near
from symc.debug.custom_fault import CustomFault, look_at_custom, registered_at
from symc.debug.primitive_fault import moves
from symc.debug.reading import gradients_of, heads_of, inputs_of
from symc.debug.shrink import operands_in, operator_alone
from symc.debug.smooth import check_gradients
from symc.debug.trial import Trial, Wrong
from symc.extensions import is_own
from symc.ir.errors import IRError
from symc.ir.modules import SymbolModule
from symc.ir.prims.control import CustomGrad
from symc.ir.symbol.nodes import SymNode
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate, values_of
from symc.ir.text import print_module
from symc.ops.embedded.custom import Custom
from symc.passes.manager.manager import Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose

#: how far, of the largest element, a program in double precision may be from what its operator's `reference` gives
FAR = 1e-6
#: the same in its own types, which are no half precision, of inputs of ordinary sizes
ROUGH = 1e-4
#: what begins the rule of such a failure
OPERATOR = "operator "


def look_at_operators(trial: Trial, module: SymbolModule, graph: Graph) -> int:
    """Every operator from outside alone, on the values that it has in the graph that was made of a Symbol: the number
    of checks. Wrong, with the Symbol's name, for one that is wrong."""
    checks = 0
    for node, alone in _alone(trial, module, graph):
        checks += _same_again(node, alone) + _reference(node, alone)
        if trial.rules:
            checks += _gradient(node, alone)
    return checks


def look_at_customs(trial: Trial, module: SymbolModule, graph: Graph) -> int:
    """The same of what users have written as Python code; before anybody else asks for its values."""
    checks = 0
    named = {name: node for node, name in graph.names.items()}
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    for node in module.graph.nodes():
        if not isinstance(node.definition, Custom):
            continue
        names = [n.name if n.num_outputs == 1 else f"{n.name}.{at}" for n, at in node.inputs]
        if not all(name in named for name in names):
            continue
        operands = [named[name] for name in names]
        values = values_of(graph, arrays, operands)
        try:
            checks += look_at_custom(node, module, [values[o] for o in operands], trial.train, trial.seed)
        except CustomFault as fault:
            rule = f"{OPERATOR}Custom {node.definition.op_type}"
            raise Wrong(fault.check, "decompose", rule, f"{fault}\nthat is at {fault.line}", node.name) from None
    return checks


def file_of(node: SymNode) -> str:
    """FILE:LINE of the program of a node's operator; "" where it is one of this project's own."""
    if isinstance(node.definition, Custom):
        return registered_at(node)
    code = type(node.definition).build.__code__
    return "" if is_own(code.co_filename) else f"{Path(code.co_filename).resolve()}:{code.co_firstlineno}"


def files_of_operators(module: object) -> list[str]:
    """The files that a Symbol's operators from outside are from: they have to be loaded for them to be known."""
    nodes = module.graph.nodes() if isinstance(module, SymbolModule) else []
    return list(dict.fromkeys(file_of(n).rpartition(":")[0] for n in nodes if not n.is_variable and file_of(n)))


def _is_outside(node: SymNode) -> bool:
    return not isinstance(node.definition, Custom) and bool(file_of(node))


def _alone(trial: Trial, module: SymbolModule, graph: Graph) -> Iterator[tuple[SymNode, Trial]]:
    """The operators from outside, each kind once, as Symbols of variables that have the values of its operands."""
    seen = []
    for node, given in operands_in(trial, module, graph, _is_outside):
        kind = (node.op, node.definition, [(v.shape, v.dtype) for v in given])
        if kind not in seen:
            seen.append(kind)
            yield node, replace(operator_alone(trial, module, node, given), passes=(), whole=False)


def _built(trial: Trial, states: bool = False) -> Graph:
    """The program; with what its backward half makes of states, if they are wanted."""
    made: Graph = Manager(verify=False).step(Decompose(train=trial.train, backward=states), trial.module)
    return made


def _wrong(node: SymNode, check: str, problem: str) -> Wrong:
    message = f"{problem}\nthe operator is defined at {file_of(node)}"
    return Wrong(check, "decompose", f"{OPERATOR}{node.op}", message, node.name)


def _same_again(node: SymNode, alone: Trial) -> int:
    """Two times the same program."""
    if print_module(_built(alone)) != print_module(_built(alone)):
        raise _wrong(node, "again", "when its program is built again it is another one")
    return 1


def _reference(node: SymNode, alone: Trial) -> int:
    """Its program in double precision gives what its `reference` does, if it has one, in every form that it has."""
    reference = getattr(node.definition, "reference", None)
    if reference is None:
        return 0
    forms = [replace(alone, train=train) for train in ((False, True) if alone.train else (False,))]
    return sum(_as_reference(node, form, reference) for form in forms)


def _as_reference(node: SymNode, alone: Trial, reference: Callable[..., Any]) -> int:
    graph = _built(alone, states=True)
    if len(graph.inputs) > len(alone.given):  # what is random has none
        return 0
    arrays = {name: alone.value(name, role, t) for name, role, t in inputs_of(graph)}
    floats = [v.astype(np.float64) if v.dtype.kind == "f" else v for v in alone.given.values()]
    form = {"train": alone.train} if "train" in inspect.signature(reference).parameters else {}
    when = " in training" if alone.train else " in prediction" if form else ""
    try:
        with np.errstate(all="ignore"):
            given = reference(*floats, **form)
    except Exception as problem:
        raise _wrong(node, "values", f"its reference raises {type(problem).__name__}: {problem}") from problem
    wanted = [np.asarray(v) for v in (given if isinstance(given, (tuple, list)) else (given,))]
    states = [source.name for source, _ in node.inputs[node.aux_from :]]
    outputs = len(graph.outputs)
    if len(wanted) not in (outputs, outputs + len(states)):
        more = f", and of {len(states)} states if it likes" if states else ""
        raise _wrong(node, "values", f"its reference gives {len(wanted)} values; there are {outputs} outputs{more}")
    # inputs of ordinary sizes lose little to rounding; of others nobody knows
    for precision, far in (("f64", FAR), *((("declared", ROUGH),) if alone.rules else ())):
        found = evaluate(graph, arrays, precision)
        named = {f"output{f' {at}' if outputs > 1 else ''}": v for at, v in enumerate(found.outputs.values())}
        named |= {f"the new value of {name}": found.updates.get(name, arrays[name]) for name in states}
        for (which, got), want in zip(named.items(), wanted):
            if want.shape != got.shape:
                raise _wrong(node, "values", f"{which} is {got.shape}, its reference gives {want.shape}")
            size = float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) if want.dtype.kind == "f" else 0.0
            if got.dtype != np.float16 and not near(got, want, far * size):
                raise _wrong(node, "values", f"{which} is not its reference's{when}: {difference(got, want)}")
    return 1


def _gradient(node: SymNode, alone: Trial) -> int:
    """A gradient of its own is a derivative, unless the operator says that it is none."""
    graph = _built(alone)
    if len(graph.inputs) > len(alone.given):
        return 0  # random
    own = any(isinstance(n.op, CustomGrad) for n in graph.nodes())
    wrt = tuple(n for n, v in alone.given.items() if v.dtype.kind == "f")
    if not own or not wrt or not getattr(node.definition, "is_derivative", True):
        return 0
    try:
        made = Manager(verify=False).step(Autodiff(wrt=wrt), graph)
    except IRError:
        return 0  # whoever asks for the gradient is told
    smooth = replace(alone, smooth=True)
    arrays = {name: smooth.value(name, role, t) for name, role, t in inputs_of(made)}
    hint = "where that is meant, as of a loss, its class says is_derivative = False"
    found = evaluate(made, arrays, "f64").outputs
    if not heads_of(made):
        if any(found[name].any() for kind, name in gradients_of(made).values() if kind == "output"):
            raise _wrong(node, "gradient", f"its gradient ignores what comes from above; {hint}")
        if moves(graph, {name: v for name, v in arrays.items() if name in alone.given}, alone.seed):
            hint += ' or @operator(..., gradient="zero")'
            raise _wrong(node, "gradient", f"it gives no gradient, but its outputs change with its operands; {hint}")
    try:
        return check_gradients(smooth, made, arrays, "decompose")
    except Wrong as wrong:
        problem = f"its gradient is no derivative: {wrong.failure.message}; {hint}"
        raise _wrong(node, "gradient", problem) from None
