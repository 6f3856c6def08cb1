"""Factorisations and what follows from them: LAPACK's work, done by numpy in a host call; gradients over primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad, host_call, register_host
from symc.ir.prims.linear import dot, matrix_transpose
from symc.ir.prims.movement import broadcast, reshape
from symc.ir.types import Array, TensorType
from symc.ops.base import BuildContext, ShapeError, Shapes, Types, operator
from symc.ops.linear.linalg import Linalg, complete_triangular, matrices_only, scaled, square, triangle
from symc.ops.shared.layers import indices


def _lq(a: Array) -> tuple[Array, Array]:
    """Q and L of A = L Q, with the signs that Householder reflections give."""
    q, r = np.linalg.qr(np.swapaxes(a, -1, -2))
    return np.swapaxes(q, -1, -2), np.swapaxes(r, -1, -2)


def _eigh(a: Array) -> tuple[Array, Array]:
    """Rows of U are eigenvectors, each with its largest entry positive; values ascending."""
    values, vectors = np.linalg.eigh(a)
    u = np.swapaxes(vectors, -1, -2)
    largest = np.take_along_axis(u, np.abs(u).argmax(-1)[..., None], -1)
    return np.where(largest < 0, -u, u), values


def _solve_triangular(a: Array, b: Array, lower: bool, transposed: bool) -> Array:
    t = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(t, -1, -2) if transposed else t, b)


def _slogdet(a: Array) -> tuple[Array, Array]:
    sign, value = np.linalg.slogdet(a)
    return np.asarray(sign), np.asarray(value)


def _inverse_or_zero(a: Array) -> Array:
    """The inverses of those of the matrices that have one, and zeros."""
    regular = np.linalg.slogdet(a)[0] != 0
    made = np.zeros_like(a)
    made[regular] = np.linalg.inv(a[regular])
    return made


register_host("linalg.cholesky", np.linalg.cholesky)
register_host("linalg.inverse", np.linalg.inv)
register_host("linalg.inverse_or_zero", _inverse_or_zero)
register_host("linalg.lq", _lq)
register_host("linalg.eigh", _eigh)
register_host("linalg.slogdet", _slogdet)
for _lower in (False, True):
    for _transposed in (False, True):
        register_host(
            f"linalg.solve_triangular.{'lower' if _lower else 'upper'}{'.transposed' if _transposed else ''}",
            lambda a, b, low=_lower, tr=_transposed: _solve_triangular(a, b, low, tr),
        )


def _call(name: str, *inputs: Node, type: TensorType | None = None) -> Node:
    made = host_call(f"linalg.{name}", inputs, [type or inputs[-1].tensor])
    assert isinstance(made, Node)
    return made


def inverse(a: Node, function: str = "inverse") -> Node:
    """A^-1 (`inverse_or_zero`: and 0 where there is none)."""

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        return [-dot(dot(outs[0], cts[0], ta=True), outs[0], tb=True)]

    made = custom_grad([a], lambda a: _call(function, a), rule)
    assert isinstance(made, Node)
    return made


def solve(a: Node, b: Node, lower: bool, transposed: bool) -> Node:
    """X of op(A) X = B, reading one triangle of A. Its gradient uses the inverse, which only gradients of gradients
    come to compute: the gradients of the operators solve again."""

    def body(a: Node, b: Node) -> Node:
        return _call(f"solve_triangular.{'lower' if lower else 'upper'}{'.transposed' if transposed else ''}", a, b)

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        db = dot(inverse(triangle(ins[0], lower)), cts[0], ta=not transposed)
        da = dot(outs[0], db, tb=True) if transposed else dot(db, outs[0], tb=True)
        return [triangle(-da, lower), db]

    made = custom_grad([a, b], body, rule)
    assert isinstance(made, Node)
    return made


def _t(x: Node) -> Node:
    return matrix_transpose(x)


def _identity_like(x: Node) -> Node:
    return ew.cast(ew.eq(indices(x.shape, x.rank - 2), indices(x.shape, x.rank - 1)), x.dtype)


def _halved(x: Node) -> Node:
    """The lower triangle with half its diagonal."""
    return triangle(x, True) - x * _identity_like(x) * 0.5


def _spread(v: Node, shape: Sequence[int]) -> Node:
    """A value per matrix, repeated over the matrix."""
    v = reshape(v, tuple(shape[:-2]))
    return broadcast(v, tuple(shape), tuple(range(len(shape) - 2)))


class _Square(Linalg):
    """Base: a square matrix in, one like it out."""

    def complete(self, s: Shapes) -> None:
        """Square matrices (..., n, n); the output has the data's shape."""
        s.all_alike((0,), (0,))
        if s.ins[0] is not None and len(s.ins[0]) > 1:
            square(s.ins[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        matrices_only(self, *inputs)
        made = custom_grad(inputs, self.value, lambda ins, outs, cts: [self.pullback(ins[0], outs[0], cts[0])])
        assert isinstance(made, Node)
        return made

    def value(self, a: Node) -> Node:
        raise NotImplementedError

    def pullback(self, a: Node, y: Node, ct: Node) -> Node:
        raise NotImplementedError


class _Cholesky(_Square):
    """Base: of a lower triangle; where it is not `lower`, of the transpose of the upper one."""

    lower: bool = True
    #: whether the result is a triangle, too
    factor: ClassVar[bool]

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        if self.lower:
            return super().build(ctx, *inputs)
        matrices_only(self, *inputs)
        made = super().build(ctx, _t(inputs[0]))
        return _t(made) if self.factor else made


@operator("_linalg_potrf", inputs="A", aliases="linalg_potrf", hint="potrf")
class Potrf(_Cholesky):
    """The Cholesky factor L of A = L L^T (`lower`), or U of A = U^T U; the gradient is symmetric."""

    factor: ClassVar[bool] = True
    lower: bool = True

    def value(self, a: Node) -> Node:
        return _call("cholesky", a)

    def pullback(self, a: Node, y: Node, ct: Node) -> Node:
        inner = _halved(dot(y, triangle(ct, True), ta=True))
        left = solve(y, inner, True, True)
        full = _t(solve(y, _t(left), True, True))
        return (full + _t(full)) * 0.5


@operator("_linalg_potri", inputs="A", aliases="linalg_potri", hint="potri")
class Potri(_Cholesky):
    """(L L^T)^-1 from the Cholesky factor L (`lower`), or (U^T U)^-1 from U."""

    factor: ClassVar[bool] = False
    lower: bool = True

    def value(self, a: Node) -> Node:
        inverse = solve(a, _identity_like(a), True, False)
        return dot(inverse, inverse, ta=True)

    def pullback(self, a: Node, y: Node, ct: Node) -> Node:
        # d(A^-1) with A = L L^T: -A^-1 (dL L^T + L dL^T) A^-1, and A^-1 L = L^-T
        both = dot(y, ct + _t(ct))
        inverse = solve(a, _identity_like(a), True, True)
        return triangle(-dot(both, inverse), True)


@operator("_linalg_inverse", inputs="A", aliases="linalg_inverse", hint="inverse")
class Inverse(Linalg):
    """A^-1."""

    def complete(self, s: Shapes) -> None:
        """Square matrices (..., n, n); the output has the data's shape."""
        if s.ins[0] is not None:
            square(s.ins[0])
            s.set_out(0, s.ins[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        matrices_only(self, *inputs)
        return inverse(inputs[0])


@operator("_linalg_trsm", inputs="A B", aliases="linalg_trsm", hint="trsm")
class Trsm(Linalg):
    """X of op(A) X = alpha B, or of X op(A) = alpha B with `rightside`, reading the named triangle of A only."""

    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0

    def complete(self, s: Shapes) -> None:
        """A (..., n, n) with B (..., n, m), or (..., m, n) for rightside; the output has B's shape."""
        complete_triangular(s, self.rightside)

    def _solve(self, a: Node, b: Node, transposed: bool) -> Node:
        if self.rightside:
            return _t(solve(a, _t(b), self.lower, not transposed))
        return solve(a, b, self.lower, transposed)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        matrices_only(self, *inputs)

        def body(a: Node, b: Node) -> Node:
            return scaled(self._solve(a, b, self.transpose), self.alpha)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            a, x = ins[0], outs[0]
            g = self._solve(a, cts[0], not self.transpose)
            # gradient of op(A), then of A
            da = dot(x, g, ta=True) if self.rightside else dot(g, x, tb=True)
            da = _t(da) if self.transpose else da
            return [triangle(-da, self.lower), scaled(g, self.alpha)]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, Node)
        return made


def _per_matrix(s: Shapes, outputs: int) -> None:
    a = s.ins[0]
    if a is not None:
        square(a)
        for at in range(outputs):
            s.set_out(at, a[:-2] or (1,))


class _Determinant(Linalg):
    def _parts(self, a: Node) -> tuple[Node, Node]:
        """Sign and log |det| of every matrix."""
        types = [TensorType(a.dtype, a.shape[:-2] or (1,))] * 2
        made = host_call("linalg.slogdet", [a], types)
        assert isinstance(made, list)
        return made[0], made[1]

    @staticmethod
    def _turned_inverse(a: Node) -> Node:
        """A^-T; a matrix without an inverse has, as in MXNet, no gradient of its determinant."""
        return _t(inverse(a, "inverse_or_zero"))


@operator("_linalg_det", inputs="A", aliases="linalg_det", hint="det", outputs="output0")
class Det(_Determinant):
    """The determinant."""

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives (...), at least (1,)."""
        _per_matrix(s, 1)

    def complete_types(self, t: Types) -> None:
        t.set_out(0, t.ins[0])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        matrices_only(self, *inputs)

        def body(a: Node) -> Node:
            sign, value = self._parts(a)
            return sign * ew.exp(value)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            return [_spread(cts[0] * outs[0], ins[0].shape) * self._turned_inverse(ins[0])]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, Node)
        return made


@operator("_linalg_slogdet", inputs="A", aliases="linalg_slogdet", hint="slogdet", outputs="output0 output1")
class Slogdet(_Determinant):
    """The determinant's sign, which has no gradient, and the logarithm of its absolute value."""

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives sign and logarithm of shape (...), at least (1,)."""
        _per_matrix(s, 2)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        matrices_only(self, *inputs)

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            return [_spread(cts[1], ins[0].shape) * self._turned_inverse(ins[0])]

        made = custom_grad(inputs, lambda a: list(self._parts(a)), rule)
        assert isinstance(made, list)
        return made


@operator("_linalg_gelqf", inputs="A", aliases="linalg_gelqf", hint="gelqf", outputs="output0 output1")
class Gelqf(Linalg):
    """A = L Q for a matrix with no more rows than columns: Q (orthonormal rows) and L (lower)."""

    def complete(self, s: Shapes) -> None:
        """(..., m, n) with m <= n gives Q (..., m, n) and L (..., m, m)."""
        a = s.ins[0]
        if a is None:
            return
        if len(a) < 2 or (a[-1] and a[-2] > a[-1]):
            raise ShapeError(f"a matrix with no more rows than columns is needed, not {a}")
        s.set_out(0, a)
        s.set_out(1, (*a[:-1], a[-2]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        a = inputs[0]
        matrices_only(self, a)
        types = [a.tensor, a.tensor.with_shape((*a.shape[:-1], a.shape[-2]))]

        def body(a: Node) -> Sequence[Node]:
            made = host_call("linalg.lq", [a], types)
            assert isinstance(made, list)
            return made

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            q, low = outs
            dq, dlow = cts
            m = dot(low, dlow, ta=True) - dot(dq, q, tb=True)
            symmetric = triangle(m, True) + _t(triangle(m, True, strict=True))
            return [solve(low, dq + dot(symmetric, q), True, True)]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, list)
        return made


@operator("_linalg_syevd", inputs="A", aliases="linalg_syevd", hint="syevd", outputs="output0 output1")
class Syevd(Linalg):
    """A = U^T diag(values) U of a symmetric matrix: U (rows are eigenvectors), ascending values."""

    def complete(self, s: Shapes) -> None:
        """(..., n, n) gives U (..., n, n) and L (..., n)."""
        a = s.ins[0]
        if a is not None:
            square(a)
            s.set_out(0, a)
            s.set_out(1, a[:-1])

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        a = inputs[0]
        matrices_only(self, a)
        types = [a.tensor, a.tensor.with_shape(a.shape[:-1])]

        def body(a: Node) -> Sequence[Node]:
            made = host_call("linalg.eigh", [a], types)
            assert isinstance(made, list)
            return made

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            u, values = outs
            du, dvalues = cts
            rank = u.rank
            column = broadcast(values, u.shape, (*range(rank - 2), rank - 1))
            row = broadcast(values, u.shape, tuple(range(rank - 1)))
            gap = row - column
            diagonal = ew.eq(indices(u.shape, rank - 2), indices(u.shape, rank - 1))
            mixed = dot(du, u, tb=True)
            divisor = ew.select(diagonal, ew.const(0.5, u.dtype), gap) * 2.0
            weighted = ew.select(diagonal, 0.0, (mixed - _t(mixed)) / divisor)
            along = broadcast(dvalues, u.shape, tuple(range(rank - 1)))
            inner = ew.select(diagonal, along, weighted)
            return [dot(dot(u, inner, ta=True), u)]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, list)
        return made
