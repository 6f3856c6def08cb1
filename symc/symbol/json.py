"""MXNet's symbol JSON: written as 1.9.1 writes it, read as it is of any age.

Older files keep operator parameters under "param" (and hidden attributes under "attr") or everything under "attr";
1.0 and later under "attrs". What MXNet upgrades when it loads, this upgrades: hidden keys get their underscores,
missing auxiliary inputs of old BatchNorm nodes are made, axis=-1 of old argmax and argmin means no axis.
"""

from __future__ import annotations

import gzip
import json as _json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from symc.base import MXNetError, near
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ops.base import OPERATORS, parse, takes_anything
from symc.symbol.compose import initialise, missing_input, split_attributes
from symc.symbol.symbol import HIDDEN_KEYS, Symbol, is_hidden
from symc.util import is_np_shape

VERSION = 10901
#: what a file without a version counts as
OLDEST = 800
#: levels of graphs inside of nodes; what goes down into them calls itself, and Python has an end of that
DEEPEST = 32
#: since then a file names the initializers that operators want for their variables
INITIALISED = 904

#: MXNet's count of all outputs, internal ones included, where an operator here needs fewer: node_row_ptr counts them
_ALL_OUTPUTS = {
    "BilinearSampler": 2, "CTCLoss": 2, "Correlation": 3, "Dropout": 2, "GridGenerator": 2, "InstanceNorm": 3,
    "L2Normalization": 2, "LRN": 2, "ROIPooling": 2, "SpatialTransformer": 3, "_contrib_BatchNormWithReLU": 4,
    "_contrib_DeformablePSROIPooling": 2, "_contrib_MultiProposal": 2, "_contrib_Proposal": 2, "_contrib_box_nms": 2,
    "_linalg_det": 3, "_linalg_slogdet": 4, "sort": 2,
}  # fmt: skip


# --------------------------------------------------------------------------------------------- writing


_quoted = _json.encoder.encode_basestring


class _Lines(list):  # type: ignore[type-arg]
    """An array that always breaks its lines."""


def _text(value: Any, depth: int = 0) -> str:
    """The layout of dmlc's JSON writer: objects of several members and arrays of more than ten break their lines."""
    if isinstance(value, dict):
        items = [f"{_quoted(k)}: {_text(v, depth + 1)}" for k, v in value.items()]
        return _wrap(items, "{}", len(items) > 1, depth)
    if isinstance(value, list):
        items = [_text(v, depth + 1) for v in value]
        return _wrap(items, "[]", len(items) > 10 or isinstance(value, _Lines), depth)
    return _quoted(value) if isinstance(value, str) else str(value)


def _wrap(items: list[str], brackets: str, lines: bool, depth: int) -> str:
    if not lines or not items:
        return brackets[0] + ", ".join(items) + brackets[1]
    pad = "  " * (depth + 1)
    return brackets[0] + "\n" + ", \n".join(pad + i for i in items) + "\n" + "  " * depth + brackets[1]


def _versions(nodes: Sequence[SymNode]) -> tuple[dict[SymNode, list[int]], dict[SymNode, int]]:
    """(versions of every node's inputs, final versions of variables): a variable's version counts the operators so far
    that write it (as an auxiliary state); other inputs have version 0. What was loaded keeps the file's versions."""
    current: dict[SymNode, int] = {}
    inputs: dict[SymNode, list[int]] = {}
    for node in nodes:
        written = node.definition.written_inputs() if node.definition is not None else ()
        found: list[int] = []
        for at, (source, _) in enumerate(node.inputs):
            if source.is_variable and at in written:
                current[source] = current.get(source, 0) + 1
            found.append(current.get(source, 0))
        inputs[node] = found if node.versions is None else node.versions
    return inputs, current


def _all_outputs(node: SymNode) -> int:
    """MXNet's count of a node's outputs."""
    op: Any = node.definition
    if node.op == "Pooling":
        # oneDNN's maximum pooling keeps a workspace
        return 2 if op.pool_type == "max" and op.kernel and not str(op.layout).endswith("C") else 1
    if node.op == "RNN":
        return int(op.num_visible_outputs())
    return max(node.num_outputs, _ALL_OUTPUTS.get(node.op, 1))


def document_of(symbol: Symbol) -> dict[str, Any]:
    """The JSON document of a Symbol. Under mx.np_shape it says so, since an extent of 0 means another thing there."""
    attrs: dict[str, Any] = {"is_np_shape": ["int", 1]} if is_np_shape() else {}
    return {**_body_of(symbol.graph), "attrs": {**attrs, "mxnet_version": ["int", VERSION]}}


