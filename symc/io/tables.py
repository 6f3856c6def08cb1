"""Batches of rows of text files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.io.base import DataBatch, DataDesc, DataIter
from symc.ir.types import Array
from symc.ndarray import array


class CSVIter(DataIter):
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
        self._data, self._label, self._round, self._row = data, label, round_batch, 0
        self.provide_data = [DataDesc(data_name, (batch_size, *data.shape[1:]), data.dtype)]
        self.provide_label = [DataDesc(label_name, (batch_size, *label.shape[1:]), label.dtype)]

    def reset(self) -> None:
        """To the next pass."""
        beyond = max(self._row - len(self._data), 0)
        self._row = beyond % len(self._data) if self._round else 0

    def next(self) -> DataBatch:
        """The next batch; StopIteration behind the last row."""
        if self._row >= len(self._data):
            raise StopIteration
        rows = np.arange(self._row, self._row + self.batch_size)
        self._row += self.batch_size
        pad, rows = max(self._row - len(self._data), 0), rows % len(self._data)
        given = [array(a[rows], dtype=a.dtype) for a in (self._data, self._label)]
        return DataBatch(
            given[:1], given[1:], pad, rows, provide_data=self.provide_data, provide_label=self.provide_label
        )  # fmt: skip


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
