"""Data for training: batches, and the iterators that make them."""

from symc.io.arrays import NDArrayIter
from symc.io.base import DataBatch, DataDesc, DataIter
from symc.io.tables import CSVIter, LibSVMIter
from symc.io.wrapping import PrefetchingIter, ResizeIter

__all__ = ["CSVIter", "DataBatch", "DataDesc", "DataIter", "LibSVMIter", "NDArrayIter", "PrefetchingIter", "ResizeIter"]
