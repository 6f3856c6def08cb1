"""What the whole package shares: the error every refused program raises, and small text helpers."""

from __future__ import annotations

from symc.ops.base import MXNetError, ShapeError

__all__ = ["MXNetError", "ShapeError", "numeric_types", "string_types"]

numeric_types = (float, int)
string_types = (str,)
