"""A small language for writing vector math functions: values with arithmetic that append LLVM IR to a function."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LLVM = {"f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "i128": "i128", "i1": "i1"}
SIZES = {"f32": 32, "i32": 32, "f64": 64, "i64": 64, "i128": 128}
#: stored mantissa bits and exponent bias
MANTISSA = {"f32": 23, "f64": 52}
BIAS = {"f32": 127, "f64": 1023}


@dataclass(frozen=True)
class Features:
    """What the target has: fused multiply-add; rounding instructions (SSE 4.1). LLVM would call libm without."""

    fma: bool = True
    round: bool = True


class Value:
    """A value of the function being written: a register or a constant, scalar or vector."""

    __slots__ = ("code", "name", "dtype")

    def __init__(self, code: Code, name: str, dtype: str) -> None:
        self.code, self.name, self.dtype = code, name, dtype

    def _binary(self, op: str, other: Value | float, swap: bool = False) -> Value:
        o = self.code.lift(other, self.dtype)
        a, b = (o, self) if swap else (self, o)
        prefix = "f" if self.dtype in MANTISSA else ""
        return self.code.emit(f"{prefix}{op} {self.code.type(self.dtype)} {a.name}, {b.name}", self.dtype)

    def __add__(self, o: Value | float) -> Value:
        return self._binary("add", o)

    __radd__ = __add__

    def __sub__(self, o: Value | float) -> Value:
        return self._binary("sub", o)

    def __rsub__(self, o: Value | float) -> Value:
        return self._binary("sub", o, True)

    def __mul__(self, o: Value | float) -> Value:
        return self._binary("mul", o)

    __rmul__ = __mul__

    def __truediv__(self, o: Value | float) -> Value:
        return self._binary("div", o)

    def __rtruediv__(self, o: Value | float) -> Value:
        return self._binary("div", o, True)

    def __neg__(self) -> Value:
        return self.code.emit(f"fneg {self.code.type(self.dtype)} {self.name}", self.dtype)

    def _integer(self, op: str, o: Value | int) -> Value:
        other = self.code.lift(o, self.dtype)
        return self.code.emit(f"{op} {self.code.type(self.dtype)} {self.name}, {other.name}", self.dtype)

    def __and__(self, o: Value | int) -> Value:
        return self._integer("and", o)

    def __or__(self, o: Value | int) -> Value:
        return self._integer("or", o)

    def __xor__(self, o: Value | int) -> Value:
        return self._integer("xor", o)

    def __lshift__(self, o: Value | int) -> Value:
        return self._integer("shl", o)

    def __rshift__(self, o: Value | int) -> Value:
        """Logical shift: AVX2 has no arithmetic one of 64 bits."""
        return self._integer("lshr", o)

    def cmp(self, word: str, o: Value | float) -> Value:
        """A comparison by LLVM's word: `olt`, `une`... for floats, `eq`, `slt`... for integers."""
        kind = "fcmp" if self.dtype in MANTISSA else "icmp"
        other = self.code.lift(o, self.dtype)
        return self.code.emit(f"{kind} {word} {self.code.type(self.dtype)} {self.name}, {other.name}", "i1")

    def __lt__(self, o: Value | float) -> Value:
        return self.cmp("olt", o)

    def __le__(self, o: Value | float) -> Value:
        return self.cmp("ole", o)

    def __gt__(self, o: Value | float) -> Value:
        return self.cmp("ogt", o)

    def __ge__(self, o: Value | float) -> Value:
        return self.cmp("oge", o)

    def equals(self, o: Value | float) -> Value:
        return self.cmp("oeq" if self.dtype in MANTISSA else "eq", o)

    def is_nan(self) -> Value:
        return self.cmp("uno", self)

    def is_finite(self) -> Value:
        return self.code.abs(self) < float("inf")

    def negative(self) -> Value:
        """The sign bit is set: true for -0 and for a negative nan."""
        return self.bits().cmp("slt", 0)

    def invert(self) -> Value:
        """The opposite of a condition."""
        return self._integer("xor", 1)

    def pick(self, a: Value | float, b: Value | float) -> Value:
        """self ? a : b; at least one is a Value."""
        dtype = a.dtype if isinstance(a, Value) else b.dtype if isinstance(b, Value) else self.code.dtype
        t = self.code.type(dtype)
        x, y = self.code.lift(a, dtype), self.code.lift(b, dtype)
        return self.code.emit(f"select {self.code.type('i1')} {self.name}, {t} {x.name}, {t} {y.name}", dtype)

    def _convert(self, word: str, to: str) -> Value:
        return self.code.emit(f"{word} {self.code.type(self.dtype)} {self.name} to {self.code.type(to)}", to)

    def bits(self) -> Value:
        """The bit pattern, as an integer of the same size."""
        return self._convert("bitcast", "i32" if self.dtype == "f32" else "i64")

    def as_float(self) -> Value:
        """The float of a bit pattern."""
        return self._convert("bitcast", "f32" if self.dtype == "i32" else "f64")

    def to(self, dtype: str) -> Value:
        """Conversion between the float types, or integers' truncation and zero extension."""
        if dtype == self.dtype:
            return self
        prefix = "fp" if self.dtype in MANTISSA else ""
        grows = SIZES[dtype] > SIZES[self.dtype]
        return self._convert(prefix + (("ext" if prefix else "zext") if grows else "trunc"), dtype)

    def to_double(self) -> Value:
        """An i64 as f64."""
        return self._convert("sitofp", "f64")


