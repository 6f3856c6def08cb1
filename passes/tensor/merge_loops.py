"""merge_loops: loops that take the same turns become one.

The gradient of a loop takes its turns again to have the states before each of them. Those turns are the loop's own: one
loop gives its results and the states.
"""

from __future__ import annotations

from collections.abc import Hashable

from symc.ir.changed import replace
from symc.ir.op import Node, Recorder
from symc.ir.prims.flow import Loop
from symc.ir.prims.tuples import Get, get
from symc.ir.tensor.graph import Graph, Output, finish
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter, follow, in_regions, rebuild


def _turns(node: Node, op: Loop) -> Hashable:
    """Equal for loops whose states are the same after every turn."""
    states = tuple(op.body.output_nodes[: op.carries])
    return node.inputs, op.body.inputs, states, op.cond, op.carries, op.xs, op.trips, op.backwards


@register_pass("merge_loops", optional=True)
class MergeLoops(Pass):
    """Join loops over the same operands whose states agree."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = in_regions(graph, lambda region: self.run(region, rw))
        groups: dict[Hashable, list[Node]] = {}
        for node in graph.nodes():
            if isinstance(node.op, Loop):
                groups.setdefault(_turns(node, node.op), []).append(node)
        joined: dict[Node, list[Node]] = {}
        for loops in groups.values():
            if len(loops) > 1:
                origins = [graph.origins[n] for n in loops if n in graph.origins]
                if rw.act("same turns", origins, _shown, len(loops)) is not None:
                    joined.update(dict.fromkeys(loops, loops))
        return _join(graph, joined, rw.pass_name) if joined else graph


def _shown(count: int) -> tuple[str, str]:
    return f"{count} loops of the same turns", "one loop"


def _join(graph: Graph, joined: dict[Node, list[Node]], by: str) -> Graph:
    new: dict[Node, Node] = {}
    #: for the first loop of a group: what it became, and where the values that its body gives are among the results
    made: dict[Node, tuple[Node, dict[Node, int]]] = {}
    with Recorder() as recorder:
        for node in graph.nodes():
            source = node.inputs[0] if isinstance(node.op, Get) else None
            if source in joined:
                assert source is not None and isinstance(node.op, Get) and isinstance(source.op, Loop)
                first = joined[source][0]
                with recorder.at(graph.origins.get(node)):
                    if first not in made:
                        operands = [new.get(i, i) for i in source.inputs]
                        with recorder.at(graph.origins.get(first)):
                            made[first] = _one(joined[source], operands)
                    whole, places = made[first]
                    head = int(source.op.cond is not None)
                    at = node.op.index - head
                    if at >= source.op.carries:
                        at = places[source.op.body.outputs[at].node]
                    new[node] = get(whole, at + head)
            else:
                follow(node, new, graph, recorder)
    # loops themselves have no successor of their type: only their results do
    kept = {old: now for old, now in new.items() if not isinstance(old.op, Loop) or old not in joined}
    return rebuild(graph, kept, recorder.origins, by)


def _one(loops: list[Node], operands: list[Node]) -> tuple[Node, dict[Node, int]]:
    """A loop that gives all that the loops give, and the places of the stacked values among its results."""
    op = loops[0].op
    assert isinstance(op, Loop)
    outputs: list[Output | tuple[str, Node]] = [*op.body.outputs[: op.carries]]
    places: dict[Node, int] = {}
    names: dict[Node, str] = {}
    origins = {}
    for loop in loops:
        body = loop.op.body  # type: ignore[attr-defined]
        for row in body.output_nodes[op.carries :]:
            if row not in places:
                places[row] = len(outputs)
                outputs.append((f"y{len(outputs) - op.carries}", row))
        names = {**body.names, **names}
        origins.update({node: origin for node, origin in body.origins.items() if node not in origins})
    body = finish(op.body.name, op.body.inputs, outputs, (), names, origins)
    return Node.make(replace(op, body=body), operands), places
