"""Memory that is shared with others: numpy's arrays, and whatever speaks DLPack."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from symc.base import MXNetError
from symc.context import cpu
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray, array
from symc.runtime.memory import aligned


class _Memory:
    """The memory of a numpy array, which lives as long as somebody looks at it, as numpy takes it."""

    def __init__(self, owner: Array) -> None:
        self.owner = owner
        interface = dict(owner.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


#: arrays whose memory was taken over: they cannot be written to, but NDArrays over them can
_taken: WeakValueDictionary[int, Array] = WeakValueDictionary()


def from_numpy(ndarray: Array, zero_copy: bool = True, array_cls: type[NDArray] = NDArray) -> NDArray:
    """An NDArray of a numpy array. With `zero_copy` it takes over the memory: the numpy array shows what happens there,
    and cannot be written to any more. ValueError for one that is not contiguous. `array_cls` is NDArray only."""
    if array_cls is not NDArray:
        raise MXNetError(f"from_numpy: array_cls={array_cls!r} must be mx.nd.NDArray")
    if not zero_copy:
        return array(ndarray, dtype=ndarray.dtype)
    if not ndarray.flags.c_contiguous:
        raise ValueError("Only c-contiguous arrays are supported for zero-copy")
    again = _taken.get(id(ndarray)) is ndarray
    if ndarray.flags.writeable:
        _taken[id(ndarray)] = ndarray
    memory = np.asarray(_Memory(ndarray)) if again else ndarray.view()
    ndarray.flags.writeable = False
    return NDArray._of(memory, cpu())


#: numpy before 2.0 takes all memory of DLPack for read-only, which had no word for it then; it gave none that was
_BLIND = np.lib.NumpyVersion(np.__version__) < "2.0.0"


def from_dlpack(dlpack: Any) -> NDArray:
    """An NDArray over memory given by DLPack: an object with __dlpack__, or a capsule. Memory that is read-only or not
    contiguous is copied."""
    found = np.from_dlpack(dlpack if hasattr(dlpack, "__dlpack__") else _Capsule(dlpack))
    if _BLIND:
        found = np.asarray(_Memory(found))
    return NDArray._of(found if found.flags.c_contiguous and found.flags.writeable else aligned(found), cpu())


class _Capsule:
    """A bare DLPack capsule as an object that numpy takes."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)
