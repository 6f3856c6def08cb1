"""mx.random: the seed of the process, and random arrays: the functions of mx.nd.random."""

from __future__ import annotations

from symc import ndarray
from symc.runtime.keys import seed

_FUNCTIONS = {name: made for name, made in vars(vars(ndarray)["random"]).items() if not name.startswith("_")}
globals().update(_FUNCTIONS)

__all__ = ["seed", *_FUNCTIONS]
