"""mx.viz: a table of a net's layers, and its drawing."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from symc.symbol import Symbol
from symc.views.drawing import to_dot, to_svg
from symc.views.picture import Picture

try:
    from graphviz import Digraph
except ImportError:  # plot_network then gives a Plot
    Digraph = None

__all__ = ["Plot", "plot_network", "print_summary"]

_WEIGHTS = ("_weight", "_bias", "_beta", "_gamma", "_moving_var", "_moving_mean", "_running_var", "_running_mean")
_STYLE = {"shape": "box", "fixedsize": "true", "width": "1.3", "height": "0.8034", "style": "filled"}
_INPUT, _OTHER = "#8dd3c7", "#fccde5"
_COLOURS = {
    "Convolution": "#fb8072", "FullyConnected": "#fb8072", "Activation": "#ffffb3", "LeakyReLU": "#ffffb3",
    "BatchNorm": "#bebada", "Pooling": "#80b1d3", "Concat": "#fdb462", "Flatten": "#fdb462", "Reshape": "#fdb462",
    "Softmax": "#b3de69",
}  # fmt: skip
#: a layer's kind in our own drawing
_KINDS = {"Convolution": "heavy", "FullyConnected": "heavy"}


def _inferred(symbol: Symbol, shape: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]]:
    """Shapes of all internal outputs and variables. ValueError if `shape` does not say enough."""
    if shape is None:
        return {}
    internals = symbol.get_internals()
    outputs = internals.infer_shape(**shape)[1]
    if outputs is None:
        raise ValueError(
            "Input shape is incomplete: give the shape of every input, as shape={'data': (1, 3, 224, 224)}"
        )
    return dict(zip(internals.list_outputs(), outputs))


def _checked(symbol: Any) -> list[dict[str, Any]]:
    """The nodes of the Symbol's JSON."""
    if not isinstance(symbol, Symbol):
        raise TypeError(f"symbol must be Symbol, not {type(symbol).__name__}")
    nodes: list[dict[str, Any]] = json.loads(symbol.tojson())["nodes"]
    return nodes


def _output_shape(node: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A node's (first) output without its batch: 64x28x28."""
    name = node["name"]
    keys = (name,) if node["op"] == "null" else (f"{name}_output", f"{name}_output0")
    return "x".join(str(n) for key in keys for n in shapes.get(key, ())[1:])


def print_summary(
    symbol: Symbol, shape: Mapping[str, Sequence[int]] | None = None, line_length: int = 120,
    positions: Sequence[float] = (0.44, 0.64, 0.74, 1.0),
) -> None:  # fmt: skip
    """Print a table of layers: name and operator, output shape without the batch, number of parameters, and the layers
    before.

    Parameters are the variables that nobody fills with data: those with a parameter's ending, counted at the first
    layer that reads them. Without `shape` no shapes are known, and none are counted. `positions` are the columns' ends,
    in characters or as parts of `line_length`. ValueError if `shape` does not determine all shapes.
    """
    nodes, shapes = _checked(symbol), _inferred(symbol, shape)
    ends = [int(line_length * p) for p in positions] if positions[-1] <= 1 else [int(p) for p in positions]

    def row(*fields: Any) -> None:
        line = ""
        for end, text in zip(ends, fields):
            line = (line + str(text))[:end].ljust(end)
        print(line)

    print("_" * line_length)
    row("Layer (type)", "Output Shape", "Param #", "Previous Layer")
    print("=" * line_length)
    counted: set[str] = set()
    total = 0
    for i, node in enumerate(nodes):
        if node["op"] == "null" and i:
            continue
        sources = [nodes[entry[0]] for entry in node["inputs"]]
        held = {s["name"] for s in sources if s["op"] == "null" and s["name"].endswith(_WEIGHTS)} - counted
        counted |= held
        count = sum(math.prod(shapes[name]) for name in held if name in shapes and not name.endswith(_WEIGHTS[4:]))
        total += count
        # the first variable is named too, as MXNet does
        before = [s["name"] for s in sources if s["op"] != "null" or s is nodes[0]]
        row(f"{node['name']}({node['op']})", _output_shape(node, shapes), count, before[0] if before else "")
        for name in before[1:]:
            row("", "", "", name)
        print(("=" if i == len(nodes) - 1 else "_") * line_length)
    print(f"Total params: {total}")
    print("_" * line_length)


class Plot:
    """The drawing of a net where graphviz is not installed: `source` is Graphviz text, `svg` a picture, which notebooks
    show."""

    def __init__(self, drawing: Picture, title: str) -> None:
        self.title, self.source, self.svg = title, to_dot(drawing, title), to_svg(drawing, title)

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.source

    def render(self, filename: str | None = None, directory: str = ".", **options: Any) -> str:
        """Write the picture to `filename`.svg (default: the title) and give its path. Options of graphviz have no
        meaning here."""
        path = f"{directory}/{filename or self.title}.svg"
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg)
        return path

    view = render


