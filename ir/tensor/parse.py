"""Reading tensor graphs, and what graphs and kernels share: operands and attributes. See symc.ir.tensor.text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from symc.ir.errors import IRError, TypeMismatch
from symc.ir.op import PRIMITIVES, Input, Node, Primitive
from symc.ir.origins import Origin
from symc.ir.prims.elementwise import Const
from symc.ir.syntax.printing import fields_of, implied
from symc.ir.syntax.tokens import END, Reader
from symc.ir.tensor.graph import Graph, Output, Update
from symc.ir.types import DTYPES, Array, DType, TensorType, TupleType, Type

T = TypeVar("T")


def literal_node(array: Array, dtype: DType) -> Node:
    """A rank-0 constant."""
    return Node.make(Const(TensorType(dtype, ()), array.tobytes()))


def operands(
    p: Reader, known: Mapping[str, T], dtype_of: Callable[[T], DType | None], literal: Callable[[Array, DType], T]
) -> list[T]:
    """`(%a, 1.0, ...)`: literals take the element type of the first operand that is none."""
    found: list[T] = []
    later: list[tuple[int, int, DType | None]] = []
    p.expect("(")
    tokens = p.tokens
    if p.accept(")"):
        return found
    while True:
        token = tokens[p.at]
        value = known.get(token)
        if value is not None:
            p.at += 1
            found.append(value)
        elif token[0] == "%":
            p.name()
            p.suggest("value", token, known, p.at - 1)
        else:
            later.append((len(found) + len(later), p.at, p.skip_literal()))
        if p.accept(")"):
            break
        if not p.accept(","):
            p.unexpected("',' or ')'")
    if later:
        lead = dtype_of(found[0]) if found else None
        end = p.at
        for position, start, own in later:
            dtype = own or lead
            if dtype is None:
                raise p.error("the element type of this literal is not clear: write it behind, like 1.0:f32", start)
            p.at = start
            found.insert(position, literal(p.literal(dtype), dtype))
        p.at = end
    return found


def operation(p: Reader) -> type[Primitive]:
    """The primitive a word names."""
    name = p.word()
    cls = PRIMITIVES.get(name)
    if cls is None:
        p.suggest("operation", name, PRIMITIVES, p.at - 1)
    return cls


def attribute(p: Reader) -> Any:
    """The value of an attribute."""
    token = p.peek
    if token == "[":
        p.at += 1
        items: list[Any] = []
        p.list_of("]", lambda: items.append(attribute(p)))
        return tuple(items)
    if token[0] == '"':
        return p.string()
    if token[-1] == "]" and len(token) > 1:
        return p.tensor()
    if token in DTYPES:
        return p.dtype()
    if token in ("true", "false", "none"):
        p.at += 1
        return {"true": True, "false": False, "none": None}[token]
    negative = p.accept("-")
    token = p.next()
    if token.isdigit():
        return -p.whole(token) if negative else p.whole(token)
    if (token[0].isdigit() and token[1:2] != "x") or token in ("inf", "nan"):
        return -float(token) if negative else float(token)
    p.at -= 1
    p.unexpected("the value of an attribute")


_PLAIN: dict[type[Primitive], Primitive] = {}


def make_op(
    p: Reader, cls: type[Primitive], result: Type, at: int, regions: Mapping[str, Graph] | None = None
) -> Primitive:
    """The primitive with the attributes that follow in braces (`regions`: those that are graphs)."""
    if cls is Const:
        return _const(p, result)
    fields = fields_of(cls)
    given: dict[str, Any] = dict(regions or {})
    if p.peek == "{" and p.ahead(2) == "=":
        p.at += 1
        by_name = {f.name: f for f in fields}

        def item() -> None:
            name = p.word()
            if name not in by_name or by_name[name].is_region:
                p.suggest(f"attribute of {cls.name}", name, by_name, p.at - 1)
            p.expect("=")
            value = attribute(p)
            given[name] = float(value) if by_name[name].annotation == "float" and isinstance(value, int) else value

        p.list_of("}", item)
    if not fields:
        made = _PLAIN.get(cls)
        if made is None:
            made = _PLAIN[cls] = cls()
        return made
    for f in fields:
        if f.name not in given:
            known = implied(f.name, result)
            if known is not None:
                given[f.name] = known
            elif f.default is dataclasses.MISSING:
                raise p.error(f"{cls.name} needs {'a region' if f.is_region else 'the attribute'} {f.name}", at)
    try:
        return cls(**given)
    except (TypeError, ValueError) as problem:
        raise p.error(f"{cls.name}: {problem}", at) from None


def _const(p: Reader, result: Type) -> Primitive:
    if isinstance(result, TupleType):
        raise p.error("a constant has one result")
    for token in ("{", "value", "="):
        p.expect(token)
    array = p.array(result)
    p.expect("}")
    return Const(result, np.ascontiguousarray(array).tobytes())


def _node_dtype(node: Node) -> DType | None:
    return node.type.dtype if isinstance(node.type, TensorType) else None


class GraphBody:
    """The statements of one graph: values by name, and the names and origins of the graph that is made."""

    def __init__(self, p: Reader) -> None:
        self.p = p
        self.values: dict[str, Node] = {}
        self.names: dict[Node, str] = {}
        self.origins: dict[Node, Origin] = {}

    def define(self, token: str, name: str, node: Node, at: int) -> None:
        """Give a node its name."""
        if token in self.values:
            raise self.p.error(f"{token} is defined twice", at)
        self.values[token] = node
        # Two lines may say the same thing: they are one node, which keeps its first name.
        self.names.setdefault(node, name)

    def parameter(self) -> Node:
        """An input: `%x: f32[2] grad of %w !1`."""
        p = self.p
        at = p.at
        name = p.name()
        p.expect(":")
        tensor = p.tensor()
        role, of, order = role_of(p)
        return self.bound(name, Node.make(Input(name, role, tensor, of, order)), p.loc(), at)

    def bound(self, name: str, node: Node, origin: Origin | None, at: int) -> Node:
        """A node that goes by this name from here on."""
        self.define(self.p.tokens[at], name, node, at)
        if origin is not None:
            self.origins[node] = origin
        return node

    def statements(self) -> None:
        """All nodes up to the return."""
        while self.p.peek[0] == "%":
            self.statement()

    def statement(self) -> None:
        """`%y: f32[2] = op(...) {...} !1`, perhaps with regions."""
        p = self.p
        start = p.at
        token = p.tokens[start]
        name = p.name()
        p.expect(":")
        declared = p.type()
        p.expect("=")
        at = p.at
        cls = operation(p)
        inputs = operands(p, self.values, _node_dtype, literal_node)
        if any(f.is_region for f in fields_of(cls)):
            op, origin = self._with_regions(cls, declared, at)
        else:
            op = make_op(p, cls, declared, at)
            origin = p.loc()
        try:
            node = Node.make(op, inputs)
        except (TypeMismatch, IndexError, ValueError, TypeError, AttributeError) as problem:
            known = isinstance(problem, IRError)
            raise p.error(f"{'' if known else f'{cls.name} does not take these operands: '}{problem}", at) from None
        if node.type != declared:
            raise p.error(f"{cls.name} gives {node.type} here, not {declared}", start)
        self.define(token, name, node, start)
        if origin is not None:
            self.origins.setdefault(node, origin)

    def _with_regions(self, cls: type[Primitive], declared: Type, at: int) -> tuple[Primitive, Origin | None]:
        """Regions stand behind attributes and origin, but the primitive is made of both."""
        p = self.p
        attributes = p.at
        if p.peek == "{" and p.ahead(2) == "=":
            depth = 0
            while True:
                depth += {"{": 1, "}": -1}.get(p.peek, 0)
                if p.next() == "}" and not depth or p.peek == END:
                    break
        origin = p.loc()
        known = {f.name for f in fields_of(cls) if f.is_region}
        regions: dict[str, Graph] = {}
        p.expect("{")
        while not p.accept("}"):
            label = p.word()
            if label not in known or label in regions:
                p.suggest(f"region of {cls.name}", label, known - set(regions), p.at - 1)
            regions[label] = parse_function(p, label)
        end, p.at = p.at, attributes
        op = make_op(p, cls, declared, at, regions)
        p.at = end
        return op, origin

    def operand(self) -> Node:
        """One value, or a literal with its element type."""
        p = self.p
        token = p.peek
        value = self.values.get(token)
        if value is not None:
            p.at += 1
            return value
        if token[0] == "%":
            p.name()
            p.suggest("value", token, self.values, p.at - 1)
        start = p.at
        dtype = p.skip_literal()
        if dtype is None:
            raise p.error("write the element type behind this literal, like 1.0:f32", start)
        end, p.at = p.at, start
        array = p.literal(dtype)
        p.at = end
        return literal_node(array, dtype)

    def returned(self, keyword: str = "return") -> list[Node]:
        """`return %a, %b`."""
        p = self.p
        p.expect(keyword)
        found: list[Node] = []
        if p.peek not in ("}", "update"):
            found.append(self.operand())
            while p.accept(","):
                found.append(self.operand())
        return found

    def updates(self) -> list[Update]:
        """`update %state = %value (backward)` lines."""
        p = self.p
        found = []
        while p.accept("update"):
            target = p.name()
            p.expect("=")
            found.append(Update(target, self.operand(), phase(p)))
        return found


def phase(p: Reader) -> str:
    """`(backward)` behind an update or an output; forward if nothing stands there."""
    if not p.accept("("):
        return "forward"
    found = p.word()
    p.expect(")")
    return found


def role_of(p: Reader) -> tuple[str, str, int]:
    """`role [of %input | of output] [order n]`."""
    role, of, order = p.word(), "", 1
    if p.accept("of"):
        of = p.word() if role == "head" else p.name()
    if p.accept("order"):
        order = p.integer()
    return role, of, order


@dataclass(frozen=True)
class Declared:
    """What a signature says of an output, and where."""

    name: str
    tensor: TensorType
    at: int
    role: str
    of: str
    order: int
    phase: str


def results(p: Reader) -> list[Declared]:
    """`-> (name: type [role ...] [(phase)], ...)`."""
    found: list[Declared] = []

    def item() -> None:
        at = p.at
        name = p.word()
        p.expect(":")
        tensor = p.tensor()
        role, of, order = ("result", "", 1) if p.peek in ("(", ",", ")") else role_of(p)
        found.append(Declared(name, tensor, at, role, of, order, phase(p)))

    p.expect("->")
    p.expect("(")
    p.list_of(")", item)
    return found


def parse_function(p: Reader, name: str) -> Graph:
    """`[@name](inputs) -> (outputs) { ... }`."""
    if p.peek[0] == "@":
        name = p.global_name()
    body = GraphBody(p)
    inputs: list[Node] = []

    p.expect("(")
    p.list_of(")", lambda: inputs.append(body.parameter()))
    declared = results(p)
    if p.peek == "cut":
        raise p.error("every output says its own phase, such as `g: f32[2] (backward)`; cut= was an earlier form", p.at)
    p.expect("{")
    body.statements()
    at = p.at
    returned = body.returned()
    outputs = outputs_of(p, declared, returned, at)
    updates = body.updates()
    p.expect("}")
    return Graph(name, tuple(inputs), tuple(outputs), tuple(updates), body.names, body.origins)


def outputs_of(p: Reader, declared: list[Declared], returned: list[Node], at: int) -> list[Output]:
    """The results with their names; their types must be the declared ones."""
    if len(declared) != len(returned):
        raise p.error(f"{len(returned)} values for {len(declared)} results", at)
    for d, node in zip(declared, returned):
        if node.type != d.tensor:
            raise p.error(f"result {d.name} is {node.type}, not {d.tensor}", d.at)
    return [Output(d.name, node, d.role, d.of, d.order, d.phase) for d, node in zip(declared, returned)]


def parse_graph(p: Reader) -> Graph:
    """A file of level tensor."""
    p.expect("func")
    return parse_function(p, "")
