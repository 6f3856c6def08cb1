"""mx.libinfo: the version of MXNet whose interface this is. There is no library file."""

from __future__ import annotations

__all__ = ["__version__", "find_include_path", "find_lib_path"]

__version__ = "1.9.1"


def find_lib_path(prefix: str = "libmxnet") -> list[str]:
    """No files: programs are compiled when they are bound."""
    return []


def find_include_path() -> str:
    """No folder: there are no C headers."""
    return ""
