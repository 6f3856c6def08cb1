"""Products of matrices: dot, batch_dot, the Khatri-Rao product; matrices from diagonals and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import linear
from symc.ir.prims import movement as mv
from symc.ir.prims.indexing import gather_nd
from symc.ir.types import I32, TensorType
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, is_known, operator
from symc.ops.shared.families import one_axis
from symc.ops.shared.storage import CSR, DEFAULT, ROW_SPARSE

Storage = Literal["None", "csr", "default", "row_sparse"]


@operator("dot", inputs="lhs rhs")
class Dot(Operator):
    """The sum over lhs's last and rhs's first axis (transposed: over the first and the last); two vectors give (1,)."""

    floats_only: ClassVar[bool] = True
    sparse_of_dense: ClassVar[bool] = True

    transpose_a: bool = False
    transpose_b: bool = False
    forward_stype: Storage = "None"

    def storage(self, stypes: Sequence[str]) -> str:
        if self.forward_stype != "None":
            return self.forward_stype
        left, right = stypes
        if left == CSR and right in (DEFAULT, ROW_SPARSE) and self.transpose_a and not self.transpose_b:
            return ROW_SPARSE
        return CSR if left == DEFAULT and right == CSR and not self.transpose_a else DEFAULT

    def rows_in_gradient(self, at: int, stypes: Sequence[str]) -> bool:
        return at == 1 and stypes[0] == CSR and not self.transpose_a and not self.transpose_b

    def _split(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, ...], int, int, tuple[int, ...]]:
        """What of lhs stays, the two summed extents, what of rhs stays."""
        kept_a, inner_a = (a[1:], a[0]) if self.transpose_a else (a[:-1], a[-1])
        kept_b, inner_b = (b[:-1], b[-1]) if self.transpose_b else (b[1:], b[0])
        return kept_a, inner_a, inner_b, kept_b

    def complete(self, s: Shapes) -> None:
        """The last axis of lhs meets the first of rhs (transposed: the other way round); the other axes are kept, lhs's
        first.
        """
        a, b = s.ins
        if a is not None and b is not None:
            if len(a) == len(b) == 1 and (self.transpose_a or self.transpose_b):
                raise ShapeError(f"a vector cannot be transposed: lhs {a}, rhs {b}")
            kept_a, inner_a, inner_b, kept_b = self._split(a, b)
            if inner_a and inner_b and inner_a != inner_b:
                raise ShapeError(f"lhs {a} and rhs {b} do not fit: {inner_a} against {inner_b}")
            s.set_out(0, kept_a + kept_b or (1,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a, b = inputs
        kept_a, inner, _, kept_b = self._split(a.shape, b.shape)
        rows, columns = prod(kept_a), prod(kept_b)
        left = mv.reshape(a, (inner, rows) if self.transpose_a else (rows, inner))
        right = mv.reshape(b, (columns, inner) if self.transpose_b else (inner, columns))
        made = linear.dot(left, right, ta=self.transpose_a, tb=self.transpose_b)
        return mv.reshape(made, kept_a + kept_b or (1,))


@operator("batch_dot", inputs="lhs rhs")
class BatchDot(Operator):
    """The matrix product of the last two axes for every leading index: (B, M, K) with (B, K, N) gives (B, M, N)."""

    floats_only: ClassVar[bool] = True

    transpose_a: bool = False
    transpose_b: bool = False
    forward_stype: Storage = "None"

    def complete(self, s: Shapes) -> None:
        """(..., m, k) and (..., k, n), transposed as the attributes say, give (..., m, n)."""
        a, b = s.ins
        if a is None or b is None:
            return
        if len(a) < 3 or len(a) != len(b) or any(x != y for x, y in zip(a[:-2], b[:-2]) if x and y):
            raise ShapeError(f"lhs {a} and rhs {b} must have the same leading axes before their matrices")
        m, k = (a[-1], a[-2]) if self.transpose_a else (a[-2], a[-1])
        n, other = (b[-2], b[-1]) if self.transpose_b else (b[-1], b[-2])
        if k and other and k != other:
            raise ShapeError(f"lhs {a} and rhs {b} do not fit: {k} against {other}")
        if a[-1] and b[-2]:  # MXNet says nothing before it knows these, transposed or not
            s.set_out(0, (*(x or y for x, y in zip(a[:-2], b[:-2])), m, n))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return linear.dot(inputs[0], inputs[1], ta=self.transpose_a, tb=self.transpose_b)


@operator("khatri_rao", variadic="num_args", gradient="none")
class KhatriRao(Operator):
    """The column-wise Kronecker product of matrices with one number of columns."""

    floats_only: ClassVar[bool] = True

    num_args: int

    def check(self) -> None:
        if self.num_args < 1:
            raise MXNetError("khatri_rao: it needs at least one input")

    def complete(self, s: Shapes) -> None:
        """Matrices (r_i, n) give (product of r_i, n)."""
        shapes = [x for x in s.ins if x is not None]
        if len(shapes) < len(s.ins):
            return
        if any(len(x) != 2 for x in shapes) or len({x[1] for x in shapes}) != 1:
            raise ShapeError(f"khatri_rao needs matrices with one number of columns, got {shapes}")
        s.set_out(0, (prod(x[0] for x in shapes), shapes[0][1]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        result = inputs[0]
        for x in inputs[1:]:
            shape = (result.shape[0], x.shape[0], x.shape[1])
            made = mv.broadcast(result, shape, (0, 2)) * mv.broadcast(x, shape, (1, 2))
            result = mv.reshape(made, (shape[0] * shape[1], shape[2]))
        return result


@operator("diag")
class Diag(Operator):
    """A vector becomes a matrix with it on the k-th diagonal; of anything else the k-th diagonal of axes `axis1` and
    `axis2` is taken, which becomes the last axis."""

    k: int = 0
    axis1: int = 0
    axis2: int = 1

    def _length(self, rows: int, columns: int) -> int:
        length = min(rows, columns - self.k) if self.k >= 0 else min(rows + self.k, columns)
        if length < 1:
            raise ShapeError(f"a matrix of {rows} x {columns} has no diagonal k={self.k}")
        return length

    def _axes(self, rank: int) -> tuple[int, int]:
        a, b = one_axis(self.axis1, rank, "axis1"), one_axis(self.axis2, rank, "axis2")
        if a == b:
            raise ShapeError(f"axis1={self.axis1} and axis2={self.axis2} are the same axis")
        return a, b

    def complete(self, s: Shapes) -> None:
        """A vector (n,) gives (n + |k|, n + |k|); otherwise the two axes go, and the diagonal's length is the new last
        one.
        """
        data = s.ins[0]
        if data is None or not is_known(data):
            return
        if len(data) == 1:
            size = data[0] + abs(self.k)
            s.set_out(0, (size, size))
            return
        a, b = self._axes(len(data))
        rest = tuple(d for axis, d in enumerate(data) if axis not in (a, b))
        s.set_out(0, (*rest, self._length(data[a], data[b])))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        if data.rank == 1:
            low, high = max(-self.k, 0), max(self.k, 0)
            size = data.shape[0] + low + high
            rows = mv.broadcast(mv.pad(data, (low,), (high,)), (size, size), (0,))
            index = TensorType(I32, (size, size))
            return ew.select(ew.eq(mv.iota(index, 1), mv.iota(index, 0) + self.k), rows, 0)
        a, b = self._axes(data.rank)
        rest = [axis for axis in range(data.rank) if axis not in (a, b)]
        along = np.arange(self._length(data.shape[a], data.shape[b]), dtype=np.int32)
        places = np.stack([along + max(-self.k, 0), along + max(self.k, 0)])
        taken = gather_nd(mv.transpose(data, (a, b, *rest)), ew.const(places))
        return mv.transpose(taken, (*range(1, taken.rank), 0))
