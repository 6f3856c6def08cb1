"""Pictures (height, width, channels) as NDArrays: decoding, sizes, crops, colors. Random choices come from Python's
`random`, in MXNet's order: the same seed gives the same picture."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np

from symc import ndarray as nd
from symc.ndarray import NDArray, pictures
from symc.ndarray.pictures import imread, imresize

__all__ = [
    "center_crop", "color_normalize", "copyMakeBorder", "fixed_crop", "imdecode", "imread", "imresize", "imrotate",
    "random_crop", "random_rotate", "random_size_crop", "resize_short", "scale_down",
]  # fmt: skip

#: (x, y, width, height) of a crop in the picture it was taken from
Rectangle = tuple[int, int, int, int]

copyMakeBorder = pictures.copy_make_border


def imdecode(buf: Any, *args: Any, **kwargs: Any) -> NDArray:
    """The picture in the bytes of a JPEG or PNG file: imdecode(buf, flag=1, to_rgb=1, out=None); `flag=0` gives one
    channel, `to_rgb=0` blue first. MXNetError for what is no picture."""
    if not isinstance(buf, (bytes, bytearray, np.ndarray, NDArray)):
        raise ValueError(f"buf must be bytes, a bytearray or a numpy.ndarray, got {type(buf).__name__}: encode text")
    return pictures.imdecode(buf, *args, **kwargs)


def scale_down(src_size: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """(width, height) of a crop, made to fit into a picture of `src_size` with its proportions kept."""
    (width, height), (most, highest) = size, src_size
    if highest < height:
        width, height = float(width * highest) / height, highest  # type: ignore[assignment]
    if most < width:
        width, height = most, float(height * most) / width  # type: ignore[assignment]
    return int(width), int(height)


def _get_interp_method(interp: int, sizes: Sequence[int] = ()) -> int:
    """The method of interpolation: 9 chooses by `sizes` (old height, old width, new height, new width), 10 at random.
    ValueError for numbers that are none."""
    if interp == 9:
        if not sizes:
            return 2
        old_height, old_width, height, width = sizes
        if height > old_height and width > old_width:
            return 2
        return 3 if height < old_height and width < old_width else 1
    if interp == 10:
        return random.randint(0, 4)
    if interp not in (0, 1, 2, 3, 4):
        raise ValueError(f"interp={interp} is no method: there are 0 to 4, 9 (by the sizes) and 10 (at random)")
    return interp


def resize_short(src: NDArray, size: int, interp: int = 2) -> NDArray:
    """The picture resized so that its shorter side has `size` pixels."""
    h, w, _ = src.shape
    height, width = (size * h // w, size) if h > w else (size, size * w // h)
    return imresize(src, width, height, interp=_get_interp_method(interp, (h, w, height, width)))


def fixed_crop(
    src: NDArray, x0: int, y0: int, w: int, h: int, size: Sequence[int] | None = None, interp: int = 2
) -> NDArray:
    """The rectangle of `w` x `h` at (x0, y0), resized to `size` (width, height) if that is another one."""
    cut = src[y0 : y0 + h, x0 : x0 + w]
    if size is None or (w, h) == tuple(size):
        return cut
    return imresize(cut, *size, interp=_get_interp_method(interp, (h, w, size[1], size[0])))


def random_crop(src: NDArray, size: Sequence[int], interp: int = 2) -> tuple[NDArray, Rectangle]:
    """A crop of `size` (width, height) at a random place, and where it is. Smaller pictures are enlarged."""
    h, w, _ = src.shape
    width, height = scale_down((w, h), size)
    x, y = random.randint(0, w - width), random.randint(0, h - height)
    return fixed_crop(src, x, y, width, height, size, interp), (x, y, width, height)


def center_crop(src: NDArray, size: Sequence[int], interp: int = 2) -> tuple[NDArray, Rectangle]:
    """The crop of `size` (width, height) in the middle, and where it is. Smaller pictures are enlarged."""
    h, w, _ = src.shape
    width, height = scale_down((w, h), size)
    x, y = (w - width) // 2, (h - height) // 2
    return fixed_crop(src, x, y, width, height, size, interp), (x, y, width, height)


def random_size_crop(
    src: NDArray, size: Sequence[int], area: Any, ratio: Sequence[float], interp: int = 2, **kwargs: Any
) -> tuple[NDArray, Rectangle]:
    """A crop of random area (a share of the picture's: a range, or its lower end) and random width / height, resized to
    `size`; the middle of the picture if ten of them do not fit. And where it is."""
    h, w, _ = src.shape
    area = deprecated_area(area, kwargs, "random_size_crop")
    low, high = (area, 1.0) if isinstance(area, (int, float)) else area
    for _ in range(10):
        share = random.uniform(low, high) * h * w
        proportion = np.exp(random.uniform(np.log(ratio[0]), np.log(ratio[1])))
        width, height = round(np.sqrt(share * proportion)), round(np.sqrt(share / proportion))
        if width <= w and height <= h:
            x, y = random.randint(0, w - width), random.randint(0, h - height)
            return fixed_crop(src, x, y, width, height, size, interp), (x, y, width, height)
    return center_crop(src, size, interp)


def deprecated_area(area: Any, kwargs: dict[str, Any], what: str) -> Any:
    """The area as it is given today, or by the name it once had."""
    if "min_area" in kwargs:
        warnings.warn("min_area is the earlier name of area", DeprecationWarning, stacklevel=3)
        area = kwargs.pop("min_area")
    if kwargs:
        raise AssertionError(f"{what}: unexpected arguments {', '.join(kwargs)}")
    return area


def color_normalize(src: NDArray, mean: Any, std: Any = None) -> NDArray:
    """(src - mean) / std, in place; either may be None."""
    if mean is not None:
        src -= mean
    if std is not None:
        src /= std
    return src


def imrotate(src: NDArray, rotation_degrees: Any, zoom_in: bool = False, zoom_out: bool = False) -> NDArray:
    """A picture (C, H, W), or a batch (N, C, H, W), float32, turned around its middle; a number, or one a picture.
    `zoom_in` leaves out what would be empty, `zoom_out` shows all of the picture."""
    if zoom_in and zoom_out:
        raise ValueError("zoom_in and zoom_out exclude each other")
    if src.dtype is not np.float32:
        raise TypeError(f"imrotate takes float32 pictures, got {np.dtype(src.dtype)}: cast them")
    if src.ndim not in (3, 4):
        raise ValueError(f"imrotate takes a picture (C, H, W) or a batch (N, C, H, W), got shape {src.shape}")
    alone = src.ndim == 3
    if alone and not isinstance(rotation_degrees, Number):
        raise TypeError("a single picture is turned by one number of degrees")
    batch = src.expand_dims(axis=0) if alone else src
    if isinstance(rotation_degrees, Number):
        degrees = np.full(len(batch), rotation_degrees, np.float32)  # type: ignore[arg-type]
    else:
        degrees = rotation_degrees.asnumpy().astype(np.float32)
    if len(degrees) != len(batch):
        raise ValueError(f"there are {len(batch)} pictures, but {len(degrees)} angles: the number must be equal")
    grid = np.stack([_turned_grid(*batch.shape[2:], math.radians(d), zoom_in, zoom_out) for d in degrees])
    turned = nd.BilinearSampler(batch, nd.array(grid, ctx=src.context))
    return turned[0] if alone else turned


def _turned_grid(height: int, width: int, angle: float, zoom_in: bool, zoom_out: bool) -> Any:
    """Where in a picture, from -1 to 1, the pixels of the turned one lie: (2, height, width), x first."""
    half_height, half_width = (height - 1) / 2, (width - 1) / 2
    y, x = np.meshgrid(np.arange(height) - half_height, np.arange(width) - half_width, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    grid = np.stack([(x * cos - y * sin) / half_width, (x * sin + y * cos) / half_height])
    if not (zoom_in or zoom_out):
        return grid
    # how far the corners reach when the picture is turned
    diagonal, corner = math.hypot(height, width), math.atan2(height, width)
    around = [corner + abs(angle), corner - abs(angle)]
    reach_x = max(abs(diagonal * math.cos(a)) for a in around)
    reach_y = max(abs(diagonal * math.sin(a)) for a in around)
    if zoom_out:
        return grid * max(reach_x / width, reach_y / height)
    return grid * min(width / reach_x, height / reach_y)


def random_rotate(
    src: NDArray, angle_limits: Sequence[float], zoom_in: bool = False, zoom_out: bool = False
) -> NDArray:
    """`imrotate` by a random angle in the limits, one for each picture (numpy's random numbers)."""
    if src.ndim == 3:
        return imrotate(src, np.random.uniform(*angle_limits), zoom_in, zoom_out)
    return imrotate(src, nd.array(np.random.uniform(*angle_limits, size=src.shape[0])), zoom_in, zoom_out)
