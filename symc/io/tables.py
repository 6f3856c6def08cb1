"""Batches of rows of text files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.io.base import DataBatch, DataDesc, MXDataIter
from symc.ir.types import Array
from symc.ndarray import NDArray, array, take
from symc.ndarray.sparse import csr_matrix


class _Rows(MXDataIter):
    """Base: batches of rows, one after the other. The last is filled from the beginning, and `pad` says how many rows
    of it are. With `_round` these rows count as read: the next pass goes on behind them, as MXNet's does."""

    _count = 0
    _round = True
    _row = 0

    def _taken(self, rows: Array) -> tuple[NDArray, NDArray]:
        """Data and labels of these rows."""
        raise NotImplementedError

    def reset(self) -> None:
        """To the next pass."""
        beyond = max(self._row - self._count, 0)
        self._row = beyond % self._count if self._round else 0

    def advance(self) -> DataBatch | None:
        if self._row >= self._count:
            return None
        rows = np.arange(self._row, self._row + self.batch_size)
        self._row += self.batch_size
        pad, rows = max(self._row - self._count, 0), rows % self._count
        data, label = self._taken(rows)
        return DataBatch(
            [data], [label], pad, rows, provide_data=self.provide_data, provide_label=self.provide_label
        )  # fmt: skip


class CSVIter(_Rows):
    """Batches of rows of comma-separated files; each row is a sample of `data_shape`. Without `label_csv` labels are 0.

    The last batch is filled from the beginning, and `pad` says how many rows of it are. With `round_batch` these rows
    count as read: the next pass goes on behind them, as MXNet's does; without, every pass has every row once.
    """

    def __init__(
        self, data_csv: str, data_shape: Sequence[int], label_csv: str | None = None, label_shape: Sequence[int] = (1,),
        batch_size: int = 1, round_batch: bool = True, dtype: Any = np.float32, data_name: str = "data",
        label_name: str = "softmax_label", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        data = _read_csv(data_csv, data_shape, dtype)
        label = _read_csv(label_csv, label_shape, dtype) if label_csv else np.zeros((len(data), *label_shape), dtype)
        if tuple(label_shape) == (1,):
            label = label.reshape(-1)
        if len(data) != len(label) or not len(data):
            raise MXNetError(f"{data_csv} has {len(data)} rows, and its labels {len(label)}")
        self._data, self._label, self._round, self._count = data, label, round_batch, len(data)
        self.provide_data = [DataDesc(data_name, (batch_size, *data.shape[1:]), data.dtype)]
        self.provide_label = [DataDesc(label_name, (batch_size, *label.shape[1:]), label.dtype)]

    def _taken(self, rows: Array) -> tuple[NDArray, NDArray]:
        data, label = (array(a[rows], dtype=a.dtype) for a in (self._data, self._label))
        return data, label


class LibSVMIter(_Rows):
    """Batches of rows of LibSVM files, `label index:value index:value ...`, as csr arrays; indices count from 0, and
    the first number of a line is the label. With `label_libsvm` the labels are the rows of that file, csr arrays too.

    As in MXNet the last batch is filled from the beginning, and the next pass goes on behind these rows. MXNetError for
    a file that is not of this form, or has indices outside of the shapes, and for round_batch=False and parts of files.
    """

    def __init__(
        self, data_libsvm: str, data_shape: Sequence[int], label_libsvm: str | None = None,
        label_shape: Sequence[int] = (1,), batch_size: int = 1, round_batch: bool = True, num_parts: int = 1,
        part_index: int = 0, dtype: Any = np.float32, data_name: str = "data", label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        if not round_batch or num_parts != 1:
            raise MXNetError("LibSVMIter: round_batch is True and num_parts is 1; split the file for several readers")
        if len(data_shape) != 1 or len(label_shape) != 1:
            raise MXNetError(f"LibSVMIter: rows are vectors, not of shape {tuple(data_shape)}, {tuple(label_shape)}")
        self._data, first = _read_libsvm(data_libsvm, data_shape[0], dtype)
        self._label: NDArray = array(first, dtype=dtype)
        if label_libsvm is not None:
            if label_shape[0] <= 1:
                raise MXNetError("LibSVMIter: label_shape is the length of the rows of label_libsvm, more than 1")
            self._label, _ = _read_libsvm(label_libsvm, label_shape[0], dtype)
        self._count = len(self._data)
        if len(self._label) != self._count or not self._count:
            raise MXNetError(f"{data_libsvm} has {self._count} rows, and its labels {len(self._label)}")
        self.provide_data = [DataDesc(data_name, (batch_size, *self._data.shape[1:]), self._data.dtype)]
        self.provide_label = [DataDesc(label_name, (batch_size, *self._label.shape[1:]), self._label.dtype)]

    def _taken(self, rows: Array) -> tuple[NDArray, NDArray]:
        chosen = array(rows, dtype=np.int64)
        data, label = (take(a, chosen) for a in (self._data, self._label))
        return data, label


def _read_libsvm(path: str, columns: int, dtype: Any) -> tuple[NDArray, list[float]]:
    """The rows of a file as a csr array, and the first numbers of its lines."""
    labels, values, rows, indices, number = [], [], [], [], 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                number += 1
                parts = line.split("#")[0].split()
                if not parts:
                    continue
                labels.append(float(parts[0].split(":")[0]))
                for part in parts[1:]:
                    at, _, value = part.partition(":")
                    rows.append(len(labels) - 1)
                    indices.append(int(at))
                    values.append(float(value) if value else 1.0)
    except OSError as problem:
        raise MXNetError(f"LibSVMIter cannot read {path}: {problem}") from None
    except ValueError as problem:
        raise MXNetError(f"{path}, line {number}: this is not `label index:value ...`: {problem}") from None
    coordinates = (np.array(values, dtype), (np.array(rows, np.int64), np.array(indices, np.int64)))
    try:
        made = csr_matrix(coordinates, (len(labels), columns))
    except ValueError:
        raise MXNetError(
            f"{path}: rows have {columns} elements, but there are indices {min(indices)} to {max(indices)}"
        ) from None
    return made, labels


def _read_csv(path: str, shape: Sequence[int], dtype: Any) -> Array:
    """Rows of a file as samples. MXNetError for what is no table of numbers of that shape."""
    try:
        rows = np.loadtxt(path, dtype=dtype, delimiter=",", ndmin=2, encoding="utf-8")
    except (ValueError, OverflowError) as problem:
        raise MXNetError(f"{path} is no table of comma-separated numbers: {problem}") from None
    try:
        return rows.reshape(-1, *shape)
    except ValueError:
        raise MXNetError(
            f"{path}: rows of {rows.shape[1]} numbers do not make samples of shape {tuple(shape)}"
        ) from None
