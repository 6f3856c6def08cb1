"""Data for training: batches, and the iterators that make them."""

from symc.io.arrays import NDArrayIter
from symc.io.base import DataBatch, DataDesc, DataIter
from symc.io.tables import CSVIter
from symc.io.wrapping import PrefetchingIter, ResizeIter

__all__ = ["CSVIter", "DataBatch", "DataDesc", "DataIter", "NDArrayIter", "PrefetchingIter", "ResizeIter"]
