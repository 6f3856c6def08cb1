"""CSRNDArray and RowSparseNDArray: arrays that store what is not zero.

A csr matrix stores its elements row by row: `data`, their columns `indices`, and where each row begins, `indptr`. A
row_sparse array stores whole rows: `data` of shape (stored rows, ...) and their numbers `indices`, ascending. What is
not stored is zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.context import Context, cpu
from symc.ir.prims.numeric import cast_numpy
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray, _dtype, array
from symc.runtime.memory import zeros as allocate_zeros

INDEX = np.dtype(np.int64)


class NotSupportedForSparseNDArray(MXNetError):
    """A method of dense arrays was called on a sparse one."""

    def __init__(self, function: Callable[..., Any], alias: str | None, *args: Any) -> None:
        super().__init__()
        self.function, self.alias = function.__name__, alias
        self.args = tuple(str(type(a)) for a in args)

    def __str__(self) -> str:
        alias = f" (namely operator {self.alias!r})" if self.alias else ""
        given = f" with arguments ({', '.join(self.args)})" if self.args else ""
        return f"{self.function}{alias}{given} is for dense arrays only: call tostype('default') first"


class BaseSparseNDArray(NDArray):
    """Base of the two: a shape, the stored values, and index arrays that say where they are.

    Wherever a dense array is wanted, `_read` is one of the same content, made anew and read-only: a write that cannot
    reach the stored values is an error, never lost.
    """

    __slots__ = ("_aux", "_shape", "_values")
    _sparse = True
    _stype = ""

    @classmethod
    def _from(
        cls, values: Array, aux: Sequence[Array], shape: Sequence[int], ctx: Context | None = None
    ) -> BaseSparseNDArray:
        """An array over these very arrays; what is in them is not checked (`check_format` does)."""
        made = cls.__new__(cls)
        made._values, made._aux, made._shape, made._ctx = values, list(aux), tuple(map(int, shape)), ctx or cpu()
        made._entry = None
        return made

    # -- what each kind says

    @classmethod
    def _stored(cls, dense: Array) -> tuple[Array, list[Array]]:
        """The values and index arrays of a dense array."""
        raise NotImplementedError

    @classmethod
    def _nothing(cls, shape: tuple[int, ...], dtype: Any) -> tuple[Array, list[Array]]:
        """The values and index arrays of zeros."""
        raise NotImplementedError

    def _dense(self) -> Array:
        made = allocate_zeros(self._shape, self._values.dtype)
        self._put_into(made)
        return made

    def _dense_into(self, out: Array) -> None:
        """Write the content into a dense array."""
        out[...] = 0
        self._put_into(out)

    def _put_into(self, zeros: Array) -> None:
        """Write what is stored into an array of zeros."""
        raise NotImplementedError

    # -- facts

    @property
    def _read(self) -> Array:  # type: ignore[override]
        dense = self._dense()
        dense.flags.writeable = False
        return dense

    _data = _read

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def dtype(self) -> type:
        return self._values.dtype.type

    @property
    def stype(self) -> str:
        return self._stype

    @property
    def size(self) -> int:
        """NotImplementedError: it could be the number of all elements or of the stored ones."""
        raise NotImplementedError(f"size is ambiguous for {type(self).__name__}: take len(x.data) or multiply x.shape")

    @property
    def data(self) -> NDArray:
        """A copy of the stored values."""
        return NDArray._of(self._values.copy(), self._ctx)

    @property
    def indices(self) -> NDArray:
        """A copy of the columns (csr) or rows (row_sparse) of what is stored."""
        return NDArray._of(self._aux[-1].copy(), self._ctx)

    @property
    def _num_aux(self) -> int:
        return len(self._aux)

    @property
    def _aux_types(self) -> list[type]:
        return [a.dtype.type for a in self._aux]

    def _aux_type(self, i: int) -> type:
        return self._aux[i].dtype.type

    def _aux_data(self, i: int) -> NDArray:
        return NDArray._of(self._aux[i].copy(), self._ctx)

    def __repr__(self) -> str:
        return f"\n<{type(self).__name__} {'x'.join(map(str, self.shape))} @{self._ctx}>"

    def __bool__(self) -> bool:
        elements = int(np.prod(self.shape))
        if elements == 1:
            return bool(self._dense().reshape(-1)[0])
        if elements == 0:
            return False
        raise ValueError(f"an array of shape {self.shape} is neither true nor false")

    def asscalar(self) -> Any:
        """The value of an array of one element."""
        return self.tostype("default").asscalar()

    # -- other forms

    def tostype(self, stype: str) -> NDArray:
        """A copy of another storage type: "default" or its own. ValueError for the other sparse one."""
        return cast_storage(self, stype, copy=True)

    def asnumpy(self) -> Array:
        """A dense numpy copy."""
        return self._dense()

    def copy(self) -> NDArray:
        return cast_storage(self, self.stype, copy=True)

    def detach(self) -> NDArray:
        return self._from(self._values, self._aux, self._shape, self._ctx)

    def astype(self, dtype: Any, copy: bool = True) -> NDArray:
        """The content in another element type; the same places are stored."""
        dtype = _dtype(dtype)
        if not copy and dtype == self._values.dtype:
            return self
        values = cast_numpy(self._values, dtype) if dtype != self._values.dtype else self._values.copy()
        return self._from(values, [a.copy() for a in self._aux], self._shape, self._ctx)

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Copy into another array (dense, or of this storage type), or to a context as a new one."""
        if isinstance(other, Context):
            other.check()
            made = self.copy()
            made._ctx = other
            return made
        if not isinstance(other, NDArray):
            raise TypeError(f"copyto takes an NDArray or a Context, not {type(other).__name__}")
        if other.stype not in ("default", self.stype):
            raise TypeError(f"a {self.stype} array cannot be copied into a {other.stype} one; convert it with tostype")
        if other is self:
            warnings.warn("an array is copied to itself", RuntimeWarning, stacklevel=2)
            return other
        if other.shape != self.shape:
            raise MXNetError(f"copyto: shapes {self.shape} and {other.shape} differ")
        other._receive(self)
        return other

    def _receive(self, source: NDArray) -> None:
        """Become what another array of the same shape is, in this array's element type."""
        dtype = self._values.dtype
        if source.stype == self.stype:
            assert isinstance(source, BaseSparseNDArray)
            values, aux = source._values, [a.copy() for a in source._aux]
        else:
            values, aux = self._stored(source._read)
        values = cast_numpy(values, dtype) if values.dtype != dtype else values.copy()
        if values.shape == self._values.shape:
            # who looks at this memory sees the new values
            self._values[...] = values
        else:
            self._values = values
        self._aux = aux

    def check_format(self, full_check: bool = True) -> None:
        """MXNetError if the index arrays do not say where in an array of this shape the values are. Without
        `full_check` only their sizes are looked at."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {
            "values": self._values, "aux": self._aux, "shape": self._shape,
            "ctx": (self._ctx.device_type, self._ctx.device_id),
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._values, self._aux, self._shape = state["values"], state["aux"], state["shape"]
        self._ctx, self._entry = Context(*state["ctx"]), None

    # -- assignment, and what there is for dense arrays only

    def __setitem__(self, key: Any, value: Any) -> None:
        name = type(self).__name__
        if not isinstance(key, slice):
            if not isinstance(key, (int, tuple)):
                raise AssertionError(f"{name} is assigned as a whole: x[:] = value")
            raise TypeError(f"{name} is assigned as a whole: x[:] = value")
        if key != slice(None):
            raise ValueError(f"no part of a {name} can be assigned: write x[:] = value")
        if isinstance(value, NDArray):
            if value is not self:
                value.copyto(self)
        elif isinstance(value, (int, float, bool, np.generic)) and np.ndim(value) == 0:
            self._fill(value)
        elif isinstance(value, np.ndarray):
            array(value).copyto(self)
        else:
            raise TypeError(f"a {name} cannot become a {type(value).__name__}")

    def _fill(self, value: Any) -> None:
        raise ValueError(f"a {type(self).__name__} cannot be filled with {value}: it would store every element")

    def reshape(self, *shape: Any, **kwargs: Any) -> NDArray:
        """NotSupportedForSparseNDArray."""
        raise NotSupportedForSparseNDArray(self.reshape, None, shape)

    def _slice(self, start: Any, stop: Any) -> NDArray:
        raise NotSupportedForSparseNDArray(self._slice, None, start, stop)

    def _at(self, idx: Any) -> NDArray:
        raise NotSupportedForSparseNDArray(self._at, "[idx]", idx)

    @property
    def T(self) -> NDArray:
        """The axes reversed, as a dense array."""
        return self.tostype("default").T

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(f"a {type(self).__name__} cannot be seen as a numpy array without a copy")
        dense = self._dense()
        return dense if dtype is None else dense.astype(dtype)


class CSRNDArray(BaseSparseNDArray):
    """A matrix in compressed sparse row format: row i has the columns `indices[indptr[i]:indptr[i + 1]]` and there the
    values of `data`."""

    __slots__ = ()
    _stype = "csr"

    @classmethod
    def _stored(cls, dense: Array) -> tuple[Array, list[Array]]:
        if dense.ndim != 2:
            raise ValueError(f"csr storage has 2 dimensions, but the array has shape {dense.shape}")
        rows, columns = np.nonzero(dense)
        indptr = np.zeros(dense.shape[0] + 1, INDEX)
        np.cumsum(np.bincount(rows, minlength=dense.shape[0]), out=indptr[1:])
        return dense[rows, columns], [indptr, columns.astype(INDEX, copy=False)]

    @classmethod
    def _nothing(cls, shape: tuple[int, ...], dtype: Any) -> tuple[Array, list[Array]]:
        if len(shape) != 2:
            raise ValueError(f"csr storage has 2 dimensions, but shape {shape} has {len(shape)}")
        return np.zeros(0, dtype), [np.zeros(shape[0] + 1, INDEX), np.zeros(0, INDEX)]

    def _row_numbers(self) -> Array:
        """The row of every stored value."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self._aux[0]))

    def _put_into(self, zeros: Array) -> None:
        if self._values.size:
            zeros[self._row_numbers(), self._aux[1]] = self._values

    @property
    def indptr(self) -> NDArray:
        """A copy of where each row begins."""
        return self._aux_data(0)

    def asscipy(self) -> Any:
        """A scipy.sparse.csr_matrix of the same content. ImportError without SciPy."""
        from scipy.sparse import csr_matrix

        parts = (self._values.copy(), self._aux[1].copy(), self._aux[0].copy())
        return csr_matrix(parts, shape=self.shape, dtype=self.dtype)

    def check_format(self, full_check: bool = True) -> None:
        indptr, indices = self._aux
        rows, columns = self.shape
        if len(indptr) != rows + 1 or len(indices) != len(self._values):
            raise MXNetError(
                f"indptr of a csr array of shape {self.shape} has {rows + 1} elements and indices as many as data; "
                f"there are {len(indptr)}, {len(indices)} and {len(self._values)}"
            )
        if not full_check:
            return
        if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
            raise MXNetError(
                f"indptr of a csr array must not descend from 0 to the number of values, {len(indices)}, but is "
                f"{_shown(indptr)}"
            )
        same_row = np.diff(self._row_numbers()) == 0
        if indices.size and (indices.min() < 0 or indices.max() >= columns or (np.diff(indices)[same_row] <= 0).any()):
            raise MXNetError(
                f"indices of a csr array must ascend in each row, within 0 and {columns - 1}, but are {_shown(indices)}"
            )

    def __getitem__(self, key: Any) -> Any:
        """Rows: one as a matrix of one row, or a slice without a step."""
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            at = int(key) + (self.shape[0] if key < 0 else 0)
            if not 0 <= at < self.shape[0]:
                raise IndexError(f"row {key} is out of bounds for a csr array of shape {self.shape}")
            return self._rows(at, at + 1)
        if isinstance(key, slice):
            if key.step is not None:
                raise ValueError(f"rows of a csr array are taken one after the other, not by steps of {key.step}")
            if key.start is None and key.stop is None:
                return self
            begin, end, _ = key.indices(self.shape[0])
            return self._rows(begin, max(begin, end))
        if isinstance(key, tuple):
            raise ValueError("a sparse array has no index of several dimensions; call tostype('default') first")
        raise ValueError(f"a csr array cannot be indexed by {key!r}: rows are an int or a slice")

    def _rows(self, begin: int, end: int) -> CSRNDArray:
        indptr, indices = self._aux
        span = slice(indptr[begin], indptr[end])
        aux = [indptr[begin : end + 1] - indptr[begin], indices[span].copy()]
        made = self._from(self._values[span].copy(), aux, (end - begin, self.shape[1]), self._ctx)
        assert isinstance(made, CSRNDArray)
        return made

    def _columns(self, begin: int, end: int) -> CSRNDArray:
        indptr, indices = self._aux
        kept = (indices >= begin) & (indices < end)
        counts = np.concatenate([[0], np.cumsum(kept)])
        made = self._from(
            self._values[kept], [counts[indptr].astype(INDEX), indices[kept] - begin], (self.shape[0], end - begin),
            self._ctx,
        )  # fmt: skip
        assert isinstance(made, CSRNDArray)
        return made


