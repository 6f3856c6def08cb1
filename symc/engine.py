"""mx.engine: a program is compiled as a whole, so there are no bulks of operators; their size is only remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["bulk", "set_bulk_size"]

_size = [15]


def set_bulk_size(size: int) -> int:
    """Remember a size, and give the one before. It changes nothing."""
    before, _size[0] = _size[0], int(size)
    return before


@contextmanager
def bulk(size: int) -> Iterator[None]:
    """A scope with a bulk size of its own."""
    before = set_bulk_size(size)
    try:
        yield
    finally:
        set_bulk_size(before)
