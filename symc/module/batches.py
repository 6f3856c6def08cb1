"""Batches, fitted to what a module is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.io import DataBatch, DataDesc
from symc.ndarray import NDArray, concatenate


def labels_of(batch: Any) -> Sequence[Any]:
    """The labels of a batch, which may be any object with `data`."""
    return getattr(batch, "label", None) or ()


def described(
    batch: Any, data: Sequence[DataDesc], label: Sequence[DataDesc]
) -> tuple[Sequence[DataDesc], Sequence[DataDesc]]:
    """What a batch says of its shapes, or its arrays do; labels that it does not have follow its size."""
    found = getattr(batch, "provide_data", None)
    found = found or [DataDesc(d.name, a.shape, d.dtype, d.layout) for d, a in zip(data, batch.data)]
    labels = getattr(batch, "provide_label", None)
    labels = labels or [DataDesc(d.name, a.shape, d.dtype, d.layout) for d, a in zip(label, labels_of(batch))]
    return found, labels or [_with_batch(d, batch.data[0].shape[0]) for d in label]


def _with_batch(d: DataDesc, size: int) -> DataDesc:
    """A description for another batch size."""
    axis = max(DataDesc.get_batch_axis(d.layout), 0)
    return DataDesc(d.name, (*d.shape[:axis], size, *d.shape[axis + 1 :]), d.dtype, d.layout)


def merged(batches: Sequence[Any]) -> Any:
    """A list of batches, one per device, as one."""

    def joined(parts: Sequence[Sequence[NDArray]]) -> list[NDArray]:
        return [concatenate(list(arrays)) for arrays in zip(*parts)]

    pad = getattr(batches[0], "pad", None)
    return DataBatch(joined([b.data for b in batches]), joined([labels_of(b) for b in batches]), pad)
