"""A whole training step as one program: forward, backward and the optimizer's update in one native call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from symc.codegen.target import host_target
from symc.compile import Executable, emit, loop_passes, tensor_passes
from symc.ir.errors import IRError
from symc.ir.graph import Graph, Node, Recorder, SymOrigin, Update, finish
from symc.ir.op import input_node
from symc.ir.types import F32, TensorType
from symc.passes.autodiff import Autodiff, grad_name
from symc.passes.decompose import Decompose, SymbolModule
from symc.passes.pipeline import Manager


@dataclass
class StepInputs:
    """What an update rule may ask for: state tensors like its weight, and scalars that change from step to step."""

    name: str
    weight: Node
    states: dict[str, Node] = field(default_factory=dict)
    scalars: dict[str, Node] = field(default_factory=dict)

    def state(self, index: int) -> Node:
        """State number `index` of this weight: a tensor of the weight's type, kept between steps."""
        key = state_name(self.name, index)
        if key not in self.states:
            self.states[key] = input_node(key, self.weight.tensor, "state")
        return self.states[key]

    def scalar(self, key: str) -> Node:
        """A number (f32, rank 0) given anew for every step, as the learning rate."""
        if key not in self.scalars:
            self.scalars[key] = input_node(key, TensorType(F32, ()), "scalar")
        return self.scalars[key]


#: (weight's name, weight, gradient, inputs) -> (new weight, new states)
UpdateRule = Callable[[str, Node, Node, StepInputs], "tuple[Node, Sequence[Node]]"]


def state_name(weight: str, index: int) -> str:
    """The program's name of an optimizer state."""
    return f"{weight}.state{index}"


class NeedsHeads(IRError):
    """The Symbol's outputs are not all of loss operators: a training step alone cannot know their gradients."""


def compile_training_step(
    module: SymbolModule, wrt: Sequence[str], rule: UpdateRule, manager: Manager | None = None
) -> Executable:
    """Forward, backward and update as one program. Its parameters are the Symbol's variables, the optimizer's states
    (`state_name`) and scalars; weights, states and auxiliary states are updated in place; outputs are the Symbol's."""
    manager = manager or Manager(verify=False)
    graph = manager.run([Decompose(train=True), Autodiff(wrt=tuple(wrt))], module)
    heads = [n for n in graph.inputs if n.op.role == "head"]  # type: ignore[attr-defined]
    if heads:
        raise NeedsHeads(
            f"{module.name}: outputs without a loss need head gradients: {', '.join(graph.names[h] for h in heads)}"
        )
    target = host_target()
    stepped = with_updates(graph, wrt, rule)
    return emit(manager.run([*tensor_passes(), *loop_passes(target)], stepped), target)


def with_updates(graph: Graph, wrt: Sequence[str], rule: UpdateRule) -> Graph:
    """The graph with every gradient output replaced by the update of its weight and states."""
    outputs = dict(graph.outputs)
    inputs: dict[str, Node] = {graph.names[i]: i for i in graph.inputs}
    updates: list[Update] = list(graph.updates)
    with Recorder() as recorder:
        for name in wrt:
            gradient = outputs.pop(grad_name(name))
            given = StepInputs(name, inputs[name], scalars={k: v for k, v in inputs.items() if v.op.role == "scalar"})  # type: ignore[attr-defined]
            with recorder.at(graph.origins.get(inputs[name]) or SymOrigin(name, "Variable")):
                weight, states = rule(name, inputs[name], gradient, given)
            updates.append(Update(name, weight, "backward"))
            updates += [Update(state_name(name, i), s, "backward") for i, s in enumerate(states)]
            inputs.update({**given.states, **given.scalars})
        update_origin = SymOrigin("optimizer", "update")
        origins = {**recorder.origins, **graph.origins}
        for node in inputs.values():
            origins.setdefault(node, update_origin)
    return finish(graph.name, list(inputs.values()), list(outputs.items()), updates, graph.names, origins)
