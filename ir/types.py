"""Types: an element type and a static shape, written `f32[32,784]`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from symc.ir.process import once

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class DType:
    """An element type: `kind` is f (float), i (signed), u (unsigned) or b (truth value, one byte in memory)."""

    name: str
    numpy: np.dtype[Any]
    kind: str

    @once
    def itemsize(self) -> int:
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        return self.kind in "iu"

    @property
    def wide(self) -> DType:
        """The type that its values are computed and summed up in: half precision takes single."""
        return F32 if self == F16 else self

    @once
    def _hash(self) -> int:
        return hash(self.name)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DType) and other.name == self.name)

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


F16 = DType("f16", np.dtype(np.float16), "f")
F32 = DType("f32", np.dtype(np.float32), "f")
F64 = DType("f64", np.dtype(np.float64), "f")
I8 = DType("i8", np.dtype(np.int8), "i")
I32 = DType("i32", np.dtype(np.int32), "i")
I64 = DType("i64", np.dtype(np.int64), "i")
U8 = DType("u8", np.dtype(np.uint8), "u")
U32 = DType("u32", np.dtype(np.uint32), "u")
U64 = DType("u64", np.dtype(np.uint64), "u")
BOOL = DType("i1", np.dtype(np.bool_), "b")

DTYPES: dict[str, DType] = {t.name: t for t in (F16, F32, F64, I8, I32, I64, U8, U32, U64, BOOL)}
_BY_NUMPY: dict[np.dtype[Any], DType] = {t.numpy: t for t in DTYPES.values()}


def dtype_of(dtype: npt.DTypeLike) -> DType:
    """The DType of a numpy dtype (or anything numpy reads as one). TypeError for one the IR does not have."""
    try:
        return _BY_NUMPY[np.dtype(dtype)]
    except KeyError:
        raise TypeError(f"element type {np.dtype(dtype)} is not supported; use one of {', '.join(DTYPES)}") from None


@dataclass(frozen=True)
class TensorType:
    """A tensor's element type and static shape; rank 0 is `f32[]`."""

    dtype: DType
    shape: Shape

    @once
    def size(self) -> int:
        return prod(self.shape)

    @once
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def rank(self) -> int:
        return len(self.shape)

    @once
    def _hash(self) -> int:
        return hash((self.dtype, self.shape))

    def __hash__(self) -> int:
        return self._hash

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__


@dataclass(frozen=True)
class TupleType:
    """The type of a node with several results; `get{index}` takes one."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"

    __repr__ = __str__


Type = Union[TensorType, TupleType]


def strides_of(shape: Shape) -> Shape:
    """Row-major strides in elements."""
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
