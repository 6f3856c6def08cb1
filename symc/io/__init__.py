"""Data for training: batches, and the iterators that make them."""

from symc.aliases import inner_names as _inner_names
from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.io.arrays import NDArrayIter
from symc.io.base import DataBatch, DataDesc, DataIter, MXDataIter
from symc.io.detections import ImageDetRecordIter
from symc.io.mnist import MNISTIter
from symc.io.records import ImageRecordInt8Iter, ImageRecordIter, ImageRecordUInt8Iter
from symc.io.tables import CSVIter, LibSVMIter
from symc.io.wrapping import PrefetchingIter, ResizeIter

#: names of earlier versions
ImageRecordIter_v1, ImageRecordUInt8Iter_v1 = ImageRecordIter, ImageRecordUInt8Iter

__all__ = [
    "CSVIter", "DataBatch", "DataDesc", "DataIter", "ImageDetRecordIter", "ImageRecordInt8Iter", "ImageRecordIter",
    "ImageRecordIter_v1",
    "ImageRecordUInt8Iter", "ImageRecordUInt8Iter_v1", "LibSVMIter", "MNISTIter", "MXDataIter", "NDArrayIter",
    "PrefetchingIter", "ResizeIter",
]  # fmt: skip

globals().update(_inner_names(__name__))

__getattr__ = _standing_elsewhere(__name__)
