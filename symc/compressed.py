"""Symbols over csr matrices, by what these store: no value of such a program has a matrix's full shape.

An argument that is a csr matrix becomes three vectors (symc.ops.tensor.stored), where every reader has a form for that:
functions that give 0 for 0 act on the values, products and sums have operators of their own. Everything else of the
Symbol stays as it is, and the names of its outputs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.ir.symbol.nodes import SymNode
from symc.ir.types import Array
from symc.ops.base import OPERATORS, parse
from symc.ops.shared.storage import CSR
from symc.runtime.memory import zeros
from symc.runtime.versions import touch

Entry = tuple[SymNode, int]
#: the operators of symc.ops.tensor.stored
ON_STORED = ("_csr_dot", "_csr_sum")
#: operators of one csr matrix that read more of it than value by value
_BY_PLACE = ("slice", "cast_storage", "_contrib_getnnz")
#: elements that the vectors have room for at least
_FEWEST = 64


def part_names(name: str) -> tuple[str, str, str]:
    """The arguments in the place of a csr matrix: values, rows, columns."""
    return f"{name}.values", f"{name}.rows", f"{name}.columns"


class Parts:
    """The vectors in the place of a csr argument, and what they have room for."""

    def __init__(self, array: Any) -> None:
        self.room = max(_FEWEST, 1 << max(len(array._values) - 1, 0).bit_length())
        place = np.int32 if max(array.shape) < np.iinfo(np.int32).max else np.int64
        self.arrays: tuple[Array, Array, Array] = (
            zeros((self.room,), array.dtype), zeros((self.room,), place), zeros((self.room,), place),
        )  # fmt: skip

    def take(self, array: Any) -> None:
        """What the matrix stores now."""
        count = len(array._values)
        for part, stored, rest in zip(
            self.arrays, (array._values, array._row_numbers(), array._aux[1]), (0, *array.shape)
        ):
            part[:count] = stored
            part[count:] = rest
            touch(part)


def readable(symbol: Any, candidates: set[str]) -> set[str]:
    """Those of the csr arguments that every reader can take by what they store."""
    found = set(candidates)
    while True:
        held, refused = _held(symbol, found)
        if not refused:
            return {node.name for node, _ in held if node.is_variable}
        found -= refused


def _held(symbol: Any, names: set[str]) -> tuple[dict[Entry, str], set[str]]:
    """The csr values that come of these arguments, each with its argument, and the arguments that some reader needs
    as a dense matrix."""
    held: dict[Entry, str] = {}
    refused: set[str] = set()
    for node in symbol.graph.nodes():
        if node.is_variable:
            if node.name in names:
                held[node, 0] = node.name
            continue
        sources = [held.get(entry) for entry in node.inputs]
        if not any(sources):
            continue
        if _by_value(node):
            held[node, 0] = str(sources[0])
        elif sources[0] is None or any(sources[1:]) or node.op not in _FORMS or not _FORMS[node.op](node):
            refused |= {source for source in sources if source is not None}
    refused |= {held[entry] for entry in symbol.graph.outputs if entry in held}
    return held, refused


def _by_value(node: SymNode) -> bool:
    definition: Any = node.definition
    return len(node.inputs) == 1 and node.op not in _BY_PLACE and definition.storage_of([CSR]) == CSR


#: whether a node that reads a csr matrix first, and else dense arrays, has a form for it
_FORMS: dict[str, Any] = {
    "dot": lambda node: node.definition.forward_stype in ("None", "default"),
    "FullyConnected": lambda node: True,
    "sum": lambda node: not node.definition.exclude and len(node.definition.axes(2)) == 1,
}


def compressed(symbol: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """The Symbol with three vectors in the place of each of these arguments, all of them `readable`."""
    made = symbol.__copy__()
    held, _ = _held(made, set(shapes))
    parts: dict[str, list[Entry]] = {}
    values: dict[Entry, Entry] = {}
    instead: dict[Entry, Entry] = {}
    for node in made.graph.nodes():
        if (node, 0) in held and node.is_variable:
            parts[node.name] = [(SymNode("null", name), 0) for name in part_names(node.name)]
            values[node, 0] = parts[node.name][0]
        elif (node, 0) in held:
            node.inputs = (values[node.inputs[0]],)
            values[node, 0] = node, 0
        elif node.inputs and node.inputs[0] in held:
            source = held[node.inputs[0]]
            given = [values[node.inputs[0]], *parts[source][1:], *(instead.get(e, e) for e in node.inputs[1:])]
            instead[node, 0] = _replaced(node, given, shapes[source])
        else:
            node.inputs = tuple(instead.get(e, e) for e in node.inputs)
    return type(symbol)([instead.get(entry, entry) for entry in made.graph.outputs])


def _replaced(node: SymNode, given: Sequence[Entry], shape: tuple[int, ...]) -> Entry:
    """The operator on what is stored that computes what the node does."""
    old: Any = node.definition
    if node.op == "sum":
        (axis,) = old.axes(2)
        return _node("_csr_sum", node, given, node.name, shape=shape, axis=axis, keepdims=old.keepdims)
    if node.op == "dot":
        turned = {"transpose_a": old.transpose_a, "transpose_b": old.transpose_b}
        return _node("_csr_dot", node, given, node.name, shape=shape, **turned)
    if old.no_bias:
        return _node("_csr_dot", node, given, node.name, shape=shape, transpose_b=True)
    product = _node("_csr_dot", node, given[:4], f"{node.name}_product", shape=shape, transpose_b=True)
    bias = _node("Reshape", node, given[4:], f"{node.name}_bias", shape=(-1,))
    return _node("broadcast_add", node, [product, bias], node.name)


def _node(op: str, old: SymNode, inputs: Sequence[Entry], name: str, **values: object) -> Entry:
    hidden = {key: text for key, text in old.attrs.items() if key.startswith("__")}
    attrs = {key: str(value) for key, value in values.items()}
    return SymNode(op, name, {**hidden, **attrs}, inputs, parse(OPERATORS[op], attrs), old.where), 0
