"""Random arrays of any storage type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc.context import Context
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.ndarray.sparse import BaseSparseNDArray, CSRNDArray, csr_matrix, row_sparse_array, zeros
from symc.test_utils.comparing import default_context, default_dtype

Function = Callable[..., Any]


def assign_each(the_input: Any, function: Function | None) -> Array:
    """A float64 array of what `function` makes of every element; a copy of the input without one."""
    source = np.asarray(the_input)
    if function is None:
        return np.array(source)
    made = np.zeros(source.shape)
    for index, value in np.ndenumerate(source):
        made[index] = function(value)
    return made


def assign_each2(input1: Any, input2: Any, function: Function | None) -> Array:
    """As assign_each, of the elements of two arrays of one shape."""
    left, right = np.asarray(input1), np.asarray(input2)
    if function is None:
        return np.array(left)
    if left.shape != right.shape:
        raise AssertionError(f"the arrays have shapes {left.shape} and {right.shape}")
    made = np.zeros(left.shape)
    for index, value in np.ndenumerate(left):
        made[index] = function(value, right[index])
    return made


def shuffle_csr_column_indices(csr: Any) -> None:
    """Put the columns of each row of SciPy's csr matrix into a random order (the values stay: another matrix)."""
    for begin, end in zip(csr.indptr[:-1], csr.indptr[1:]):
        part = np.array(csr.indices[begin:end])
        np.random.shuffle(part)
        csr.indices[begin:end] = part


def _check(shape: Sequence[int], density: float, distribution: str) -> None:
    rows, columns = shape
    if rows <= 0 or columns <= 0:
        raise ValueError(f"a random csr array has rows and columns, not shape {tuple(shape)}")
    if not 0 <= density <= 1:
        raise ValueError(f"density={density} is not between 0 and 1")
    if distribution == "powerlaw" and int(rows * columns * density) < 2 * rows:
        raise ValueError(
            f"a density of {density} is too small for ({rows}, {columns}): the power law needs two elements a row"
        )


def _uniform(shape: Sequence[int], density: float, dtype: Any, data_init: Any, shuffled: bool) -> CSRNDArray:
    """As many elements as the density says, at random places."""
    rows, columns = shape
    count = int(round(density * rows * columns))
    places = np.sort(np.random.choice(rows * columns, count, replace=False))
    values = np.random.uniform(size=count) if data_init is None else np.full(count, data_init)
    indptr = np.searchsorted(places, np.arange(rows + 1) * columns)
    indices = places % columns
    if shuffled:
        for begin, end in zip(indptr[:-1], indptr[1:]):
            np.random.shuffle(indices[begin:end])
    return csr_matrix((values.astype(dtype), indices, indptr), shape=tuple(shape), dtype=dtype)


def _powerlaw(shape: Sequence[int], density: float, dtype: Any) -> NDArray:
    """An element in every row, and then twice as many in each row as in the one before, from the left."""
    rows, columns = shape
    left = int(rows * columns * density)
    counts = np.zeros(rows, np.int64)
    for row in range(rows):
        if not left:
            break
        counts[row], left = 1, left - 1
    for row in range(rows):
        more = min(columns, 2 ** min(row + 1, 62)) - 1
        taken = min(more, left)
        counts[row] += taken
        left -= taken
        if not left:
            break
    if left:
        raise ValueError(f"a density of {density} is too large for the power law on ({rows}, {columns})")
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    values = (1 + np.random.uniform(0.001, 2, size=len(indices))).astype(dtype)
    return csr_matrix((values, indices, indptr), shape=tuple(shape), dtype=dtype)


