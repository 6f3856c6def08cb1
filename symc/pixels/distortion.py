"""What ImageRecordIter does to a picture on its way into a batch: sizes, crops, turns and colors."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array
from symc.pixels.colors import BRIGHTNESS, COMPONENTS, DEVIATIONS
from symc.pixels.resize import padded, resize


@dataclass
class Distortion:
    """Settings, with MXNet's names and defaults, and the order in which they act: resized to a shorter side of
    `resize`; turned, sheared and scaled at random (`rotate`, `max_rotate_angle`, `max_shear_ratio`, `max_aspect_ratio`,
    `min_random_scale` to `max_random_scale`); a crop of random area and proportions (`random_resized_crop`), or a
    border of `pad` and a crop of the wanted size (or, resized, of `min_crop_size` to `max_crop_size`), in the middle or
    at a random place (`rand_crop`); then colors: `brightness`, `contrast`, `saturation`, `pca_noise`, and hue,
    saturation and lightness by `random_h`, `random_s`, `random_l`. `fill_value` fills what a turn leaves empty."""

    resize: int = -1
    rand_crop: bool = False
    random_resized_crop: bool = False
    max_rotate_angle: int = 0
    rotate: int = -1
    max_aspect_ratio: float = 0.0
    min_aspect_ratio: float | None = None
    max_shear_ratio: float = 0.0
    max_crop_size: int = -1
    min_crop_size: int = -1
    max_random_scale: float = 1.0
    min_random_scale: float = 1.0
    max_random_area: float = 1.0
    min_random_area: float = 1.0
    max_img_size: float = 1e10
    min_img_size: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    pca_noise: float = 0.0
    random_h: int = 0
    random_s: int = 0
    random_l: int = 0
    fill_value: int = 255
    inter_method: int = 1
    pad: int = 0

    def __call__(self, pixels: Array, height: int, width: int, rng: random.Random) -> Array:
        """The picture (rows, columns, channels), uint8, as one of `height` x `width`."""
        if self.resize > 0:
            pixels = shortened(pixels, self.resize, self.inter_method, rng)
        pixels = self._turned(pixels, rng)
        pixels = self._cropped(pixels, height, width, rng)
        return self._colored(pixels, rng) if pixels.shape[2] >= 3 else pixels

    def _resized(self, pixels: Array, height: int, width: int, rng: random.Random) -> Array:
        return resized(pixels, height, width, self.inter_method, rng)

    # -- turns

    def _turned(self, pixels: Array, rng: random.Random) -> Array:
        plain = (0, -1, 0.0, 0.0, 1.0, 1.0, 1e10, 0.0)
        if plain == (
            self.max_rotate_angle, self.rotate, self.max_shear_ratio, self.max_aspect_ratio, self.max_random_scale,
            self.min_random_scale, self.max_img_size, self.min_img_size,
        ) or (self.random_resized_crop and plain[:3] + plain[4:] == (
            self.max_rotate_angle, self.rotate, self.max_shear_ratio, self.max_random_scale, self.min_random_scale,
            self.max_img_size, self.min_img_size,
        )):  # fmt: skip
            return pixels
        shear = rng.uniform(-self.max_shear_ratio, self.max_shear_ratio)
        angle = self.rotate if self.rotate > 0 else rng.randint(-self.max_rotate_angle, self.max_rotate_angle)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        scale = rng.uniform(self.min_random_scale, self.max_random_scale)
        proportion = 1.0 if self.random_resized_crop else 1 + rng.uniform(-self.max_aspect_ratio, self.max_aspect_ratio)
        high = 2 * scale / (1 + proportion)
        wide = proportion * high
        rows, columns = pixels.shape[:2]
        width = max(self.min_img_size, min(self.max_img_size, scale * columns))
        height = max(self.min_img_size, min(self.max_img_size, scale * rows))
        turn = np.array([
            [high * cos - shear * sin * wide, high * sin + shear * cos * wide], [-sin * wide, cos * wide]
        ])  # fmt: skip
        shift = (np.array([width, height]) - turn @ (columns, rows)) / 2
        return _moved(pixels, turn, shift, max(int(height), 1), max(int(width), 1), self.fill_value)

    # -- crops

    def _cropped(self, pixels: Array, height: int, width: int, rng: random.Random) -> Array:
        if self.random_resized_crop:
            return self._random_area(pixels, height, width, rng)
        if self.pad > 0:
            pixels = padded(pixels, (self.pad, self.pad), (self.pad, self.pad), 0, (self.fill_value,) * 4)
        if self.max_crop_size > 0 or self.min_crop_size > 0:
            least, most = self.min_crop_size, self.max_crop_size
            if not 0 < least <= most <= min(pixels.shape[:2]):
                raise MXNetError(
                    f"crops of {least} to {most} pixels (min_crop_size, max_crop_size) do not fit {pixels.shape}"
                )
            side = rng.randint(least, most)
            return self._resized(self._at(pixels, side, side, rng), height, width, rng)
        rows, columns = pixels.shape[:2]
        if rows < height:
            pixels = self._resized(
                pixels, height, int(np.float32(height) / np.float32(rows) * np.float32(columns)), rng
            )
            rows, columns = pixels.shape[:2]
        if columns < width:
            pixels = self._resized(pixels, int(np.float32(width) / np.float32(columns) * np.float32(rows)), width, rng)
        return self._at(pixels, height, width, rng)

    def _at(self, pixels: Array, height: int, width: int, rng: random.Random) -> Array:
        """The crop in the middle, or at a random place."""
        y, x = pixels.shape[0] - height, pixels.shape[1] - width
        y, x = (rng.randint(0, y), rng.randint(0, x)) if self.rand_crop else (y // 2, x // 2)
        return pixels[y : y + height, x : x + width]

    def _random_area(self, pixels: Array, height: int, width: int, rng: random.Random) -> Array:
        rows, columns = pixels.shape[:2]
        for _ in range(10):
            area = rng.uniform(self.min_random_area, self.max_random_area) * rows * columns
            if self.min_aspect_ratio is not None:
                low, high = math.log(self.min_aspect_ratio), math.log(max(self.max_aspect_ratio, self.min_aspect_ratio))
                proportion = math.exp(rng.uniform(low, high))
            else:
                proportion = 1 + rng.uniform(-self.max_aspect_ratio, self.max_aspect_ratio)
            h, w = round(math.sqrt(area / proportion)), round(math.sqrt(area * proportion))
            if rng.random() > 0.5:
                h, w = w, h
            if 0 < h <= rows and 0 < w <= columns:
                y, x = rng.randint(0, rows - h), rng.randint(0, columns - w)
                return self._resized(pixels[y : y + h, x : x + w], height, width, rng)
        side = min(rows, columns)
        y, x = (rows - side) // 2, (columns - side) // 2
        return self._resized(pixels[y : y + side, x : x + side], height, width, rng)

    # -- colors

    def _colored(self, pixels: Array, rng: random.Random) -> Array:
        jitters = [name for name in ("brightness", "contrast", "saturation") if getattr(self, name) > 0]
        rng.shuffle(jitters)
        colors = pixels[:, :, :3]
        for name in jitters:
            factor = 1 + rng.uniform(-getattr(self, name), getattr(self, name))
            gray: Array | float = 0.0
            if name != "brightness":
                gray = colors.astype(np.float32) @ BRIGHTNESS.astype(np.float32)
                gray = float(gray.mean()) if name == "contrast" else gray[:, :, None]
            colors = levels(colors * np.float32(factor) + np.float32(1 - factor) * gray)
        if self.random_h or self.random_s or self.random_l:
            moves = [rng.randint(-most, most) for most in (self.random_h, self.random_l, self.random_s)]
            colors = shifted_hls(colors, *moves)
        if self.pca_noise > 0:
            noise = np.array([rng.gauss(0, self.pca_noise) for _ in range(3)])
            colors = levels(colors + (COMPONENTS * noise) @ DEVIATIONS)
        return colors if pixels.shape[2] == 3 else np.concatenate([colors, pixels[:, :, 3:]], axis=2)


def resized(pixels: Array, height: int, width: int, method: int, rng: random.Random) -> Array:
    """The picture in another size, interpolated by OpenCV's `method`; 9 chooses by the sizes, 10 at random."""
    if method == 9:
        rows, columns = pixels.shape[:2]
        method = 2 if height > rows and width > columns else 3 if height < rows and width < columns else 1
    elif method == 10:
        method = rng.randint(0, 4)
    return resize(pixels, width, height, method)


