"""Nodes, and the questions their primitives answer.

A primitive is a frozen dataclass; its fields are its attributes, so `Dot(tb=True)` is both the operation and
its parameters. Beside each other it answers:

    type      what comes out, from the operands' types (raises TypeMismatch)
    value     what it means, in numpy; must follow the operands' own precision (the interpreter also runs in f64)
    grad      the reverse rule (VJP), written with primitives; None for an operand without a gradient
    element   how one output element is computed from operands read at any index; None: the lowering has a
              loop nest for the primitive (symc.passes.loop.lower)
    neutral   what partial results start from that the operation combines in any order; None: it combines none

A new primitive registers itself under its text name with `@primitive("name")`.

Nodes are immutable and interned: two with the same primitive and inputs are the same object.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, Union

from symc.ir.definitions import dataclass_transform, define
from symc.ir.errors import TypeMismatch
from symc.ir.index import Affine
from symc.ir.origins import Origin
from symc.ir.process import lock
from symc.ir.types import Array, DType, Shape, TensorType, TupleType, Type

Index = tuple[Affine, ...]
Scalar = Union[int, float, bool]


@dataclass(frozen=True)
class Ref:
    """A scalar operand: the SSA value `name`, or (name "") the literal `value`."""

    name: str
    dtype: DType
    value: float | int | bool | None = None

    @property
    def is_literal(self) -> bool:
        return not self.name


class Scalars(Protocol):
    """What an element rule computes with: scalar values of the loop level (`Ref`s), one lane at a time."""

    def apply(self, op: Primitive, args: Sequence[Ref]) -> Ref:
        """The scalar result of an elementwise primitive."""

    def const(self, value: float | int | bool, dtype: DType) -> Ref:
        """A literal."""

    def from_index(self, index: Affine, dtype: DType) -> Ref:
        """The value of an index expression as a scalar of `dtype`."""

    def to_index(self, scalar: Ref, extent: int) -> Affine:
        """An integer scalar as an index of an axis; the nearest one there is, where it is outside of 0..extent."""

    def guard(self, inside: Sequence[tuple[Affine, int, int]], then: Callable[[], Ref], other: Ref) -> Ref:
        """`then()` where lo <= index < hi for every (index, lo, hi), else `other`; `then` loads nothing outside."""


Read = Callable[[Index], Ref]
#: (graph, values of its inputs) -> values of its outputs
RunGraph = Callable[[Any, Sequence[Array]], Sequence[Array]]


class Primitive:
    """Base of all primitives; see the module text. Subclasses are frozen dataclasses."""

    name: ClassVar[str] = "?"
    takes_tensors: ClassVar[bool] = True
    #: element by element, same shape in and out (scalar operands of rank 0 are allowed everywhere)
    elementwise: ClassVar[bool] = False
    #: cost of one element relative to an addition: what recomputing it instead of storing it would cost
    cost: ClassVar[int] = 1
    #: the graphs it holds are run step by step where the program runs: passes change them as they change the program
    is_control: ClassVar[bool] = False
    #: how often the loop nest that lowering has for the primitive stores an element of the result: "once", "twice"
    #: (all of it, then parts again), or "" where it has none
    nest: ClassVar[str] = ""
    #: elementwise values of the nest's result may be computed where it stores, and its operands' where it reads: it
    #: reads each of their elements once
    epilogue: ClassVar[bool] = False
    prologue: ClassVar[bool] = False
    #: the primitive has effects or an identity of its own (host calls): never merged, dropped or reordered
    opaque: ClassVar[bool] = False

    def type(self, ins: Sequence[TensorType]) -> Type:
        raise NotImplementedError(f"{self.name} must say its type")

    def type_of_nodes(self, inputs: Sequence[Node]) -> Type:
        """For the few primitives whose operands may be tuples (takes_tensors = False)."""
        raise NotImplementedError(f"{self.name} must say its type")

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array | tuple[Array, ...]:
        """The numpy meaning; `out` are the result types at the precision the interpreter runs in."""
        raise NotImplementedError(f"{self.name} must say its value")

    def evaluate(self, args: Sequence[Array], out: Sequence[TensorType], run: RunGraph) -> Array | tuple[Array, ...]:
        """What interpreters ask. Primitives that hold graphs answer this instead of `value`: `run` gives the outputs
        of such a graph, at the interpreter's precision."""
        return self.value(args, out)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        """Cotangents of the operands from those of the results (one entry per result; at least one is a Node)."""
        raise TypeMismatch(f"{self.name} has no gradient")

    def passes_back(self, at: int) -> bool:
        """Whether operand `at` can get a cotangent at all; its gradient is asked of no node where none can."""
        return True

    def element(self, k: Scalars, node: Node, index: Index, reads: Sequence[Read]) -> Ref | None:
        """The scalar at `index` of the result, reading operands through `reads`; None if it has no such form."""
        return None

    def neutral(self, dtype: DType) -> float | int | bool | None:
        """The value that changes nothing, of an operation whose operands may be regrouped and swapped (rounding apart):
        what every partial result starts from. None for all others."""
        return None

    def marks(self) -> tuple[object, ...]:
        """What keeps nodes of this primitive apart beside the primitive and its operands."""
        return ()

    def placed(self, origin: Origin) -> Primitive:
        """The primitive with this origin for the values in its graphs that have none."""
        return self

    def is_literal(self, node: Node) -> bool:
        """Whether the node is a scalar constant that is printed in place and needs no name."""
        return False


