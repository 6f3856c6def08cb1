"""Pictures with boxes: augmenters that change both, and ImageDetIter.

Labels are arrays (objects, 5 or more): class, then left, top, right, bottom from 0 to 1. Random choices come from
Python's `random`, in MXNet's order.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Any

import numpy as np

from symc.image.augmenters import (
    DEVIATION,
    MEAN,
    Augmenter,
    CastAug,
    ColorNormalizeAug,
    Described,
    ForceResizeAug,
    ResizeAug,
    color_augmenters,
    color_statistics,
    flipped,
)
from symc.image.functions import copyMakeBorder, fixed_crop
from symc.image.iterator import ImageIter
from symc.io import DataDesc
from symc.ir.types import Array
from symc.ndarray import NDArray

__all__ = [
    "CreateDetAugmenter", "CreateMultiRandCropAugmenter", "DetAugmenter", "DetBorrowAug", "DetHorizontalFlipAug",
    "DetRandomCropAug", "DetRandomPadAug", "DetRandomSelectAug", "ImageDetIter",
]  # fmt: skip

Pair = tuple[float, float]
Labelled = tuple[NDArray, Array]


class DetAugmenter(Described):
    """Base: called with a picture and its label they give both."""

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        raise NotImplementedError(f"{type(self).__name__} does not say what it makes of a picture and its label")


class DetBorrowAug(DetAugmenter):
    """An augmenter of pictures that leaves boxes where they are."""

    def __init__(self, augmenter: Augmenter) -> None:
        if not isinstance(augmenter, Augmenter):
            raise TypeError(f"DetBorrowAug takes an Augmenter of pictures, got {augmenter!r}")
        super().__init__(augmenter=augmenter.dumps())
        self.augmenter = augmenter

    def dumps(self) -> Any:
        """The name, and what it borrows."""
        return [type(self).__name__.lower(), self.augmenter.dumps()]

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        return self.augmenter(src), label


class DetRandomSelectAug(DetAugmenter):
    """One of several augmenters by chance, or none of them, with probability `skip_prob`."""

    def __init__(self, aug_list: Any, skip_prob: float = 0) -> None:
        super().__init__(skip_prob=skip_prob)
        self.aug_list: list[Any] = list(aug_list) if isinstance(aug_list, (list, tuple)) else [aug_list]
        for augmenter in self.aug_list:
            if not isinstance(augmenter, DetAugmenter):
                raise ValueError(f"DetRandomSelectAug chooses among DetAugmenters, got {augmenter!r}")
        self.skip_prob = skip_prob if self.aug_list else 1

    def dumps(self) -> Any:
        """The name, and what it selects from."""
        return [type(self).__name__.lower(), [x.dumps() for x in self.aug_list]]

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        if random.random() < self.skip_prob:
            return src, label
        random.shuffle(self.aug_list)
        made: Labelled = self.aug_list[0](src, label)
        return made


class DetHorizontalFlipAug(DetAugmenter):
    """Left and right exchanged, with probability `p`; the label in place."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        if random.random() < self.p:
            src = flipped(src)
            label[:, [1, 3]] = 1.0 - label[:, [3, 1]]
        return src, label


def _range(given: Any, what: str) -> Pair:
    """A range, or a number that stands for one."""
    if isinstance(given, (list, tuple)):
        return given[0], given[1]
    if not isinstance(given, (int, float)):
        raise AssertionError(f"{what} must be a number or a pair of them, got {given!r}")
    return given, given


def _areas(boxes: Array) -> Array:
    """Areas of boxes (left, top, right, bottom, ...)."""
    return np.maximum(0, boxes[:, 3] - boxes[:, 1]) * np.maximum(0, boxes[:, 2] - boxes[:, 0])


