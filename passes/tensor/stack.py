"""stack: a sum of many values becomes one operation, where they fit together.

A weight that is used at every step of an unrolled net has as many gradients, all products a_t' b_t of one form. Their
sum is the product of the stacked operands, with one long inner axis. The gradients of the parts of a split are zeros
but for their part, so their sum is those parts side by side. Many matrices are stacked and summed by one reduction.
(`batch` does for the forward half what this pass does for the backward half.)
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain

from symc.ir.op import Node, Recorder
from symc.ir.origins import Origin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Pad, concat, pad, reshape
from symc.ir.prims.reduce import reduce_sum
from symc.ir.syntax.printing import value_name
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, follow, in_regions, rebuild
from symc.passes.manager.watching import expression

ADD = type(ew.add)


@register_pass("stack", numerics="reassoc", optional=True)
class Stack(Pass):
    """Join the terms of sums: many products of one form, parts beside each other, many matrices."""

    least: int = option(8, "fewest products or matrices that are joined: stacking copies them", min=2)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = in_regions(graph, lambda region: self.run(region, rw))
        reads = Counter(chain.from_iterable(node.inputs for node in graph.nodes()))
        sums = sums_of(graph, reads)
        sums = {root: terms for root, terms in sums.items() if self._may_join(terms)}
        if not sums:
            return graph
        new: dict[Node, Node] = {}
        with Recorder() as recorder:
            for node in graph.nodes():
                terms = sums.get(node)
                if terms is not None:
                    joiner = _Joiner(graph, self.least, rw, recorder, new, reads)
                    made = joiner.joined(terms)
                    if joiner.acted:
                        new[node] = made
                        continue
                follow(node, new, graph, recorder)
        return rebuild(graph, new, recorder.origins, rw.pass_name) if new else graph

    def _may_join(self, terms: Sequence[Node]) -> bool:
        return len(terms) >= self.least or sum(isinstance(term.op, Pad) for term in terms) > 1


def sums_of(graph: Graph, reads: Mapping[Node, int]) -> dict[Node, list[Node]]:
    """The terms of the sums ((a + b) + c) + ... of a graph, by their last addition; those below it nobody else reads.
    `reads`: how often a node is an operand."""
    roots = set(graph.roots)
    found: dict[Node, list[Node]] = {}
    for node in graph.nodes():
        if isinstance(node.op, ADD):
            left, right = node.inputs
            terms = found.get(left)
            if terms is not None and reads[left] == 1 and left not in roots:
                del found[left]
                terms.append(right)
                found[node] = terms
            else:
                found[node] = [left, right]
    return found


class _Joiner:
    """Joins the terms of one sum; `new` are the nodes that have changed so far."""

    def __init__(
        self, graph: Graph, least: int, rw: Rewriter, recorder: Recorder, new: Mapping[Node, Node],
        reads: Mapping[Node, int],
    ) -> None:  # fmt: skip
        self.graph, self.least, self.rw, self.recorder, self.new, self.reads = graph, least, rw, recorder, new, reads
        self.acted = False

    def joined(self, terms: Sequence[Node]) -> Node:
        """The sum of the terms, after what fits together was joined; without an action a chain as it was."""
        now = [self.new.get(term, term) for term in terms]
        self.old = dict(zip(now, terms))
        if len(now) >= self.least:
            now = self._together(now, self._product_form, self._one_product)
        now = self._together(now, part_axis, self._side_by_side)
        if len(now) >= self.least and all(term.rank == 2 for term in now):
            now = self._made("matrices", now, lambda: _one_reduction(now))
        made = now[0]
        if self.acted:
            with self.recorder.at(self._origin(made)):
                for term in now[1:]:
                    made = ew.add(made, term)
        return made

    def _origin(self, term: Node) -> Origin | None:
        return self.recorder.origins.get(term) or self.graph.origins.get(self.old.get(term, term))

    def _shown(self, terms: list[Node]) -> tuple[str, str]:
        names = {now: self.graph.names[old] for now, old in self.old.items() if old in self.graph.names}
        return " + ".join(value_name(names[t]) if t in names else expression(t, names) for t in terms), "one value"

    def _made(self, rule: str, terms: list[Node], join: Callable[[], Node]) -> list[Node]:
        """What the terms are joined to, or the terms where that is vetoed."""
        origin = self.rw.act(rule, [o for o in map(self._origin, terms) if o is not None], self._shown, terms)
        if origin is None:
            return terms
        self.acted = True
        with self.recorder.at(origin):
            return [join()]

    def _together(
        self, terms: list[Node], form: Callable[[Node], Hashable], join: Callable[[list[Node]], list[Node]]
    ) -> list[Node]:
        """The terms of each form joined, where the first of them stood; the others (of form None) as they are."""
        groups: dict[Hashable, list[Node]] = {}
        for term in terms:
            key = form(term)
            groups.setdefault(term if key is None else (key,), []).append(term)
        made: list[Node] = []
        for key, group in groups.items():
            made.extend(join(group) if isinstance(key, tuple) and len(group) > 1 else group)
        return made

    def _product_form(self, term: Node) -> Hashable:
        """Products that only the sum reads: others would be computed as well as it."""
        if not isinstance(term.op, Dot) or term.rank != 2 or self.reads[self.old[term]] != 1:
            return None
        return term.op, term.inputs[0].shape, term.inputs[1].shape

    def _one_product(self, group: list[Node]) -> list[Node]:
        """a1 b1 + a2 b2 + ... = (a1 a2 ...) (b1 b2 ...)'. The last product comes first: gradients arrive in the reverse
        of the program's order, and so the operands are stacked in its order."""
        if len(group) < self.least:
            return group
        op = group[0].op
        assert isinstance(op, Dot)

        def join() -> Node:
            left = concat([term.inputs[0] for term in group[::-1]], 0 if op.ta else 1)
            right = concat([term.inputs[1] for term in group[::-1]], 1 if op.tb else 0)
            return Node.make(op, [left, right])

        return self._made("products", group, join)

    def _side_by_side(self, group: list[Node]) -> list[Node]:
        """Parts that are neighbours along their axis are one part. Where a part holds -0 the result keeps it (-0 + 0
        would be 0): equal values."""
        axis = part_axis(group[0])
        assert axis is not None
        runs: list[list[Node]] = []
        for term in sorted(group, key=lambda part: begin(part, axis)):
            if runs and end(runs[-1][-1], axis) == begin(term, axis):
                runs[-1].append(term)
            else:
                runs.append([term])
        made: list[Node] = []
        for run in runs:
            made += self._made("parts", run, functools.partial(joined, run, axis)) if len(run) > 1 else run
        return made


