"""prune: loops and branches compute nothing that nobody reads.

What a node does not read is not there in a graph. A loop or branch has its results as one tuple: here those that nobody
takes are dropped, with the states that nothing depends on, and the operands that are read for none of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from symc.ir.changed import replace
from symc.ir.op import Node, Recorder
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.tuples import Get, get
from symc.ir.tensor.graph import Graph, finish, topological
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter, in_regions, rebuild


@register_pass("prune", optional=True)
class Prune(Pass):
    """Drop results, states and operands of loops and branches that nobody reads."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        taken: dict[Node, set[int]] = {}
        for node in graph.nodes():
            if isinstance(node.op, Get) and node.inputs[0].op.is_control:
                taken.setdefault(node.inputs[0], set()).add(node.op.index)
        if not taken:
            return graph
        return in_regions(_pruned(graph, taken, rw), lambda region: self.run(region, rw))


def _pruned(graph: Graph, taken: dict[Node, set[int]], rw: Rewriter) -> Graph:
    new: dict[Node, Node] = {}
    #: for a node that was pruned: what it became, and the numbers of the results that are left
    made: dict[Node, tuple[Node, list[int]]] = {}
    with Recorder() as recorder:
        for node in graph.nodes():
            origin = graph.origins.get(node)
            with recorder.at(origin):
                if isinstance(node.op, Get) and node.inputs[0] in made:
                    whole, left = made[node.inputs[0]]
                    new[node] = get(whole, left.index(node.op.index))
                    continue
                operands = [new.get(i, i) for i in node.inputs]
                if node in taken:
                    op, inputs, left = _needed(node, taken[node])
                    fewer = len(inputs) < len(operands) or len(left) < len(node.type.items)  # type: ignore[union-attr]
                    origins = [origin] if origin is not None else []
                    if fewer and rw.act("unread", origins, _shown, node, inputs, left) is not None:
                        made[node] = Node.make(op, [operands[i] for i in inputs]), left
                        continue
                if any(a is not b for a, b in zip(operands, node.inputs)):
                    new[node] = node.on(operands)
    return rebuild(graph, new, recorder.origins, rw.pass_name) if new or made else graph


def _shown(node: Node, inputs: Sequence[int], left: Sequence[int]) -> tuple[str, str]:
    before = f"{node.op.name} of {len(node.inputs)} operands"
    return before, f"of {len(inputs)} operands, with results {', '.join(map(str, left))}"


def _needed(node: Node, taken: set[int]) -> tuple[Loop | Branch, list[int], list[int]]:
    """The node's operation with what is needed for the results that are taken, the operands and the results left."""
    op = node.op
    if isinstance(op, Branch):
        left = sorted(taken)
        sides = [_part(side, range(len(side.inputs)), left) for side in (op.then, op.other)]
        read = _read([n for side in sides for n in side.output_nodes], op.then.inputs)
        then, other = (_part(side, read, left) for side in (op.then, op.other))
        return replace(op, then=then, other=other), [0, *(1 + i for i in read)], left
    assert isinstance(op, Loop)
    head, ends = int(op.cond is not None), op.body.output_nodes
    rows = [i for i in range(op.carries, len(ends)) if head + i in taken]
    tests = op.cond.output_nodes if op.cond is not None else []
    states = {i for i in range(op.carries) if head + i in taken}
    while True:
        read = _read([*tests, *(ends[i] for i in (*sorted(states), *rows))], op.body.inputs)
        more = {i for i in read if i < op.carries} - states
        if not more:
            break
        states |= more
    carries = sorted(states)
    inputs = [*carries, *(i for i in read if i >= op.carries)]
    body = _part(op.body, inputs, [*carries, *rows])
    cond = _part(op.cond, inputs, [0]) if op.cond is not None else None
    xs = sum(op.carries <= i < op.carries + op.xs for i in inputs)
    left = [*range(head), *(head + i for i in (*carries, *rows))]
    return replace(op, body=body, cond=cond, carries=len(carries), xs=xs), inputs, left


def _read(roots: Sequence[Node], inputs: Sequence[Node]) -> list[int]:
    """The numbers of the inputs that the roots depend on."""
    found = set(topological(roots))
    return [at for at, node in enumerate(inputs) if node in found]


def _part(graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
    """The graph with these of its inputs and outputs."""
    ins, outs = [graph.inputs[i] for i in inputs], [graph.outputs[i] for i in outputs]
    return finish(graph.name, ins, outs, (), graph.names, graph.origins)
