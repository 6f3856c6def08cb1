"""Compiled programs by what they were compiled from, for as long as something uses them.

Binding one Symbol twice with the same types (a module that is reshaped back, a Predictor beside an Executor, an
executor for each thread) gives two sets of arrays and one program. Nothing is kept that nobody has bound.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from symc.ir.modules import SymbolModule
from symc.ir.process import lock

E = TypeVar("E")
_lock = lock("programs")
_programs: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()


class _Same:
    """A thing that equals nothing but itself. Operators of equal attributes need not be the same: those that users
    write in Python carry what they were made with."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def program_of(module: SymbolModule, options: Hashable, make: Callable[[], E]) -> E:
    """The program of `module` under `options`: one that is in use, or what `make` gives. Threads that ask for a new one
    at once make it each; the kernels are compiled once."""
    key = (_key(module), options)
    with _lock:
        found: E | None = _programs.get(key)
    if found is None:
        made = make()
        with _lock:
            found = _programs.setdefault(key, made)
    return found


def _key(module: SymbolModule) -> Hashable:
    """Equal for modules that compile to the same program with the same names and origins. A Symbol may be changed after
    it was bound, so this is its content as it is now."""
    nodes = module.graph.nodes()
    at: dict[Any, int] = {node: i for i, node in enumerate(nodes)}
    return (
        module.name,
        module.output_names,
        tuple((at[node], output) for node, output in module.graph.outputs),
        tuple(
            (
                *(n.name, n.op, n.where, n.strict, _Same(n.definition)),
                tuple((at[source], output) for source, output in n.inputs),
            )
            for n in nodes
        ),
        tuple(sorted(module.types.items())),
        tuple(sorted(module.roles.items())),
        tuple(sorted(module.shapes.items())),
    )
