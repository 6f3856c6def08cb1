"""Programs as drawings: nodes and edges of any level, as Graphviz text or as an SVG laid out in layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from symc.cli.report import CliError
from symc.ir.program.nodes import Program, ViewStep, operands_of, regions_of_step, results_of
from symc.ir.symbol.nodes import SymGraph
from symc.ir.tensor.graph import Graph

#: colours by what a node is
COLOURS = {"input": "#dbe9f6", "heavy": "#fde2c8", "plain": "#eef2e6", "output": "#e6dff2"}
CHARACTER, LINE, MARGIN, GAP = 7.2, 16.0, 10.0, 48.0


@dataclass
class Box:
    """A node: its lines of text and its kind (a key of COLOURS)."""

    lines: list[str]
    kind: str = "plain"


@dataclass
class Diagram:
    """Boxes by key, in topological order, and edges with a label."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)

    def box(self, key: str, lines: Sequence[str], kind: str = "plain") -> None:
        self.boxes[key] = Box([line for line in lines if line], kind)

    def edge(self, source: str, target: str, label: str = "") -> None:
        if source in self.boxes and target in self.boxes:
            self.edges.append((source, target, label))


def diagram(module: Any) -> Diagram:
    """The drawing of a module. CliError at levels that are text only."""
    if isinstance(module, Graph):
        return _of_graph(module)
    if isinstance(module, Program):
        return _of_program(module)
    graph = getattr(module, "graph", None)
    if isinstance(graph, SymGraph):
        return _of_symbols(graph, getattr(module, "output_names", ()))
    raise CliError("only the levels symbol, tensor, fused and program can be drawn; use --format=text")


def _of_symbols(graph: SymGraph, outputs: Sequence[str]) -> Diagram:
    made = Diagram()
    for node in graph.nodes():
        attrs = [f"{k}={v}" for k, v in node.attrs.items() if not k.startswith("__")]
        variable = node.is_variable
        made.box(node.name, [node.name, "" if variable else node.op, *attrs[:3]], "input" if variable else "plain")
        for source, _ in node.inputs:
            made.edge(source.name, node.name)
    _add_outputs(made, [(name, node.name) for name, (node, _) in zip(outputs, graph.outputs)])
    return made


def _of_graph(graph: Graph) -> Diagram:
    made = Diagram()
    for node in graph.nodes():
        if node.op.is_literal(node):
            continue
        name = graph.names.get(node, node.op.name)
        kind = "input" if not node.inputs else "heavy" if node.op.cost >= 100 else "plain"
        made.box(name, [name, "" if kind == "input" else node.op.name, str(node.type)], kind)
        for source in dict.fromkeys(node.inputs):
            made.edge(graph.names.get(source, ""), name)
    _add_outputs(made, [(o.name, graph.names[o.node]) for o in graph.outputs if o.node in graph.names])
    return made


def _of_program(program: Program) -> Diagram:
    made = Diagram()
    home: dict[str, str] = {}
    for p in program.params:
        made.box(p.name, [p.name, str(p.type), p.role], "input")
        home[p.name] = p.name
    _add_steps(made, program, home, "")
    _add_outputs(made, [(o.name, home[o.value]) for o in program.outputs if o.value in home])
    return made


def _add_steps(made: Diagram, program: Program, home: dict[str, str], where: str) -> None:
    """The steps of a program; of those with regions every region's, `where` they are: `2.body/`. `home` are the boxes
    of the values that they read."""
    for at, step in enumerate(program.steps):
        key = f"step {where}{at}"
        written = [f"%{r.name}: {r.type} {r.place}" for r in results_of(step)]
        made.box(key, [f"{where}{at}: {step.label}", *written], "plain" if isinstance(step, ViewStep) else "heavy")
        for operand in dict.fromkeys(operands_of(step)):
            if operand in home:
                made.edge(home[operand], key, operand if home[operand] != operand else "")
        home.update((r.name, key) for r in results_of(step))
        for region in regions_of_step(step):
            inside = {p.name: key for p in region.program.params}
            _add_steps(made, region.program, inside, f"{where}{at}.{region.name}/")


def _add_outputs(made: Diagram, outputs: Sequence[tuple[str, str]]) -> None:
    for name, source in outputs:
        key = f"output {name}"
        made.box(key, [name], "output")
        made.edge(source, key)


# --------------------------------------------------------------------------------------------- formats


