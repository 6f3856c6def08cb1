"""MXNet's symbol JSON: written as 1.9.1 writes it, read as it is of any age.

Older files keep operator parameters under "param" (and hidden attributes under "attr") or everything under "attr";
1.0 and later under "attrs". What MXNet upgrades when it loads, this upgrades: hidden keys get their underscores,
missing auxiliary inputs of old BatchNorm nodes are made.
"""

from __future__ import annotations

import json as _json
import os
from collections.abc import Mapping
from typing import Any

from symc.base import MXNetError
from symc.ir.symbolic import SymNode
from symc.ops.base import OPERATORS, parameters, parse
from symc.symbol.symbol import HIDDEN_KEYS, Symbol

VERSION = 10901


# --------------------------------------------------------------------------------------------- writing


class _Writer:
    """The layout of dmlc's JSON writer: objects of several members and arrays of more than ten break their lines."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def value(self, value: Any, depth: int) -> str:
        if isinstance(value, dict):
            items = [f"{_json.dumps(k, ensure_ascii=False)}: {self.value(v, depth + 1)}" for k, v in value.items()]
            return self._wrap(items, "{}", len(items) > 1, depth)
        if isinstance(value, _Lines):
            return self._wrap([self.value(v, depth + 1) for v in value], "[]", True, depth)
        if isinstance(value, list):
            items = [self.value(v, depth + 1) for v in value]
            return self._wrap(items, "[]", len(items) > 10, depth)
        return _json.dumps(value, ensure_ascii=False)

    def _wrap(self, items: list[str], brackets: str, multi: bool, depth: int) -> str:
        if not multi or not items:
            return brackets[0] + ", ".join(items) + brackets[1]
        pad = "  " * (depth + 1)
        return brackets[0] + "\n" + ", \n".join(pad + i for i in items) + "\n" + "  " * depth + brackets[1]


class _Lines(list):  # type: ignore[type-arg]
    """An array that always breaks its lines."""


def to_json(symbol: Symbol) -> str:
    """The JSON text of a Symbol."""
    nodes = symbol.graph.nodes()
    number = {n: i for i, n in enumerate(nodes)}
    listed: list[dict[str, Any]] = _Lines()
    row, total = [0], 0
    for node in nodes:
        entry: dict[str, Any] = {"op": node.op, "name": node.name}
        if node.attrs:
            entry["attrs"] = dict(sorted(node.attrs.items()))
        entry["inputs"] = [[number[n], i, 1 if k >= node.aux_from else 0] for k, (n, i) in enumerate(node.inputs)]
        if node.subgraphs:
            entry["subgraphs"] = [_json.loads(to_json(Symbol(g.outputs))) for g in node.subgraphs]
        listed.append(entry)
        total += node.num_outputs
        row.append(total)
    document = {
        "nodes": listed,
        "arg_nodes": [number[n] for n in nodes if n.is_variable],
        "node_row_ptr": row,
        "heads": [[number[n], i, 0] for n, i in symbol._outputs],
        "attrs": {"mxnet_version": ["int", VERSION]},
    }
    return _Writer().value(document, 0)


# --------------------------------------------------------------------------------------------- reading


def load(fname: str | os.PathLike[str]) -> Symbol:
    """A Symbol from a JSON file (gzip too, by its ending)."""
    if not isinstance(fname, (str, os.PathLike)):
        raise TypeError("fname need to be string")
    path = os.fspath(fname)
    if path.endswith(".gz"):
        import gzip

        with gzip.open(path, "rt", encoding="utf-8") as file:
            return load_json(file.read())
    with open(path, encoding="utf-8") as file:
        return load_json(file.read())


def load_json(json_str: str) -> Symbol:
    """A Symbol from JSON text of any MXNet version."""
    if not isinstance(json_str, str):
        raise TypeError("json_str needs to be a string")
    try:
        document = _json.loads(json_str)
        if not isinstance(document, dict) or "nodes" not in document or "heads" not in document:
            raise ValueError("it has no nodes and heads")
    except ValueError as problem:
        raise MXNetError(f"this is not a symbol JSON: {problem}") from None
    return from_document(document)


def from_document(document: Mapping[str, Any]) -> Symbol:
    """A Symbol from the parsed JSON."""
    nodes: list[SymNode] = []
    for record in document["nodes"]:
        nodes.append(_node(record, nodes))
    try:
        heads = [(nodes[h[0]], h[1] if len(h) > 1 else 0) for h in document["heads"]]
    except IndexError:
        raise MXNetError("symbol JSON: a head names a node that does not exist") from None
    return Symbol(heads)


def _node(record: Mapping[str, Any], nodes: list[SymNode]) -> SymNode:
    op, name = record["op"], record["name"]
    attrs: dict[str, str] = {}
    for key in ("param", "attr", "attrs"):
        found = record.get(key)
        if isinstance(found, dict):
            attrs.update({k: v if isinstance(v, str) else str(v) for k, v in found.items()})
    hidden = {k: v for k, v in attrs.items() if k in HIDDEN_KEYS}
    attrs = {k: v for k, v in attrs.items() if k not in hidden}
    attrs.update({f"__{k}__": v for k, v in hidden.items()})
    if op == "null":
        return SymNode("null", name, attrs)
    try:
        inputs = [(nodes[i[0]], i[1]) for i in record["inputs"]]
    except IndexError:
        raise MXNetError(f"symbol JSON: node {name!r} ({op}) names an input that does not exist yet") from None
    cls = OPERATORS.get(op)
    if cls is None:
        raise MXNetError(_unknown(op, name))
    known = {p.name for p in parameters(cls)}
    own, other = {}, {}
    for key, value in attrs.items():
        (own if key in known else other)[key] = value
    for key, value in list(other.items()):
        # `weight_lr_mult` on an operator belongs to its variable
        for plain in HIDDEN_KEYS:
            if key.endswith(f"_{plain}"):
                target = f"{name}_{key[: -len(plain) - 1]}"
                for source, _ in inputs:
                    if source.is_variable and source.name == target:
                        source.attrs[f"__{plain}__"] = value
                        other.pop(key, None)
    definition = parse(cls, own)
    subgraphs = [from_document(g).graph for g in record.get("subgraphs", [])]
    node = SymNode(cls.op_name, name, {**other, **own}, inputs, definition, ("", 0), subgraphs)
    expected = [*definition.list_inputs(), *definition.list_aux()]
    for missing in expected[len(inputs) :]:
        node.inputs.append((SymNode("null", f"{name}_{missing}", dict(own)), 0))
    if len(node.inputs) > len(expected):
        raise MXNetError(f"symbol JSON: {op} {name!r} takes {len(expected)} inputs ({', '.join(expected)}), the file gives {len(inputs)}")
    return node


def _unknown(op: str, name: str) -> str:
    kinds = {
        "_sg_": "a fused subgraph of MXNet's oneDNN backend: save the model again without a subgraph backend",
        "_contrib_quantize": "a quantized model: use the floating-point model it was made from",
        "_contrib_quantized": "a quantized model: use the floating-point model it was made from",
        "_sparse": "a sparse operator: symc's arrays are dense",
        "cast_storage": "a sparse operator: symc's arrays are dense",
        "_np": "part of MXNet's numpy interface: symc runs the classic operators",
    }
    for prefix, advice in kinds.items():
        if op.startswith(prefix):
            return f"operator {op!r} of node {name!r} is not supported: it is {advice}"
    import difflib

    close = difflib.get_close_matches(op, OPERATORS, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"operator {op!r} of node {name!r} is not known{hint} (if it is an operator of your own, register it first)"
