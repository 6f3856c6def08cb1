"""Arrays in memory aligned for vector access."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ir.op import Node
from symc.ir.origins import called
from symc.ir.prims.elementwise import Const
from symc.ir.program.nodes import Program, results_of
from symc.ir.types import Array
from symc.runtime.versions import block

ALIGN = 64
#: more axes numpy's arrays do not have
AXES = 64 if int(np.__version__.partition(".")[0]) >= 2 else 32
#: blocks from this size on are pages of their own
_PAGES = mmap.PAGESIZE * 512
#: what is never too much to ask for, so that nobody looks how much there is
_SMALL = 1 << 30
_MEMORY = Path("/proc/meminfo")
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def empty(shape: Sequence[int], dtype: Any) -> Array:
    """An uninitialised array, aligned to 64 bytes. MXNetError for sizes that are none, or that the machine lacks."""
    dtype, shape = np.dtype(dtype), tuple(shape)
    if len(shape) > AXES:
        raise MXNetError(f"an array cannot have {len(shape)} axes: {AXES} are the most")
    if shape and min(shape) < 0:
        raise MXNetError(f"an array cannot have the shape {shape}: sizes are not negative")
    size = math.prod(shape) * dtype.itemsize
    if not fits(size):
        need(size, f"an array of shape {shape} and type {dtype}")
    try:
        return _allocated(size, shape, dtype)
    except (MemoryError, OSError):
        raise MXNetError(
            f"an array of shape {shape} and type {dtype} needs {amount(size)} of memory, which the system does not give"
        ) from None


def zeros(shape: Sequence[int], dtype: Any) -> Array:
    """Zeros, aligned to 64 bytes. Large ones are fresh pages, which are zero before anybody writes there."""
    made = empty(shape, dtype)
    if made.nbytes < _PAGES:
        made[...] = 0
    return made


def aligned(data: Array) -> Array:
    """A contiguous copy in aligned memory."""
    made = empty(data.shape, data.dtype)
    made[...] = data
    return made


def _allocated(size: int, shape: tuple[int, ...], dtype: Any) -> Array:
    if size >= _PAGES:
        from symc.runtime.table import aligned_pages

        pages, start = aligned_pages(size)
        return np.ndarray(shape, dtype, block(start + size, pages), start)
    raw = block(size + ALIGN)
    return np.ndarray(shape, dtype, raw, -address_of(raw) % ALIGN)


def constant(node: Node) -> Array:
    """The elements of a node of the primitive `const`."""
    assert isinstance(node.op, Const), f"{node.op.name} is no constant"
    array = empty(node.shape, node.dtype.numpy)
    array[...] = node.op.array()
    return array


def address_of(array: Array) -> int:
    """Where an array's first element lies."""
    address: int = array.__array_interface__["data"][0]
    return address


# --------------------------------------------------------------------------------------------- how much there is


def limit() -> int:
    """Bytes that can be had now: free memory and swap of the machine, or less where the process's group may have less.
    What is beyond them would not be refused by the system, but end the process when it is written to."""
    found = [sys.maxsize]
    if _MEMORY.exists():
        lines = [line.split() for line in _MEMORY.read_text().splitlines()]
        found.append(1024 * sum(int(line[1]) for line in lines if line[0] in ("MemAvailable:", "SwapFree:")))
    for group in _GROUPS:
        text = group.read_text().strip() if group.exists() else "max"
        found += [int(text)] if text.isdigit() else []
    return min(found)


def fits(nbytes: int) -> bool:
    """Whether there is room for so much."""
    return nbytes <= _SMALL or nbytes <= limit()


def need(nbytes: int, what: str, remark: str = "") -> None:
    """MXNetError if `what` takes more memory than there is."""
    if not fits(nbytes):
        raise MXNetError(f"{what} needs {amount(nbytes)} of memory, but there are {amount(limit())}{remark}")


def need_for(program: Program) -> None:
    """MXNetError for a program whose plan and results take more memory than there is; it names the largest value."""
    types = program.value_types()
    total = program.arena + program.kept + sum(types[output.value].nbytes for output in program.outputs)
    if not fits(total):
        made = [(result.type, step.origin) for step in program.steps for result in results_of(step)]
        largest, origin = max(made, key=lambda pair: pair[0].nbytes)
        whose = f", of {called(origin)}" if called(origin) else ""
        need(total, f"running {program.name}", f"; its largest value is {largest}{whose}")


def amount(nbytes: int) -> str:
    """A number of bytes as text."""
    if nbytes >= 1 << 80:
        return f"2^{nbytes.bit_length() - 1} bytes"
    return f"{nbytes / (1 << 30):,.1f} GiB" if nbytes >= 1 << 30 else f"{nbytes:,} bytes"
