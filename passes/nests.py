"""The loop nests of the primitives that have no element rule: contractions, windows, copies, scatters.

Importing this module fills the table: a new nest goes into one of the modules named here.
"""

from symc.passes import nests_copy, nests_linear, nests_window
from symc.passes.nests_common import NESTS, accumulator

__all__ = ["NESTS", "accumulator", "nests_copy", "nests_linear", "nests_window"]