def part_axis(term: Node) -> int | None:
    """The axis along which a value is zeros around something; None if it is not."""
    op = term.op
    if not isinstance(op, Pad) or op.fill != 0 or any(op.interior) or min((*op.low, *op.high)) < 0:
        return None
    padded = [axis for axis in range(term.rank) if op.low[axis] or op.high[axis]]
    return padded[0] if len(padded) == 1 else None


def begin(part: Node, axis: int) -> int:
    """Where a part begins along its axis."""
    assert isinstance(part.op, Pad)
    return part.op.low[axis]


def end(part: Node, axis: int) -> int:
    """Where a part ends."""
    return begin(part, axis) + part.inputs[0].shape[axis]


def joined(parts: Sequence[Node], axis: int) -> Node:
    """Neighbours, in order, as one part; nothing around the whole if they fill it."""
    whole = concat([part.inputs[0] for part in parts], axis)
    before = [0] * whole.rank
    before[axis] = begin(parts[0], axis)
    after = [n - b - m for n, b, m in zip(parts[0].shape, before, whole.shape)]
    return pad(whole, before, after)


def _one_reduction(terms: Sequence[Node]) -> Node:
    """As for a bias of an unrolled net: the same terms are stacked for the gradient of its weight."""
    return reduce_sum(reshape(concat(terms[::-1], 0), (len(terms), *terms[0].shape)), (0,))
