"""Probes: values inside of a program that become results of it.

A probed value is an output of the graph before any pass sees it, so the planner keeps it to the end: what is shown can
never be memory that something else has taken over.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence

from symc.ir.op import Input, Node
from symc.ir.origins import symbols_of
from symc.ir.syntax.printing import graphs_of
from symc.ir.tensor.graph import Graph, Output, topological
from symc.ir.types import TupleType

#: what the outputs of probes are called
PREFIX = "probe."


def matching(graph: Graph, pattern: str) -> list[Node]:
    """The values whose names match a glob pattern, or, where none does, whose Symbols' names do."""
    nodes = [n for n in graph.nodes() if n in graph.names and not isinstance(n.type, TupleType)]
    named = [n for n in nodes if fnmatch.fnmatchcase(graph.names[n], pattern)]
    if named:
        return named
    inner = [n for n in nodes if n in graph.origins and not isinstance(n.op, Input)]
    return [n for n in inner if any(fnmatch.fnmatchcase(s.name, pattern) for s in symbols_of(graph.origins[n]))]


def probed(graph: Graph, patterns: Sequence[str]) -> Graph:
    """The graph with an output more, `probe.NAME`, for every value that one of the patterns matches. ValueError where
    none does."""
    chosen: dict[Node, None] = {}
    for pattern in patterns:
        found = matching(graph, pattern)
        if not found:
            inner = [g for g in graphs_of(graph) if g is not graph]
            raise ValueError(
                f"what matches {pattern!r} is computed in every turn of a loop, or in a branch: it has no value to show"
                if any(matching(g, pattern) for g in inner)
                else f"no value and no Symbol matches {pattern!r}"
            )
        chosen.update(dict.fromkeys(found))
    early = [o.node for o in graph.outputs if o.phase == "forward"]
    early += [u.value for u in graph.updates if u.phase == "forward"]
    forward = set(topological([*graph.inputs, *early])) if graph.halved else set(graph.nodes())
    added = [Output(PREFIX + graph.names[n], n, phase="forward" if n in forward else "backward") for n in chosen]
    return dataclasses.replace(graph, outputs=(*graph.outputs, *added))
