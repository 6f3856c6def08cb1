"""The first lanes of a register, stored without a mask: some processors take a dozen cycles for a masked store."""

from __future__ import annotations

from symc.codegen.emit.text import Lines, type_name
from symc.ir.types import DType


def store_first(lines: Lines, pointer: str, value: str, dtype: DType, width: int, used: int) -> None:
    """Store lanes 0 to `used` of `width`, in pieces of a power of two."""
    t, first = type_name(dtype, width), 0
    while first < used:
        size = 1 << (used - first).bit_length() - 1
        at = lines.value(f"getelementptr i8, ptr {pointer}, i64 {first * dtype.itemsize}") if first else pointer
        if size == 1:
            part = lines.value(f"extractelement {t} {value}, i64 {first}")
        else:
            order = ", ".join(f"i32 {first + i}" for i in range(size))
            part = lines.value(f"shufflevector {t} {value}, {t} poison, <{size} x i32> <{order}>")
        lines.do(f"store {type_name(dtype, size if size > 1 else 0)} {part}, ptr {at}, align {dtype.itemsize}")
        first += size
