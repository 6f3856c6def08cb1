"""Intervals of scalars: which values an SSA scalar of a kernel can take, from the statements that make it.

Integers are held in [lo, hi]; arithmetic that may leave the element type gives all of it. Floats have an interval, and
may or may not be nan. What memory holds can be anything of its type, so an index that comes from memory has a useful
interval only behind a clip, a modulus or a comparison. (P. Cousot, R. Cousot, Static determination of dynamic
properties of programs, 1976.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from symc.ir.changed import replace
from symc.ir.index import Affine, Quotient, Var
from symc.ir.loop.nodes import Carry, For, IndexValue, Let, Load, Stmt
from symc.ir.op import Ref
from symc.ir.types import BOOL, DType

#: How far a question goes: answers of conditions within answers of conditions, such answers in all, and statements
#: behind one another. What lies beyond is taken for anything.
NESTED, ANSWERS, DEEP = 3, 200, 150


@dataclass(frozen=True)
class Range:
    """lo <= x <= hi, or (of floats) nan."""

    lo: float
    hi: float
    nan: bool = False

    def join(self, other: Range) -> Range:
        return Range(min(self.lo, other.lo), max(self.hi, other.hi), self.nan or other.nan)

    def within(self, other: Range) -> bool:
        return other.lo <= self.lo and self.hi <= other.hi and (other.nan or not self.nan)

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}" + (" or nan" if self.nan else "")


@dataclass(frozen=True)
class Carried:
    """What a name stands for that a loop carries, inside or after it."""

    loop: For
    carry: Carry


Definition = Union[Let, IndexValue, Load, Carried]


class Known:
    """Intervals of names that hold where a question is asked, those of the variables of the loops around (`turns`), and
    what was found under them."""

    def __init__(
        self, ranges: Mapping[str, Range] | None = None, nested: int = 0, turns: Mapping[str, Range] | None = None
    ) -> None:
        self.ranges, self.nested, self.turns = dict(ranges or {}), nested, turns or {}
        self.found: dict[str, Range] = {}


def whole(dtype: DType) -> Range:
    """Everything that an element type can hold."""
    if dtype.is_float:
        return Range(-math.inf, math.inf, True)
    if dtype == BOOL:
        return Range(0, 1)
    info = np.iinfo(dtype.numpy)
    return Range(int(info.min), int(info.max))


def _of_loop(var: Var) -> tuple[int, int]:
    """The first and the last value of a loop's variable."""
    return var.lo, var.hi - 1


def index_range(
    index: Affine, scalar: Callable[[Var], tuple[int, int]], turn: Callable[[Var], tuple[int, int]] = _of_loop
) -> tuple[int, int]:
    """Bounds of an index expression whose dynamic variables have the bounds `scalar` gives, and those of loops the ones
    of `turn`."""
    low = high = index.const
    for atom, factor in index.terms:
        if isinstance(atom, Var):
            a, b = scalar(atom) if atom.dynamic else turn(atom)
        else:
            a, b = index_range(atom.expr, scalar, turn)
            first, last = a // atom.divisor, b // atom.divisor
            if isinstance(atom, Quotient):
                a, b = first, last
            else:
                a, b = (a % atom.divisor, b % atom.divisor) if first == last else (0, atom.divisor - 1)
        low += min(a * factor, b * factor)
        high += max(a * factor, b * factor)
    return low, high


