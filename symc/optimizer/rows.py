"""Steps with sparse weights and gradients: on the rows that the gradient has, or on dense copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.ndarray import NDArray
from symc.ndarray.sparse.kernels import rows_of, warn_fallback, write_rows
from symc.optimizer.base import Optimizer
from symc.optimizer.compiled import bind_step, bound_for, run_bound

#: the fewest elements that a program for rows is made for; the next has twice as many, so that there are few of them
LEAST = 1 << 10


def step_stored(optimizer: Optimizer, index: Any, arrays: Sequence[NDArray], numbers: dict[str, float]) -> None:
    """Update a weight and its states in place, given (weight, gradient, states...) of which some are sparse.

    Where the optimizer is lazy, only the rows that the gradient has change; weight decay and momenta do not act on the
    others. Else the step is the dense one, on copies.
    """
    gradient = arrays[1]
    if gradient.stype == "row_sparse" and _knows(optimizer) and optimizer.is_lazy(arrays[0], arrays[2:]):
        _step_rows(optimizer, arrays, numbers)
        return
    warn_fallback(f"{type(optimizer).__name__}.update", [a.stype for a in arrays])
    dense = [a.tostype("default") if a._sparse else a for a in arrays]
    run_bound(optimizer, bind_step(optimizer, dense, tuple(numbers)), numbers)
    for array, copy in zip(arrays, dense):
        if array._sparse and array is not gradient:
            array._receive(copy)


def _knows(optimizer: Optimizer) -> bool:
    """Whether `is_lazy` was written for the rule: it is not for one that a subclass has changed."""
    first = next(c for c in type(optimizer).__mro__ if {"is_lazy", "step"} & vars(c).keys())
    return "is_lazy" in vars(first)


def _step_rows(optimizer: Optimizer, arrays: Sequence[NDArray], numbers: dict[str, float]) -> None:
    """A rule works element by element, so any number of rows is updated by a program for a vector that they fit in."""
    gradient: Any = arrays[1]
    rows, count = gradient._aux[0], gradient._values.size
    if not count:
        return
    held = [arrays[0], *arrays[2:]]
    parts = [rows_of(a, rows) for a in held]
    parts.insert(1, gradient._values)
    size = max(LEAST, 1 << (count - 1).bit_length())
    key = ("rows", size, optimizer.rule_key(), *(p.dtype for p in parts))
    bound = bound_for(optimizer).get(key)
    if bound is None:
        scratch = [NDArray._of(np.zeros(size, p.dtype)) for p in parts]
        bound = bound_for(optimizer)[key] = bind_step(optimizer, scratch, tuple(numbers))
    for array, part in zip(bound.arrays, parts):
        array._data[:count] = part.reshape(-1)
    run_bound(optimizer, bound, numbers)
    changed = [bound.arrays[0], *bound.arrays[2:]]
    for array, made in zip(held, changed):
        write_rows(array, rows, made._read[:count].reshape(gradient._values.shape))
