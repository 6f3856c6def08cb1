"""Level 1, the tensor graph: immutable, interned, typed nodes.

    node   = op(inputs...)          op is a Primitive with its attributes; a node that exists is well typed
    graph  = inputs, outputs, updates {input: node}, names and origins of the nodes

Two nodes with the same op and inputs are the same object, so common subexpressions are shared by construction.
Names and origins belong to a graph, not to a node: they never keep equal nodes apart. (Loops and branches hold graphs
with origins of their own: they are the same only if those are.)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from symc.ir.changed import replace
from symc.ir.display import Drawn
from symc.ir.op import Node
from symc.ir.origins import Origin, SymOrigin, first_symbol
from symc.ir.process import once


def topological(roots: Iterable[Node]) -> list[Node]:
    """Every node the roots need, operands before users, in a deterministic order; no recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        if root in done:
            continue
        done.add(root)
        stack: list[tuple[Node, Iterator[Node]]] = [(root, iter(root.inputs))]
        while stack:
            node, waiting = stack[-1]
            for source in waiting:
                if source not in done:
                    done.add(source)
                    if source.inputs:
                        stack.append((source, iter(source.inputs)))
                        break
                    order.append(source)
            else:
                stack.pop()
                order.append(node)
    return order


@dataclass(frozen=True)
class Output:
    """A value that a graph gives, under a name that says nothing: what it is stands beside it.

    `role` is "result" or "gradient" (then `of` is the name of the input, and `order` how often it was derived);
    `phase` is the half of the program in which the caller's buffer gets the value ("forward" or "backward")."""

    name: str
    node: Node
    role: str = "result"
    of: str = ""
    order: int = 1
    phase: str = "forward"


@dataclass(frozen=True)
class Update:
    """`input` becomes `value`; `phase` is the half after which the caller sees it ("forward" or "backward"; an input
    may have an update in both). Whoever reads the input in the graph reads what it was before the run."""

    input: str
    value: Node
    phase: str = "forward"


@dataclass(frozen=True, eq=False, repr=False)
class Graph(Drawn):
    """A function over tensors. `inputs` are nodes of the primitive `input` (name, role, type)."""

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[Output, ...]
    updates: tuple[Update, ...] = ()
    names: Mapping[Node, str] = field(default_factory=dict)
    origins: Mapping[Node, Origin] = field(default_factory=dict)

    @property
    def halved(self) -> bool:
        """Whether there is a backward half."""
        return "backward" in [*(o.phase for o in self.outputs), *(u.phase for u in self.updates)]

    @property
    def output_nodes(self) -> list[Node]:
        return [output.node for output in self.outputs]

    @property
    def roots(self) -> list[Node]:
        return [*self.output_nodes, *(update.value for update in self.updates)]

    @once
    def _order(self) -> tuple[Node, ...]:
        return tuple(topological([*self.inputs, *self.roots]))

    def nodes(self) -> tuple[Node, ...]:
        """All nodes in topological order: the inputs first (used or not), then what the roots need."""
        return self._order

    def _key(self) -> tuple[object, ...]:
        return (self.inputs, self.outputs, self.updates)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Graph) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        """`<Graph mlp: 12 nodes, (data: f32[2,3]) -> (out: f32[2,4])>`; the text is that of symc.ir.text."""
        inputs = [f"{getattr(i.op, 'input_name', '?')}: {i.type}" for i in self.inputs]
        outputs = [f"{o.name}: {o.node.type}" for o in self.outputs]
        return f"<Graph {self.name}: {len(self.nodes())} nodes, ({few(inputs)}) -> ({few(outputs)})>"


def few(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


class HasPhase(Protocol):
    """An update of a graph or a program."""

    @property
    def phase(self) -> str: ...


U = TypeVar("U", bound=HasPhase)


def in_order(updates: Iterable[U]) -> list[U]:
    """Updates in the order in which they happen: one input may have one in each half."""
    return sorted(updates, key=lambda update: update.phase == "backward")


def fresh_name(wished: str, taken: Container[str]) -> str:
    """The wished name, with a number where it is taken."""
    name, count = wished, 0
    while name in taken:
        count += 1
        name = f"{wished}.{count}"
    return name


def users_of(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """Def-use chains: for every node its users, in order (a user that reads a value twice is listed once)."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        users.setdefault(node, [])
        for source in dict.fromkeys(node.inputs):
            users.setdefault(source, []).append(node)
    return users


def finish(
    name: str,
    inputs: Sequence[Node],
    outputs: Sequence[Output | tuple[str, Node]],
    updates: Sequence[Update] = (),
    names: Mapping[Node, str] | None = None,
    origins: Mapping[Node, Origin] | None = None,
) -> Graph:
    """A Graph whose names are complete and unique: nodes without one get `<symbol>.<op>` and a counter per stem.
    Numbers have none unless they are results: they are written where they are used. An output that is just a name and
    a node is a result."""
    names, origins = names or {}, origins or {}
    full: dict[Node, str] = {}
    used: set[str] = set()
    given = tuple(o if isinstance(o, Output) else Output(*o) for o in outputs)
    roots = [*(o.node for o in given), *(u.value for u in updates)]
    nodes = topological([*inputs, *roots])
    unnamed = {n for n in nodes if not n.inputs and n.op.is_literal(n)}.difference(roots)
    for node in nodes:
        wished = names.get(node) if node.inputs else getattr(node.op, "input_name", None) or names.get(node)
        if wished and wished not in used:
            full[node] = wished
            used.add(wished)
    counters: dict[str, int] = {}
    for node in nodes:
        if node in full or node in unnamed:
            continue
        origin = origins.get(node)
        source = first_symbol(origin) if origin is not None else None
        stem = f"{source.name}.{node.op.name}" if source is not None else node.op.name
        candidate = stem
        while candidate in used:
            counters[stem] = counters.get(stem, 0) + 1
            candidate = f"{stem}.{counters[stem]}"
        full[node] = candidate
        used.add(candidate)
    kept = {node: origins[node] for node in nodes if node in origins}
    made = Graph(name, tuple(inputs), given, tuple(updates), full, kept)
    made.__dict__["_order"] = tuple(nodes)  # what `once` would find again
    return made


def without_inputs(graph: Graph, unused: Sequence[Node]) -> Graph:
    """The graph without inputs that nothing in it reads."""
    if not unused:
        return graph
    dropped = set(unused)
    made = replace(graph, inputs=tuple(i for i in graph.inputs if i not in dropped))
    made.__dict__["_order"] = tuple(node for node in graph.nodes() if node not in dropped)
    return made


def with_origins(graph: Graph) -> Graph:
    """The graph with an origin for every value: one that has none, as of programs that are built by hand, comes from
    itself, by its name."""
    missing = [node for node in graph.nodes() if node not in graph.origins]
    if not missing:
        return graph
    made = {node: SymOrigin(graph.names.get(node, graph.name), node.op.name) for node in missing}
    return replace(graph, origins={**graph.origins, **made})
