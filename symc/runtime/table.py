"""Running compiled programs from Python: tables of kernels, threads, host callbacks and aligned memory.

A program is an array of `ENTRY` records that the native runner (`runner.py`) walks in one call. Running is as cheap as
a ctypes call: build a `Table` once, and a `Table.runner` for each range that is run often.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from symc.codegen.errors import KernelError
from symc.codegen.jit.compile import KernelModule, compile_kernels, keep_forever
from symc.codegen.target import Target, default_threads, host_target
from symc.ir.process import in_child
from symc.runtime import runner

ENTRY = np.dtype([("fn", "<u8"), ("args", "<u8"), ("extent", "<i8"), ("grain", "<i8")])
"""One kernel call in a table, as the native runner reads it.

fn      address of `i32 (ptr args, i64 lo, i64 hi, ptr scratch)`
args    address of the array of buffer addresses, and the numbers behind them
extent  iterations of the outermost parallel loop (1 if there is none)
grain   least iterations worth a thread; 0 runs the kernel on the calling thread (host callbacks must)
"""

_HUGE_PAGE = 2 << 20
_KERNEL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint64)
_pending = threading.local()  # .error: what a callback raised while this thread runs a program


class Entry(NamedTuple):
    """One kernel call: the kernel's address, its buffers' addresses and numbers, and how its outermost loop may be
    divided."""

    fn: int
    args: Sequence[int]
    extent: int = 1
    grain: int = 0


class CallbackAddress(int):
    """The address of a Python function in kernel form. The function lives as long as this object does."""

    thunk: Any


def host_callback(function: Callable[[int], None]) -> CallbackAddress:
    """An address that a table entry can name to call `function(address of the args array)` on the running thread.

    An exception in `function` stops the program, and `run` raises it again. Give the entry grain 0, and keep the
    result: a `Table` made from it does so.
    """

    def call(args: int, lo: int, hi: int, scratch: int) -> int:
        try:
            function(args)
        except BaseException as error:  # whatever it is, it must not cross native frames
            _pending.error = error
            return 1
        return 0

    thunk = _KERNEL(call)
    address = CallbackAddress(ctypes.cast(thunk, ctypes.c_void_p).value or 0)
    address.thunk = thunk
    return address


def aligned_empty(nbytes: int, align: int = 64) -> NDArray[np.uint8]:
    """Uninitialised bytes, a one-dimensional array whose data starts at a multiple of `align` (a power of two).

    Blocks of 2 MiB and more start at a multiple of 2 MiB and ask for huge pages, which spares most of the page faults.
    """
    if nbytes < _HUGE_PAGE:
        raw = np.empty(nbytes + align, np.uint8)
        start = -raw.ctypes.data % align
    else:
        pages, start = aligned_pages(nbytes, align)
        raw = np.frombuffer(pages, np.uint8)
    return raw[start : start + nbytes]


def aligned_pages(nbytes: int, align: int = _HUGE_PAGE) -> tuple[mmap.mmap, int]:
    """Pages that hold so many bytes behind a multiple of `align`, or of 2 MiB, and where that is."""
    align = max(align, _HUGE_PAGE)
    pages = _map_pages(nbytes + align)
    return pages, -np.frombuffer(pages, np.uint8).ctypes.data % align


def _map_pages(nbytes: int) -> mmap.mmap:
    """Private pages, huge ones where the system has them. Untouched pages take no memory."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes)
    pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel built without huge pages: small ones do
            return pages
    return pages