class DetRandomCropAug(DetAugmenter):
    """A crop at random, of `area_range` of the picture and `aspect_ratio_range` (width / height), that covers more
    than `min_object_covered` of every box it touches; boxes of which no more than `min_eject_coverage` is left go.
    Nothing is done if `max_attempts` find no crop. (Liu et al., 2016)"""

    def __init__(
        self, min_object_covered: float = 0.1, aspect_ratio_range: Any = (0.75, 1.33), area_range: Any = (0.05, 1.0),
        min_eject_coverage: float = 0.3, max_attempts: int = 50,
    ) -> None:  # fmt: skip
        ratios, areas = _range(aspect_ratio_range, "aspect_ratio_range"), _range(area_range, "area_range")
        super().__init__(
            min_object_covered=min_object_covered, aspect_ratio_range=ratios, area_range=areas,
            min_eject_coverage=min_eject_coverage, max_attempts=max_attempts,
        )  # fmt: skip
        self.min_object_covered, self.min_eject_coverage = min_object_covered, min_eject_coverage
        self.aspect_ratio_range, self.area_range, self.max_attempts = ratios, areas, max_attempts
        self.enabled = _possible(self, areas[1] > 0 and areas[0] <= areas[1], ratios)

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        height, width = src.shape[:2]
        for rectangle in self._proposals(height, width):
            if self._covers(label, rectangle, height, width):
                kept = self._cut(label, rectangle, height, width)
                if kept is not None:
                    return fixed_crop(src, *rectangle), kept
        return src, label

    def _proposals(self, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
        """Rectangles (x, y, width, height) that satisfy the ranges."""
        if not self.enabled or height <= 0 or width <= 0:
            return
        least, most = (share * height * width for share in self.area_range)
        for _ in range(self.max_attempts):
            ratio = random.uniform(*self.aspect_ratio_range)
            if ratio <= 0:
                continue
            h, highest = round(sqrt(least / ratio)), round(sqrt(most / ratio))
            if round(highest * ratio) > width:
                highest = int((width + 0.4999999) / ratio)
            highest = min(highest, height)
            h = min(h, highest)
            if h < highest:
                h = random.randint(h, highest)
            w = round(h * ratio)
            # rounding may have left the range by a pixel
            if w * h < least:
                h += 1
                w = round(h * ratio)
            if w * h > most:
                h -= 1
                w = round(h * ratio)
            if least <= w * h <= most and 0 <= w <= width and 0 <= h <= height:
                y, x = random.randint(0, height - h), random.randint(0, width - w)
                yield x, y, w, h

    def _covers(self, label: Array, rectangle: tuple[int, int, int, int], height: int, width: int) -> bool:
        x, y, w, h = rectangle
        if w * h < 2:
            return False
        areas = _areas(label[:, 1:])
        large = areas * width * height > 2
        if not large.any():
            return False
        boxes = label[large, 1:5]
        # in float32 as MXNet computes it: what is kept depends on a comparison
        begin = np.array([x / width, y / height], np.float32)
        end = np.array([(x + w) / width, (y + h) / height], np.float32)
        shown = np.concatenate([np.maximum(boxes[:, :2], begin), np.minimum(boxes[:, 2:], end)], axis=1)
        shares = _areas(shown) / areas[large]
        shares = shares[shares > 0]
        return bool(shares.size and shares.min() > self.min_object_covered)

    def _cut(self, label: Array, rectangle: tuple[int, int, int, int], height: int, width: int) -> Array | None:
        """The label inside of the crop; None if no box is left."""
        x, y, w, h = rectangle[0] / width, rectangle[1] / height, rectangle[2] / width, rectangle[3] / height
        out = label.copy()
        out[:, [1, 3]] = (out[:, [1, 3]] - x) / w
        out[:, [2, 4]] = (out[:, [2, 4]] - y) / h
        out[:, 1:5] = np.clip(out[:, 1:5], 0, 1)
        with np.errstate(divide="ignore", invalid="ignore"):  # of boxes without an area nothing is left
            left = _areas(out[:, 1:]) * w * h / _areas(label[:, 1:])
        kept = (out[:, 3] > out[:, 1]) & (out[:, 4] > out[:, 2]) & (left > self.min_eject_coverage)
        return out[kept] if kept.any() else None


def _possible(augmenter: DetAugmenter, area: bool, ratios: Pair) -> bool:
    """Whether the ranges can be satisfied; a warning if not."""
    possible = area and 0 < ratios[0] <= ratios[1]
    if not possible:
        what = "aspect_ratio_range" if area else "area_range"
        warnings.warn(
            f"{type(augmenter).__name__} does nothing: no {what} is in {augmenter._kwargs[what]}", stacklevel=3
        )
    return possible


class DetRandomPadAug(DetAugmenter):
    """The picture at a random place of a larger one, of `pad_val`, of `area_range` times its area and
    `aspect_ratio_range` (width / height). Nothing is done if `max_attempts` find none."""

    def __init__(
        self, aspect_ratio_range: Any = (0.75, 1.33), area_range: Any = (1.0, 3.0), max_attempts: int = 50,
        pad_val: Any = (128, 128, 128),
    ) -> None:  # fmt: skip
        if not isinstance(pad_val, (list, tuple)):
            if not isinstance(pad_val, (int, float)):
                raise AssertionError(f"pad_val must be a number or several, got {pad_val!r}")
            pad_val = (pad_val,) * 3
        ratios, areas = _range(aspect_ratio_range, "aspect_ratio_range"), _range(area_range, "area_range")
        super().__init__(aspect_ratio_range=ratios, area_range=areas, max_attempts=max_attempts, pad_val=pad_val)
        self.pad_val, self.max_attempts = pad_val, max_attempts
        self.aspect_ratio_range, self.area_range = ratios, areas
        self.enabled = _possible(self, areas[1] > 1 and areas[0] <= areas[1], ratios)

    def __call__(self, src: NDArray, label: Array) -> Labelled:
        height, width, _ = src.shape
        place = self._proposal(height, width)
        if place is None:
            return src, label
        x, y, w, h = place
        out = label.copy()
        out[:, [1, 3]] = (out[:, [1, 3]] * width + x) / w
        out[:, [2, 4]] = (out[:, [2, 4]] * height + y) / h
        return copyMakeBorder(src, y, h - y - height, x, w - x - width, 16, values=self.pad_val), out

    def _proposal(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Where the picture goes in one of which size: x, y, width, height."""
        if not self.enabled or height <= 0 or width <= 0:
            return None
        least, most = (share * height * width for share in self.area_range)
        for _ in range(self.max_attempts):
            ratio = random.uniform(*self.aspect_ratio_range)
            if ratio <= 0:
                continue
            h, highest = round(sqrt(least / ratio)), round(sqrt(most / ratio))
            if round(h * ratio) < width:
                h = int((width + 0.499999) / ratio)
            h = min(max(h, height), highest)
            if h < highest:
                h = random.randint(h, highest)
            w = round(h * ratio)
            if h - height >= 2 and w - width >= 2:  # a border of a pixel is of no use
                y, x = random.randint(0, h - height), random.randint(0, w - width)
                return x, y, w, h
        return None


def CreateMultiRandCropAugmenter(
    min_object_covered: Any = 0.1, aspect_ratio_range: Any = (0.75, 1.33), area_range: Any = (0.05, 1.0),
    min_eject_coverage: Any = 0.3, max_attempts: Any = 50, skip_prob: float = 0,
) -> DetRandomSelectAug:  # fmt: skip
    """One of several DetRandomCropAug by chance: arguments may be lists, of one length."""
    given = [
        value if isinstance(value, list) else [value]
        for value in (min_object_covered, aspect_ratio_range, area_range, min_eject_coverage, max_attempts)
    ]
    count = max(map(len, given))
    if any(len(values) not in (1, count) for values in given):
        raise AssertionError(f"lists of {sorted({len(values) for values in given})} values: give one length")
    crops = [DetRandomCropAug(*one) for one in zip(*(v if len(v) == count else v * count for v in given))]
    return DetRandomSelectAug(crops, skip_prob=skip_prob)


def CreateDetAugmenter(
    data_shape: Sequence[int], resize: int = 0, rand_crop: float = 0, rand_pad: float = 0, rand_gray: float = 0,
    rand_mirror: bool = False, mean: Any = None, std: Any = None, brightness: float = 0, contrast: float = 0,
    saturation: float = 0, pca_noise: float = 0, hue: float = 0, inter_method: int = 2, min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = (0.75, 1.33), area_range: Any = (0.05, 3.0), min_eject_coverage: Any = 0.3,
    max_attempts: Any = 50, pad_val: Any = (127, 127, 127),
) -> list[DetAugmenter]:  # fmt: skip
    """The usual augmenters of pictures with boxes, in order. `rand_crop` and `rand_pad` are probabilities; the ranges
    are those of DetRandomCropAug and DetRandomPadAug, the other arguments those of CreateAugmenter."""
    made: list[DetAugmenter] = [DetBorrowAug(ResizeAug(resize, inter_method))] if resize > 0 else []
    if rand_crop > 0:
        made.append(
            CreateMultiRandCropAugmenter(
                min_object_covered, aspect_ratio_range, area_range, min_eject_coverage, max_attempts, 1 - rand_crop
            )
        )
    if rand_mirror > 0:
        made.append(DetHorizontalFlipAug(0.5))
    if rand_pad > 0:
        # late, as the picture grows
        pad = DetRandomPadAug(aspect_ratio_range, (1.0, area_range[1]), max_attempts, pad_val)
        made.append(DetRandomSelectAug([pad], 1 - rand_pad))
    plain = [ForceResizeAug((data_shape[2], data_shape[1]), inter_method), CastAug()]
    plain += color_augmenters(brightness, contrast, saturation, hue, pca_noise, rand_gray)
    mean, std = color_statistics(mean, MEAN, "mean"), color_statistics(std, DEVIATION, "std")
    if mean is not None or std is not None:
        plain.append(ColorNormalizeAug(mean, std))
    return [*made, *(DetBorrowAug(augmenter) for augmenter in plain)]


class ImageDetIter(ImageIter):
    """As ImageIter, with boxes: batches of labels (batch, most objects of a picture, width of an object), filled up
    with -1. A record's label is: numbers in its head, numbers of an object, the rest of the head, objects.

    `aug_list` are the augmenters; without it `CreateDetAugmenter` makes them of the further arguments.
    """

    def __init__(
        self, batch_size: int, data_shape: Sequence[int], path_imgrec: Any = None, path_imglist: Any = None,
        path_root: Any = None, path_imgidx: Any = None, shuffle: bool = False, part_index: int = 0, num_parts: int = 1,
        aug_list: list[Any] | None = None, imglist: list[Any] | None = None, data_name: str = "data",
        label_name: str = "label", last_batch_handle: str = "pad", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            batch_size, data_shape, path_imgrec=path_imgrec, path_imglist=path_imglist, path_root=path_root,
            path_imgidx=path_imgidx, shuffle=shuffle, part_index=part_index, num_parts=num_parts, aug_list=[],
            imglist=imglist, data_name=data_name, label_name=label_name, last_batch_handle=last_batch_handle,
        )  # fmt: skip
        self.auglist = CreateDetAugmenter(data_shape, **kwargs) if aug_list is None else aug_list
        self.label_shape = self._estimate_label_shape()
        self.provide_label = [DataDesc(label_name, (batch_size, *self.label_shape))]

    def _estimate_label_shape(self) -> tuple[int, int]:
        """(most objects of a picture, numbers of an object), of all labels."""
        most, width = 0, 0
        self.reset()
        try:
            while True:
                label = self._parse_label(self.next_sample()[0])
                most, width = max(most, label.shape[0]), label.shape[1]
        except StopIteration:
            self.reset()
        return most, width

    def _parse_label(self, label: Any) -> Array:
        """The objects of a label, without those whose boxes are empty. RuntimeError if it is none."""
        raw = (label.asnumpy() if isinstance(label, NDArray) else np.asarray(label)).ravel()
        if raw.size < 7:
            raise RuntimeError(f"a label is a head of two numbers and objects of five or more, this one has {raw.size}")
        head, width = int(raw[0]), int(raw[1])
        if width < 5 or (raw.size - head) % width:
            raise RuntimeError(f"a label of {raw.size} numbers with a head of {head} holds no objects of {width}")
        objects = raw[head:].reshape(-1, width)
        objects = objects[(objects[:, 3] > objects[:, 1]) & (objects[:, 4] > objects[:, 2])]
        if not len(objects):
            raise RuntimeError("all boxes of a label are empty")
        return objects

    def _check_valid_label(self, label: Array) -> None:
        """RuntimeError for a label without a box."""
        if label.ndim != 2 or label.shape[1] < 5:
            raise RuntimeError(
                f"augmenters made a label of shape {label.shape}: objects of five or more numbers are needed"
            )
        if not ((label[:, 0] >= 0) & (label[:, 3] > label[:, 1]) & (label[:, 4] > label[:, 2])).any():
            raise RuntimeError("no box of a label is left")

    def _put(self, batch_data: NDArray, batch_label: NDArray, at: int, data: NDArray, label: Any) -> int:
        self.check_valid_image([data])
        data, objects = self.augmentation_transform(data, self._parse_label(label))
        self._check_valid_label(objects)
        batch_data[at] = self.postprocess_data(data)
        filled = np.full(batch_label.shape[1:], -1, np.float32)
        filled[: len(objects)] = objects
        batch_label[at] = filled
        return 1

    def augmentation_transform(self, data: NDArray, label: Array) -> Labelled:  # type: ignore[override]
        """The picture and its label through the augmenters."""
        for augmenter in self.auglist:
            data, label = augmenter(data, label)
        return data, label

    def reshape(self, data_shape: Sequence[int] | None = None, label_shape: Sequence[int] | None = None) -> None:
        """Other shapes from the next batch on. ValueError for a label's that is too small."""
        if data_shape is not None:
            self.check_data_shape(data_shape)
            self.provide_data = [DataDesc(self.provide_data[0].name, (self.batch_size, *data_shape))]
            self.data_shape = tuple(data_shape)
        if label_shape is not None:
            self.check_label_shape(label_shape)
            self.provide_label = [DataDesc(self.provide_label[0].name, (self.batch_size, *label_shape))]
            self.label_shape = (label_shape[0], label_shape[1])

    def check_label_shape(self, label_shape: Sequence[int]) -> None:
        """ValueError for a shape that cannot hold the labels."""
        if len(label_shape) != 2:
            raise ValueError(f"label_shape={tuple(label_shape)} is (objects, numbers of an object)")
        if label_shape[0] < self.label_shape[0]:
            raise ValueError(
                f"label_shape={tuple(label_shape)} has no room for the {self.label_shape[0]} objects of a picture"
            )
        if label_shape[1] != self.label_shape[1]:
            raise ValueError(f"label_shape={tuple(label_shape)}: objects have {self.label_shape[1]} numbers")

    def draw_next(
        self, color: Any = None, thickness: int = 2, mean: Any = None, std: Any = None, clip: bool = True,
        waitKey: Any = None, window_name: str = "draw_next", id2labels: Any = None,
    ) -> Iterator[Array]:  # fmt: skip
        """Pictures (height, width, 3), blue first, with their boxes drawn, one after the other. `mean` and `std` undo a
        normalisation; `color` is red, green, blue. There is no window and no text: `waitKey`, `window_name` and
        `id2labels` say nothing."""
        deviation, middle = color_statistics(std, DEVIATION, "std"), color_statistics(mean, MEAN, "mean")
        while True:
            try:
                label, encoded = self.next_sample()
            except StopIteration:
                return
            data = self.imdecode(encoded)
            try:
                self.check_valid_image([data])
                objects = self._parse_label(label)
            except RuntimeError as problem:
                logging.debug("a picture is left out: %s", problem)
                continue
            data, objects = self.augmentation_transform(data, objects)
            picture = data.asnumpy().astype(np.float32)
            picture = picture * deviation if deviation is not None else picture
            picture = picture + middle if middle is not None else picture
            picture = np.clip(picture, 0, 255) if clip else picture
            drawn = np.ascontiguousarray(picture[:, :, ::-1].astype(np.uint8))
            for box in objects:
                _frame(drawn, box[1:5], color[::-1] if color else np.random.rand(3) * 255, thickness)
            yield drawn

    def sync_label_shape(self, it: ImageDetIter, verbose: bool = False) -> ImageDetIter:
        """Give both iterators room for as many objects as the larger one; the other one."""
        if not isinstance(it, ImageDetIter):
            raise AssertionError(f"sync_label_shape takes an ImageDetIter, got {type(it).__name__}")
        if self.label_shape[1] != it.label_shape[1]:
            raise AssertionError(f"objects have {self.label_shape[1]} numbers here, and {it.label_shape[1]} there")
        most = max(self.label_shape[0], it.label_shape[0])
        for one in (self, it):
            if one.label_shape[0] < most:
                one.reshape(None, (most, one.label_shape[1]))
                if verbose:
                    logging.info("room for labels of (%d, %d)", most, one.label_shape[1])
        return it


def _frame(picture: Array, box: Array, color: Any, thickness: int) -> None:
    """Draw a box (left, top, right, bottom, from 0 to 1) into the picture."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (int(v) for v in np.asarray(box) * (width, height, width, height))
    if x1 < 0:
        return
    low, high = thickness // 2, (thickness + 1) // 2
    for y in (y1, y2):
        picture[max(y - low, 0) : y + high, max(x1 - low, 0) : x2 + high] = color
    for x in (x1, x2):
        picture[max(y1 - low, 0) : y2 + high, max(x - low, 0) : x + high] = color
