"""Versions of memory: who computed something from an array sees by them whether that still holds.

A version answers one question: may anybody have written here since? Whoever writes to an NDArray's memory `touch`es it,
and `NDArray._data`, the way to write there, does so by itself; readers take `NDArray._read`. Programs touch what they
update. Memory in other hands (numpy's, by DLPack; the outputs of a program that is bound to them) may be written at any
time, and so may memory that symc has not allocated: it has no version.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from symc.ir.types import Array

#: no two writes have one number, whichever threads they come from
_clock = itertools.count(1)


class Block(np.ndarray):
    """Bytes that symc has allocated. Arrays are made over it as a buffer, so that every view of them finds it."""

    __slots__ = ("loans", "version")

    version: int
    #: those who hold the memory besides symc's arrays, by their ids; None stands for one that nobody can follow
    loans: dict[int | None, Any]


def block(nbytes: int, buffer: Any = None) -> Block:
    """Uninitialised bytes, or those of a buffer."""
    made = Block(nbytes, np.uint8) if buffer is None else Block(nbytes, np.uint8, buffer)
    made.version, made.loans = 0, {}
    return made


def block_of(array: Array) -> Block | None:
    """The memory that an array is a part of, where symc has allocated it."""
    base: Any = array.base
    if type(base) is np.ndarray:  # numpy lets views refer to the first array over the block
        base = base.base
    return base if type(base) is Block else None


def touch(array: Array) -> None:
    """The array's memory is, or was, written to."""
    found = block_of(array)
    if found is not None:
        found.version = next(_clock)


def touching(arrays: Iterable[Array]) -> Callable[[], None] | None:
    """`touch` for all of these arrays at once, to be called often; None where there is nothing to do."""
    blocks = [found for array in arrays if (found := block_of(array)) is not None]

    def touch_all() -> None:
        for found in blocks:
            found.version = next(_clock)

    return touch_all if blocks else None


def version_of(array: Array) -> int | None:
    """A number that changes whenever the array's memory may have been written; None where nobody knows when that is."""
    found = block_of(array)
    return None if found is None or found.loans else found.version


def give_away(array: Array) -> None:
    """From now on somebody may write to the array's memory at any time."""
    found = block_of(array)
    if found is not None:
        found.loans[None] = None


class _Loan:
    """Memory in somebody's hands, as numpy takes it: views of it live no longer than this."""

    def __init__(self, owner: Array) -> None:
        self.owner, self.__array_interface__ = owner, owner.__array_interface__


def lend(array: Array) -> Array:
    """The array for somebody who may write to it as long as he, or a view of it, lives."""
    found = block_of(array)
    if found is None:
        return array
    loan = _Loan(array)
    number = id(loan)

    def returned(_: object) -> None:
        found.version = next(_clock)
        found.loans.pop(number, None)

    found.loans[number] = weakref.ref(loan, returned)
    return np.asarray(loan)
