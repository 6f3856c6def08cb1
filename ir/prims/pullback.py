"""Reverse mode over nodes: the sweep that gradients of whole graphs and of the bodies of loops have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from symc.ir.op import Node
from symc.ir.prims.elementwise import add
from symc.ir.prims.tuples import Get
from symc.ir.tensor.graph import topological
from symc.ir.types import BOOL, TupleType

#: what is entered while a node's gradient is built; None leaves the node out
Visit = Callable[[Node], "AbstractContextManager[object] | None"]

#: told of every node whose gradient was built, and the cotangents of its results
Passed = Callable[[Node, Sequence["Node | None"]], None]


def pullback(
    outputs: Sequence[Node],
    cts: Sequence[Node | None],
    targets: Sequence[Node],
    visit: Visit = lambda node: nullcontext(),
    passed: Passed = lambda node, cts: None,
) -> list[Node | None]:
    """Cotangents of the targets from those of the outputs; None where nothing flows back. The sweep ends at targets:
    one that another is computed from gets what reaches it beside that one.

    An integer carries a cotangent of its own type (see Cast), a truth value none.
    """
    nodes = topological(outputs)
    active, ends = reaching(nodes, targets), set(targets)
    held: dict[tuple[Node, int], list[Node]] = {}

    def gather(node: Node, index: int, ct: Node | None) -> None:
        if ct is not None and node in active and ct.dtype != BOOL:
            held.setdefault((node, index), []).append(ct)

    def given(node: Node, index: int) -> Node | None:
        terms = held.get((node, index))
        return functools.reduce(add, terms) if terms else None

    for node, ct in zip(outputs, cts):
        gather(node, 0, ct)
    for node in reversed(nodes):
        count = len(node.type.items) if isinstance(node.type, TupleType) else 1
        if not node.inputs or node in ends or not any((node, i) in held for i in range(count)):
            continue
        scope = visit(node)
        if scope is None:
            continue
        with scope:
            arrived = [given(node, i) for i in range(count)]
            if isinstance(node.op, Get):
                gather(node.inputs[0], node.op.index, arrived[0])
                continue
            for source, ct in zip(node.inputs, node.op.grad(node, arrived)):
                gather(source, 0, ct)
            passed(node, arrived)
    found: list[Node | None] = []
    for target in targets:
        several = len(held.get((target, 0), ())) > 1  # else nothing is built
        with (visit(target) if several else None) or nullcontext():
            found.append(given(target, 0))
    return found


def carries(node: Node) -> bool:
    """Whether a node's type can carry a cotangent."""
    return isinstance(node.type, TupleType) or node.dtype != BOOL


def reaching(nodes: Sequence[Node], targets: Sequence[Node]) -> set[Node]:
    """Of nodes in topological order, those that depend on a target through values that can carry a cotangent."""
    active = set(targets)
    for node in nodes:
        if node not in active and any(i in active and node.op.passes_back(k) for k, i in enumerate(node.inputs)):
            if carries(node):
                active.add(node)
    return active


def reached(outputs: Sequence[Node]) -> set[Node]:
    """The nodes that cotangents of the outputs come to."""
    found = {node for node in outputs if carries(node)}
    for node in reversed(topological(outputs)):
        if node in found:
            found.update(i for k, i in enumerate(node.inputs) if node.op.passes_back(k) and carries(i))
    return found
