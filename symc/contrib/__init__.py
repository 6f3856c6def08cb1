"""mx.contrib: the operators of mx.sym.contrib and mx.nd.contrib under their other names; SVRG, vocabularies."""

import importlib as _importlib

from symc.aliases import INNER as _INNER
from symc.ghosts import ghost as _ghost
from symc.ndarray import contrib as ndarray
from symc.symbol import contrib as symbol

nd, sym = ndarray, symbol

__all__ = ["nd", "ndarray", "svrg_optimization", "sym", "symbol", "text"]


def __getattr__(name: str) -> object:
    if f"contrib.{name}" in _INNER or name in ("svrg_optimization", "text"):
        return _importlib.import_module(f"symc.contrib.{name}")
    found = _ghost("symc", f"contrib.{name}")
    if found is None:
        raise AttributeError(f"module 'symc.contrib' has no attribute {name!r}")
    return found