class Code:
    """The body of one function; definitions and declarations it depends on go to `needs`, by a key each."""

    def __init__(self, dtype: str, width: int, features: Features, needs: dict[str, str]) -> None:
        self.dtype, self.width, self.features, self.needs = dtype, width, features, needs
        self.lines: list[str] = []
        self._block = "entry"
        self._count = 0

    def type(self, dtype: str) -> str:
        return f"<{self.width} x {LLVM[dtype]}>" if self.width > 1 else LLVM[dtype]

    def emit(self, right: str, dtype: str) -> Value:
        """A new value, by the right-hand side of its instruction."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {right}")
        return Value(self, name, dtype)

    def constant(self, value: float, dtype: str) -> str:
        """A scalar literal."""
        if dtype == "i1":
            return "true" if value else "false"
        if dtype not in MANTISSA:
            return str(int(value))
        rounded = float(np.float32(value)) if dtype == "f32" else float(value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"

    def lift(self, value: Value | float, dtype: str = "") -> Value:
        """`value`, or a constant in all lanes."""
        if isinstance(value, Value):
            return value
        dtype = dtype or self.dtype
        text = self.constant(value, dtype)
        return Value(self, f"splat ({LLVM[dtype]} {text})" if self.width > 1 else text, dtype)

    def intrinsic(self, name: str, *args: Value) -> Value:
        """`llvm.name` on operands of one type, which it returns."""
        dtype = args[0].dtype
        t = self.type(dtype)
        full = f"llvm.{name}.{f'v{self.width}' if self.width > 1 else ''}{dtype}"
        self.needs.setdefault(full, f"declare {t} @{full}({', '.join(t for _ in args)})")
        return self.emit(f"call {t} @{full}({', '.join(f'{t} {a.name}' for a in args)})", dtype)

    def call(self, name: str, *args: Value) -> Value:
        """Another function of the library, at the type of the operands."""
        dtype = args[0].dtype
        define(name, dtype, self.width, self.features, self.needs)
        t = self.type(dtype)
        operands = ", ".join(f"{t} {a.name}" for a in args)
        return self.emit(f"call {t} {symbol(name, dtype, self.width)}({operands})", dtype)

    def rare(self, condition: Value, usual: Sequence[Value], unusual: Callable[[], Sequence[Value]]) -> list[Value]:
        """`unusual()` if `condition` holds in any lane, else `usual`: a branch, for work hardly ever needed."""
        some = condition
        if self.width > 1:
            packed = self.emit(f"bitcast <{self.width} x i1> {condition.name} to i{self.width}", "i1")
            some = self.emit(f"icmp ne i{self.width} {packed.name}, 0", "i1")
        self._count += 1
        label, before = self._count, self._block
        self.lines += [f"  br i1 {some.name}, label %rare{label}, label %go{label}", f"rare{label}:"]
        others = unusual()
        self.lines += [f"  br label %go{label}", f"go{label}:"]
        self._block = f"go{label}"
        return [
            self.emit(f"phi {self.type(u.dtype)} [ {u.name}, %{before} ], [ {o.name}, %rare{label} ]", u.dtype)
            for u, o in zip(usual, others)
        ]

    def text(self, key: str, result: str, value: str, parameters: str, inline: bool = True) -> str:
        """The finished function."""
        # Short bodies are worth having inside the loops; long ones once per module.
        hint = "alwaysinline" if inline and len(self.lines) <= 64 else "noinline"
        attributes = f"{hint} nounwind willreturn memory(none)"
        body = "\n".join(self.lines)
        head = f"define internal {result} {key}({parameters}) {attributes} {{\nentry:\n"
        return f"{head}{body}\n  ret {result} {value}\n}}"

    # -- arithmetic

    def fma(self, a: Value, b: Value | float, c: Value | float) -> Value:
        """a * b + c, with one rounding where the target can."""
        if self.features.fma:
            return self.intrinsic("fma", a, self.lift(b, a.dtype), self.lift(c, a.dtype))
        return a * b + c

    def abs(self, x: Value) -> Value:
        return self.intrinsic("fabs", x)

    def copysign(self, x: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", x, sign)

    def sqrt(self, x: Value) -> Value:
        return self.intrinsic("sqrt", x)

    def poly(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Horner's scheme, highest coefficient first."""
        total = self.lift(coefficients[0], x.dtype)
        for c in coefficients[1:]:
            total = self.fma(total, x, c)
        return total

    def at_most(self, x: Value, high: float) -> Value:
        """The smaller; nan stays. One instruction on x86."""
        return (x > high).pick(high, x)

    def at_least(self, x: Value, low: float) -> Value:
        return (x < low).pick(low, x)

    def clamp(self, x: Value, low: float, high: float) -> Value:
        return self.at_least(self.at_most(x, high), low)

    # -- sums of two doubles, and what a rounded operation lost

    def two_sum(self, a: Value, b: Value | float) -> tuple[Value, Value]:
        """(a + b rounded, the rest)."""
        b = self.lift(b, a.dtype)
        s = a + b
        shift = s - a
        return s, (a - (s - shift)) + (b - shift)

    def quick_two_sum(self, a: Value, b: Value) -> tuple[Value, Value]:
        """two_sum where |a| >= |b|."""
        s = a + b
        return s, b - (s - a)

    def two_product(self, a: Value, b: Value | float) -> tuple[Value, Value]:
        """(a * b rounded, the rest), in f64. Without fused multiply-add by splitting the factors (Dekker, 1971)."""
        b = self.lift(b, "f64")
        p = a * b
        if self.features.fma:
            return p, self.intrinsic("fma", a, b, -p)
        # Halves of 26 and 27 bits by masks: unlike multiplications, they cannot overflow. Rounding one of the two
        # leaves it a signed rest of 26 bits, so that the product of the rests is exact too.
        mask = -1 << 27
        ah, bh = ((a.bits() + (1 << 26)) & mask).as_float(), (b.bits() & mask).as_float()
        al, bl = a - ah, b - bh
        return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


