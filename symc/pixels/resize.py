"""Resizing as OpenCV does it, which MXNet's pictures went through: nearest, bilinear, bicubic, area, Lanczos.

Every method is separable: `_taps` says for each row (or column) of the result which rows of the picture it is made of,
and with what weights. 8-bit pictures are computed in whole numbers of 1/2048, as OpenCV does, so that results agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array

NEAREST, LINEAR, CUBIC, AREA, LANCZOS = range(5)

#: whole numbers stand for weights of 1/2048
_ONE = 2048
#: the free parameter of bicubic interpolation, as OpenCV chose it
_SHARPNESS = np.float32(-0.75)


def resize(pixels: Array, width: int, height: int, method: int = LINEAR) -> Array:
    """The picture (height, width, channels) in another size. `method`: 0 nearest, 1 bilinear, 2 bicubic, 3 area,
    4 Lanczos. MXNetError for other methods, and for whole numbers wider than 16 bits, which only nearest takes."""
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise MXNetError(f"a picture has shape (height, width, channels), this one {pixels.shape}")
    if width < 1 or height < 1:
        raise MXNetError(f"a picture cannot be resized to a width of {width} and a height of {height}")
    if method not in (NEAREST, LINEAR, CUBIC, AREA, LANCZOS):
        raise MXNetError(
            f"interp={method} is no method of interpolation: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos"
        )
    old_height, old_width = pixels.shape[:2]
    if (old_height, old_width) == (height, width):
        return pixels.copy()
    down, across = old_height / height, old_width / width
    if method == NEAREST:
        rows, columns = _nearest(height, old_height), _nearest(width, old_width)
        return np.ascontiguousarray(pixels[rows][:, columns])
    if pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float16, np.float32, np.float64):
        raise MXNetError(
            f"pictures of {pixels.dtype} can only be resized with interp=0 (nearest); cast them to float32"
        )
    if method == LINEAR and down == across == 2:
        method = AREA
    if method == AREA and down >= 1 and across >= 1:
        return _averaged(pixels, width, height)
    real = np.float64 if pixels.dtype == np.float64 else np.float32
    vertical = _taps(method, height, old_height, real, False)
    horizontal = _taps(method, width, old_width, real, True)
    if pixels.dtype == np.uint8:
        return _in_whole_numbers(pixels, vertical, horizontal, method == LINEAR or method == AREA)
    made = _sums(_sums(pixels.astype(real), *horizontal, 1), *vertical, 0)
    return _rounded(made, pixels.dtype)


def _rounded(values: Array, dtype: Any) -> Array:
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    kinds = np.iinfo(dtype)
    return np.clip(np.rint(values), kinds.min, kinds.max).astype(dtype)


def _nearest(size: int, old: int) -> Array:
    return np.minimum(np.floor(np.arange(size) * (1 / (size / old))).astype(np.int64), old - 1)


def _taps(method: int, size: int, old: int, real: Any, clamp: bool) -> tuple[Array, Array]:
    """(positions, weights), both (size, taps), of a bilinear, bicubic, Lanczos or enlarging area interpolation.
    `clamp`: at the border linear takes the last pixel alone, as OpenCV does along rows."""
    scale, at = 1 / (size / old), np.arange(size)  # rounded as OpenCV rounds it
    if method == AREA:
        begin = np.floor(at * scale).astype(np.int64)
        part = ((at + 1) - (begin + 1) * (size / old)).astype(np.float32)
        part = np.where(part <= 0, np.float32(0), part - np.floor(part))
    else:
        exact = ((at + 0.5) * scale - 0.5).astype(np.float32)
        begin = np.floor(exact).astype(np.int64)
        part = exact - begin.astype(np.float32)
    if method in (LINEAR, AREA):
        if clamp:
            outside = (begin < 0) | (begin >= old - 1)
            part, begin = np.where(outside, np.float32(0), part), np.clip(begin, 0, old - 1)
        weights = np.stack([1 - part, part], axis=1)
    else:
        weights = _cubic(part) if method == CUBIC else _lanczos(part)
    taps = weights.shape[1]
    positions = np.clip(begin[:, None] + np.arange(taps) - (taps // 2 - 1), 0, old - 1)
    return positions, weights.astype(real)


def _cubic(x: Array) -> Array:
    """Keys' kernel at the four pixels around a point, x behind the second of them."""
    a = _SHARPNESS
    far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    other = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return np.stack([far, near, other, 1 - far - near - other], axis=1).astype(np.float32)


