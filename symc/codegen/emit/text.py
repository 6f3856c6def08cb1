"""Writing LLVM IR text: lines, fresh names, types and literals."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from symc.ir.types import DType

#: element types in registers; in memory i1 is a byte
LLVM_TYPES = {
    "f16": "half", "f32": "float", "f64": "double", "i8": "i8", "u8": "i8",
    "i32": "i32", "u32": "i32", "i64": "i64", "u64": "i64", "i1": "i1",
}  # fmt: skip


def type_name(dtype: DType, lanes: int = 0) -> str:
    """`float`, or `<8 x float>` for 8 lanes."""
    base = LLVM_TYPES[dtype.name]
    return f"<{lanes} x {base}>" if lanes else base


def suffix(dtype: DType, lanes: int = 0) -> str:
    """As intrinsics spell a type: `f32`, `v8f32`, `v8i64`."""
    base = {"half": "f16", "float": "f32", "double": "f64"}.get(LLVM_TYPES[dtype.name], LLVM_TYPES[dtype.name])
    return f"v{lanes}{base}" if lanes else base


def literal(value: Any, dtype: DType) -> str:
    """A constant operand, exactly."""
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind in "iu":
        wrapped = int(value) & ((1 << 8 * dtype.itemsize) - 1)
        return str(wrapped - (1 << 8 * dtype.itemsize) if wrapped >> (8 * dtype.itemsize - 1) else wrapped)
    with np.errstate(over="ignore"):
        rounded = np.asarray(value, dtype.numpy)
    if dtype.name == "f16":
        return f"0xH{int(rounded.view(np.uint16)):04X}"
    return f"0x{struct.unpack('<Q', struct.pack('<d', float(rounded)))[0]:016X}"


class Lines:
    """The body of one function while it is written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0
        #: `declare` and `define` texts of what the body calls, in order
        self.externals: dict[str, str] = {}

    def name(self, stem: str = "v") -> str:
        self._count += 1
        return f"%{stem}{self._count}"

    def value(self, right: str) -> str:
        """A new value defined by the right-hand side."""
        name = self.name()
        self.lines.append(f"  {name} = {right}")
        return name

    def do(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def label(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def block(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def intrinsic(self, name: str, result: str, args: list[str]) -> str:
        """Call an intrinsic; `args` are typed operands."""
        types = ", ".join(_type_of(a) for a in args)
        self.externals.setdefault(name, f"declare {result} @{name}({types})")
        return f"call {result} @{name}({', '.join(args)})"


def _type_of(operand: str) -> str:
    """The type of a typed operand `<8 x float> %v` or `i32 4`."""
    return operand[: operand.index(">") + 1] if operand.startswith("<") else operand.split(" ", 1)[0]


def splat(lines: Lines, value: str, dtype: DType, lanes: int) -> str:
    """A scalar in every lane."""
    if not value.startswith("%"):
        return f"splat ({type_name(dtype)} {value})"
    wide, one = type_name(dtype, lanes), type_name(dtype)
    first = lines.value(f"insertelement {wide} poison, {one} {value}, i64 0")
    return lines.value(f"shufflevector {wide} {first}, {wide} poison, <{lanes} x i32> zeroinitializer")
