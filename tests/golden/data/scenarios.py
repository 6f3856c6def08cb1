"""What is done with MXNet 1.9.1 and with symc alike, of data: records, pictures, iterators. Each scenario gives
something that JSON holds.

Run under MXNet to record the answers: `python scenarios.py` writes answers.json beside this file.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

MAGIC = struct.pack("<I", 0xCED7230A)
#: bytes of records: short ones, and the magic number in all places
RECORDS = [
    b"",
    b"x",
    b"abcd",
    MAGIC,
    MAGIC + b"a",
    b"a" + MAGIC,
    b"abcd" + MAGIC + b"efgh" + MAGIC + b"z",
    MAGIC * 2,
    MAGIC * 3 + b"end!",
    b"ab" + MAGIC + MAGIC[:3],
    MAGIC[:2],
    b"abcdef" + MAGIC + b"gh" + MAGIC,
    b"abcd" + MAGIC,
]
#: headers, and bytes that are packed with them
PACKED = [
    ((0, 3.5, 7, 0), b"abc"),
    ((9, 3, 7, 1), b""),
    ((1, [1.0, 2.0], 2**40, 5), b"abc"),
    ((0, [4.0], 1, 2), b"z"),
    ((0, (), 1, 2), b"none"),
    ((0, np.float64(2.5), 1, 2), b"z"),
    ((0, np.arange(3), 1, 2), b"z"),
    ((0, np.ones((2, 2)), 1, 2), b"z"),
]


def record_file(mx, folder):
    path = os.path.join(folder, "a.rec")
    writer = mx.recordio.MXRecordIO(path, "w")
    for record in RECORDS:
        writer.write(record)
    writer.close()
    return Path(path).read_bytes().hex()


def indexed_file(mx, folder):
    index, path = os.path.join(folder, "b.idx"), os.path.join(folder, "b.rec")
    writer = mx.recordio.MXIndexedRecordIO(index, path, "w")
    told = []
    for number, record in enumerate(RECORDS):
        told.append(writer.tell())
        writer.write_idx(number * 10, record)
    writer.close()
    return [told, Path(index).read_text(), Path(path).read_bytes().hex()]


def packed(mx, folder):
    found = []
    for header, data in PACKED:
        made = mx.recordio.pack(mx.recordio.IRHeader(*header), data)
        head, rest = mx.recordio.unpack(made)
        found.append([made.hex(), head.flag, np.asarray(head.label).tolist(), head.id, head.id2, rest.hex()])
    return found


# --------------------------------------------------------------------------------------------- pictures


def png(pixels):
    """A picture (height, width[, channels]) as the bytes of a PNG file, without a library."""
    pixels = np.asarray(pixels)
    deep = pixels.dtype == np.uint16
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if deep else "u1").tobytes() for row in pixels)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def picture(seed, height, width, channels=3):
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)


def soft(seed, height, width):
    """A picture without noise."""
    y, x = np.mgrid[:height, :width]
    a, b, c = np.random.RandomState(seed).rand(3)
    return np.stack([127 + 127 * np.sin(x * a), 127 + 127 * np.cos(y * b), 127 + 127 * np.sin(c * (x + y))], 2).astype(
        np.uint8
    )


def listed(array):
    return np.asarray(array.asnumpy() if hasattr(array, "asnumpy") else array).round(4).tolist()


def refused(call):
    """What kind of error a call ends with; "" if with none."""
    try:
        call()
    except Exception as problem:
        return type(problem).__name__
    return ""


def decoding(mx, folder):
    files = [
        png(picture(0, 3, 4)),
        png(picture(1, 3, 4, 4)),
        png(picture(2, 3, 4)[:, :, 0]),
        png(picture(3, 2, 2, 2)),
        png(picture(5, 2, 3)[:, :, 0].astype(np.uint16) * 200),
    ]
    found = []
    for data in files:
        found += [
            listed(mx.image.imdecode(data)),
            listed(mx.image.imdecode(data, flag=0)),
            listed(mx.image.imdecode(bytearray(data), to_rgb=0)),
        ]
    found.append(listed(mx.image.imdecode(np.frombuffer(files[0], np.uint8), 0)))
    found.append(listed(mx.image.imdecode(png(picture(4, 2, 3).astype(np.uint16) * 200))))
    for name, wrong in (("text", b"abc"), ("empty", b"")):
        found.append([name, refused(lambda wrong=wrong: mx.image.imdecode(wrong).asnumpy())])
    path = os.path.join(folder, "a.png")
    Path(path).write_bytes(files[0])
    found.append(listed(mx.image.imread(path)))
    found.append(refused(lambda: mx.image.imread(path + "no").asnumpy()))
    found.append(refused(lambda: mx.image.imdecode("text")))
    return found


def jpeg_decoding(mx, folder):
    """The file was written by Pillow: 16 x 24, 4:2:0, quality 90, orientation 6 (which is not followed)."""
    data = Path(__file__).with_name("turned.jpg").read_bytes()
    return [
        listed(mx.image.imdecode(data)),
        listed(mx.image.imdecode(data, flag=0)),
        listed(mx.image.imdecode(data, 1, 0)),
    ]


def resizing(mx, folder):
    found = []
    for seed, (old, new) in enumerate(
        [
            ((7, 9), (4, 5)),
            ((4, 5), (9, 7)),
            ((8, 6), (4, 3)),
            ((6, 9), (2, 3)),
            ((5, 5), (5, 8)),
            ((3, 8), (6, 4)),
            ((1, 4), (3, 1)),
            ((33, 9), (39, 51)),
        ]
    ):
        for method in range(5):
            whole = mx.nd.array(picture(seed, *old), dtype="uint8")
            found.append(listed(mx.image.imresize(whole, new[1], new[0], interp=method))[-1])
            found.append(listed(mx.image.imresize(whole[:, :, :1].astype("float32"), new[1], new[0], method))[-1])
    whole = mx.nd.array(picture(9, 8, 6), dtype="uint8")
    for interp in (2, 9):
        found += [listed(mx.image.resize_short(whole, size, interp)) for size in (4, 10)]
    found.append(refused(lambda: mx.image.resize_short(whole, 4, 7)))
    found.append([mx.image.scale_down((640, 480), (720, 120)), mx.image.scale_down((3, 4), (5, 6))])
    return found


def borders(mx, folder):
    whole = mx.nd.array(picture(0, 2, 3), dtype="uint8")
    found = [listed(mx.image.copyMakeBorder(whole, 1, 2, 3, 4, type=kind)) for kind in (0, 1, 2, 3, 16)]
    found.append(listed(mx.image.copyMakeBorder(whole[:, :, :1], 1, 1, 1, 1, type=4)))
    found.append(listed(mx.image.copyMakeBorder(whole, 1, 0, 0, 1, value=7.6)))
    found.append(listed(mx.image.copyMakeBorder(whole, 1, 0, 0, 1, values=(1, 2, 300))))
    found.append(listed(mx.image.copyMakeBorder(whole.astype("float32"), 1, 0, 0, 1, values=(1.5,))))
    found.append(refused(lambda: mx.image.copyMakeBorder(whole, 1, 0, 0, 1, type=7).asnumpy()))
    return found


def crops(mx, folder):
    whole = mx.nd.array(soft(0, 12, 16), dtype="uint8")
    found = [listed(mx.image.fixed_crop(whole, 2, 1, 5, 4)), listed(mx.image.fixed_crop(whole, 2, 1, 5, 4, (3, 3), 1))]
    for size in ((5, 6), (20, 3), (30, 30)):
        made, place = mx.image.center_crop(whole, size)
        found.append([listed(made)[1], place])
    random.seed(3)
    for size in ((5, 6), (20, 3)):
        made, place = mx.image.random_crop(whole, size, 1)
        found.append([listed(made)[1], place])
    for area in ((0.1, 0.5), 0.3, (1.5, 2.0)):
        made, place = mx.image.random_size_crop(whole, (4, 5), area, (0.7, 1.4), 1)
        found.append([listed(made)[1], place])
    return found


def turning(mx, folder):
    whole = mx.nd.array(np.moveaxis(soft(1, 7, 9), 2, 0).astype(np.float32))
    found = [listed(mx.image.imrotate(whole, angle))[0] for angle in (0, 90, 30)]
    found += [
        listed(mx.image.imrotate(whole, 30, zoom_in=True))[0],
        listed(mx.image.imrotate(whole, -50, False, True))[0],
    ]
    both = mx.nd.stack(whole, whole * 2)
    found.append(listed(mx.image.imrotate(both, mx.nd.array([10, 20])))[1][0])
    np.random.seed(2)
    found += [
        listed(mx.image.random_rotate(whole, (-20, 20)))[0],
        listed(mx.image.random_rotate(both, (-20, 20)))[1][0],
    ]
    return found


def augmenters(mx, folder):
    """Every augmenter, and the lists of CreateAugmenter: what they make of a picture, and how they are written down."""
    im = mx.image
    each = [
        im.ResizeAug(6),
        im.ForceResizeAug((5, 9), 1),
        im.RandomCropAug((5, 6)),
        im.CenterCropAug((5, 6)),
        im.RandomSizedCropAug((4, 4), (0.2, 0.9), (0.8, 1.2), 1),
        im.HorizontalFlipAug(0.5),
        im.HorizontalFlipAug(1),
        im.SequentialAug([im.CenterCropAug((5, 6)), im.CastAug()]),
    ]
    colors = [
        im.BrightnessJitterAug(0.3),
        im.ContrastJitterAug(0.3),
        im.SaturationJitterAug(0.3),
        im.HueJitterAug(0.3),
        im.ColorJitterAug(0.2, 0.3, 0.4),
        im.RandomGrayAug(1),
        im.LightingAug(0.1, np.array([55.46, 4.794, 1.148]), np.eye(3)),
        im.ColorNormalizeAug(mx.nd.array([1, 2, 3]), mx.nd.array([2, 3, 4])),
        im.ColorNormalizeAug(None, np.array([2.0])),
        im.RandomOrderAug([im.BrightnessJitterAug(0.1), im.HorizontalFlipAug(0.3)]),
    ]
    whole = mx.nd.array(soft(2, 12, 16), dtype="uint8")
    random.seed(5)
    np.random.seed(5)
    found = [[augmenter.dumps(), listed(augmenter(whole))[1]] for augmenter in each]
    found += [[augmenter.dumps(), listed(augmenter(whole.astype("float32")))[1]] for augmenter in colors]
    lists = [
        {},
        {"resize": 9, "rand_mirror": True, "mean": True, "std": True},
        {"rand_crop": True, "mean": np.array([1.0, 2.0, 3.0])},
        {
            "rand_crop": True,
            "rand_resize": True,
            "brightness": 0.1,
            "contrast": 0.1,
            "saturation": 0.1,
            "hue": 0.1,
            "pca_noise": 0.1,
            "rand_gray": 0.5,
            "inter_method": 1,
            "std": mx.nd.array([2.0, 3.0, 4.0]),
        },
    ]
    for given in lists:
        made = im.CreateAugmenter((3, 6, 5), **given)
        result = whole
        for augmenter in made:
            result = augmenter(result)
        found.append([[augmenter.dumps() for augmenter in made], listed(result)[1]])
    return found


BOXES = np.array([[1, 0.1, 0.2, 0.5, 0.6], [3, 0.4, 0.4, 0.9, 0.8], [0, 0.0, 0.7, 0.2, 1.0]], np.float32)


def det_augmenters(mx, folder):
    im = mx.image
    whole = mx.nd.array(soft(3, 24, 30), dtype="uint8")
    random.seed(8)
    np.random.seed(8)
    each = [
        im.DetBorrowAug(im.CastAug()),
        im.DetHorizontalFlipAug(1),
        im.DetRandomCropAug(0.3, (0.5, 1.5), (0.2, 0.8), 0.2),
        im.DetRandomCropAug(0.5, 1.0, 0.5),
        im.DetRandomPadAug((0.5, 2.0), (1.0, 3.0), 50, (1, 2, 3)),
        im.DetRandomSelectAug([im.DetHorizontalFlipAug(1), im.DetRandomCropAug()], 0.3),
        im.CreateMultiRandCropAugmenter([0.1, 0.5], (0.75, 1.33), [(0.1, 0.9), (0.3, 1.0)], skip_prob=0.1),
    ]
    found = []
    for augmenter in each:
        for _ in range(3):
            made, label = augmenter(whole, BOXES.copy())
            found.append([augmenter.dumps(), made.shape, listed(made)[1][:3], listed(label)])
    for given in (
        {},
        {
            "resize": 20,
            "rand_crop": 0.7,
            "rand_pad": 0.7,
            "rand_mirror": True,
            "mean": True,
            "std": True,
            "brightness": 0.1,
            "hue": 0.1,
            "pca_noise": 0.1,
            "rand_gray": 0.3,
            "inter_method": 9,
            "min_object_covered": [0.1, 0.4],
            "area_range": [(0.3, 2.0), (0.5, 3.0)][0],
        },
    ):
        made = im.CreateDetAugmenter((3, 10, 12), **given)
        for _ in range(3):
            result, label = whole, BOXES.copy()
            for augmenter in made:
                result, label = augmenter(result, label)
            found.append(
                [[augmenter.dumps() for augmenter in made], result.shape, listed(result)[1][:3], listed(label)]
            )
    return found


def picture_files(mx, folder, count, labels):
    """A list, an index and records of small pictures: paths."""
    index, path, names = os.path.join(folder, "p.idx"), os.path.join(folder, "p.rec"), os.path.join(folder, "p.lst")
    writer = mx.recordio.MXIndexedRecordIO(index, path, "w")
    with open(names, "w") as file:
        for number in range(count):
            data = png(soft(number, 12 + number % 3, 16 - number % 4))
            writer.write_idx(number, mx.recordio.pack((0, labels(number), number, 0), data))
            Path(folder, f"{number}.png").write_bytes(data)
            told = "\t".join(str(v) for v in np.atleast_1d(labels(number)))
            file.write(f"{number}\t{told}\t{number}.png\n")
    writer.close()
    return index, path, names


def passes(iterator, count):
    """Labels, pads and a few pixels of some passes."""
    found = [[list(d[1]) for d in (*iterator.provide_data, *iterator.provide_label)]]
    for _ in range(count):
        for batch in iterator:
            kept = len(batch.data[0]) - (batch.pad or 0)
            found.append([listed(batch.label[0])[:kept], batch.pad, listed(batch.data[0][:kept, :, 2, 3])])
        iterator.reset()
        found.append("reset")
    return found


def image_iter(mx, folder):
    index, path, names = picture_files(mx, folder, 7, float)
    found = []
    for handle in ("pad", "discard", "roll_over"):
        for given in (
            {"path_imgrec": path},
            {"path_imgrec": path, "path_imgidx": index, "shuffle": True},
            {"path_imglist": names, "path_root": folder},
        ):
            random.seed(4)
            found.append(passes(mx.image.ImageIter(3, (3, 8, 8), last_batch_handle=handle, **given), 3))
    random.seed(4)
    several = [[number * 2, f"{number}.png"] for number in range(5)]
    found.append(
        passes(mx.image.ImageIter(2, (3, 8, 8), imglist=several, path_root=folder, rand_crop=True, dtype="int32"), 1)
    )
    two = [[1.0, number, f"{number}.png"] for number in range(5)]
    found.append(
        passes(
            mx.image.ImageIter(
                2, (3, 8, 8), 2, imglist=two, path_root=folder, aug_list=mx.image.CreateAugmenter((3, 8, 8), resize=10)
            ),
            1,
        )
    )
    for part in range(3):
        found.append(
            passes(
                mx.image.ImageIter(1, (3, 8, 8), path_imgrec=path, path_imgidx=index, part_index=part, num_parts=3), 1
            )
        )
    for wrong in ({}, {"path_imgrec": path, "shuffle": True}, {"path_imgrec": path, "dtype": "int8"}):
        found.append(refused(lambda wrong=wrong: mx.image.ImageIter(1, (3, 8, 8), **wrong)))
    for shape in ((1, 8, 8), (8, 8)):
        found.append(refused(lambda shape=shape: mx.image.ImageIter(1, shape, path_imgrec=path)))
    return found


def det_iter(mx, folder):
    def label(number):
        return np.concatenate([[4, 5, 9, 9], *(BOXES[: 1 + number % 3])]).astype(np.float32)

    index, path, names = picture_files(mx, folder, 5, label)
    found = []
    for handle in ("pad", "discard", "roll_over"):
        random.seed(6)
        made = mx.image.ImageDetIter(
            2,
            (3, 8, 8),
            path_imgrec=path,
            path_imgidx=index,
            last_batch_handle=handle,
            rand_mirror=True,
            rand_crop=0.5,
            rand_pad=0.5,
        )
        found += [made.label_shape, passes(made, 2)]
    made = mx.image.ImageDetIter(2, (3, 8, 8), path_imglist=names, path_root=folder)
    made.reshape(None, (7, 5))
    found.append(passes(made, 1))
    for shape in ((1, 5), (9, 6), (3,)):
        found.append(refused(lambda shape=shape: made.reshape(None, shape)))
    other = mx.image.ImageDetIter(2, (3, 8, 8), path_imgrec=path)
    found.append([made.sync_label_shape(other) is other, other.label_shape])
    return found


def record_passes(iterator, count):
    """As `passes`, with all rows: those that fill a batch come from the next pass."""
    found = [[list(d[1]) for d in (*iterator.provide_data, *iterator.provide_label)]]
    for _ in range(count):
        for batch in iterator:
            found.append(
                [listed(batch.label[0]), batch.pad, listed(batch.data[0][:, :, 2, 3]), batch.data[0].dtype.__name__]
            )
        iterator.reset()
        found.append("reset")
    return found


def record_iter(mx, folder):
    """What is not random of the iterators that are C++ in MXNet."""
    _, path, names = picture_files(mx, folder, 7, float)
    found = []
    for given in [
        {},
        {"batch_size": 5},
        {"mean_r": 10, "mean_g": 20, "mean_b": 30, "std_r": 2, "scale": 0.5},
        {"mirror": True},
        {"resize": 9},
        {"resize": 20, "inter_method": 2},
        {"resize": 9, "inter_method": 9},
        {"data_shape": (3, 13, 17)},
        {"data_shape": (3, 20, 20), "inter_method": 3},
        {"data_shape": (1, 6, 8)},
        {"max_crop_size": 5, "min_crop_size": 5},
        {"pad": 3, "fill_value": 9, "data_shape": (3, 17, 20)},
        {"num_parts": 2, "part_index": 1, "batch_size": 1},
        {"num_parts": 3, "part_index": 2, "batch_size": 1, "path_imgidx": path.replace(".rec", ".idx")},
    ]:
        settings = {"path_imgrec": path, "data_shape": (3, 6, 8), "batch_size": 3, **given}
        found.append(record_passes(mx.io.ImageRecordIter(**settings), 2))
    for kind in (mx.io.ImageRecordUInt8Iter, mx.io.ImageRecordInt8Iter):
        found.append(record_passes(kind(path_imgrec=path, data_shape=(3, 6, 8), batch_size=4, mean_r=10), 1))
    Path(names).write_text("".join(f"{n}\t{n * 10}\t{n + 5}\tx.png\n" for n in range(7)))
    for width in (1, 2):
        settings = {"path_imgrec": path, "path_imglist": names, "label_width": width}
        found.append(record_passes(mx.io.ImageRecordIter(data_shape=(3, 6, 8), batch_size=3, **settings), 1))
    for wrong in (
        {"data_shape": None},
        {"batch_size": 0},
        {"preprocess_threads": 0},
        {"batch_size": 9},
    ):
        settings = {"path_imgrec": path, "data_shape": (3, 6, 8), "batch_size": 3, **wrong}
        settings = {key: value for key, value in settings.items() if value}
        if wrong == {"preprocess_threads": 0}:
            settings.update(wrong)
        found.append(refused(lambda settings=settings: list(mx.io.ImageRecordIter(**settings))))
    return found


def det_record_iter(mx, folder):
    """What is not random of the iterator over records of boxes."""

    def label(number):
        boxes = [[b, 0.1 * b, 0.25, 0.5 + 0.1 * b, 0.75, 7 + number] for b in range(1 + number % 3)]
        nothing = [[9, 0.5, 0.5, 0.5, 0.9, 0]]
        return np.array([3, 6, 42, *np.ravel(boxes + nothing)], np.float32)

    _, path, names = picture_files(mx, folder, 5, label)
    found = []
    for given in [
        {},
        {"rand_mirror_prob": 1},
        {"label_pad_width": 30, "label_pad_value": -2},
        {"label_pad_width": -1, "mean_r": 10, "mean_g": 20, "mean_b": 30, "std_r": 2, "scale": 0.5},
        {"resize": 9, "inter_method": 0},
        {"data_shape": (3, 20, 24)},
        {"inter_method": 9},
        {"num_parts": 2, "part_index": 1, "batch_size": 1},
        {"path_imglist": names},
        {"min_crop_scales": (0.5, 0.7), "num_crop_sampler": 2, "rand_pad_prob": 0.5, "max_random_hue": 9},
    ]:
        settings = {"path_imgrec": path, "data_shape": (3, 8, 10), "batch_size": 2, "verbose": False, **given}
        found.append(record_passes(mx.io.ImageDetRecordIter(**settings), 2))
    for mode in ("fit", "shrink"):  # beside the picture MXNet has what was in memory
        for shape in ((3, 8, 10), (3, 20, 40)):
            settings = {"path_imgrec": path, "data_shape": shape, "batch_size": 2, "verbose": False}
            batch = next(mx.io.ImageDetRecordIter(resize_mode=mode, **settings))
            found.append([listed(batch.label[0]), listed(batch.data[0][:, :, 2, 3])])
    for wrong in (
        {"label_pad_width": 5},
        {"label_width": 4},
        {"min_crop_scales": (0.1, 0.2)},
        {"num_crop_sampler": 2, "min_crop_scales": (0.1, 0.2, 0.3)},
        {"min_crop_overlaps": 0.5, "max_crop_overlaps": 0.2},
        {"resize_mode": "stretch"},
        {"crop_emit_mode": "none"},
    ):
        settings = {"path_imgrec": path, "data_shape": (3, 8, 10), "batch_size": 2, "verbose": False, **wrong}
        found.append(refused(lambda settings=settings: list(mx.io.ImageDetRecordIter(**settings))))
    return found


def mnist_iter(mx, folder):
    values = np.random.RandomState(0).randint(0, 256, (10, 4, 5)).astype(np.uint8)
    images, labels = os.path.join(folder, "images"), os.path.join(folder, "labels")
    Path(images).write_bytes(struct.pack(">IIII", 2051, 10, 4, 5) + values.tobytes())
    Path(labels).write_bytes(struct.pack(">II", 2049, 10) + bytes(range(10)))
    found = []
    for given in (
        {},
        {"flat": True},
        {"num_parts": 3, "part_index": 2, "batch_size": 1},
        {"input_shape": (1, 4, 5), "silent": True},
    ):
        settings = {"image": images, "label": labels, "batch_size": 3, "shuffle": False, **given}
        made = mx.io.MNISTIter(**settings)
        found.append([list(d[1]) for d in (*made.provide_data, *made.provide_label)])
        for _ in range(2):
            found += [[listed(batch.data[0]), listed(batch.label[0]), batch.pad] for batch in made]
            made.reset()
    found.append(refused(lambda: mx.io.MNISTIter(image=folder + "/no", label=labels, batch_size=3)))
    Path(labels).write_bytes(struct.pack(">II", 2049, 10) + bytes(range(7)))
    found.append(refused(lambda: mx.io.MNISTIter(image=images, label=labels, batch_size=3)))
    return found


SCENARIOS = [
    record_file,
    indexed_file,
    packed,
    decoding,
    jpeg_decoding,
    resizing,
    borders,
    crops,
    turning,
    augmenters,
    det_augmenters,
    image_iter,
    det_iter,
    record_iter,
    det_record_iter,
    mnist_iter,
]


if __name__ == "__main__":
    import mxnet

    with tempfile.TemporaryDirectory() as place:
        answers = {scenario.__name__: scenario(mxnet, place) for scenario in SCENARIOS}
    lines = ",\n".join(f'"{name}": {json.dumps(answer)}' for name, answer in answers.items())
    Path(__file__).with_name("answers.json").write_text("{\n" + lines + "\n}\n")
    sys.stdout.write(f"{len(answers)} answers\n")
