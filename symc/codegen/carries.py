"""Carried values as reductions: which operation combines a carry's partial results, and folding them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symc.codegen.lanes import Val
from symc.codegen.operations import Operations
from symc.codegen.target import Target, is_x86
from symc.codegen.text import Lines, type_name
from symc.ir.loops import Carry, For, Let
from symc.ir.prims import elementwise as ew
from symc.ir.prims.elementwise import Elementwise
from symc.ir.types import BOOL, DType


def reduction_of(loop: For, carry: Carry) -> Elementwise:
    """The operation that combines partial results of a carry: the one that makes its yielded value."""
    made = _maker(loop, carry.yields.name)
    if made is not None and made.op.name == "select":
        made = _maker(loop, made.args[1].name)  # a guarded turn keeps the carry where it does not apply
    inner = next((s for s in loop.body if isinstance(s, For) for c in s.carries if c.result == carry.yields.name), None)
    if inner is not None:
        return reduction_of(inner, next(c for c in inner.carries if c.result == carry.yields.name))
    if made is None or made.op.name not in ("add", "fma", "mul", "maximum", "minimum", "or", "and"):
        raise NotImplementedError(f"loop over {loop.var}: the carry {carry.name} is no reduction")
    return ew.add if made.op.name == "fma" or not isinstance(made.op, ew.Elementwise) else made.op


def _maker(loop: For, name: str) -> Let | None:
    """The statement of a loop's body that computes a value."""
    return next((s for s in loop.body if isinstance(s, Let) and s.name == name), None)


def identity(op: str, dtype: DType) -> float | int | bool:
    """The neutral element of a reduction."""
    if op in ("add", "or"):
        # -0.0 is the only float x with x + y == y for every y, zeros included
        return -0.0 if dtype.is_float else (False if dtype == BOOL else 0)
    if op in ("mul", "and"):
        return True if dtype == BOOL else 1 if op == "mul" else -1
    if dtype.is_float:
        return float("-inf") if op == "maximum" else float("inf")
    if dtype == BOOL:
        return op == "minimum"
    info = np.iinfo(dtype.numpy)
    return int(info.min if op == "maximum" else info.max)


def folded(ops: Operations, op: Elementwise, parts: list[str], dtype: DType, lanes: int) -> str:
    while len(parts) > 1:
        paired = [ops.apply(op, [dtype, dtype], [a, b], dtype, lanes) for a, b in zip(parts[::2], parts[1::2])]
        parts = paired + parts[len(paired) * 2 :]
    return parts[0]


def across(ops: Operations, op: Elementwise, vector: str, dtype: DType, width: int) -> str:
    """Fold a vector's lanes by halves."""
    while width > 1:
        half, t = width // 2, type_name(dtype, width)
        low = ", ".join(f"i32 {i}" for i in range(half))
        high = ", ".join(f"i32 {i}" for i in range(half, width))
        a = ops.lines.value(f"shufflevector {t} {vector}, {t} poison, <{half} x i32> <{low}>")
        b = ops.lines.value(f"shufflevector {t} {vector}, {t} poison, <{half} x i32> <{high}>")
        if half == 1:
            a = ops.lines.value(f"extractelement <1 x {type_name(dtype)}> {a}, i64 0")
            b = ops.lines.value(f"extractelement <1 x {type_name(dtype)}> {b}, i64 0")
        vector = ops.apply(op, [dtype, dtype], [a, b], dtype, half if half > 1 else 0)
        width = half
    return vector


def settle(lines: Lines, target: Target, values: Sequence[Val]) -> None:
    """Finish the turn of a register tile before the next one begins. Neighbouring taps of a window read the same
    elements: kept for each other, they would take the registers that the accumulators need."""
    held = [(v, item) for v in values for item in v.items.values()]
    whole = all(v.dtype.is_float and 16 <= v.lanes * v.dtype.itemsize <= target.vector_bytes for v in values)
    if not whole or not target.registers <= 2 * len(held) < 2 * target.registers or not is_x86():
        return
    uses = ",".join(["v" if target.vector_bytes == 64 else "x"] * len(held))
    operands = ", ".join(f"{type_name(v.dtype, v.lanes)} {item}" for v, item in held)
    lines.do(f'call void asm sideeffect "", "{uses},~{{memory}}"({operands})')
