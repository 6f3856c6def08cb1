"""Data for training: batches, and the iterators that make them."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array
from symc.ndarray import NDArray, array

__all__ = ["CSVIter", "DataBatch", "DataDesc", "DataIter", "NDArrayIter", "PrefetchingIter", "ResizeIter"]


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
        """Labels of this batch."""
        raise NotImplementedError(f"{type(self).__name__} does not give labels")

    def getindex(self) -> Any:
        """Numbers of this batch's samples."""
        return None

    def getpad(self) -> Any:
        """Number of rows at the end that do not count."""
        return 0


class _Held(DataIter):
    """Base of iterators around others, which hold the batch they are at."""

    current_batch: DataBatch

    def next(self) -> DataBatch:
        if not self.iter_next():
            raise StopIteration
        return self.current_batch

    def getdata(self) -> Any:
        return self.current_batch.data

    def getlabel(self) -> Any:
        return self.current_batch.label

    def getindex(self) -> Any:
        return self.current_batch.index

    def getpad(self) -> Any:
        return self.current_batch.pad


class ResizeIter(_Held):
    """Another iterator, made to give `size` batches an epoch, beginning again where it ends."""

    def __init__(self, data_iter: DataIter, size: int, reset_internal: bool = True) -> None:
        super().__init__(data_iter.batch_size)
        self.data_iter, self.size, self.reset_internal, self.cur = data_iter, size, reset_internal, 0
        self.provide_data, self.provide_label = data_iter.provide_data, data_iter.provide_label
        if hasattr(data_iter, "default_bucket_key"):
            self.default_bucket_key = data_iter.default_bucket_key

    def reset(self) -> None:
        self.cur = 0
        if self.reset_internal:
            self.data_iter.reset()

    def iter_next(self) -> bool:
        if self.cur == self.size:
            return False
        try:
            self.current_batch = self.data_iter.next()
        except StopIteration:
            self.data_iter.reset()
            self.current_batch = self.data_iter.next()
        self.cur += 1
        return True


class PrefetchingIter(_Held):
    """One or several iterators, each a batch ahead in a thread of its own; their data and labels are joined.
    `rename_data`, `rename_label`: a dict of names for each iterator."""

    def __init__(self, iters: Any, rename_data: Any = None, rename_label: Any = None) -> None:
        self.iters: list[DataIter] = iters if isinstance(iters, list) else [iters]
        if not self.iters:
            raise AssertionError("PrefetchingIter needs an iterator")
        self.n_iter = len(self.iters)
        self.provide_data = _renamed([i.provide_data for i in self.iters], rename_data)
        self.provide_label = _renamed([i.provide_label for i in self.iters], rename_label)
        super().__init__(self.provide_data[0][1][0])
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._stop = threading.Event()
        self._queues: list[queue.Queue[Any]] = [queue.Queue(1) for _ in self.iters]
        self._threads = [
            threading.Thread(target=_prefetch, args=(i, q, self._stop), daemon=True)
            for i, q in zip(self.iters, self._queues)
        ]
        self._ended = False
        for thread in self._threads:
            thread.start()

    def _halt(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def __del__(self) -> None:
        if hasattr(self, "_stop"):
            self._stop.set()

    def reset(self) -> None:
        self._halt()
        for it in self.iters:
            it.reset()
        self._start()

    def iter_next(self) -> bool:
        if self._ended:
            return False
        if self._process != os.getpid():
            raise MXNetError(
                "PrefetchingIter: its threads are in the process that this one was forked from; call reset() here first"
            )
        found = [q.get() for q in self._queues]
        for made in found:
            if isinstance(made, BaseException):
                self._ended = True
                raise made
        if any(made is None for made in found):
            self._ended = True
            if any(made is not None for made in found):
                raise AssertionError("Number of entry mismatches between iterators")
            return False
        if any(b.pad != found[0].pad for b in found):
            raise AssertionError("Number of entry mismatches between iterators")
        self.current_batch = DataBatch(
            [a for b in found for a in b.data], [a for b in found for a in b.label or []], found[0].pad, found[0].index,
            provide_data=self.provide_data, provide_label=self.provide_label,
        )  # fmt: skip
        return True


def _prefetch(it: DataIter, into: queue.Queue[Any], stop: threading.Event) -> None:
    """Batches into the queue, None at the end; an exception goes to whoever waits for the batch."""
    while not stop.is_set():
        made: Any
        try:
            made = it.next()
        except StopIteration:
            made = None
        except Exception as problem:
            made = problem
        while not stop.is_set():
            try:
                into.put(made, timeout=0.05)
                break
            except queue.Full:
                continue
        if made is None or isinstance(made, BaseException):
            return


def _renamed(descriptions: Sequence[Sequence[Any]], names: Any) -> list[Any]:
    if names is None:
        return [d for one in descriptions for d in one]
    return [
        DataDesc(table[d.name], d.shape, d.dtype) if isinstance(d, DataDesc) else DataDesc(*d)
        for table, one in zip(names, descriptions)
        for d in one
    ]


class NDArrayIter(DataIter):
    """Batches of arrays in memory: one array, a list, or a dict by name.

    The last batch, where the data does not fill it: "pad" repeats from the beginning, "discard" leaves it out,
    "roll_over" keeps it for the next epoch. `shuffle` draws a new order (numpy's global random state) at every reset.
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
        self.data = _named(data, data_name)
        self.label = _named(label, label_name) if label is not None else []
        self.num_data = self.data[0][1].shape[self._axis]
        for name, source in [*self.data, *self.label]:
            if source.shape[self._axis] != self.num_data:
                raise ValueError(
                    f"NDArrayIter: {name!r} has {source.shape[self._axis]} samples, {self.data[0][0]!r} {self.num_data}"
                )
        self.num_source = len(self.data) + len(self.label)
        self.data_list = [a for _, a in [*self.data, *self.label]]
        self.idx = np.arange(self.num_data)
        self._samples = self.idx.copy()
        self.cursor = -batch_size
        #: samples left over from the epoch before, in their order then
        self._left: Array = np.zeros(0, np.int64)
        self._begin()

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
            self._samples = self._samples[self.idx]
        self.cursor = -self.batch_size - len(self._left)

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
        return np.concatenate([self._left, self._samples])

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
            chosen = np.concatenate([chosen, np.resize(self._samples, missing)])
        return chosen

    def _take(self, sources: Sequence[tuple[str, NDArray]]) -> list[NDArray]:
        if self.cursor >= self.num_data:
            raise AssertionError("DataIter needs reset.")
        begin = self.cursor + self._shift
        if not self.shuffle and self._axis == 0 and not self._shift and begin + self.batch_size <= self.num_data:
            return [s[begin : begin + self.batch_size] for _, s in sources]
        chosen = self._pick()
        return [array(s._data.take(chosen, self._axis), dtype=s.dtype) for _, s in sources]

    def getdata(self) -> list[NDArray]:
        return self._take(self.data)

    def getlabel(self) -> list[NDArray]:
        return self._take(self.label)

    def getpad(self) -> int:
        if self.last_batch_handle == "pad":
            return max(0, self.cursor + self.batch_size - self.num_data)
        return max(0, -self.cursor) if self.cursor > -self.batch_size else 0


def _named(given: Any, default: str) -> list[tuple[str, NDArray]]:
    """[(name, array)], sorted by name."""
    if isinstance(given, (np.ndarray, NDArray)):
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
