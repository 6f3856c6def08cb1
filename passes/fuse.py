"""fuse: which values get memory, and which kernels compute them.

Units (see symc.passes.units) join into kernels when one loop nest can compute them:

  row      elementwise values and reductions over one index space and one set of axes: softmax, the norms, their
           gradients; every row of the space is finished before the next
  nest     a contraction, window or other loop nest, and elementwise values of its result (the epilogue)

A join never makes a cycle between kernels, and never crosses from the forward into the backward half.
The kernels are then put in an order that keeps few bytes alive.
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

    limit: int = option(8, "what recomputing a value may cost before it is stored for several readers")
    max_ops: int = option(96, "largest kernel in nodes")
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
        steps: dict[int, Step] = {}
        for cluster in self.clusters:
            steps[cluster.number] = self._step(cluster, outside)
        ordered = _schedule(self.clusters, steps, {graph.names[n] for n in graph.roots}, self._overwrites())
        params = tuple(ProgramParam(graph.names[i], i.tensor, parameter(i).role) for i in graph.inputs)
        kept = {n for n in graph.roots if isinstance(n.op, Const)}
        constants = tuple((graph.names[n], n) for n in graph.nodes() if is_leaf_const(n) or n in kept)
        outputs = tuple((name, graph.names[node]) for name, node in graph.outputs)
        updates = tuple((u.input, graph.names[u.value], u.phase) for u in graph.updates)
        cut = sum(1 for c in ordered if c.half == 0) if graph.cut else len(ordered)
        return Program(graph.name, params, tuple(steps[c.number] for c in ordered), outputs, updates, constants, cut)

    def _overwrites(self) -> list[tuple[int, int]]:
        """(earlier, later) pairs of clusters: readers of a parameter before the cluster that computes its new value,
        so that the new value can be written in place. Pairs that would make a cycle are left out."""
        pairs: list[tuple[int, int]] = []
        by_name = {self.graph.names[i]: i for i in self.graph.inputs}
        added: dict[int, int] = {}
        for update in self.graph.updates:
            writer = self.home.get(update.value)
            parameter = by_name[update.input]
            if writer is None:
                continue
            for reader in self.readers.get(parameter, ()):
                bit = 1 << writer.number
                behind = reader.before | added.get(reader.number, 0)
                if reader is not writer and not behind & bit and writer.half >= reader.half:
                    pairs.append((reader.number, writer.number))
                    # everything that follows the writer now follows the reader, too
                    new = behind | 1 << reader.number
                    added[writer.number] = added.get(writer.number, 0) | new
                    for other in self.clusters:
                        if other.before & bit or added.get(other.number, 0) & bit:
                            added[other.number] = added.get(other.number, 0) | new
        return pairs

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


def _schedule(
    clusters: list[Cluster], steps: dict[int, Step], kept: set[str], pairs: Sequence[tuple[int, int]]
) -> list[Cluster]:
    """An order of the kernels: the forward half first; of those that can run, the one that lets go of most bytes
    (a list schedule), and of equal ones the earliest."""
    from symc.ir.program import operands_of, results_of

    producer: dict[str, int] = {}
    size: dict[str, int] = {}
    for number, step in steps.items():
        for result in results_of(step):
            producer[result.name] = number
            size[result.name] = result.type.nbytes if isinstance(step, KernelStep) else 0
    readers: dict[str, set[int]] = {}
    waits: dict[int, int] = {}
    followers: dict[int, set[int]] = {}
    for number, step in steps.items():
        sources = {producer[o] for o in operands_of(step) if o in producer}
        waits[number] = len(sources)
        for source in sources:
            followers.setdefault(source, set()).add(number)
        for operand in operands_of(step):
            readers.setdefault(operand, set()).add(number)
    for earlier, later in pairs:
        if later not in followers.setdefault(earlier, set()):
            followers[earlier].add(later)
            waits[later] += 1
    remaining = {name: len(found) for name, found in readers.items()}

    def growth(number: int) -> int:
        step = steps[number]
        made = sum(size[r.name] for r in results_of(step) if r.name not in kept)
        freed = sum(size.get(o, 0) for o in set(operands_of(step)) if remaining[o] == 1 and o not in kept)
        return made - freed

    half = {c.number: c.half for c in clusters}
    ready = [(half[n], min(growth(n), 0), n) for n in steps if waits[n] == 0]
    heapq.heapify(ready)
    ordered: list[Cluster] = []
    while ready:
        _, believed, number = heapq.heappop(ready)
        actual = min(growth(number), 0)
        if actual < believed:  # readers of its operands have run since: look again with what it frees now
            heapq.heappush(ready, (half[number], actual, number))
            continue
        ordered.append(clusters[number])
        for operand in set(operands_of(steps[number])):
            remaining[operand] -= 1
        for follower in sorted(followers.get(number, ())):
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(ready, (half[follower], min(growth(follower), 0), follower))
    return ordered
