"""Batches of pictures from files of records: ImageRecordIter and its kin."""

from __future__ import annotations

import logging
import os
import random
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

import numpy as np

from symc.base import MXNetError
from symc.io.base import DataBatch, DataDesc, MXDataIter
from symc.io.workers import Pending, Workers
from symc.ir.types import Array
from symc.ndarray import array, load, save
from symc.pixels.codec import decode, decode_stored
from symc.pixels.distortion import Distortion
from symc.recordio import MXRecordIO, unpack

_HEAD = struct.Struct("<II")


@dataclass
class Normalization:
    """What becomes of a picture's numbers: (x - mean) * contrast + illumination, times scale / std of each channel."""

    mirror: bool = False
    rand_mirror: bool = False
    mean_img: str = ""
    mean_r: float = 0.0
    mean_g: float = 0.0
    mean_b: float = 0.0
    mean_a: float = 0.0
    std_r: float = 1.0
    std_g: float = 1.0
    std_b: float = 1.0
    std_a: float = 1.0
    scale: float = 1.0
    max_random_contrast: float = 0.0
    max_random_illumination: float = 0.0

    def __call__(self, pixels: Array, mean: Array | None, rng: random.Random) -> Array:
        """A picture (channels, height, width) as float32; `mean` is the mean picture, where there is one."""
        if self.mirror or (self.rand_mirror and rng.random() < 0.5):
            pixels = pixels[:, :, ::-1]
        channels = pixels.shape[0]
        if mean is None:
            mean = np.array([self.mean_r, self.mean_g, self.mean_b, self.mean_a][:channels], np.float32)[:, None, None]
        contrast = 1 + _around(self.max_random_contrast, rng)
        light = _around(self.max_random_illumination, rng)
        deviation = np.array([self.std_r, self.std_g, self.std_b, self.std_a][:channels], np.float32)[:, None, None]
        made = (pixels.astype(np.float32) - mean) * np.float32(contrast) + np.float32(light)
        return np.asarray(made * np.float32(self.scale) / deviation)


def _around(most: float, rng: random.Random) -> float:
    return rng.uniform(-most, most) if most else 0.0


#: what may be given besides: how the work is divided, which says nothing about the answers
_NO_MEANING = {
    "verbose", "prefetch_buffer", "ctx", "device_id", "aug_seq", "shuffle_chunk_size", "shuffle_chunk_seed", "silent",
}  # fmt: skip


