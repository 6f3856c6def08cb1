"""mx.sym: Symbols and the functions that compose them, a function per operator and its sub-namespaces."""

from typing import Any

import symc.ops  # noqa: F401  (registers every operator)
from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.ghosts import attach_members as _attach_members
from symc.ops import functions as _functions
from symc.symbol import contrib, random
from symc.symbol import operators as _operators
from symc.symbol.json import load, load_json
from symc.symbol.symbol import Group, Symbol, Variable, var

_functions.install(globals(), __name__, _operators.make_function)
for _function in random.FUNCTIONS:
    setattr(random, _function.__name__, _function)
globals().update(_operators.helper_functions())
from symc.symbol.creation import applied as _applied  # noqa: E402
from symc.symbol.creation import arange, eye, full, histogram, linspace, ones, split_v2, zeros  # noqa: E402

_operators.attach_methods(globals())
_attach_members(Symbol)
_internal._CachedOp = _applied  # type: ignore[name-defined]  # noqa: F821  (a module of this package)
_internal.__getattr__ = _standing_elsewhere(_internal.__name__)  # type: ignore[name-defined]  # noqa: F821
_find = _standing_elsewhere(__name__)

__all__ = [
    "Group", "Symbol", "Variable", "arange", "contrib", "eye", "full", "histogram", "linspace", "load",
    "load_json", "ones", "random", "split_v2", "var", "zeros",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _operators.OPERATORS:  # registered after this module was imported
        return _operators.made_later(_operators.OPERATORS[name], name)
    if name in ("linalg", "image", "sparse"):
        return _functions.submodule(globals(), __name__, name)
    try:
        return _find(name)
    except AttributeError:
        raise AttributeError(f"mx.sym has no function {name!r}{_functions.suggestion(name)}") from None