def to_dot(drawing: Diagram, title: str) -> str:
    """Graphviz text."""
    style = 'shape=box style="rounded,filled" fontname="monospace" fontsize=10'
    lines = [f"digraph {json.dumps(title)} {{", f"  node [{style}];"]
    for key, box in drawing.boxes.items():
        text = json.dumps("\n".join(box.lines))
        lines.append(f"  {json.dumps(key)} [label={text} fillcolor={json.dumps(COLOURS[box.kind])}];")
    for source, target, label in drawing.edges:
        attribute = f" [label={json.dumps(label)} fontsize=8]" if label else ""
        lines.append(f"  {json.dumps(source)} -> {json.dumps(target)}{attribute};")
    return "\n".join([*lines, "}"])


def to_svg(drawing: Diagram, title: str) -> str:
    """A self-contained SVG: operands above users, one layer per distance from the inputs."""
    layers = _layers(drawing)
    places, width, height = _positions(drawing, layers)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>',
    ]
    for source, target, label in drawing.edges:
        x0, y0, w0, h0 = places[source]
        x1, y1, w1, _ = places[target]
        sx, sy, tx, ty = x0 + w0 / 2, y0 + h0, x1 + w1 / 2, y1
        bend = max(GAP / 2, (ty - sy) / 2)
        path = f"M{sx:.1f},{sy:.1f} C{sx:.1f},{sy + bend:.1f} {tx:.1f},{ty - bend:.1f} {tx:.1f},{ty:.1f}"
        tip = f"<title>{escape(label or source)}</title>"
        lines.append(f'<path d="{path}" fill="none" stroke="#999" marker-end="url(#tip)">{tip}</path>')
    for key, box in drawing.boxes.items():
        x, y, w, h = places[key]
        size = f'x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"'
        lines.append(f'<rect {size} rx="5" fill="{COLOURS[box.kind]}" stroke="#888"/>')
        for at, text in enumerate(box.lines):
            weight = ' font-weight="bold"' if at == 0 else ""
            lines.append(f'<text x="{x + MARGIN:.1f}" y="{y + LINE * (at + 1):.1f}"{weight}>{escape(text)}</text>')
    return "\n".join([*lines, "</svg>"])


def _layers(drawing: Diagram) -> list[list[str]]:
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(drawing.boxes)
    graph.add_edges_from((source, target) for source, target, _ in drawing.edges if source != target)
    layers = [sorted(layer, key=list(drawing.boxes).index) for layer in nx.topological_generations(graph)]
    # An input stands just above its first user, not at the top of a deep graph.
    level = {key: at for at, layer in enumerate(layers) for key in layer}
    for key in layers[0] if layers else []:
        users = [level[user] for user in graph.successors(key)]
        level[key] = max(0, min(users, default=1) - 1)
    made: list[list[str]] = [[] for _ in layers]
    for key in drawing.boxes:
        made[level[key]].append(key)
    return _untangled(made, graph)


def _untangled(layers: list[list[str]], graph: Any) -> list[list[str]]:
    """Each layer ordered by the mean position of its operands, then upwards by that of its users: fewer crossings."""
    position = {key: at / len(layer) for layer in layers for at, key in enumerate(layer)}

    def mean(key: str, others: Sequence[str]) -> float:
        return sum(position[o] for o in others) / len(others) if others else position[key]

    for sweep in range(4):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            means = {key: mean(key, list(graph.predecessors(key) if down else graph.successors(key))) for key in layer}
            layer.sort(key=means.__getitem__)
            position.update((key, at / len(layer)) for at, key in enumerate(layer))
    return layers


def _positions(
    drawing: Diagram, layers: Sequence[Sequence[str]]
) -> tuple[Mapping[str, tuple[float, float, float, float]], float, float]:
    """(x, y, width, height) of every box, and the size of the whole."""
    sizes = {
        key: (max(map(len, box.lines), default=1) * CHARACTER + 2 * MARGIN, len(box.lines) * LINE + MARGIN)
        for key, box in drawing.boxes.items()
    }
    widths = [sum(sizes[key][0] + MARGIN for key in layer) for layer in layers]
    total = max(widths, default=0.0) + 2 * MARGIN
    places: dict[str, tuple[float, float, float, float]] = {}
    y = MARGIN
    for layer, used in zip(layers, widths):
        x = (total - used) / 2
        for key in layer:
            w, h = sizes[key]
            places[key] = (x, y, w, h)
            x += w + MARGIN
        y += max((sizes[key][1] for key in layer), default=0.0) + GAP
    return places, total, y