class RowSparseNDArray(BaseSparseNDArray):
    """An array of which some rows are stored, `data`, with their numbers, `indices`. Gradients of embeddings are such
    arrays, and the weights that they belong to may be."""

    __slots__ = ()
    _stype = "row_sparse"

    @classmethod
    def _stored(cls, dense: Array) -> tuple[Array, list[Array]]:
        if not dense.ndim:
            raise ValueError("row_sparse storage has at least 1 dimension, but the array is a scalar")
        rows = np.flatnonzero((dense.reshape(dense.shape[0], -1) != 0).any(axis=1)).astype(INDEX, copy=False)
        return dense[rows], [rows]

    @classmethod
    def _nothing(cls, shape: tuple[int, ...], dtype: Any) -> tuple[Array, list[Array]]:
        return np.zeros((0, *shape[1:]), dtype), [np.zeros(0, INDEX)]

    def _put_into(self, zeros: Array) -> None:
        zeros[self._aux[0]] = self._values

    def _fill(self, value: Any) -> None:
        dtype, shape = self._values.dtype, self._shape
        if self._values.shape != shape:
            self._values = np.zeros(shape, dtype)
        self._values[...] = cast_numpy(np.asarray(value), dtype)
        self._aux = [np.arange(shape[0])]

    def check_format(self, full_check: bool = True) -> None:
        rows = self._aux[0]
        if len(rows) != len(self._values) or len(rows) > self.shape[0]:
            raise MXNetError(
                f"a row_sparse array of shape {self.shape} has {len(self._values)} rows of data and {len(rows)} indices"
            )
        if full_check and rows.size and (rows[0] < 0 or rows[-1] >= self.shape[0] or (np.diff(rows) <= 0).any()):
            raise MXNetError(
                f"indices of a row_sparse array must ascend, within 0 and {self.shape[0] - 1}, but are {_shown(rows)}"
            )

    def __getitem__(self, key: Any) -> Any:
        """The array itself, for [:]."""
        if isinstance(key, slice) and key == slice(None):
            return self
        if isinstance(key, tuple):
            raise ValueError("a sparse array has no index of several dimensions; call tostype('default') first")
        raise TypeError("a row_sparse array has no parts but [:]; take rows with x.retain(indices)")

    def _retained(self, rows: Array) -> RowSparseNDArray:
        """Only these rows (zeros where they are not stored), in the order given."""
        held = self._aux[0]
        values = np.zeros((len(rows), *self.shape[1:]), self._values.dtype)
        if held.size:
            place = np.minimum(np.searchsorted(held, rows), len(held) - 1)
            found = held[place] == rows
            values[found] = self._values[place[found]]
        made = self._from(values, [rows.astype(INDEX)], self._shape, self._ctx)
        assert isinstance(made, RowSparseNDArray)
        return made

    def retain(self, indices: NDArray) -> NDArray:
        """Only these rows (zeros where they are not stored)."""
        return self._retained(indices._read.reshape(-1).astype(INDEX))

    def _write_rows(self, rows: Array, values: Array) -> None:
        """Replace rows (ascending); those that are not stored yet are from now on."""
        held = self._aux[0]
        if len(held) == self.shape[0]:
            self._values[rows] = values
            return
        all_rows = np.union1d(held, rows)
        if len(all_rows) != len(held):
            grown = np.zeros((len(all_rows), *self.shape[1:]), self._values.dtype)
            grown[np.searchsorted(all_rows, held)] = self._values
            self._values, self._aux = grown, [all_rows]
        self._values[np.searchsorted(all_rows, rows)] = values


