"""KVStore: parameters by key, summed and updated in this process. There are no devices or machines to spread over."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symc.aliases import inner_names as _inner_names
from symc.aliases import standing_elsewhere
from symc.base import MXNetError, _as_list
from symc.ndarray import NDArray
from symc.ndarray.sparse import row_sparse_array
from symc.ndarray.sparse.kernels import rows_of
from symc.optimizer import Optimizer, Updater, get_updater
from symc.registry import warn_if_replaced

__all__ = ["KVStore", "KVStoreBase", "TestStore", "create"]

__getattr__ = standing_elsewhere(__name__)

globals().update(_inner_names(__name__))

#: a package to the import system: names below it are in symc.aliases
__path__: list[str] = []

LOCAL = ("local", "device", "nccl", "local_allreduce_cpu", "local_allreduce_device", "local_update_cpu")


class KVStoreBase:
    """Base of stores of one's own: a class that `register`s is made by `create` with its name. It has `broadcast` and
    `pushpull`, says what it `is_capable` of, its `type`, `rank` and `num_workers`."""

    #: the capability of applying an optimizer where the values are
    OPTIMIZER = "optimizer"
    #: registered classes by name, in small letters
    kv_registry: dict[str, builtins.type[KVStoreBase]] = {}

    @staticmethod
    def register(klass: builtins.type[KVStoreBase]) -> builtins.type[KVStoreBase]:
        """Let `create` make stores of this class by its name; a name that is taken is replaced, with a warning."""
        if not isinstance(klass, builtins.type):
            raise AssertionError(f"register takes a class, got {klass!r}")
        name = klass.__name__.lower()
        warn_if_replaced("kvstore", name, KVStoreBase.kv_registry.get(name), klass)
        KVStoreBase.kv_registry[name] = klass
        return klass

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """Give a key its value, and copy it into `out`."""
        raise NotImplementedError(f"{self.__class__.__name__} has no broadcast")

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """Sum the values of a key into `out` (default: into the values)."""
        raise NotImplementedError(f"{self.__class__.__name__} has no pushpull")

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Apply an optimizer to what is pushed."""
        raise NotImplementedError(f"{self.__class__.__name__} applies no optimizer")

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the store can do something: "optimizer"."""
        raise NotImplementedError(f"nothing is said about {capability!r}")

    def save_optimizer_states(self, fname: str, dump_optimizer: bool = False) -> None:
        """Write the optimizer's states."""
        raise NotImplementedError(f"{self.__class__.__name__} has no optimizer")

    def load_optimizer_states(self, fname: str) -> None:
        """Read the optimizer's states."""
        raise NotImplementedError(f"{self.__class__.__name__} has no optimizer")


