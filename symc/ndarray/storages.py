"""What makes arrays of any storage type: zeros, empty, array, and reading and writing files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.context import Context
from symc.ndarray import files
from symc.ndarray import ndarray as dense
from symc.ndarray.ndarray import NDArray
from symc.ndarray.sparse import arrays, creation
from symc.ndarray.sparse.arrays import BaseSparseNDArray, cast_storage
from symc.ops.shared.storage import NUMBERS
from symc.runtime.memory import aligned
from symc.util import is_np_shape

_NAMES = {number: stype for stype, number in NUMBERS.items()}


def zeros(shape: Any, ctx: Context | None = None, dtype: Any = None, stype: Any = None, **kwargs: Any) -> NDArray:
    """An array of zeros; of a sparse storage type ("csr", "row_sparse") it stores nothing. MXNetError for shapes
    without axes or elements, unless mx.np_shape is on."""
    _check_shape("zeros", shape)
    return creation.zeros(stype or "default", shape, ctx, dtype, **kwargs)


def ones(shape: Any, ctx: Context | None = None, dtype: Any = None, **kwargs: Any) -> NDArray:
    """An array of ones. MXNetError for shapes without axes or elements, unless mx.np_shape is on."""
    _check_shape("ones", shape)
    return dense.ones(shape, ctx, dtype, **kwargs)


def _check_shape(called: str, shape: Any) -> None:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if (not sizes or 0 in sizes) and not is_np_shape():
        raise MXNetError(f"{called}: the shape {shape} means that sizes are not known; under mx.np_shape it is a shape")


def empty(shape: Any, ctx: Context | None = None, dtype: Any = None, stype: Any = None) -> NDArray:
    """An array whose content is not defined; zeros if it is sparse."""
    return dense.empty(shape, ctx, dtype) if stype in (None, "default") else zeros(shape, ctx, dtype, stype)


def array(source_array: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """An array from anything numpy understands; float32 unless the source is an NDArray or a dtype is given. Of sparse
    arrays and SciPy's csr matrices sparse copies are made."""
    if isinstance(source_array, BaseSparseNDArray) or creation.scipy_csr(source_array):
        return creation.array(source_array, ctx, dtype)
    return dense.array(source_array, ctx, dtype)


def tostype(array: NDArray, stype: str) -> NDArray:
    """A copy of another storage type ("default", "csr", "row_sparse")."""
    return cast_storage(array, stype, copy=True)


def _plain(array: NDArray) -> Any:
    if isinstance(array, BaseSparseNDArray):
        return files.Stored(NUMBERS[array.stype], array._values, array._aux, array.shape)
    return array._read


def _wrapped(found: Any) -> NDArray:
    if isinstance(found, files.Stored):
        return arrays.kind_of(_NAMES[found.storage])._from(found.values, found.aux, found.shape)
    return NDArray._of(aligned(found) if found is not None else np.zeros((0,), np.float32))


def save(fname: str | os.PathLike[str], data: Any) -> None:
    """Write an array, a list or a dict of arrays in MXNet's binary format."""
    if not isinstance(fname, (str, os.PathLike)):
        raise TypeError(f"save: the file's name must be a string, got {type(fname).__name__}")
    found, names = files.split(data)
    for item in found:
        if not isinstance(item, NDArray):
            raise TypeError("save only accept dict str->NDArray or list of NDArray")
    with open(fname, "wb") as file:
        file.write(files.dumps([_plain(a) for a in found], names, is_np_shape()))


def load_frombuffer(buf: bytes) -> list[NDArray] | dict[str, NDArray]:
    """Arrays from the bytes of a file; see `load`."""
    return _arrays(buf, is_np_shape())


def load(fname: str | os.PathLike[str]) -> list[NDArray] | dict[str, NDArray]:
    """Arrays from a file: a list, or a dict if they have names. MXNetError where the file was written under mx.np_shape
    and is not read under it, or the other way round."""
    return read(fname, is_np_shape())


def read(fname: str | os.PathLike[str], numpys: bool | None = None) -> list[NDArray] | dict[str, NDArray]:
    """As `load`, for files written either way (see files.loads)."""
    if not isinstance(fname, (str, os.PathLike)):
        raise TypeError(f"load: the file's name must be a string, got {type(fname).__name__}")
    with open(fname, "rb") as file:
        return _arrays(file.read(), numpys)


def _arrays(data: bytes, numpys: bool | None) -> list[NDArray] | dict[str, NDArray]:
    found, names = files.loads(bytes(data), numpys=numpys)
    made = [_wrapped(a) for a in found]
    return dict(zip(names, made)) if names else made
