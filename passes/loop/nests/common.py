"""What the modules of loop nests share: the table of nests, and accumulation.

Each nest writes the plain loops: independent loops over the result, reductions inside. `store(index, value)` runs
the kernel's epilogue at an index and stores what the kernel yields. Padding that a nest needs is done by its reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symc.ir.definitions import define
from symc.ir.op import Index, Node, Primitive, Ref
from symc.ir.prims import elementwise as ew
from symc.passes.loop.build import Builder

Read = Callable[[Index], Ref]
Store = Callable[[Index, Ref], None]
Nest = Callable[[Builder, Node, Sequence[Read], Store], None]

#: filled by the modules nests_linear, nests_window and nests_copy
NESTS: dict[type[Primitive], Nest] = {}


def nest(op: type[Primitive]) -> Callable[[Nest], Nest]:
    """Register the loop nest of a primitive."""

    def register(function: Nest) -> Nest:
        define(NESTS, [op], function, "the nest of primitive")
        return function

    return register


def multiply_add(b: Builder, x: Ref, y: Ref, held: Ref) -> Ref:
    return b.apply(ew.Fma(), [b.cast(x, held.dtype), b.cast(y, held.dtype), held])
