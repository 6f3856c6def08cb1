"""inline: operators that carry their own gradient rule become their bodies. After this all is ordinary arithmetic."""

from __future__ import annotations

from symc.ir.op import Node, Recorder
from symc.ir.prims.control import CustomGrad, instantiate
from symc.ir.prims.tuples import Get
from symc.ir.tensor.graph import Graph
from symc.ir.types import TupleType
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter, follow, in_regions, rebuild
from symc.passes.manager.watching import definition


@register_pass("inline", establishes=("inlined",))
class Inline(Pass):
    """Replace every custom_grad by its body; bodies may hold further ones, or loops that do."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = in_regions(graph, lambda region: self.run(region, rw))
        while any(isinstance(n.op, CustomGrad) for n in graph.nodes()):
            graph = in_regions(self._once(graph, rw), lambda region: self.run(region, rw))
        return graph

    def _once(self, graph: Graph, rw: Rewriter) -> Graph:
        new: dict[Node, Node] = {}
        bodies: dict[Node, list[Node]] = {}
        with Recorder() as recorder:
            for node in graph.nodes():
                origin = graph.origins.get(node)
                if isinstance(node.op, Get) and node.inputs[0] in bodies:
                    new[node] = bodies[node.inputs[0]][node.op.index]
                elif isinstance(node.op, CustomGrad):
                    made = rw.act("custom_grad", [origin] if origin else [], _shown, node, graph)
                    with recorder.at(made or origin):
                        bodies[node] = instantiate(node.op.body, [new.get(i, i) for i in node.inputs])
                    if not isinstance(node.type, TupleType):
                        new[node] = bodies[node][0]
                else:
                    follow(node, new, graph, recorder)
        return rebuild(graph, new, recorder.origins, rw.pass_name)


def _shown(node: Node, graph: Graph) -> tuple[str, str]:
    return definition(node, graph.names), "its body"
