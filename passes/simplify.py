"""simplify: fewer, canonical nodes for fuse to see. No other pass needs it to be right."""

from __future__ import annotations

from symc.ir.graph import Graph, Node
from symc.ir.prims.movement import Broadcast, Reshape, Transpose, broadcast, reshape, transpose
from symc.passes.pipeline import Pass, register_pass
from symc.passes.rewrite import Rewriter, Rule, rewrite


def _scalar_operands(node: Node) -> Node | None:
    """An operand that repeats one literal everywhere is that literal, while another operand keeps the shape."""
    if not node.op.elementwise or not node.inputs:
        return None
    literal = [
        i.inputs[0] if isinstance(i.op, Broadcast) and i.inputs[0].op.is_literal(i.inputs[0]) else i for i in node.inputs
    ]
    if all(a is b for a, b in zip(literal, node.inputs)) or not any(i.shape == node.shape for i in literal):
        return None
    return Node.make(node.op, literal)


def _broadcast_units(node: Node) -> Node | None:
    """A broadcast never expands an axis of extent 1: the axis is dropped first."""
    if not isinstance(node.op, Broadcast):
        return None
    x = node.inputs[0]
    if isinstance(x.op, Broadcast):
        inner = x.op
        dims = [node.op.dims[d] for d in inner.dims]
        if all(x.shape[d] == node.shape[node.op.dims[d]] for d in range(x.rank)):
            return broadcast(x.inputs[0], node.shape, dims)
    kept = [k for k, d in enumerate(x.shape) if d != 1 or (node.shape[node.op.dims[k]] == 1 and False)]
    if len(kept) == x.rank:
        return None
    return broadcast(reshape(x, [x.shape[k] for k in kept]), node.shape, [node.op.dims[k] for k in kept])


def _reshape_twice(node: Node) -> Node | None:
    if isinstance(node.op, Reshape) and isinstance(node.inputs[0].op, Reshape):
        return reshape(node.inputs[0].inputs[0], node.shape)
    return None


def _transpose_twice(node: Node) -> Node | None:
    if isinstance(node.op, Transpose) and isinstance(node.inputs[0].op, Transpose):
        inner = node.inputs[0].op
        return transpose(node.inputs[0].inputs[0], [inner.perm[p] for p in node.op.perm])
    return None


def _times_one(node: Node) -> Node | None:
    """x * 1 and x / 1 are x, nan and -0 included."""
    if node.op.name in ("mul", "div"):
        for at, other in ((1, 0), (0, 1)):
            one, x = node.inputs[at], node.inputs[other]
            if one.op.is_literal(one) and one.op.scalar() == 1 and x.shape == node.shape:  # type: ignore[attr-defined]
                if node.op.name == "mul" or at == 1:
                    return x
    return None


RULES = [
    Rule("scalar_operands", _scalar_operands),
    Rule("broadcast_units", _broadcast_units),
    Rule("reshape_twice", _reshape_twice),
    Rule("transpose_twice", _transpose_twice),
    Rule("times_one", _times_one),
]


@register_pass("simplify", optional=True)
class Simplify(Pass):
    """Apply the rules until nothing changes."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        return rewrite(graph, RULES, rw)


