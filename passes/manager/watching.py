"""What passes tell those who watch: every change they propose, and every rule that looked at a value and did not apply.

Nothing of this is put together unless somebody watches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from symc.ir.op import Node
from symc.ir.origins import SymOrigin
from symc.ir.prims.elementwise import Const
from symc.ir.syntax.printing import Printer, scalar_text, value_name


@dataclass(frozen=True)
class Refused:
    """What a rule answers that would apply to a node, but for a condition that fails: which one."""

    reason: str


@dataclass(frozen=True)
class Miss:
    """A rule that did not apply to a value (with another one: a kernel or operand), and why."""

    pass_name: str
    rule: str
    value: str
    reason: str
    other: str = ""


@dataclass(frozen=True)
class Action:
    """A change that a pass proposes: number `number` of this run of the pass. `before` and `made` say in a line what is
    there and what takes its place."""

    pass_name: str
    number: int
    rule: str
    before: str
    made: str
    symbol: SymOrigin | None


class Watcher(Protocol):
    """Whom a rewriter tells."""

    def tried(self, pass_name: str, rule: str) -> None: ...

    def missed(self, miss: Miss) -> None: ...

    def proposed(self, action: Action) -> None: ...


#: how deep an expression is written out
DEPTH = 3


def expression(node: Node, names: Mapping[Node, str], depth: int = DEPTH) -> str:
    """A value as the operator that computes it from named values: `mul(%x, exp(%y))`."""
    if isinstance(node.op, Const):
        return scalar_text(node.op.array()[()], node.dtype) if not node.tensor.shape else "const"
    if not node.inputs:
        return value_name(names.get(node, node.op.name))
    if not depth:
        return "..."
    operands = (value_name(names[i]) if i in names else expression(i, names, depth - 1) for i in node.inputs)
    return f"{node.op.name}({', '.join(operands)}){Printer().attributes(node.op, node.type)}"


def definition(node: Node, names: Mapping[Node, str]) -> str:
    """A value with its name: `%z = mul(%x, exp(%y))`."""
    return f"{value_name(names[node])} = {expression(node, names)}" if node in names else expression(node, names)
