"""Correlation of two feature maps over a neighbourhood of displacements. Dosovitskiy et al. 2015 (FlowNet)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import gather
from symc.ir.prims.movement import broadcast, pad, reshape, slice_, transpose
from symc.ir.prims.reduce import reduce_sum
from symc.ir.prims.window import window_sum
from symc.ir.types import I32
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, operator
from symc.ops.shared.layers import narrow, refuse, wide


@operator("Correlation", inputs="data1 data2")
class Correlation(Operator):
    """Means of products (or of absolute differences) of patches of data1 and of displaced patches of data2.

    (N, C, H, W) twice gives (N, D * D, Ho, Wo): D displacements each way, up to max_displacement in steps of stride2;
    patches of kernel_size at every stride1-th place whose patches all lie inside the maps padded by pad_size.
    """

    floats_only: ClassVar[bool] = True

    kernel_size: int = 1
    max_displacement: int = 1
    stride1: int = 1
    stride2: int = 1
    pad_size: int = 0
    is_multiply: bool = True

    def check(self) -> None:
        if self.kernel_size % 2 != 1 or self.kernel_size < 1:
            raise refuse(self, f"kernel_size={self.kernel_size} must be odd")
        if self.stride1 < 1 or self.stride2 < 1 or self.max_displacement < 0 or self.pad_size < 0:
            raise refuse(self, "strides must be positive, max_displacement and pad_size not negative")

    @property
    def _offsets(self) -> range:
        """Displacements along one axis."""
        reach = self.max_displacement // self.stride2
        return range(-reach * self.stride2, reach * self.stride2 + 1, self.stride2)

    def _places(self, size: int) -> int:
        if not size:
            return 0
        free = size + 2 * (self.pad_size - self.max_displacement) - self.kernel_size
        if free < 0:
            raise ShapeError(
                f"max_displacement={self.max_displacement} and kernel_size={self.kernel_size} leave no place in an "
                f"axis of {size} padded by {self.pad_size}"
            )
        return free // self.stride1 + 1

    def complete(self, s: Shapes) -> None:
        """Two (N, C, H, W) give (N, displacements squared, H', W')."""
        one, two = s.ins
        if one is None or two is None or len(one) != 4 or len(two) != 4:
            raise ShapeError(f"data1 and data2 must have 4 axes (batch, channel, y, x), not {one} and {two}")
        if any(a and b and a != b for a, b in zip(one, two)):
            raise ShapeError(f"data1 and data2 must have the same shape, not {one} and {two}")
        s.set_out(0, (one[0], len(self._offsets) ** 2, *map(self._places, one[2:])))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        margin = (0, 0, self.pad_size, self.pad_size)
        one, two = (pad(wide(x), margin, margin) for x in inputs)
        batch, channels, height, width = one.shape
        at, number = self.max_displacement, len(self._offsets)
        inner = height - 2 * at, width - 2 * at
        own = slice_(one, (0, 0, at, at), (batch, channels, at + inner[0], at + inner[1]), (1,) * 4)
        moves = np.array(self._offsets)[:, None] + at
        moved = gather(two, ew.const(moves + np.arange(inner[0]), I32), 2)
        moved = gather(moved, ew.const(moves + np.arange(inner[1]), I32), 4)
        shape = (batch, channels, number, inner[0], number, inner[1])
        own = broadcast(own, shape, (0, 1, 3, 5))
        # the difference's gradient at 0 is that of the positive side for data1, as MXNet has it
        alike = own * moved if self.is_multiply else ew.select(ew.ge(own, moved), own - moved, moved - own)
        sums = transpose(reduce_sum(alike, (1,)), (0, 1, 3, 2, 4))
        made = window_sum(sums, (self.kernel_size,) * 2, (self.stride1,) * 2)
        made = made * (1.0 / (self.kernel_size**2 * channels))
        return narrow(reshape(made, (batch, number * number, *made.shape[3:])), inputs[0])
