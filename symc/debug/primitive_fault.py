"""Faults of primitives: a wrong gradient shows only when somebody differentiates. Whoever put the primitive into the
program is at fault then, not the pass that asked it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

import symc
from symc.debug.reading import inputs_of
from symc.debug.smooth import check_gradients
from symc.debug.trial import Trial, Wrong
from symc.ir.errors import IRError
from symc.ir.op import Node, input_node
from symc.ir.origins import DerivedOrigin
from symc.ir.tensor.graph import Graph, finish, with_origins
from symc.ir.tensor.interp import values_of
from symc.ir.types import Array, TensorType
from symc.passes.manager.manager import Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.inline import Inline

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