def has_element(op: Primitive) -> bool:
    """Whether one element of the result can be computed by itself from operands at any index."""
    return type(op).element is not Primitive.element


PRIMITIVES: dict[str, type[Primitive]] = {}
P = TypeVar("P", bound=type[Primitive])


@dataclass_transform(frozen_default=True)
def primitive(name: str) -> Callable[[P], P]:
    """Register a primitive class under its text name and make it a frozen dataclass."""

    def register(cls: P) -> P:
        cls.name = name
        dataclass(frozen=True)(cls)
        _keep_hash(cls)
        define(PRIMITIVES, [name], cls, "primitive")
        return cls

    return register


def _keep_hash(cls: type[Primitive]) -> None:
    """Compute the hash of an instance once: every node made looks its primitive up."""
    compute = cls.__hash__

    def hash_once(self: Primitive) -> int:
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = compute(self)
        return known

    cls.__hash__ = hash_once  # type: ignore[method-assign, assignment]


def require(condition: bool, op: Primitive, message: str, *types: Type) -> None:
    """Raise TypeMismatch with the operand types unless `condition` holds."""
    if not condition:
        raise TypeMismatch(f"{op.name}: {message}; got {', '.join(map(str, types))}")


class Recorder:
    """Notes, while active, the origin and the wished name of every node that is built.

    `with Recorder() as rec: rec.origin = o; ...` gives all nodes built in between the origin `o`
    (the first one noted for a node stays, unless a later one is strict and it is not).
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
        origin = recorder.origin
        first = recorder.origins.setdefault(node, origin)
        if first is not origin and origin.strict and not first.strict:  # of equal nodes, those of strict regions decide
            recorder.origins[node] = origin
    return node


#: what Python's operators on nodes build; symc.ir.prims.elementwise says it
ARITHMETIC: dict[str, Callable[..., Node]] = {}


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

    @staticmethod
    def known(op: Primitive, inputs: tuple[Node, ...], type: Type) -> Node:
        """The node op(inputs), as Node.make, where somebody has found its type before."""
        return _interned_node(op, inputs, type)

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

    def __add__(self, other: Node | Scalar) -> Node:
        return ARITHMETIC["add"](self, other)

    def __radd__(self, other: Scalar) -> Node:
        return ARITHMETIC["add"](other, self)

    def __sub__(self, other: Node | Scalar) -> Node:
        return ARITHMETIC["sub"](self, other)

    def __rsub__(self, other: Scalar) -> Node:
        return ARITHMETIC["sub"](other, self)

    def __mul__(self, other: Node | Scalar) -> Node:
        return ARITHMETIC["mul"](self, other)

    def __rmul__(self, other: Scalar) -> Node:
        return ARITHMETIC["mul"](other, self)

    def __truediv__(self, other: Node | Scalar) -> Node:
        return ARITHMETIC["div"](self, other)

    def __rtruediv__(self, other: Scalar) -> Node:
        return ARITHMETIC["div"](other, self)

    def __neg__(self) -> Node:
        return ARITHMETIC["neg"](self)


def tensor_type(node: Node, user: Primitive) -> TensorType:
    if isinstance(node.type, TupleType):
        raise TypeMismatch(f"{user.name}: operand has several results {node.type}; take one with get")
    return node.type


def made_by(name: str, inputs: Sequence[Node], **attributes: object) -> Node:
    """A node of the primitive registered under `name`. Gradients need it that lead to primitives of modules which
    import their own: those of a broadcast are sums, those of a sum broadcasts."""
    return Node.make(PRIMITIVES[name](**attributes), inputs)


# --------------------------------------------------------------------------------------------- inputs


@primitive("input")
class Input(Primitive):
    """A parameter of a graph. Its name says nothing: what it is stands beside it.

    Roles: data, label, arg, aux, key (fresh random bits), head (the cotangent, given from outside, of the output `of`),
    grad (the buffer to which the gradient of the input `of` is added), state (of the rule that updates the input `of`).
    `order` is how often what it belongs to was derived."""

    input_name: str = ""
    role: str = "arg"
    tensor: TensorType | None = None
    of: str = ""
    order: int = 1

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(self.tensor is not None and not ins, self, "needs a type and no operands")
        assert self.tensor is not None
        return self.tensor


def input_node(name: str, tensor: TensorType, role: str = "arg", of: str = "", order: int = 1) -> Node:
    """A graph parameter."""
    return Node.make(Input(name, role, tensor, of, order))


def parameter(node: Node) -> Input:
    """What an input node says of itself: `input_name`, `role`, `of`, `order`."""
    assert isinstance(node.op, Input), f"{node} is no graph parameter"
    return node.op
