"""Training steps over the arrays of several executors, with a kvstore or without: what mx.model offers to programs that
train without Module.fit, and what Module does itself."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symc.kvstore import KVStoreBase
from symc.kvstore import create as create_kvstore
from symc.ndarray import NDArray

#: elements of a parameter that is so large that a "local" store leaves the update to the devices, as in MXNet
LARGE = 1 << 24


def _create_kvstore(kvstore: Any, num_device: int, arg_params: Mapping[str, NDArray]) -> tuple[Any, bool]:
    """(the store, whether it runs the optimizer): none is needed for one device. TypeError for anything that is neither
    a store, nor the name of one, nor None."""
    on_store = bool(int(os.getenv("MXNET_UPDATE_ON_KVSTORE", "1")))
    if isinstance(kvstore, str):
        name = kvstore
        kvstore = None if num_device == 1 and "dist" not in name else create_kvstore(name)
        if kvstore is not None and name == "local":
            on_store = on_store and max((math.prod(a.shape) for a in arg_params.values()), default=0) <= LARGE
    if kvstore is not None and not isinstance(kvstore, KVStoreBase):
        raise TypeError(f"kvstore is a store, its name or None, not {type(kvstore).__name__}")
    return kvstore, kvstore is not None and on_store and kvstore.is_capable(KVStoreBase.OPTIMIZER)


def _initialize_kvstore(
    kvstore: Any, param_arrays: Any, arg_params: Mapping[str, NDArray], param_names: Sequence[str],
    update_on_kvstore: bool,
) -> None:  # fmt: skip
    """Put every parameter into the store, and, if it runs the optimizer, out of it onto every device."""
    for name, arrays in zip(param_names, param_arrays):
        if hasattr(kvstore, "init"):  # a store that only sums needs no first values
            kvstore.init(name, arg_params[name])
            if update_on_kvstore:
                _pull(kvstore, name, arrays)
        elif update_on_kvstore:
            kvstore.broadcast(name, arg_params[name], out=arrays)


def _pull(kvstore: Any, key: Any, arrays: Any) -> None:
    """Out of the store onto every device, sparse arrays too."""
    if any(a._sparse for a in arrays):
        kvstore.pull(key, arrays, ignore_sparse=False)
    else:
        kvstore.pull(key, arrays)


def _push_and_pull(kvstore: Any, key: Any, given: Any, out: Any, priority: int) -> None:
    if any(a._sparse for a in (*given, *out)):
        kvstore.push(key, given, priority=priority)
        _pull(kvstore, key, out)
    else:
        kvstore.pushpull(key, given, out, priority=priority)


def _update_params_on_kvstore(param_arrays: Any, grad_arrays: Any, kvstore: Any, param_names: Sequence[str]) -> None:
    """Let the store's optimizer take the gradients of all devices, and give every device the new parameters."""
    for at, (name, arrays, grads) in enumerate(zip(param_names, param_arrays, grad_arrays)):
        if grads[0] is not None:
            _push_and_pull(kvstore, name, grads, arrays, -at)


def _update_params(
    param_arrays: Any, grad_arrays: Any, updater: Callable[[Any, Any, Any], None], num_device: int,
    kvstore: Any = None, param_names: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Update every device's parameters with `updater`, after the store has summed the gradients, if there is one."""
    updates: list[list[tuple[int, Any, Any]]] = [[] for _ in range(num_device)]
    for i, (arrays, grads) in enumerate(zip(param_arrays, grad_arrays)):
        if grads[0] is None:
            continue
        if kvstore is not None:
            _push_and_pull(kvstore, i if param_names is None else param_names[i], grads, grads, -i)
        for device, (array, grad) in enumerate(zip(arrays, grads)):
            # the same parameter on another device has a state of its own
            updates[device].append((i * num_device + device, grad, array))
    for some in updates:
        if some:
            indices, gradients, weights = zip(*some)
            updater(list(indices), list(gradients), list(weights))
