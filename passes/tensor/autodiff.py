"""autodiff: gradients join the graph, by reverse mode on primitives.

Every primitive's `grad` is written with primitives, so the result can be differentiated again: the pass applied twice
gives the gradients `x.grad2` of the outputs `y` and `x.grad`, weighed by `y.head2` and `x.grad.head2`. Loss heads still
carry their own rule (custom_grad) here; `inline` replaces them afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from symc.ir.errors import IRError
from symc.ir.op import input_node, parameter
from symc.ir.prims.elementwise import add, full, zeros_like
from symc.ir.prims.pullback import pullback, reaching
from symc.ir.tensor.graph import Graph, Node, Origin, Recorder, Update, finish
from symc.ir.types import BOOL
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter


def head_name(output: str, order: int = 1) -> str:
    """Name of the input that gives an output's cotangent, when the pass is applied for the `order`-th time."""
    return f"{output}.head{order if order > 1 else ''}"


def grad_name(argument: str, order: int = 1) -> str:
    """Name of an argument's gradient, when the pass is applied for the `order`-th time."""
    return f"{argument}.grad{order if order > 1 else ''}"


@register_pass("autodiff", numerics="extends")
class Autodiff(Pass):
    """Add the gradients of the outputs, weighted by head cotangents, with respect to `wrt`."""

    wrt: tuple[str, ...] = option((), "arguments, joined by ':' (all float arguments if none)")
    add: tuple[str, ...] = option((), "those of them whose gradient is added to what the buffer holds")
    ones: bool = option(False, "head cotangents are 1 instead of inputs")

    def run(self, graph: Graph, rw: Rewriter) -> Graph:
        inputs = {graph.names[i]: i for i in graph.inputs}
        wanted = self.wrt or tuple(n for n, i in inputs.items() if parameter(i).role == "arg" and i.dtype.is_float)
        for name in (*wanted, *self.add):
            if name not in inputs:
                raise IRError(f"autodiff: {name!r} is not an argument; there are {', '.join(inputs)}")
        for name in self.add:
            if name not in wanted:
                raise IRError(f"autodiff: add={name!r}, but its gradient is not among those of {', '.join(wanted)}")
        if len(set(wanted)) < len(wanted):
            raise IRError(f"autodiff: an argument stands twice in wrt={':'.join(wanted)}")
        targets = [inputs[name] for name in wanted]
        order = self._order(graph, wanted)
        active = reaching(graph.nodes(), targets)
        recorder = Recorder()
        extra: dict[Node, Node] = {}
        heads: dict[Node, Node] = {}
        names = dict(graph.names)

        def visit(node: Node) -> AbstractContextManager[object] | None:
            here = rw.act(node.op.name, [graph.origins[node]])
            return None if here is None else recorder.at(here)

        with recorder:
            for name, node in graph.outputs:
                if node in active and node.dtype != BOOL:
                    with recorder.at(graph.origins[node]):
                        one = full(1, node.tensor)
                        head = one if self.ones else input_node(head_name(name, order), node.tensor, "head")
                        heads[node] = add(heads[node], head) if node in heads else head
                    if not self.ones:
                        extra[head] = head
            cotangents = dict(zip(targets, pullback(list(heads), list(heads.values()), targets, visit)))
            outputs, updates, buffers = list(graph.outputs), list(graph.updates), []
            for name, target in zip(wanted, targets):
                found, called = cotangents[target], grad_name(name, order)
                origin = graph.origins[target]
                with recorder.at(rw.act("argument", [origin]) or origin):
                    gradient = zeros_like(target) if found is None else found
                    if name in self.add:
                        buffer = input_node(called, target.tensor, "grad")
                        recorder.origins[buffer] = origin
                        buffers.append(buffer)
                        gradient = add(buffer, gradient)
                        updates.append(Update(called, gradient, "backward"))
                    else:
                        outputs.append((called, gradient))
                names.setdefault(gradient, called)
        origins: dict[Node, Origin] = {**recorder.origins, **graph.origins}
        made = finish(graph.name, [*graph.inputs, *extra, *buffers], outputs, updates, names, origins)
        # heads that no gradient depends on (all loss operators ignore theirs) are not inputs
        used = {i for n in made.nodes() for i in n.inputs} | set(made.roots)
        kept = [i for i in made.inputs if i not in extra or i in used]
        return Graph(made.name, tuple(kept), made.outputs, made.updates, made.names, made.origins)

    @staticmethod
    def _order(graph: Graph, wanted: Sequence[str]) -> int:
        """How many times the pass has been applied, this time included."""
        taken = {*(graph.names[i] for i in graph.inputs), *(name for name, _ in graph.outputs)}
        order = 1
        while any(grad_name(name, order) in taken for name in wanted) or any(
            head_name(name, order) in taken for name, _ in graph.outputs
        ):
            order += 1
        return order
