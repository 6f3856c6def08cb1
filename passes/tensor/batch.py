"""batch: products of the parts of one tensor become one product of the whole.

An unrolled net splits its input into steps and multiplies every step by the same weight. None of these products waits
for another, so they are rows of one product, which runs near the speed of the machine where products of a few rows
do not, and is one kernel, one gradient, one node instead of one for every step. (TVM's CombineParallelDense joins
products of one operand by several weights; here the weight is what they have in common.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symc.ir.changed import replace
from symc.ir.op import Node, Recorder
from symc.ir.origins import Origin
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Reshape, Slice, reshape, slice_axis, transpose
from symc.ir.syntax.printing import value_name
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter, follow, in_regions, rebuild


@dataclass(frozen=True)
class _Part:
    """Rows of a product's left operand: block `index` of the `count` equal blocks of `whole` along `axis`."""

    whole: Node
    axis: int
    count: int
    index: int


def _part(rows: Node) -> _Part | None:
    """What the left operand of a product is a part of: it is a slice along one axis, as it is or reshaped."""
    cut = rows.inputs[0] if isinstance(rows.op, Reshape) else rows
    if not isinstance(cut.op, Slice) or any(step != 1 for step in cut.op.step):
        return None
    whole = cut.inputs[0]
    axes = [axis for axis, (n, m) in enumerate(zip(whole.shape, cut.shape)) if n != m]
    if len(axes) != 1:
        return None
    axis = axes[0]
    begin, extent = cut.op.begin[axis], cut.shape[axis]
    if not extent or whole.shape[axis] % extent or begin % extent:
        return None
    return _Part(whole, axis, whole.shape[axis] // extent, begin // extent)


def _stacked(part: _Part, rows: int, inner: int) -> Node:
    """All blocks of the whole, one below the other: (count * rows, inner)."""
    whole, axis, count = part.whole, part.axis, part.count
    shape = (*whole.shape[:axis], count, whole.shape[axis] // count, *whole.shape[axis + 1 :])
    order = (axis, *(k for k in range(len(shape)) if k != axis))
    return reshape(transpose(reshape(whole, shape), order), (count * rows, inner))


#: what products have in common that become one: operation, weight, whole, axis, blocks, rows
_Key = tuple[Dot, Node, Node, int, int, int]


@register_pass("batch", numerics="reassoc", optional=True)
class Batch(Pass):
    """Join products by one operand of the parts of one tensor."""

    least: int = option(4, "fewest products that are joined", min=2)

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        graph = in_regions(graph, lambda region: self.run(region, rw))
        parts: dict[Node, _Part] = {}
        groups: dict[_Key, list[Node]] = {}
        for node in graph.nodes():
            if isinstance(node.op, Dot) and not node.op.ta and node.rank == 2:
                part = _part(node.inputs[0])
                if part is not None:
                    parts[node] = part
                    key = (node.op, node.inputs[1], part.whole, part.axis, part.count, node.shape[0])
                    groups.setdefault(key, []).append(node)
        # parts that nothing multiplies would be computed for nothing
        kept: dict[_Key, list[Node]] = {}
        for key, nodes in groups.items():
            least = max(self.least, key[4] // 2)
            if len(nodes) >= least:
                kept[key] = nodes
            else:
                for node in nodes:
                    reason = f"{len(nodes)} of {key[4]} parts are multiplied by that operand, fewer than {least}"
                    rw.miss("dot", graph.names[node], reason)
        return _join(graph, rw, parts, kept) if kept else graph


def _shown(graph: Graph, nodes: Sequence[Node]) -> tuple[str, str]:
    return ", ".join(value_name(graph.names[n]) for n in nodes), "parts of one product"


def _join(graph: Graph, rw: Rewriter, parts: Mapping[Node, _Part], groups: Mapping[_Key, Sequence[Node]]) -> Graph:
    key_of = {node: key for key, nodes in groups.items() for node in nodes}
    new: dict[Node, Node] = {}
    #: the whole product of a group and its origin; None if it may not be made
    made: dict[_Key, tuple[Node, Origin] | None] = {}
    with Recorder() as recorder:
        for node in graph.nodes():
            key = key_of.get(node)
            if key is not None and key not in made:
                origins = [graph.origins[n] for n in groups[key] if n in graph.origins]
                origin = rw.act("dot", origins, _shown, graph, groups[key])
                made[key] = None
                if origin is not None:
                    part = replace(parts[node], whole=new.get(parts[node].whole, parts[node].whole))
                    weight = new.get(node.inputs[1], node.inputs[1])
                    with recorder.at(origin):
                        made[key] = Node.make(node.op, [_stacked(part, *node.inputs[0].shape), weight]), origin
            found = made[key] if key is not None else None
            if found is not None:
                product, origin = found
                with recorder.at(origin):
                    at = parts[node].index * node.shape[0]
                    new[node] = slice_axis(product, 0, at, at + node.shape[0])
            else:
                follow(node, new, graph, recorder)
    return rebuild(graph, new, recorder.origins, rw.pass_name)
