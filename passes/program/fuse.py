"""fuse: which values get memory, and which kernels compute them.

Units (see symc.passes.program.units) join into kernels when one loop nest can compute them:

  row      elementwise values and reductions over one index space and one set of axes: softmax, the norms, their
           gradients; every row of the space is finished before the next
  nest     a contraction, window or other loop nest, and elementwise values of its result (the epilogue)

The rules of joining are a table (symc.passes.program.joins). A join never makes a cycle between kernels, and never
crosses from the forward into the backward half. Every kernel says its form from here on (symc.ir.program.form). The
kernels come in the order of their first values, operands before users; `schedule` finds a better one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from symc.ir.errors import IRError
from symc.ir.op import Node, Recorder, parameter
from symc.ir.origins import Origin
from symc.ir.prims.elementwise import Const
from symc.ir.prims.flow import Branch, Loop
from symc.ir.prims.tuples import results as control_results
from symc.ir.program.form import Access, Axes, Form
from symc.ir.program.nodes import (
    BranchStep,
    KernelStep,
    LoopStep,
    Program,
    ProgramOutput,
    ProgramParam,
    ProgramUpdate,
    Result,
    Step,
    ViewStep,
    operand_node,
)
from symc.ir.syntax.printing import value_name
from symc.ir.tensor.graph import Graph, Output, Update, fresh_name, topological
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter
from symc.passes.manager.strict import has_strict
from symc.passes.manager.watching import definition
from symc.passes.program.joins import Cluster, Join, Limits, Refusal, refusal
from symc.passes.program.units import Unit, demanded_values, is_leaf_const, make_unit

#: of the kernels that read a value, a unit that reads it too tries to join the latest
RECENT = 4


@register_pass(
    "fuse", "tensor", "program", numerics="reassoc",
    requires=("inlined",), establishes=("fused",), breaks=("planned",),
)  # fmt: skip
class Fuse(Pass):
    """Group values that one loop nest can compute, so that what stays inside needs no memory."""

    limit: int = option(8, "what recomputing a value may cost before it is stored for several readers", min=0)
    max_ops: int = option(96, "largest kernel in nodes", min=1)
    epilogues: bool = option(True, "elementwise values join the contraction that makes them")
    rows: bool = option(True, "reductions and elementwise values over one space join")

    def run(self, graph: Graph, rw: Rewriter) -> Program:
        return _Fusion(graph, self, rw).program()


def explain_join(graph: Graph, one: str, other: str, options: Fuse | None = None) -> Refusal | None:
    """Why fuse computes two values of a graph in different kernels; None where it computes them in one.

    IRError for a name that no value has."""
    nodes = {name: node for node, name in graph.names.items()}
    for name in (one, other):
        if name not in nodes:
            raise IRError(f"no value of {graph.name} is named %{name}")
    fusion = _Fusion(graph, options or Fuse(), Rewriter("fuse", strict=has_strict(graph)))
    fusion.refusals = {}
    fusion.group()
    for name in (one, other):
        if nodes[name] not in fusion.home:
            return Refusal("memory", f"%{name} gets no memory: every kernel that reads it computes it again")
    order = {root: at for at, root in enumerate(fusion.home)}
    first, late = sorted((nodes[one], nodes[other]), key=order.__getitem__)
    cluster, own = fusion.home[first], fusion.home[late]
    if cluster is own:
        return None
    found = fusion.refusals.get((late, cluster.number))
    if found is not None:
        return found
    begun = own.units[0].root
    if begun is not late:
        return Refusal("first", f"%{graph.names[late]} joined the kernel of %{graph.names[begun]} before")
    shared = [leaf for leaf in fusion.unit_of[late].reads if cluster in fusion.readers[leaf]]
    if shared:
        reason = f"of the kernels that read %{graph.names[shared[0]]} only the latest {RECENT} are tried"
        return Refusal("recent", reason)
    return Refusal("apart", "neither kernel reads what the other makes, and there is nothing that both read")


class _Fusion:
    def __init__(self, graph: Graph, options: Fuse, rw: Rewriter) -> None:
        self.graph, self.options, self.rw = graph, options, rw
        self.limits = Limits(options.max_ops, options.epilogues, options.rows)
        self.demanded = demanded_values(graph, options.limit)
        self.forward = forward_nodes(graph) if graph.halved else None
        self.clusters: list[Cluster] = []
        self.home: dict[Node, Cluster] = {}
        self.unit_of: dict[Node, Unit] = {}
        self.readers: dict[Node, list[Cluster]] = {}
        #: names in use, and those of values that the graph does not name
        self.names = set(graph.names.values())
        self.extra: dict[Node, str] = {}
        #: numbers that loops and branches read from memory
        self.numbers: set[Node] = set()
        #: why a value did not join a cluster, where somebody asks
        self.refusals: dict[tuple[Node, int], Refusal] | None = None

    # -- grouping

    def program(self) -> Program:
        self.group()
        return self._emit()

    def group(self) -> None:
        """Every demanded value in a cluster."""
        order = {n: i for i, n in enumerate(self.graph.nodes())}
        for node in sorted(self.demanded, key=order.__getitem__):
            unit = make_unit(node, self.demanded)
            self.unit_of[node] = unit
            self._place(unit)

    def _place(self, unit: Unit) -> None:
        half = int(self.forward is not None and unit.root not in self.forward)
        sources = {self.home[leaf] for leaf in unit.reads if leaf in self.home}
        if unit.kind == "get":
            # a result of a nest with several: it is written where the nest runs
            (source,) = sources
            self._join(unit, source, sources)
            return
        candidates: dict[int, Cluster] = {c.number: c for c in sources}
        if unit.kind in ("map", "row") and self.options.rows:
            for leaf in unit.reads:
                for cluster in self.readers.get(leaf, ())[-RECENT:]:
                    candidates.setdefault(cluster.number, cluster)
        for number in sorted(candidates, reverse=True):
            cluster = candidates[number]
            refused = refusal(Join(unit, half, sources, cluster, self.limits, self.graph.names))
            if refused is None and self.rw.strict:
                refused = self._strict(unit, cluster)
            if refused is None:
                origin = self.rw.act(f"join {unit.root.op.name}", self._origins(unit), self._shown, unit, cluster)
                if origin is not None:
                    self._join(unit, cluster, sources)
                    return
            else:
                if self.refusals is not None:
                    self.refusals[unit.root, number] = refused
                name, other = self.graph.names[unit.root], self.graph.names[cluster.units[0].root]
                self.rw.miss(f"join/{refused.rule}", name, refused.reason, other)
        cluster = Cluster(len(self.clusters), unit, half)
        self.clusters.append(cluster)
        self._enter(unit, cluster, sources)

    def _strict(self, unit: Unit, cluster: Cluster) -> Refusal | None:
        """Values of strict regions are rounded as they are stored: each is a kernel of its own."""
        for node in (unit.root, *(u.root for u in cluster.units)):
            if node in self.graph.origins and self.graph.origins[node].strict:
                return Refusal("strict", f"%{self.graph.names[node]} is in a strict region")
        return None

    def _origins(self, unit: Unit) -> list[Origin]:
        return [self.graph.origins[unit.root]] if unit.root in self.graph.origins else []

    def _shown(self, unit: Unit, cluster: Cluster) -> tuple[str, str]:
        names = self.graph.names
        return definition(unit.root, names), f"in the kernel of {value_name(names[cluster.units[0].root])}"

    def _join(self, unit: Unit, cluster: Cluster, sources: set[Cluster]) -> None:
        cluster.add(unit)
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
        params = tuple(
            ProgramParam(graph.names[i], i.tensor, p.role, p.of, p.order) for i in graph.inputs for p in [parameter(i)]
        )
        kept = {n for n in (*graph.roots, *self.numbers) if isinstance(n.op, Const)}
        constants = tuple((self._name(n), n) for n in graph.nodes() if is_leaf_const(n) or n in kept)
        outputs = tuple(
            ProgramOutput(o.name, graph.names[o.node], o.role, o.of, o.order, o.phase) for o in graph.outputs
        )
        updates = tuple(ProgramUpdate(u.input, graph.names[u.value], u.phase) for u in graph.updates)
        cut = sum(1 for c in ordered if c.half == 0)
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

    def _control(self, node: Node, origin: Origin) -> Step:
        """A loop or branch: its graphs become programs as this one does."""
        op, operands = node.op, tuple(self._name(i) for i in node.inputs)
        self.numbers.update(i for i in node.inputs if isinstance(i.op, Const))
        results = tuple(Result(self._name(get), get.tensor) for get in control_results(node))

        def program(name: str, graph: Graph, first: int = 0) -> Program:
            """The outputs from `first` on are results, those before it are what the first inputs become."""
            ends = graph.output_nodes
            updates = [Update(parameter(i).input_name, n) for i, n in zip(graph.inputs, ends[:first]) if i is not n]
            outputs = graph.outputs[first:]
            inside = Graph(name, graph.inputs, outputs, tuple(updates), graph.names, graph.origins)
            return _Fusion(inside, self.options, self.rw).program()

        if isinstance(op, Loop):
            cond = program("cond", op.cond) if op.cond is not None else None
            body = program("body", op.body, op.carries)
            return LoopStep(operands, results, op.carries, op.xs, op.trips, body, cond, origin, backwards=op.backwards)
        assert isinstance(op, Branch)
        return BranchStep(operands, results, program("then", op.then), program("other", op.other), origin)

    def _name(self, node: Node) -> str:
        """The name of a value; of one that the graph does not name (a number in memory, a result that nobody reads) a
        new one."""
        known = self.graph.names.get(node) or self.extra.get(node)
        if known is None:
            known = fresh_name(node.op.name, self.names)
            self.names.add(known)
            self.extra[node] = known
        return known

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
        if first.op.is_control:
            return self._control(first, origins[0])
        yields = [r for r in roots if r in outside]
        reads, body = extract(graph, cluster.units, yields)
        # what it computes in passing belongs to it, too
        made_of = list(dict.fromkeys([*origins, *(o for node, o in body.origins.items() if node.inputs)]))
        origin = origins[0]
        if len(made_of) > 1:
            origin = self.rw.act("kernel", made_of, self._values, roots, yields, exact=True) or origin
        results = tuple(Result(graph.names[node], node.tensor) for node in yields)
        form = _form(cluster, reads, yields)
        return KernelStep(_label(roots), tuple(graph.names[r] for r in reads), results, body, form, origin)

    def _values(self, roots: Sequence[Node], yields: Sequence[Node]) -> tuple[str, str]:
        """What a kernel computes, and what of that it writes."""
        named = [", ".join(value_name(self.graph.names[n]) for n in nodes) for nodes in (roots, yields)]
        return named[0], f"kernel {_label(roots)} that writes {named[1]}"


def _form(cluster: Cluster, reads: Sequence[Node], yields: Sequence[Node]) -> Form:
    """The cluster's form: its units' accesses as those of one kernel."""
    kind, axes, members = cluster.kind, cluster.axes, cluster.members
    if kind == "host":
        return Form(kind, (), (), (None,) * len(reads), (None,) * len(yields))
    element = tuple(range(len(cluster.space)))
    row = tuple(a for a in element if a not in axes)
    found: dict[Node, Access] = {}
    for unit in cluster.units:
        by_row = unit.space != cluster.space
        for leaf, accesses in unit.reads.items():
            access: Access = None
            if len(accesses) == 1 and unit.kind != "nest":
                (access,) = accesses
            if by_row and access is not None:
                access = tuple(row[d] for d in access)
            if found.setdefault(leaf, access) != access:
                found[leaf] = None

    def stored(root: Node) -> Axes:
        return row if members[root].kind == "row" or members[root].space != cluster.space else element

    nest = cluster.units[0].root.op.nest or "once"
    return Form(kind, cluster.space, axes, tuple(found[leaf] for leaf in reads), tuple(map(stored, yields)), nest)


def forward_nodes(graph: Graph) -> set[Node]:
    """The nodes of the forward half: what its outputs and updates need. The rest waits for the cotangents."""
    roots = [output.node for output in graph.outputs if output.phase == "forward"]
    roots += [update.value for update in graph.updates if update.phase == "forward"]
    return {*topological(roots), *graph.inputs}


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
    outputs = tuple(Output(graph.names[y], new[y]) for y in yields)
    return reads, Graph("body", tuple(new[leaf] for leaf in reads), outputs, (), names, origins)


def _label(roots: Sequence[Node]) -> str:
    parts: list[str] = []
    for root in roots:
        if root.op.name not in parts:
            parts.append(root.op.name)
    return "_".join(parts[:4])
