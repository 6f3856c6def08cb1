"""The text of symbol graphs:

    graph @mlp -> (softmax_output) {
      %data: f32[32,784] = variable(data) {__lr_mult__="0.1"} !1
      %fc1 = FullyConnected(%data, %fc1_weight) {num_hidden="128"} !1
      return %fc1
    }

Attributes are MXNet's texts. `%x:1` is output 1 of a node. MXNet lets nodes share a name: `%x#1` is the second one.
A node's subgraphs follow in braces. The variables' types are there once they are known, and so are the outputs'
shapes of operators without inputs: `%z = _zeros() {...} shapes=[[2, 3]]`.
"""

from __future__ import annotations

from symc.ir.modules import SymbolModule
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.syntax.printing import Printer, attribute_text, global_name, quoted, value_name, word
from symc.ir.tensor.text import STEP


def symbol_lines(module: SymbolModule, printer: Printer) -> list[str]:
    """A symbol graph at the top of a file."""
    names = f" -> ({', '.join(map(word, module.output_names))})" if module.output_names else ""
    head = f"graph {global_name(module.name)}{names} {{"
    return [head, *_body(module.graph, printer, STEP, module), "}"]


def _body(graph: SymGraph, printer: Printer, indent: str, module: SymbolModule | None) -> list[str]:
    names: dict[SymNode, str] = {}
    count: dict[str, int] = {}
    lines = []

    def entry(node: SymNode, output: int) -> str:
        return names[node] if not output else f"{names[node]}:{output}"

    for node in graph.nodes():
        number = count.get(node.name, 0)
        count[node.name] = number + 1
        names[node] = value_name(node.name) + (f"#{number}" if number else "")
        left = names[node]
        if module is not None and node.is_variable and node.name in module.types:
            left += f": {module.types[node.name]}"
        if node.is_variable:
            role = module.roles.get(node.name) if module is not None else None
            right = f"variable({word(role)})" if role else "variable"
        else:
            right = f"{word(node.op)}({', '.join(entry(*source) for source in node.inputs)})"
        if node.attrs:
            right += f" {{{', '.join(f'{word(k)}={quoted(v)}' for k, v in node.attrs.items())}}}"
        if module is not None and node.name in module.shapes:
            right += f" shapes={attribute_text(module.shapes[node.name])}"
        known = node.where[0] or node.where[1]
        line = f"{indent}{left} = {right}{printer.loc(node.origin()) if known else ''}"
        if not node.subgraphs:
            lines.append(line)
            continue
        lines.append(line + " {")
        for subgraph in node.subgraphs:
            lines.append(f"{indent}{STEP}graph {{")
            lines += _body(subgraph, printer, indent + STEP + STEP, None)
            lines.append(f"{indent}{STEP}}}")
        lines.append(indent + "}")
    returned = ", ".join(entry(*output) for output in graph.outputs)
    lines.append(f"{indent}return {returned}".rstrip())
    return lines
