"""MXNet's binary format of named arrays (`.params`, `mx.nd.save`).

    file   = u64 0x112, u64 0, u64 count, count arrays, u64 names (0 for a list), that many (u64 length, bytes)
    array  = u32 magic, then by magic
             V2 (0xF993FAC9)  i32 storage (0: dense), shape, device, i32 type, data     what is written
             V3 (0xF993FACA)  the same; a shape of rank 0 is a scalar, rank -1 is unknown; written under mx.np_shape
             V1 (0xF993FAC8)  shape, device, i32 type, data
             V0               the magic itself is the rank, sizes are u32; device, type, data
    shape  = i32 rank, i64 sizes;   device = i32 kind, i32 number

Sparse arrays (storage 1 row_sparse, 2 csr) have the stored values' shape first, types and shapes of the index arrays
behind the type, and the index arrays behind the data.

All numbers are little-endian. Works on numpy arrays and `Stored`; symc.ndarray wraps them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from symc.base import MXNetError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

_NAMES = (
    "float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16", "uint16", "uint32", "uint64",
)  # fmt: skip
DTYPE_BY_FLAG = {flag: np.dtype(name) for flag, name in enumerate(_NAMES)}
FLAG_BY_DTYPE = {dtype: flag for flag, dtype in DTYPE_BY_FLAG.items()}
_BFLOAT16 = 12
_ROW_SPARSE = 1
#: index arrays of the sparse storage types: row_sparse has rows, csr has row pointers and columns
_AUXILIARY = {_ROW_SPARSE: 1, 2: 2}

Array = npt.NDArray[Any]


class Stored(NamedTuple):
    """A sparse array: its storage number, the stored values, the index arrays (row_sparse: rows; csr: where rows begin,
    columns) and the shape."""

    storage: int
    values: Array
    aux: list[Array]
    shape: tuple[int, ...]


class _Reader:
    """Bytes with a position; running out of them is an error that says where."""

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self.data, self.what, self.at = memoryview(data), what, 0
        #: forms of the arrays that have axes, so far
        self.forms: set[int] = set()

    def take(self, count: int) -> memoryview:
        if count < 0 or self.at + count > len(self.data):
            raise MXNetError(
                f"{self.what} ends early: {count} bytes are needed at offset {self.at}, "
                f"but the file has {len(self.data)}; it is truncated or not a parameter file"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def shape(self) -> tuple[int, ...] | None:
        """Rank and sizes; None for an unknown shape."""
        rank = self.number("i")
        if rank == -1:
            return None
        if not 0 <= rank <= 64:
            raise MXNetError(f"{self.what} has an array of rank {rank} at offset {self.at - 4}; it is corrupt")
        return self._sizes(rank, "q")

    def _sizes(self, rank: int, form: str) -> tuple[int, ...]:
        width = struct.calcsize("<" + form)
        sizes = struct.unpack(f"<{rank}{form}", self.take(rank * width))
        if any(s < 0 for s in sizes):
            raise MXNetError(f"{self.what} has an array of shape {sizes} at offset {self.at}; it is corrupt")
        return sizes

    def array(self) -> Array | Stored:
        begin = self.at
        try:
            return self._array()
        except (MemoryError, ValueError):
            raise MXNetError(
                f"{self.what} has an array too large for memory at offset {begin}; it is corrupt"
            ) from None

    def _array(self) -> Array | Stored:
        magic = self.number("I")
        if magic in (V2, V3):
            if magic == V2 or self.data[self.at + 4 : self.at + 8] != bytes(4):
                self.forms.add(magic)
            storage = self.number("i")
            if storage in _AUXILIARY:
                return self.sparse(storage)
            if storage != 0:
                raise MXNetError(
                    f"{self.what} has unknown storage type {storage} at offset {self.at - 4}; it is corrupt"
                )
            shape = self.shape()
            if shape is None or (not shape and magic == V2):
                return np.zeros((0,), np.float32)
        elif magic == V1:
            shape = self.shape()
            if not shape:
                return np.zeros((0,), np.float32)
        elif magic <= 64:
            if magic == 0:
                return np.zeros((0,), np.float32)
            shape = self._sizes(magic, "I")
        else:
            raise MXNetError(f"{self.what} has no array at offset {self.at - 4} (found 0x{magic:08X}); it is corrupt")
        return self.data_of(shape, self.type())

    def type(self) -> int:
        """The number of the element type, behind the device."""
        self.number("i")
        self.number("i")
        return self.number("i")

    def data_of(self, shape: tuple[int, ...], kind: int) -> Array:
        """Elements in row-major order."""
        if kind == _BFLOAT16:
            bits = np.frombuffer(self.take(2 * prod(shape)), "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(shape)
        if kind not in DTYPE_BY_FLAG:
            raise MXNetError(f"{self.what} has unknown element type {kind} at offset {self.at - 4}; it is corrupt")
        dtype = DTYPE_BY_FLAG[kind]
        raw = self.take(prod(shape) * dtype.itemsize)
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)

    def sparse(self, storage: int) -> Stored:
        """A row_sparse or csr array, whose indices are within its shape."""
        stored, shape = self.shape(), self.shape()
        kind = self.type()
        parts = [(self.number("i"), self.shape()) for _ in range(_AUXILIARY[storage])]
        if stored is None or not shape or any(s is None for _, s in parts):
            raise MXNetError(f"{self.what} has a sparse array without a shape at offset {self.at}; it is corrupt")
        if storage == _ROW_SPARSE:
            # MXNet may write a stale shape of the values; the number of row indices is what counts
            stored = ((parts[0][1] or (0,))[0], *shape[1:])
        values = self.data_of(stored, kind)
        where = [self.data_of(s or (), k).astype(np.int64).reshape(-1) for k, s in parts]
        last, extent = where[-1], shape[0] if storage == _ROW_SPARSE else shape[-1]
        sound = len(last) == len(values) and (not last.size or (last.min() >= 0 and last.max() < extent))
        if storage != _ROW_SPARSE:
            counts = np.diff(where[0])
            sound = sound and len(shape) == 2 and len(counts) == shape[0] and not (counts < 0).any()
            sound = bool(sound and counts.sum() == values.size and not (where[0][:1] != 0).any())
        if not sound:
            raise MXNetError(f"{self.what} has a sparse array with indices outside of {shape}; it is corrupt")
        return Stored(storage, values, where, shape)


def loads(
    data: bytes | memoryview, what: str = "buffer", numpys: bool | None = None
) -> tuple[list[Array | Stored], list[str]]:
    """Arrays and names (empty for a list). MXNetError for what is no such file; `what` names it in messages.

    `numpys`: whether the arrays must have been written under mx.np_shape (scalars may be in any file), or must not;
    None where it does not matter."""
    reader = _Reader(data, what)
    if len(reader.data) < 24 or reader.number("Q") != LIST_MAGIC:
        raise MXNetError(f"{what} is not a file of MXNet arrays (it does not begin with 0x112)")
    reader.number("Q")
    count = reader.number("Q")
    if count > len(reader.data):
        raise MXNetError(f"{what} says it holds {count} arrays; it is corrupt")
    arrays = [reader.array() for _ in range(count)]
    if numpys is not None and (V2 if numpys else V3) in reader.forms:
        written, how = ("without", "outside of") if numpys else ("under", "in a block of")
        raise MXNetError(f"{what} was written {written} mx.np_shape: load it {how} `with mx.np_shape():`")
    names = []
    for _ in range(reader.number("Q")):
        raw = bytes(reader.take(reader.number("Q")))
        try:
            names.append(raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise MXNetError(f"{what} has a name that is not UTF-8 at offset {reader.at}; it is corrupt") from None
    if names and len(names) != count:
        raise MXNetError(f"{what} has {count} arrays but {len(names)} names; it is corrupt")
    return arrays, names


def _head(array: Array) -> bytes:
    if array.dtype not in FLAG_BY_DTYPE:
        raise MXNetError(f"arrays of {array.dtype} cannot be saved; the format has {', '.join(_NAMES)}")
    return struct.pack("<iii", 1, 0, FLAG_BY_DTYPE[array.dtype])


def _shape(shape: Sequence[int]) -> bytes:
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


def _bytes(array: Array) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def dump_array(array: Array | Stored, numpys: bool = False) -> bytes:
    """One array as V2 (rank 0 as V3, the only form that has scalars; all as V3 with `numpys`)."""
    if isinstance(array, Stored):
        head = (
            struct.pack("<Ii", V3 if numpys else V2, array.storage) + _shape(array.values.shape) + _shape(array.shape)
        )
        kinds = [struct.pack("<i", FLAG_BY_DTYPE[a.dtype]) + _shape(a.shape) for a in array.aux]
        return head + _head(array.values) + b"".join([*kinds, _bytes(array.values), *map(_bytes, array.aux)])
    return (
        struct.pack("<Ii", V3 if numpys or not array.ndim else V2, 0)
        + _shape(array.shape)
        + _head(array)
        + _bytes(array)
    )


def load_array(data: bytes) -> Array | Stored:
    """The array that `dump_array` wrote."""
    return _Reader(data, "buffer").array()


def dumps(arrays: Sequence[Array | Stored], names: Sequence[str] = (), numpys: bool = False) -> bytes:
    """The file's bytes, as they are under mx.np_shape with `numpys`."""
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays)), *(dump_array(a, numpys) for a in arrays)]
    parts.append(struct.pack("<Q", len(names)))
    for name in names:
        raw = name.encode("utf-8")
        parts.append(struct.pack("<Q", len(raw)) + raw)
    return b"".join(parts)


def split(data: Any) -> tuple[list[Any], list[str]]:
    """What `save` takes (an array, a list, a dict) as arrays and names."""
    if isinstance(data, Mapping):
        if not all(isinstance(key, str) for key in data):
            raise TypeError("save only accept dict str->NDArray or list of NDArray")
        return list(data.values()), list(data)
    if isinstance(data, (list, tuple)):
        return list(data), []
    return [data], []
