"""MXNet's binary array files (.params): lists and dictionaries of arrays, of every age.

    file    u64 0x112, u64 0, u64 count, arrays, u64 number of names, names (u64 length, bytes)
    array   V2: u32 0xF993FAC9, i32 storage type (0 dense), shape, i32 device type, i32 device id, i32 dtype, data
            V1: u32 0xF993FAC8, shape ...;  V3 (numpy shapes): 0xF993FACA as V2
            before: u32 rank, u32 dims ...
    shape   u32 rank, i64 dims   (before V1: u32 dims)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symc.ir.types import Array
from symc.ops.base import MXNetError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DTYPE_BY_FLAG = {
    0: np.dtype("float32"), 1: np.dtype("float64"), 2: np.dtype("float16"), 3: np.dtype("uint8"), 4: np.dtype("int32"),
    5: np.dtype("int8"), 6: np.dtype("int64"), 7: np.dtype("bool"),
}  # fmt: skip
FLAG_BY_DTYPE = {v: k for k, v in DTYPE_BY_FLAG.items()}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise MXNetError(f"array file: it ends at byte {len(self.data)}, but {count} more bytes are needed at {self.at}")
        part = self.data[self.at : self.at + count]
        self.at += count
        return part

    def number(self, form: str) -> int:
        value: int = struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]
        return value


def loads(data: bytes) -> tuple[list[Array | None], list[str]]:
    """(arrays, names) of a file's bytes; a list has no names. None stands for an array without a shape."""
    reader = _Reader(data)
    if reader.number("Q") != LIST_MAGIC:
        raise MXNetError("array file: it does not start with MXNet's list header (0x112); is it another kind of file?")
    reader.number("Q")
    count = reader.number("Q")
    if count > len(data):
        raise MXNetError(f"array file: it claims {count} arrays in {len(data)} bytes")
    arrays = [_array(reader) for _ in range(count)]
    names = [reader.take(reader.number("Q")).decode("utf-8") for _ in range(reader.number("Q"))]
    if names and len(names) != len(arrays):
        raise MXNetError(f"array file: {len(names)} names for {len(arrays)} arrays")
    return arrays, names


def _array(reader: _Reader) -> Array | None:
    magic = reader.number("I")
    if magic in (V2, V3):
        storage = reader.number("i")
        if storage not in (0, -1):
            raise MXNetError("array file: it holds a sparse array; symc's arrays are dense: convert it with MXNet's tostype('default')")
        shape = _dims(reader, reader.number("i"), "q")
    elif magic == V1:
        shape = _dims(reader, reader.number("I"), "q")
    else:
        shape = _dims(reader, magic, "I")
    if magic != V3 and not shape:
        return None
    if magic == V3 and shape is None:
        return None
    reader.number("i")
    reader.number("i")
    flag = reader.number("i")
    if flag not in DTYPE_BY_FLAG:
        raise MXNetError(f"array file: element type number {flag} is not known")
    dtype = DTYPE_BY_FLAG[flag]
    size = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(reader.take(size * dtype.itemsize), dtype).reshape(shape).copy()


def _dims(reader: _Reader, rank: int, form: str) -> tuple[int, ...] | None:
    if rank == -1:
        return None
    if rank > 32 or rank < 0:
        raise MXNetError(f"array file: an array of rank {rank} at byte {reader.at}: the file is damaged")
    return tuple(reader.number(form) for _ in range(rank))


def dumps(arrays: Sequence[Array], names: Sequence[str] = ()) -> bytes:
    """The bytes MXNet 1.9.1 would write (V2)."""
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for array in arrays:
        shape = array.shape
        parts.append(struct.pack("<Iii", V2, 0, len(shape)))
        parts.append(struct.pack(f"<{len(shape)}q", *shape))
        parts.append(struct.pack("<iii", 1, 0, FLAG_BY_DTYPE[array.dtype]))
        parts.append(np.ascontiguousarray(array).tobytes())
    parts.append(struct.pack("<Q", len(names)))
    for name in names:
        raw = name.encode("utf-8")
        parts.append(struct.pack("<Q", len(raw)) + raw)
    return b"".join(parts)


def split(data: Any) -> tuple[list[Any], list[str]]:
    """What `save` takes (an array, a list, a dict) as arrays and names."""
    if isinstance(data, Mapping):
        if not all(isinstance(k, str) for k in data):
            raise TypeError("save only accept dict str->NDArray or list of NDArray")
        return list(data.values()), list(data)
    if isinstance(data, (list, tuple)):
        return list(data), []
    return [data], []
