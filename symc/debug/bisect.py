"""The fewest passes, and the fewest of their actions, with which a program fails.

First the shortest beginning of the pipeline that fails is found by halving, then passes in it are left out, several at
a time (ddmin: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), so that two passes
that are wrong only together are both found. Actions likewise: the shortest beginning, then as few of it as possible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from symc.passes.manager.manager import Instrument, Module, Pass

T = TypeVar("T")
#: an action: the position of its pass in the pipeline, and its number there
Action = tuple[int, int]
#: whether the passes, watched by an instrument, fail
Fails = Callable[[Sequence[Pass], Instrument], bool]


class Only(Instrument):
    """Lets only some actions happen (None: all), and notes the rules of those it is asked about. Passes that add
    results are let alone."""

    def __init__(self, allowed: set[Action] | None = None) -> None:
        self.allowed = allowed
        self.rules: dict[Action, str] = {}
        self._at = -1
        self._free = False

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._at += 1
        self._free = pass_.numerics == "extends"
        return True

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        if self._free:
            return True
        self.rules[self._at, number] = rule
        return self.allowed is None or (self._at, number) in self.allowed


@dataclass
class Smallest:
    """What is left: passes in order, actions by (position, number) with their rules, and how many there were."""

    passes: list[Pass]
    actions: dict[Action, str] = field(default_factory=dict)
    passes_before: int = 0
    actions_before: int = 0
    tries: int = 0


def bisect(passes: Sequence[Pass], fails: Fails, seconds: float = 60.0) -> Smallest | None:
    """The smallest set that still fails, as small as it gets in that time; None if all of it does not fail."""
    return _Bisection(fails, time.monotonic() + seconds).smallest(list(passes))


class _Bisection:
    def __init__(self, fails: Fails, end: float) -> None:
        self.fails, self.end = fails, end
        self.tries = 0

    def _fails(self, passes: Sequence[Pass], only: Only | None = None) -> bool:
        self.tries += 1
        return self.fails(passes, only or Only())

    def smallest(self, passes: list[Pass]) -> Smallest | None:
        """Passes first, then actions."""
        if not self._fails(passes):
            return None
        before = len(passes)
        kept = passes[: self._prefix(before, lambda n: self._fails(passes[:n]))]
        removable = [p for p in kept if p.takes == p.gives]

        def without(some: Sequence[Pass]) -> list[Pass]:
            there = {id(p) for p in some}
            return [p for p in kept if p.takes != p.gives or id(p) in there]

        needed = self._ddmin(removable, lambda some: self._fails(without(some)))
        kept = without(needed)
        everything = Only()
        self._fails(kept, everything)
        order = list(everything.rules)
        limit = self._prefix(len(order), lambda n: self._fails(kept, Only(set(order[:n]))))
        some = self._ddmin(order[:limit], lambda part: self._fails(kept, Only(set(part))))
        last = Only(set(some))
        if not self._fails(kept, last):
            some, last = order, everything
        rules = {action: last.rules.get(action, "") for action in some}
        return Smallest(kept, rules, before, len(order), self.tries)

    def _prefix(self, count: int, fails: Callable[[int], bool]) -> int:
        """A number of items from the beginning with which it fails, and with one less does not."""
        right, wrong = -1, count
        while wrong - right > 1 and time.monotonic() < self.end:
            middle = (right + wrong) // 2
            right, wrong = (right, middle) if fails(middle) else (middle, wrong)
        return wrong

    def _ddmin(self, items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
        """As few of the items as it takes, in order."""
        kept, parts = list(items), 2
        while kept and time.monotonic() < self.end:
            size = max(1, -(-len(kept) // parts))
            chunks = [kept[at : at + size] for at in range(0, len(kept), size)]
            for chunk in chunks:
                rest = [item for item in kept if not any(item is one for one in chunk)]
                if fails(rest):
                    kept, parts = rest, max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    break
                parts = min(2 * parts, len(kept))
        return kept
