"""Elementwise primitives as LLVM instructions, for scalars and vectors alike."""

from __future__ import annotations

from collections.abc import Callable

from symc.codegen.emit import half
from symc.codegen.emit.text import LLVM_TYPES, Lines, literal, suffix, type_name
from symc.codegen.target import Target
from symc.ir.op import Primitive
from symc.ir.prims.elementwise import Bitcast, Cast
from symc.ir.types import BOOL, F32, F64, I32, I64, DType

#: of floats (false for nan, but for ne) and of integers
_COMPARE = {
    "eq": ("oeq", "eq"),
    "ne": ("une", "ne"),
    "lt": ("olt", "lt"),
    "le": ("ole", "le"),
    "gt": ("ogt", "gt"),
    "ge": ("oge", "ge"),
}
_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul"}
#: operations that do not look at the value of a half
_MOVES = frozenset({"select", "bitcast", "cast"})
_BITWISE = {"and": "and", "or": "or", "xor": "xor"}
#: primitives whose code is a function of the vector math library
MATH = frozenset(
    "exp expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfinv sigmoid "
    "softrelu gamma gammaln digamma trigamma cbrt rsqrt floor ceil trunc round rint pow atan2 hypot mod".split()
)


class Operations:
    """Emits one operation at a time into `lines` for a target."""

    def __init__(self, lines: Lines, target: Target) -> None:
        self.lines, self.target = lines, target

    def apply(self, op: Primitive, dtypes: list[DType], args: list[str], result: DType, lanes: int) -> str:
        """The value of op(args); every operand already has `lanes` lanes (0: a scalar)."""
        name = op.name
        if not self.target.has_f16c and any(d.name == "f16" for d in dtypes) and name not in _MOVES:
            return self._by_float(op, dtypes, args, result, lanes)
        first = dtypes[0]
        t = type_name(first, lanes)
        v = self.lines.value
        if name in _ARITHMETIC:
            return v(f"{'f' if first.is_float else ''}{name} {t} {args[0]}, {args[1]}")
        if name in _COMPARE:
            ordered, plain = _COMPARE[name]
            if first.is_float:
                return v(f"fcmp {ordered} {t} {args[0]}, {args[1]}")
            signed = "" if name in ("eq", "ne") else ("s" if first.kind == "i" else "u")
            return v(f"icmp {signed}{plain} {t} {args[0]}, {args[1]}")
        if name == "fma":
            return self._fma(args, first, lanes)
        if name == "select":
            value = type_name(dtypes[1], lanes)
            return v(f"select {type_name(BOOL, lanes)} {args[0]}, {value} {args[1]}, {value} {args[2]}")
        if isinstance(op, Cast):
            return self.cast(args[0], first, op.to, lanes)
        if isinstance(op, Bitcast):
            target = type_name(op.to, lanes)
            return args[0] if target == t else v(f"bitcast {t} {args[0]} to {target}")
        if name in _BITWISE:
            return v(f"{name} {t} {args[0]}, {args[1]}")
        special: Callable[[list[str], DType, int], str] | None = getattr(self, f"_{name}", None)
        if special is not None:
            return special(args, first, lanes)
        if name in MATH:
            return self._math(name, args, first, lanes)
        raise NotImplementedError(f"no native code for {name} on {first}")

    def _by_float(self, op: Primitive, dtypes: list[DType], args: list[str], result: DType, lanes: int) -> str:
        """An operation on halves where the target has no conversions: in f32, rounded once."""
        wide = [self.cast(a, d, F32, lanes) if d.name == "f16" else a for a, d in zip(args, dtypes)]
        as_float = [F32 if d.name == "f16" else d for d in dtypes]
        made = self.apply(op, as_float, wide, F32 if result.name == "f16" else result, lanes)
        # comparisons and the like give no half
        return self.cast(made, F32, result, lanes) if result.name == "f16" else made

    # -- arithmetic

    def _zero(self, dtype: DType, lanes: int) -> str:
        return self._literal(0, dtype, lanes)

    def _literal(self, value: float, dtype: DType, lanes: int) -> str:
        text = literal(value, dtype)
        return f"splat ({type_name(dtype)} {text})" if lanes else text

    def _fma(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        if dtype.is_float and self.target.has_fma:
            call = self.lines.intrinsic(f"llvm.fma.{suffix(dtype, lanes)}", t, [f"{t} {a}" for a in args])
            return self.lines.value(call)
        f = "f" if dtype.is_float else ""
        product = self.lines.value(f"{f}mul {t} {args[0]}, {args[1]}")
        return self.lines.value(f"{f}add {t} {product}, {args[2]}")

    def _neg(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        if dtype.is_float:
            return self.lines.value(f"fneg {t} {args[0]}")
        return self.lines.value(f"sub {t} {self._zero(dtype, lanes)}, {args[0]}")

    def _abs(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        if dtype.is_float:
            return self.lines.value(self.lines.intrinsic(f"llvm.fabs.{suffix(dtype, lanes)}", t, [f"{t} {args[0]}"]))
        if dtype.kind == "u":
            return args[0]
        return self.lines.value(
            self.lines.intrinsic(f"llvm.abs.{suffix(dtype, lanes)}", t, [f"{t} {args[0]}", "i1 false"])
        )

    def _sign(self, args: list[str], dtype: DType, lanes: int) -> str:
        positive = self._select(self._compare("gt", args[0], 0, dtype, lanes), 1, 0, dtype, lanes)
        if dtype.kind == "u":
            return positive
        t = type_name(dtype, lanes)
        negative = self._compare("lt", args[0], 0, dtype, lanes)
        minus = self._literal(-1, dtype, lanes)
        return self.lines.value(f"select {type_name(BOOL, lanes)} {negative}, {t} {minus}, {t} {positive}")

    def _compare(self, name: str, x: str, value: float, dtype: DType, lanes: int) -> str:
        ordered, plain = _COMPARE[name]
        t = type_name(dtype, lanes)
        if dtype.is_float:
            return self.lines.value(f"fcmp {ordered} {t} {x}, {self._literal(value, dtype, lanes)}")
        sign = "" if name in ("eq", "ne") else ("s" if dtype.kind == "i" else "u")
        return self.lines.value(f"icmp {sign}{plain} {t} {x}, {self._literal(value, dtype, lanes)}")

    def _select(self, condition: str, a: float, b: float, dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        left, right = self._literal(a, dtype, lanes), self._literal(b, dtype, lanes)
        return self.lines.value(f"select {type_name(BOOL, lanes)} {condition}, {t} {left}, {t} {right}")

    def _relu(self, args: list[str], dtype: DType, lanes: int) -> str:
        t, b = type_name(dtype, lanes), type_name(BOOL, lanes)
        zero = self._zero(dtype, lanes)
        # 0 > x ? 0 : x keeps nan, and is one max instruction on x86
        compare = "fcmp ogt" if dtype.is_float else ("icmp sgt" if dtype.kind == "i" else "icmp ugt")
        below = self.lines.value(f"{compare} {t} {zero}, {args[0]}")
        return self.lines.value(f"select {b} {below}, {t} {zero}, {t} {args[0]}")

    def _extremum(self, args: list[str], dtype: DType, lanes: int, greater: bool) -> str:
        t, b = type_name(dtype, lanes), type_name(BOOL, lanes)
        word = "gt" if greater else "lt"
        compare = f"fcmp o{word}" if dtype.is_float else f"icmp {'s' if dtype.kind == 'i' else 'u'}{word}"
        if dtype.kind == "b":
            return self.lines.value(f"{'or' if greater else 'and'} {t} {args[0]}, {args[1]}")
        first = self.lines.value(f"{compare} {t} {args[0]}, {args[1]}")
        picked = self.lines.value(f"select {b} {first}, {t} {args[0]}, {t} {args[1]}")
        if not dtype.is_float:
            return picked
        # the comparison is false for nan, which gives the second operand: put a nan of the first back
        nan = self.lines.value(f"fcmp uno {t} {args[0]}, {args[0]}")
        return self.lines.value(f"select {b} {nan}, {t} {args[0]}, {t} {picked}")

    def _maximum(self, args: list[str], dtype: DType, lanes: int) -> str:
        return self._extremum(args, dtype, lanes, True)

    def _minimum(self, args: list[str], dtype: DType, lanes: int) -> str:
        return self._extremum(args, dtype, lanes, False)

    def _div(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        if dtype.is_float:
            return self.lines.value(f"fdiv {t} {args[0]}, {args[1]}")
        return self._guarded(args, dtype, lanes, "sdiv" if dtype.kind == "i" else "udiv")

    def _guarded(self, args: list[str], dtype: DType, lanes: int, instruction: str) -> str:
        """Integer division with 0 for a zero divisor; x / -1 wraps instead of trapping."""
        t, b = type_name(dtype, lanes), type_name(BOOL, lanes)
        zero, one = self._zero(dtype, lanes), self._literal(1, dtype, lanes)
        v = self.lines.value
        none = v(f"icmp eq {t} {args[1]}, {zero}")
        unsafe = none
        if dtype.kind == "i":
            minus = v(f"icmp eq {t} {args[1]}, {self._literal(-1, dtype, lanes)}")
            unsafe = v(f"or {b} {none}, {minus}")
        divisor = v(f"select {b} {unsafe}, {t} {one}, {t} {args[1]}")
        quotient = v(f"{instruction} {t} {args[0]}, {divisor}")
        if dtype.kind == "i" and instruction == "sdiv":
            negated = v(f"sub {t} {zero}, {args[0]}")
            quotient = v(f"select {b} {minus}, {t} {negated}, {t} {quotient}")
        return v(f"select {b} {none}, {t} {zero}, {t} {quotient}")

    def _mod(self, args: list[str], dtype: DType, lanes: int) -> str:
        if dtype.is_float:
            return self._math("mod", args, dtype, lanes)
        rest = self._guarded(args, dtype, lanes, "srem" if dtype.kind == "i" else "urem")
        if dtype.kind == "u":
            return rest
        t, b = type_name(dtype, lanes), type_name(BOOL, lanes)
        v, zero = self.lines.value, self._zero(dtype, lanes)
        differs = v(f"xor {t} {rest}, {args[1]}")
        flips = v(f"icmp slt {t} {differs}, {zero}")
        some = v(f"icmp ne {t} {rest}, {zero}")
        needs = v(f"and {b} {flips}, {some}")
        shifted = v(f"add {t} {rest}, {args[1]}")
        return v(f"select {b} {needs}, {t} {shifted}, {t} {rest}")

    def _sqrt(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        return self.lines.value(self.lines.intrinsic(f"llvm.sqrt.{suffix(dtype, lanes)}", t, [f"{t} {args[0]}"]))

    def _shl(self, args: list[str], dtype: DType, lanes: int) -> str:
        return self.lines.value(f"shl {type_name(dtype, lanes)} {args[0]}, {args[1]}")

    def _shr(self, args: list[str], dtype: DType, lanes: int) -> str:
        shift = "ashr" if dtype.kind == "i" else "lshr"
        return self.lines.value(f"{shift} {type_name(dtype, lanes)} {args[0]}, {args[1]}")

    def _not(self, args: list[str], dtype: DType, lanes: int) -> str:
        return self.lines.value(f"xor {type_name(BOOL, lanes)} {args[0]}, {self._literal(1, BOOL, lanes)}")

    def _isnan(self, args: list[str], dtype: DType, lanes: int) -> str:
        t = type_name(dtype, lanes)
        if not dtype.is_float:
            return self._literal(0, BOOL, lanes)
        return self.lines.value(f"fcmp uno {t} {args[0]}, {args[0]}")

    def _isinf(self, args: list[str], dtype: DType, lanes: int) -> str:
        if not dtype.is_float:
            return self._literal(0, BOOL, lanes)
        size, infinity = self._abs(args, dtype, lanes), self._literal(float("inf"), dtype, lanes)
        return self.lines.value(f"fcmp oeq {type_name(dtype, lanes)} {size}, {infinity}")

    # -- functions

    def _math(self, name: str, args: list[str], dtype: DType, lanes: int) -> str:
        if not dtype.is_float:
            wide = [self.cast(a, dtype, F64, lanes) for a in args]
            return self.cast(self._math(name, wide, F64, lanes), F64, dtype, lanes)
        from symc.codegen.math.library import Features, required, symbol

        width = lanes or 1
        features = Features(fma=self.target.has_fma, round=self.target.name != "baseline")
        t = type_name(dtype, lanes)
        for key, text in required(name, dtype.name, width, features).items():
            self.lines.externals.setdefault(key, text)
        function = symbol(name, dtype.name, width)
        return self.lines.value(f"call {t} {function}({', '.join(f'{t} {a}' for a in args)})")

    # -- conversions

    def cast(self, x: str, source: DType, to: DType, lanes: int) -> str:
        """x as another element type: see the primitive `cast`."""
        if source == to:
            return x
        s, t = type_name(source, lanes), type_name(to, lanes)
        v = self.lines.value
        if source.name == "f16" and not self.target.has_f16c:
            return self.cast(half.to_float(self.lines, x, lanes), F32, to, lanes)
        if to.name == "f16" and not self.target.has_f16c:
            return half.from_float(self.lines, self.cast(x, source, F32, lanes), lanes)
        if to == BOOL:
            zero = self._zero(source, lanes)
            return v(f"fcmp une {s} {x}, {zero}") if source.is_float else v(f"icmp ne {s} {x}, {zero}")
        if source.name == "f16" and to != F32:
            return self.cast(self.cast(x, source, F32, lanes), F32, to, lanes)
        if to.name == "f16" and source != F32:
            return self.cast(self.cast(x, source, F32, lanes), F32, to, lanes)
        if to.name == "f16":
            # else LLVM moves the rounding into what made the float, on to doubles, for which there is no instruction
            # but a function that is not linked
            name = f"llvm.arithmetic.fence.{f'v{lanes}' if lanes else ''}f32"
            self.lines.externals.setdefault(name, f"declare {s} @{name}({s})")
            x = v(f"call {s} @{name}({s} {x})")
        if source.is_float and to.is_float:
            return v(f"{'fpext' if to.itemsize > source.itemsize else 'fptrunc'} {s} {x} to {t}")
        if to.is_float:
            return v(f"{'sitofp' if source.kind == 'i' else 'uitofp'} {s} {x} to {t}")
        if source.is_float:
            return self._to_integer(x, source, to, lanes)
        if LLVM_TYPES[source.name] == LLVM_TYPES[to.name]:
            return x
        if source == BOOL or to.itemsize > source.itemsize:
            return v(f"{'sext' if source.kind == 'i' else 'zext'} {s} {x} to {t}")
        return v(f"trunc {s} {x} to {t}")

    def _to_integer(self, x: str, source: DType, to: DType, lanes: int) -> str:
        """Truncation toward zero by way of i32 or i64, whose out-of-range result is the smallest value, as on x86."""
        wide = I32 if to.itemsize < 4 or to == I32 else I64
        s, w = type_name(source, lanes), type_name(wide, lanes)
        v = self.lines.value
        limit = 2.0 ** (8 * wide.itemsize - 1)
        size = self._abs([x], source, lanes)
        inside = v(f"fcmp olt {s} {size}, {self._literal(limit, source, lanes)}")
        safe = v(f"select {type_name(BOOL, lanes)} {inside}, {s} {x}, {s} {self._zero(source, lanes)}")
        whole = v(f"fptosi {s} {safe} to {w}")
        least = self._literal(-(2 ** (8 * wide.itemsize - 1)), wide, lanes)
        whole = v(f"select {type_name(BOOL, lanes)} {inside}, {w} {whole}, {w} {least}")
        return self.cast(whole, wide, to, lanes)
