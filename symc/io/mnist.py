"""MNISTIter: batches of MNIST's files of pictures and labels; and what stands in for them where there is no network."""

from __future__ import annotations

import functools
import gzip
import logging
import os
import struct
from importlib.resources import files
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.io.base import DataBatch, DataDesc, MXDataIter
from symc.ir.types import Array
from symc.ndarray import array
from symc.pixels.resize import CUBIC, resize

#: the files of the data set: training pictures and labels, test pictures and labels
TRAINING = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MNISTIter(MXDataIter):
    """Batches of the pictures and labels in MNIST's files: (batch, 1, height, width), or (batch, height * width) with
    `flat`, from 0 to 255/256. What does not fill a batch is left out. `shuffle` draws one order for all passes, by
    `seed` (MXNet's is another one). `part_index` of `num_parts` takes a part.

    A file of MNIST's that is missing is replaced by the digits that symc ships, as `standin` makes them, with a warning
    in the log. MXNetError for other files that are missing, and for those that are damaged.
    """

    def __init__(
        self, image: Any = "./train-images-idx3-ubyte", label: Any = "./train-labels-idx1-ubyte", batch_size: int = 128,
        shuffle: bool = True, flat: bool = False, seed: int = 0, silent: bool = False, num_parts: int = 1,
        part_index: int = 0, data_name: str = "data", label_name: str = "softmax_label", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size)
        pictures, labels = read_idx(image, 3), read_idx(label, 1)
        count = min(len(pictures), len(labels))
        if not 0 <= part_index < num_parts:
            raise MXNetError(f"MNISTIter: part_index={part_index} must be below num_parts={num_parts}")
        part = slice(part_index * count // num_parts, (part_index + 1) * count // num_parts)
        pictures, labels = pictures[part], labels[part]
        if shuffle:
            order = np.random.RandomState(seed).permutation(len(labels))
            pictures, labels = pictures[order], labels[order]
        self._pictures = pictures.reshape(len(labels), -1) if flat else pictures[:, None]
        self._labels = labels.astype(np.float32)
        self.provide_data = [DataDesc(data_name, (batch_size, *self._pictures.shape[1:]))]
        self.provide_label = [DataDesc(label_name, (batch_size,))]
        self._row = -batch_size

    def reset(self) -> None:
        self._row = -self.batch_size

    def advance(self) -> DataBatch | None:
        self._row += self.batch_size
        rows = slice(self._row, self._row + self.batch_size)
        if rows.stop > len(self._labels):
            return None
        return DataBatch(
            [array(self._pictures[rows] * np.float32(1 / 256))], [array(self._labels[rows])], 0,
            np.arange(rows.start, rows.stop, dtype=np.uint64), provide_data=self.provide_data,
            provide_label=self.provide_label,
        )  # fmt: skip


def read_idx(path: Any, axes: int) -> Array:
    """The bytes in a file of MNIST's form (also compressed by gzip), with so many axes. See MNISTIter about those that
    are missing."""
    path = os.fspath(path)
    name = os.path.basename(path).removesuffix(".gz")
    if not os.path.exists(path):
        if name in (*TRAINING, *TEST):
            logging.warning(
                "MNISTIter: there is no file %s; the handwritten digits that symc ships stand in for MNIST "
                "(symc/docs/mxnet-programs.md)", path,
            )  # fmt: skip
            return standin(name in TRAINING)[axes == 1]
        raise MXNetError(
            f"MNISTIter: there is no file {path}; mx.test_utils.get_mnist_ubyte() makes stand-ins in data/"
        )
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        head, data = file.read(4 * (1 + axes)), file.read()
    wanted = 0x800 + axes
    if len(head) < 4 * (1 + axes) or struct.unpack(">I", head[:4])[0] != wanted:
        raise MXNetError(f"MNISTIter: {path} does not begin with {wanted}, as files of bytes with {axes} axes do")
    shape = struct.unpack(f">{axes}I", head[4:])
    if len(data) < np.prod(shape):
        raise MXNetError(f"MNISTIter: {path} says it has {shape} bytes, but it ends after {len(data)}")
    return np.frombuffer(data, np.uint8, int(np.prod(shape))).reshape(shape)


def idx_bytes(values: Array) -> bytes:
    """Bytes in MNIST's form."""
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@functools.lru_cache(maxsize=2)
def standin(train: bool) -> tuple[Array, Array]:
    """(pictures (60000 or 10000, 28, 28), classes), bytes, in the place of MNIST: the digits of examples/digits.txt,
    enlarged to 20 x 20 and moved by up to four pixels. Every fifth digit is in the test part only."""
    with files("symc.examples").joinpath("digits.npz").open("rb") as file:
        kept = np.load(file)
        images, classes = kept["images"], kept["labels"]
    chosen = np.arange(len(classes)) % 5 != 0
    images, classes = (v[chosen if train else ~chosen] for v in (images, classes))
    stacked = np.moveaxis(images.astype(np.float32) * (255 / 16), 0, 2)
    large = np.clip(np.rint(resize(stacked, 20, 20, CUBIC)), 0, 255).astype(np.uint8)
    count = 60000 if train else 10000
    rng = np.random.RandomState(28)
    rows = rng.permutation(count) % len(classes)
    moves = rng.randint(0, 9, (count, 2))
    pictures = np.zeros((count, 28, 28), np.uint8)
    for y in range(9):
        for x in range(9):
            here = np.flatnonzero((moves == (y, x)).all(axis=1))
            pictures[here, y : y + 20, x : x + 20] = np.moveaxis(large[:, :, rows[here]], 2, 0)
    labels = classes[rows]
    for made in (pictures, labels):
        made.flags.writeable = False
    return pictures, labels
