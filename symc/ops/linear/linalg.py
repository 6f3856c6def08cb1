"""Products and packings of the linalg family: batches lead, matrices lie in the last two axes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import gather, scatter_add
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import reshape, transpose
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import I32
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, operator
from symc.ops.shared.layers import indices


def matrices_only(op: Operator, *nodes: Node) -> None:
    """Refuse vectors."""
    for node in nodes:
        if node.rank < 2:
            raise ShapeError(f"{op.op_name}: matrices are needed (two axes at least), not {node.shape}")


class Linalg(Operator):
    """Base of the family: there are kernels, and LAPACK's functions, for two types."""

    only_types: ClassVar[tuple[str, ...]] = ("float32", "float64")


def square(shape: tuple[int, ...]) -> None:
    """Refuse shapes that are not (batches of) square matrices."""
    if len(shape) < 2:
        raise ShapeError(f"a matrix is needed (two axes at least), not {shape}")
    if shape[-1] and shape[-2] and shape[-1] != shape[-2]:
        raise ShapeError(f"a square matrix is needed, not {shape}")


def triangle(x: Node, lower: bool, strict: bool = False) -> Node:
    """x with zeros outside of the named triangle."""
    row, column = indices(x.shape, x.rank - 2), indices(x.shape, x.rank - 1)
    if strict:
        inside = ew.gt(row, column) if lower else ew.lt(row, column)
    else:
        inside = ew.ge(row, column) if lower else ew.le(row, column)
    return ew.select(inside, x, 0.0)


def scaled(x: Node, factor: float) -> Node:
    return x if factor == 1.0 else x * factor


def _rows_before_columns(x: Node, axis: int) -> Node:
    """The axis of the rows moved beside the columns, which are last."""
    axis %= x.rank
    return transpose(x, [a for a in range(x.rank - 1) if a != axis] + [axis, x.rank - 1])


def _rows_back(x: Node, axis: int) -> Node:
    axis %= x.rank
    order = list(range(x.rank - 2))
    order.insert(axis, x.rank - 2)
    return transpose(x, [*order, x.rank - 1])


class _Gemm(Linalg):
    """Base: shapes of alpha op(A) op(B)."""

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    axis: int = -2

    def complete(self, s: Shapes) -> None:
        """A (..., m, k), B (..., k, n) and C (..., m, n), transposed as the attributes say, give (..., m, n)."""
        a, b = s.ins[:2]
        if a is None or b is None:
            return
        if len(a) != len(b):
            raise ShapeError(f"A {a} and B {b} differ in their number of axes")
        if len(a) < 2:
            raise ShapeError(f"matrices are needed (two axes at least), not {a}")
        axis = self.axis % len(a)
        rest = [d for k, d in enumerate(a[:-1]) if k != axis]
        if all(a) and all(b) and rest != [d for k, d in enumerate(b[:-1]) if k != axis]:
            raise ShapeError(f"the batches of A {a} and B {b} differ")
        rows, inner = (a[-1], a[axis]) if self.transpose_a else (a[axis], a[-1])
        inner_b, columns = (b[-1], b[axis]) if self.transpose_b else (b[axis], b[-1])
        if inner and inner_b and inner != inner_b:
            raise ShapeError(f"A {a} and B {b} do not fit: inner sizes {inner} and {inner_b}")
        out = [*rest, columns]
        out.insert(axis, rows)
        s.set_out(0, tuple(out))
        if len(s.ins) > 2:
            s.set_in(2, tuple(out))

    def product(self, a: Node, b: Node) -> Node:
        matrices_only(self, a, b)
        y = dot(
            _rows_before_columns(a, self.axis), _rows_before_columns(b, self.axis), self.transpose_a, self.transpose_b
        )
        return _rows_back(scaled(y, self.alpha), self.axis)


