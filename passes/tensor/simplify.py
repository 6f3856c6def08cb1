"""simplify: fewer nodes, in the form the later passes look for.

The rules live beside each other by family (rules_elementwise, rules_movement, rules_reduce); each says in its text
why it holds. They terminate: every rule removes a node, or moves elementwise work above a broadcast or an axis of
extent 1, or places such axes later, and none does the opposite.
"""

from __future__ import annotations

from symc.ir.op import Node
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rewrite
from symc.passes.manager.watching import Refused
from symc.passes.tensor.rules import elementwise as rules_elementwise
from symc.passes.tensor.rules import movement as rules_movement
from symc.passes.tensor.rules import reduce as rules_reduce

RULES: tuple[Rule, ...] = (*rules_elementwise.RULES, *rules_movement.RULES, *rules_reduce.RULES)


@register_pass("simplify", numerics="reassoc", optional=True)
class Simplify(Pass):
    """Apply the rules until nothing changes."""

    rounds: int = option(100, "sweeps over the graph before two rules are accused of undoing each other", min=1)
    without: tuple[str, ...] = option((), "rules left out, joined by ':'", choices=[r.name for r in RULES])

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        rules = [r for r in RULES if r.name not in self.without]
        if rw.watcher is not None:
            rules += [_left_out(r) for r in RULES if r.name in self.without]
        return rewrite(graph, rules, rw, self.rounds)


def _left_out(rule: Rule) -> Rule:
    """The rule, which only tells where it would have applied."""

    def match(node: Node) -> Refused | None:
        made = rule.match(node)
        applies = isinstance(made, Node) and made is not node
        return Refused(f"left out by simplify{{without={rule.name}}}") if applies else None

    return Rule(rule.name, match, rule.roots)