class Ranges:
    """Intervals of the scalars of one kernel, on demand. `define` says what a name stands for from now on."""

    def __init__(self, outer: Ranges | None = None) -> None:
        self._outer = outer
        self._definitions: dict[str, tuple[Definition, DType]] = {}
        #: nothing is known but how scalars are made
        self._plain = Known()
        self._answers = self._deep = 0

    def define(self, name: str, definition: Definition, dtype: DType) -> None:
        """`name` is made by a statement."""
        self._definitions[name] = definition, dtype
        self._plain.found.pop(name, None)

    def enter(self, stmt: Stmt) -> None:
        """Everything that a statement defines for those after it."""
        if isinstance(stmt, (Let, IndexValue, Load)):
            self.define(stmt.name, stmt, stmt.dtype)
        elif isinstance(stmt, For):
            for c in stmt.carries:
                self.define(c.result, Carried(stmt, c), c.init.dtype)

    def open(self, loop: For) -> None:
        """What a loop carries is visible in its body."""
        for c in loop.carries:
            self.define(c.name, Carried(loop, c), c.init.dtype)

    def definition(self, name: str) -> tuple[Definition, DType] | None:
        """The statement that makes a name, and the name's type."""
        found = self._definitions.get(name)
        return found if found is not None or self._outer is None else self._outer.definition(name)

    # -- questions

    def expression(self, ref: Ref, known: Known | None = None, deep: int = 8) -> Affine | None:
        """The index expression that an integer is: an index, in a type that holds it, or a sum, a difference or a
        multiple of such."""
        if ref.is_literal:
            return Affine.of(ref.value) if isinstance(ref.value, int) else None
        made = self.definition(ref.name)
        if made is None or not deep or not made[1].is_int:
            return None
        found: Affine | None = None
        if isinstance(made[0], IndexValue):
            found = made[0].index
        elif isinstance(made[0], Let) and made[0].op.name in ("cast", "add", "sub", "mul"):
            parts = [self.expression(a, known, deep - 1) for a in made[0].args]
            one, other = parts[0], parts[-1]
            if one is None or other is None:
                return None
            if made[0].op.name == "cast":
                found = one
            elif made[0].op.name == "mul":
                found = one * other.const if not other.terms else other * one.const if not one.terms else None
            else:
                found = one + other if made[0].op.name == "add" else one - other
        if found is None:
            return None
        low, high = self.bounds(found, known)
        return found if Range(low, high).within(whole(made[1])) else None

    def of(self, ref: Ref, known: Known | None = None) -> Range:
        """The interval of a scalar."""
        if ref.is_literal:
            value = ref.value or 0
            return Range(0, 0, True) if value != value else Range(value, value)
        known = known or self._plain
        found = known.ranges.get(ref.name) or known.found.get(ref.name)
        if found is None:
            definition = self.definition(ref.name)
            if definition is None or self._deep >= DEEP:
                return whole(ref.dtype)
            self._deep += 1
            found = known.found[ref.name] = self._made(definition[0], ref.dtype, known)
            self._deep -= 1
        return found

    def bounds(self, index: Affine, known: Known | None = None) -> tuple[int, int]:
        """Bounds of an index expression."""

        def scalar(var: Var) -> tuple[int, int]:
            definition = self.definition(var.name)
            if definition is None:
                return var.lo, var.hi - 1
            found = self.of(Ref(var.name, definition[1]), known)
            return int(found.lo), int(found.hi)

        def turn(var: Var) -> tuple[int, int]:
            found = known.turns.get(var.name) if known is not None else None
            return (var.lo, var.hi - 1) if found is None else (int(found.lo), int(found.hi))

        return index_range(index, scalar, turn)

    def refined(self, condition: Ref, holds: bool, known: Known | None = None) -> Known:
        """What is known where a condition holds (or fails)."""
        known = known or self._plain
        made = Known(known.ranges, known.nested + 1, known.turns)
        self._refine(condition, holds, made)
        return made

    # -- how scalars are made

    def _made(self, definition: Definition, dtype: DType, known: Known) -> Range:
        if isinstance(definition, IndexValue):
            low, high = self.bounds(definition.index, known)
            return _cast(Range(low, high), dtype, exact=True)
        if isinstance(definition, Load):
            return whole(dtype)
        if isinstance(definition, Carried):
            return self._carried(definition, known)
        op, args = definition.op, definition.args
        if op.name == "select":
            return self._select(args, known)
        if op.name == "cast":
            return _cast(self.of(args[0], known), dtype, exact=not args[0].dtype.is_float)
        if getattr(op, "truth", False):
            return Range(0, 1)
        rule = _RULES.get(op.name)
        return whole(dtype) if rule is None else _fit(rule([self.of(a, known) for a in args], dtype), dtype)

    def _select(self, args: Sequence[Ref], known: Known) -> Range:
        if known is self._plain:
            self._answers = 0
        if known.nested >= NESTED or self._answers >= ANSWERS:
            return self.of(args[1], known).join(self.of(args[2], known))
        self._answers += 2
        yes, no = self.refined(args[0], True, known), self.refined(args[0], False, known)
        return self.of(args[1], yes).join(self.of(args[2], no))

    def _carried(self, carried: Carried, known: Known) -> Range:
        """A carried value is its start, or what a turn makes of what the turns before made."""
        loop = carried.loop
        state = {c.name: self.of(c.init, known) for c in loop.carries}
        if loop.trips:
            inside = Ranges(self)
            inside.open(loop)
            for stmt in loop.body:
                inside.enter(stmt)
            for turn in range(3 + len(loop.carries)):
                here = Known({**known.ranges, **state}, known.nested)  # its variable may be called as one of `turns`
                made = {c.name: inside.of(c.yields, here) for c in loop.carries}
                if all(made[name].within(state[name]) for name in state):
                    break
                for c in loop.carries:
                    if not made[c.name].within(state[c.name]):
                        state[c.name] = state[c.name].join(made[c.name]) if turn < 2 else whole(c.init.dtype)
        return state[carried.carry.name]

    # -- conditions

    def _refine(self, condition: Ref, holds: bool, known: Known) -> None:
        made = self.definition(condition.name) if condition.name else None
        if made is None or not isinstance(made[0], Let):
            return
        name, args = made[0].op.name, made[0].args
        if name == "not":
            self._refine(args[0], not holds, known)
        elif (name, holds) in (("and", True), ("or", False)):
            for arg in args:
                self._refine(arg, holds, known)
        elif name == "isnan" and not args[0].is_literal and not holds:
            known.ranges[args[0].name] = replace(self.of(args[0], known), nan=False)
        elif name in _OPPOSITE:
            left, right = self.of(args[0], known), self.of(args[1], known)
            for word, ref, here, there in ((name, args[0], left, right), (_TURNED[name], args[1], right, left)):
                if not ref.is_literal and (holds or not there.nan):
                    known.ranges[ref.name] = _compared(word, here, there, holds, ref.dtype.is_float)


