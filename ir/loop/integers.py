"""Linear equations over integers that lie in intervals: whether they contradict each other.

Three tests, applied until nothing changes: an equation whose terms cannot add up to its constant; bounds that follow
for one unknown from those of the others; and the greatest common divisor of some terms, which leaves one multiple
for the others to be: then the equation falls apart in two, as the digits of a number in a mixed radix do.
What is found is a proof; what is not found may be so all the same.
(U. Banerjee, Dependence Analysis for Supercomputing, 1988; W. Pugh, The Omega test, 1991.)
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

#: an equation: sum of factor * unknown + constant = 0
Terms = dict[Hashable, int]
ROUNDS = 8


class Contradiction(Exception):
    """No integers satisfy the equations."""


class System:
    """Unknowns with bounds, and equations between them."""

    def __init__(self) -> None:
        self.low: dict[Hashable, int] = {}
        self.high: dict[Hashable, int] = {}
        self._equations: list[tuple[Terms, int]] = []
        #: sums of terms that lie in an interval, and the unknowns that stand for them
        self._sums: dict[frozenset[tuple[Hashable, int]], Hashable] = {}

    def copy(self) -> System:
        made = System()
        made.low, made.high, made._equations = dict(self.low), dict(self.high), list(self._equations)
        made._sums = dict(self._sums)
        return made

    def unknown(self, name: Hashable, low: int, high: int) -> None:
        """low <= name <= high, beside what is known of it."""
        self.low[name] = max(low, self.low.get(name, low))
        self.high[name] = min(high, self.high.get(name, high))

    def equation(self, terms: Terms, constant: int) -> None:
        """The terms and the constant add up to zero."""
        self._equations.append(({name: factor for name, factor in terms.items() if factor}, constant))

    def between(self, terms: Terms, constant: int, low: int, high: int) -> None:
        """low <= terms + constant <= high. Equal sums are one unknown: what is known of one holds for the other."""
        form = frozenset((name, factor) for name, factor in terms.items() if factor)
        total = self._sums.get(form)
        if total is None:
            total = self._sums[form] = ("sum", len(self._sums))
            self.equation({**terms, total: -1}, 0)
        self.unknown(total, low - constant, high - constant)

    def contradicts(self) -> bool:
        """Whether a proof is found that no integers satisfy everything; narrows the bounds on the way."""
        try:
            self._narrow()
        except Contradiction:
            return True
        return False

    def is_zero(self, name: Hashable) -> bool:
        """Whether the unknown can only be zero (after `contradicts`)."""
        return self.low[name] == 0 == self.high[name]

    def _narrow(self) -> None:
        if any(self.low[name] > self.high[name] for name in self.low):
            raise Contradiction
        for _ in range(ROUNDS):
            self._changed = False
            waiting, self._equations = self._equations, []
            for terms, constant in waiting:
                self._equations += self._look(terms, constant)
            if not self._changed:
                return

    def _look(self, terms: Terms, constant: int) -> Iterable[tuple[Terms, int]]:
        """The equation, or what it falls apart into."""
        free: list[tuple[int, Hashable]] = []
        low_sum = high_sum = 0
        for name, factor in terms.items():
            a, b = self.low[name], self.high[name]
            if a == b:
                constant += factor * a
                continue
            free.append((factor, name))
            low_sum += factor * (a if factor > 0 else b)
            high_sum += factor * (b if factor > 0 else a)
        if not low_sum <= -constant <= high_sum or free and constant % math.gcd(*(factor for factor, _ in free)):
            raise Contradiction
        if not free:
            return []
        for factor, name in free:
            a, b = self.low[name], self.high[name]
            own = (factor * a, factor * b) if factor > 0 else (factor * b, factor * a)
            # factor * name lies between what the others leave
            least, most = -constant - (high_sum - own[1]), -constant - (low_sum - own[0])
            if factor < 0:
                least, most = -most, -least
            size = abs(factor)
            first, last = max(a, -(-least // size)), min(b, most // size)
            if (first, last) != (a, b):
                self._changed = True
                if first > last:
                    raise Contradiction
                self.low[name], self.high[name] = first, last
                new = (factor * first, factor * last) if factor > 0 else (factor * last, factor * first)
                low_sum, high_sum = low_sum + new[0] - own[0], high_sum + new[1] - own[1]
        return self._parts(sorted(free, key=lambda term: abs(term[0])), constant)

    def _parts(self, free: list[tuple[int, Hashable]], constant: int) -> list[tuple[Terms, int]]:
        """Terms of small factors and those whose factors share a divisor, apart where one multiple only is possible."""
        low_sum = high_sum = 0
        for at, (factor, name) in enumerate(free[:-1]):
            a, b = self.low[name], self.high[name]
            low_sum += factor * (a if factor > 0 else b)
            high_sum += factor * (b if factor > 0 else a)
            divisor = math.gcd(*(f for f, _ in free[at + 1 :]))
            # the others add up to a multiple of the divisor in this interval
            least, most = -constant - high_sum, -constant - low_sum
            first = -(-least // divisor) * divisor
            if first > most:
                raise Contradiction
            if first + divisor > most:
                self._changed = True
                small = {name: factor for factor, name in free[: at + 1]}
                return [(small, constant + first), ({name: factor for factor, name in free[at + 1 :]}, -first)]
        return [({name: factor for factor, name in free}, constant)]
