"""Functions of `mx.sym` whose parameters are not their operator's: zeros, ones, full, arange, eye, linspace, histogram,
split_v2, and a Symbol's text applied to others."""

from __future__ import annotations

from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ops.base import OPERATORS
from symc.symbol.compose import compose
from symc.symbol.json import load_json
from symc.symbol.symbol import Symbol


def _make(op: str, args: dict[str, Any], kwargs: dict[str, Any]) -> Symbol:
    name = kwargs.pop("name", None)
    attr = kwargs.pop("attr", None)
    return compose(OPERATORS[op], op, (), {**args, **kwargs}, name, attr)


def _dtype(dtype: Any) -> str:
    return np.dtype(dtype if dtype is not None else np.float32).name


def zeros(shape: Any, dtype: Any = None, **kwargs: Any) -> Symbol:
    """A tensor of zeros."""
    return _make("_zeros", {"shape": shape, "dtype": _dtype(dtype)}, kwargs)


def ones(shape: Any, dtype: Any = None, **kwargs: Any) -> Symbol:
    """A tensor of ones."""
    return _make("_ones", {"shape": shape, "dtype": _dtype(dtype)}, kwargs)


def full(shape: Any, val: float, dtype: Any = None, **kwargs: Any) -> Symbol:
    """A tensor filled with `val`."""
    return _make("_full", {"shape": shape, "dtype": _dtype(dtype), "value": float(val)}, kwargs)


def arange(
    start: float, stop: float | None = None, step: float = 1.0, repeat: int = 1, infer_range: bool = False,
    name: str | None = None, dtype: Any = None,
) -> Symbol:  # fmt: skip
    """Numbers from start (0 if only one bound is given) below stop, each `repeat` times."""
    return _make("_arange", {"start": start, "stop": stop, "step": step, "repeat": repeat,
                             "infer_range": infer_range, "dtype": _dtype(dtype)}, {"name": name})  # fmt: skip


def linspace(
    start: float, stop: float, num: int, endpoint: bool = True, name: str | None = None, dtype: Any = None
) -> Symbol:
    """`num` evenly spaced numbers."""
    given = {"start": start, "stop": stop, "num": num, "endpoint": endpoint, "dtype": _dtype(dtype)}
    return _make("_linspace", given, {"name": name})


def eye(N: int, M: int = 0, k: int = 0, dtype: Any = None, **kwargs: Any) -> Symbol:
    """Ones on the k-th diagonal of an N by M matrix."""
    return _make("_eye", {"N": N, "M": M, "k": k, "dtype": _dtype(dtype)}, kwargs)


def split_v2(
    ary: Symbol, indices_or_sections: int | tuple[int, ...], axis: int = 0, squeeze_axis: bool = False
) -> Symbol:
    """Split into equal sections, or at the given indices."""
    if isinstance(indices_or_sections, int):
        indices: list[int] = []
        sections = indices_or_sections
    elif isinstance(indices_or_sections, tuple):
        indices = [0, *indices_or_sections]
        sections = 0
    else:
        raise ValueError("indices_or_sections must be either an int or a tuple of ints")
    return compose(
        OPERATORS["_split_v2"], "_split_v2", (ary,),
        {"indices": indices, "axis": axis, "squeeze_axis": squeeze_axis, "sections": sections},
    )  # fmt: skip


def histogram(a: Symbol, bins: int | Symbol = 10, range: tuple[float, float] | None = None, **kwargs: Any) -> Symbol:
    """Counts and edges of the bins: a Symbol of edges, or `bins` equal ones in `range`."""
    if isinstance(bins, Symbol):
        return _make("_histogram", {"data": a, "bins": bins}, kwargs)
    if not isinstance(bins, int):
        raise ValueError("bins argument should be either an integer or a Symbol of edges")
    if range is None:
        raise ValueError("null range is not supported in symbol mode: give the smallest and the largest edge")
    return _make("_histogram", {"data": a, "bin_cnt": bins, "range": range}, kwargs)


def applied(*args: Symbol, subgraph: str) -> Symbol:
    """The Symbol whose JSON is `subgraph`, with Symbols for its variables, in the order of `list_inputs`. MXNet makes
    one node of it, `_CachedOp`; here its operators are copied."""
    found = load_json(subgraph)
    names = found.list_inputs()
    if len(args) != len(names):
        raise MXNetError(f"_CachedOp: the subgraph has {len(names)} inputs ({', '.join(names)}), got {len(args)}")
    return found(**dict(zip(names, args)))