def _compared(name: str, here: Range, there: Range, holds: bool, is_float: bool) -> Range:
    """What is left of `here` where `here name there` holds (or fails: then nan stays)."""
    word, nan = name if holds else _OPPOSITE[name], here.nan and not holds
    step = 0 if is_float else 1
    low, high = here.lo, here.hi
    if word in ("lt", "le", "eq"):
        high = min(high, there.hi - (step if word == "lt" else 0))
    if word in ("gt", "ge", "eq"):
        low = max(low, there.lo + (step if word == "gt" else 0))
    # an answer that cannot be is never taken: whatever is said of it is true
    return Range(low, high, nan) if low <= high else Range(here.lo, here.lo, nan)


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne"}
_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def _fit(found: Range, dtype: DType) -> Range:
    """An interval of exact results as one of the element type: integers wrap, floats are rounded."""
    all_ = whole(dtype)
    if not dtype.is_float:
        return found if found.within(all_) else all_
    if found.nan or math.isnan(found.lo) or math.isnan(found.hi):
        return Range(
            -math.inf if math.isnan(found.lo) else found.lo, math.inf if math.isnan(found.hi) else found.hi, True
        )
    return found


def _rounded(found: Range, dtype: DType) -> Range:
    """A rounded result lies at most one number of its type outside of the exact ends."""
    if not dtype.is_float or math.isnan(found.lo) or math.isnan(found.hi):
        return found
    kind = dtype.numpy.type
    with np.errstate(all="ignore"):
        low, high = np.nextafter(kind(found.lo), kind(-np.inf)), np.nextafter(kind(found.hi), kind(np.inf))
    return Range(float(low), float(high), found.nan)


def _cast(found: Range, dtype: DType, exact: bool) -> Range:
    """To another element type. `exact`: from integers; else floats are truncated, and what no wide integer holds (nan
    too) becomes the smallest one."""
    all_ = whole(dtype)
    if dtype == BOOL:
        return all_
    if dtype.is_float:
        with np.errstate(all="ignore"):
            return Range(float(dtype.numpy.type(found.lo)), float(dtype.numpy.type(found.hi)), found.nan)
    if exact:
        return found if found.within(all_) else all_
    if dtype.itemsize < 4 or dtype.kind == "u":
        inside = not found.nan and all_.lo <= found.lo and found.hi <= all_.hi
        return Range(math.trunc(found.lo), math.trunc(found.hi)) if inside else all_
    low = all_.lo if found.nan or found.lo <= all_.lo or found.hi >= all_.hi else math.trunc(found.lo)
    return Range(low, all_.hi if found.hi >= all_.hi else math.trunc(max(found.hi, low)))


# --------------------------------------------------------------------------------------------- operations

Rule = Callable[[Sequence[Range], DType], Range]


def _product(a: float, b: float) -> float:
    return 0.0 if 0 in (a, b) else a * b