def _label(node: Mapping[str, Any]) -> str:
    """What a box says: for the common layers the operator and its size."""
    op, attrs = node["op"], node.get("attrs", {})

    def extents(key: str, default: str) -> str:
        return attrs.get(key, default).strip("()[] ").replace(" ", "").strip(",").replace(",", "x")

    if op == "Convolution":
        return f"Convolution\n{extents('kernel', '')}/{extents('stride', '1')}, {attrs['num_filter']}"
    if op == "Pooling":
        return f"Pooling\n{attrs.get('pool_type', 'max')}, {extents('kernel', '[]')}/{extents('stride', '1')}"
    if op == "FullyConnected":
        return f"FullyConnected\n{attrs['num_hidden']}"
    if op in ("Activation", "LeakyReLU"):
        return f"{op}\n{attrs.get('act_type', 'leaky')}"
    return str(attrs["op_type"]) if op == "Custom" else str(node["name"])


def plot_network(
    symbol: Symbol, title: str = "plot", save_format: str = "pdf", shape: Mapping[str, Sequence[int]] | None = None,
    dtype: Any = None, node_attrs: Mapping[str, str] | None = None, hide_weights: bool = True,
) -> Any:  # fmt: skip
    """The net's drawing: a graphviz Digraph where that package is installed, else a Plot.

    With `shape` every edge says the shape it carries, without the batch; `node_attrs` are Graphviz attributes of the
    boxes; parameters are left out unless `hide_weights` is False. ValueError if `shape` does not determine all shapes.
    """
    nodes, shapes = _checked(symbol), _inferred(symbol, shape)
    names = [node["name"] for node in nodes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        warnings.warn(
            f"There are multiple variables with the same name in your graph, this may result in cyclic graph. Repeated "
            f"names: {','.join(repeated)}",
            RuntimeWarning,
            stacklevel=2,
        )
    types = dict(zip(*_typed(symbol, dtype))) if dtype is not None else {}
    hidden = {n["name"] for n in nodes if n["op"] == "null" and hide_weights and n["name"].endswith(_WEIGHTS)}
    shown = [node for node in nodes if node["name"] not in hidden]
    edges = []
    for node in shown:
        for entry in node["inputs"]:
            source = nodes[entry[0]]
            if source["name"] not in hidden:
                kind = types.get(source["name"], types.get(f"{source['name']}_output"))
                label = _output_shape(source, shapes) + (f"({kind.__name__})" if kind is not None else "")
                edges.append((source["name"], node["name"], label))
    if Digraph is None:
        drawing = Picture()
        for node in shown:
            variable = node["op"] == "null"
            lines = [node["name"]] if variable else list(dict.fromkeys([node["name"], *_label(node).split("\n")]))
            drawing.box(node["name"], lines, "input" if variable else _KINDS.get(node["op"], "plain"))
        for edge in edges:
            drawing.edge(*edge)
        return Plot(drawing, title)
    dot = Digraph(name=title, format=save_format)
    for node in shown:
        variable = node["op"] == "null"
        style = {**_STYLE, **(node_attrs or {})} | ({"shape": "oval"} if variable else {})
        colour = _INPUT if variable else _COLOURS.get(node["op"], _OTHER)
        dot.node(name=node["name"], label=node["name"] if variable else _label(node), fillcolor=colour, **style)
    for source_name, target, label in edges:
        dot.edge(tail_name=target, head_name=source_name, dir="back", arrowtail="open", label=label)
    return dot


def _typed(symbol: Symbol, dtype: Any) -> tuple[list[str], list[Any]]:
    """Names and element types of all internal outputs. ValueError if `dtype` does not say enough."""
    internals = symbol.get_internals()
    types = internals.infer_type(**dtype)[1]
    if types is None:
        raise ValueError("Input type is incomplete: give the type of every input, as dtype={'data': numpy.float32}")
    return internals.list_outputs(), list(types)
