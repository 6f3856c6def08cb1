"""What an iterator gives: descriptions of arrays, and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from symc.base import MXNetError
from symc.ndarray import NDArray


class _Desc(NamedTuple):
    name: str
    shape: tuple[int, ...]


class DataDesc(_Desc):
    """Name and shape of an input (it is that pair), its element type and layout."""

    dtype: Any
    layout: str | None

    def __new__(cls, name: str, shape: Sequence[int], dtype: Any = np.float32, layout: str | None = "NCHW") -> DataDesc:
        made = super().__new__(cls, name, tuple(shape))
        made.dtype, made.layout = dtype, layout
        return made

    def __repr__(self) -> str:
        return f"DataDesc[{self.name},{self.shape},{self.dtype},{self.layout}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return DataDesc, (self.name, self.shape, self.dtype, self.layout)

    @staticmethod
    def get_batch_axis(layout: str | None) -> int:
        """Where the batch is in a layout; 0 if there is no layout, -1 if it has none."""
        return 0 if layout is None else layout.find("N")

    @staticmethod
    def get_list(shapes: Sequence[Any], types: Any) -> list[DataDesc]:
        """Descriptions from [(name, shape)] and [(name, type)]."""
        known = dict(types) if types is not None else {}
        return [DataDesc(s[0], s[1], known[s[0]]) if known else DataDesc(s[0], s[1]) for s in shapes]


class DataBatch:
    """Arrays of one batch. `pad` rows at the end are repeated from elsewhere; `bucket_key` selects a bucket's net."""

    def __init__(
        self, data: Sequence[NDArray] | None, label: Sequence[NDArray] | None = None, pad: int | None = None,
        index: Any = None, bucket_key: Any = None, provide_data: Any = None, provide_label: Any = None,
    ) -> None:  # fmt: skip
        for what, given in (("Data", data), ("Label", label)):
            if given is not None and not isinstance(given, (list, tuple)):
                raise AssertionError(f"{what} must be list of NDArrays")
        self.data, self.label, self.pad, self.index = data, label, pad, index
        self.bucket_key, self.provide_data, self.provide_label = bucket_key, provide_data, provide_label

    def __str__(self) -> str:
        labels = [a.shape for a in self.label] if self.label else None
        return f"{type(self).__name__}: data shapes: {[a.shape for a in self.data or []]} label shapes: {labels}"


class DataIter:
    """Base. Subclasses give `provide_data`, `provide_label`, `reset` and either `next` or `iter_next` with the
    getters."""

    provide_data: Any
    provide_label: Any

    def __init__(self, batch_size: int = 0) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[DataBatch]:
        return self

    def reset(self) -> None:
        """Back to the beginning."""

    def next(self) -> DataBatch:
        """The next batch. StopIteration at the end."""
        if not self.iter_next():
            raise StopIteration
        return DataBatch(self.getdata(), self.getlabel(), self.getpad(), self.getindex())

    def __next__(self) -> DataBatch:
        return self.next()

    def iter_next(self) -> bool:
        """Step to the next batch; False at the end."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to go on")

    def getdata(self) -> Any:
        """Data of this batch."""
        raise NotImplementedError(f"{type(self).__name__} does not give data")

    def getlabel(self) -> Any:
        """Labels of this batch; None where there are none."""
        return None

    def getindex(self) -> Any:
        """Numbers of this batch's samples."""
        return None

    def getpad(self) -> Any:
        """Number of rows at the end that do not count."""
        return 0


class MXDataIter(DataIter):
    """Base of the iterators that are C++ in MXNet: they read files. Subclasses give `advance`."""

    #: the batch that the iterator is at
    current_batch: DataBatch | None = None

    def advance(self) -> DataBatch | None:
        """The next batch; None behind the last one."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to go on")

    def iter_next(self) -> bool:
        made = self.advance()
        if made is not None:  # behind the last batch, that one stays
            self.current_batch = made
        return made is not None

    def next(self) -> DataBatch:
        if not self.iter_next():
            raise StopIteration
        assert self.current_batch is not None
        return self.current_batch

    def _current(self) -> DataBatch:
        if self.current_batch is None:
            raise MXNetError(f"{type(self).__name__} is at no batch: call next or iter_next first")
        return self.current_batch

    def getdata(self) -> NDArray:
        """The data of this batch."""
        data = self._current().data
        assert data is not None
        return data[0]

    def getlabel(self) -> NDArray:
        """The labels of this batch."""
        label = self._current().label
        assert label is not None
        return label[0]

    def getindex(self) -> Any:
        """The numbers of this batch's samples."""
        return self._current().index

    def getpad(self) -> Any:
        return self._current().pad