def rand_sparse_ndarray(
    shape: Sequence[int], stype: str, density: float | None = None, dtype: Any = None, distribution: str | None = None,
    data_init: Any = None, rsp_indices: Any = None, modifier_func: Function | None = None,
    shuffle_csr_indices: bool = False, ctx: Context | None = None,
) -> tuple[BaseSparseNDArray, tuple[Any, ...]]:  # fmt: skip
    """(A random sparse array, its parts): (indptr, indices, data) of csr, (data, indices) as numpy's of row_sparse.

    `density` is the share of elements, or of rows, that are stored (by default a random one). The distribution
    "powerlaw" of csr has twice as many elements in each row as in the one before. `data_init` is the value of all
    elements, `modifier_func` changes each, `rsp_indices` says which rows are stored.
    """
    ctx = ctx or default_context()
    density = float(np.random.rand()) if density is None else density
    dtype = default_dtype() if dtype is None else dtype
    distribution = distribution or "uniform"
    if stype == "csr":
        if len(shape) != 2 or distribution not in ("uniform", "powerlaw"):
            raise AssertionError(f"no csr array of shape {shape} and distribution {distribution!r}")
        _check(shape, density, distribution)
        made = (
            _powerlaw(shape, density, dtype)
            if distribution == "powerlaw"
            else _uniform(shape, density, dtype, data_init, shuffle_csr_indices)
        )
        csr = made.as_in_context(ctx)
        assert isinstance(csr, CSRNDArray)
        return csr, (csr.indptr, csr.indices, csr.data)
    if stype != "row_sparse" or distribution != "uniform":
        raise AssertionError(f"no arrays of storage type {stype!r} and distribution {distribution!r}")
    rows = np.flatnonzero(np.random.rand(shape[0]) < density) if rsp_indices is None else np.asarray(rsp_indices)
    if len(rows) > shape[0]:
        raise AssertionError(f"{len(rows)} rows for an array of {shape[0]}")
    if not len(rows):
        empty = zeros("row_sparse", shape, ctx, dtype)
        assert isinstance(empty, BaseSparseNDArray)
        return empty, (np.array([], dtype=dtype), np.array([]))
    values = np.random.rand(len(rows), *shape[1:]).astype(dtype)
    if data_init is not None:
        values.fill(data_init)
    if modifier_func is not None:
        values = assign_each(values, modifier_func)
    return row_sparse_array((values, rows), tuple(shape), ctx, dtype), (values, rows)


def rand_ndarray(
    shape: Sequence[int], stype: str = "default", density: float | None = None, dtype: Any = None,
    modifier_func: Function | None = None, shuffle_csr_indices: bool = False, distribution: str | None = None,
    ctx: Context | None = None, scale: float = 1.0, loc: float = 0.0,
) -> NDArray:  # fmt: skip
    """A random array: dense, of uniform values around `loc`, or sparse (see rand_sparse_ndarray)."""
    if stype == "default":
        values = np.random.uniform(-scale, scale, size=tuple(shape)) + loc
        return nd.array(values, ctx=ctx or default_context(), dtype=dtype or default_dtype())
    return rand_sparse_ndarray(
        shape, stype, density, dtype, distribution, None, None, modifier_func, shuffle_csr_indices, ctx
    )[0]  # fmt: skip


def create_sparse_array(
    shape: Sequence[int], stype: str, data_init: Any = None, rsp_indices: Any = None, dtype: Any = None,
    modifier_func: Function | None = None, density: float = 0.5, shuffle_csr_indices: bool = False,
) -> BaseSparseNDArray:  # fmt: skip
    """A random sparse array; `rsp_indices` (in any order) says which rows of a row_sparse one are stored."""
    if stype not in ("csr", "row_sparse"):
        raise AssertionError(f"a sparse array is csr or row_sparse, not {stype!r}")
    rows = None if rsp_indices is None or stype == "csr" else np.sort(np.asarray(rsp_indices, np.int64))
    return rand_sparse_ndarray(
        shape, stype, density, dtype, None, data_init, rows, modifier_func, shuffle_csr_indices and stype == "csr"
    )[0]  # fmt: skip


def create_sparse_array_zd(
    shape: Sequence[int], stype: str, density: float, data_init: Any = None, rsp_indices: Any = None, dtype: Any = None,
    modifier_func: Function | None = None, shuffle_csr_indices: bool = False,
) -> BaseSparseNDArray:  # fmt: skip
    """create_sparse_array, where only `rsp_indices` says what a row_sparse array stores."""
    return create_sparse_array(
        shape, stype, data_init, rsp_indices, dtype, modifier_func, 0.0 if stype == "row_sparse" else density,
        shuffle_csr_indices,
    )  # fmt: skip
