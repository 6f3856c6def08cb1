"""ImageIter: batches of pictures from a file of records, or from picture files."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc.image.augmenters import CreateAugmenter
from symc.image.functions import imdecode
from symc.io import DataBatch, DataDesc, DataIter
from symc.ndarray import NDArray
from symc.recordio import MXIndexedRecordIO, MXRecordIO, unpack

__all__ = ["ImageIter"]

_LABELS = ("int32", "float32", "int64", "float64")


class ImageIter(DataIter):
    """Batches of pictures, (batch, channels, height, width), through augmenters.

    The pictures: `path_imgrec`, a file of records, with `path_imgidx` its index (for `shuffle` and parts of it); or a
    list of labels and file names below `path_root`: `path_imglist`, a file with lines of a number, labels and a name
    between tabs, or `imglist`, a list of [label or labels..., name]. A list beside records replaces their labels.

    `part_index` of `num_parts` takes a part of the pictures. `aug_list` are the augmenters; without it
    `CreateAugmenter` makes them of the further arguments. `last_batch_handle`: "pad" fills the last batch from the
    beginning, "discard" leaves it out, "roll_over" keeps it for the next pass. Pictures that cannot be read raise
    RuntimeError.
    """

    def __init__(
        self, batch_size: int, data_shape: Sequence[int], label_width: int = 1, path_imgrec: Any = None,
        path_imglist: Any = None, path_root: Any = None, path_imgidx: Any = None, shuffle: bool = False,
        part_index: int = 0, num_parts: int = 1, aug_list: list[Any] | None = None, imglist: list[Any] | None = None,
        data_name: str = "data", label_name: str = "softmax_label", dtype: str = "float32",
        last_batch_handle: str = "pad", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        if not (path_imgrec or path_imglist or isinstance(imglist, list)):
            raise AssertionError(f"{type(self).__name__} needs pictures: path_imgrec, path_imglist or imglist")
        if dtype not in _LABELS:
            raise AssertionError(f"dtype={dtype!r}: labels are {', '.join(_LABELS)}")
        self.imgrec: MXRecordIO | None = None
        self.imgidx: list[Any] | None = None
        if path_imgrec and path_imgidx:
            self.imgrec = indexed = MXIndexedRecordIO(path_imgidx, path_imgrec, "r")
            self.imgidx = list(indexed.keys)
        elif path_imgrec:
            self.imgrec = MXRecordIO(path_imgrec, "r")
        self.imglist: dict[Any, tuple[NDArray, str]] | None = None
        if path_imglist:
            self.imglist = _listed(path_imglist, dtype)
        elif isinstance(imglist, list):
            self.imglist = {str(number): _entry(entry, dtype) for number, entry in enumerate(imglist, 1)}
        self.path_root = path_root
        self.check_data_shape(data_shape)
        self.data_shape = tuple(data_shape)
        self.provide_data = [DataDesc(data_name, (batch_size, *data_shape))]
        self.provide_label = [DataDesc(label_name, (batch_size, label_width) if label_width > 1 else (batch_size,))]
        self.label_width, self.shuffle, self.last_batch_handle = label_width, shuffle, last_batch_handle
        self.seq = self._order(shuffle, part_index, num_parts)
        self.num_image = len(self.seq) if self.seq is not None else None
        self.auglist = CreateAugmenter(data_shape, **kwargs) if aug_list is None else aug_list
        self.cur = 0
        self._allow_read = True
        #: a batch that is not full, for the next pass: data, labels, how many
        self._cache: tuple[NDArray, NDArray, int] | None = None
        self.reset()

    def _order(self, shuffle: bool, part_index: int, num_parts: int) -> list[Any] | None:
        """Keys of the pictures of this part; None: the records, one after the other."""
        if self.imgrec is None:
            assert self.imglist is not None
            keys = list(self.imglist)
        elif self.imgidx is not None:
            keys = self.imgidx
        elif shuffle or num_parts > 1:
            raise AssertionError("shuffle and num_parts need path_imgidx, the index of the records")
        else:
            return None
        if num_parts > 1:
            if not 0 <= part_index < num_parts:
                raise AssertionError(f"part_index={part_index} must be below num_parts={num_parts}")
            size = len(keys) // num_parts
            keys = keys[part_index * size : (part_index + 1) * size]
        return keys

    def reset(self) -> None:
        """To the beginning; with "roll_over" what was left over comes first."""
        if self.seq is not None and self.shuffle:
            random.shuffle(self.seq)
        if self.last_batch_handle != "roll_over" or self._cache is None:
            self._restart()

    def hard_reset(self) -> None:
        """To the beginning; what was left over is forgotten."""
        if self.seq is not None and self.shuffle:
            random.shuffle(self.seq)
        self._restart()
        self._cache = None

    def _restart(self) -> None:
        if self.imgrec is not None:
            self.imgrec.reset()
        self.cur, self._allow_read = 0, True

    def next_sample(self) -> tuple[Any, bytes]:
        """(label, bytes of the picture file) of the next picture. StopIteration behind the last one."""
        if not self._allow_read:
            raise StopIteration
        if self.seq is None:
            assert self.imgrec is not None
            record = self.imgrec.read()
            if record is None:
                if self.last_batch_handle != "discard":
                    self.imgrec.reset()
                raise StopIteration
            header, picture = unpack(record)
            return header.label, picture
        if self.cur >= len(self.seq):
            if self.last_batch_handle != "discard":
                self.cur = 0
            raise StopIteration
        key = self.seq[self.cur]
        self.cur += 1
        if self.imgrec is None:
            assert self.imglist is not None
            label, name = self.imglist[key]
            return label, self.read_image(name)
        assert isinstance(self.imgrec, MXIndexedRecordIO)
        record = self.imgrec.read_idx(key)
        assert record is not None
        header, picture = unpack(record)
        return header.label if self.imglist is None else self.imglist[key][0], picture

    def _fill(self, batch_data: NDArray, batch_label: NDArray, start: int = 0) -> int:
        """Put pictures into a batch from `start` on; how many there are in it then. StopIteration if none."""
        filled = start
        while filled < self.batch_size:
            try:
                label, encoded = self.next_sample()
            except StopIteration:
                if not filled:
                    raise
                break
            data = self.imdecode(encoded)
            try:
                filled += self._put(batch_data, batch_label, filled, data, label)
            except RuntimeError as problem:
                logging.debug("a picture is left out: %s", problem)
        return filled

    def _put(self, batch_data: NDArray, batch_label: NDArray, at: int, data: NDArray, label: Any) -> int:
        """A picture and its label into the batch; 1. RuntimeError for what is left out."""
        self.check_valid_image(data)
        batch_data[at] = self.postprocess_data(self.augmentation_transform(data))
        labels = label.asnumpy() if isinstance(label, NDArray) else np.asarray(label)
        batch_label[at] = labels.reshape(batch_label.shape[1:])
        return 1

    def next(self) -> DataBatch:
        if self._cache is not None:
            batch_data, batch_label, filled = self._cache
        else:
            batch_data = nd.zeros((self.batch_size, *self.data_shape))
            batch_label = nd.zeros(self.provide_label[0].shape)
            filled = self._fill(batch_data, batch_label)
        pad = self.batch_size - filled
        if pad:
            if self.last_batch_handle == "discard":
                raise StopIteration
            if self.last_batch_handle == "roll_over" and self._cache is None:
                self._cache = batch_data, batch_label, filled
                raise StopIteration
            self._fill(batch_data, batch_label, filled)
            if self.last_batch_handle == "pad":
                self._allow_read = False
            self._cache = None
        return DataBatch([batch_data], [batch_label], pad=pad)

    # -- what subclasses may change

    def check_data_shape(self, data_shape: Sequence[int]) -> None:
        """ValueError for a shape that is not (3, height, width)."""
        if len(data_shape) != 3:
            raise ValueError(f"data_shape={tuple(data_shape)} is (channels, height, width)")
        if data_shape[0] != 3:
            raise ValueError(f"data_shape={tuple(data_shape)}: pictures have 3 channels here")

    def check_valid_image(self, data: Any) -> None:
        """RuntimeError for a picture that is to be left out."""
        if not data[0].shape:
            raise RuntimeError("a picture has no pixels")

    def imdecode(self, s: bytes) -> NDArray:
        """The picture in the bytes of a file. RuntimeError that says which picture is broken."""
        try:
            return imdecode(s)
        except Exception as problem:
            where = f"index: {self.cur - 1}"
            if self.seq is not None:
                key = self.seq[self.cur - 1]
                where = f"index: {key}" if self.imglist is None else f"filename: {self.imglist[key][1]}"
            raise RuntimeError(f"the picture of {where} cannot be read: {problem}") from problem

    def read_image(self, fname: str) -> bytes:
        """The bytes of a picture file."""
        with open(os.path.join(self.path_root or "", fname), "rb") as file:
            return file.read()

    def augmentation_transform(self, data: NDArray) -> NDArray:
        """The picture through the augmenters."""
        for augmenter in self.auglist:
            data = augmenter(data)
        return data

    def postprocess_data(self, datum: NDArray) -> NDArray:
        """Channels first."""
        return nd.array(np.moveaxis(datum.asnumpy(), 2, 0), dtype=datum.dtype)


def _labels(given: Any, dtype: str) -> NDArray:
    return nd.array(np.asarray(given, dtype=dtype).reshape(-1), dtype=dtype)


def _listed(path: Any, dtype: str) -> dict[int, tuple[NDArray, str]]:
    """The lines of a list of pictures. ValueError for one that is none."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            parts = line.strip().split("\t")
            try:
                found[int(parts[0])] = (_labels(parts[1:-1], dtype), parts[-1])
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: {line.strip()!r} is not a number, labels and a name between tabs"
                ) from None
    return found


def _entry(entry: Sequence[Any], dtype: str) -> tuple[NDArray, str]:
    """A picture of a list in Python: labels, one or several or an array of them, and a name."""
    return _labels(entry[:-1] if len(entry) > 2 else entry[0], dtype), entry[-1]
