"""Parts of arrays: `x[key]` and `x[key] = value`, with keys as numpy takes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from symc.ir.prims.numeric import cast_numpy
from symc.ir.types import Array
from symc.ndarray.tape import STATE, Opaque, record, records, refuse_written, taped
from symc.runtime.memory import aligned, zeros
from symc.runtime.versions import touch

if TYPE_CHECKING:
    from symc.ndarray.ndarray import NDArray


class Taken(Opaque):
    """x[key] of an array of this shape, as a recorded step: its gradient puts the cotangent where the part was."""

    name = "x[key]"

    def __init__(self, key: Any, shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        (ct,) = cts
        if ct is None:
            return [None]
        made = zeros(self.shape, ct.dtype)
        ct = ct.reshape(np.shape(made[self.key]))
        if is_basic(self.key):
            made[self.key] = ct
        else:
            np.add.at(made, self.key, ct)  # a place may be taken several times
        return [made]

    def transposed(self) -> Opaque:
        return Put(self.key, self.shape)


class Put(Opaque):
    """The gradient of Taken as a step: an array of this shape that is zero, but for the part."""

    name = "the gradient of x[key]"

    def __init__(self, key: Any, shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        (ct,) = cts
        return [None if ct is None else aligned(np.atleast_1d(ct[self.key]))]

    def transposed(self) -> Opaque:
        return Taken(self.key, self.shape)


def is_basic(key: Any) -> bool:
    """Whether a key takes every place once: whole numbers, slices, None and ..."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(p is None or p is Ellipsis or isinstance(p, (int, np.integer, slice)) for p in parts)


def part(array: NDArray, key: Any) -> NDArray:
    """x[key]: over the same memory where that is contiguous. A single element has the shape (1,)."""
    if (isinstance(key, slice) and key == slice(None)) or (array.ndim == 0 and (key is Ellipsis or key == ())):
        return array
    where = _index(key)
    found = array._read[where]
    if not isinstance(found, np.ndarray):
        found = np.asarray(found)
    if found.ndim == 0:
        found = _one(array._read, where, found.reshape(1))
    made = type(array)._of(found if found.flags.c_contiguous else aligned(found), array._ctx)
    if STATE.recording and records([array]):
        record(Taken(where, array.shape), [array], [array._read], [made])
    return made


def _one(data: Array, index: Any, found: Array) -> Array:
    """A single element as an array of shape (1,) over the same memory where it can be."""
    parts = index if isinstance(index, tuple) else (index,)
    if parts and all(isinstance(p, (int, np.integer)) for p in parts) and len(parts) == data.ndim:
        last = parts[-1]
        stop = last + 1 if last != -1 else None
        one: Array = data[(*parts[:-1], slice(last, stop))]
        return one
    return found


def assign(array: NDArray, key: Any, value: Any) -> None:
    """x[key] = value, cast to the array's type. While autograd records, an array that is part of the computation cannot
    be written to; one that is not becomes part of it where all of it is given a value that is."""
    source = getattr(value, "_read", value)
    where = _index(key)
    whole = isinstance(where, slice) and where == slice(None)
    if STATE.recording and not (whole and isinstance(value, np.ndarray)):
        refuse_written(array, not whole and records([value]))
    data = array._read
    if not isinstance(source, np.ndarray):
        source = np.asarray(source)
    if source.dtype.kind not in "fiub":
        source = numbers_of(source, data.dtype)
    if source.dtype != data.dtype:
        source = cast_numpy(source, data.dtype)
    if whole:
        where = ...  # an array without axes has none to slice
    target = data[where]
    if source.shape != np.shape(target) and source.size == np.size(target) and _same_but_ones(source, target):
        source = source.reshape(np.shape(target))
    try:
        data[where] = source
    finally:  # not before: who reads the array in between, in another thread, has read a part of this
        touch(data)
    if STATE.recording and whole and records([value]):
        _record_assigned(array, value)


def numbers_of(source: Any, dtype: Any) -> Array:
    """What numpy makes of text and of objects ("0.5", None) as numbers. TypeError for what is none."""
    made = np.asarray(source)
    if made.dtype.kind in "OSU":
        with suppress(ValueError, TypeError, OverflowError):
            return np.array(source, dtype)
    if made.dtype.kind not in "fiub":
        raise TypeError(f"an array of {dtype} cannot hold {made.dtype} (value {source!r})")
    return made


def _record_assigned(array: NDArray, value: NDArray) -> None:
    """x[:] = value as a recorded call, which casts and broadcasts."""
    given = value if value.dtype == array.dtype else value.astype(array.dtype)
    if given.shape == array.shape:
        taped("_copy", {}, [given], array)
    elif given.size == array.size:
        taped("Reshape", {"shape": array.shape}, [given], array)
    else:
        lead = (1,) * (array.ndim - given.ndim)
        taped("broadcast_to", {"shape": array.shape}, [given.reshape((*lead, *given.shape))], array)


def _same_but_ones(a: Array, b: Any) -> bool:
    """Whether shapes differ by axes of size 1 only."""
    return [d for d in a.shape if d != 1] == [d for d in np.shape(b) if d != 1]


def _index(key: Any) -> Any:
    """An index with NDArrays as numpy integer arrays."""
    if isinstance(key, tuple):
        return tuple(_index(k) for k in key)
    data = getattr(key, "_read", None)
    if data is not None:
        return data.astype(np.int64) if data.dtype != np.bool_ else data
    if isinstance(key, list):
        return np.asarray(key)
    return key
