"""What nobody would ask of a pass, and whoever writes one has not read anywhere: that it leaves the program that it is
given as it is, and gives the same when it runs again. It is looked at for passes from outside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import zip_longest

from symc.debug.trial import Wrong
from symc.ir.text import print_module
from symc.passes.manager.manager import Instrument, Manager, Module, Pass

#: how often a pass runs again
AGAIN = 2


class Conduct:
    """Of one run of a pass on a program, which begins now; `watching` are the instruments that it runs under."""

    def __init__(self, pass_: Pass, before: Module, watching: Sequence[Instrument]) -> None:
        self.pass_, self.before = pass_, before
        self._given = print_module(before)
        self._managers = [Manager(copy.deepcopy(list(watching)), verify=False) for _ in range(AGAIN)]

    def look(self, after: Module) -> bool:
        """Whether the pass changed anything. Wrong: "verifier" M8 where it changed what it was given, and "again" where
        it gives another program the next time."""
        name = self.pass_.name
        if print_module(self.before) != self._given:
            raise Wrong("verifier", name, "M8", "M8: it changes the very program that it is given")
        text = print_module(after)
        for manager in self._managers:
            other = print_module(manager.step(self.pass_, self.before))
            if other != text:
                had, has = next((a, b) for a, b in zip_longest(text.splitlines(), other.splitlines()) if a != b)
                message = f"when it runs again, on the same program, it gives another one:\n{had}\n{has}"
                raise Wrong("again", name, "program", message)
        return text != self._given
