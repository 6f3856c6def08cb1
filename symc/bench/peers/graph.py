"""A workload as its workers read it: a net's nodes with the shapes of what they give, and numbers for its inputs."""

from __future__ import annotations

import ast
import json
import zlib
from typing import Any

import numpy as np


class Unsupported(Exception):
    """The library has no such operator, or the translation does not know it."""


class Node:
    """One operator of the net; `inputs` are the nodes read, `shape` is that of the first result."""

    def __init__(self, index: int, op: str, name: str, attrs: dict[str, str], inputs: list[Node], shape: Any) -> None:
        self.index, self.op, self.name, self.inputs = index, op, name, inputs
        self.attrs, self.shape = attrs, tuple(shape)

    @property
    def value(self) -> str:
        """Its result's name in generated code."""
        return f"v{self.index}"

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute as a Python value; words stay words."""
        text = self.attrs.get(key)
        if text is None:
            return default
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return {"true": True, "false": False}.get(text.lower(), text)

    def pair(self, key: str, default: int) -> tuple[int, int]:
        """An attribute of two extents."""
        return tuple(self.get(key) or (default, default))  # type: ignore[return-value]


class Graph:
    """The workload of a file."""

    def __init__(self, path: str) -> None:
        with open(path) as file:
            told = json.load(file)
        self.kind: str = told["kind"]
        self.symbol: str = told["symbol"]
        #: shapes of what a caller gives, then of parameters and states, in the net's order
        self.data: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in told["data"].items()}
        self.parameters: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in told["parameters"].items()}
        self.states: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in told["states"].items()}
        self.whole: dict[str, int] = told["whole"]
        self.nodes: list[Node] = []
        for i, n in enumerate(told["nodes"]):
            inputs = [self.nodes[k] for k in n["inputs"]]
            self.nodes.append(Node(i, n["op"], n["name"], n["attrs"], inputs, n["shape"]))
        self.output = self.nodes[told["output"]]
        self.label = "softmax_label" if "softmax_label" in self.data else None

    def arrays(self) -> dict[str, np.ndarray]:
        """The same numbers in every process: inputs between -1 and 1 or whole, weights scaled by their terms."""
        return {
            name: _numbers(name, shape, self.whole.get(name), name in self.data)
            for group in (self.data, self.parameters, self.states)
            for name, shape in group.items()
        }

    def source(self, emit: dict[str, Any]) -> str:
        """The net as a Python function of a dictionary of values: a line an operator, its right side written by
        `emit[operator](node, *names of what it reads)`."""
        lines = ["def net(given, training):"]
        for node in self.nodes:
            if node.op == "null":
                lines.append(f"    {node.value} = given[{node.name!r}]")
                continue
            if node.op not in emit:
                raise Unsupported(node.op)
            lines.append(f"    {node.value} = {emit[node.op](node, *(i.value for i in node.inputs))}")
        lines.append("    return " + self.output.value)
        return "\n".join(lines)


def _numbers(name: str, shape: tuple[int, ...], below: Any, given: bool) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if below is not None:
        return random.randint(0, below, shape).astype(np.float32)
    if name.endswith(("gamma", "moving_var")):
        return np.ones(shape, np.float32)
    numbers = random.uniform(-1, 1, shape).astype(np.float32)
    if given:
        return numbers
    terms = np.prod(shape[1:]) if len(shape) > 1 else 400
    return numbers * np.float32((3 / terms) ** 0.5)


#: operators that Python writes alike for every library of arrays
ARITHMETIC: dict[str, Any] = {
    **{op: (lambda n, a, b: f"{a} + {b}") for op in ("elemwise_add", "_plus", "_Plus", "broadcast_add")},
    **{op: (lambda n, a, b: f"{a} * {b}") for op in ("elemwise_mul", "_mul", "_Mul", "broadcast_mul")},
    "_mul_scalar": lambda n, a: f"{a} * {n.get('scalar')!r}",
    "_plus_scalar": lambda n, a: f"{a} + {n.get('scalar')!r}",
    "_minus_scalar": lambda n, a: f"{a} - {n.get('scalar')!r}",
}


def product(n: Node, a: str, b: str) -> str:
    """A product of matrices that may lie turned."""
    a, b = (f"{x}.swapaxes(-1, -2)" if n.get("transpose_" + key) else x for key, x in (("a", a), ("b", b)))
    return f"{a} @ {b}"


def cells(parameters: Any, layers: int, inputs: int, width: int) -> list[list[Any]]:
    """The parts of an LSTM's parameters, in any library's arrays, a layer each: the weights of inputs and of states,
    (4 width, what they read), and the bias of each. MXNet keeps the weights of all layers, then the biases of all."""
    found: list[list[Any]] = [[] for _ in range(layers)]
    at, rows = 0, 4 * width
    for weights in (True, False):
        for layer, parts in enumerate(found):
            for columns in (inputs if layer == 0 else width, width):
                count = rows * columns if weights else rows
                part = parameters[at : at + count]
                parts.append(part.reshape(rows, columns) if weights else part)
                at += count
    return found