Writer = Callable[..., Value]
#: what computes a function in f64, and the ones with a body of their own in f32 (all others go through f64)
FUNCTIONS: dict[str, Writer] = {}
FAST32: dict[str, Writer] = {}
ARITY = {"pow": 2, "atan2": 2, "hypot": 2, "mod": 2}


def function(name: str, *dtypes: str) -> Callable[[Writer], Writer]:
    """Register the writer of a function for the element types."""

    def register(writer: Writer) -> Writer:
        for dtype in dtypes:
            {"f32": FAST32, "f64": FUNCTIONS}[dtype][name] = writer
        return writer

    return register


def symbol(name: str, dtype: str, width: int) -> str:
    """The function's name in LLVM IR."""
    return f"@symc.{name}.{dtype}x{width}"


def define(name: str, dtype: str, width: int, features: Features, needs: dict[str, str]) -> None:
    """Add the function to `needs`, after what it depends on."""
    key = symbol(name, dtype, width)
    if key in needs:
        return
    code = Code(dtype, width, features, needs)
    args = [Value(code, f"%a{i}", dtype) for i in range(ARITY.get(name, 1))]
    if dtype == "f64":
        result = FUNCTIONS[name](code, *args)
    elif name in FAST32:
        result = FAST32[name](code, *args)
    else:
        result = code.call(name, *(a.to("f64") for a in args)).to("f32")
    t = code.type(dtype)
    needs[key] = code.text(key, t, result.name, ", ".join(f"{t} {a.name}" for a in args))
