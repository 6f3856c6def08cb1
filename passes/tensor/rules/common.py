"""What the rule modules share: the decorator that collects rules, and questions about nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symc.ir.op import Node, Primitive
from symc.ir.prims.elementwise import Const
from symc.ir.prims.movement import Broadcast
from symc.ir.types import Shape
from symc.passes.manager.rewrite import Match, Rule


def collect(rules: list[Rule], name: str, *roots: type[Primitive]) -> Callable[[Match], Match]:
    """Append the decorated function to `rules` as the rule `name` on these primitives."""

    def add(match: Match) -> Match:
        rules.append(Rule(name, match, roots))
        return match

    return add


def literal(node: Node) -> bool:
    """A rank-0 constant."""
    return isinstance(node.op, Const) and not node.op.tensor.shape


def scalar_of(node: Node) -> int | float | bool | None:
    """The value of a rank-0 constant, None for anything else."""
    return node.op.scalar() if isinstance(node.op, Const) and not node.op.tensor.shape else None


def filled_with(node: Node) -> Node | None:
    """The literal that a tensor repeats, if it is one literal broadcast."""
    return node.inputs[0] if isinstance(node.op, Broadcast) and literal(node.inputs[0]) else None


def without_units(shape: Sequence[int]) -> Shape:
    """The extents other than 1."""
    return tuple(d for d in shape if d != 1)
