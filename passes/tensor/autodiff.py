"""autodiff: gradients join the graph, by reverse mode on primitives.

Every primitive's `grad` is written with primitives, so the result can be differentiated again: the pass applied twice
gives the gradients of order 2, `x.grad2`, of the outputs `y` and `x.grad`, weighed by `y.head2` and `x.grad.head2`.
Those are the names where nobody else has them; what an output or input is, its role tells. Loss heads still carry their
own rule (custom_grad) here; `inline` replaces them afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from symc.ir.errors import IRError
from symc.ir.op import Input, Node, Recorder, input_node, parameter
from symc.ir.origins import Origin, SymOrigin
from symc.ir.prims.control import CustomGrad
from symc.ir.prims.elementwise import add, full, zeros_like
from symc.ir.prims.pullback import pullback, reaching
from symc.ir.tensor.graph import Graph, Output, Update, finish, fresh_name, without_inputs
from symc.ir.types import BOOL
from symc.passes.manager.manager import Pass, option, register_pass
from symc.passes.manager.rewrite import Rewriter
from symc.passes.manager.watching import definition


def head_name(output: str, order: int = 1) -> str:
    """Wished name of the input that gives an output's cotangent, when the pass is applied for the `order`-th time."""
    return f"{output}.head{order if order > 1 else ''}"


def grad_name(argument: str, order: int = 1) -> str:
    """Wished name of an argument's gradient, when the pass is applied for the `order`-th time."""
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
        order = 1 + max((of.order for of in self._derived(graph)), default=0)
        taken = {*inputs, *(output.name for output in graph.outputs)}
        active = reaching(graph.nodes(), targets)
        recorder = Recorder()
        extra: dict[Node, Node] = {}
        heads: dict[Node, Node] = {}
        names = dict(graph.names)

        def visit(node: Node) -> AbstractContextManager[object] | None:
            here = rw.act(node.op.name, [graph.origins[node]], _operator, node, graph)
            return None if here is None else recorder.at(here)

        changed: dict[Node, Node] = {}

        def passed(node: Node, arrived: Sequence[Node | None]) -> None:
            if isinstance(node.op, CustomGrad):
                changed.update(node.op.states_after(node, arrived))

        with recorder:
            for output in graph.outputs:
                node = output.node
                if node in active and node.dtype != BOOL:
                    with recorder.at(graph.origins[node]):
                        if self.ones:
                            head = full(1, node.tensor)
                        else:
                            called = self._name(head_name(output.name, order), taken)
                            head = input_node(called, node.tensor, "head", output.name, order)
                        heads[node] = add(heads[node], head) if node in heads else head
                    if not self.ones:
                        extra[head] = head
            cotangents = dict(zip(targets, pullback(list(heads), list(heads.values()), targets, visit, passed)))
            outputs, updates, buffers = list(graph.outputs), list(graph.updates), []
            states = set(graph.inputs)
            updates += [Update(graph.names[i], value, "backward") for i, value in changed.items() if i in states]
            for name, target in zip(wanted, targets):
                found, called = cotangents[target], self._name(grad_name(name, order), taken)
                # text may leave out where an input comes from
                origin = graph.origins.get(target) or SymOrigin(name, "Variable")
                with recorder.at(rw.act("argument", [origin], _argument, name, called) or origin):
                    gradient = zeros_like(target) if found is None else found
                    if name in self.add:
                        buffer = input_node(called, target.tensor, "grad", name, order)
                        recorder.origins[buffer] = origin
                        buffers.append(buffer)
                        gradient = add(buffer, gradient)
                        updates.append(Update(called, gradient, "backward"))
                    else:
                        outputs.append(Output(called, gradient, "gradient", name, order, "backward"))
                names.setdefault(gradient, called)
        origins: dict[Node, Origin] = {**recorder.origins, **graph.origins}
        made = finish(graph.name, [*graph.inputs, *extra, *buffers], outputs, updates, names, origins)
        # heads that no gradient depends on (all loss operators ignore theirs) are not inputs
        used = {i for n in made.nodes() for i in n.inputs} | set(made.roots)
        return without_inputs(made, [head for head in extra if head not in used])

    @staticmethod
    def _name(wished: str, taken: set[str]) -> str:
        name = fresh_name(wished, taken)
        taken.add(name)
        return name

    @staticmethod
    def _derived(graph: Graph) -> Iterator[Input | Output]:
        """What earlier applications of the pass added."""
        yield from (op for op in map(parameter, graph.inputs) if op.role in ("head", "grad"))
        yield from (output for output in graph.outputs if output.role == "gradient")


def _operator(node: Node, graph: Graph) -> tuple[str, str]:
    return definition(node, graph.names), "its gradient"


def _argument(name: str, called: str) -> tuple[str, str]:
    return f"%{name}", f"its gradient %{called}"
