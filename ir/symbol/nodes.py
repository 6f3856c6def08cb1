"""Level 0, the symbol graph: operators with text attributes, identified by name, without types.

One symbol graph is bound with many shapes; its types are a table made by infer_shape. The operators' own rules
come with each node (`definition`), so that nothing here knows an operator by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from symc.ir.op import Node
from symc.ir.origins import SymOrigin

PartialShape = Optional[tuple[int, ...]]
#: the attribute of an operator in a region whose values keep their rounding, and the words that say so
STRICT = "__strict__"
TRUE, FALSE = ("True", "true", "1"), ("False", "false", "0")


class Definition(Protocol):
    """What a symbol node's operator answers (an instance holds the parsed attributes)."""

    @property
    def gradient(self) -> str: ...

    def list_inputs(self) -> tuple[str, ...]: ...

    def list_aux(self) -> tuple[str, ...]: ...

    def list_outputs(self) -> tuple[str, ...]: ...

    def num_visible_outputs(self) -> int: ...

    def written_inputs(self) -> Sequence[int]: ...

    def with_subgraphs(self, graphs: Sequence[SymGraph]) -> Definition: ...

    def complete(self, s: Any) -> None: ...

    def complete_types(self, t: Any) -> None: ...

    def build(self, ctx: Any, *inputs: Node) -> Node | Sequence[Node]: ...


class SymNode:
    """A variable (op "null", no definition) or an operator applied to outputs of other nodes.

    `attrs` are MXNet's text attributes (hidden ones spelled __like_this__); `inputs` are (node, output number);
    `aux_from` is the position of the first auxiliary state among the inputs; `where` is the user's (file, line).
    `versions` are those of the inputs in the file the node was loaded from (only what is saved again tells them).
    """

    __slots__ = ("op", "name", "attrs", "inputs", "definition", "where", "subgraphs", "versions", "__weakref__")

    def __init__(
        self,
        op: str,
        name: str,
        attrs: dict[str, str] | None = None,
        inputs: Iterable[tuple[SymNode, int]] = (),
        definition: Definition | None = None,
        where: tuple[str, int] = ("", 0),
        subgraphs: Sequence[SymGraph] = (),
    ) -> None:
        self.op, self.name, self.attrs = op, name, attrs or {}
        self.inputs: tuple[tuple[SymNode, int], ...] = tuple(inputs)
        self.definition, self.where = definition, where
        self.subgraphs: list[SymGraph] = list(subgraphs)
        self.versions: list[int] | None = None

    def __repr__(self) -> str:
        """`<SymNode fc1: FullyConnected>`."""
        return f"<SymNode {self.name}: {'variable' if self.is_variable else self.op}>"

    @property
    def is_variable(self) -> bool:
        return self.op == "null"

    @property
    def num_outputs(self) -> int:
        return 1 if self.definition is None else len(self.definition.list_outputs())

    @property
    def aux_from(self) -> int:
        return len(self.inputs) - (len(self.definition.list_aux()) if self.definition else 0)

    def output_name(self, index: int) -> str:
        """MXNet's name of an output."""
        if self.definition is None:
            return self.name
        output = self.definition.list_outputs()[index]
        return f"{self.name}_{output}" if self.name else output

    def origin(self) -> SymOrigin:
        return SymOrigin(self.name, self.op if self.op != "null" else "Variable", *self.where, self.strict)

    @property
    def strict(self) -> bool:
        """Whether passes must leave the rounding of its values as it is: its attribute `__strict__` says so."""
        return not self.is_variable and self.attrs.get(STRICT, "") in TRUE


@dataclass(frozen=True, eq=False)
class SymGraph:
    """Outputs (node, output number) of a symbol graph; nodes are found from them."""

    outputs: tuple[tuple[SymNode, int], ...]
    #: what `nodes` and `variables` have found last, and what it follows from: whoever binds asks dozens of times
    _last: dict[str, tuple[tuple[list[SymNode], ...], list[object]]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __repr__(self) -> str:
        """`<SymGraph: 5 nodes, outputs fc2, fc1[1]>`."""
        ends = [f"{node.name}[{at}]" if at else node.name for node, at in self.outputs]
        return f"<SymGraph: {len(self.nodes())} nodes, outputs {', '.join(ends)}>"

    def nodes(self) -> list[SymNode]:
        """All nodes, depth first from the outputs, inputs before users: MXNet's order; no recursion."""
        if (last := self._last.get("nodes")) is not None:
            (order,), inputs = last
            if [node.inputs for node in order] == inputs:
                return [*order]
        order = self._ordered()
        self._last["nodes"] = (order,), [node.inputs for node in order]
        return [*order]

    def _ordered(self) -> list[SymNode]:
        order: list[SymNode] = []
        seen: set[SymNode] = set()
        for root, _ in self.outputs:
            if root in seen:
                continue
            seen.add(root)
            stack = [(root, iter(root.inputs))]
            while stack:
                node, rest = stack[-1]
                for operand, _ in rest:
                    if operand not in seen:
                        seen.add(operand)
                        stack.append((operand, iter(operand.inputs)))
                        break
                else:
                    order.append(node)
                    stack.pop()
        return order

    def variables(self) -> tuple[list[SymNode], list[SymNode]]:
        """(arguments, auxiliary states) in MXNet's order; a variable used as a state anywhere is a state."""
        nodes = self.nodes()
        follows: list[object] = [(node.inputs, node.definition) for node in nodes]
        if (last := self._last.get("variables")) is not None:
            (arguments, states), known = last
            if follows == known:
                return [*arguments], [*states]
        written = {entry[0] for n in nodes if n.definition is not None for entry in n.inputs[n.aux_from :]}
        variables = [n for n in nodes if n.is_variable]
        arguments, states = [n for n in variables if n not in written], [n for n in variables if n in written]
        self._last["variables"] = (arguments, states), follows
        return [*arguments], [*states]
