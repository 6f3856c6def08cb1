"""Level 1, the tensor graph: immutable, interned, typed nodes.

    node   = op(inputs...)          op is a Primitive with its attributes; a node that exists is well typed
    graph  = inputs, outputs, updates {input: node}, names and origins of the nodes

Two nodes with the same op and inputs are the same object, so common subexpressions are shared by construction.
Names and origins belong to a graph, not to a node: they never keep equal nodes apart. (Loops and branches hold graphs
with origins of their own: they are the same only if those are.)
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, Union

from symc.ir.errors import TypeMismatch
from symc.ir.process import lock, once
from symc.ir.types import DType, Shape, TensorType, TupleType, Type

if TYPE_CHECKING:
    from symc.ir.op import Primitive

Scalar = Union[int, float, bool]


# --------------------------------------------------------------------------------------------- origins


@dataclass(frozen=True)
class SymOrigin:
    """The Symbol a value comes from: its name, MXNet operator, and the user's file and line (0: unknown)."""

    name: str
    op: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, eq=False)
class DerivedOrigin:
    """A value made by a pass: `fuse#3(...)`; parents are the origins it was made from (a shared DAG)."""

    pass_name: str
    action: int
    parents: tuple[Origin, ...]


Origin = Union[SymOrigin, DerivedOrigin]


def symbols_of(origin: Origin) -> list[SymOrigin]:
    """Every Symbol an origin goes back to, in order of first appearance."""
    return list(dict.fromkeys(_symbols(origin)))


def first_symbol(origin: Origin) -> SymOrigin | None:
    """The first of the Symbols an origin goes back to."""
    return next(_symbols(origin), None)


def _symbols(origin: Origin) -> Iterator[SymOrigin]:
    seen: set[int] = set()
    stack: list[Origin] = [origin]
    while stack:
        here = stack.pop()
        if isinstance(here, SymOrigin):
            yield here
        elif id(here) not in seen:
            seen.add(id(here))
            stack.extend(reversed(here.parents))


class Recorder:
    """Notes, while active, the origin and the wished name of every node that is built.

    `with Recorder() as rec: rec.origin = o; ...` gives all nodes built in between the origin `o`
    (the first one noted for a node stays).
    """

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self.origins: dict[Node, Origin] = {}
        self.names: dict[Node, str] = {}

    @classmethod
    def inside(cls) -> Recorder:
        """One for a graph that is traced while another is built: its nodes are not part of that one, but have the
        origin that is set there unless they get their own."""
        made = cls()
        made.origin = _active.recorder.origin if _active.recorder is not None else None
        return made

    @staticmethod
    def active() -> Recorder:
        """The recorder that notes what is built now; one that nobody reads if there is none."""
        return _active.recorder if _active.recorder is not None else Recorder()

    @contextmanager
    def at(self, origin: Origin | None) -> Iterator[None]:
        previous, self.origin = self.origin, origin
        try:
            yield
        finally:
            self.origin = previous

    def __enter__(self) -> Recorder:
        self._outer = _active.recorder
        _active.recorder = self
        return self

    def __exit__(self, *exc: object) -> None:
        _active.recorder = self._outer


class _Active(threading.local):
    recorder: Recorder | None = None


_active = _Active()


# --------------------------------------------------------------------------------------------- nodes


# A WeakValueDictionary in the few operations needed here, which every node made goes through.
class _Entry(weakref.ref["Node"]):
    __slots__ = ("key",)

    key: tuple[Primitive, tuple[object, ...]]


_interned: dict[tuple[Primitive, tuple[object, ...]], _Entry] = {}
_intern_lock = lock("nodes")


def _forget(entry: _Entry) -> None:
    with _intern_lock:
        if _interned.get(entry.key) is entry:
            del _interned[entry.key]


