"""What the checks read of modules: their inputs, and which of them and of the outputs belong to a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import symc.ops  # noqa: F401  (registers every operator)
from symc.base import MXNetError
from symc.ir.loop.nodes import For, If, Stmt
from symc.ir.op import parameter
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph
from symc.ir.types import TensorType
from symc.ops.base import OPERATORS, parse
from symc.passes.manager.manager import Module


def definition(op: str, attrs: Mapping[str, str]) -> Any:
    """The rules of an operator that a symbol graph's text names. MXNetError if there is none."""
    if op not in OPERATORS:
        raise MXNetError(f"there is no operator {op}; one from outside is known once its file is loaded (--load)")
    return parse(OPERATORS[op], attrs)


def inputs_of(graph: Graph) -> list[tuple[str, str, TensorType]]:
    """Name, role and type of every input."""
    return [(parameter(n).input_name, parameter(n).role, n.tensor) for n in graph.inputs]


def order_of(graph: Graph) -> int:
    """How often the graph was differentiated; 0: never."""
    return max((o.order for o in graph.outputs if o.role == "gradient"), default=int(bool(gradients_of(graph))))


def heads_of(graph: Graph, order: int = 1) -> dict[str, str]:
    """By output, the input that is its head gradient, of the gradients of an order."""
    return {op.of: op.input_name for op in map(parameter, graph.inputs) if op.role == "head" and op.order == order}


def gradients_of(graph: Graph, order: int = 1) -> dict[str, tuple[str, str]]:
    """By argument, the output that is its gradient of an order, or the input (a buffer) whose update adds it, as
    ("output", name) or ("update", name)."""
    found = {o.of: ("output", o.name) for o in graph.outputs if o.role == "gradient" and o.order == order}
    added = [op for op in map(parameter, graph.inputs) if op.role == "grad" and op.order == order]
    return found | {op.of: ("update", op.input_name) for op in added}


def operators_of(module: Module) -> int:
    """How many operators a program has."""
    if isinstance(module, Graph):
        inner = [region for n in module.nodes() if n.op.is_control for _, region in regions_of(n.op)]
        own = [n for n in module.nodes() if n.inputs and not n.op.is_literal(n)]
        return len(own) + sum(operators_of(region) for region in inner)
    program = getattr(module, "program", module)
    if hasattr(program, "steps"):
        return len(program.steps)
    return len([n for n in program.graph.nodes() if not n.is_variable])


def turns(body: Sequence[Stmt]) -> int:
    """Statements of a loop nest, as often as they run."""
    total = 0
    for stmt in body:
        if isinstance(stmt, For):
            total += stmt.trips * turns(stmt.body)
        else:
            total += 1 + (turns(stmt.body) if isinstance(stmt, If) else 0)
    return total
