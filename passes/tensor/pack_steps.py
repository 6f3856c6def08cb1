"""pack_steps: weights that every turn of a loop multiplies by are packed before it.

A step of a recurrent layer multiplies a few rows by a large matrix. Its kernel would pack the matrix panel by panel, or
read it across, in every turn, for so little to do with it. Packed once, before the loop, its panels follow each other
in memory, and a turn reads them from first to last. (The products become convolutions of one tap, whose weights may
lie packed: see `pack`.)
"""

from __future__ import annotations

from collections.abc import Sequence

from symc.ir.changed import replace
from symc.ir.op import Node, Recorder, input_node, parameter
from symc.ir.prims.flow import Loop
from symc.ir.prims.linear import Conv, Dot, packed
from symc.ir.prims.movement import pad, reshape, slice_axis, transpose
from symc.ir.prims.tuples import Get, get
from symc.ir.syntax.printing import value_name
from symc.ir.tensor.graph import Graph, finish, users_of
from symc.passes.cost import STORING
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, in_regions, rebuild


@register_pass("pack_steps", numerics="reassoc", optional=True)
class PackSteps(Pass):
    """Pack weights before the loops whose turns multiply few rows by them."""

    vector_bytes: int = option(32, "bytes of a vector register", choices=(8, 16, 32, 64, 128))
    vectors: int = option(2, "vectors of a panel", min=1, max=6)
    trips: int = option(8, "fewest turns that packing pays for", min=1)
    rows: int = option(64, "most rows: products of more pack for themselves", min=1)
    least: int = option(1 << 18, "multiply-adds of the smallest product whose weights are packed", min=0)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = in_regions(graph, lambda region: self.run(region, rw))
        new: dict[Node, Node] = {}
        #: the loops that a loop became; they have other operands, so only their results are what they were
        made: dict[Node, Node] = {}
        with Recorder() as recorder:
            for node in graph.nodes():
                with recorder.at(graph.origins.get(node)):
                    if isinstance(node.op, Get) and node.inputs[0] in made:
                        new[node] = get(made[node.inputs[0]], node.op.index)
                        continue
                    operands = [new.get(i, i) for i in node.inputs]
                    if isinstance(node.op, Loop):
                        changed = self._packed(graph, node, operands, rw, recorder)
                        if changed is not node:
                            made[node] = changed
                    elif any(a is not b for a, b in zip(operands, node.inputs)):
                        new[node] = node.on(operands)
        return rebuild(graph, new, recorder.origins, rw.pass_name) if made else graph

    def _packed(self, graph: Graph, node: Node, operands: list[Node], rw: Rewriter, recorder: Recorder) -> Node:
        """The loop on these operands, as many of its weights as may be packed."""
        op = node.op
        assert isinstance(op, Loop)
        name = graph.names.get(node, op.name)
        for at in range(op.carries + op.xs, len(operands)):
            products = _products(op.body, op.body.inputs[at])
            if not products:
                continue
            refused = self._refusal(op, products)
            if refused is not None:
                rw.miss("weights", name, refused)
                continue
            origins = [graph.origins[n] for n in (node, node.inputs[at]) if n in graph.origins]
            origin = rw.act("weights", origins, _shown, graph.names.get(node.inputs[at], "weights"))
            if origin is not None:
                with recorder.at(origin):
                    operands[at] = self._panels(operands[at], products[0])
                op = replace(op, body=_with_packed(op.body, at, operands[at], products))
        if op is node.op and all(a is b for a, b in zip(operands, node.inputs)):
            return node
        return Node.make(op, operands)

    def _lanes(self, node: Node) -> int:
        return self.vectors * max(2, self.vector_bytes // node.dtype.itemsize)

    def _panels(self, weights: Node, product: Node) -> Node:
        """Weights by output, as many as fill panels, packed."""
        assert isinstance(product.op, Dot)
        w = weights if product.op.tb else transpose(weights, (1, 0))
        outs, inner = w.shape
        lanes = self._lanes(product)
        missing = -outs % lanes
        w = pad(w, (0, 0), (missing, 0)) if missing else w
        return packed(reshape(w, (outs + missing, inner, 1, 1)), lanes)

    def _refusal(self, op: Loop, products: Sequence[Node]) -> str | None:
        if op.cond is not None:
            return "the loop may end before its turns are taken"
        if op.trips < self.trips:
            return f"the loop takes {op.trips} turns, fewer than trips={self.trips}"
        if len({product.op for product in products}) > 1:
            return "they are multiplied by from both sides"
        for product in products:
            rows, outs = product.shape
            inner = product.inputs[0].shape[1]
            if rows > self.rows:
                return f"{rows} rows are multiplied by them, more than rows={self.rows}"
            if rows * outs * inner < self.least or inner < 2 * STORING or outs < self._lanes(product):
                return f"a product of {rows}x{inner} by {inner}x{outs} is small"
        return None


def _shown(weights: str) -> tuple[str, str]:
    return value_name(weights), "packed before the loop"


def _products(body: Graph, weights: Node) -> list[Node]:
    """The matrix products by these weights, in order, if that is all that becomes of them."""
    users = users_of(body.nodes())[weights]
    if weights in body.output_nodes or not weights.dtype.is_float:
        return []
    for user in users:
        if not isinstance(user.op, Dot) or user.rank != 2 or user.op.ta or user.inputs[0] is weights:
            return []
    return list(users)


def _with_packed(body: Graph, at: int, weights: Node, products: Sequence[Node]) -> Graph:
    """The body of a loop that takes weights packed as its input number `at`."""
    old = body.inputs[at]
    given = parameter(old)
    new = {old: input_node(given.input_name, weights.tensor, given.role, given.of, given.order)}
    lanes = weights.shape[-1]
    with Recorder() as recorder:
        for node in body.nodes():
            if node in new:
                continue
            operands = [new.get(i, i) for i in node.inputs]
            with recorder.at(body.origins.get(node)):
                if node in products:
                    x = operands[0]
                    y = Node.make(Conv((1, 1), (1, 1), lanes=lanes), [reshape(x, (*x.shape, 1, 1)), operands[1]])
                    y = reshape(y, y.shape[:2])
                    new[node] = y if y.shape == node.shape else slice_axis(y, 1, 0, node.shape[1])
                elif any(a is not b for a, b in zip(operands, node.inputs)):
                    new[node] = node.on(operands)
    names = {new.get(node, node): name for node, name in body.names.items()}
    origins = {**recorder.origins, **{new.get(node, node): origin for node, origin in body.origins.items()}}
    outputs = [replace(output, node=new.get(output.node, output.node)) for output in body.outputs]
    return finish(body.name, [new.get(i, i) for i in body.inputs], outputs, (), names, origins)