def _interned_node(op: Primitive, inputs: tuple[Node, ...], known: Type | None) -> Node:
    """The node op(inputs); its type where it is known already."""
    # Keyed by the inputs' ids, which are stable while the node (and so its inputs) lives; holding the
    # inputs themselves in the key would make freeing a deep chain recurse.
    key = (op, (*map(id, inputs), *op.marks()) if op.is_control else tuple(map(id, inputs)))
    entry = _interned.get(key)
    node = entry() if entry is not None else None
    if node is None:
        made = Node()
        made.op, made.inputs = op, inputs
        if known is not None:
            made.type = known
        else:
            made.type = op.type([tensor_type(i, op) for i in inputs]) if op.takes_tensors else op.type_of_nodes(inputs)
        entry = _Entry(made, _forget)
        entry.key = key
        with _intern_lock:  # another thread may have made it meanwhile
            earlier = _interned.get(key)
            node = earlier() if earlier is not None else None
            if node is None:
                _interned[key] = entry
                node = made
    recorder = _active.recorder
    if recorder is not None and recorder.origin is not None:
        recorder.origins.setdefault(node, recorder.origin)
    return node


class Node:
    """One SSA value: a primitive applied to other nodes. Make them with `Node.make` (or a primitive's function)."""

    __slots__ = ("op", "inputs", "type", "__weakref__")

    op: Primitive
    inputs: tuple[Node, ...]
    type: Type

    @staticmethod
    def make(op: Primitive, inputs: Sequence[Node] = ()) -> Node:
        """The node op(inputs), typed and interned. Raises TypeMismatch where the op has no type for the inputs."""
        return _interned_node(op, tuple(inputs), None)

    def on(self, inputs: Sequence[Node]) -> Node:
        """The same operation on other operands, as Node.make. Operands of the same types need no new type."""
        op, before = self.op, self.inputs
        same = op.takes_tensors and len(inputs) == len(before)
        for a, b in zip(before, inputs):
            same = same and (a.type is b.type or a.type == b.type)
        return _interned_node(op, tuple(inputs), self.type if same else None)

    @property
    def tensor(self) -> TensorType:
        """The type of a node with one result."""
        if isinstance(self.type, TupleType):
            raise TypeMismatch(f"{self.op.name} has several results; take one with get")
        return self.type

    @property
    def shape(self) -> Shape:
        return self.tensor.shape

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def rank(self) -> int:
        return len(self.tensor.shape)

    def __repr__(self) -> str:
        return f"<{self.op.name}: {self.type}>"

    # Arithmetic sugar; the functions live in symc.ir.prims.elementwise.
    def __add__(self, other: Node | Scalar) -> Node:
        return _binary("add", self, other)

    def __radd__(self, other: Scalar) -> Node:
        return _binary("add", other, self)

    def __sub__(self, other: Node | Scalar) -> Node:
        return _binary("sub", self, other)

    def __rsub__(self, other: Scalar) -> Node:
        return _binary("sub", other, self)

    def __mul__(self, other: Node | Scalar) -> Node:
        return _binary("mul", self, other)

    def __rmul__(self, other: Scalar) -> Node:
        return _binary("mul", other, self)

    def __truediv__(self, other: Node | Scalar) -> Node:
        return _binary("div", self, other)

    def __rtruediv__(self, other: Scalar) -> Node:
        return _binary("div", other, self)

    def __neg__(self) -> Node:
        from symc.ir.prims import elementwise

        return elementwise.neg(self)


def _binary(name: str, a: Node | Scalar, b: Node | Scalar) -> Node:
    from symc.ir.prims import elementwise

    return elementwise.binary_functions[name](a, b)


def tensor_type(node: Node, user: Primitive) -> TensorType:
    if isinstance(node.type, TupleType):
        raise TypeMismatch(f"{user.name}: operand has several results {node.type}; take one with get")
    return node.type


# --------------------------------------------------------------------------------------------- graphs


def topological(roots: Iterable[Node]) -> list[Node]:
    """Every node the roots need, operands before users, in a deterministic order; no recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        if root in done:
            continue
        stack: list[tuple[Node, int]] = [(root, 0)]
        done.add(root)
        while stack:
            node, at = stack.pop()
            inputs = node.inputs
            while at < len(inputs) and inputs[at] in done:
                at += 1
            if at < len(inputs):
                stack.append((node, at + 1))
                done.add(inputs[at])
                stack.append((inputs[at], 0))
            else:
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


@dataclass(frozen=True, eq=False)
class Graph:
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
    unnamed = {n for n in nodes if n.op.is_literal(n)}.difference(roots)
    for node in nodes:
        wished = getattr(node.op, "input_name", None) or names.get(node)
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