class KVStore(KVStoreBase):
    """`push` sums what it gets into the key's value, or hands it to the updater; `pull` copies the value out."""

    rank, num_workers = 0, 1

    def __init__(self, type: str = "local") -> None:
        self.type = type
        self._values: dict[Any, NDArray] = {}
        self._updater: Any = None

    def init(self, key: Any, value: Any) -> None:
        """Give keys their first value."""
        for k, v in _pairs(key, value):
            if any(type(k) is not type(held) for held in self._values):
                raise MXNetError(f"kvstore: key {k!r} is a {type(k).__name__}, but other keys are not")
            if self._values and isinstance(k, str) is not isinstance(next(iter(self._values)), str):
                raise MXNetError(f"kvstore: its keys are numbers or texts, not both: {k!r} is of the other kind")
            if k in self._values:
                raise MXNetError(f"kvstore: key {k!r} has a value already")
            self._values[k] = _first(v).copy()

    def push(self, key: Any, value: Any, priority: int = 0) -> None:
        """Sum the arrays given for a key; the updater, if there is one, applies the sum as a gradient."""
        for k, v in _pairs(key, value):
            held = self._value(k)
            parts = v if isinstance(v, (list, tuple)) else [v]
            total = parts[0].copy()
            for part in parts[1:]:
                total += part
            if self._updater is not None:
                self._updater(k, total, held)
            else:
                held[:] = total

    def pull(self, key: Any, out: Any = None, priority: int = 0, ignore_sparse: bool = True) -> None:
        """Copy a key's value into `out` (an array or a list of them). Sparse arrays stay as they are, unless
        `ignore_sparse` is False: `row_sparse_pull` is for them."""
        for k, target in _pairs(key, out):
            for one in target if isinstance(target, (list, tuple)) else [target]:
                held = self._value(k)
                if one is not held and (one.stype == "default" or not ignore_sparse):  # an adopted one is the value
                    held.copyto(one)

    def row_sparse_pull(self, key: Any, out: Any = None, priority: int = 0, row_ids: Any = None) -> None:
        """Put rows of a key's value into `out`, a row_sparse array or a list of them. `row_ids` says which, in any
        order and perhaps repeated: one array for all, or a list with one for each."""
        if out is None or row_ids is None:
            raise AssertionError("row_sparse_pull needs out and row_ids")
        rows = [row_ids] if isinstance(row_ids, NDArray) else row_ids
        if not isinstance(rows, (list, tuple)):
            raise AssertionError("row_sparse_pull: row_ids is an NDArray or a list of them")
        if len(rows) == 1 and isinstance(out, (list, tuple)) and not isinstance(key, (list, tuple)):
            rows = list(rows) * len(out)
        targets = out if isinstance(key, (list, tuple)) else [out]
        wanted = rows if isinstance(key, (list, tuple)) else [rows]
        if len(targets) != len(wanted):
            raise AssertionError(f"row_sparse_pull: {len(wanted)} row_ids for {len(targets)} values")
        for (k, one), ids in zip(_pairs(key, out), wanted):
            arrays, chosen = (list(x) if isinstance(x, (list, tuple)) else [x] for x in (one, ids))
            if len(arrays) != len(chosen):
                raise AssertionError(f"row_sparse_pull: {len(chosen)} row_ids for {len(arrays)} values")
            for array, numbers in zip(arrays, chosen):
                pull_rows(self._value(k), array, numbers)

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """`push`, then `pull` into `out` (default: into what was pushed)."""
        self.push(key, value, priority)
        self.pull(key, value if out is None else out, priority)

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """`init`, then `pull`."""
        self.init(key, value)
        self.pull(key, out, priority)

    def adopt(self, arrays: Mapping[Any, NDArray]) -> None:
        """The values of these keys live in the arrays from now on."""
        self._values.update(arrays)

    def holds(self, arrays: Mapping[Any, NDArray]) -> bool:
        """Whether the values of these keys live in the arrays."""
        return all(self._values.get(key) is array for key, array in arrays.items())

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the store can do something: "optimizer". MXNetError for other words."""
        if capability.lower() != KVStoreBase.OPTIMIZER:
            raise MXNetError(f"nothing is known of the capability {capability!r}")
        return True

    def _barrier(self) -> None:
        """Nobody else is to be waited for."""

    def _value(self, key: Any) -> NDArray:
        if key not in self._values:
            raise MXNetError(f"kvstore: key {key!r} was not initialized")
        return self._values[key]

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Pushed values are gradients for this optimizer from now on."""
        self._updater = get_updater(optimizer)

    def _set_updater(self, updater: Callable[[Any, NDArray, NDArray], None]) -> None:
        self._updater = updater

    def set_gradient_compression(self, compression_params: Any) -> None:
        """MXNetError: nothing is sent anywhere."""
        raise MXNetError("gradient compression is for distributed training, which symc does not have")

    def save_optimizer_states(self, fname: str, dump_optimizer: bool = False) -> None:
        """Write the optimizer's states."""
        with open(fname, "wb") as file:
            file.write(self._optimizer_updater().get_states(dump_optimizer))

    def load_optimizer_states(self, fname: str) -> None:
        """Read the optimizer's states."""
        with open(fname, "rb") as file:
            self._optimizer_updater().set_states(file.read())

    def _optimizer_updater(self) -> Updater:
        if not isinstance(self._updater, Updater):
            raise AssertionError("Cannot save or load states: the kvstore has no optimizer")
        return self._updater


@KVStoreBase.register
class TestStore(KVStoreBase):
    """A store that keeps nothing: `broadcast` copies, `pushpull` sums. For tests of what uses stores."""

    type, rank, num_workers = "teststore", 0, 1

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        for one in _as_list(out):
            one[:] = value

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        parts = _as_list(value)
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        for one in _as_list(value if out is None else out):
            one[:] = total

    @staticmethod
    def is_capable(capability: str) -> bool:
        """It has no optimizer."""
        if capability.lower() != KVStoreBase.OPTIMIZER:
            raise ValueError(f"nothing is known of the capability {capability!r}")
        return False


def pull_rows(value: NDArray, out: NDArray, row_ids: NDArray) -> None:
    """Make a row_sparse array hold these rows of a value. MXNetError for another kind of array, or rows that the value
    does not have."""
    if out.stype != "row_sparse" or out.shape != value.shape:
        raise MXNetError(
            f"row_sparse_pull: out is a row_sparse array of shape {value.shape}, not a {out.stype} one of {out.shape}"
        )
    rows = np.unique(row_ids._read.astype(np.int64))
    if rows.size and (rows[0] < 0 or rows[-1] >= value.shape[0]):
        raise MXNetError(f"row_sparse_pull: rows {rows[0]} to {rows[-1]} are wanted of {value.shape[0]}")
    out._receive(row_sparse_array((rows_of(value, rows), rows), value.shape, dtype=value.dtype))


def _first(value: Any) -> NDArray:
    found: NDArray = value[0] if isinstance(value, (list, tuple)) else value
    return found


def _pairs(key: Any, value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(key, (list, tuple)):
        return [(key, value)]
    if len(key) != len(value):
        raise ValueError(f"kvstore: {len(key)} keys but {len(value)} values")
    return list(zip(key, value))


def create(name: str = "local") -> Any:
    """A store: of a registered class, or a KVStore. MXNetError for the distributed ones."""
    if not isinstance(name, str):
        raise TypeError("name must be a string")
    name = name.lower()
    if name in KVStoreBase.kv_registry:
        return KVStoreBase.kv_registry[name]()
    if name not in LOCAL:
        raise MXNetError(f"kvstore {name!r} is not there; symc trains in one process: use one of {', '.join(LOCAL)}")
    return KVStore(name)
