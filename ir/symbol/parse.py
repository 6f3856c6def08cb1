"""Reading symbol graphs; see symc.ir.symbol.text."""

from __future__ import annotations

import re
from collections.abc import Callable

from symc.ir.modules import SymbolModule
from symc.ir.origins import SymOrigin
from symc.ir.symbol.nodes import Definition, SymGraph, SymNode
from symc.ir.syntax.tokens import Reader
from symc.ir.tensor.parse import attribute
from symc.ir.types import TensorType

Definitions = Callable[[str, "dict[str, str]"], Definition]
_NUMBERED = re.compile(r"#\d+\Z")


def parse_symbols(p: Reader, definitions: Definitions | None) -> SymbolModule:
    """A file of level symbol."""
    p.expect("graph")
    return _Symbols(p, definitions).module()


class _Symbols:
    def __init__(self, p: Reader, definitions: Definitions | None) -> None:
        self.p, self.definitions = p, definitions
        self.types: dict[str, TensorType] = {}
        self.roles: dict[str, str] = {}
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def module(self) -> SymbolModule:
        """`@name -> (outputs) { ... }`."""
        p = self.p
        name = p.global_name()
        outputs: list[str] = []
        if p.accept("->"):
            p.expect("(")
            p.list_of(")", lambda: outputs.append(p.word()))
        graph = self._graph()
        return SymbolModule(name, graph, self.types, tuple(outputs), self.roles, self.shapes)

    def _graph(self) -> SymGraph:
        p = self.p
        nodes: dict[str, SymNode] = {}
        p.expect("{")
        while p.peek[0] == "%":
            self._node(nodes)
        p.expect("return")
        outputs: list[tuple[SymNode, int]] = []
        if p.peek[0] == "%":
            outputs.append(self._entry(nodes))
            while p.accept(","):
                outputs.append(self._entry(nodes))
        p.expect("}")
        return SymGraph(tuple(outputs))

    def _entry(self, nodes: dict[str, SymNode]) -> tuple[SymNode, int]:
        p = self.p
        token = p.peek
        if token not in nodes:
            self._name()
            p.suggest("node", token, nodes, p.at - 1)
        p.at += 1
        return nodes[token], p.integer() if p.accept(":") else 0

    def _name(self) -> str:
        """A node's name, without the number that tells it from others of that name."""
        p = self.p
        token = p.peek
        if token[0] != "%" or len(token) == 1:
            p.unexpected("a node like %fc1")
        p.at += 1
        return Reader(_NUMBERED.sub("", token)).name()

    def _node(self, nodes: dict[str, SymNode]) -> None:
        p = self.p
        start = p.at
        token = p.peek
        name = self._name()
        if token in nodes:
            raise p.error(f"{token} is defined twice", start)
        if p.accept(":"):
            self.types[name] = p.tensor()
        p.expect("=")
        at = p.at
        op = p.word()
        inputs: list[tuple[SymNode, int]] = []
        if op == "variable" and (p.peek != "(" or p.ahead(1)[0] not in "%)"):
            op = "null"
            if p.accept("("):
                self.roles[name] = p.word()
                p.expect(")")
        else:
            p.expect("(")
            p.list_of(")", lambda: inputs.append(self._entry(nodes)))
        attrs: dict[str, str] = {}

        def one_attribute() -> None:
            key = p.word()
            p.expect("=")
            attrs[key] = p.string()

        if p.peek == "{" and p.ahead(2) == "=":
            p.at += 1
            p.list_of("}", one_attribute)
        if p.accept("shapes"):
            p.expect("=")
            self.shapes[name] = attribute(p)
        origin = p.loc()
        where = (origin.file, origin.line) if isinstance(origin, SymOrigin) else ("", 0)
        subgraphs: list[SymGraph] = []
        if p.accept("{"):
            while p.accept("graph"):
                subgraphs.append(_Symbols(p, self.definitions)._graph())
            p.expect("}")
        definition = None
        if op != "null" and self.definitions is not None:
            try:
                definition = self.definitions(op, attrs)
                if subgraphs:
                    definition = definition.with_subgraphs(subgraphs)
            except Exception as problem:  # whatever the operators' rules raise: said with its place
                raise p.error(f"{op} {name!r}: {problem}", at) from problem
        nodes[token] = SymNode(op, name, attrs, inputs, definition, where, subgraphs)