def _corners(args: Sequence[Range], function: Callable[[float, float], float]) -> Range:
    """The extremes of a function that is monotone in each operand."""
    a, b = args
    ends = [function(x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    if any(end != end for end in ends):
        return Range(-math.inf, math.inf, True)
    return Range(min(ends), max(ends), a.nan or b.nan)


def _add(args: Sequence[Range], dtype: DType) -> Range:
    a, b = args
    mixed = math.inf in (a.hi, b.hi) and -math.inf in (a.lo, b.lo)
    if mixed:
        return Range(-math.inf, math.inf, True)
    return _rounded(Range(a.lo + b.lo, a.hi + b.hi, a.nan or b.nan), dtype)


def _sub(args: Sequence[Range], dtype: DType) -> Range:
    return _add([args[0], _neg(args[1:], dtype)], dtype)


def _neg(args: Sequence[Range], dtype: DType) -> Range:
    return Range(-args[0].hi, -args[0].lo, args[0].nan)


def _mul(args: Sequence[Range], dtype: DType) -> Range:
    wild = any(math.isinf(end) for a in args for end in (a.lo, a.hi)) and any(a.lo <= 0 <= a.hi for a in args)
    if wild and dtype.is_float:
        return Range(-math.inf, math.inf, True)
    return _rounded(_corners(args, _product), dtype)


def _div(args: Sequence[Range], dtype: DType) -> Range:
    a, b = args
    if b.lo <= 0 <= b.hi:
        if dtype.is_float:
            return whole(dtype)
        far = max(abs(a.lo), abs(a.hi))  # x / 0 is 0
        return Range(-far, far)
    if dtype.is_float:
        if any(math.isinf(end) for end in (a.lo, a.hi, b.lo, b.hi)):
            return whole(dtype)
        return _rounded(_corners(args, lambda x, y: x / y), dtype)
    return _corners(args, lambda x, y: int(abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1))


def _mod(args: Sequence[Range], dtype: DType) -> Range:
    """The sign is the divisor's; of floats the divisor itself may come out, by rounding."""
    a, b = args
    if dtype.is_float:
        finite = not (a.nan or b.nan) and math.isfinite(a.lo) and math.isfinite(a.hi)
        return Range(min(b.lo, 0), max(b.hi, 0), not finite)
    if 0 <= a.lo and a.hi < b.lo:
        return a
    return Range(min(b.lo + 1, 0), max(b.hi - 1, 0))


def _maximum(args: Sequence[Range], dtype: DType) -> Range:
    a, b = args
    return Range(max(a.lo, b.lo), max(a.hi, b.hi), a.nan or b.nan)


def _minimum(args: Sequence[Range], dtype: DType) -> Range:
    a, b = args
    return Range(min(a.lo, b.lo), min(a.hi, b.hi), a.nan or b.nan)


def _abs(args: Sequence[Range], dtype: DType) -> Range:
    (a,) = args
    ends = sorted((abs(a.lo), abs(a.hi)))
    return Range(0 if a.lo <= 0 <= a.hi else ends[0], ends[1], a.nan)


def _to_whole(function: Callable[[float], int]) -> Rule:
    def rule(args: Sequence[Range], dtype: DType) -> Range:
        def end(x: float) -> float:
            return float(function(x)) if math.isfinite(x) else x

        return Range(end(args[0].lo), end(args[0].hi), args[0].nan)

    return rule


def _and(args: Sequence[Range], dtype: DType) -> Range:
    """No bit that both operands lack; a sign bit of one alone does not count."""
    limits = [a.hi for a in args if a.lo >= 0]
    return Range(0, min(limits)) if limits else whole(dtype)


def _or(args: Sequence[Range], dtype: DType) -> Range:
    if min(a.lo for a in args) < 0:
        return whole(dtype)
    return Range(0, (1 << int(max(a.hi for a in args)).bit_length()) - 1)


def _shr(args: Sequence[Range], dtype: DType) -> Range:
    a, by = args
    if by.lo != by.hi or not 0 <= by.lo < 8 * dtype.itemsize:
        return whole(dtype)
    return Range(int(a.lo) >> int(by.lo), int(a.hi) >> int(by.lo))


_RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "mod": _mod,
    "maximum": _maximum,
    "minimum": _minimum,
    "relu": lambda args, dtype: _maximum([*args, Range(0, 0)], dtype),
    "abs": _abs,
    "sign": lambda args, dtype: Range(-1, 1),
    "floor": _to_whole(math.floor),
    "ceil": _to_whole(math.ceil),
    "trunc": _to_whole(math.trunc),
    "round": _to_whole(lambda x: math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)),
    "rint": _to_whole(lambda x: math.ceil(x - 0.5)),
    "and": _and,
    "or": _or,
    "xor": _or,
    "shr": _shr,
}
