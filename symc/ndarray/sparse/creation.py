"""Making sparse arrays: from dense ones, from their parts, from SciPy's, and of zeros."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from symc.context import Context
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray, _dtype, _shape, located
from symc.ndarray.ndarray import array as dense_array
from symc.ndarray.ndarray import zeros as dense_zeros
from symc.ndarray.sparse.arrays import (
    INDEX,
    BaseSparseNDArray,
    CSRNDArray,
    RowSparseNDArray,
    cast_storage,
    kind_of,
)


def scipy_csr(value: Any) -> bool:
    """Whether it is a matrix of scipy.sparse in csr format. (Who has one has imported SciPy.)"""
    return "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(value) and value.format == "csr"


def _typed(source: Any, dtype: Any) -> np.dtype[Any]:
    """The element type asked for, or the one that an array has, or float32."""
    if dtype is None and (isinstance(source, (NDArray, np.ndarray)) or scipy_csr(source)):
        dtype = source.dtype
    return _dtype(dtype)


def _part(source: Any, dtype: Any) -> Array:
    """A copy of a part of a sparse array (values or indices) as numpy's."""
    if isinstance(source, NDArray):
        return source.asnumpy().astype(dtype)
    try:
        return np.array(source, dtype=dtype)
    except (TypeError, ValueError):
        raise TypeError(f"a part of a sparse array is something like an array, not {type(source).__name__}") from None


def _check_shape(found: Any, given: Any) -> None:
    if found and given and tuple(found) != tuple(given):
        raise ValueError(f"shape={tuple(given)} is given, but the source has {tuple(found)}")


def csr_matrix(arg1: Any, shape: Any = None, ctx: Context | None = None, dtype: Any = None) -> CSRNDArray:
    """A csr array.

    `arg1`: a dense matrix; a CSRNDArray or SciPy's csr matrix; (rows, columns) for zeros; (data, indices, indptr); or
    (data, (row, column)), in any order, where what is given several times is summed. Without `shape` the indices tell
    it. ValueError where `shape` is another than the source has.
    """
    made: NDArray
    if isinstance(arg1, tuple):
        if len(arg1) == 3:
            made = _csr_of_parts(*arg1, shape, ctx, dtype)
        elif len(arg1) != 2:
            raise ValueError(f"a sparse array cannot be made of a tuple of {len(arg1)}")
        elif isinstance(arg1[1], tuple):
            made = _csr_of_coordinates(arg1[0], *arg1[1], shape, ctx, dtype)
        else:
            _check_shape(arg1, shape)
            made = zeros("csr", arg1, ctx, dtype)
    elif isinstance(arg1, CSRNDArray) or scipy_csr(arg1):
        _check_shape(arg1.shape, shape)
        made = array(arg1, ctx, dtype)
    elif isinstance(arg1, RowSparseNDArray):
        raise ValueError("a row_sparse array is no csr matrix; call tostype('default') first")
    else:
        made = _of_dense("csr", arg1, shape, ctx, dtype)
    assert isinstance(made, CSRNDArray)
    return made


def _csr_of_parts(data: Any, indices: Any, indptr: Any, shape: Any, ctx: Context | None, dtype: Any) -> NDArray:
    values, columns = _part(data, _typed(data, dtype)), _part(indices, INDEX)
    begins = _part(indptr, INDEX)
    if shape is None:
        if not columns.size:
            raise ValueError("invalid shape: without elements the indices do not tell it; give shape=")
        shape = (len(begins) - 1, int(columns.max()) + 1)
    if values.ndim != 1 or columns.ndim != 1 or begins.ndim != 1 or not begins.size or len(shape) != 2:
        raise ValueError("invalid shape: data, indices and indptr have one dimension each, and the array two")
    return CSRNDArray._from(values, [begins, columns], shape, located(ctx))


