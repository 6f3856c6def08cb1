"""Results of nodes with several, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from symc.ir.op import Node, Primitive, primitive, require
from symc.ir.types import Array, TensorType, TupleType, Type


@primitive("get")
class Get(Primitive):
    """One result of a node with several."""

    index: int = 0
    takes_tensors: ClassVar[bool] = False
    cost: ClassVar[int] = 0

    def type_of_nodes(self, inputs: Sequence[Node]) -> Type:
        source = inputs[0].type
        require(isinstance(source, TupleType), self, "takes a node with several results", source)
        assert isinstance(source, TupleType)
        require(0 <= self.index < len(source.items), self, f"there is no result {self.index}", source)
        return source.items[self.index]

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array:
        return args[0]

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        raise AssertionError("autodiff hands the cotangent of a result to its tuple")


def get(node: Node, index: int) -> Node:
    """Result number `index` of a node with several."""
    return Node.make(Get(index), [node])


def results(node: Node) -> list[Node]:
    """All results of a node, one by one."""
    return [get(node, i) for i in range(len(node.type.items))] if isinstance(node.type, TupleType) else [node]
