"""Operators on a csr matrix by what it stores: its values, and the row and the column of each, three vectors of one
length. Values that only fill the vectors up stand in a row and a column behind the last, whose sums are left out.

MXNet has none of them: symc.compressed puts them in the place of its operators where an argument is a csr matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.indexing import gather, scatter_add
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.shared.families import constant
from symc.ops.tensor.index import position


@dataclass(frozen=True, kw_only=True)
class _Stored(Operator):
    """Base: the first three inputs are what a matrix of shape `shape` stores."""

    shape: Tuple

    def complete(self, s: Shapes) -> None:
        """Values, rows and columns have one length."""
        s.all_alike(range(3), ())

    def complete_types(self, t: Types) -> None:
        t.all_alike([at for at in range(len(t.ins)) if at not in (1, 2)])
        for at in (1, 2):
            if t.ins[at] is None:
                t.set_in(at, np.int32)

    def summed(self, data: Node, places: Node, count: int) -> Node:
        """Sums of the elements along axis 0 that have one place: (count, ...)."""
        sums = scatter_add(constant(0, data.dtype, (count + 1, *data.shape[1:])), places, data, 0)
        return mv.slice_(sums, (0,) * sums.rank, (count, *data.shape[1:]), (1,) * sums.rank)


@operator("_csr_dot", inputs="values rows columns rhs")
class CsrDot(_Stored):
    """`dot` with a csr matrix on the left: a sum of rows of the other factor, each times a stored value."""

    transpose_a: bool = False
    transpose_b: bool = False

    def complete(self, s: Shapes) -> None:
        """(m, k), as `shape` says, and (k,) or (k, n), transposed as the attributes say, give (m,) or (m, n)."""
        super().complete(s)
        kept, inner = self.shape[::-1] if self.transpose_a else self.shape
        right = s.ins[3]
        if right is not None:
            if len(right) not in (1, 2) or (len(right) == 1 and self.transpose_b):
                raise ShapeError(f"a csr matrix is multiplied with a matrix or a vector, not with shape {right}")
            found = right[-1] if self.transpose_b else right[0]
            if found and found != inner:
                raise ShapeError(f"lhs {self.shape} and rhs {right} do not fit: {inner} against {found}")
            s.set_out(0, (kept, *(right[:-1] if self.transpose_b else right[1:])))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        values, rows, columns, right = inputs[0], position(inputs[1]), position(inputs[2]), inputs[3]
        at, to = (rows, columns) if self.transpose_a else (columns, rows)
        found = mv.transpose(gather(right, at, 1), (1, 0)) if self.transpose_b else gather(right, at, 0)
        wide = values.dtype.wide
        products = ew.cast(found, wide) * mv.broadcast(ew.cast(values, wide), found.shape, (0,))
        return ew.cast(self.summed(products, to, self.shape[1 if self.transpose_a else 0]), values.dtype)


@operator("_csr_sum", inputs="values rows columns")
class CsrSum(_Stored):
    """`sum` of a csr matrix over one axis."""

    axis: int
    keepdims: bool = False

    def complete(self, s: Shapes) -> None:
        """The extent of the other axis is left; with keepdims, 1 stands where the axis was."""
        super().complete(s)
        s.set_out(0, self._left())

    def _left(self) -> tuple[int, ...]:
        count = self.shape[1 - self.axis]
        return ((count, 1) if self.axis else (1, count)) if self.keepdims else (count,)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        values, rows, columns = inputs[0], position(inputs[1]), position(inputs[2])
        wide = values.dtype.wide
        sums = self.summed(ew.cast(values, wide), rows if self.axis else columns, self.shape[1 - self.axis])
        return mv.reshape(ew.cast(sums, values.dtype), self._left())
