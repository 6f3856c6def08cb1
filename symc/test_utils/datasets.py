"""Data sets that MXNet's examples begin with. There is no download: where the files are not there, the handwritten
digits that symc ships stand in for them, in the same shapes and numbers, and the log says so."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from symc.base import MXNetError
from symc.io import MNISTIter
from symc.io.mnist import TEST, TRAINING, idx_bytes, read_idx, standin
from symc.ir.types import Array
from symc.recordio import MXIndexedRecordIO, pack

#: the colors of digits that stand in for CIFAR-10: a class is a digit
_COLORS = np.array([[230, 80, 60], [60, 200, 90], [70, 110, 240], [220, 210, 60], [200, 90, 220]])


def _say(what: str) -> None:
    logging.warning("%s is not here and not downloaded: the handwritten digits that symc ships stand in for it", what)


def get_mnist() -> dict[str, Array]:
    """train_data (60000, 1, 28, 28) and test_data (10000, 1, 28, 28), float32 from 0 to 1, train_label and test_label,
    int8: of MNIST's files in `data`, or of what stands in for them."""
    found: dict[str, Array] = {}
    for part, names in (("train", TRAINING), ("test", TEST)):
        paths = [_there(name) for name in names]
        if all(paths):
            images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
        else:
            _say("MNIST")
            images, labels = standin(part == "train")
        found[f"{part}_data"] = images[:, None].astype(np.float32) / 255
        found[f"{part}_label"] = labels.astype(np.int8)
    return found


def _there(name: str) -> str:
    """The file of a data set in `data`, compressed or not; "" if there is none."""
    return next((p for p in (f"data/{name}", f"data/{name}.gz") if os.path.exists(p)), "")


def get_mnist_ubyte() -> None:
    """See to it that MNIST's four files are in the folder `data`, or what stands in for them."""
    os.makedirs("data", exist_ok=True)
    for train, names in ((True, TRAINING), (False, TEST)):
        if not all(os.path.exists(f"data/{name}") for name in names):
            _say("MNIST")
            for name, values in zip(names, standin(train)):
                with open(f"data/{name}", "wb") as file:
                    file.write(idx_bytes(values))


def get_mnist_iterator(
    batch_size: int, input_shape: Sequence[int], num_parts: int = 1, part_index: int = 0
) -> tuple[MNISTIter, MNISTIter]:
    """(training, validation) iterators over MNIST in `data`; pictures are flat unless `input_shape` has three axes."""
    get_mnist_ubyte()
    flat = len(input_shape) != 3
    train, test = (
        MNISTIter(
            f"data/{names[0]}",
            f"data/{names[1]}",
            batch_size,
            shuffle,
            flat,
            num_parts=num_parts,
            part_index=part_index,
        )
        for names, shuffle in ((TRAINING, True), (TEST, True))
    )
    return train, test


def get_cifar10() -> None:
    """See to it that CIFAR-10's records and lists are in `data/cifar`, or what stands in for them: 5,000 and 1,000
    pictures of 32 x 32 with digits in color, whose class is the digit."""
    os.makedirs("data/cifar", exist_ok=True)
    for name, train, count in (("train", True, 5000), ("test", False, 1000)):
        base = f"data/cifar/{name}"
        if all(os.path.exists(base + suffix) for suffix in (".rec", ".lst")):
            continue
        _say("CIFAR-10")
        images, labels = standin(train)
        with MXIndexedRecordIO(f"{base}.idx", f"{base}.rec", "w") as records, open(f"{base}.lst", "w") as listed:
            for number in range(count):
                label = int(labels[number])
                records.write_idx(number, pack((0, float(label), number, 0), _png(_colored(images[number], number))))
                listed.write(f"{number}\t{label}\t{label}/{number}.png\n")


def _colored(digit: Array, number: int) -> Array:
    """A digit of 28 x 28 on a ground of another color, 32 x 32 x 3."""
    share = np.pad(digit, 2)[:, :, None] / 255
    front, ground = _COLORS[number % 5], _COLORS[(number // 5 + 1 + number % 5) % 5] // 3
    return np.asarray(np.rint(front * share + ground * (1 - share))).astype(np.uint8)


def _png(pixels: Array) -> bytes:
    """A picture (height, width, 3) as a PNG file: these are written where Pillow need not be installed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _refuse(what: str) -> NoReturn:
    raise MXNetError(
        f"{what}: symc downloads nothing; fetch the file yourself and put it where the program looks for it"
    )


def get_mnist_pkl() -> None:
    """MXNetError unless data/mnist.pkl.gz is there: symc downloads nothing."""
    if not os.path.exists("data/mnist.pkl.gz"):
        _refuse("get_mnist_pkl (data/mnist.pkl.gz)")


def download(
    url: str, fname: str | None = None, dirname: str | None = None, overwrite: bool = False, retries: int = 5
) -> str:
    """The path at which a file of this URL is kept, if it is there. MXNetError otherwise: symc downloads nothing."""
    name = fname or url.split("/")[-1]
    path = os.path.join(dirname, name) if dirname else name
    if not os.path.exists(path) or overwrite:
        _refuse(f"download of {url} to {path}")
    return path


def download_model(
    model_name: str, dst_dir: str = "./", meta_info: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[str | None, int]:
    """The prefix and the epoch of a checkpoint, whose two files are in the folder; (None, 0) for a model that is not in
    `meta_info`. MXNetError where a file is missing: symc downloads nothing."""
    if meta_info is not None and model_name not in meta_info:
        return None, 0
    addresses = meta_info[model_name] if meta_info is not None else {}
    prefix = os.path.join(dst_dir, model_name)
    for kind, end in (("symbol", "-symbol.json"), ("params", "-0000.params")):
        if meta_info is not None and kind not in addresses:
            raise AssertionError(f"meta_info has no {kind} of {model_name}")
        download(addresses.get(kind, f"the {kind} of {model_name}"), prefix + end)
    return prefix, 0


def get_zip_data(data_dir: str, url: str, data_origin_name: str) -> None:
    """MXNetError unless the file is in the folder: symc downloads nothing."""
    download(url, data_origin_name, data_dir)


def get_bz2_data(data_dir: str, data_name: str, url: str, data_origin_name: str) -> Any:
    """MXNetError unless the unpacked file is in the folder: symc downloads nothing."""
    download(url, data_name, data_dir)
