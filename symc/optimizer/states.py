"""Reading optimizer states: pickles, of which nothing is made but arrays, numbers, optimizers and schedulers.

A pickle names classes and functions that reading it calls. Here only those of a list are known, and no module is
imported for them: what is found in a file cannot make this process do anything else. MXNet's own files are read, too:
its arrays become arrays of symc.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import sys
from typing import Any

from symc.aliases import INNER
from symc.base import MXNetError
from symc.lr_scheduler import LRScheduler
from symc.ndarray import NDArray, load_frombuffer
from symc.ndarray.files import LIST_MAGIC
from symc.optimizer.base import Optimizer

#: names that states may hold, besides arrays, optimizers and schedulers
_PLAIN = {
    "builtins": {"bytearray", "complex", "frozenset", "set", "slice", "object"},
    "collections": {"OrderedDict", "defaultdict"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
    "numpy": {"dtype", "ndarray", "bool_", "float16", "float32", "float64", "int8", "int32", "int64", "uint8"},
}  # fmt: skip
_NUMPY = {"_reconstruct", "scalar", "_frombuffer"}
#: where the modules of MXNet's pickles are here; what is in them is looked up as in the others
_MXNET = "mxnet."


class _Foreign:
    """An array that MXNet pickled, until its bytes have come."""

    def __init__(self, handle: Any = None) -> None:
        self.array: NDArray | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        held = state.get("handle")
        if held is not None:
            whole = struct.pack("<QQQ", LIST_MAGIC, 0, 1) + bytes(held) + struct.pack("<Q", 0)
            self.array = load_frombuffer(whole)[0]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(_MXNET):
            if name == "NDArray":
                return _Foreign
            inner = module[len(_MXNET) :]
            module = f"symc.{INNER.get(inner, inner)}"
        if name in _PLAIN.get(module, ()) or (module.startswith(("numpy.core.", "numpy._core.")) and name in _NUMPY):
            return getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, (NDArray, Optimizer, LRScheduler)):
            return found
        raise pickle.UnpicklingError(
            f"{module}.{name} is none of the arrays, numbers, optimizers and schedulers that states are made of; "
            "an optimizer of your own has to be imported before its states are read"
        )


def _own(value: Any) -> Any:
    """What was read, with arrays where MXNet's were."""
    if isinstance(value, _Foreign):
        return value.array
    if isinstance(value, dict):
        return {key: _own(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(map(_own, value))
    return value


def read_states(data: bytes) -> Any:
    """What `Updater.get_states` gave, here or in MXNet. MXNetError for anything else."""
    try:
        # a damaged number of a memo would make room for as many, so the numbers are looked at first
        count = 0
        for operation, number, _ in pickletools.genops(data):
            count += 1
            if operation.name.endswith(("PUT", "GET")) and int(number) > count:
                raise ValueError(f"memo {number} after {count} operations")
        return _own(_Unpickler(io.BytesIO(data)).load())
    except Exception as problem:
        # any of the known classes may raise what it likes for damaged bytes
        raise MXNetError(f"optimizer states cannot be read: {type(problem).__name__}: {problem}") from None
