"""layout: how tensors lie in memory. All are row-major today; blocked layouts of convolutions are chosen here."""

from __future__ import annotations

from symc.ir.graph import Graph
from symc.passes.pipeline import Pass, register_pass
from symc.passes.rewrite import Rewriter


@register_pass("layout", optional=True)
class Layout(Pass):
    """Keep the row-major layout of every tensor."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        return graph
