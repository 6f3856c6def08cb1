"""What nobody would ask of a pass, and whoever writes one has not read anywhere: that it leaves the program that it is
given as it is, and gives the same when it runs again. It is looked at for passes from outside."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import zip_longest

from symc.debug.reading import turns
from symc.debug.trial import Wrong
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.syntax.printing import regions_of
from symc.ir.tensor.graph import Graph
from symc.ir.text import print_module
from symc.ops.base import OPERATORS, parse
from symc.passes.manager.manager import Instrument, Manager, Module, Pass
from symc.symbol.compose import split_attributes

#: how often a pass runs again
AGAIN = 2
#: elements of all values that a program may have in any case, and how many times as many as before
ELEMENTS, TIMES = 10**8, 100


class Conduct:
    """Of one run of a pass on a program, which begins now; `watching` are the instruments that it runs under."""

    def __init__(self, pass_: Pass, before: Module, watching: Sequence[Instrument]) -> None:
        self.pass_, self.before = pass_, before
        self._given = print_module(before)
        self._managers = [Manager(copy.deepcopy(list(watching)), verify=False) for _ in range(AGAIN)]

    def look(self, after: Module) -> bool:
        """Whether the pass changed anything. Wrong: "verifier" M8 where it changed what it was given, and M9 where two
        values have exchanged their names, "refused" where the program explodes, and "again" where it gives another
        program the next time."""
        name = self.pass_.name
        now = print_module(self.before)
        if now != self._given:
            had, has = _first_change(self._given, now)
            raise Wrong("verifier", name, "M8", f"M8: it changes the very program that it is given:\n{had}\n{has}")
        few, many = elements_of(self.before), elements_of(after)
        if many > max(ELEMENTS, TIMES * few):
            largest = _largest(after)
            alone = f" (%{largest} most of them)" if largest else ""
            message = f"what it gives computes {many:.2g} elements{alone}, what it was given {few:.2g}: nothing is run"
            raise Wrong("refused", name, "size", message, largest)
        if isinstance(after, SymbolModule):
            self._operators(after)
        exchanged = exchanged_names(self.before, after)
        if exchanged:
            raise Wrong(
                "verifier", name, "M9", f"M9: %{exchanged[0]} is called %{exchanged[1]} now, which is another value"
            )
        text = print_module(after)
        for manager in self._managers:
            other = print_module(manager.step(self.pass_, self.before))
            if other != text:
                had, has = _first_change(text, other)
                message = f"when it runs again, on the same program, it gives another one:\n{had}\n{has}"
                raise Wrong("again", name, "program", message)
        return text != self._given

    def _operators(self, after: SymbolModule) -> None:
        """Wrong where an operator that the pass made computes something else than its text says."""
        known = set(self.before.graph.nodes()) if isinstance(self.before, SymbolModule) else set()
        for node in after.graph.nodes():
            if node.is_variable or node in known or node.subgraphs or node.op not in OPERATORS:
                continue
            own, _ = split_attributes(OPERATORS[node.op], node.attrs)
            if parse(OPERATORS[node.op], own) != node.definition:
                message = f"M10: the definition of %{node.name} is another {node.op} than its attributes say"
                raise Wrong("verifier", self.pass_.name, "M10", message, node.name)


def exchanged_names(before: Module, after: Module) -> tuple[str, str] | None:
    """A value's name and its new one, which was that of another value that is still there; None if there is none."""
    if not isinstance(before, Graph) or not isinstance(after, Graph):
        return None
    called = {name: node for node, name in before.names.items()}
    for node, name in before.names.items():
        now = after.names.get(node, name)
        if now != name and now in called and called[now] in after.names:
            return name, now
    return None


def elements_of(module: Module) -> int:
    """Elements of all values that a program computes; of loops, the turns that its statements take."""
    if isinstance(module, Graph):
        types = [t for n in module.nodes() if n.inputs for t in getattr(n.type, "items", (n.type,))]
        inner = [region for n in module.nodes() if n.op.is_control for _, region in regions_of(n.op)]
        return sum(math.prod(t.shape) for t in types) + sum(map(elements_of, inner))
    if isinstance(module, LoopModule):
        return sum(turns(kernel.body) for kernel in module.kernels)
    if isinstance(module, Program):
        bodies = [step.body for step in module.steps if isinstance(step, KernelStep)]
        return sum(map(elements_of, bodies))
    return 0


def _largest(module: Module) -> str:
    """The name of a graph's largest value; "" of other modules."""
    if not isinstance(module, Graph):
        return ""
    sizes = {name: math.prod(n.shape) for n, name in module.names.items() if n.inputs and hasattr(n.type, "shape")}
    return max(sizes, key=sizes.__getitem__, default="")


def _first_change(one: str, other: str) -> tuple[str | None, str | None]:
    """The first lines in which two texts differ."""
    return next((a, b) for a, b in zip_longest(one.splitlines(), other.splitlines()) if a != b)