def _lanczos(x: Array) -> Array:
    """The windowed sinc at the eight pixels around a point, x behind the fourth of them, made to sum up to one."""
    distance = x.astype(np.float64)[:, None] + 3 - np.arange(8)
    weights = np.sinc(distance) * np.sinc(distance / 4)
    weights = np.where(np.abs(distance) < 4, weights, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _sums(values: Array, positions: Array, weights: Array, axis: int) -> Array:
    """Weighted sums of the values at the positions along an axis (0 or 1)."""
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    made = np.take(values, positions[:, 0], axis) * weights[:, 0].reshape(shape)
    for tap in range(1, positions.shape[1]):
        made += np.take(values, positions[:, tap], axis) * weights[:, tap].reshape(shape)
    return made


def _in_whole_numbers(
    pixels: Array, vertical: tuple[Array, Array], horizontal: tuple[Array, Array], linear: bool
) -> Array:
    down = np.rint(vertical[1] * np.float32(_ONE)).astype(np.int32)
    across = np.rint(horizontal[1] * np.float32(_ONE)).astype(np.int32)
    rows = _sums(pixels.astype(np.int32), horizontal[0], across, 1)
    if linear:
        # four bits less of every row's sum, and products' upper halves: that is how OpenCV rounds here
        parts = [(np.take(rows >> 4, vertical[0][:, tap], 0) * down[:, tap].reshape(-1, 1, 1)) >> 16 for tap in (0, 1)]
        return ((parts[0] + parts[1] + 2) >> 2).astype(np.uint8)
    made = _sums(rows.astype(np.int64), vertical[0], down.astype(np.int64), 0)
    return np.clip((made + (1 << 21)) >> 22, 0, 255).astype(np.uint8)


def _averaged(pixels: Array, width: int, height: int) -> Array:
    """Each pixel of the result is the mean of the area it covers."""
    old_height, old_width, channels = pixels.shape
    if old_height % height == 0 and old_width % width == 0:
        down, across = old_height // height, old_width // width
        real = np.float64 if pixels.dtype.kind == "f" else np.int64
        cut = pixels.reshape(height, down, width, across, channels)
        total = cut.sum(axis=(1, 3), dtype=real)
        if pixels.dtype == np.uint8 and down == across == 2:
            return ((total + 2) >> 2).astype(np.uint8)
        return _rounded(total.astype(np.float32) * np.float32(1 / (down * across)) if pixels.dtype != np.float64
                        else total / (down * across), pixels.dtype)  # fmt: skip
    real = np.float64 if pixels.dtype == np.float64 else np.float32
    rows = np.tensordot(_shares(width, old_width).astype(real), pixels.astype(real), (1, 1))
    made = np.tensordot(_shares(height, old_height).astype(real), rows, (1, 1))
    return _rounded(made, pixels.dtype)


def _shares(size: int, old: int) -> Array:
    """(size, old): the share of each old pixel in the new ones."""
    scale = old / size
    begin, at = np.arange(size)[:, None] * scale, np.arange(old)[None, :]
    end = np.minimum(begin + scale, old)
    return np.clip(np.minimum(end, at + 1) - np.maximum(begin, at), 0, None) / (end - begin)


#: OpenCV's borders that repeat the picture, as np.pad calls them
_BORDERS = {1: "edge", 2: "symmetric", 3: "wrap", 4: "reflect"}


def padded(pixels: Array, vertical: tuple[int, int], horizontal: tuple[int, int], kind: int, color: Any) -> Array:
    """The picture with rows above and below, columns left and right. `kind` is OpenCV's number of the border: 0 (and
    16) of a color, a number for each channel (0 for those it lacks), or those of `_BORDERS`. MXNetError for another
    one, and for margins below 0."""
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise MXNetError(f"a picture has shape (height, width, channels), this one {pixels.shape}")
    if min(*vertical, *horizontal) < 0:
        raise MXNetError(f"a border cannot be narrower than 0: rows {vertical}, columns {horizontal}")
    margins = (vertical, horizontal, (0, 0))
    if kind & ~16:
        if kind not in _BORDERS:
            raise MXNetError(
                f"type={kind} is no border: 0 of a color, 1 the edge, 2 mirrored, 3 wrapped, 4 mirrored without edge"
            )
        return np.pad(pixels, margins, _BORDERS[kind])  # type: ignore[call-overload]
    channels = pixels.shape[2]
    filled = np.array([*color, *(0,) * channels][:channels], np.float64)
    made = np.empty((pixels.shape[0] + sum(vertical), pixels.shape[1] + sum(horizontal), channels), pixels.dtype)
    made[...] = _rounded(filled, pixels.dtype)
    made[vertical[0] : vertical[0] + pixels.shape[0], horizontal[0] : horizontal[0] + pixels.shape[1]] = pixels
    return made
