"""The loop nests of the primitives that have no element rule: contractions, windows, copies, scatters.

Importing this package fills the table: a new nest goes into one of the modules named here.
"""

from symc.passes.loop.nests import copy, linear, window, winograd
from symc.passes.loop.nests.common import NESTS

__all__ = ["NESTS", "copy", "linear", "window", "winograd"]
