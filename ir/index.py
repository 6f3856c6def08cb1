"""Affine index expressions over loop variables, with bounds: `4*i + j + 1`.

An atom is a loop variable (with its range), an integer scalar of the loop level, or the quotient or remainder of
an expression by a positive constant. `//` and `%` simplify by the bounds, so that reshapes between contiguous
tensors vanish: (8*i + j) // 8 is i when 0 <= j < 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union

_FAR = 1 << 62


@dataclass(frozen=True)
class Var:
    """A loop variable with range lo <= v < hi, or an integer scalar computed in the loop (`dynamic`)."""

    name: str
    lo: int = -_FAR
    hi: int = _FAR
    dynamic: bool = False

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Quotient:
    """floor(expr / divisor)."""

    expr: Affine
    divisor: int

    def __str__(self) -> str:
        return f"(({self.expr}) // {self.divisor})"


@dataclass(frozen=True)
class Remainder:
    """expr - divisor * floor(expr / divisor)."""

    expr: Affine
    divisor: int

    def __str__(self) -> str:
        return f"(({self.expr}) % {self.divisor})"


Atom = Union[Var, Quotient, Remainder]


@dataclass(frozen=True)
class Affine:
    """const + sum of coefficient * atom; atoms are distinct, coefficients non-zero, in order of first appearance."""

    terms: tuple[tuple[Atom, int], ...] = ()
    const: int = 0

    @staticmethod
    def of(value: Affine | Var | int) -> Affine:
        if isinstance(value, Affine):
            return value
        if isinstance(value, int):
            return _made((), value)
        return _made(((value, 1),), 0)

    def __add__(self, other: Affine | Var | int) -> Affine:
        if isinstance(other, int):
            return _made(self.terms, self.const + other) if other else self
        other = Affine.of(other)
        if not self.terms or not other.terms:
            return _made(self.terms or other.terms, self.const + other.const)
        terms = dict(self.terms)
        for atom, factor in other.terms:
            terms[atom] = terms.get(atom, 0) + factor
        return _made(tuple([term for term in terms.items() if term[1]]), self.const + other.const)

    def __sub__(self, other: Affine | Var | int) -> Affine:
        return self + Affine.of(other) * -1

    def __mul__(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return Affine()
        return _made(tuple([(a, f * factor) for a, f in self.terms]), self.const * factor)

    __rmul__ = __mul__

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value, inclusive."""
        low = high = self.const
        for atom, factor in self.terms:
            a, b = _atom_bounds(atom)
            low += min(a * factor, b * factor)
            high += max(a * factor, b * factor)
        return low, high

    def __floordiv__(self, divisor: int) -> Affine:
        if divisor == 1:
            return self
        whole, rest = self._split(divisor)
        low, high = rest.bounds()
        if low // divisor == high // divisor:
            return whole + low // divisor
        return whole + Affine(((Quotient(rest, divisor), 1),), 0)

    def __mod__(self, divisor: int) -> Affine:
        if divisor == 1:
            return Affine()
        _, rest = self._split(divisor)
        low, high = rest.bounds()
        if low // divisor == high // divisor:
            return rest - (low // divisor) * divisor
        return Affine(((Remainder(rest, divisor), 1),), 0)

    def _split(self, divisor: int) -> tuple[Affine, Affine]:
        """self = divisor * whole + rest, moving into `whole` every term whose factor is a multiple."""
        whole = tuple((a, f // divisor) for a, f in self.terms if f % divisor == 0)
        rest = tuple((a, f) for a, f in self.terms if f % divisor)
        return Affine(whole, self.const // divisor), Affine(rest, self.const % divisor)

    def variables(self) -> Iterable[Var]:
        """Every variable, also inside quotients and remainders."""
        for atom, _ in self.terms:
            if isinstance(atom, Var):
                yield atom
            else:
                yield from atom.expr.variables()

    def factor_of(self, name: str) -> int | None:
        """Coefficient of a variable; 0 if absent, None if it (also) stands inside a quotient or remainder."""
        factor = 0
        for atom, f in self.terms:
            if isinstance(atom, Var):
                if atom.name == name:
                    factor += f
            elif any(v.name == name for v in atom.expr.variables()):
                return None
        return factor

    def substitute(self, values: Mapping[str, Affine]) -> Affine:
        """Replace variables by expressions (and simplify again)."""
        if not values or not any(v.name in values for v in self.variables()):
            return self
        total = Affine((), self.const)
        for atom, factor in self.terms:
            if isinstance(atom, Var):
                replaced = values.get(atom.name, None)
                total = total + (replaced if replaced is not None else Affine.of(atom)) * factor
            elif isinstance(atom, Quotient):
                total = total + (atom.expr.substitute(values) // atom.divisor) * factor
            else:
                total = total + (atom.expr.substitute(values) % atom.divisor) * factor
        return total

    def __str__(self) -> str:
        parts = []
        for atom, factor in self.terms:
            text = str(atom) if abs(factor) == 1 else f"{abs(factor)}*{atom}"
            parts.append(("- " if factor < 0 else "+ ") + text)
        if self.const or not parts:
            parts.append(("- " if self.const < 0 else "+ ") + str(abs(self.const)))
        text = " ".join(parts)
        return text[2:] if text.startswith("+ ") else "-" + text[2:]


def _made(terms: tuple[tuple[Atom, int], ...], const: int) -> Affine:
    """As Affine(terms, const), in half the time: a large program's loops hold tens of thousands of them."""
    made = object.__new__(Affine)
    made.__dict__["terms"], made.__dict__["const"] = terms, const
    return made


def _atom_bounds(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Var):
        return atom.lo, atom.hi - 1
    low, high = atom.expr.bounds()
    if isinstance(atom, Quotient):
        return low // atom.divisor, high // atom.divisor
    if low // atom.divisor == high // atom.divisor:
        return low % atom.divisor, high % atom.divisor
    return 0, atom.divisor - 1


def linear(index: Iterable[Affine], strides: Iterable[int]) -> Affine:
    """The offset of an index tuple in elements."""
    terms: dict[Atom, int] = {}
    const = 0
    for i, stride in zip(index, strides):
        const += i.const * stride
        for atom, factor in i.terms:
            terms[atom] = terms.get(atom, 0) + factor * stride
    return _made(tuple([term for term in terms.items() if term[1]]), const)


def unravel(offset: Affine, shape: tuple[int, ...]) -> tuple[Affine, ...]:
    """The index tuple of an offset in a row-major tensor of `shape`."""
    index: list[Affine] = []
    for extent in reversed(shape):
        index.append(offset % extent if len(index) < len(shape) - 1 else offset)
        offset = offset // extent
    return tuple(reversed(index))
