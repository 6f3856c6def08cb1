"""Control: operators with their own gradient rule, and calls into the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from symc.ir.errors import MissingData, TypeMismatch
from symc.ir.op import Input, Node, Primitive, Recorder, RunGraph, input_node, primitive, require
from symc.ir.prims.elementwise import add, zeros_like
from symc.ir.prims.pullback import pullback
from symc.ir.prims.tuples import results
from symc.ir.tensor.graph import Graph, finish
from symc.ir.types import Array, TensorType, TupleType, Type


def instantiate(graph: Graph, inputs: Sequence[Node], origins: bool = False) -> list[Node]:
    """The graph's outputs with its inputs replaced by these nodes; with `origins`, every node keeps the origin that it
    has in the graph."""
    new: dict[Node, Node] = dict(zip(graph.inputs, inputs))
    recorder = Recorder.active()
    for node in graph.nodes():
        if node not in new:
            own = graph.origins.get(node) if origins else None
            with recorder.at(own or recorder.origin):
                inputs = [new[i] for i in node.inputs]
                if node.op.is_control and recorder.origin is not None:
                    new[node] = Node.make(node.op.placed(recorder.origin), inputs)
                else:
                    new[node] = node.on(inputs)
    return [new[node] for node in graph.output_nodes]


def placeholders(types: Sequence[TensorType], stem: str = "in") -> list[Node]:
    """The parameters of a graph that a primitive holds."""
    return [input_node(f"{stem}{i}", t) for i, t in enumerate(types)]


def trace(name: str, inputs: Sequence[Node], outputs: Sequence[tuple[str, Node]], recorder: Recorder) -> Graph:
    """A graph that a primitive holds, built under the recorder. TypeMismatch if it reads a parameter that is not its
    own: such a graph sees nothing but its operands."""
    graph = finish(name, inputs, outputs, (), recorder.names, recorder.origins)
    own = set(inputs)
    for node in graph.nodes():
        if isinstance(node.op, Input) and node not in own:
            raise TypeMismatch(f"{name} reads {node.op.input_name!r} from outside; hand it over as an operand")
    return graph


@primitive("custom_grad")
class CustomGrad(Primitive):
    """The value is `body`(operands); the gradient is `rule`(operands, results, cotangents).

    The rule's outputs are named by the operand they belong to: `d1` is the cotangent of operand 1 (operands without one
    have no gradient), `s2` what operand 2, a state, is when the gradient has been computed. The last `saved` results
    are there for the rule only: it takes no cotangents of theirs, and where they have some (in the gradient of the
    gradient) they pass through the body's own derivative.
    """

    body: Graph
    rule: Graph
    saved: int = 0

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(list(ins) == [i.tensor for i in self.body.inputs], self, "operands are not the body's", *ins)
        types = tuple(node.tensor for node in self.body.output_nodes)
        return types[0] if len(types) == 1 else TupleType(types)

    def evaluate(self, args: Sequence[Array], out: Sequence[TensorType], run: RunGraph) -> Array | tuple[Array, ...]:
        made = run(self.body, args)
        return made[0] if len(made) == 1 else tuple(made)

    def passes_back(self, at: int) -> bool:
        return self.saved > 0 or any(output.name == f"d{at}" for output in self.rule.outputs)

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        outs = results(node)
        by_name = self._ruled(node, ct)
        found = [by_name.get(f"d{i}") for i in range(len(node.inputs))]
        again = [i for i in range(len(outs) - self.saved, len(outs)) if ct[i] is not None]
        if again:
            values = instantiate(self.body, node.inputs)
            more = pullback([values[i] for i in again], [ct[i] for i in again], node.inputs)
            found = [b if a is None else a if b is None else add(a, b) for a, b in zip(found, more)]
        return found

    def states_after(self, node: Node, ct: Sequence[Node | None]) -> list[tuple[Node, Node]]:
        """(operand, its new value) of the states that the gradient changes."""
        by_name = self._ruled(node, ct)
        return [(i, by_name[f"s{at}"]) for at, i in enumerate(node.inputs) if f"s{at}" in by_name]

    def _ruled(self, node: Node, ct: Sequence[Node | None]) -> dict[str, Node]:
        """What the rule makes, by the names of its outputs."""
        outs = results(node)
        given = [zeros_like(o) if c is None else c for o, c in zip(outs, ct)]
        made = instantiate(self.rule, [*node.inputs, *outs, *given])
        return {output.name: g for output, g in zip(self.rule.outputs, made)}


Body = Callable[..., "Node | Sequence[Node]"]
GradRule = Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], Sequence["Node | None"]]


def custom_grad(
    inputs: Sequence[Node], body: Body, rule: GradRule, saved: int = 0, states: Sequence[int] = ()
) -> Node | list[Node]:
    """body(*inputs) with the gradient rule(inputs, outputs, cotangents) -> one cotangent (or None) per input.

    The last `saved` outputs of the body are for the rule, which ignores their cotangents. For the inputs at `states`
    the rule gives, instead of a cotangent, what they become in the backward half (autodiff makes that an update).
    Returns the node, or the list of results if the body has several.
    """
    with Recorder() as recorder:  # the traced graphs' nodes are not part of the program that is being built
        ins = placeholders([x.tensor for x in inputs])
        made = body(*ins)
        outs = [made] if isinstance(made, Node) else list(made)
        traced = trace("body", ins, [(f"out{i}", o) for i, o in enumerate(outs)], recorder)
        results_in = placeholders([o.tensor for o in outs], "y")
        cotangents = placeholders([o.tensor for o in outs], "ct")
        grads = rule(ins, results_in, cotangents)
        named = [(f"{'s' if i in states else 'd'}{i}", g) for i, g in enumerate(grads) if g is not None]
        backward = trace("rule", [*ins, *results_in, *cotangents], named, recorder)
    node = Node.make(CustomGrad(traced, backward, saved), list(inputs))
    return node if isinstance(made, Node) else results(node)


# --------------------------------------------------------------------------------------------- host calls

HostFunction = Callable[..., "Array | tuple[Array, ...]"]
HOST_FUNCTIONS: dict[str, HostFunction] = {}


def register_host(name: str, function: HostFunction) -> None:
    """Make a numpy function callable from programs: it takes arrays and returns one array per result type."""
    HOST_FUNCTIONS[name] = function


@primitive("host_call")
class HostCall(Primitive):
    """A registered Python function on arrays. With `effects` every call is kept apart (`uid`) and in order."""

    function: str = ""
    types: tuple[TensorType, ...] = ()
    uid: int = 0

    def type(self, ins: Sequence[TensorType]) -> Type:
        require(bool(self.types), self, "needs result types", *ins)
        return self.types[0] if len(self.types) == 1 else TupleType(self.types)

    def value(self, args: Sequence[Array], out: Sequence[TensorType]) -> Array | tuple[Array, ...]:
        function = HOST_FUNCTIONS.get(self.function)
        if function is None:
            raise MissingData(
                f"the program calls {self.function!r}, a function in Python that only the process has which made the "
                "program of its Symbol: take the Symbol"
            )
        made = function(*args)
        parts = made if isinstance(made, tuple) else (made,)
        converted = tuple(np.asarray(p).astype(t.dtype.numpy).reshape(t.shape) for p, t in zip(parts, out))
        return converted[0] if len(converted) == 1 else converted

    def grad(self, node: Node, ct: Sequence[Node | None]) -> Sequence[Node | None]:
        require(
            all(c is None for c in ct), self,
            f"nobody knows the gradient of {self.function!r}, a function in Python; custom_grad around it gives it "
            "one, which itself has none if it calls such functions",
            *(i.tensor for i in node.inputs),
        )  # fmt: skip
        return [None] * len(node.inputs)


def host_call(function: str, inputs: Sequence[Node], types: Sequence[TensorType], uid: int = 0) -> Node | list[Node]:
    """Call a registered function. Asking for its gradient is refused: custom_grad around it gives it one."""
    node = Node.make(HostCall(function, tuple(types), uid), list(inputs))
    return node if len(types) == 1 else results(node)