KINDS: dict[str, type[BaseSparseNDArray]] = {"csr": CSRNDArray, "row_sparse": RowSparseNDArray}


def kind_of(stype: str) -> type[BaseSparseNDArray]:
    """The class of a sparse storage type. ValueError if there is none of that name."""
    if stype not in KINDS:
        raise ValueError(f"unknown storage type {stype!r}: there are default, {', '.join(KINDS)}")
    return KINDS[stype]


def cast_storage(source: NDArray, stype: str, copy: bool = False) -> NDArray:
    """An array of the same content in another storage type; with `copy` never the array itself. ValueError from one
    sparse type to the other."""
    if source.stype == stype:
        if not copy:
            return source
        if not isinstance(source, BaseSparseNDArray):
            return source.copy()
        return source._from(source._values.copy(), [a.copy() for a in source._aux], source._shape, source._ctx)
    if stype == "default":
        assert isinstance(source, BaseSparseNDArray)
        return NDArray._of(source._dense(), source._ctx)
    kind = kind_of(stype)
    if source.stype != "default":
        raise ValueError(f"cast_storage from {source.stype} to {stype} is not supported")
    return kind._from(*kind._stored(source._read), source.shape, source._ctx)


def _shown(values: Array) -> str:
    return np.array2string(values, threshold=10, separator=", ")
