"""mx.executor_manager: how batches are divided among devices, as programs import it to feed executors of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.ndarray import NDArray

__all__: list[str] = []


def _split_input_slice(batch_size: int, work_load_list: Sequence[float]) -> list[slice]:
    """The rows of a batch that each device takes, by its share of the work; the last takes what rounding leaves over.

    ValueError where a device would get none.
    """
    total = sum(work_load_list)
    counts = [round(load * batch_size / total) for load in work_load_list]
    counts[-1] += max(batch_size - sum(counts), 0)
    slices: list[slice] = []
    end = 0
    for count in counts:
        begin, end = end, min(end + count, batch_size)
        if begin >= end:
            raise ValueError(
                f"Too many slices. Some splits are empty: {batch_size} rows for {len(work_load_list)} devices"
            )
        slices.append(slice(begin, end))
    return slices


def _check_arguments(symbol: Any) -> None:
    """ValueError if two arguments, or two auxiliary states, have one name."""
    for what, names in (("argument", symbol.list_arguments()), ("auxiliary state", symbol.list_auxiliary_states())):
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Find duplicated {what} name {name!r}; give every one a name of its own: {names}")


def _load_general(data: Sequence[NDArray], targets: Sequence[Any]) -> None:
    """Copy arrays into arrays, or their rows into several: a target is an array or a list of (slice, array)."""
    for source, target in zip(data, targets):
        if isinstance(target, NDArray):
            source.copyto(target)
            continue
        if target[-1][0].stop != source.shape[0]:
            raise AssertionError(f"Batch size miss match. Expected {target[-1][0].stop}, got {source.shape[0]}")
        for rows, part in target:
            source[rows].copyto(part)


def _load_data(batch: Any, targets: Sequence[Any]) -> None:
    """_load_general for a batch's data."""
    _load_general(batch.data, targets)


def _load_label(batch: Any, targets: Sequence[Any]) -> None:
    """_load_general for a batch's labels."""
    _load_general(batch.label, targets)
