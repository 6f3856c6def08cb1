"""Carried values of loops whose turns are taken at once: partial results, and folding them."""

from __future__ import annotations

from collections.abc import Sequence

from symc.codegen.emit.lanes import Lane, Val, mask_text
from symc.codegen.emit.operations import Operations
from symc.codegen.emit.text import Lines, literal, type_name
from symc.codegen.target import Target
from symc.ir.errors import IRError
from symc.ir.loop.nodes import Carry
from symc.ir.op import Primitive
from symc.ir.types import DType


def combination(carry: Carry) -> tuple[Primitive, float | int | bool]:
    """The operation that a carry's partial results are combined by, and its neutral value."""
    start = carry.combine.neutral(carry.init.dtype) if carry.combine is not None else None
    if carry.combine is None or start is None:
        raise IRError(f"the turns of a loop that carries %{carry.name} cannot be taken at once: it combines nothing")
    return carry.combine, start


def masked_out(lines: Lines, part: str, lane: Lane, at: int, dtype: DType, value: float) -> str:
    """A register with a value in the lanes that are not in use."""
    t, mask = type_name(dtype, lane.width), mask_text(lane, at)
    return lines.value(
        f"select <{lane.width} x i1> {mask}, {t} {part}, {t} splat ({type_name(dtype)} {literal(value, dtype)})"
    )


def folded(ops: Operations, op: Primitive, parts: list[str], dtype: DType, lanes: int) -> str:
    while len(parts) > 1:
        paired = [ops.apply(op, [dtype, dtype], [a, b], dtype, lanes) for a, b in zip(parts[::2], parts[1::2])]
        parts = paired + parts[len(paired) * 2 :]
    return parts[0]


def across(ops: Operations, op: Primitive, vector: str, dtype: DType, width: int) -> str:
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
    if not whole or not target.registers <= 2 * len(held) < 2 * target.registers or not target.register:
        return
    uses = ",".join([target.register] * len(held))
    operands = ", ".join(f"{type_name(v.dtype, v.lanes)} {item}" for v, item in held)
    lines.do(f'call void asm sideeffect "", "{uses},~{{memory}}"({operands})')
