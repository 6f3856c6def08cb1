"""Faults of primitives: a wrong gradient shows only when somebody differentiates, a wrong element when somebody writes
loops. Whoever put the primitive into the program is at fault then, not the pass that asked it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from symc.debug.compare import compare, reference_of
from symc.debug.reading import heads_of, inputs_of
from symc.debug.smooth import STEP, check_gradients
from symc.debug.trial import Trial, Wrong
from symc.extensions import is_own
from symc.ir.errors import IRError
from symc.ir.loop.interp import run_loop_module
from symc.ir.op import Node, input_node, parameter
from symc.ir.origins import DerivedOrigin
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Graph, finish, with_origins
from symc.ir.tensor.interp import evaluate, values_of
from symc.ir.types import Array, TensorType
from symc.passes.manager.manager import Manager
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.inline import Inline

#: the passes that make loops of a graph
TO_LOOPS = "fuse,schedule,own_results,plan_memory,lower"


def is_outside(node: Node) -> bool:
    """Whether the node's primitive is defined in a file that is no part of the compiler."""
    try:
        return not is_own(inspect.getfile(type(node.op)))
    except (OSError, TypeError):
        return True


def maker_of(graph: Graph, node: Node) -> tuple[str, int | None]:
    """The pass that put a node into a graph, and the number of its action; decompose where a Symbol's operator did."""
    origin = graph.origins.get(node)
    return (origin.pass_name, origin.action) if isinstance(origin, DerivedOrigin) else ("decompose", None)


def wrong_gradient(trial: Trial, graph: Graph, from_outside: bool = False) -> tuple[Node, str] | None:
    """The first node of a graph without gradients whose primitive's gradient, at the values that it has there, is no
    derivative, and what it is instead. None where all are: then it is their composition. Only primitives `from_outside`
    are looked at, or all."""
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    inner = [n for n in graph.nodes() if n.inputs and not n.op.is_control and not n.op.is_literal(n)]
    inner = [n for n in inner if all(isinstance(v.type, TensorType) for v in (n, *n.inputs))]
    inner = [n for n in inner if not from_outside or is_outside(n)]
    if not inner:
        return None
    values = values_of(graph, arrays, [*inner, *(i for n in inner for i in n.inputs)])
    seen = set()
    for node in sorted(inner, key=is_outside, reverse=True):
        kind = (node.op, tuple(i.type for i in node.inputs))
        if kind not in seen and node.dtype.is_float:
            seen.add(kind)
            problem = _alone(trial, node, values)
            if problem:
                return node, problem
    return None


def wrong_element(trial: Trial, program: Program) -> tuple[str, Node, Graph, str] | None:
    """The first value in the kernels of a program whose primitive, from outside, is wrong: alone, as loops, it is not
    what its `value` gives. Its name, its node in the body of its kernel, and how it differs."""
    for step in program.steps:
        if isinstance(step, KernelStep):
            for node in _from_outside(step.body):
                problem = _as_loops(trial, node)
                if problem:
                    return step.body.names.get(node, step.results[0].name), node, step.body, problem
    return None


def raising(trial: Trial, module: Graph | Program, to: str) -> tuple[str, Node, Graph] | None:
    """The first value whose primitive, from outside, raises when it is differentiated alone (`to` autodiff), or raises
    or is wrong when loops are made of it: its name, its node and the graph, or body of a kernel, that it is in."""
    bodies = [module] if isinstance(module, Graph) else [s.body for s in module.steps if isinstance(s, KernelStep)]
    for body in bodies:
        for node in _from_outside(body):
            plain = _plain(node)
            floats = tuple(parameter(i).input_name for i in plain.inputs if i.dtype.is_float)
            passes = [Autodiff(wrt=floats)] if to == "autodiff" else parse_pipeline(TO_LOOPS)
            try:
                Manager(verify=True).run(passes, plain)
            except Exception:  # whatever code from outside raises
                return body.names.get(node, ""), node, body
            if to != "autodiff" and _as_loops(trial, node):
                return body.names.get(node, ""), node, body
    return None


def _from_outside(body: Graph) -> list[Node]:
    """The nodes of tensors whose primitive is from outside."""
    nodes = [n for n in body.nodes() if n.inputs and is_outside(n)]
    return [n for n in nodes if all(isinstance(v.type, TensorType) for v in (n, *n.inputs))]


def _plain(node: Node) -> Graph:
    """A graph of one node, of inputs."""
    inputs = [input_node(f"in{at}", i.tensor) for at, i in enumerate(node.inputs)]
    return with_origins(finish("alone", inputs, [("out", node.on(inputs))]))


def _as_loops(trial: Trial, node: Node) -> str:
    """How one node, as loops, differs from what its primitive says; empty if it does not."""
    plain = _plain(node)
    alone = replace(trial, module=plain, given={})
    arrays = {name: alone.value(name, role, t) for name, role, t in inputs_of(plain)}
    try:
        loops = Manager(verify=False).run(parse_pipeline(TO_LOOPS), plain)
        return compare(alone, reference_of(alone, plain, arrays), run_loop_module(loops, arrays))[0]
    except (IRError, ArithmeticError, LookupError, TypeError, ValueError):
        return ""


def _alone(trial: Trial, node: Node, values: Mapping[Node, Array]) -> str:
    """How the gradient of one node differs from differences; empty if it does not, or has none."""
    plain = _plain(node)
    wrt = tuple(f"in{at}" for at, i in enumerate(plain.inputs) if i.dtype.is_float and node.op.passes_back(at))
    if not wrt:
        return ""
    try:
        graph = Manager(verify=False).run([Autodiff(wrt=wrt), Inline()], plain)
        given = {f"in{at}": values[i] for at, i in enumerate(node.inputs)}
        alone = replace(trial, module=graph, smooth=True, whole=False, given=given)
        arrays = {name: alone.value(name, role, t) for name, role, t in inputs_of(graph)}
        if not heads_of(graph) and moves(plain, {name: arrays[name] for name in given}, trial.seed):
            return "it gives none, but the value changes with its operands"
        check_gradients(alone, graph, arrays, node.op.name)
    except Wrong as wrong:
        return wrong.failure.message
    except (IRError, ArithmeticError, ValueError, np.linalg.LinAlgError):
        return ""
    return ""


def moves(plain: Graph, arrays: Mapping[str, Array], seed: int) -> bool:
    """Whether small changes of all inputs change what a graph gives by as little."""
    rng = np.random.default_rng([seed, 6])
    wide = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}
    moved = {name: a + STEP * rng.uniform(0.5, 1.0, a.shape) if a.dtype.kind == "f" else a for name, a in wide.items()}
    had, has = (evaluate(plain, given, "f64").outputs for given in (wide, moved))
    with np.errstate(all="ignore"):
        far = [np.abs(has[name] - had[name]) for name in had if had[name].dtype.kind == "f"]
    return any(bool(((f > 0) & (f < 1e3 * STEP)).any()) for f in far)
