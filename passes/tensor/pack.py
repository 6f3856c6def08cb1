"""pack: weights as their kernels read them, where a prologue can put them so once.

**Convolutions.** Lanes along the output channels use every lane whatever the size of a map, but the weights of channels
lie far apart. A kernel that takes them so packs them itself, panel by panel, in every run; weights that are parameters
can lie packed already. Then that form is chosen as tile would choose it if packing were free, where that is worth the
memory: small maps give every weight so little to do that packing it counts.

**Products.** Of a product with few rows by weights that are stored output by output, lanes run along the sum and are
folded for every result, as packing the weights would take longer. Weights that are stored the other way round have
neither to be packed nor folded.
"""

from __future__ import annotations

from math import prod

from symc.ir.changed import replace
from symc.ir.op import Node
from symc.ir.prims.linear import Conv, Dot, dot, matrix_transpose, packed
from symc.ir.tensor.graph import Graph
from symc.passes.cost import DENSE, ENTERING, LARGEST, PACKING, ROWS, STEPS, STORING
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rewrite
from symc.passes.manager.watching import Refused
from symc.passes.tensor.parameters import of_parameters


@register_pass("pack", numerics="reassoc", optional=True)
class Pack(Pass):
    """Weights that are parameters lie packed for the convolutions that run faster so."""

    vector_bytes: int = option(32, "bytes of a vector register", choices=(8, 16, 32, 64, 128))
    registers: int = option(16, "vector registers", min=3)
    least: int = option(1 << 18, "multiply-adds of the smallest convolution whose weights are packed", min=0)
    least_product: int = option(1 << 12, "multiply-adds of the smallest product whose weights are turned", min=0)
    most: int = option(1 << 21, "bytes of weights; more come from memory, and reading them is what takes time", min=0)
    gain: int = option(6, "percent that a convolution has to become faster by: packed weights take memory", min=0)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        fixed = of_parameters(graph)
        packing = Rule("pack", lambda node: self._packed(node, fixed), (Conv,))
        turning = Rule("turn", lambda node: self._turned(node, fixed), (Dot,))
        return rewrite(graph, [packing, turning], rw) if fixed else graph

    def _packed(self, node: Node, fixed: set[Node]) -> Node | Refused | None:
        """conv(x, w) -> conv(x, packed(w)) {lanes}."""
        op = node.op
        if not isinstance(op, Conv) or op.lanes:
            return None
        x, w = node.inputs
        if w not in fixed or op.groups > 1:
            return Refused(f"it has {op.groups} groups" if w in fixed else "its weights are no parameters")
        if op.multiply_adds(node) < self.least:
            return Refused(f"its {op.multiply_adds(node)} multiply-adds are fewer than least={self.least}")
        if w.tensor.nbytes > self.most:
            return Refused(f"its weights have {w.tensor.nbytes} bytes, more than most={self.most}")
        width = self.vector_bytes // node.dtype.itemsize
        outs, channels, *kernel = w.shape
        images, places = node.shape[0], prod(node.shape[2:])
        if prod(kernel) > 1 or max(op.stride) > 1:
            return Refused(f"it has {prod(kernel)} taps and stride {op.stride}: rows of its maps are long enough")
        # a panel stays in a core's second cache
        largest = max(1, LARGEST // (channels * width * node.dtype.itemsize))
        vectors = [n for n in range(1, min(largest, 6) + 1) if outs % (n * width) == 0]
        if channels < 2 * STORING or not vectors:
            fewer = f"a result has {channels} products, fewer than {2 * STORING}"
            return Refused(f"{outs} channels fill no vectors of {width}" if not vectors else fewer)
        reached, many = max((self._reached(places, n, outs // (n * width)), n) for n in vectors)
        reached *= channels / (channels + STORING) * channels / (channels + ENTERING)
        uses = images * places
        otherwise = max(DENSE * places / (-(-places // width) * width), reached * uses / (uses + PACKING))
        if reached < otherwise * (1 + self.gain / 100):
            return Refused(f"it reaches {reached:.0%} of the arithmetic limit so, and {otherwise:.0%} otherwise")
        lanes = many * width
        return Node.make(replace(op, lanes=lanes), [x, packed(w, lanes)])

    def _turned(self, node: Node, fixed: set[Node]) -> Node | Refused | None:
        """dot(x, w) {tb} -> dot(x, transpose(w))."""
        op = node.op
        if not isinstance(op, Dot) or not op.tb or node.rank != 2:
            return None
        x, w = node.inputs
        if w not in fixed:
            return Refused("its weights are no parameters")
        if w.tensor.nbytes > self.most:
            return Refused(f"its weights have {w.tensor.nbytes} bytes, more than most={self.most}")
        if op.multiply_adds(node) < self.least_product:
            return Refused(f"its {op.multiply_adds(node)} multiply-adds are fewer than {self.least_product}")
        rows, steps = node.shape[0], w.shape[1]
        if rows < 2 or rows >= ROWS and steps >= STEPS:
            return Refused(f"it has {rows} rows of {steps} products: turning its weights gains nothing")
        return dot(x, matrix_transpose(w), op.ta)

    def _reached(self, places: int, vectors: int, panels: int) -> float:
        """The part of the arithmetic limit that register tiles of so many vectors reach, at two multiply-adds a cycle.
        Threads share the panels: an odd one leaves half of them idle."""
        best = 0.0
        for turns in range(1, min(places, 14) + 1):
            if turns * vectors + vectors < self.registers:
                tiles = [(n, times) for n, times in ((turns, places // turns), (places % turns, 1)) if n]
                cycles = sum(times * (max(n * vectors / 2, (n + vectors) / 2, 4.0) + 0.3) for n, times in tiles)
                best = max(best, places * vectors / 2 / cycles)
        return best * panels / (-(-panels // 2) * 2)
