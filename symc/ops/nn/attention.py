"""Products of multi-head attention over interleaved projections: (T, N, heads * k * size) holds k matrices per head."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from symc.ir.op import Node
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import reshape, slice_, transpose
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, operator
from symc.ops.shared.layers import refuse


def _heads(x: Node, heads: int, kinds: int, kind: int) -> Node:
    """One of the interleaved matrices, as (N * heads, T, size)."""
    steps, batch, width = x.shape
    size = width // (heads * kinds)
    parts = reshape(x, (steps, batch, heads, kinds, size))
    one = slice_(parts, (0, 0, 0, kind, 0), (steps, batch, heads, kind + 1, size), (1,) * 5)
    return reshape(transpose(reshape(one, (steps, batch, heads, size)), (1, 2, 0, 3)), (batch * heads, steps, size))


def _joined(x: Node, heads: int) -> Node:
    """(N * heads, T, size) as (T, N, heads * size)."""
    rows, steps, size = x.shape
    apart = reshape(x, (rows // heads, heads, steps, size))
    return reshape(transpose(apart, (2, 0, 1, 3)), (steps, rows // heads, heads * size))


class _Attention(Operator):
    only_types: ClassVar[tuple[str, ...]] = ("float32",)

    heads: int

    def check(self) -> None:
        if self.heads < 1:
            raise refuse(self, f"heads={self.heads} must be at least 1")

    def three(self, s: Shapes) -> bool:
        """Whether all inputs are known; ShapeError unless they have three axes."""
        for at, shape in enumerate(s.ins):
            if shape is not None and len(shape) != 3:
                raise ShapeError(f"input {at} must have 3 axes, not {shape}")
        return all(shape is not None for shape in s.ins)

    def width(self, shape: tuple[int, ...] | None, kinds: int) -> int:
        assert shape is not None
        if shape[2] % (self.heads * kinds):
            raise ShapeError(f"{self.heads} heads of {kinds} projections do not divide {shape}")
        return shape[2] // kinds


@operator("_contrib_interleaved_matmul_selfatt_qk", inputs="queries_keys_values", hint="interleaved_matmul_selfatt_qk")
class SelfAttentionScores(_Attention):
    """q k^T / sqrt(size) per head, from (T, N, heads * 3 * size): (N * heads, T, T)."""

    heads: int

    def complete(self, s: Shapes) -> None:
        """(T, N, heads * 3 * size) gives (N * heads, T, T)."""
        if self.three(s):
            x = s.ins[0]
            assert x is not None
            self.width(x, 3)
            s.set_out(0, (self.heads * x[1], x[0], x[0]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        q, k = (_heads(inputs[0], self.heads, 3, at) for at in (0, 1))
        return dot(q * (1.0 / sqrt(q.shape[2])), k, tb=True)


@operator(
    "_contrib_interleaved_matmul_selfatt_valatt",
    inputs="queries_keys_values attention",
    hint="interleaved_matmul_selfatt_valatt",
)
class SelfAttentionValues(_Attention):
    """attention . v per head: (T, N, heads * size)."""

    heads: int

    def complete(self, s: Shapes) -> None:
        """(T, N, heads * 3 * size) and (N * heads, T, T) give (T, N, heads * size)."""
        x = s.ins[0]
        self.three(s)
        if x is not None:
            s.set_in(1, (self.heads * x[1], x[0], x[0]))
            s.set_out(0, (x[0], x[1], self.width(x, 3)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return _joined(dot(inputs[1], _heads(inputs[0], self.heads, 3, 2)), self.heads)


@operator("_contrib_interleaved_matmul_encdec_qk", inputs="queries keys_values", hint="interleaved_matmul_encdec_qk")
class EncDecScores(_Attention):
    """q k^T / sqrt(size) per head, from queries (Tq, N, heads * size) and (Tk, N, heads * 2 * size)."""

    heads: int

    def complete(self, s: Shapes) -> None:
        """(Tq, N, heads * size) and (Tk, N, heads * 2 * size) give (N * heads, Tq, Tk)."""
        if self.three(s):
            q, kv = s.ins
            assert q is not None and kv is not None
            if all(q) and all(kv) and (q[1] != kv[1] or self.width(kv, 2) != q[2]):
                raise ShapeError(f"queries {q} do not fit keys_values {kv}")
            s.set_out(0, (self.heads * q[1], q[0], kv[0]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        q, k = _heads(inputs[0], self.heads, 1, 0), _heads(inputs[1], self.heads, 2, 0)
        return dot(q * (1.0 / sqrt(q.shape[2])), k, tb=True)


@operator(
    "_contrib_interleaved_matmul_encdec_valatt",
    inputs="keys_values attention",
    hint="interleaved_matmul_encdec_valatt",
)
class EncDecValues(_Attention):
    """attention (N * heads, Tq, Tk) . v per head: (Tq, N, heads * size)."""

    heads: int

    def complete(self, s: Shapes) -> None:
        """(Tk, N, heads * 2 * size) and (N * heads, Tq, Tk) give (Tq, N, heads * size)."""
        if self.three(s):
            kv, a = s.ins
            assert kv is not None and a is not None
            s.set_in(1, (self.heads * kv[1], 0, kv[0]))
            s.set_out(0, (a[1], kv[1], self.width(kv, 2)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return _joined(dot(inputs[1], _heads(inputs[0], self.heads, 2, 1)), self.heads)
