"""Faults of primitives: a wrong gradient shows only when somebody differentiates, a wrong element when somebody writes
loops. Whoever put the primitive into the program is at fault then, not the pass that asked it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

import symc
from symc.debug.compare import compare, reference_of
from symc.debug.reading import inputs_of
from symc.debug.smooth import check_gradients
from symc.debug.trial import Trial, Wrong
from symc.ir.errors import IRError
from symc.ir.loop.interp import run_loop_module
from symc.ir.op import Node, input_node
from symc.ir.origins import DerivedOrigin
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Graph, finish, with_origins
from symc.ir.tensor.interp import values_of
from symc.ir.types import Array, TensorType
from symc.passes.manager.manager import Manager
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.inline import Inline

#: the passes that make loops of a graph
TO_LOOPS = "fuse,schedule,own_results,plan_memory,lower"
_ROOT = Path(symc.__file__).resolve().parents[1]


def is_outside(node: Node) -> bool:
    """Whether the node's primitive is defined in a file that is no part of the compiler."""
    try:
        file = Path(inspect.getfile(type(node.op))).resolve()
    except (OSError, TypeError):
        return True
    return not any(file.is_relative_to(_ROOT / part) for part in ("ir", "passes", "symc"))


def maker_of(graph: Graph, node: Node) -> tuple[str, int | None]:
    """The pass that put a node into a graph, and the number of its action; decompose where a Symbol's operator did."""
    origin = graph.origins.get(node)
    return (origin.pass_name, origin.action) if isinstance(origin, DerivedOrigin) else ("decompose", None)


def wrong_gradient(trial: Trial, graph: Graph) -> tuple[Node, str] | None:
    """The first node of a graph without gradients whose primitive's gradient, at the values that it has there, is no
    derivative, and what it is instead. None where all are: then it is their composition."""
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    inner = [n for n in graph.nodes() if n.inputs and not n.op.is_control and not n.op.is_literal(n)]
    inner = [n for n in inner if all(isinstance(v.type, TensorType) for v in (n, *n.inputs))]
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
            for node in step.body.nodes():
                if (
                    node.inputs
                    and is_outside(node)
                    and all(isinstance(v.type, TensorType) for v in (node, *node.inputs))
                ):
                    problem = _as_loops(trial, node)
                    if problem:
                        return step.body.names.get(node, step.results[0].name), node, step.body, problem
    return None


def _as_loops(trial: Trial, node: Node) -> str:
    """How one node, as loops, differs from what its primitive says; empty if it does not."""
    inputs = [input_node(f"in{at}", i.tensor) for at, i in enumerate(node.inputs)]
    plain = with_origins(finish("alone", inputs, [("out", node.on(inputs))]))
    alone = replace(trial, module=plain, given={})
    arrays = {name: alone.value(name, role, t) for name, role, t in inputs_of(plain)}
    try:
        loops = Manager(verify=False).run(parse_pipeline(TO_LOOPS), plain)
        return compare(alone, reference_of(alone, plain, arrays), run_loop_module(loops, arrays))[0]
    except (IRError, ArithmeticError, LookupError, TypeError, ValueError):
        return ""


def _alone(trial: Trial, node: Node, values: Mapping[Node, Array]) -> str:
    """How the gradient of one node differs from differences; empty if it does not, or has none."""
    inputs = [input_node(f"in{at}", i.tensor) for at, i in enumerate(node.inputs)]
    wrt = tuple(f"in{at}" for at, i in enumerate(inputs) if i.dtype.is_float and node.op.passes_back(at))
    if not wrt:
        return ""
    plain = with_origins(finish("alone", inputs, [("out", node.on(inputs))]))
    try:
        graph = Manager(verify=False).run([Autodiff(wrt=wrt), Inline()], plain)
        given = {f"in{at}": values[i] for at, i in enumerate(node.inputs)}
        alone = replace(trial, module=graph, smooth=True, whole=False, given=given)
        arrays = {name: alone.value(name, role, t) for name, role, t in inputs_of(graph)}
        check_gradients(alone, graph, arrays, node.op.name)
    except Wrong as wrong:
        return wrong.failure.message
    except (IRError, ArithmeticError, ValueError, np.linalg.LinAlgError):
        return ""
    return ""
