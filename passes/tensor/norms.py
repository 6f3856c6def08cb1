"""norms: what is added to a value and multiplied with it, channel by channel, becomes one multiplication and addition.

A prediction normalises a batch by the statistics it is given: (x - mean) * scale + beta, three operations on every
element. All but x are parameters, so that x * scale + (beta - mean * scale) is one, a fused multiply-add, and the two
vectors are computed when a parameter changes (see symc.passes.program.hoist). A convolution's bias joins them.

The factors stay out of the weights: behind a product with weights that hold them there would be one operation, too, the
sum, and these weights would take memory beside the user's.

**Error.** The two vectors are computed in double precision and rounded once: the result is off by at most
2 u (|x scale| + |mean scale| + |beta|), u = 2^-24 in single precision. In (x - mean) * scale + beta the difference is
rounded instead: where the mean is much larger than what x differs from it by, the rounding of x itself is as large.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from symc.ir.op import Node, Recorder
from symc.ir.prims import elementwise as ew
from symc.ir.prims.elementwise import Fma
from symc.ir.prims.movement import Broadcast, broadcast
from symc.ir.syntax.printing import value_name
from symc.ir.tensor.graph import Graph, users_of
from symc.ir.types import F64
from symc.passes.manager.manager import Pass, register_pass
from symc.passes.manager.rewrite import Rewriter, follow, rebuild
from symc.passes.tensor.parameters import of_parameters


@dataclass(frozen=True)
class _Step:
    """A node that adds to x, subtracts from it or multiplies it by a parameter's value, repeated along axes of x."""

    node: Node
    x: Node
    value: Node
    dims: tuple[int, ...]

    def follows(self, other: _Step) -> bool:
        """Whether this is the next step of a chain."""
        return self.x is other.node and self.dims == other.dims


@register_pass("norms", numerics="reassoc", optional=True)
class Norms(Pass):
    """Norms by given statistics as one multiply-add."""

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        fixed = of_parameters(graph)
        found = _chains(graph, fixed, rw) if fixed else {}
        return _joined(graph, found, rw) if found else graph


def _step(node: Node, fixed: Collection[Node]) -> _Step | None:
    if node in fixed or node.op not in (ew.add, ew.sub, ew.mul) or not node.dtype.is_float:
        return None
    a, b = node.inputs
    for x, p in [(a, b)] if node.op is ew.sub else [(a, b), (b, a)]:
        if p in fixed and isinstance(p.op, Broadcast) and p.inputs[0].rank:
            return _Step(node, x, p.inputs[0], p.op.dims)
    return None


def _chains(graph: Graph, fixed: Collection[Node], rw: Rewriter) -> dict[Node, list[_Step]]:
    """The chains of steps that both multiply and add, by their last nodes. Nobody else reads what is between."""
    nodes = graph.nodes()
    users, roots = users_of(nodes), set(graph.roots)
    steps = {node: step for node in nodes if (step := _step(node, fixed)) is not None}
    chains: dict[Node, list[_Step]] = {}
    for node, step in steps.items():
        before = steps.get(step.x)
        goes_on = before is not None and step.follows(before) and len(users[step.x]) == 1 and step.x not in roots
        chains[node] = [*chains.pop(step.x), step] if goes_on else [step]
    for node, chain in list(chains.items()):
        ops = {step.node.op for step in chain}
        if ew.mul not in ops or len(ops) == 1:
            if len(chain) > 1:
                rw.miss("multiply-add", graph.names[node], "it only multiplies" if ew.mul in ops else "it only adds")
            del chains[node]
    return chains


def _multiply_add(x: Node, chain: list[_Step]) -> Node:
    """x * scale + shift, which is what the steps make of x."""
    scale: Node | None = None
    shift: Node | None = None
    for step in chain:
        p = ew.cast(step.value, F64)
        if step.node.op is ew.mul:
            scale = p if scale is None else ew.mul(scale, p)
            shift = ew.mul(shift, p) if shift is not None else None
        elif step.node.op is ew.add:
            shift = p if shift is None else ew.add(shift, p)
        else:
            shift = ew.neg(p) if shift is None else ew.sub(shift, p)
    assert scale is not None and shift is not None
    return Node.make(Fma(), [x, *(broadcast(ew.cast(v, x.dtype), x.shape, chain[0].dims) for v in (scale, shift))])


def _shown(graph: Graph, chain: list[_Step]) -> tuple[str, str]:
    return ", ".join(value_name(graph.names[s.node]) for s in chain), "one multiply-add"


def _joined(graph: Graph, chains: Mapping[Node, list[_Step]], rw: Rewriter) -> Graph:
    new: dict[Node, Node] = {}
    with Recorder() as recorder:
        for node in graph.nodes():
            chain = chains.get(node)
            if chain is not None:
                origins = [graph.origins[s.node] for s in chain if s.node in graph.origins]
                origin = rw.act("multiply-add", origins, _shown, graph, chain)
                if origin is not None:
                    x = chain[0].x
                    with recorder.at(origin):
                        new[node] = _multiply_add(new.get(x, x), chain)
                    continue
            follow(node, new, graph, recorder)
    return rebuild(graph, new, recorder.origins, rw.pass_name)