@operator("_linalg_gemm", inputs="A B C", aliases="linalg_gemm", hint="gemm")
class Gemm(_Gemm):
    """alpha op(A) op(B) + beta C; `axis` is where the rows lie."""

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    beta: float = 1.0
    axis: int = -2

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return self.product(*inputs[:2]) + scaled(inputs[2], self.beta)


@operator("_linalg_gemm2", inputs="A B", aliases="linalg_gemm2", hint="gemm2")
class Gemm2(_Gemm):
    """alpha op(A) op(B); `axis` is where the rows lie."""

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    axis: int = -2

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return self.product(*inputs)


@operator("_linalg_syrk", inputs="A", aliases="linalg_syrk", hint="syrk")
class Syrk(Linalg):
    """alpha A A^T, or alpha A^T A with `transpose`."""

    transpose: bool = False
    alpha: float = 1.0

    def complete(self, s: Shapes) -> None:
        """(..., m, n) gives (..., m, m), or (..., n, n) with transpose."""
        a = s.ins[0]
        if a is None:
            return
        if len(a) < 2:
            raise ShapeError(f"a matrix is needed (two axes at least), not {a}")
        size = a[-1] if self.transpose else a[-2]
        s.set_out(0, (*a[:-2], size, size))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a = inputs[0]
        matrices_only(self, a)
        return scaled(dot(a, a, self.transpose, not self.transpose), self.alpha)


def complete_triangular(s: Shapes, rightside: bool) -> None:
    """Shapes of trmm and trsm: A square, B and the output alike."""
    s.set_in(1, s.outs[0])
    a, b = s.ins
    if a is not None:
        square(a)
    if b is not None and len(b) > 1 and s.outs[0] is not None:
        size = b[-1] if rightside else b[-2]
        s.set_in(0, (*b[:-2], size, size))
        a = s.ins[0]
    if a is None or b is None:
        return
    s.set_out(0, b)
    if len(a) != len(b) or (all(a) and all(b) and a[:-2] != b[:-2]):
        raise ShapeError(f"the batches of A {a} and B {b} differ")
    size = b[-1] if rightside else b[-2]
    if a[-1] and size and a[-1] != size:
        raise ShapeError(f"A {a} does not fit B {b}")


@operator("_linalg_trmm", inputs="A B", aliases="linalg_trmm", hint="trmm")
class Trmm(Linalg):
    """alpha op(A) B, or alpha B op(A) with `rightside`, reading the named triangle of A only."""

    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0

    def complete(self, s: Shapes) -> None:
        """A (..., n, n) with B (..., n, m), or (..., m, n) for rightside; the output has B's shape."""
        complete_triangular(s, self.rightside)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a, b = inputs
        matrices_only(self, a, b)
        t = triangle(a, self.lower)
        y = dot(b, t, False, self.transpose) if self.rightside else dot(t, b, self.transpose, False)
        return scaled(y, self.alpha)


# --------------------------------------------------------------------------------------------- packing


