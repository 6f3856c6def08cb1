"""The text of tensor graphs:

    func @name(%x: f32[2,3] data) -> (y: f32[2,3]) {
      %y: f32[2,3] = add(%x, 1.0) !1
      return %y
        update %state = %y (backward)
    }

A rank-0 constant without a name is printed in place. Attributes that the result type tells are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from symc.ir.op import Input, Node
from symc.ir.prims.elementwise import Const
from symc.ir.syntax.printing import (
    Printer,
    global_name,
    output_text,
    parameter_text,
    phase_text,
    regions_of,
    scalar_text,
    signature,
    value_name,
    word,
)  # fmt: skip
from symc.ir.tensor.graph import Graph
from symc.ir.types import DType, TensorType

STEP = "  "


def complete_names(graph: Graph, nodes: Sequence[Node], given: Mapping[Node, str]) -> dict[Node, str]:
    """`%name` of every node that is not printed in place; `given` are inputs that go by another name here. A broken
    graph prints too: nodes without a name of their own get one, which the verifier reports."""
    made: dict[Node, str] = {}
    used: set[str] = set()
    for node in nodes:
        name: str | None = given.get(node) or getattr(node.op, "input_name", None) or graph.names.get(node)
        if name is None and node.op.is_literal(node):
            continue
        if name is None or name in used:
            count = len(used)
            while f"unnamed.{count}" in used:
                count += 1
            name = f"unnamed.{count}"
        used.add(name)
        made[node] = value_name(name)
    return made


def operand_text(node: Node, names: Mapping[Node, str], dtype: DType | None) -> str:
    """A value's name, or the literal; its element type follows where it is not `dtype`."""
    name = names.get(node)
    if name is not None:
        return name
    assert isinstance(node.op, Const)
    text = scalar_text(node.op.array()[()], node.dtype)
    return text if node.dtype == dtype else f"{text}:{node.dtype}"


def operands_text(node: Node, names: Mapping[Node, str]) -> str:
    """The operands in a row; literals take the element type of the first operand that is none."""
    found = [names.get(source) for source in node.inputs]
    named = [name for name in found if name is not None]
    if len(named) == len(found):
        return ", ".join(named)
    lead = next((source.type for source, name in zip(node.inputs, found) if name is not None), None)
    dtype = lead.dtype if isinstance(lead, TensorType) else None
    return ", ".join(operand_text(source, names, dtype) for source in node.inputs)


def statements(
    graph: Graph, printer: Printer, indent: str, end: str = "return", given: Mapping[Node, str] = MappingProxyType({})
) -> list[str]:
    """The lines of a graph's nodes, its results and updates; `given` are inputs that go by another name here."""
    nodes = graph.nodes()
    names = complete_names(graph, nodes, given)
    origins = graph.origins
    inputs = set(graph.inputs)
    lines = []
    for node in nodes:
        if node in inputs or node not in names:
            continue
        attributes = printer.attributes(node.op, node.type)
        loc = printer.loc(origins.get(node))
        line = f"{indent}{names[node]}: {node.type} = {node.op.name}({operands_text(node, names)}){attributes}{loc}"
        regions = regions_of(node.op)
        if not regions:
            lines.append(line)
            continue
        lines.append(line + " {")
        for name, region in regions:
            head = name if region.name == name else f"{name} {global_name(region.name)}"
            lines += function(region, printer, head, indent + STEP)
        lines.append(indent + "}")
    returned = ", ".join(operand_text(node, names, None) for node in graph.output_nodes)
    lines.append(f"{indent}{end} {returned}".rstrip())
    for update in graph.updates:
        value = f"{operand_text(update.value, names, None)}{phase_text(update.phase)}"
        lines.append(f"{indent}{STEP}update {value_name(update.input)} = {value}")
    return lines


def function(graph: Graph, printer: Printer, head: str, indent: str = "") -> list[str]:
    """A graph with its signature."""
    params = []
    names = complete_names(graph, graph.inputs, {})
    for node in graph.inputs:
        op = node.op
        role = parameter_text(op.role, op.of, op.order) if isinstance(op, Input) else " arg"
        params.append(f"{names[node]}: {node.type}{role}{printer.loc(graph.origins.get(node))}")
    results = [f"{word(o.name)}: {o.node.type}{output_text(o.role, o.of, o.order, o.phase)}" for o in graph.outputs]
    lines = signature(head, params, results, " {", indent)
    return [*lines, *statements(graph, printer, indent + STEP), indent + "}"]


def graph_lines(graph: Graph, printer: Printer) -> list[str]:
    """A tensor graph at the top of a file."""
    return function(graph, printer, f"func {global_name(graph.name)}")
