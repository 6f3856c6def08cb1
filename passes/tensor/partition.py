"""partition: which nodes belong to the forward half, which to the backward half.

The forward half is everything the outputs and the forward updates need; the rest waits for the cotangents. What
crosses between the halves is decided with the memory: `fuse` recomputes cheap values in the backward half from
what is kept anyway instead of keeping them as well.
"""

from __future__ import annotations

from symc.ir.errors import IRError
from symc.ir.tensor.graph import Graph, Node, topological
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter


def forward_nodes(graph: Graph, outputs: int) -> set[Node]:
    """The nodes of the forward half: below the first `outputs` outputs and the forward updates."""
    roots = [node for _, node in graph.outputs[:outputs]]
    roots += [u.value for u in graph.updates if u.phase == "forward"]
    return set(topological(roots)) | set(graph.inputs)


@register_pass("partition")
class Partition(Pass):
    """Mark the first `outputs` outputs as the forward half (0: the program is not cut)."""

    outputs: int = option(0, "outputs of the forward half", min=0)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        if not self.outputs:
            return graph
        if self.outputs > len(graph.outputs):
            raise IRError(f"partition: outputs={self.outputs}, but the graph has {len(graph.outputs)}")
        return Graph(
            graph.name, graph.inputs, graph.outputs, graph.updates, graph.names, graph.origins, cut=self.outputs
        )
