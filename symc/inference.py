"""What infer_shape and infer_type answer: the completed tables of symc.passes.tensor.infer_shape in MXNet's form."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from symc.base import MXNetError, those
from symc.ir.symbol.nodes import SymNode
from symc.ndarray.files import DTYPE_BY_FLAG, FLAG_BY_DTYPE
from symc.ops.base import ShapeError, Shapes, Types
from symc.ops.shared.attribute_text import literal
from symc.passes.tensor.infer_shape import Conflict, propagate
from symc.runtime.memory import AXES, fits, need
from symc.typed import HasGraph
from symc.util import is_np_shape

Entry = tuple[SymNode, int]
Answer = tuple[Any, Any, Any]


def infer_shapes(
    symbol: HasGraph, partial: bool, args: Sequence[Any], kwargs: Mapping[str, Any], dynamic: bool = True,
    bound: bool = False,
) -> Answer:  # fmt: skip
    """Shapes of arguments, outputs and states; (None, None, None) if some are unknown, unless `partial`.

    With `dynamic` False the shapes end, as MXNet's do, at operators that have to run first (Operator.dynamic). With
    `bound` the program will run: results that no memory can hold are refused.
    """

    def read(shape: Any, label: str) -> tuple[int, ...] | None:
        if not isinstance(shape, tuple):
            raise TypeError(f"Arguments need to be shapes (tuple), but {label} is {type(shape)}.")
        return tuple(0 if d is None or d < 0 else int(d) for d in shape) or None

    known = _known(symbol, args, kwargs, "shape", read)
    for node in _undeclared(symbol, known, "__shape__"):
        try:
            declared = literal(node.attrs["__shape__"])
            known[node, 0] = read(tuple(declared) if isinstance(declared, (tuple, list)) else (declared,), node.name)
        except (ValueError, SyntaxError, TypeError, OverflowError):
            raise MXNetError(f"variable {node.name!r}: __shape__={node.attrs['__shape__']!r} is not a shape") from None

    unknown: set[SymNode] = set()
    if not dynamic:
        for node in symbol.graph.nodes():
            if getattr(node.definition, "dynamic", False) or any(source in unknown for source, _ in node.inputs):
                unknown.add(node)

    def complete(node: SymNode, row: Shapes) -> None:
        definition: Any = node.definition
        _need_inputs(node)
        if node not in unknown:
            definition.complete(row)

    found = _propagated(symbol, known, "shape", Shapes, complete)
    if bound:
        _check_sizes(found)
    if not partial and any(s is None or 0 in s for part in _answer(symbol, found.get) for s in part):
        return None, None, None
    return _answer(symbol, lambda entry: tuple(found.get(entry) or ()))


def asked_shapes(symbol: HasGraph, partial: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Answer:
    """What a user asks for: `infer_shapes`, where NumPy's shapes are asked for (mx.np_shape) in their terms: -1 for an
    unknown dimension, None for an unknown shape. MXNetError for a dimension of 0, which is none that is unknown."""
    if not is_np_shape():
        return infer_shapes(symbol, partial, args, kwargs, False)
    for shape in (*args, *kwargs.values()):
        if isinstance(shape, tuple) and 0 in shape:
            raise MXNetError(f"{symbol!r}: nothing is inferred from {shape}, a shape without elements; -1 is unknown")
    found = infer_shapes(symbol, partial, args, kwargs, False)
    return found if found[0] is None else tuple([tuple(d or -1 for d in s) or None for s in part] for part in found)


def infer_types(
    symbol: HasGraph, partial: bool, args: Sequence[Any], kwargs: Mapping[str, Any], bound: bool = False
) -> Answer:
    """Element types of arguments, outputs and states; (None, None, None) if some are unknown, unless `partial`.

    With `bound` the program will run: types without kernels are refused.
    """

    def read(given: Any, label: str) -> np.dtype[Any] | None:
        dtype = np.dtype(given)
        if dtype in FLAG_BY_DTYPE:
            return dtype
        if args:
            raise TypeError(f"{label}: type {dtype} is none of {', '.join(map(str, FLAG_BY_DTYPE))}")
        return None

    known = _known(symbol, args, kwargs, "type", read)
    for node in _undeclared(symbol, known, "__dtype__"):
        flag = node.attrs["__dtype__"]
        if flag != "-1":
            try:
                known[node, 0] = np.dtype(DTYPE_BY_FLAG[int(flag)])
            except (ValueError, KeyError):
                raise MXNetError(f"variable {node.name!r}: __dtype__={flag!r} is not the number of a type") from None

    def complete(node: SymNode, row: Types) -> None:
        definition: Any = node.definition
        _need_inputs(node)
        (definition.bind_types if bound else definition.infer_types)(row)

    found = _propagated(symbol, known, "type", Types, complete)
    result = _answer(symbol, lambda entry: found[entry].type if found.get(entry) is not None else None)
    if not partial and any(t is None for part in result for t in part):
        return None, None, None
    return result


def warn_unknown(what: str, remark: str, unknown: Sequence[str]) -> None:
    """MXNet's warning about arguments whose shape or type does not follow; it names the first ten."""
    shown = [*unknown[:10], *(["..."] if len(unknown) > 10 else [])]
    warnings.warn(
        f"Cannot decide {what} for the following arguments{remark}. Consider providing them as input:\n\t"
        + "\n\t".join(shown),
        stacklevel=3,
    )


