"""winograd: convolutions of 3x3 taps by minimal filtering (see symc.ir.prims.winograd), where a cost model says that it
is faster.

What is saved are multiplications: 16 results take 36 instead of 144 (tiles of 4), 4 take 16 instead of 36 (tiles of 2).
What is paid for it are transforms of maps, products and weights, four times as many bytes of weights, and results
beyond the edge of a map that no tile divides. Both sides are reckoned in multiply-adds, the unit of the arithmetic
limit, as are the ways to cut a convolution into blocks (images, rows of tiles, output channels): a block is large
enough to use a weight often, small enough to stay in a core's cache, and there is one for every thread.

What is saved costs digits. Where gradients are wanted, a little rounding on the way forward may put a relu on the other
side of its bend, and turns them by more than rounding; on the way back it stays what it is. `gradients` leaves the way
forward as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod

from symc.ir.op import Node
from symc.ir.origins import passed
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Pad
from symc.ir.prims.winograd import POINTS, TAPS, winograd, winograd_weights
from symc.ir.tensor.graph import Graph
from symc.ir.types import F32, Shape
from symc.passes.cost import CORE, FETCHING, FOLLOWING, HANDLING, MOVING, SHARES
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rewrite
from symc.passes.manager.watching import Refused
from symc.passes.tensor.parameters import of_parameters

#: a form is chosen if it takes at most this part of the direct form's time: what it costs is known less well
GAIN = 0.85
#: the tiles to choose from
TILES = (0, *POINTS)


@dataclass(frozen=True)
class _Work:
    """A convolution: images, channels, output channels, and the size of a result."""

    images: int
    channels: int
    outs: int
    places: Shape

    @property
    def direct(self) -> float:
        """Multiply-adds of the direct form, and reading the weights."""
        weights = self.channels * self.outs * TAPS**2
        return float(self.images * prod(self.places) * weights + weights * F32.itemsize * MOVING / 2)


@dataclass(frozen=True)
class _Plan:
    """A form and what it costs."""

    tile: int
    lanes: int
    block: Shape
    cost: float


@register_pass("winograd", numerics="approx(1e-6)", optional=True)
class WinogradConvolutions(Pass):
    """Convolutions of 3x3 taps with fewer multiplications, where that is faster."""

    vector_bytes: int = option(32, "bytes of a vector register", min=4)
    tile: int = option(
        0, "results of a tile along each axis: more of them round more; 0: what costs least", choices=TILES
    )
    kept: bool = option(
        True, "what depends on parameters only is kept from run to run (hoist), so that it costs little"
    )
    least: int = option(1 << 23, "multiply-adds of the smallest convolution that is worth the longer code", min=0)
    gradients: bool = option(False, "only convolutions on the way back, which autodiff has made")
    always: bool = option(False, "take this form wherever there is one, faster or not")

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        fixed = of_parameters(graph) if self.kept else set()

        def filtered(node: Node) -> Node | Refused | None:
            # on the way back weights are turned round: that is autodiff's doing, too
            back = node.inputs[1] in graph.origins and passed(graph.origins[node.inputs[1]], "autodiff")
            if self.gradients and not back:
                return Refused("it is no gradient's")
            return self._filtered(node, fixed)

        return rewrite(graph, [Rule("minimal-filter", filtered, (Conv,))], rw)

    def _filtered(self, node: Node, fixed: Collection[Node]) -> Node | Refused | None:
        """conv(pad(x), w) -> winograd(x, winograd_weights(w))."""
        op = node.op
        if not isinstance(op, Conv) or node.rank != 4 or not node.tensor.size:
            return None
        x, w = node.inputs
        if w.shape[2:] != (TAPS, TAPS):
            return None
        if op.groups != 1 or op.stride != (1, 1) or op.dilate != (1, 1) or node.dtype != F32:
            return Refused(f"it has stride {op.stride}, dilation {op.dilate}, {op.groups} groups and type {node.dtype}")
        work = _Work(x.shape[0], x.shape[1], w.shape[0], node.shape[2:])
        if work.direct < self.least and not self.always:
            return Refused(f"its {work.direct:.3g} multiply-adds are fewer than least={self.least}")
        plans = [p for tile in POINTS if self.tile in (0, tile) for p in self._plans(work, tile, w in fixed)]
        best = min(plans, key=lambda p: p.cost)
        if best.cost > GAIN * work.direct and not self.always:
            return Refused(f"tiles of {best.tile} would take {best.cost / work.direct:.0%} of the direct form's time")
        low: Shape = (0, 0)
        high: Shape = (0, 0)
        if _is_border(x):
            assert isinstance(x.op, Pad)
            low, high, (x,) = x.op.low[2:], x.op.high[2:], x.inputs
        return winograd(x, winograd_weights(w, best.tile, best.lanes), best.tile, low, high, best.block)

    # -- the cost model

    def _plans(self, work: _Work, tile: int, kept: bool) -> Iterator[_Plan]:
        """The ways to cut a convolution into blocks, and their costs."""
        width = max(1, self.vector_bytes // F32.itemsize)
        lanes = next(n for n in (2 * width, width, work.outs) if work.outs % n == 0)
        down, across = (-(-n // tile) for n in work.places)
        groups = work.outs // lanes
        several = [(n, down) for n in range(2, work.images + 1) if work.images % n == 0]
        for images, rows in [*((1, r) for r in range(1, down + 1)), *several]:
            for share in range(1, groups + 1):
                if groups % share:
                    continue
                block = (images, rows, groups // share)
                cost = self._cost(work, tile, lanes, block, (down, across))
                whole = (tile + TAPS - 1) ** 2 * work.channels * work.outs * F32.itemsize
                once = whole * FETCHING if kept else whole * MOVING / 2
                yield _Plan(tile, lanes, block, cost + once)

    def _cost(self, work: _Work, tile: int, lanes: int, block: Shape, tiles: Shape) -> float:
        """Multiply-adds, and what takes as long as so many, with weights that are transformed."""
        images, rows, groups = block
        width, size, many = max(1, self.vector_bytes // F32.itemsize), tile + TAPS - 1, work.outs // lanes
        sections = work.images // images * -(-tiles[0] // rows)
        blocks, count, outs = sections * (many // groups), images * rows * tiles[1], groups * lanes
        filled = -(-lanes // width) * width / lanes
        # the accumulators of a register tile have to cover the time that a multiply-add takes
        busy = max(1.0, FOLLOWING / (count * -(-lanes // width)))
        products = size**2 * work.channels * outs * count * filled * busy
        # every value of a tile is loaded, combined twice with others of its row and column, and stored
        channels = -(-work.channels // width) * width
        transforms = count * (channels + outs * filled) * (size**2 + tile**2 + size * (size + tile) * 2) * HANDLING
        weights = size**2 * work.channels * outs * F32.itemsize
        scratch = F32.itemsize * count * (size**2 * (work.channels + outs) + tile**2 * (2 * work.channels + outs))
        # what a core's cache does not hold comes from further off: weights for each block, and what the steps of a
        # block leave each other
        read = weights * FETCHING if weights + scratch > CORE else 0.0
        left = 2 * max(0, scratch - CORE // 2) * FETCHING
        turns = -(-blocks // SHARES) * SHARES
        return turns * (products + transforms + read + left)


def _is_border(x: Node) -> bool:
    """Whether a value is another one with zeros around its maps."""
    op = x.op
    return isinstance(op, Pad) and op.fill == 0 and not any((*op.low[:2], *op.high[:2], *op.interior))
