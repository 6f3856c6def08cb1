"""Dropout."""

from __future__ import annotations

from typing import ClassVar, Literal

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast
from symc.ir.prims.random import uniform
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, operator
from symc.ops.shared.layers import data_to_output, refuse


@operator("Dropout", random=True)
class Dropout(Operator):
    """Drops elements with probability p and divides the rest by 1 - p, when training (or always).

    The mask is shared along `axes`. Srivastava et al. 2014.
    """

    floats_only: ClassVar[bool] = True

    p: float = 0.5
    mode: Literal["always", "training"] = "training"
    axes: Tuple | None = ()
    cudnn_off: bool | None = False

    def check(self) -> None:
        if not 0 <= self.p <= 1:
            raise refuse(self, f"p={self.p} must lie between 0 and 1")

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; the mask too, with extent 1 along `axes`."""
        data = s.ins[0]
        if data is not None and any(not 0 <= a < len(data) for a in self.axes or ()):
            raise ShapeError(f"axes={self.axes} must lie between 0 and {len(data) - 1} for data {data}")
        data_to_output(s)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        x = inputs[0]
        if self.p == 0 or not (ctx.train or self.mode == "always"):
            return x
        if self.p == 1:
            return x * float("nan")  # nothing is kept, times 1 / 0
        shared = set(self.axes or ())
        shape = tuple(1 if a in shared else d for a, d in enumerate(x.shape))
        drawn = uniform(ctx.random_key(), shape, x.dtype.wide)
        kept = ew.cast(ew.lt(drawn, 1 - self.p), x.dtype) * (1 / (1 - self.p))
        return x * broadcast(kept, x.shape, range(x.rank))