def _body_of(graph: SymGraph) -> dict[str, Any]:
    """The document of a graph inside a node: it leaves the version to the whole."""
    nodes = graph.nodes()
    number = {n: i for i, n in enumerate(nodes)}
    versions, final = _versions(nodes)
    listed: list[dict[str, Any]] = _Lines()
    row, total = [0], 0
    for node in nodes:
        entry: dict[str, Any] = {"op": node.op, "name": node.name}
        if node.attrs:
            entry["attrs"] = dict(sorted(node.attrs.items()))
        entry["inputs"] = [[number[n], i, v] for (n, i), v in zip(node.inputs, versions[node])]
        if node.subgraphs:
            entry["subgraphs"] = _Lines(_body_of(g) for g in node.subgraphs)
        listed.append(entry)
        total += _all_outputs(node)
        row.append(total)
    return {
        "nodes": listed,
        "arg_nodes": [number[n] for n in nodes if n.is_variable],
        "node_row_ptr": row,
        "heads": [[number[n], i, final.get(n, 0)] for n, i in graph.outputs],
    }


def to_json(symbol: Symbol) -> str:
    """The JSON text of a Symbol."""
    return _text(document_of(symbol))


def debug_text(symbol: Symbol) -> str:
    """What Symbol.debug_str shows."""
    if len(symbol) == 1 and symbol._outputs[0][0].is_variable:
        return f"Variable:{symbol.name}\n"
    nodes = symbol.graph.nodes()
    versions, _ = _versions(nodes)
    lines = ["Symbol Outputs:"]
    lines += [f"\toutput[{i}]={n.name}({k})" for i, (n, k) in enumerate(symbol._outputs)]
    for node in nodes:
        if node.is_variable:
            lines.append(f"Variable:{node.name}")
            continue
        lines += ["--------------------", f"Op:{node.op}, Name={node.name}", "Inputs:"]
        for i, ((source, k), version) in enumerate(zip(node.inputs, versions[node])):
            lines.append(f"\targ[{i}]={source.name}({k})" + (f" version={version}" if source.is_variable else ""))
        if node.attrs:
            lines.append("Attrs:")
            lines += [f"\t{k}={v}" for k, v in sorted(node.attrs.items())]
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------------------------- reading


