"""The types of all outputs in a symbol graph, from those of its variables: what operators' programs must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.types import TensorType, dtype_of
from symc.ops.base import MXNetError, Shapes, Types
from symc.passes.tensor.infer_shape import Entry, propagate

#: an operator's outputs; None where inference does not know one
Made = tuple[Optional[TensorType], ...]


def choosers(graph: SymGraph) -> list[SymNode]:
    """The operators that have as many rows of results as an input's values say."""
    return [node for node in graph.nodes() if getattr(node.definition, "row_chooser", None) is not None]


def output_types(
    graph: SymGraph, known: Mapping[Entry, TensorType], rows: Mapping[str, int] | None = None
) -> dict[SymNode, Made]:
    """For every operator the types of its outputs. `rows`: how many rows the outputs of operators have whose inputs'
    values decide it (Operator.row_chooser), by the nodes' names."""
    rows = rows or {}
    values: dict[Entry, TensorType | None] = dict(known)
    operators = [node for node in graph.nodes() if not node.is_variable]
    sources = [n for n in operators if not n.inputs or n.name in rows]
    asked = _from_their_use(graph, sources, known, rows) if sources else {}
    # nodes with the same operator and operands have the same outputs: an unrolled net asks once for all its steps
    answers: dict[tuple[Any, ...], Made] = {}
    found: dict[SymNode, Made] = {}
    for node in operators:
        operands = tuple([values.get(entry) for entry in node.inputs])
        key = (id(node.definition), *operands) if operands and node not in asked else (node,)
        made = answers.get(key)
        if made is None:
            made = answers[key] = _outputs(node, operands, asked.get(node), rows)
        found[node] = made
        for at, tensor in enumerate(made):
            values[node, at] = tensor
    return found


def _from_their_use(
    graph: SymGraph, sources: Sequence[SymNode], known: Mapping[Entry, TensorType], rows: Mapping[str, int]
) -> dict[SymNode, list[Any]]:
    """The shapes of outputs that operands do not tell."""

    def complete(node: SymNode, row: Shapes) -> None:
        definition: Any = node.definition
        definition.complete(row)
        data = row.ins[0] if row.ins else None
        if node.name in rows and data is not None:
            row.set_out(0, (rows[node.name], *data[1:]))

    found = propagate(graph, {entry: t.shape for entry, t in known.items()}, Shapes, complete)
    return {node: [found.get((node, at)) for at in range(node.num_outputs)] for node in sources}


def _outputs(
    node: SymNode, operands: tuple[TensorType | None, ...], shapes: list[Any] | None, rows: Mapping[str, int]
) -> Made:
    definition: Any = node.definition
    count = len(definition.list_outputs())
    if shapes is None and None in operands:  # some rules take an unknown operand for one without elements
        return (None,) * count
    names = [*definition.list_inputs(), *definition.list_aux()]
    row = Shapes([t.shape if t is not None else None for t in operands], shapes or [None] * count, names)
    kinds = Types([t.dtype.numpy if t is not None else None for t in operands], [None] * count, names)
    try:
        if shapes is None:
            definition.complete(row)
        definition.infer_types(kinds)
    except MXNetError:  # types that inference refuses: what is built of them says so, with the operator's name
        return (None,) * count
    made: list[TensorType | None] = []
    for shape, dtype in zip(row.outs, kinds.outs):
        # an extent of 0 is one that is not known, unless values have decided it
        whole = shape is not None and dtype is not None and (all(shape) or node.name in rows)
        made.append(TensorType(dtype_of(dtype), tuple(shape)) if whole and shape is not None else None)
    return tuple(made)
