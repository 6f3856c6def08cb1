"""Batches of pictures with boxes from files of records: ImageDetRecordIter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from symc.base import MXNetError
from symc.io.records import ImageRecordIter, Normalization
from symc.ir.types import Array
from symc.pixels.boxes import BoxDistortion, parse_boxes
from symc.recordio import MXRecordIO, unpack


class ImageDetRecordIter(ImageRecordIter):
    """Batches (batch, *data_shape) of the pictures in a file of records, and their boxes, as ImageRecordIter gives
    pictures and labels.

    A record's labels are the width of their header (2 and more), that of a box (5 and more), the rest of the header,
    and boxes: class, left, top, right and bottom as parts of the picture, then anything. `label_width` is their number;
    -1 means any. Labels of a batch are (batch, 4 + L): channels, rows and columns of the picture, the number of labels,
    the labels, and `label_pad_value` up to L, which is the most labels that a record has, or `label_pad_width` if that
    is more. A smaller `label_pad_width` above 0 is refused.

    Pictures and boxes are distorted as `symc.pixels.boxes.BoxDistortion` says, and normalised by `mean_r`, `std_r`,
    `scale` and so on. Where a picture does not fill `data_shape` ("fit", "shrink"), the rest is 0 before that.
    """

    kinds: ClassVar[tuple[Any, Any]] = (BoxDistortion, Normalization)

    def __init__(
        self, path_imgrec: Any = None, data_shape: Sequence[int] | None = None, batch_size: int = 0,
        label_width: int = -1, label_pad_width: int = 0, label_pad_value: float = -1.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        for name in kwargs.keys() & {"mirror", "rand_mirror"}:
            raise MXNetError(
                f"{type(self).__name__} has no {name}, which leaves boxes where they were: rand_mirror_prob"
            )
        self._label_width, self._pad_width, self._pad_value = label_width, label_pad_width, label_pad_value
        super().__init__(path_imgrec, data_shape, batch_size, label_width=label_width, **kwargs)

    def _row_width(self, given: int) -> int:
        most = max(map(len, self._labels.values() if self._labels else self._stored_labels()), default=0)
        if 0 < self._pad_width < most:
            raise MXNetError(f"label_pad_width={self._pad_width}, but a record of {self._path} has {most} labels")
        return 4 + max(most, self._pad_width)

    def _stored_labels(self) -> Iterator[Array]:
        with MXRecordIO(self._path, "r") as reader:
            for position in self._records:
                reader._file.seek(position)
                record = reader.read()
                assert record is not None
                yield np.atleast_1d(unpack(record)[0].label)

    def _label_of(self, header: Any) -> Array:
        labels = self._given_labels(header)
        if self._label_width > 0 and len(labels) != self._label_width:
            raise MXNetError(
                f"{self._path}: record {header.id} has {len(labels)} labels, but label_width={self._label_width}"
            )
        return labels

    def _distorted(self, pixels: Array, labels: Array, rng: random.Random) -> tuple[Array, Array]:
        header, boxes = parse_boxes(labels, self._path)
        _, height, width = self.data_shape
        made, boxes = self._distort(pixels, boxes, height, width, rng)
        rows, columns, channels = made.shape
        whole = np.zeros((height, width, channels), np.uint8)
        whole[:rows, :columns] = made
        found = np.concatenate([header, boxes.ravel()])
        row = np.full(self._width, self._pad_value, np.float32)
        row[:4] = channels, rows, columns, len(found)
        row[4 : 4 + len(found)] = found
        return whole, row