def _positions(size: int, offset: int, lower: bool) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Flat positions of a triangle in a size x size matrix: offset > 0 upper, < 0 lower, 0 as named.

    A lower triangle goes row by row, an upper one column by column.
    """
    major, minor = np.indices((size, size)).reshape(2, -1)
    below = lower if offset == 0 else offset < 0
    inside = major - minor >= abs(offset)
    at = major * size + minor if below else minor * size + major
    return at[inside].astype(np.int32)


def _pick(x: Node, positions: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Node:
    """Entries of the matrices at flat positions."""
    flat = reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    return gather(flat, ew.const(positions, I32), flat.rank - 1)


def _put(v: Node, positions: np.ndarray[tuple[int], np.dtype[np.int32]], size: int) -> Node:
    """Matrices of zeros with these entries at flat positions."""
    base = ew.full(0, v.tensor.with_shape((*v.shape[:-1], size * size)))
    made = scatter_add(base, ew.const(positions, I32), v, base.rank - 1)
    return reshape(made, (*v.shape[:-1], size, size))


def _packed(size: int, offset: int) -> int:
    side = max(size - abs(offset), 0)
    return side * (side + 1) // 2


@operator("_linalg_extracttrian", inputs="A", aliases="linalg_extracttrian", hint="extracttrian")
class ExtractTrian(Linalg):
    """A triangle's entries in one vector: a lower one by rows, an upper one by columns."""

    offset: int = 0
    lower: bool = True

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives (..., number of elements in the triangle)."""
        a = s.ins[0]
        if a is None:
            return
        square(a)
        if a[-1] and abs(self.offset) >= a[-1]:
            raise ShapeError(f"offset={self.offset} is outside of a matrix {a}")
        s.set_out(0, (*a[:-2], _packed(a[-1], self.offset)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return _pick(inputs[0], _positions(inputs[0].shape[-1], self.offset, self.lower))


@operator("_linalg_maketrian", inputs="A", aliases="linalg_maketrian", hint="maketrian")
class MakeTrian(Linalg):
    """The inverse of extracttrian: a vector as a triangle of a matrix of zeros."""

    offset: int = 0
    lower: bool = True

    def _size(self, count: int) -> int:
        side = int((np.sqrt(8 * count + 1) - 1) / 2)
        if side * (side + 1) // 2 != count:
            raise ShapeError(f"{count} entries do not fill a triangle")
        return side + abs(self.offset)

    def complete(self, s: Shapes) -> None:
        """(..., number of elements in the triangle) gives (..., n, n)."""
        a = s.ins[0]
        if a is not None and a and a[-1]:
            size = self._size(a[-1])
            s.set_out(0, (*a[:-1], size, size))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        size = self._size(inputs[0].shape[-1])
        return _put(inputs[0], _positions(size, self.offset, self.lower), size)


def _diagonal(size: int, offset: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    row = np.arange(max(size - abs(offset), 0)) + max(-offset, 0)
    return (row * size + row + offset).astype(np.int32)


@operator("_linalg_extractdiag", inputs="A", aliases="linalg_extractdiag", hint="extractdiag")
class ExtractDiag(Linalg):
    """The diagonal `offset` places above the main one."""

    offset: int = 0

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives (..., n - |offset|)."""
        a = s.ins[0]
        if a is None:
            return
        square(a)
        if a[-1] and abs(self.offset) >= a[-1]:
            raise ShapeError(f"offset={self.offset} is outside of a matrix {a}")
        s.set_out(0, (*a[:-2], a[-1] - abs(self.offset) if a[-1] else 0))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return _pick(inputs[0], _diagonal(inputs[0].shape[-1], self.offset))


@operator("_linalg_makediag", inputs="A", aliases="linalg_makediag", hint="makediag")
class MakeDiag(Linalg):
    """A vector as the diagonal `offset` places above the main one of a matrix of zeros."""

    offset: int = 0

    def complete(self, s: Shapes) -> None:
        """(..., n) gives (..., n + |offset|, n + |offset|)."""
        a = s.ins[0]
        if a:
            size = a[-1] + abs(self.offset) if a[-1] else 0
            s.set_out(0, (*a[:-1], size, size))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        size = inputs[0].shape[-1] + abs(self.offset)
        return _put(inputs[0], _diagonal(size, self.offset), size)


@operator("_linalg_sumlogdiag", inputs="A", aliases="linalg_sumlogdiag", hint="sumlogdiag")
class SumLogDiag(Linalg):
    """The sum of the logarithms of the diagonal."""

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives (...), at least (1,)."""
        a = s.ins[0]
        if a is not None:
            square(a)
            s.set_out(0, a[:-2] or (1,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        a = inputs[0]
        matrices_only(self, a)
        total = reduce_sum(ew.log(_pick(a, _diagonal(a.shape[-1], 0))), (a.rank - 2,))
        return reshape(total, a.shape[:-2] or (1,))