class _Pool:
    """The memory that the native pool works in, seen from Python. There is one in a process; it is never freed."""

    def __init__(self) -> None:
        memory = keep_forever(aligned_empty(runner.POOL_BYTES, runner.CACHE_LINE))
        self.address = int(memory.ctypes.data)
        self._words: NDArray[np.int32] = memory.view(np.int32)
        threads = min(default_threads(), runner.MAX_THREADS)
        self.limit = min(max(threads, os.cpu_count() or 1, 8), runner.MAX_THREADS)
        self.reset(threads)
        in_child(lambda: self.reset(self.threads))  # it has the memory but not the workers: it starts its own

    def reset(self, threads: int) -> None:
        """A pool without workers, as if it had never run."""
        self._words[:] = 0
        self._words[runner.SPINS // 4] = runner.default_spins()
        self.threads = threads

    @property
    def threads(self) -> int:
        """Threads a kernel is divided among at most."""
        return int(self._words[runner.THREADS // 4])

    @threads.setter
    def threads(self, value: int) -> None:
        self._words[runner.THREADS // 4] = value


_pool = _Pool()


def num_threads() -> int:
    """Threads that kernels are divided among: `SYMC_NUM_THREADS`, or the processors this process may use."""
    return _pool.threads if runner.has_pool() else 1


def set_num_threads(threads: int) -> None:
    """Divide kernels among `threads` threads from now on (the calling one included); results do not depend on it.

    Where there is no pool (`runner.has_pool`), programs run on the calling thread whatever the number.
    Raises ValueError for less than 1 or more than the machine's processors (at least 8 are always allowed).
    """
    if not 1 <= threads <= _pool.limit:
        raise ValueError(f"set_num_threads({threads}): expected 1 to {_pool.limit}")
    _pool.threads = threads


def _runner() -> tuple[KernelModule, dict[str, int]]:
    """The native runner's text, and what it imports."""
    imports = {"symc_pool": _pool.address} if runner.has_pool() else {}
    return ("program runner", "symc_launch", runner.runner_text()), imports


@functools.cache
def launch_address() -> int:
    """Address of the native `symc_launch`."""
    module, imports = _runner()
    return compile_kernels([module], host_target(), imports)[module[0]]


def link_kernels(modules: Sequence[KernelModule], target: Target) -> dict[str, int]:
    """As compile_kernels. The first ones of a process are linked together with the runner, which they need to run: a
    link takes its time whatever is in it."""
    if launch_address.cache_info().currsize or target != host_target():
        return compile_kernels(modules, target)
    module, imports = _runner()
    return compile_kernels([*modules, module], target, imports)


@functools.cache
def _native_launch() -> Callable[[ctypes.c_void_p], int]:
    """`symc_launch` as a Python function. The call releases the GIL, so other Python threads go on."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(launch_address())


class Table:
    """A program: kernel calls in order, with everything they need kept alive.

    `entries` is the `ENTRY` array, `args` all their argument arrays one after the other (uint64); writing an address
    into `arguments(i)` rebinds a buffer. One table may be run by one thread at a time, as its buffers are shared;
    different tables may run at once, and kernel by kernel one of them gets the pool.
    """

    def __init__(self, entries: Sequence[Entry], scratch_bytes: int, keep: Iterable[object]) -> None:
        self.entries = np.zeros(len(entries), ENTRY)
        self._offsets = np.cumsum([0, *(len(entry.args) for entry in entries)]).tolist()
        self.args = np.fromiter((a for entry in entries for a in entry.args), np.uint64, self._offsets[-1])
        self._keep = [*keep, *(entry.fn for entry in entries if isinstance(entry.fn, CallbackAddress))]
        self._base = int(self.args.ctypes.data)
        for i, entry in enumerate(entries):
            if isinstance(entry.fn, CallbackAddress) and entry.grain > 0:
                raise ValueError(f"entry {i} calls Python, which only the calling thread may do: expected grain 0")
            self.entries[i] = (int(entry.fn), self.address(i), entry.extent, entry.grain)
        self._stride = -(-scratch_bytes // runner.CACHE_LINE) * runner.CACHE_LINE
        self._scratch = aligned_empty(self._stride * _pool.limit)
        self._launches: dict[tuple[int, int | None], ctypes.c_void_p] = {}

    def address(self, index: int) -> int:
        """Where the arguments of entry `index` lie."""
        return self._base + 8 * self._offsets[index]

    def arguments(self, index: int) -> NDArray[np.uint64]:
        """The buffer addresses of entry `index`: a view, writable."""
        return self.args[self._offsets[index] : self._offsets[index + 1]]

    def runner(self, first: int = 0, last: int | None = None) -> Callable[[], None]:
        """A function that runs entries `first` to `last` (exclusive; default: all), with the least overhead: 0.3 us.

        It raises what a host callback raised, or KernelError if a kernel stopped the program by itself.
        """
        native, pointer = _native_launch(), self._launch(first, last)

        def run_range() -> None:
            stopped = native(pointer)
            if stopped >= 0:
                self._raise(stopped)

        return run_range

    def run(self, first: int = 0, last: int | None = None) -> None:
        """Run entries `first` to `last` once; as `runner`, with a look-up more."""
        stopped = _native_launch()(self._launch(first, last))
        if stopped >= 0:
            self._raise(stopped)

    def launch(self) -> int:
        """The address that makes `symc_launch` run all entries, as long as this table lives."""
        return self._launch(0, None).value or 0

    def _launch(self, first: int, last: int | None) -> ctypes.c_void_p:
        """The argument of `symc_launch` for a range, made once."""
        found = self._launches.get((first, last))
        if found is None:
            end = len(self.entries) if last is None else last
            if not 0 <= first <= end <= len(self.entries):
                raise IndexError(f"range {first}:{end} is not within the table's {len(self.entries)} entries")
            words = (self.entries.ctypes.data, first, end, self._scratch.ctypes.data, self._stride)
            memory = np.array(words, np.int64)
            found = self._launches[first, last] = ctypes.c_void_p(memory.ctypes.data)
            self._keep.append(memory)
        return found

    def release(self, *kept: object) -> None:
        """No longer keep these alive: whoever rebinds their addresses calls this."""
        self._keep = [k for k in self._keep if not any(k is other for other in kept)]

    @staticmethod
    def _raise(index: int) -> None:
        error: BaseException | None = getattr(_pending, "error", None)
        if error is None:
            raise KernelError(f"kernel {index} stopped the program: it returned a non-zero status")
        _pending.error = None
        raise error


def make_table(entries: Sequence[Entry], scratch_bytes: int = 0, keep: Iterable[object] = ()) -> Table:
    """A runnable table of `entries`.

    Every thread that takes part in a kernel gets `scratch_bytes` bytes of scratch memory of its own, 64-byte aligned.
    `keep` lists what must live as long as the table: the arrays behind the addresses.
    """
    return Table(entries, scratch_bytes, keep)


def run(table: Table, first: int = 0, last: int | None = None) -> None:
    """Run entries `first` to `last` (exclusive; default: all) of `table`, as `Table.run`."""
    table.run(first, last)
