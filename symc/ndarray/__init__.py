"""mx.nd: arrays and the operators that run on them at once."""

from typing import Any

import symc.ops  # noqa: F401  (registers every operator)
from symc.aliases import inner_names as _inner_names
from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.custom import hand_arrays_as as _hand_arrays_as
from symc.ghosts import attach_members as _attach_members
from symc.ndarray import contrib, sparse
from symc.ndarray import distributions as _distributions
from symc.ndarray import imperative as _imperative
from symc.ndarray import pictures as _pictures
from symc.ndarray import splitting as _splitting
from symc.ndarray.exchange import from_dlpack, from_numpy
from symc.ndarray.late import attach_methods as _attach_late_methods
from symc.ndarray.late import waitall
from symc.ndarray.ndarray import (
    NDArray,
    arange,
    concatenate,
    eye,
    full,
    linspace,
    moveaxis,
    onehot_encode,
)  # fmt: skip
from symc.ndarray.storages import array, empty, load, load_frombuffer, ones, save, zeros
from symc.ndarray.storages import tostype as _tostype
from symc.ops.base import OPERATORS
from symc.ops.functions import install as _install
from symc.ops.functions import suggestion as _suggestion

_install(globals(), __name__, _imperative.make_function)
_hand_arrays_as(NDArray._of)
for _function in contrib.FUNCTIONS:
    setattr(contrib, _function.__name__, _function)
vars(_internal).update(_pictures.INTERNAL)  # type: ignore[name-defined]  # noqa: F821
globals().update(_imperative.helper_functions())
globals().update(_splitting.make_functions(_imperative.make_function))
NDArray.split_v2 = globals()["split_v2"]  # type: ignore[attr-defined]
for _name in ("add", "subtract", "multiply", "divide"):
    setattr(sparse, _name, globals()[_name])
NDArray.tostype = _tostype  # type: ignore[attr-defined]
_imperative.attach_methods(globals())
_attach_members(NDArray)
_attach_late_methods()
vars(random).update(_distributions.make_functions(_imperative.make_function))  # type: ignore[name-defined]  # noqa: F821

__all__ = [
    "NDArray", "arange", "array", "concatenate", "contrib", "empty", "eye", "from_dlpack", "from_numpy", "full",
    "linspace", "load", "load_frombuffer", "moveaxis", "onehot_encode", "ones", "save", "sparse", "waitall", "zeros",
]  # fmt: skip

globals().update(_inner_names(__name__))
for _module in (contrib, sparse, ndarray, _internal):  # type: ignore[name-defined]  # noqa: F821  (modules of this)
    _module.__getattr__ = _standing_elsewhere(_module.__name__)
_find = _standing_elsewhere(__name__)


def __getattr__(name: str) -> Any:
    if name in OPERATORS:  # registered after this module was imported
        return _imperative.made_later(OPERATORS[name], name)
    if name == "CachedOp":  # the compiler for whole Symbols, which arrays alone do not need
        from symc.ndarray.cached import SymbolFunction

        return SymbolFunction
    try:
        return _find(name)
    except AttributeError:
        raise AttributeError(f"mx.nd has no function {name!r}{_suggestion(name)}") from None
