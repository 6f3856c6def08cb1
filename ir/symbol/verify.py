"""Rules S of symc.ir.verify: symbol graphs."""

from __future__ import annotations

from typing import Any

from symc.ir.errors import VerifyError
from symc.ir.symbol.nodes import SymGraph, SymNode


def verify_symbol(module: Any) -> None:
    """Check a SymGraph, or a SymbolModule (with types)."""
    graph: SymGraph = module if isinstance(module, SymGraph) else module.graph
    types = {} if isinstance(module, SymGraph) else module.types
    verify_sym_graph(graph)
    if types:
        arguments, states = graph.variables()
        for variable in [*arguments, *states]:
            if variable.name not in types:
                raise VerifyError("S5", f"variable {variable.name!r} has no type")


def verify_sym_graph(graph: SymGraph) -> None:
    """Check one graph and the subgraphs of its nodes."""
    stack = [graph]
    while stack:
        here = stack.pop()
        variables: set[str] = set()
        for node in here.nodes():
            _node(node)
            if node.is_variable:
                if node.name in variables:
                    raise VerifyError("S4", f"two variables are named {node.name!r}")
                variables.add(node.name)
            stack.extend(node.subgraphs)
        for source, output in here.outputs:
            _entry("the outputs", source, output)


def _node(node: SymNode) -> None:
    if not node.name:
        raise VerifyError("S4", f"a node of {node.op} has no name")
    if not node.op:
        raise VerifyError("S1", f"node {node.name!r} has no operator")
    if node.is_variable and node.inputs:
        raise VerifyError("S1", f"variable {node.name!r} has inputs")
    for source, output in node.inputs:
        _entry(f"node {node.name!r}", source, output)
    if node.definition is None:
        return
    inputs, states = node.definition.list_inputs(), node.definition.list_aux()
    if len(node.inputs) != len(inputs) + len(states):
        wanted = [*inputs, *states]
        raise VerifyError(
            "S3", f"{node.op} {node.name!r} takes {len(wanted)} inputs ({', '.join(wanted)}), it has {len(node.inputs)}"
        )
    for source, _ in node.inputs[node.aux_from :]:
        if not source.is_variable:
            raise VerifyError("S3", f"{node.op} {node.name!r}: the auxiliary state {source.name!r} is not a variable")


def _entry(user: str, source: SymNode, output: int) -> None:
    if not 0 <= output or (source.definition is not None or source.is_variable) and output >= source.num_outputs:
        count = source.num_outputs
        raise VerifyError("S2", f"{user}: {source.name!r} has {count} outputs, there is no output {output}")
