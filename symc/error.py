"""Errors by their names: `mx.error.register` of MXNet's programs, and its class for faults of the library itself."""

from __future__ import annotations

from symc.base import MXNetError, register_error

__all__ = ["InternalError", "MXNetError", "register"]

register = register_error


@register_error
class InternalError(MXNetError):
    """A fault of the library and not of the program that calls it. symc has kinds of its own for that; this one is for
    programs that raise or catch it."""


for _kind in (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
    register_error(_kind.__name__, _kind)