def _csr_of_coordinates(data: Any, row: Any, column: Any, shape: Any, ctx: Context | None, dtype: Any) -> NDArray:
    rows, columns = _part(row, INDEX), _part(column, INDEX)
    values = data.asnumpy() if isinstance(data, NDArray) else np.asarray(data)
    if not rows.shape == columns.shape == values.shape:
        raise ValueError(
            f"data, row and column have as many elements each, not {values.size}, {rows.size}, {columns.size}"
        )
    if shape is None:
        if not rows.size:
            raise ValueError("cannot infer dimensions from zero sized index arrays")
        shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    outside = rows.size and (
        rows.min() < 0 or columns.min() < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]
    )  # fmt: skip
    if outside:
        raise ValueError(f"there are coordinates outside of shape {tuple(shape)}")
    places, at = np.unique(rows * shape[1] + columns, return_inverse=True)
    summed = np.zeros(len(places), values.dtype)
    np.add.at(summed, at.reshape(-1), values)
    indptr = np.zeros(shape[0] + 1, INDEX)
    np.cumsum(np.bincount(places // shape[1], minlength=shape[0]), out=indptr[1:])
    made = summed.astype(values.dtype if dtype is None else _dtype(dtype))
    return CSRNDArray._from(made, [indptr, places % shape[1]], shape, located(ctx))


def _of_dense(stype: str, source: Any, shape: Any, ctx: Context | None, dtype: Any) -> NDArray:
    dense = dense_array(source, ctx, _typed(source, dtype))
    _check_shape(dense.shape, shape)
    return cast_storage(dense, stype)


def row_sparse_array(arg1: Any, shape: Any = None, ctx: Context | None = None, dtype: Any = None) -> RowSparseNDArray:
    """A row_sparse array.

    `arg1`: a dense array; a RowSparseNDArray; a shape, for zeros; or (data, indices), the rows that are stored and
    their numbers. Without `shape` the last of these tells it. ValueError where `shape` is another than the source has.
    """
    made: NDArray
    if isinstance(arg1, tuple):
        if len(arg1) < 2:
            raise ValueError(f"a sparse array cannot be made of a tuple of {len(arg1)}")
        if len(arg1) > 2 or all(isinstance(n, (int, np.integer)) for n in arg1):
            _check_shape(arg1, shape)
            made = zeros("row_sparse", arg1, ctx, dtype)
        else:
            made = _rows_of_parts(*arg1, shape, ctx, dtype)
    elif isinstance(arg1, RowSparseNDArray):
        _check_shape(arg1.shape, shape)
        made = array(arg1, ctx, dtype)
    elif isinstance(arg1, CSRNDArray):
        raise ValueError("a csr array is not row_sparse; call tostype('default') first")
    else:
        made = _of_dense("row_sparse", arg1, shape, ctx, dtype)
    assert isinstance(made, RowSparseNDArray)
    return made


def _rows_of_parts(data: Any, indices: Any, shape: Any, ctx: Context | None, dtype: Any) -> NDArray:
    values, rows = _part(data, _typed(data, dtype)), _part(indices, INDEX)
    if shape is None:
        if not rows.size:
            raise ValueError("invalid shape: without rows the indices do not tell it; give shape=")
        shape = (int(rows[-1]) + 1, *values.shape[1:])
    if values.ndim != len(shape) or rows.ndim != 1 or 0 in tuple(shape)[1:]:
        raise ValueError(f"invalid shape: data of shape {values.shape} are no rows of an array of shape {tuple(shape)}")
    return RowSparseNDArray._from(values, [rows], shape, located(ctx))


def zeros(stype: str, shape: Any, ctx: Context | None = None, dtype: Any = None, **kwargs: Any) -> NDArray:
    """An array of zeros of a storage type ("default", "csr", "row_sparse"): nothing is stored. ValueError for other
    types."""
    if stype == "default":
        return dense_zeros(shape, ctx, dtype, **kwargs)
    kind, sizes = kind_of(stype), _shape(shape)
    return kind._from(*kind._nothing(sizes, _dtype(dtype)), sizes, located(ctx))


def empty(stype: str, shape: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """As `zeros`, for the sparse storage types only."""
    return zeros(kind_of(stype)._stype, shape, ctx, dtype)


def array(source_array: Any, ctx: Context | None = None, dtype: Any = None) -> BaseSparseNDArray:
    """A copy of a sparse array, or of SciPy's csr matrix (with its columns sorted, and duplicates summed). ValueError
    for anything else: mx.nd.array takes dense arrays."""
    made: NDArray
    if isinstance(source_array, NDArray):
        if not isinstance(source_array, BaseSparseNDArray):
            raise AssertionError("sparse.array copies sparse arrays; a dense one is converted by x.tostype(...)")
        made = source_array.astype(source_array.dtype if dtype is None else dtype)
        made._ctx = located(ctx)
    elif scipy_csr(source_array):
        csr = source_array.sorted_indices()
        csr.sum_duplicates()
        made = csr_matrix((csr.data, csr.indices, csr.indptr), csr.shape, ctx, _typed(source_array, dtype))
    else:
        hint = "; mx.nd.array makes dense arrays" if isinstance(source_array, (np.ndarray, np.generic)) else ""
        raise ValueError(f"sparse.array cannot copy a {type(source_array).__name__}{hint}")
    assert isinstance(made, BaseSparseNDArray)
    return made