def shortened(pixels: Array, side: int, method: int, rng: random.Random) -> Array:
    """The picture resized to a shorter side of `side`."""
    rows, columns = pixels.shape[:2]
    short = (side * rows // columns, side) if rows > columns else (side, side * columns // rows)
    return resized(pixels, *short, method, rng)


def levels(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _moved(pixels: Array, turn: Array, shift: Array, height: int, width: int, fill: int) -> Array:
    """The picture with its point p at turn @ p + shift, in `height` x `width`, interpolated; `fill` outside of it."""
    back = np.linalg.inv(turn)
    y, x = np.mgrid[:height, :width]
    fro = back @ (np.stack([x.ravel(), y.ravel()]) - shift[:, None])
    left, top = np.floor(fro[0]).astype(np.int64), np.floor(fro[1]).astype(np.int64)
    right, low = (fro[0] - left)[:, None], (fro[1] - top)[:, None]
    ring = padded(pixels, (1, 1), (1, 1), 0, (fill,) * 4).astype(np.float64)

    def at(rows: Array, columns: Array) -> Array:
        return np.asarray(ring[np.clip(rows + 1, 0, ring.shape[0] - 1), np.clip(columns + 1, 0, ring.shape[1] - 1)])

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return levels(above * (1 - low) + below * low).reshape(height, width, -1)


def shifted_hls(pixels: Array, hue: int, lightness: int, saturation: int) -> Array:
    """Colors with hue (of 180 steps), lightness and saturation (of 255) moved by so much, cut off at their ends."""
    colors = pixels.astype(np.float64) / 255
    most, least = colors.max(axis=2), colors.min(axis=2)
    spread = most - least
    light = (most + least) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        sated = np.where(spread > 0, spread / (1 - np.abs(2 * light - 1)), 0.0)
        red, green, blue = np.moveaxis(colors, 2, 0)
        place = np.select(
            [most == red, most == green],
            [(green - blue) / spread, (blue - red) / spread + 2],
            (red - green) / spread + 4,
        )
    angle = np.where(spread > 0, place % 6, 0.0)
    angle = np.clip(angle * 30 + hue, 0, 180) / 30
    light, sated = np.clip(light + lightness / 255, 0, 1), np.clip(sated + saturation / 255, 0, 1)
    reach = sated * np.minimum(light, 1 - light)
    steps = (np.array([0, 8, 4]) + angle[:, :, None] * 2) % 12
    made = light[:, :, None] - reach[:, :, None] * np.clip(np.minimum(steps - 3, 9 - steps), -1, 1)
    return levels(made * 255)
