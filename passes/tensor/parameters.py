"""What of a graph depends on parameters only: a prologue may compute it (see symc.passes.program.hoist)."""

from __future__ import annotations

from symc.ir.op import Node, parameter
from symc.ir.tensor.graph import Graph


def has_prologue(graph: Graph) -> bool:
    """Whether what depends on parameters only is computed when they change, not in every run (see hoist): there is data
    beside them, and no backward half."""
    phases = [*(output.phase for output in graph.outputs), *(update.phase for update in graph.updates)]
    return any(parameter(i).role == "data" for i in graph.inputs) and set(phases) <= {"forward"}


def of_parameters(graph: Graph) -> set[Node]:
    """The values that depend on nothing but constants and parameters which no run writes to; none where those are new
    in every run."""
    if not has_prologue(graph):
        return set()
    written = {update.input for update in graph.updates}
    inputs = {i: parameter(i) for i in graph.inputs}
    found: set[Node] = set()
    for node in graph.nodes():
        if node in inputs:
            if inputs[node].role in ("arg", "aux") and inputs[node].input_name not in written:
                found.add(node)
        elif not node.op.opaque and not node.op.is_control and found.issuperset(node.inputs):
            found.add(node)
    return found
