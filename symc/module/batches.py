"""Batches and parameters, fitted to what a module is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.io import DataBatch, DataDesc
from symc.ndarray import NDArray, concatenate


def copy_parameter(name: str, source: NDArray, target: NDArray) -> None:
    """Copy an array in. ValueError if its shape differs."""
    if source.shape != target.shape:
        raise ValueError(
            f"parameter {name!r} has shape {target.shape}, but an array of shape {source.shape} was given for it"
        )
    target[:] = source


def with_batch(d: DataDesc, size: int) -> DataDesc:
    """A description for another batch size."""
    axis = max(DataDesc.get_batch_axis(d.layout), 0)
    return DataDesc(d.name, (*d.shape[:axis], size, *d.shape[axis + 1 :]), d.dtype, d.layout)


def merged(batches: Sequence[Any]) -> Any:
    """A list of batches, one per device, as one."""

    def joined(parts: Sequence[Sequence[NDArray]]) -> list[NDArray]:
        return [concatenate(list(arrays)) for arrays in zip(*parts)]

    return DataBatch(joined([b.data for b in batches]), joined([b.label or [] for b in batches]), batches[0].pad)