def _known(
    symbol: HasGraph, args: Sequence[Any], kwargs: Mapping[str, Any], what: str, read: Callable[[Any, str], Any]
) -> dict[Entry, Any]:
    """What the caller tells of the variables; unknown names are refused."""
    if args and kwargs:
        raise ValueError(f"Can only specify known argument {what}s either by positional or kwargs way.")
    arguments, states = symbol.graph.variables()
    known: dict[Entry, Any] = {}
    if len(args) > len(arguments):
        raise MXNetError(f"{symbol!r}: {len(args)} {what}s given for {len(arguments)} arguments")
    for at, (node, value) in enumerate(zip(arguments, args)):
        if value is not None:
            known[node, 0] = read(value, f"argument {at}")
    if kwargs:
        named: dict[str, list[SymNode]] = {}
        for node in (*arguments, *states):
            named.setdefault(node.name, []).append(node)
        for key, value in kwargs.items():
            given = read(value, repr(key))
            if key not in named:
                raise MXNetError(f"{symbol!r} has no argument {key!r} to give a {what} to; it has {those(named, key)}")
            known.update({(node, 0): given for node in named[key]})
    return {entry: value for entry, value in known.items() if value is not None}


def _need_inputs(node: SymNode) -> None:
    """ShapeError for an operator without its inputs (Symbol._gen_atomic_symbol)."""
    if not node.inputs and node.definition is not None and (names := node.definition.list_inputs()):
        raise ShapeError(f"it has no inputs; compose it with {', '.join(names)}")


def _undeclared(symbol: HasGraph, known: Mapping[Entry, Any], attr: str) -> list[SymNode]:
    return [n for n in symbol.graph.nodes() if n.is_variable and attr in n.attrs and (n, 0) not in known]


def _propagated(symbol: HasGraph, known: Mapping[Entry, Any], what: str, table: Any, rule: Any) -> dict[Entry, Any]:
    try:
        return propagate(symbol.graph, known, table, rule)
    except Conflict as problem:
        node, (file, line) = problem.node, problem.node.where
        where = f" ({file}:{line})" if file else ""
        inputs = ", ".join(n.name for n, _ in node.inputs)
        raise MXNetError(
            f"Error in operator {node.name}: {node.op}({inputs}){where}: {what} inference failed: {problem.reason}"
        ) from None


def _check_sizes(shapes: Mapping[Entry, Any]) -> None:
    """MXNetError for a result of more elements than there are bytes, before the operators' constants are made, and for
    one of more axes than arrays have."""
    for (node, at), shape in shapes.items():
        if shape and len(shape) > AXES:
            raise MXNetError(f"{node.op} {node.name!r}: output {at} has {len(shape)} axes, but {AXES} are the most")
        if shape and not node.is_variable and not fits(prod(shape)):
            file, line = node.where
            place = f" ({file}:{line})" if file else ""
            what = f"{node.op} {node.name!r}{place}: output {at} of shape {tuple(shape)}"
            need(prod(shape), what, "; that is a byte an element")


def _answer(symbol: HasGraph, pick: Callable[[Entry], Any]) -> Answer:
    arguments, states = symbol.graph.variables()
    return [pick((n, 0)) for n in arguments], [pick(e) for e in symbol.graph.outputs], [pick((n, 0)) for n in states]