def load(fname: str | os.PathLike[str]) -> Symbol:
    """A Symbol from a JSON file, compressed by gzip or not."""
    if not isinstance(fname, (str, os.PathLike)):
        raise TypeError("fname need to be string")
    path = os.fspath(fname)
    try:
        with open(path, "rb") as file:
            data = file.read()
        return load_json((gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig"))
    except OSError as problem:
        raise MXNetError(f"cannot read the Symbol of {path!r}: {problem.strerror or problem}") from problem
    except (UnicodeDecodeError, EOFError, zlib.error) as problem:
        raise MXNetError(f"{path!r} is not a symbol JSON: {problem}") from None


def load_json(json_str: str) -> Symbol:
    """A Symbol from JSON text of any MXNet version."""
    if not isinstance(json_str, str):
        raise TypeError("fname required to be string")
    try:
        document = _json.loads(json_str)
    except ValueError as problem:
        raise MXNetError(f"this is not a symbol JSON: {problem}") from None
    except RecursionError:
        raise MXNetError("this is not a symbol JSON: it is nested too deeply") from None
    if not isinstance(document, dict) or not {"nodes", "heads"} <= document.keys():
        raise MXNetError("this is not a symbol JSON: it has no nodes and heads")
    return from_document(document)


def from_document(document: Mapping[str, Any], version: int | None = None, depth: int = 0) -> Symbol:
    """A Symbol from the parsed JSON (graphs inside nodes are of the version of the whole, and `depth` levels down)."""
    if depth > DEEPEST:
        raise MXNetError(f"symbol JSON: its graphs are nested in more than {DEEPEST} levels")
    nodes: list[SymNode] = []
    where = "the version"
    try:
        if version is None:
            version = int(document.get("attrs", {}).get("mxnet_version", ["int", OLDEST])[1])
        for record in document["nodes"]:
            where = f"node {len(nodes)}"
            nodes.append(_node(record, nodes, version, depth))
        where = "the heads"
        heads = [_entry(nodes, h) for h in document["heads"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as problem:
        raise MXNetError(f"symbol JSON: {where} cannot be read: {type(problem).__name__} {problem}") from None
    if not heads:
        raise MXNetError("symbol JSON: it has no heads, so it computes nothing")
    return Symbol(heads)


def _version(reference: Sequence[int]) -> int:
    """What a file says of the version of an input; the oldest say nothing."""
    return int(reference[2]) if len(reference) > 2 else 0


def _entry(nodes: Sequence[SymNode], reference: Sequence[int]) -> tuple[SymNode, int]:
    at, output = reference[0], reference[1] if len(reference) > 1 else 0
    if not 0 <= at < len(nodes):
        raise MXNetError(f"symbol JSON: node {at} is used before it is there; {len(nodes)} nodes are")
    if not 0 <= output < nodes[at].num_outputs:
        raise MXNetError(f"symbol JSON: {nodes[at].op} {nodes[at].name!r} has no output {output}")
    return nodes[at], output


def _node(record: Mapping[str, Any], nodes: Sequence[SymNode], version: int, depth: int) -> SymNode:
    op, name = record["op"], record["name"]
    if not isinstance(op, str) or not isinstance(name, str):
        raise TypeError(f"an operator {op!r} named {name!r}")
    entries = [_entry(nodes, i) for i in record["inputs"]]
    attrs, upgraded = _attributes(record, version)
    # half of a surrogate pair is a text that can be read but never written
    "".join([op, name, *attrs.keys(), *attrs.values(), *upgraded.keys(), *upgraded.values()]).encode()
    if op == "null":
        return SymNode("null", name, {**attrs, **upgraded})
    cls = OPERATORS.get(op)
    if cls is None:
        raise MXNetError(_unknown(op, name))
    if cls.op_name in ("argmax", "argmin") and version < 905 and attrs.get("axis") == "-1":
        del attrs["axis"]
    own, other = split_attributes(cls, attrs)
    subgraphs = [from_document(g, version, depth + 1).graph for g in record.get("subgraphs", [])]
    try:
        definition = parse(cls, own).with_subgraphs(subgraphs)
    except MXNetError as problem:
        raise MXNetError(f"symbol JSON: node {name!r}: {problem}") from None
    node = SymNode(cls.op_name, name, {**other, **own}, entries, definition, ("", 0), subgraphs)
    expected = [*definition.list_inputs(), *definition.list_aux()]
    if len(entries) > len(expected):
        raise MXNetError(
            f"symbol JSON: {op} {name!r} takes {len(expected)} inputs ({', '.join(expected)}), "
            f"the file gives {len(entries)}"
        )
    plain = {key: value for key, value in upgraded.items() if is_hidden(key)}
    node.attrs.update(plain)
    node.inputs += tuple((missing_input(node, missing), 0) for missing in expected[len(entries) :])
    node.versions = [*map(_version, record["inputs"]), *(0 for _ in expected[len(entries) :])]
    for key in upgraded.keys() - plain.keys():
        _move(node, expected, key, upgraded[key])
    if version < INITIALISED or len(entries) < len(expected):
        initialise(node)
    return node


def _attributes(record: Mapping[str, Any], version: int) -> tuple[dict[str, str], dict[str, str]]:
    """(attributes, those that older versions spelled without underscores) of a node. The latter are `__lr_mult__` for
    `lr_mult`, and `weight_lr_mult` as it is, for that is about the operator's weight."""
    attrs: dict[str, str] = {}
    upgraded: dict[str, str] = {}
    for where in ("param", "attr", "attrs"):
        for key, value in (record.get(where) or {}).items():
            text = value if isinstance(value, str) else str(value)
            if version >= VERSION or not key.endswith(HIDDEN_KEYS):
                attrs[key] = text
            else:
                upgraded[f"__{key}__" if key in HIDDEN_KEYS else key] = text
    return attrs, upgraded


def _move(node: SymNode, expected: Sequence[str], key: str, value: str) -> None:
    """`weight_lr_mult` on an operator belongs to the variable that is its weight."""
    hidden = next(h for h in HIDDEN_KEYS if key.endswith(h))
    about = key[: -len(hidden) - 1]
    if about not in expected or not node.inputs[expected.index(about)][0].is_variable:
        if takes_anything(type(node.definition)):  # type: ignore[arg-type]
            node.attrs[key] = value
            return
        raise MXNetError(
            f"symbol JSON: {node.op} {node.name!r} has the attribute {key!r}, but no variable as its input {about!r}"
        )
    node.inputs[expected.index(about)][0].attrs[f"__{hidden}__"] = value


_FUSED = "made by a subgraph backend: save the model again without one"
_FLOATING = "part of a quantized model: use the floating-point model it was made from"
_GRAPH = "of the Deep Graph Library: sample the graph outside of the model"
_PLUGIN = "from a plugin: compose the same layer of MXNet's own operators"
#: beginnings of the names of operators that MXNet has or had, but symc does not: what they are, and what to do
_FOREIGN = {
    "_sg_": _FUSED, "_TensorRT": _FUSED, "_subgraph_exec": _FUSED, "_CachedOp": _FUSED, "_FusedOp": _FUSED,
    "_contrib_quantized": _FLOATING, "_contrib_intgemm": _FLOATING, "_contrib_calibrate_entropy": _FLOATING,
    "_contrib_dgl": _GRAPH, "_contrib_edge_id": _GRAPH,
    "_np": "of MXNet's numpy interface: build the model of the classic operators",
    "_Native": "a Python operator of before 0.9: write it as a CustomOp", "_NDArray": "a Python operator of before "
    "0.9: write it as a CustomOp", "_CustomFunction": "an autograd.Function: write it as a CustomOp",
    "Caffe": _PLUGIN, "Torch": _PLUGIN, "_th_": _PLUGIN, "WarpCTC": "from a plugin: use CTCLoss",
    "CuDNNBatchNorm": "for NVIDIA's library only: use BatchNorm",
}  # fmt: skip


def _unknown(op: str, name: str) -> str:
    for prefix, advice in _FOREIGN.items():
        if op.startswith(prefix):
            return f"operator {op!r} of node {name!r} is not supported: it is {advice}"
    close = near(op, OPERATORS)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"operator {op!r} of node {name!r} is not known{hint} (an operator of your own has to be registered first)"
