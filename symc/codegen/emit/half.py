"""Half precision without the instructions for it (F16C): conversions by integer arithmetic.

LLVM would call functions of the compiler's support library, which are not linked. Both directions are exact as IEEE 754
defines them: round to nearest, ties to even; denormals, infinities and the sign of zero are kept, and a nan stays a nan
with the upper bits of its payload.
"""

from __future__ import annotations

from symc.codegen.emit.text import Lines, literal, type_name
from symc.ir.types import BOOL, F16, F32, I32, DType


class _Bits:
    """Integer operations on lanes of i32."""

    def __init__(self, lines: Lines, lanes: int) -> None:
        self.v, self.lanes = lines.value, lanes
        self.int, self.bool = type_name(I32, lanes), type_name(BOOL, lanes)
        self.float, self.half = type_name(F32, lanes), type_name(F16, lanes)
        self.short = f"<{lanes} x i16>" if lanes else "i16"

    def number(self, value: float, dtype: DType = I32) -> str:
        text = literal(value, dtype)
        return f"splat ({type_name(dtype)} {text})" if self.lanes else text

    def do(self, word: str, x: str, y: str | int) -> str:
        return self.v(f"{word} {self.int} {x}, {self.number(y) if isinstance(y, int) else y}")

    def pick(self, condition: str, x: str, y: str | int) -> str:
        other = self.number(y) if isinstance(y, int) else y
        return self.v(f"select {self.bool} {condition}, {self.int} {x}, {self.int} {other}")


def to_float(lines: Lines, x: str, lanes: int) -> str:
    """f16 as f32: exact."""
    b = _Bits(lines, lanes)
    short = b.v(f"bitcast {b.half} {x} to {b.short}")
    bits = b.v(f"zext {b.short} {short} to {b.int}")
    sign = b.do("shl", b.do("and", bits, 0x8000), 16)
    size = b.do("and", bits, 0x7FFF)
    moved = b.do("shl", size, 13)
    normal = b.do("add", moved, (127 - 15) << 23)
    # infinity and nan have the largest exponent of either type; a nan is made quiet
    special = b.do("or", moved, 0x7F800000)
    quiet = b.do("or", special, 0x00400000)
    special = b.pick(b.do("icmp ugt", size, 0x7C00), quiet, special)
    # a denormal is its bits as a whole number, times 2^-24
    whole = b.v(f"sitofp {b.int} {size} to {b.float}")
    small = b.v(f"fmul {b.float} {whole}, {b.number(2.0**-24, F32)}")
    small = b.v(f"bitcast {b.float} {small} to {b.int}")
    found = b.pick(b.do("icmp ult", size, 0x0400), small, normal)
    found = b.pick(b.do("icmp uge", size, 0x7C00), special, found)
    return b.v(f"bitcast {b.int} {b.do('or', found, sign)} to {b.float}")


def from_float(lines: Lines, x: str, lanes: int) -> str:
    """f32 as f16: rounded to nearest, ties to even."""
    b = _Bits(lines, lanes)
    bits = b.v(f"bitcast {b.float} {x} to {b.int}")
    sign = b.do("and", b.do("lshr", bits, 16), 0x8000)
    size = b.do("and", bits, 0x7FFFFFFF)
    # half of the last place kept, less one where the place is even, carries into it
    odd = b.do("and", b.do("lshr", size, 13), 1)
    normal = b.do("sub", size, (127 - 15) << 23)
    normal = b.do("lshr", b.do("add", b.do("add", normal, 0xFFF), odd), 13)
    # the last place of 0.5 is 2^-24, the smallest half: adding 0.5 rounds to denormals
    small = b.v(f"bitcast {b.int} {size} to {b.float}")
    small = b.v(f"fadd {b.float} {small}, {b.number(0.5, F32)}")
    small = b.do("sub", b.v(f"bitcast {b.float} {small} to {b.int}"), 0x3F000000)
    found = b.pick(b.do("icmp ult", size, 0x38800000), small, normal)
    # from 65520 on, what is nearest is infinity
    below = b.do("icmp ult", size, 0x477FF000)
    found = b.pick(below, found, 0x7C00)
    payload = b.do("and", b.do("lshr", size, 13), 0x03FF)
    nan = b.do("or", payload, 0x7E00)
    found = b.pick(b.do("icmp ugt", size, 0x7F800000), nan, found)
    short = b.v(f"trunc {b.int} {b.do('or', found, sign)} to {b.short}")
    return b.v(f"bitcast {b.short} {short} to {b.half}")
