"""Arrays in memory aligned for vector access."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.ir.prims.elementwise import Const
from symc.ir.tensor.graph import Node
from symc.ir.types import Array

ALIGN = 64


def empty(shape: Sequence[int], dtype: Any) -> Array:
    """An uninitialised array, aligned to 64 bytes."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size >= mmap.PAGESIZE * 512:
        from symc.runtime.table import aligned_empty

        raw = aligned_empty(size)
    else:
        raw = np.empty(size + ALIGN, np.uint8)
        start = -address_of(raw) % ALIGN
        raw = raw[start : start + size]
    return raw[:size].view(dtype).reshape(tuple(shape))


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
