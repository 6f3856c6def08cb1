"""Where loads and stores go: inside of their buffers (L4), and not to elements of other turns (L6).

Both are proofs by contradiction over the integers (symc.ir.loop.integers). The unknowns are the turns of the loops
around an access, the values of computed indices (in the intervals of symc.ir.loop.ranges), and the quotients and
remainders of index expressions; the equations are what the guards say and what an error would need: an index beyond
an end, or two accesses at one place in different turns. The second access's turns are written as those of the first
less a difference, so that what both have in common vanishes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from symc.ir.index import Affine, Quotient, Remainder, Var, linear
from symc.ir.loop.integers import System, Terms
from symc.ir.loop.nodes import LOCKSTEP, Buffer, For, Load, Store
from symc.ir.loop.ranges import index_range
from symc.ir.types import strides_of

#: lo <= expression < hi
Fact = tuple[Affine, int, int]
FAR = 1 << 62


@dataclass(frozen=True)
class Scalar:
    """An integer that an index reads: its bounds, how many loops are open where it is made, what makes it, and the
    index expression that it is, if it is one."""

    low: int
    high: int
    depth: int
    made: int
    value: Affine | None = None


@dataclass(frozen=True)
class Access:
    """A load or store with what is known where it happens. `depth`: how many loops around it share its buffer's memory
    no further (those outside of a scratch buffer's Alloc)."""

    stmt: Load | Store
    buffer: Buffer
    depth: int
    loops: tuple[For, ...]
    facts: tuple[Fact, ...]
    scalars: Mapping[str, Scalar]
    #: smallest and largest index of every axis
    bounds: tuple[tuple[int, int], ...]
    #: its place in the text
    at: int = 0

    @property
    def what(self) -> str:
        kind = "load of" if isinstance(self.stmt, Load) else "store to"
        return f"{kind} %{self.buffer.name}[{', '.join(map(str, self.stmt.index))}]"


# --------------------------------------------------------------------------------------------- bounds


def outside(access: Access) -> tuple[int, int, int] | None:
    """(axis, smallest and largest index found) of an index that is not proven to lie inside of its buffer."""
    system: System | None = None
    for axis, (index, extent) in enumerate(zip(access.stmt.index, access.buffer.type.shape)):
        low, high = access.bounds[axis]
        if low >= 0 and high < extent:
            continue
        if system is None:
            system = System()
            turn = _Turn(system, access)
            turn.state_facts()
        for beyond in ((extent, FAR), (-FAR, -1)):
            if low < 0 if beyond[0] < 0 else high >= extent:
                wrong = system.copy()
                terms, constant = turn.within(wrong).lift(index)
                wrong.between(terms, constant, *beyond)
                if not wrong.contradicts():
                    return axis, low, high
    return None


def bounds_of(index: Affine, scalars: Mapping[str, Scalar]) -> tuple[int, int]:
    """Smallest and largest value of an index expression."""
    if not scalars:
        return index.bounds()

    def scalar(var: Var) -> tuple[int, int]:
        found = scalars[var.name]
        return found.low, found.high

    return index_range(index, scalar)


class _Turn:
    """One turn of all loops around an access, as unknowns of a system. `first`: the turn of another access that this
    one is told from."""

    def __init__(self, system: System, access: Access, first: _Turn | None = None, shared: int = 0) -> None:
        self.system, self.access, self.first, self.shared = system, access, first, shared
        self.tag = 0 if first is None else 1
        self.loops = {loop.var: loop for loop in access.loops}
        self.divided: dict[Hashable, tuple[Terms, Terms]] = {}

    def within(self, system: System) -> _Turn:
        """The same turn in a copy of its system."""
        made = _Turn(system, self.access, self.first, self.shared)
        made.divided = dict(self.divided)
        return made

    def state_facts(self) -> None:
        """What holds where the access happens."""
        for index, low, high in (*self.access.facts, *self.access.stmt.guard):
            self.system.between(*self.lift(index), low, high - 1)

    def lift(self, index: Affine) -> tuple[Terms, int]:
        """An index expression as terms of unknowns, and a constant."""
        total: Terms = {}
        constant = index.const
        for atom, factor in index.terms:
            if isinstance(atom, Var):
                terms, shift = self._scalar(atom) if atom.dynamic else self._variable(atom)
                constant += factor * shift
            else:
                whole, rest = self._divide(atom)
                terms = whole if isinstance(atom, Quotient) else rest
            _add(total, terms, factor)
        return total, constant

    def _variable(self, var: Var) -> tuple[Terms, int]:
        """A loop variable: its value, or (where it is stepped) the number of the turn."""
        loop = self.loops[var.name]
        low, high, factor, constant = loop.lo, loop.hi - 1, 1, 0
        if loop.step != 1:
            low, high, factor, constant = 0, loop.trips - 1, loop.step, loop.lo
        other = self.first.loops.get(var.name) if self.first is not None else None
        if other is None or (loop.step != 1 or other.step != 1) and (loop.lo, loop.step) != (other.lo, other.step):
            name: Hashable = ("turn", self.tag, var.name)
            self.system.unknown(name, low, high)
            return {name: factor}, constant
        assert self.first is not None
        ((one, _),) = self.first._variable(var)[0].items()
        difference = ("difference", var.name)
        if difference not in self.system.low:
            first_low, first_high = self.system.low[one], self.system.high[one]
            self.system.unknown(difference, first_low - high, first_high - low)
            if self.access.facts:
                self.system.between({one: 1, difference: -1}, 0, low, high)
        return {one: factor, difference: -factor}, constant

    def _scalar(self, var: Var) -> tuple[Terms, int]:
        """An integer computed in the kernel; one made outside of the loops that differ is the same in both turns."""
        found = self.access.scalars[var.name]
        same = found.depth <= self.shared
        name = ("scalar", found.made, 0 if same else self.tag)
        self.system.unknown(name, found.low, found.high)
        if found.value is not None and self.first is None:
            terms, constant = self.lift(found.value)  # a guard of the same variables holds for it, too
            _add(terms, {name: 1}, -1)
            self.system.equation(terms, constant)
        return {name: 1}, 0

    def _divide(self, atom: Quotient | Remainder) -> tuple[Terms, Terms]:
        """(quotient, remainder) of an expression: expression = divisor * quotient + remainder."""
        key: Hashable = (atom.expr, atom.divisor)
        if key in self.divided:
            return self.divided[key]
        terms, constant = self.lift(atom.expr)
        low, high = bounds_of(atom.expr, self.access.scalars)
        low, high, last = low // atom.divisor, high // atom.divisor, atom.divisor - 1
        before = self.first.divided.get(key) if self.first is not None else None
        whole: Terms
        rest: Terms
        if before is None:
            whole, rest = {("quotient", self.tag, key): 1}, {("remainder", self.tag, key): 1}
            self.system.unknown(("quotient", self.tag, key), low, high)
            self.system.unknown(("remainder", self.tag, key), 0, last)
        else:
            assert self.first is not None
            apart = ("difference", "quotient", key), ("difference", "remainder", key)
            self.system.unknown(apart[0], low - high, high - low)
            self.system.unknown(apart[1], -last, last)
            whole, rest = {**before[0], apart[0]: -1}, {**before[1], apart[1]: -1}
            # the differences alone: (expression of the first) - (expression) = divisor * difference + difference
            other, shift = self.first.lift(atom.expr)
            difference: Terms = {apart[0]: -atom.divisor, apart[1]: -1}
            _add(difference, other, 1)
            _add(difference, terms, -1)
            self.system.equation(difference, shift - constant)
        equation = dict(terms)
        _add(equation, whole, -atom.divisor)
        _add(equation, rest, -1)
        self.system.equation(equation, constant)
        self.divided[key] = whole, rest
        return whole, rest


def _add(total: Terms, terms: Terms, factor: int) -> None:
    for name, own in terms.items():
        total[name] = total.get(name, 0) + factor * own


# --------------------------------------------------------------------------------------------- turns


def meeting(accesses: Sequence[Access]) -> tuple[Access, Access, For] | None:
    """A store and an access that may touch one element in different turns of a parallel, vector or jam loop."""
    for one, other in _pairs(accesses):
        if _disjoint(one, other):
            continue
        common = [a for a, b in zip(one.loops, other.loops) if a is b]
        doubtful = [
            at
            for at, loop in enumerate(common)
            if at >= one.depth and loop.kind in LOCKSTEP and loop.trips > 1 and not _obvious(one, other, at)
        ]
        if not doubtful:
            continue
        if not (one.scalars or other.scalars):
            system = _together(one, other, len(common), 0)
            if system.contradicts():
                continue
            doubtful = [at for at in doubtful if not system.is_zero(("difference", common[at].var))]
        for at in doubtful:
            for first, last in ((1, FAR), (-FAR, -1)):
                system = _together(one, other, len(common), at)
                for loop in common[:at]:
                    system.unknown(("difference", loop.var), 0, 0)
                system.unknown(("difference", common[at].var), first, last)
                if not system.contradicts():
                    return one, other, common[at]
    return None


def overwritten(accesses: Sequence[Access]) -> tuple[Access, Access] | None:
    """A store and a load of another buffer at the same memory that may read an element when it has been stored: in a
    later turn of a serial loop, or further down in the same turns. (Other loops are the question of `meeting`.)"""
    for store, load in _pairs(accesses):
        if isinstance(load.stmt, Store) or store.buffer is load.buffer or _disjoint(store, load):
            continue
        common = [a for a, b in zip(store.loops, load.loops) if a is b]
        later = [
            at
            for at, loop in enumerate(common)
            if loop.kind not in LOCKSTEP and loop.trips > 1 and not _obvious(store, load, at)
        ]
        for at in [*later, *([len(common)] if store.at < load.at else [])]:
            system = _together(store, load, len(common), at)
            for loop in common[:at]:
                system.unknown(("difference", loop.var), 0, 0)
            if at < len(common):
                system.unknown(("difference", common[at].var), -FAR, -1)
            if not system.contradicts():
                return store, load
    return None


def _pairs(accesses: Sequence[Access]) -> Iterator[tuple[Access, Access]]:
    """Every store with itself and every other access to its buffer, once."""
    stores = [a for a in accesses if isinstance(a.stmt, Store)]
    for at, store in enumerate(stores):
        for other in stores[at:]:
            yield store, other
        for other in accesses:
            if isinstance(other.stmt, Load):
                yield store, other


def _disjoint(one: Access, other: Access) -> bool:
    """Whether an axis keeps two accesses apart: no need to compute."""
    return one.buffer.type.shape == other.buffer.type.shape and any(
        high < least or most < low for (low, high), (least, most) in zip(one.bounds, other.bounds)
    )


def _obvious(one: Access, other: Access, at: int) -> bool:
    """Whether an axis has the same index in both, of the loop's variable and of loops around it: no need to compute."""
    if one.buffer.type.shape != other.buffer.type.shape:
        return False
    outer = {loop.var for loop in one.loops[: at + 1]}
    var = one.loops[at].var
    for a, b in zip(one.stmt.index, other.stmt.index):
        if a == b and any(isinstance(atom, Var) and atom.name == var for atom, _ in a.terms):
            if all(isinstance(atom, Var) and not atom.dynamic and atom.name in outer for atom, _ in a.terms):
                return True
    return False


def _together(one: Access, other: Access, common: int, shared: int) -> System:
    """The equations of two accesses to one element; `shared`: how many outer loops are in the same turn."""
    system = System()
    first = _Turn(system, one, shared=shared)
    second = _Turn(system, other, first, shared)
    for loop in one.loops[:common]:
        second._variable(Var(loop.var))
    left, right = one.stmt.index, other.stmt.index
    if one.buffer.type.shape != other.buffer.type.shape:
        left = (linear(left, strides_of(one.buffer.type.shape)),)
        right = (linear(right, strides_of(other.buffer.type.shape)),)
    sides = [first.lift(index) for index in left]
    first.state_facts()
    second.state_facts()
    for (terms, constant), index in zip(sides, right):
        there, shift = second.lift(index)
        equation = dict(terms)
        _add(equation, there, -1)
        system.equation(equation, constant - shift)
    return system
