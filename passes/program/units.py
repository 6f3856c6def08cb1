"""Which values get memory, and how each is computed from others that have it.

A unit is a value that may get memory (a demanded value) with its cone: the cheap nodes between it and other
demanded values, computed again wherever they are needed. `fuse` then joins units into kernels; a demanded value
that only its own kernel reads stays in registers after all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from symc.ir.op import Input, Node, Primitive, has_element
from symc.ir.prims.elementwise import Const
from symc.ir.prims.linear import Conv
from symc.ir.prims.movement import Broadcast, Pad, Reshape, Slice, Transpose
from symc.ir.prims.reduce import Reduction
from symc.ir.prims.tuples import Get
from symc.ir.program.form import Access
from symc.ir.tensor.graph import Graph, users_of
from symc.ir.types import Shape, TupleType
from symc.passes.cost import REPEATED, WIDE
from symc.passes.program.planes import padded_by_planes

#: nodes of a cone: a longer chain is cut by storing a value
MAX_CONE = 48


def is_pointwise(op: Primitive) -> bool:
    """As has_element, less the primitives that a loop nest of their own does better (copying a block at a time)."""
    return has_element(op) and not op.nest


def is_trivial_reshape(node: Node) -> bool:
    """Only axes of extent 1 come or go: an index is mapped without arithmetic."""
    return [d for d in node.shape if d != 1] == [d for d in node.inputs[0].shape if d != 1]


def is_view(node: Node) -> bool:
    return isinstance(node.op, Reshape) and not is_trivial_reshape(node)


def is_leaf_const(node: Node) -> bool:
    return isinstance(node.op, Const) and bool(node.shape)


@dataclass(eq=False)
class Unit:
    """A demanded value: its cone (operands first, the root last), and how it accesses the values it reads."""

    root: Node
    cone: list[Node]
    reads: dict[Node, set[Access]]
    #: the index space of the loops: the operand's shape for a reduction, else the root's
    space: Shape
    #: reduced axes of the space
    axes: tuple[int, ...] = ()
    #: the form of its kernel when it is alone, or "view", or "get" (a result of a value with several)
    kind: str = "map"


def demanded_values(graph: Graph, limit: int) -> set[Node]:
    """The values that get memory unless their kernel keeps them: results, operands of loop nests and views,
    reductions, and dear values with several readers or repeated many times (`limit`: what recomputing one may cost)."""
    nodes = graph.nodes()
    users = users_of(nodes)
    demanded: set[Node] = set(graph.roots)
    cost: dict[Node, int] = {}
    size: dict[Node, int] = {}
    for node in nodes:
        op = node.op
        if isinstance(op, (Input, Const)) and not has_element(op):
            continue  # parameters and constants are in memory anyway
        if is_view(node):
            demanded.update((node, node.inputs[0]))
        elif isinstance(op, Reduction):
            demanded.add(node)
        elif not is_pointwise(op) and not (
            isinstance(op, Pad) and all(padded_by_planes(u) is node for u in users[node])
        ):
            demanded.add(node)
            demanded.update(_in_memory(node, demanded))
        recompute = op.cost + sum(1 if i in demanded or not i.inputs else cost.get(i, 1) for i in set(node.inputs))
        cost[node] = recompute
        size[node] = 1 + sum(size.get(i, 0) for i in set(node.inputs) if i not in demanded)
        if size[node] > MAX_CONE and node.inputs:
            demanded.add(node)
        if len(users[node]) > 1 and recompute > limit and node.inputs and not isinstance(op, Broadcast):
            demanded.add(node)
        if isinstance(op, Broadcast) and cost.get(node.inputs[0], 0) > limit and node.inputs[0].rank:
            (repeated,) = node.inputs
            if node.tensor.size >= max(WIDE, REPEATED * repeated.tensor.size) and not isinstance(
                repeated.op, Broadcast
            ):
                demanded.add(repeated)
                cost[node] = 1
    return {n for n in demanded if not isinstance(n.op, (Input, Const))}


def _in_memory(nest: Node, demanded: Collection[Node]) -> Sequence[Node]:
    """What a loop nest reads from memory. A convolution packs its weights in any case, from wherever they lie, and what
    it copies into planes is padded there unless the padded maps are in memory."""
    if nest.op.prologue:
        return ()
    if not isinstance(nest.op, Conv):
        return nest.inputs
    x, weights = nest.inputs
    if x not in demanded and padded_by_planes(nest) is x:
        (x,) = x.inputs
    while isinstance(weights.op, (Slice, Transpose)) or isinstance(weights.op, Reshape) and is_trivial_reshape(weights):
        (weights,) = weights.inputs
    return x, weights


def make_unit(root: Node, demanded: set[Node]) -> Unit:
    """The unit of a demanded value."""
    op = root.op
    if isinstance(op, Reduction):
        kind, space, axes = "row", root.inputs[0].shape, op.axes
    elif isinstance(op, Get):
        return Unit(root, [root], {root.inputs[0]: {None}}, root.shape, (), "get")
    elif is_view(root):
        kind, space, axes = "view", root.shape, ()
    elif is_pointwise(op):
        kind, space, axes = "map", root.shape, ()
    else:
        kind, axes = "nest" if op.nest else "host", ()
        space = () if isinstance(root.type, TupleType) else root.shape
    reads: dict[Node, set[Access]] = {}
    # what nests and views read as a whole
    in_memory = set(root.inputs) & demanded if kind in ("view", "nest", "host") and not op.prologue else set()
    cone_order: dict[Node, None] = {}
    start: Access = tuple(range(len(space))) if kind in ("map", "row") else None
    stack: list[tuple[Node, Access]] = [(i, access_through(root, i, start)) for i in root.inputs]
    seen: set[tuple[Node, Access]] = set(stack)
    while stack:
        node, access = stack.pop()
        if node in demanded or not node.inputs:
            if not node.inputs and has_element(node.op) and not is_leaf_const(node) and node not in in_memory:
                cone_order.setdefault(node)  # iota: computed from the index
                continue
            if not node.op.is_literal(node):
                reads.setdefault(node, set()).add(access)
                continue
        cone_order.setdefault(node)
        for source in node.inputs:
            step = (source, access_through(node, source, access))
            if step not in seen:
                seen.add(step)
                stack.append(step)
    return Unit(root, [*_sorted(cone_order), root], reads, space, axes, kind)


def access_through(node: Node, source: Node, access: Access) -> Access:
    """How `source` is accessed where `node` is accessed by `access` (the operand of a reduction: where the unit is)."""
    op = node.op
    if op.elementwise:
        return access if source.shape == node.shape else ()
    if isinstance(op, Reduction):
        return access
    if isinstance(op, Broadcast) and access is not None:
        if all(source.shape[k] == node.shape[d] for k, d in enumerate(op.dims)):
            return tuple(access[d] for d in op.dims)
    return None


def _sorted(cone: dict[Node, None]) -> list[Node]:
    """The cone, operands before users, in an order that depends only on the graph."""
    members = set(cone)
    order: list[Node] = []
    done: set[Node] = set()
    for start in cone:
        if start in done:
            continue
        stack = [(start, 0)]
        done.add(start)
        while stack:
            node, at = stack.pop()
            while at < len(node.inputs) and (node.inputs[at] in done or node.inputs[at] not in members):
                at += 1
            if at < len(node.inputs):
                stack.append((node, at + 1))
                done.add(node.inputs[at])
                stack.append((node.inputs[at], 0))
            else:
                order.append(node)
    return order