class ImageRecordIter(MXDataIter):
    """Batches (batch, *data_shape) of the pictures in a file of records, `path_imgrec`, and their labels.

    `data_shape` is (channels, height, width), with 1, 3 or 4 channels. A record has `label_width` labels;
    `path_imglist`, lines of a number, labels and a name between tabs, replaces them by the numbers that records carry.
    `path_imgidx`, the index of the records, need not be given. `part_index` of `num_parts` takes a part of the records.

    `shuffle` draws a new order for every pass. The last batch is filled from the next pass, which then goes on behind
    it (`round_batch`), or with zeros; `pad` says how many rows of it do not count.

    Pictures are distorted as `symc.pixels.distortion.Distortion` says and normalised as `Normalization` does; their
    fields are arguments, too. `mean_img` is a file with the mean picture, which is computed and written if it is
    missing. Random choices are those of `seed` (and `seed_aug`): MXNet's are others. `preprocess_threads` decode ahead.
    """

    dtype: ClassVar[Any] = np.float32

    def __init__(
        self, path_imgrec: Any = None, data_shape: Sequence[int] | None = None, batch_size: int = 0,
        path_imglist: Any = "", path_imgidx: Any = "", label_width: int = 1, shuffle: bool = False, seed: int = 0,
        seed_aug: int | None = None, num_parts: int = 1, part_index: int = 0, round_batch: bool = True,
        preprocess_threads: int = 4, dtype: Any = None, data_name: str = "data", label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        name = type(self).__name__
        for given, what in ((path_imgrec, "path_imgrec"), (data_shape, "data_shape"), (batch_size, "batch_size")):
            if not given:
                raise MXNetError(f"{name}: required parameter {what} is missing")
        if preprocess_threads < 1:
            raise MXNetError(f"{name}: preprocess_threads={preprocess_threads} must be at least 1")
        if dtype is not None and np.dtype(dtype) != self.dtype:
            raise MXNetError(f"{name} gives {np.dtype(self.dtype)}, not dtype={dtype!r}: cast its batches")
        assert data_shape is not None
        self.data_shape = tuple(data_shape)
        if len(self.data_shape) != 3 or self.data_shape[0] not in (1, 3, 4):
            raise MXNetError(f"{name}: data_shape={self.data_shape} must be (1, 3 or 4 channels, height, width)")
        self._path = os.fspath(path_imgrec)
        self._records = _positions(self._path, num_parts, part_index, bool(path_imgidx))
        if not self._records:
            raise MXNetError(f"{name}: part {part_index} of {num_parts} of {self._path} has no records")
        self._labels = _listed(path_imglist) if path_imglist else None
        self._width, self._shuffle, self._round = self._row_width(label_width), shuffle, round_batch
        self._distort, self._normalize = self._settings(kwargs)
        self._orders = np.random.RandomState(seed)
        self._seed_aug, self._drawn = seed if seed_aug is None else seed_aug, 0
        self.provide_data = [DataDesc(data_name, (batch_size, *self.data_shape), self.dtype)]
        self.provide_label = [DataDesc(label_name, (batch_size, self._width) if self._width > 1 else (batch_size,))]
        #: records of this pass that are not in a batch yet, and batches that are being read
        self._left: deque[int] = deque()
        self._ahead: deque[tuple[Pending, int]] = deque()
        self._workers = Workers(preprocess_threads)
        #: the last batch of this pass is being read; it was given
        self._ended = self._given = False
        self._mean = self._mean_picture()
        self._begin()

    def _row_width(self, given: int) -> int:
        """Numbers in a batch's row of labels, for the labels that a record has."""
        return given

    #: settings of what happens to a picture, and of what happens to its numbers
    kinds: ClassVar[tuple[Any, Any]] = (Distortion, Normalization)

    def _settings(self, given: dict[str, Any]) -> tuple[Any, Any]:
        found: list[Any] = []
        for kind in self.kinds:
            own = {f.name: given.pop(f.name) for f in fields(kind) if f.name in given}
            found.append(kind(**own))
        unknown = sorted(given.keys() - _NO_MEANING)
        if unknown:  # MXNet takes and ignores them
            logging.warning("%s: nothing is known of %s, which change nothing", type(self).__name__, ", ".join(unknown))
        return found[0], found[1]

    # -- order

    def _pass(self) -> Sequence[int]:
        count = len(self._records)
        return [int(i) for i in self._orders.permutation(count)] if self._shuffle else range(count)

    def _begin(self) -> None:
        self._left = deque(self._pass())
        self._ended = self._given = False

    def reset(self) -> None:
        """To the next pass, behind what has filled the last batch of this one; from the middle of one, to its
        beginning."""
        for pending, _ in self._ahead:
            pending.wanted = False
        self._ahead.clear()
        if self._given and self._round:
            self._ended = self._given = False
            if not self._left:
                self._begin()
        else:
            self._begin()

    def _chosen(self) -> tuple[list[int], int] | None:
        """Records of the next batch, and how many of its rows do not count; None behind the last one."""
        if self._ended or not self._left:
            return None
        records = [self._left.popleft() for _ in range(min(self.batch_size, len(self._left)))]
        pad = self.batch_size - len(records)
        if not self._left:
            self._ended = True
        if pad and self._round:
            for _ in range(pad):
                if not self._left:
                    self._left = deque(self._pass())
                records.append(self._left.popleft())
        return records, pad

    # -- pictures

    def _order_ahead(self) -> None:
        """Have the pictures of two batches read."""
        while len(self._ahead) < 2:
            chosen = self._chosen()
            if chosen is None:
                return
            tasks = []
            for record in chosen[0]:
                tasks.append(partial(self._sample, self._records[record], self._drawn))
                self._drawn += 1
            self._ahead.append((self._workers.order(tasks), chosen[1]))

    def _sample(self, position: int, number: int) -> tuple[Array, Array, int]:
        """A picture (channels, height, width), its labels and its number, of the record at a place in the file."""
        rng = random.Random(self._seed_aug * 1_000_003 + number)
        pixels, labels, identity = self._read(position)
        pixels, labels = self._distorted(pixels, labels, rng)
        return self._finished(np.moveaxis(pixels, 2, 0), rng), labels, identity

    def _distorted(self, pixels: Array, labels: Array, rng: random.Random) -> tuple[Array, Array]:
        return self._distort(pixels, self.data_shape[1], self.data_shape[2], rng), labels

    def _finished(self, pixels: Array, rng: random.Random) -> Array:
        return self._normalize(pixels, self._mean, rng)

    def _read(self, position: int) -> tuple[Array, Array, int]:
        with MXRecordIO(self._path, "r") as reader:
            reader._file.seek(position)
            record = reader.read()
        assert record is not None
        header, data = unpack(record)
        try:
            pixels = (
                decode(data, 1 if self.data_shape[0] == 1 else 3) if self.data_shape[0] < 4 else decode_stored(data)
            )
        except MXNetError as problem:
            raise MXNetError(f"{self._path}, record {header.id}: {problem}") from None
        if pixels.shape[2:] != self.data_shape[:1]:
            raise MXNetError(f"{self._path}, record {header.id}: not {self.data_shape[0]} channels: {pixels.shape}")
        return pixels, self._label_of(header), header.id

    def _given_labels(self, header: Any) -> Array:
        """All labels of a record: its own, or those that path_imglist has for it."""
        if self._labels is None:
            return np.atleast_1d(np.asarray(header.label, np.float32))
        if header.id not in self._labels:
            raise MXNetError(f"{self._path}: record {header.id} is not in path_imglist")
        return self._labels[header.id]

    def _label_of(self, header: Any) -> Array:
        labels = self._given_labels(header)
        if self._labels is not None and self._width == 1:
            labels = labels[:1]
        if len(labels) != self._width:
            raise MXNetError(
                f"{self._path}: record {header.id} has {len(labels)} labels, but label_width={self._width}"
            )
        return labels

    def _mean_picture(self) -> Array | None:
        """The mean picture in the file `mean_img`, which is made of all pictures if it is not there."""
        path = self._normalize.mean_img
        if not path:
            return None
        if os.path.exists(path):
            found = load(path)
            mean = (next(iter(found.values())) if isinstance(found, Mapping) else found[0]).asnumpy()
            if mean.shape != self.data_shape:
                raise MXNetError(f"{path} is a mean picture of shape {mean.shape}, but data_shape={self.data_shape}")
            return np.asarray(mean)
        total = np.zeros(self.data_shape, np.float64)
        for number, position in enumerate(self._records):
            rng = random.Random(number)
            total += np.moveaxis(self._distorted(*self._read(position)[:2], rng)[0], 2, 0)
        mean = (total / len(self._records)).astype(np.float32)
        save(path, {"mean_img": array(mean)})
        return mean

    # -- batches

    def advance(self) -> DataBatch | None:
        self._order_ahead()
        if not self._ahead:
            return None
        pending, pad = self._ahead.popleft()
        self._order_ahead()
        self._given = self._ended and not self._ahead
        samples = self._workers.results(pending)
        data = np.zeros((self.batch_size, *self.data_shape), self.dtype)
        labels = np.zeros((self.batch_size, self._width), np.float32)
        numbers = np.zeros(self.batch_size, np.uint64)
        for row, (pixels, label, identity) in enumerate(samples):
            data[row], labels[row], numbers[row] = pixels, label, identity
        made = labels if self._width > 1 else labels[:, 0]
        return DataBatch(
            [array(data, dtype=self.dtype)], [array(made)], pad, numbers, provide_data=self.provide_data,
            provide_label=self.provide_label,
        )  # fmt: skip


class ImageRecordUInt8Iter(ImageRecordIter):
    """As ImageRecordIter, with pictures as they are, 0 to 255 as uint8: nothing is normalised but turned round."""

    dtype: ClassVar[Any] = np.uint8

    def _finished(self, pixels: Array, rng: random.Random) -> Array:
        setting = self._normalize
        turned = setting.mirror or (setting.rand_mirror and rng.random() < 0.5)
        return pixels[:, :, ::-1] if turned else pixels


class ImageRecordInt8Iter(ImageRecordIter):
    """As ImageRecordIter, as int8: what is below -128 or above 127 becomes that."""

    dtype: ClassVar[Any] = np.int8

    def _finished(self, pixels: Array, rng: random.Random) -> Array:
        return np.clip(np.rint(super()._finished(pixels, rng)), -128, 127).astype(np.int8)


def _positions(path: str, parts: int, part: int, by_count: bool) -> list[int]:
    """Where the records of a part of the file begin: of equal bytes, or of equal counts."""
    if not 0 <= part < parts:
        raise MXNetError(f"part_index={part} must be below num_parts={parts}")
    found = []
    with MXRecordIO(path, "r") as reader:
        file = reader._file
        size = file.seek(0, os.SEEK_END)
        position = 0
        while position < size:
            file.seek(position)
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or _HEAD.unpack(head)[0] != 0xCED7230A:
                raise MXNetError(f"{path} is damaged or no file of records: none begins at byte {position}")
            word = _HEAD.unpack(head)[1]
            if word >> 29 < 2:  # whole, or a record's first part
                found.append(position)
            length = word & (1 << 29) - 1
            position += _HEAD.size + length + -length % 4
    if by_count:
        step = -(-len(found) // parts)
        return found[part * step : (part + 1) * step]
    step = -(-size // parts)
    step += -step % 4
    return [p for p in found if part * step <= p < (part + 1) * step]


def _listed(path: Any) -> dict[int, Array]:
    """Labels by number, of a list of pictures."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            parts = line.strip().split("\t")
            try:
                found[int(float(parts[0]))] = np.array(parts[1:-1], np.float32)
            except ValueError:
                raise MXNetError(
                    f"{path}, line {number}: {line.strip()!r} is not a number, labels and a name between tabs"
                ) from None
    return found
