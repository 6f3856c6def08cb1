"""NDArray: MXNet's array over a contiguous, aligned numpy array."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

import numpy as np

from symc.base import HELD, NDArrayHandle
from symc.context import Context, cpu, current_context
from symc.ir.types import Array
from symc.ndarray import indexing
from symc.ndarray.files import FLAG_BY_DTYPE, Stored, load_array
from symc.ndarray.recorded import Recorded
from symc.ndarray.tape import taped
from symc.ops.base import MXNetError
from symc.ops.shared.storage import NUMBERS
from symc.runtime.memory import aligned, need
from symc.runtime.memory import empty as allocate
from symc.runtime.memory import zeros as allocate_zeros
from symc.runtime.versions import lend, touch

#: a name that programs import from here
_STORAGE_TYPE_STR_TO_ID = NUMBERS
DTYPES = (np.float32, np.float64, np.float16, np.uint8, np.int32, np.int8, np.int64, np.bool_)


class NDArray(Recorded):
    """A dense array on the CPU. Arithmetic follows MXNet's rules (no type promotion; comparisons give 0 and 1 in the
    operands' type)."""

    __slots__ = ("_read", "_ctx", "__weakref__")
    __array_priority__ = 1000.0
    #: whether it is of a sparse storage type (symc.ndarray.sparse)
    _sparse = False

    def __init__(self, data: Array | NDArrayHandle, ctx: Context | None = None, writable: bool = True) -> None:
        """`writable` is there for programs that say it to MXNet's."""
        if isinstance(data, NDArrayHandle):
            held = HELD.get(data.value or 0)
            if held is None:
                raise MXNetError("this NDArrayHandle is of no array: make it by ctypes.cast(array, NDArrayHandle)")
            self._read, self._ctx, self._entry = held._read, held._ctx, None
            return
        self._read = np.ascontiguousarray(data).reshape(np.shape(data))
        self._ctx = ctx or cpu()
        self._entry = None

    @property
    def _as_parameter_(self) -> int:
        """What ctypes takes for the array: see NDArrayHandle."""
        HELD[id(self)] = self
        return id(self)

    @staticmethod
    def _of(data: Array, ctx: Context | None = None) -> NDArray:
        """An NDArray over this very memory."""
        made = NDArray.__new__(NDArray)
        made._read, made._ctx, made._entry = data, ctx or cpu(), None
        return made

    # -- memory

    #: the memory, for those who only read it
    _read: Array

    @property
    def _data(self) -> Array:
        """The memory, for those who may write to it now: it has another version from here on (see
        symc.runtime.versions)."""
        touch(self._read)
        return self._read

    # -- facts

    @property
    def shape(self) -> tuple[int, ...]:
        return self._read.shape

    @property
    def size(self) -> int:
        return self._read.size

    @property
    def ndim(self) -> int:
        return self._read.ndim

    @property
    def dtype(self) -> type:
        return self._read.dtype.type

    @property
    def context(self) -> Context:
        return self._ctx

    ctx = context

    @property
    def stype(self) -> str:
        """The storage type: "default", "csr" or "row_sparse"."""
        return "default"

    @property
    def T(self) -> NDArray:
        """The axes reversed."""
        return taped("transpose", {}, [self], NDArray._of(aligned(self._read.T), self._ctx))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"\n{self._read}\n<{type(self).__name__} {shape} @{self._ctx}>"

    def __bool__(self) -> bool:
        if self.size == 0:
            return False
        if self.size == 1:
            return bool(self._read.reshape(-1)[0])
        raise ValueError("The truth value of an NDArray with multiple elements is ambiguous.")

    __nonzero__ = __bool__

    def __float__(self) -> float:
        return float(self.asscalar())

    def __int__(self) -> int:
        return int(self.asscalar())

    def __index__(self) -> int:
        if self.size == 1 and np.issubdtype(self.dtype, np.integer):
            return int(self._read.reshape(-1)[0])
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    def __iter__(self) -> Iterator[NDArray]:
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        return id(self) // 16

    # -- to and from others

    def asnumpy(self) -> Array:
        """A numpy copy."""
        return self._read.copy()

    def asscalar(self) -> Any:
        """The value of an array of one element."""
        if self.size != 1:
            raise ValueError("The current array is not a scalar")
        return self._read.reshape(-1)[0]

    def item(self, *index: int) -> Any:
        """One element as a Python number, by its position where there are several."""
        return self._read.item(*index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            if dtype is not None and np.dtype(dtype) != self._read.dtype:
                raise ValueError(f"an NDArray of {self._read.dtype} cannot be seen as {np.dtype(dtype)} without a copy")
            return lend(self._read)
        return self._read.astype(dtype) if dtype is not None else self._read.copy()

    def __dlpack__(self, **kwargs: Any) -> Any:
        return lend(self._read).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def to_dlpack_for_read(self) -> Any:
        """A DLPack capsule of this memory."""
        return lend(self._read).__dlpack__()

    to_dlpack_for_write = to_dlpack_for_read

    def copy(self) -> NDArray:
        """A new array of the same content."""
        return taped("_copy", {}, [self], array(self._read, self._ctx, self._read.dtype))

    def as_nd_ndarray(self) -> NDArray:
        """This array."""
        return self

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Copy into another array, or to a context as a new one."""
        if isinstance(other, Context):
            other.check()
            return taped("_copy", {}, [self], array(self._read, other, self._read.dtype))
        if not isinstance(other, NDArray):
            raise TypeError(f"copyto does not support type {type(other)}")
        if other is self:
            warnings.warn("You are attempting to copy an array to itself", RuntimeWarning, stacklevel=2)
            return other
        if other.shape != self.shape:
            raise MXNetError(f"copyto: shapes {self.shape} and {other.shape} differ")
        if other._sparse:
            other._receive(self)
        else:
            other[:] = self
        return other

    def _receive(self, source: NDArray) -> None:
        """Become what another array of the same shape is."""
        try:
            self._read[...] = source._read
        finally:
            touch(self._read)

    def astype(self, dtype: Any, copy: bool = True) -> NDArray:
        """The content in another element type."""
        dtype = _dtype(dtype)
        if not copy and dtype == self._read.dtype:
            return self
        from symc.ir.prims.numeric import cast_numpy

        made = array(cast_numpy(self._read, dtype), self._ctx, dtype)
        return taped("Cast", {"dtype": np.dtype(dtype).name}, [self], made)

    def as_in_context(self, context: Context) -> NDArray:
        """This array (contexts of the CPU are one)."""
        context.check()
        return self if context == self._ctx else self.copyto(context)

    as_in_ctx = as_in_context

    def wait_to_read(self) -> None:
        """Results are there when a call returns."""

    wait_to_write = wait_to_read

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self._read, "ctx": (self._ctx.device_type, self._ctx.device_id)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of what __getstate__ gave, here or in MXNet."""
        if "handle" in state:  # MXNet's own form: the bytes of an array in a file
            found = load_array(bytes(state["handle"]))
            if isinstance(found, Stored):
                raise MXNetError("a sparse array that MXNet pickled cannot be read; save it with mx.nd.save")
            state = {"data": found, "ctx": ("cpu", 0)}
        self._read, self._ctx, self._entry = aligned(state["data"]), Context(*state["ctx"]), None

    # -- shape

    def reshape(self, *shape: Any, **kwargs: Any) -> NDArray:
        """A view under another shape, with MXNet's special codes (0, -1, -2, -3, -4)."""
        given = bool(shape)
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        unknown = [k for k in kwargs if k not in ("shape", "reverse")]
        if unknown:
            raise TypeError(f"reshape: got unknown keyword {unknown[0]!r}; there are shape and reverse")
        if not shape:
            if "shape" in kwargs:
                shape = tuple(np.atleast_1d(kwargs["shape"]).tolist())
            elif not given:
                raise AssertionError("Shape must be provided.")
        from symc.ops.base import OPERATORS

        op = OPERATORS["Reshape"](shape=tuple(shape), reverse=bool(kwargs.get("reverse", False)))
        try:
            made = NDArray._of(self._read.reshape(op.target(self.shape) if shape else ()), self._ctx)
        except ValueError:
            raise ValueError(f"reshape: an array of shape {self.shape} does not fit into {tuple(shape)}") from None
        return taped("Reshape", {"shape": made.shape}, [self], made)

    def expand_dims(self, axis: int, inplace: bool = False) -> NDArray:
        """A copy with a new axis of size 1; with `inplace` over the same memory."""
        if inplace and -self.ndim - 1 <= axis <= self.ndim:
            return self.reshape(np.expand_dims(self._read, axis).shape)
        if not -self.ndim - 1 <= axis <= self.ndim:
            raise MXNetError(f"expand_dims: axis {axis} is not within {-self.ndim - 1} to {self.ndim}")
        made = NDArray._of(aligned(np.expand_dims(self._read, axis)), self._ctx)
        return taped("expand_dims", {"axis": axis}, [self], made)

    def flatten(self, inplace: bool = False) -> NDArray:
        """A copy with all axes behind the first as one; with `inplace` over the same memory."""
        if inplace:
            return self.reshape((0, -1))
        made = NDArray._of(aligned(self._read.reshape(self.shape[0], -1)), self._ctx)
        return taped("Flatten", {}, [self], made)

    def squeeze(self, axis: int | Sequence[int] | None = None, inplace: bool = False) -> NDArray:
        """A copy without axes of size 1: all, or those named; with `inplace` over the same memory. MXNetError for
        an axis of another size."""
        if not isinstance(axis, (int, NoneType)):
            axis = tuple(axis)
            if len(set(axis)) != len(axis):
                raise AssertionError(f"axis {axis} contains duplicate which is not allowed.")
        try:
            data = self._read.squeeze(axis)
        except ValueError as problem:
            raise MXNetError(f"squeeze: {problem}") from None
        made = NDArray._of(data.reshape(data.shape or (1,)) if inplace else aligned(np.atleast_1d(data)), self._ctx)
        return taped("Reshape", {"shape": made.shape}, [self], made)

    def broadcast_to(self, shape: Sequence[int]) -> NDArray:
        """A copy of another shape: axes of size 1 are repeated, and new ones may be in front."""
        shape = tuple(shape)
        wanted = (1,) * (len(shape) - self.ndim) + self.shape
        if len(wanted) != len(shape) or any(a not in (1, b) for a, b in zip(wanted, shape)):
            raise ValueError(f"cannot broadcast array with shape={self.shape} to shape={shape}")
        made = NDArray._of(aligned(np.broadcast_to(self._read, shape)), self._ctx)
        if len(shape) == self.ndim:
            return taped("broadcast_to", {"shape": shape}, [self], made)
        return taped("broadcast_to", {"shape": shape}, [self.reshape(wanted)], made)

    # -- reading and writing parts

    def __getitem__(self, key: Any) -> NDArray:
        return indexing.part(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        indexing.assign(self, key, value)

    def slice_assign(
        self, rhs: NDArray, begin: Sequence[int | None], end: Sequence[int | None], step: Any = None
    ) -> NDArray:
        """Write an array into the part from `begin` to `end`, by `step`."""
        self[_part(begin, end, step)] = rhs
        return self

    def slice_assign_scalar(
        self, value: float, begin: Sequence[int | None], end: Sequence[int | None], step: Any = None
    ) -> NDArray:
        """Fill the part from `begin` to `end`, by `step`."""
        self[_part(begin, end, step)] = value
        return self

    # names that programs take from inside of MXNet

    @property
    def writable(self) -> bool:
        """Whether its memory may be written to."""
        return bool(self._read.flags.writeable)

    def _at(self, idx: int) -> NDArray:
        if not -self.shape[0] <= idx < self.shape[0]:
            raise IndexError(f"index {idx} is out of bounds for axis 0 with size {self.shape[0]}")
        return self[idx]

    def _slice(self, start: int | None, stop: int | None) -> NDArray:
        return self[start:stop]

    def _full(self, value: float) -> NDArray:
        self[:] = value
        return self

    def _sync_copyfrom(self, source_array: Any) -> None:
        source = np.asarray(source_array, self._read.dtype)
        if source.shape != self.shape:
            raise ValueError(f"Shape inconsistent: expected {self.shape} vs got {source.shape}")
        self[:] = source

    @staticmethod
    def _basic_indexing_slice_is_contiguous(slc_key: Sequence[slice], shape: Sequence[int]) -> bool:
        return bool(np.empty(tuple(shape), np.bool_)[tuple(slc_key)].flags.contiguous)

    # arithmetic and operator methods are attached by symc.ndarray.imperative


def _part(begin: Sequence[int | None], end: Sequence[int | None], step: Any) -> tuple[slice, ...]:
    return tuple(slice(*bounds) for bounds in zip(begin, end, step or [None] * len(begin)))


# --------------------------------------------------------------------------------------------- creation


def located(ctx: Context | None) -> Context:
    """The context of a new array: the one given, or the current one. MXNetError for a GPU."""
    found = ctx if ctx is not None else current_context()
    if not isinstance(found, Context):
        raise TypeError(f"ctx needs to be a Context, got {type(found).__name__}")
    found.check()
    return found


def _shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(d) for d in shape)


def _dtype(dtype: Any) -> np.dtype[Any]:
    """An element type that arrays may have; float32 for None."""
    found = np.dtype(np.float32 if dtype is None else dtype)
    if found.type not in DTYPES and found not in FLAG_BY_DTYPE:
        raise TypeError(f"arrays of {found} do not exist; there are {', '.join(np.dtype(d).name for d in DTYPES)}")
    return found


def empty(shape: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """An array whose content is not defined."""
    return NDArray._of(allocate(_shape(shape), _dtype(dtype)), located(ctx))


def zeros(
    shape: Any, ctx: Context | None = None, dtype: Any = None, out: NDArray | None = None, **kwargs: Any
) -> NDArray:
    """An array of zeros, or `out` filled with them."""
    if out is not None:
        return full(shape, 0, ctx, dtype, out)
    return NDArray._of(allocate_zeros(_shape(shape), _dtype(dtype)), located(ctx))


def ones(
    shape: Any, ctx: Context | None = None, dtype: Any = None, out: NDArray | None = None, **kwargs: Any
) -> NDArray:
    """An array of ones, or `out` filled with them."""
    return full(shape, 1, ctx, dtype, out)


def full(shape: Any, val: float, ctx: Context | None = None, dtype: Any = None, out: NDArray | None = None) -> NDArray:
    """An array filled with `val`, or `out`. MXNetError if that has another shape."""
    if out is not None and out.shape != _shape(shape):
        raise MXNetError(f"out has shape {out.shape}, but the result {_shape(shape)}")
    made = out if out is not None else empty(shape, ctx, dtype)
    made[...] = val
    return made


def array(source_array: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """An array from anything numpy understands; float32 unless the source is an NDArray or a dtype is given."""
    if isinstance(source_array, NDArray):
        dtype = source_array.dtype if dtype is None else dtype
        source_array = source_array._read
    elif dtype is None:
        dtype = np.float32
    dtype = _dtype(dtype)
    try:
        data = np.asarray(source_array)
    except ValueError:
        raise TypeError("source_array must be array like object") from None
    if data.dtype.kind not in "fiub":
        data = indexing.numbers_of(source_array, dtype)
    made = empty(data.shape, ctx, dtype)
    made._read[...] = data
    return made


def arange(
    start: float, stop: float | None = None, step: float = 1.0, repeat: int = 1, infer_range: Any = None,
    ctx: Context | None = None, dtype: Any = np.float32,
) -> NDArray:  # fmt: skip
    """start (0 if one bound is given), start + step, ... below stop, each `repeat` times; of integers whole ones."""
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise MXNetError("arange: step is 0")
    _check_count(max(0.0, (stop - start) / step) * repeat, "arange")
    places, found = np.arange(len(np.arange(start, stop, step))), np.dtype(dtype)
    values = places * int(step) + int(start) if found.kind != "f" else places * step + start
    return array(np.repeat(values, repeat), ctx, found)


def linspace(
    start: float, stop: float, num: int, endpoint: bool = True, ctx: Context | None = None, dtype: Any = np.float32
) -> NDArray:
    """`num` evenly spaced numbers."""
    _check_count(num, "linspace")
    return array(np.linspace(start, stop, num, endpoint=endpoint), ctx, np.dtype(dtype))


def eye(N: int, M: int = 0, k: int = 0, ctx: Context | None = None, dtype: Any = None, **kwargs: Any) -> NDArray:
    """Ones on the k-th diagonal."""
    columns = N if M == 0 else M
    _check_count(N * columns, "eye")
    return array(np.eye(N, columns, k), ctx, dtype)


def _check_count(elements: float, what: str) -> None:
    """MXNetError for more numbers than memory holds while they are made."""
    need(int(min(elements, 2.0**90)) * np.dtype(np.float64).itemsize, what)


def concatenate(arrays: Sequence[NDArray], axis: int = 0, always_copy: bool = True) -> NDArray:
    """Arrays one after the other along an axis."""
    if len(arrays) == 1 and not always_copy:
        return arrays[0]
    axis = operator.index(axis)
    made = array(np.concatenate([a._read for a in arrays], axis), arrays[0].context, arrays[0].dtype)
    return taped("Concat", {"num_args": len(arrays), "dim": axis}, arrays, made)


def onehot_encode(indices: NDArray, out: NDArray) -> NDArray:
    """One-hot rows of `indices`, written into `out` (number of indices, number of classes)."""
    out._data[...] = indices._read.reshape(-1, 1).astype(np.int64) == np.arange(out.shape[1])
    return out


def moveaxis(tensor: NDArray, source: Any, destination: Any) -> NDArray:
    """Axes moved to other positions."""
    marked = np.moveaxis(np.empty(range(tensor.ndim)), source, destination)  # every extent tells its axis
    made = array(np.moveaxis(tensor._read, source, destination), tensor.context, tensor.dtype)
    return taped("transpose", {"axes": marked.shape}, [tensor], made)
