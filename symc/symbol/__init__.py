"""mx.sym: Symbols and the functions that compose them."""

import symc.ops  # noqa: F401  (registers every operator)
from symc.symbol import operators as _operators
from symc.symbol.json import load, load_json
from symc.symbol.symbol import Group, Symbol, Variable, var

_operators.install(globals(), __name__, _operators.make_function)
globals().update(_operators.helper_functions())
from symc.symbol.creation import arange, eye, full, linspace, ones, split_v2, zeros  # noqa: E402

_operators.attach_methods(globals())

__all__ = [
    "Group", "Symbol", "Variable", "arange", "eye", "full", "linspace", "load", "load_json", "ones", "split_v2", "var", "zeros",
]  # fmt: skip
