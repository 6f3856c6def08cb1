"""fuse: which values get memory, and which kernels compute them.

Units (see symc.passes.units) join into kernels when one loop nest can compute them:

  row      elementwise values and reductions over one index space and one set of axes: softmax, the norms, their
           gradients; every row of the space is finished before the next
  nest     a contraction, window or other loop nest, and elementwise values of its result (the epilogue)

A join never makes a cycle between kernels, and never crosses from the forward into the backward half. The kernels come
in the order of their first values, operands before users; `schedule` finds a better one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from symc.ir.graph import Graph, Node, Origin, Recorder
from symc.ir.op import parameter
from symc.ir.prims.elementwise import Const
from symc.ir.program import KernelStep, Program, ProgramParam, Result, Step, ViewStep, operand_node
from symc.passes.partition import forward_nodes
from symc.passes.pipeline import Pass, option, register_pass
from symc.passes.rewrite import Rewriter
from symc.passes.units import Unit, demanded_values, is_leaf_const, make_unit


class Cluster:
    """Units computed by one kernel. `before` is the set of clusters (as bits) that must run earlier."""

    def __init__(self, number: int, unit: Unit, half: int) -> None:
        self.number, self.half = number, half
        self.units = [unit]
        self.kind, self.space, self.axes = unit.kind, unit.space, unit.axes
        self.before = 0
        self.dead = False

    @property
    def outer(self) -> tuple[int, ...]:
        """Axes of the space that are not reduced."""
        return tuple(a for a in range(len(self.space)) if a not in self.axes)

    def outer_shape(self) -> tuple[int, ...]:
        return tuple(self.space[a] for a in self.outer)


@register_pass("fuse", takes="tensor", gives="program", numerics="reassoc")
class Fuse(Pass):
    """Group values that one loop nest can compute, so that what stays inside needs no memory."""

    limit: int = option(8, "what recomputing a value may cost before it is stored for several readers", min=0)
    max_ops: int = option(96, "largest kernel in nodes", min=1)
    epilogues: bool = option(True, "elementwise values join the contraction that makes them")
    rows: bool = option(True, "reductions and elementwise values over one space join")

    def run(self, graph: Graph, rw: Rewriter) -> Program:
        return _Fusion(graph, self, rw).program()


class _Fusion:
    def __init__(self, graph: Graph, options: Fuse, rw: Rewriter) -> None:
        self.graph, self.options, self.rw = graph, options, rw
        self.demanded = demanded_values(graph, options.limit)
        self.forward = forward_nodes(graph, graph.cut) if graph.cut else set()
        self.clusters: list[Cluster] = []
        self.home: dict[Node, Cluster] = {}
        self.unit_of: dict[Node, Unit] = {}
        self.readers: dict[Node, list[Cluster]] = {}

    # -- grouping

    def program(self) -> Program:
        order = {n: i for i, n in enumerate(self.graph.nodes())}
        for node in sorted(self.demanded, key=order.__getitem__):
            unit = make_unit(node, self.demanded)
            self.unit_of[node] = unit
            self._place(unit)
        return self._emit()

    def _place(self, unit: Unit) -> None:
        half = 0 if not self.forward or unit.root in self.forward else 1
        sources = {self.home[leaf] for leaf in unit.reads if leaf in self.home}
        if unit.kind == "get":
            # a result of a nest with several: it is written where the nest runs
            (source,) = sources
            self._join(unit, source, sources)
            return
        candidates: dict[int, Cluster] = {c.number: c for c in sources}
        if unit.kind in ("map", "row") and self.options.rows:
            for leaf in unit.reads:
                for cluster in self.readers.get(leaf, ())[-4:]:
                    candidates.setdefault(cluster.number, cluster)
        for number in sorted(candidates, reverse=True):
            cluster = candidates[number]
            if cluster.kind == "map" and unit.kind == "map" and not self._ready(cluster, sources):
                continue
            if cluster.half == half and self._fits(unit, cluster) and self._acyclic(cluster, sources):
                origin = self.rw.act(f"join {unit.root.op.name}", ())
                if origin is not None:
                    self._join(unit, cluster, sources)
                    return
        cluster = Cluster(len(self.clusters), unit, half)
        self.clusters.append(cluster)
        self._enter(unit, cluster, sources)

    def _fits(self, unit: Unit, cluster: Cluster) -> bool:
        if unit.kind in ("view", "nest") or cluster.kind == "view":
            return False
        if sum(len(u.cone) for u in cluster.units) + len(unit.cone) > self.options.max_ops:
            return False
        inside = {u.root: u for u in cluster.units}
        if cluster.kind == "nest":
            nest = cluster.units[0].root
            if not self.options.epilogues or unit.kind != "map" or unit.space != cluster.space:
                return False
            if not getattr(nest.op, "epilogue", False):
                return False
            return all(access == {"same"} for leaf, access in unit.reads.items() if leaf in inside)
        if not self.options.rows:
            return False
        axes = cluster.axes
        if unit.kind == "row":
            if unit.space != cluster.space or axes and axes != unit.axes:
                return False
            if not axes and any(u.kind != "map" for u in cluster.units):
                return False
            axes = unit.axes
        outer = tuple(a for a in range(len(cluster.space)) if a not in axes)
        full = unit.space == cluster.space and (unit.kind == "row" or not self._is_outer(unit, cluster, outer, inside))
        if not full and not (axes and unit.kind == "map" and unit.space == tuple(cluster.space[a] for a in outer)):
            return False
        for leaf, accesses in unit.reads.items():
            if leaf not in inside:
                continue
            leaf_full = (
                inside[leaf].kind == "map" and leaf.shape == cluster.space and not self._outer_member(leaf, cluster)
            )
            wanted = "same" if leaf_full == full else outer
            if (leaf_full and not full) or accesses != {wanted}:
                return False
        return True

    def _is_outer(self, unit: Unit, cluster: Cluster, outer: tuple[int, ...], inside: dict[Node, Unit]) -> bool:
        """Whether a value of the whole space's shape is really one of a row (only where the two shapes agree)."""
        return bool(cluster.axes) and unit.space == tuple(cluster.space[a] for a in outer)

    def _outer_member(self, leaf: Node, cluster: Cluster) -> bool:
        return bool(cluster.axes) and leaf.shape == cluster.outer_shape()

    def _acyclic(self, cluster: Cluster, sources: set[Cluster]) -> bool:
        bit = 1 << cluster.number
        return not any(source is not cluster and source.before & bit for source in sources)

    def _ready(self, cluster: Cluster, sources: set[Cluster]) -> bool:
        """Whether all that a unit reads is there when the cluster runs, so that joining delays nothing; of a unit that
        reads parameters only, the result would just be kept longer."""
        return bool(sources) and all(source is cluster or cluster.before >> source.number & 1 for source in sources)

    def _join(self, unit: Unit, cluster: Cluster, sources: set[Cluster]) -> None:
        if unit.kind == "row" and not cluster.axes:
            cluster.axes, cluster.kind = unit.axes, "row"
        cluster.units.append(unit)
        self._enter(unit, cluster, sources)

    def _enter(self, unit: Unit, cluster: Cluster, sources: set[Cluster]) -> None:
        self.home[unit.root] = cluster
        for leaf in unit.reads:
            readers = self.readers.setdefault(leaf, [])
            if not readers or readers[-1] is not cluster:
                readers.append(cluster)
        added = 0
        for source in sources:
            if source is not cluster:
                added |= source.before | 1 << source.number
        new = added & ~cluster.before
        if new and cluster.number == len(self.clusters) - 1:
            cluster.before |= new  # the newest cluster: nothing follows it yet
        elif new:
            cluster.before |= new
            bit = 1 << cluster.number
            for other in self.clusters:
                if other.before & bit:
                    other.before |= new

    # -- the program

    def _emit(self) -> Program:
        graph = self.graph
        outside = self._read_outside()
        steps = {cluster.number: self._step(cluster, outside) for cluster in self.clusters}
        ordered = self._ordered()
        params = tuple(ProgramParam(graph.names[i], i.tensor, parameter(i).role) for i in graph.inputs)
        kept = {n for n in graph.roots if isinstance(n.op, Const)}
        constants = tuple((graph.names[n], n) for n in graph.nodes() if is_leaf_const(n) or n in kept)
        outputs = tuple((name, graph.names[node]) for name, node in graph.outputs)
        updates = tuple((u.input, graph.names[u.value], u.phase) for u in graph.updates)
        cut = sum(1 for c in ordered if c.half == 0) if graph.cut else len(ordered)
        return Program(graph.name, params, tuple(steps[c.number] for c in ordered), outputs, updates, constants, cut)

    def _ordered(self) -> list[Cluster]:
        """The kernels with operands before users: the forward half first, and of those that can run the oldest."""
        waits: dict[int, int] = {}
        followers: dict[int, list[int]] = {}
        for cluster in self.clusters:
            reads = (self.home.get(leaf) for unit in cluster.units for leaf in unit.reads)
            sources = {source.number for source in reads if source is not None and source is not cluster}
            waits[cluster.number] = len(sources)
            for source in sources:
                followers.setdefault(source, []).append(cluster.number)
        ready = [(c.half, c.number) for c in self.clusters if not waits[c.number]]
        heapq.heapify(ready)
        ordered: list[Cluster] = []
        while ready:
            _, number = heapq.heappop(ready)
            ordered.append(self.clusters[number])
            for follower in followers.get(number, ()):
                waits[follower] -= 1
                if not waits[follower]:
                    heapq.heappush(ready, (self.clusters[follower].half, follower))
        return ordered

    def _read_outside(self) -> set[Node]:
        """The demanded values that some other kernel, a result or an update reads."""
        outside = set(self.graph.roots)
        for cluster in self.clusters:
            for unit in cluster.units:
                outside.update(leaf for leaf in unit.reads if self.home.get(leaf) is not cluster)
        return outside

    def _step(self, cluster: Cluster, outside: set[Node]) -> Step:
        graph = self.graph
        roots = [u.root for u in cluster.units]
        origins = [graph.origins[r] for r in roots if r in graph.origins]
        first = cluster.units[0].root
        if cluster.kind == "view":
            return ViewStep(graph.names[first.inputs[0]], Result(graph.names[first], first.tensor), origins[0])
        yields = [r for r in roots if r in outside]
        reads, body = extract(graph, cluster.units, yields)
        origin = origins[0]
        if len({id(o) for o in origins}) > 1:
            origin = self.rw.act("kernel", origins) or origin
        results = tuple(Result(graph.names[node], node.tensor) for node in yields)
        return KernelStep(_label(roots), tuple(graph.names[r] for r in reads), results, body, origin)


def extract(graph: Graph, units: Sequence[Unit], yields: Sequence[Node]) -> tuple[list[Node], Graph]:
    """The values that the units read, and the units as a graph over them."""
    new: dict[Node, Node] = {}
    reads: list[Node] = []
    names: dict[Node, str] = {}
    origins: dict[Node, Origin] = {}
    with Recorder():
        for unit in units:
            for leaf in unit.reads:
                if leaf not in new:
                    new[leaf] = made = operand_node(len(reads), leaf.tensor)
                    reads.append(leaf)
                    if leaf in graph.origins:
                        origins[made] = graph.origins[leaf]
            for node in unit.cone:
                if node not in new:
                    new[node] = made = node.on([new.get(i, i) for i in node.inputs]) if node.inputs else node
                    if node in graph.names:
                        names[made] = graph.names[node]
                    if node in graph.origins:
                        origins[made] = graph.origins[node]
    outputs = tuple((graph.names[y], new[y]) for y in yields)
    return reads, Graph("body", tuple(new[leaf] for leaf in reads), outputs, (), names, origins)


def _label(roots: Sequence[Node]) -> str:
    parts: list[str] = []
    for root in roots:
        if root.op.name not in parts:
            parts.append(root.op.name)
    return "_".join(parts[:4])
