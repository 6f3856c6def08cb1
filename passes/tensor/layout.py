"""layout: how operands of loop nests lie in memory.

All tensors are row-major; blocked layouts of convolutions are to be chosen here. What is done now: convolutions and
their gradients become the operations that read their operands in order (forward_convs, gradient_convs); the operand
of a transposed convolution of large stride gets a halo of zeros, so that its inner loops read without conditions; the
left operand of a large product is turned where it lies term by term; and a long concat, whose kernel has a loop nest
for every piece, becomes a concat of concats that have one kernel in common.
"""

from __future__ import annotations

import dataclasses
import math

from symc.ir.op import Node
from symc.ir.prims.linear import Conv, ConvDw, ConvDx, Dot, halo, matrix_transpose
from symc.ir.prims.movement import Concat, Slice, concat, pad, reshape
from symc.ir.tensor.graph import Graph
from symc.passes.cost import LEAST_ROWS, LEAST_TERMS, SERVED
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rewrite
from symc.passes.manager.watching import Refused
from symc.passes.tensor.forward_convs import one_tap, patch_product
from symc.passes.tensor.gradient_convs import as_product, convolved, cropped


def _halo(node: Node) -> Node | Refused | None:
    """conv_dx(ct, w) -> conv_dx(pad(ct), w) {low, high}."""
    op = node.op
    if not isinstance(op, ConvDx) or op.low:
        return None
    ct, w = node.inputs
    low, high = halo(op, ct.shape[2:], w.shape[2:])
    if not any((*low, *high)):
        return Refused("its inner loops read nothing outside of the operand")
    return Node.make(dataclasses.replace(op, low=low, high=high), [pad(ct, (0, 0, *low), (0, 0, *high)), w])


def _wide(node: Node, widest: int) -> Node | Refused | None:
    """concat(a, b, c, d) -> concat(concat(a, b), concat(c, d)). Compiling a kernel takes time with the square of its
    length; copying the elements once more costs little beside what made them."""
    op = node.op
    if not isinstance(op, Concat):
        return None
    if len(node.inputs) <= widest:
        return Refused(f"it has {len(node.inputs)} pieces, no more than widest={widest}")
    size = min(widest, math.isqrt(len(node.inputs) - 1) + 1)
    pieces, axis = list(node.inputs), op.axis
    if math.prod(node.shape[:axis]) == 1:  # each piece is one run of memory, and so one loop
        pieces, axis = [reshape(piece, (piece.tensor.size,)) for piece in pieces], 0
    parts = [concat(pieces[at : at + size], axis) for at in range(0, len(pieces), size)]
    return reshape(concat(parts, axis), node.shape)


def _across(node: Node) -> Node | Refused | None:
    """dot(a, b) {ta} -> dot(transpose(a), b). Tiles of a left operand that is stored term by term go across its lines,
    and do so for all columns; nor do they leave the cache to panels of the other operand."""
    op = node.op
    if not isinstance(op, Dot) or not op.ta or node.rank != 2:
        return None
    left = node.inputs[0]
    terms, rows = left.shape
    if rows < LEAST_ROWS or terms < LEAST_TERMS or node.shape[1] < SERVED:
        return Refused(f"{rows} rows of {terms} terms by {node.shape[1]} columns are read about as fast as they lie")
    return Node.make(dataclasses.replace(op, ta=False), [matrix_transpose(left), node.inputs[1]])


@register_pass("layout", numerics="reassoc", optional=True)
class Layout(Pass):
    """Convolutions, their gradients and products in the form that runs fastest; halos; long concats in two steps."""

    widest: int = option(64, "most pieces of one concat", min=2)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = rewrite(graph, [Rule("cropped", cropped, (Slice,))], rw)
        forward = [Rule("one-tap", one_tap, (Conv, ConvDw)), Rule("patch-product", patch_product, (Conv,))]
        gradients = [Rule("convolved", convolved, (ConvDx,)), Rule("as-product", as_product, (ConvDw,))]
        wide = Rule("wide-concat", lambda node: _wide(node, self.widest), (Concat,))
        across = Rule("across", _across, (Dot,))
        return rewrite(graph, [*forward, *gradients, Rule("halo", _halo, (ConvDx,)), across, wide], rw)
