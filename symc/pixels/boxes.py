"""What ImageDetRecordIter does to a picture and the boxes in it: colors, turns, borders, crops and sizes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array
from symc.pixels.distortion import levels, resized, shifted_hls, shortened
from symc.pixels.resize import padded

#: settings of crops: one value, or one for each sampler
Values = float | Sequence[float]
#: left, top, width and height, as parts of the picture's
Box = tuple[float, float, float, float]


def parse_boxes(labels: Array, where: str) -> tuple[Array, Array]:
    """(header, boxes): labels are the header's width, a box's width, the rest of the header, and boxes of that width:
    class, left, top, right, bottom, then anything. Boxes without area are left out. MXNetError for other labels."""
    if len(labels) < 7 or labels[0] < 2 or labels[1] < 5:
        raise MXNetError(
            f"{where}: {[float(x) for x in labels[:7]]}... are not labels of boxes: the header's width (at least 2), a "
            "box's (at least 5), the rest of the header, and boxes: class, left, top, right, bottom"
        )
    head, width = int(labels[0]), int(labels[1])
    if (len(labels) - head) % width:
        raise MXNetError(
            f"{where}: behind a header of {head}, {len(labels) - head} labels are not boxes of {width} each"
        )
    boxes = np.array(labels[head:], np.float32).reshape(-1, width)
    return labels[:head], boxes[(boxes[:, 3] > boxes[:, 1]) & (boxes[:, 4] > boxes[:, 2])]


@dataclass
class BoxDistortion:
    """Settings, with MXNet's names and defaults, and the order in which they act: resized to a shorter side of
    `resize`; colors moved at random, each with its probability; mirrored with `rand_mirror_prob`; a border of
    `fill_value` that makes it up to `max_pad_scale` as large, with `rand_pad_prob`; a crop, with `rand_crop_prob`; then
    resized by `resize_mode`: "force" to the wanted size, "fit" or "shrink" within it, with its proportions.

    A crop is drawn by one of `num_crop_sampler` samplers, whose ranges of scale and proportions, and of what a box must
    share with it (`overlaps`: of both, `sample_coverages`: of the crop, `object_coverages`: of the box) are tuples with
    a value each; one that draws `max_crop_trials` crops in vain leaves it to the next. A box stays if its middle is
    within the crop (`crop_emit_mode="center"`) or more than `emit_overlap_thresh` of it ("overlap"). A crop without
    boxes is none."""

    resize: int = -1
    rand_crop_prob: float = 0.0
    min_crop_scales: Values = 0.0
    max_crop_scales: Values = 1.0
    min_crop_aspect_ratios: Values = 1.0
    max_crop_aspect_ratios: Values = 1.0
    min_crop_overlaps: Values = 0.0
    max_crop_overlaps: Values = 1.0
    min_crop_sample_coverages: Values = 0.0
    max_crop_sample_coverages: Values = 1.0
    min_crop_object_coverages: Values = 0.0
    max_crop_object_coverages: Values = 1.0
    num_crop_sampler: int = 1
    crop_emit_mode: str = "center"
    emit_overlap_thresh: float = 0.3
    max_crop_trials: Values = 25
    rand_pad_prob: float = 0.0
    max_pad_scale: float = 1.0
    max_random_hue: int = 0
    random_hue_prob: float = 0.0
    max_random_saturation: int = 0
    random_saturation_prob: float = 0.0
    max_random_illumination: int = 0
    random_illumination_prob: float = 0.0
    max_random_contrast: float = 0.0
    random_contrast_prob: float = 0.0
    rand_mirror_prob: float = 0.0
    fill_value: int = 127
    inter_method: int = 1
    resize_mode: str = "force"

    def __post_init__(self) -> None:
        for name, known in (("crop_emit_mode", ("center", "overlap")), ("resize_mode", ("force", "shrink", "fit"))):
            if getattr(self, name) not in known:
                raise MXNetError(f"{name}={getattr(self, name)!r}: expected {' or '.join(known)}")
        for quantity in ("scales", "aspect_ratios", "overlaps", "sample_coverages", "object_coverages"):
            for low, high in zip(self._each(f"min_crop_{quantity}"), self._each(f"max_crop_{quantity}")):
                if low > high:
                    raise MXNetError(f"min_crop_{quantity}={low} is above max_crop_{quantity}={high}")
        self._each("max_crop_trials")

    def _each(self, name: str) -> list[float]:
        """A setting's value for each sampler."""
        given = getattr(self, name)
        values = list(given) if isinstance(given, Sequence) else [given]
        if len(values) == 1:
            values *= self.num_crop_sampler
        if len(values) != self.num_crop_sampler:
            raise MXNetError(f"{name}={given}: expected one value, or num_crop_sampler={self.num_crop_sampler}")
        return values

    def __call__(self, pixels: Array, boxes: Array, height: int, width: int, rng: random.Random) -> tuple[Array, Array]:
        """The picture (rows, columns, channels), uint8, and its boxes, as ones of `height` x `width` or within it."""
        if self.resize > 0:
            pixels = shortened(pixels, self.resize, self.inter_method, rng)
        pixels, boxes = self._colored(pixels, rng), boxes.copy()
        if rng.random() < self.rand_mirror_prob:
            pixels, boxes[:, [1, 3]] = pixels[:, ::-1], 1 - boxes[:, [3, 1]]
        if self.max_pad_scale > 1 and rng.random() < self.rand_pad_prob:
            pixels, boxes = self._bordered(pixels, boxes, rng)
        if rng.random() < self.rand_crop_prob:
            pixels, boxes = self._cropped(pixels, boxes, rng)
        rows, columns = pixels.shape[:2]
        if self.resize_mode == "force":
            pixels = resized(pixels, height, width, self.inter_method, rng)
        elif self.resize_mode == "fit" or rows > height or columns > width:
            part = min(np.float32(height) / np.float32(rows), np.float32(width) / np.float32(columns))
            pixels = resized(pixels, max(int(part * rows), 1), max(int(part * columns), 1), self.inter_method, rng)
        return pixels, boxes

    def _colored(self, pixels: Array, rng: random.Random) -> Array:
        if pixels.shape[2] < 3:
            return pixels
        moves = [
            int(rng.uniform(-most, most)) if rng.random() < chance else 0
            for most, chance in (
                (self.max_random_hue, self.random_hue_prob),
                (self.max_random_illumination, self.random_illumination_prob),
                (self.max_random_saturation, self.random_saturation_prob),
            )
        ]
        colors = shifted_hls(pixels[:, :, :3], *moves) if any(moves) else pixels[:, :, :3]
        if rng.random() < self.random_contrast_prob:
            colors = levels(colors * np.float32(1 + rng.uniform(-self.max_random_contrast, self.max_random_contrast)))
        return colors if pixels.shape[2] == 3 else np.concatenate([colors, pixels[:, :, 3:]], axis=2)

    def _bordered(self, pixels: Array, boxes: Array, rng: random.Random) -> tuple[Array, Array]:
        scale = rng.uniform(1, self.max_pad_scale)
        if scale < 1.05:  # not worth it
            return pixels, boxes
        left, top = rng.uniform(0, scale - 1), rng.uniform(0, scale - 1)
        rows, columns = pixels.shape[:2]
        above, below = int(top * rows), int((scale - top - 1) * rows)
        before, behind = int(left * columns), int((scale - left - 1) * columns)
        framed = padded(pixels, (above, below), (before, behind), 0, (self.fill_value,) * 4)
        return framed, _seen(boxes, (-left, -top, scale, scale))

    # -- crops

    def _cropped(self, pixels: Array, boxes: Array, rng: random.Random) -> tuple[Array, Array]:
        rows, columns = pixels.shape[:2]
        for sampler in rng.sample(range(self.num_crop_sampler), self.num_crop_sampler):
            for crop in self._proposals(sampler, columns / rows, rng):
                kept = self._kept(sampler, crop, boxes)
                if kept is not None:
                    x, y, w, h = (int(part * side) for part, side in zip(crop, (columns, rows, columns, rows)))
                    return pixels[y : y + max(h, 1), x : x + max(w, 1)], kept
        return pixels, boxes

    def _proposals(self, sampler: int, proportion: float, rng: random.Random) -> Iterator[Box]:
        def between(quantity: str) -> tuple[float, float]:
            return self._each(f"min_crop_{quantity}")[sampler], self._each(f"max_crop_{quantity}")[sampler]

        narrow, wide = between("aspect_ratios")
        for _ in range(int(self._each("max_crop_trials")[sampler])):
            scale = rng.uniform(*between("scales")) + 1e-12
            ratio = math.sqrt(rng.uniform(max(narrow / proportion, scale**2), min(wide / proportion, 1 / scale**2)))
            width, height = min(1.0, scale * ratio), min(1.0, scale / ratio)
            yield rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height

    def _kept(self, sampler: int, crop: Box, boxes: Array) -> Array | None:
        """The boxes that stay, seen within the crop; None if it is not one that the sampler takes."""
        if not len(boxes):
            return boxes
        x, y, w, h = crop
        left, top, right, bottom = boxes[:, 1:5].T
        wide = np.clip(np.minimum(right, x + w) - np.maximum(left, x), 0, None)
        shared = wide * np.clip(np.minimum(bottom, y + h) - np.maximum(top, y), 0, None)
        areas = (right - left) * (bottom - top)
        fits = np.ones(len(boxes), bool)
        for quantity, share in (
            ("overlaps", shared / (w * h + areas - shared)), ("sample_coverages", shared / (w * h)),
            ("object_coverages", shared / areas),
        ):  # fmt: skip
            low, high = self._each(f"min_crop_{quantity}")[sampler], self._each(f"max_crop_{quantity}")[sampler]
            if low > 0 or high < 1:
                fits &= (low <= share) & (share <= high)
        if self.crop_emit_mode == "center":
            across, down = (left + right) / 2, (top + bottom) / 2
            stays = (x <= across) & (across < x + w) & (y <= down) & (down < y + h)
        else:
            stays = shared / areas > self.emit_overlap_thresh
        return _seen(boxes[stays], crop) if fits.any() and stays.any() else None


def _seen(boxes: Array, frame: Box) -> Array:
    """Boxes as parts of a frame, cut off at its edges."""
    x, y, w, h = frame
    found = boxes.copy()
    found[:, 1] = np.maximum(0, (boxes[:, 1] - x) / w)
    found[:, 2] = np.maximum(0, (boxes[:, 2] - y) / h)
    found[:, 3] = np.minimum(1, (boxes[:, 3] - x) / w)
    found[:, 4] = np.minimum(1, (boxes[:, 4] - y) / h)
    return found
