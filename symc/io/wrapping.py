"""Iterators around other iterators."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from symc.base import MXNetError
from symc.io.base import DataBatch, DataDesc, DataIter


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
        self._orders: list[queue.SimpleQueue[bool]] = [queue.SimpleQueue() for _ in self.iters]
        self._made: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in self.iters]
        self._threads = [
            threading.Thread(target=_prefetch, args=of_one, daemon=True)
            for of_one in zip(self.iters, self._orders, self._made)
        ]
        self._ended = False
        _LIVE.add(self)
        for thread in self._threads:
            thread.start()
        self._order(True)

    def _order(self, another: bool) -> None:
        for orders in self._orders:
            orders.put(another)

    def _halt(self, patience: float | None = None) -> None:
        self._order(False)
        for thread in self._threads:
            thread.join(patience)

    def __del__(self) -> None:
        if hasattr(self, "_orders"):
            self._order(False)

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
        found = [made.get() for made in self._made]
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
        self._order(True)
        return True


#: whose threads run, or may
_LIVE: weakref.WeakSet[PrefetchingIter] = weakref.WeakSet()


@atexit.register
def _halt_all() -> None:
    """A thread that is still in a library's code when Python ends can abort the process."""
    for held in list(_LIVE):
        if held._process == os.getpid():
            held._halt(patience=1.0)


def _prefetch(it: DataIter, orders: queue.SimpleQueue[bool], into: queue.SimpleQueue[Any]) -> None:
    """A batch for every order, None at the end; an exception goes to whoever waits for the batch. One is ordered when
    the one before is taken, as in MXNet: what iterator and program draw from a generator that they share follows."""
    while orders.get():
        made: Any
        try:
            made = it.next()
        except StopIteration:
            made = None
        except Exception as problem:
            made = problem
        into.put(made)
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
