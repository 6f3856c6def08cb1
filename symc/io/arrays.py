"""Batches of arrays that are in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.io.base import DataBatch, DataDesc, DataIter
from symc.ir.types import Array
from symc.ndarray import NDArray, array, take
from symc.ndarray.sparse.creation import scipy_csr


class NDArrayIter(DataIter):
    """Batches of arrays in memory: one array, a list, or a dict by name. Batches of csr arrays (or SciPy's) are csr.

    The last batch, where the data does not fill it: "pad" repeats from the beginning, "discard" leaves it out,
    "roll_over" keeps it for the next epoch. `shuffle` draws a new order (numpy's global random state) at every reset;
    `data` and `label` are then in this order, too, so that what a net says can be compared with them.
    Of arrays with more samples than the first one's the first samples count; with fewer there is a ValueError.
    NotImplementedError: a csr array with another handling than "discard".
    """

    def __init__(
        self, data: Any, label: Any = None, batch_size: int = 1, shuffle: bool = False, last_batch_handle: str = "pad",
        data_name: str = "data", label_name: str = "softmax_label", layout: str = "NCHW",
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        if last_batch_handle not in ("pad", "discard", "roll_over"):
            raise ValueError(f"last_batch_handle is 'pad', 'discard' or 'roll_over', got {last_batch_handle!r}")
        self.layout, self.shuffle, self.last_batch_handle = layout, shuffle, last_batch_handle
        self._axis = layout.find("N")
        if data is None:
            raise ValueError("NDArrayIter needs data")
        self.data = _init_data(data, False, data_name)
        self.label = _init_data(label, True, label_name)
        for name, source in [*self.data, *self.label]:
            if source.stype == "csr" and last_batch_handle != "discard":
                raise NotImplementedError(
                    f"NDArrayIter: {name!r} is a csr array, whose last batch can only be left out; pass "
                    f"last_batch_handle='discard', got {last_batch_handle!r}"
                )
        self.num_data = self.data[0][1].shape[self._axis]
        for name, source in [*self.data, *self.label]:
            if source.shape[self._axis] < self.num_data:
                raise ValueError(
                    f"NDArrayIter: {name!r} has {source.shape[self._axis]} samples, {self.data[0][0]!r} {self.num_data}"
                )
        self.num_source = len(self.data) + len(self.label)
        self.idx = np.arange(self.num_data)
        self.cursor = -batch_size
        #: samples left over from the epoch before: where they stand now
        self._left: Array = np.zeros(0, np.int64)
        self._begin()
        self.data_list = [a for _, a in [*self.data, *self.label]]

    @property
    def provide_data(self) -> list[DataDesc]:
        """Descriptions of the data."""
        return self._describe(self.data)

    @property
    def provide_label(self) -> list[DataDesc]:
        """Descriptions of the labels."""
        return self._describe(self.label)

    def _describe(self, sources: Sequence[tuple[str, NDArray]]) -> list[DataDesc]:
        a = self._axis
        return [
            DataDesc(n, (*s.shape[:a], self.batch_size, *s.shape[a + 1 :]), s.dtype, self.layout) for n, s in sources
        ]

    def _begin(self) -> None:
        if self.shuffle:
            # permutes what the last epoch permuted, as MXNet does: the same numpy seed gives the same batches
            np.random.shuffle(self.idx)
            self.data, self.label = self._in_order(self.data), self._in_order(self.label)
            self._left = np.argsort(self.idx)[self._left]
        self.cursor = -self.batch_size - len(self._left)

    def _in_order(self, sources: Sequence[tuple[str, NDArray]]) -> list[tuple[str, NDArray]]:
        """The samples as `idx` has them. Arrays of their own: batches may be views of those of the pass before."""
        return [(name, _rows(source, self.idx, self._axis)) for name, source in sources]

    def reset(self) -> None:
        """Begin again; with "roll_over" the samples left over come first."""
        if self.last_batch_handle == "roll_over" and 0 < self.num_data - self.cursor < self.batch_size:
            self._left = self._order()[self.cursor + self._shift :]
        else:
            self._left = self._left[:0]
        self._begin()

    def hard_reset(self) -> None:
        """Begin again and forget what was left over."""
        self._left = self._left[:0]
        self._begin()

    @property
    def _shift(self) -> int:
        return len(self._left)

    def _order(self) -> Array:
        return np.concatenate([self._left, np.arange(self.num_data)])

    def iter_next(self) -> bool:
        self.cursor += self.batch_size
        return self.cursor < self.num_data

    def next(self) -> DataBatch:
        if not self.iter_next():
            raise StopIteration
        if self.cursor + self.batch_size > self.num_data and self.last_batch_handle != "pad":
            raise StopIteration
        return DataBatch(self.getdata(), self.getlabel(), self.getpad(), None)

    def _pick(self) -> Array:
        """Numbers of this batch's samples."""
        order, begin = self._order(), self.cursor + self._shift
        chosen = order[begin : begin + self.batch_size]
        missing = self.batch_size - len(chosen)
        if missing and self.last_batch_handle == "pad":
            chosen = np.concatenate([chosen, np.resize(np.arange(self.num_data), missing)])
        return chosen

    def _take(self, sources: Sequence[tuple[str, NDArray]]) -> list[NDArray]:
        if self.cursor >= self.num_data:
            raise AssertionError("DataIter needs reset.")
        begin = self.cursor + self._shift
        if self._axis == 0 and not self._shift and begin + self.batch_size <= self.num_data:
            return [s[begin : begin + self.batch_size] for _, s in sources]
        chosen = self._pick()
        return [_rows(s, chosen, self._axis) for _, s in sources]

    def getdata(self) -> list[NDArray]:
        return self._take(self.data)

    def getlabel(self) -> list[NDArray]:
        return self._take(self.label)

    def getpad(self) -> int:
        if self.last_batch_handle == "pad":
            return max(0, self.cursor + self.batch_size - self.num_data)
        return max(0, -self.cursor) if self.cursor > -self.batch_size else 0


def _rows(source: NDArray, chosen: Array, axis: int) -> NDArray:
    """These samples; of a csr array as one."""
    if source.stype == "csr" and axis == 0:
        found: NDArray = take(source, array(chosen, dtype=np.int64))
        return found
    return array(source._read.take(chosen, axis), dtype=source.dtype)


def _init_data(data: Any, allow_empty: bool, default_name: str) -> list[tuple[str, NDArray]]:
    """[(name, array)], sorted by name; iterators of programs call it with the parameters' names."""
    if data is None and not allow_empty:
        raise AssertionError(f"{default_name}: there are no arrays")
    if data is None or (allow_empty and isinstance(data, (list, tuple, dict)) and not data):
        return []
    given, default = data, default_name
    if isinstance(given, (np.ndarray, NDArray)) or scipy_csr(given):
        given = [given]
    if isinstance(given, (list, tuple)):
        if not given:
            raise AssertionError("NDArrayIter got an empty list")
        given = {default: given[0]} if len(given) == 1 else {f"_{i}_{default}": a for i, a in enumerate(given)}
    if not isinstance(given, Mapping):
        raise TypeError("Input must be NDArray, numpy.ndarray, a list of them or dict with them as values")
    found = []
    for name, source in given.items():
        try:
            found.append((name, source if isinstance(source, NDArray) else array(source)))
        except (TypeError, ValueError):
            raise TypeError(f"Invalid type '{type(source)}' for {name}, should be NDArray or numpy.ndarray") from None
    return sorted(found, key=lambda pair: pair[0])
