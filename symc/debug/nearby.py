"""What a net's own values do not show: a pass from outside that takes > for >= is right as long as nothing is equal.
Every value that it changes is looked at in a program of its own, on small whole numbers and on those at the edges of
their type: the pass runs on that program, so it is wrong there, or right."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from symc.debug.compare import changed_between
from symc.debug.conduct import elements_of
from symc.debug.shrink import around
from symc.debug.trial import Trial
from symc.ir.tensor.graph import Graph
from symc.ir.types import TensorType
from symc.passes.manager.manager import Pass

#: operators before the value that stay
DEPTHS = (1, 2, 3)
#: values that are looked at, and elements that their programs may have
MOST, ELEMENTS = 16, 200_000


def nearby(trial: Trial, before: Graph, after: Graph, pass_: Pass) -> Iterator[Trial]:
    """Trials of the pass on a part of the graph that it was given, for each kind of value that it changed."""
    seen = set()
    whole = dataclasses.replace(
        trial, module=before, passes=(pass_,), given={}, requests={}, native=False, rules=False, smooth=False,
        bound=False, wide=False,
    )  # fmt: skip
    for node in changed_between(before, after):
        kind = (node.op, tuple(i.type for i in node.inputs))
        if kind in seen or not isinstance(node.type, TensorType) or len(seen) == MOST:
            continue
        seen.add(kind)
        for depth in DEPTHS:
            small = around(whole, node, depth)
            if small is None or elements_of(small.module) > ELEMENTS:
                continue
            for edge in (False, True):
                yield dataclasses.replace(small, whole=not edge, edge=edge)
