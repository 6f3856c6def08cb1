"""Operators on sparse arrays: on what is stored where there is a kernel for it, and else on dense copies.

`run_stored` is the one place where storage falls back to dense.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray.functions import function_of, run_operator
from symc.ndarray.ndarray import NDArray
from symc.ndarray.sparse.arrays import (
    INDEX,
    BaseSparseNDArray,
    CSRNDArray,
    RowSparseNDArray,
    cast_storage,
)
from symc.ops.base import MXNetError, Operator
from symc.ops.shared.storage import CSR, DEFAULT, ROW_SPARSE
from symc.runtime.memory import zeros as allocate_zeros

#: an operator on numpy arrays; inputs that it changes are changed in place
Run = Callable[[Operator, Sequence[Array]], list[Array]]
#: (operator, inputs, how it is run on numpy arrays) -> the result
Kernel = Callable[[Any, Sequence[Any], Run], NDArray]


def interpret(op: Operator, arrays: Sequence[Array]) -> list[Array]:
    """An operator on as many elements as happen to be stored: nothing is compiled, and nothing kept."""
    types = tuple(TensorType(dtype_of(a.dtype), a.shape) for a in arrays)
    return function_of.__wrapped__(op, types, False).interpret(arrays)


def run_stored(op: Operator, inputs: Sequence[NDArray], train: bool = False) -> list[NDArray]:
    """Results of an operator of which some inputs are sparse, each in the storage type that MXNet gives it. Inputs that
    the operator changes are changed."""
    stypes = [a.stype for a in inputs]
    wanted = op.storage_of(stypes)
    context = inputs[0].context
    if op.only_rows(stypes):
        return [_updated_rows(op, inputs, interpret)]
    kernel = _kernel(op, stypes, wanted)
    if kernel is not None:
        made = kernel(op, inputs, interpret)
        made._ctx = context
        return [cast_storage(made if made.stype == wanted else cast_storage(made, DEFAULT), wanted)]
    if op.op_name not in _CONVERSIONS:
        warn_fallback(op.op_name, stypes)
    written = set(op.written_inputs()) if not op.is_update else set(range(2, len(inputs)))
    arrays = [a._dense() if isinstance(a, BaseSparseNDArray) else a._read for a in inputs]
    results = [NDArray._of(a, context) for a in run_operator(op, arrays, train)[0]]
    for at in written:
        if isinstance(inputs[at], BaseSparseNDArray):
            inputs[at]._receive(NDArray._of(arrays[at], context))
    results[0] = cast_storage(results[0], wanted)
    return results


_CONVERSIONS = frozenset({"cast_storage"})
_said: set[tuple[str, tuple[str, ...]]] = set()


def warn_fallback(what: str, stypes: Sequence[str]) -> None:
    """Log, once for every operator and storage types, that it works on dense copies; not with
    MXNET_STORAGE_FALLBACK_LOG_VERBOSE=0."""
    key = (what, tuple(stypes))
    if key in _said or os.environ.get("MXNET_STORAGE_FALLBACK_LOG_VERBOSE") == "0":
        return
    _said.add(key)
    logging.warning(
        "%s has no kernel for storage types [%s]: it works on dense copies, which gives the same answer and takes more "
        "memory (MXNET_STORAGE_FALLBACK_LOG_VERBOSE=0 keeps this silent)",
        what, ", ".join(stypes),
    )  # fmt: skip


def _kernel(op: Operator, stypes: Sequence[str], wanted: str) -> Kernel | None:
    """What computes on the stored elements of arrays of these types."""
    name, kinds = op.op_name, set(stypes)
    if len(stypes) == 1:
        if name == "slice":
            return _slice if wanted == CSR else None
        if name in _ONE and not (name == "_contrib_getnnz" and stypes[0] != CSR):
            return _ONE[name]
        if name == "_square_sum" and wanted == ROW_SPARSE:
            return _squares
        if name in ("sum", "mean") and stypes[0] == CSR and len(op.axes(2)) == 1:  # type: ignore[attr-defined]
            return _total
        return _map if wanted == stypes[0] else None
    if name == "dot":
        return _dot if stypes[0] == CSR and stypes[1] != CSR else None
    if name in _EQUAL and kinds == {ROW_SPARSE}:
        return _EQUAL[name]
    if name in _COMBINED and len(kinds) == 1:
        return _COMBINED[name]
    if name == "elemwise_mul" and wanted != DEFAULT:
        return _times_dense
    if name in ("broadcast_mul", "broadcast_div") and wanted == CSR:
        return _scaled_by_dense
    if name == "_sparse_retain" and stypes[0] == ROW_SPARSE:
        return lambda op, inputs, run: inputs[0]._retained(inputs[1]._read.astype(INDEX))
    if name == "Concat" and wanted == CSR:
        return _stacked
    if name == "Embedding" or name == "_contrib_SparseEmbedding":
        return _looked_up if stypes == [DEFAULT, ROW_SPARSE] else None
    if name == "take":
        return _taken if wanted == CSR else None
    return None


# --------------------------------------------------------------------------------------------- one array


def _with_values(array: BaseSparseNDArray, values: Array) -> NDArray:
    return array._from(values, [a.copy() for a in array._aux], array._shape, array._ctx)


def _map(op: Operator, inputs: Sequence[BaseSparseNDArray], run: Run) -> NDArray:
    (array,) = inputs
    return _with_values(array, run(op, [array._values])[0]) if array._values.size else array.copy()


def _cast(op: Any, inputs: Sequence[BaseSparseNDArray], run: Run) -> NDArray:
    if op.stype not in (DEFAULT, inputs[0].stype):
        raise MXNetError(f"cast_storage from {inputs[0].stype} to {op.stype} is not supported")
    return cast_storage(inputs[0], op.stype, copy=True)


def _zeros(op: Operator, inputs: Sequence[BaseSparseNDArray], run: Run) -> NDArray:
    (array,) = inputs
    return array._from(*array._nothing(array.shape, array.dtype), array.shape)


def _slice(op: Any, inputs: Sequence[CSRNDArray], run: Run) -> NDArray:
    (array,) = inputs
    begin, end = (tuple(x) + (None,) * (2 - len(x)) for x in (op.begin, op.end))
    spans = [slice(b, e).indices(n)[:2] for b, e, n in zip(begin, end, array.shape)]
    if any(b >= e for b, e in spans):
        raise MXNetError(f"begin {op.begin} to end {op.end} is no part of shape {array.shape}")
    return array._rows(*spans[0])._columns(*spans[1])


def _total(op: Any, inputs: Sequence[CSRNDArray], run: Run) -> NDArray:
    """sum and mean of a csr array over one axis."""
    (array,) = inputs
    kept = 1 - op.axes(2)[0]
    places = array._row_numbers() if kept == 0 else array._aux[1]
    made = allocate_zeros((array.shape[kept],), array.dtype)
    np.add.at(made, places, array._values)
    if op.op_name == "mean":
        made /= array.shape[1 - kept]
    shape = ((array.shape[0], 1) if kept == 0 else (1, array.shape[1])) if op.keepdims else made.shape
    return NDArray._of(made.reshape(shape))


def _squares(op: Any, inputs: Sequence[RowSparseNDArray], run: Run) -> NDArray:
    """Sums of squares, of each stored row."""
    (array,) = inputs
    squares = (array._values * array._values).sum(axis=1, keepdims=True)
    return RowSparseNDArray._from(squares, [array._aux[0].copy()], (array.shape[0], 1))


def _count(op: Any, inputs: Sequence[CSRNDArray], run: Run) -> NDArray:
    indptr = inputs[0]._aux[0]
    return NDArray._of(np.diff(indptr) if op.axis is not None else indptr[-1:].copy())


_ONE: dict[str, Kernel] = {"cast_storage": _cast, "zeros_like": _zeros, "_contrib_getnnz": _count}


# --------------------------------------------------------------------------------------------- several arrays


def _places(array: CSRNDArray) -> Array:
    """Where the stored elements are in the flattened matrix."""
    return array._row_numbers() * array.shape[1] + array._aux[1]


def _csr_at(places: Array, values: Array, shape: tuple[int, ...]) -> CSRNDArray:
    """The csr array that has these values at places (ascending) of the flattened matrix."""
    indptr = np.zeros(shape[0] + 1, INDEX)
    np.cumsum(np.bincount(places // shape[1], minlength=shape[0]), out=indptr[1:])
    made = CSRNDArray._from(values, [indptr, places % shape[1]], shape)
    assert isinstance(made, CSRNDArray)
    return made


def _union(op: Operator, inputs: Sequence[Any], run: Run) -> NDArray:
    """Element by element, where one of two arrays has something stored."""
    left, right = inputs
    _same_shape(op, inputs)
    at = [_places(a) if isinstance(a, CSRNDArray) else a._aux[0] for a in inputs]
    union = np.union1d(*at)
    parts = []
    for array, own in zip(inputs, at):
        part = np.zeros((len(union), *array._values.shape[1:]), array.dtype)
        part[np.searchsorted(union, own)] = array._values
        parts.append(part)
    values = run(op, parts)[0] if len(union) else parts[0]
    if isinstance(left, RowSparseNDArray):
        return RowSparseNDArray._from(values, [union.astype(INDEX)], left.shape)
    kept = values != 0
    return _csr_at(union[kept].astype(INDEX), values[kept], left.shape)


def _intersection(op: Operator, inputs: Sequence[Any], run: Run) -> NDArray:
    """The product of two arrays of one storage type, where both have something stored."""
    left, right = inputs
    _same_shape(op, inputs)
    at = [_places(a) if isinstance(a, CSRNDArray) else a._aux[0] for a in inputs]
    common, first, second = np.intersect1d(*at, assume_unique=True, return_indices=True)
    values = left._values[first] * right._values[second]
    if isinstance(left, RowSparseNDArray):
        return RowSparseNDArray._from(values, [common.astype(INDEX)], left.shape)
    return _csr_at(common.astype(INDEX), values, left.shape)


def _total_rows(op: Operator, inputs: Sequence[RowSparseNDArray], run: Run) -> NDArray:
    """add_n of row_sparse arrays."""
    _same_shape(op, inputs)
    return sum_rows([(a._aux[0], a._values) for a in inputs], inputs[0].shape)


def sum_rows(parts: Sequence[tuple[Array, Array]], shape: tuple[int, ...]) -> RowSparseNDArray:
    """The row_sparse array that is the sum of rows: (their numbers in any order, perhaps repeated; their values)."""
    numbers = np.concatenate([rows for rows, _ in parts])
    values = np.concatenate([v for _, v in parts]) if len(parts) > 1 else parts[0][1]
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if ordered.size else np.zeros(0, INDEX)
    summed = np.add.reduceat(values[order], first, axis=0) if first.size else values[:0]
    made = RowSparseNDArray._from(summed.astype(values.dtype, copy=False), [ordered[first].astype(INDEX)], shape)
    assert isinstance(made, RowSparseNDArray)
    return made


def _times_dense(op: Operator, inputs: Sequence[NDArray], run: Run) -> NDArray:
    _same_shape(op, inputs)
    array = next(a for a in inputs if isinstance(a, BaseSparseNDArray))
    dense = next(a for a in inputs if not isinstance(a, BaseSparseNDArray))._read
    at = (array._row_numbers(), array._aux[1]) if isinstance(array, CSRNDArray) else (array._aux[0],)
    return _with_values(array, array._values * dense[at])


def _scaled_by_dense(op: Operator, inputs: Sequence[Any], run: Run) -> NDArray:
    array, dense = inputs
    spread = np.broadcast_to(dense._read, array.shape)[array._row_numbers(), array._aux[1]]
    with np.errstate(all="ignore"):
        values = array._values * spread if op.op_name == "broadcast_mul" else array._values / spread
    return _with_values(array, values)


def _stacked(op: Operator, inputs: Sequence[CSRNDArray], run: Run) -> NDArray:
    """csr arrays, one below the other."""
    columns = inputs[0].shape[1]
    if any(a.shape[1] != columns or a.dtype != inputs[0].dtype for a in inputs):
        raise MXNetError("csr arrays that are joined have as many columns and one type")
    begins = np.cumsum([0, *(len(a._values) for a in inputs)])
    indptr = [a._aux[0][1:] + begin for a, begin in zip(inputs, begins)]
    aux = [np.concatenate([[0], *indptr]), np.concatenate([a._aux[1] for a in inputs])]
    return CSRNDArray._from(
        np.concatenate([a._values for a in inputs]), aux, (sum(a.shape[0] for a in inputs), columns)
    )  # fmt: skip


def _looked_up(op: Any, inputs: Sequence[Any], run: Run) -> NDArray:
    """Embedding in a row_sparse weight."""
    ids, weight = inputs
    rows = np.clip(ids._read.astype(INDEX), 0, op.input_dim - 1)
    found, at = np.unique(rows, return_inverse=True)
    return NDArray._of(weight._retained(found)._values[at.reshape(rows.shape)])


def _taken(op: Any, inputs: Sequence[Any], run: Run) -> NDArray:
    """Rows of a csr array."""
    array, indices = inputs
    wanted, count = indices._read.astype(INDEX).reshape(-1), array.shape[0]
    rows = wanted % count if op.mode == "wrap" else np.clip(wanted, 0, count - 1)
    indptr = array._aux[0]
    lengths = np.diff(indptr)[rows]
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(indptr[rows] - (ends - lengths), lengths)
    aux = [np.concatenate([[0], ends]).astype(INDEX), array._aux[1][places]]
    return CSRNDArray._from(array._values[places], aux, (len(rows), array.shape[1]))


_COMBINED: dict[str, Kernel] = {
    **dict.fromkeys(("elemwise_add", "elemwise_sub", "_grad_add", "_maximum", "_minimum", "_hypot"), _union),
    "elemwise_mul": _intersection,
}  # fmt: skip
_EQUAL: dict[str, Kernel] = {"add_n": _total_rows}


def _same_shape(op: Operator, inputs: Sequence[NDArray]) -> None:
    first = inputs[0]
    for other in inputs[1:]:
        if other.shape != first.shape or other.dtype != first.dtype:
            raise MXNetError(
                f"the inputs have one shape and type, not {np.dtype(first.dtype)}{first.shape} and "
                f"{np.dtype(other.dtype)}{other.shape}"
            )


# --------------------------------------------------------------------------------------------- dot


def _dot(op: Any, inputs: Sequence[Any], run: Run) -> NDArray:
    """csr times a dense or row_sparse matrix or vector; of csr.T only the columns that are stored give rows."""
    left, right = inputs
    other = right._dense() if isinstance(right, BaseSparseNDArray) else right._read
    if other.ndim == 2 and op.transpose_b:
        other = other.T
    inner = left.shape[0] if op.transpose_a else left.shape[1]
    if other.ndim > 2 or other.shape[0] != inner or other.dtype != left.dtype:
        raise MXNetError(
            f"dot: lhs {np.dtype(left.dtype)}{left.shape} and rhs {np.dtype(right.dtype)}{right.shape} do not fit"
        )
    rows, columns = left._row_numbers(), left._aux[1]
    if not op.transpose_a:
        return NDArray._of(times_csr(left, other))
    products = left._values.reshape(-1, *(1,) * (other.ndim - 1)) * other[rows]
    shape = (left.shape[1], *other.shape[1:])
    return sum_rows([(columns, products)], shape)


def times_csr(left: CSRNDArray, right: Array) -> Array:
    """left . right, for a dense matrix or vector."""
    made = allocate_zeros((left.shape[0], *right.shape[1:]), left.dtype)
    indptr = left._aux[0]
    filled = np.flatnonzero(np.diff(indptr))
    if filled.size:
        products = left._values.reshape(-1, *(1,) * (right.ndim - 1)) * right[left._aux[1]]
        made[filled] = np.add.reduceat(products, indptr[filled], axis=0)
    return made


# --------------------------------------------------------------------------------------------- updates


def _updated_rows(op: Operator, inputs: Sequence[NDArray], run: Run) -> NDArray:
    """An optimizer's step on the rows that the gradient has, of weight and states; all others stay. The new weight."""
    weight, gradient = inputs[:2]
    assert isinstance(gradient, RowSparseNDArray)
    if any(a.shape != weight.shape for a in inputs):
        raise MXNetError(f"weight, gradient and states have one shape, not {', '.join(str(a.shape) for a in inputs)}")
    rows = gradient._aux[0]
    held = [weight, *inputs[2:]]
    parts = [rows_of(a, rows) for a in held]
    new = run(op, [parts[0], gradient._values, *parts[1:]])[0] if len(rows) else parts[0]
    for state, values in zip(held[1:], parts[1:]):
        write_rows(state, rows, values)
    moved = weight.copy()
    write_rows(moved, rows, new)
    return moved


def rows_of(array: NDArray, rows: Array) -> Array:
    """A copy of rows of a dense or row_sparse array."""
    return array._retained(rows)._values if isinstance(array, RowSparseNDArray) else array._read[rows]


def write_rows(array: NDArray, rows: Array, values: Array) -> None:
    """Replace rows of a dense or row_sparse array."""
    if isinstance(array, RowSparseNDArray):
        array._write_rows(rows, values)
    else:
        array._data[rows] = values
