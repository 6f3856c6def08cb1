"""JPEG and PNG by Pillow, which is installed with `pip install symc[image]`.

Pictures are arrays (height, width, channels) with red first. Pillow's decoders are those that OpenCV uses, so that PNG
files give the same numbers and JPEG files too, where both libraries were built with the same libjpeg.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array

#: libpng's weights of red, green and blue in gray, of 32768
_GRAY = (9797, 19234, 3737)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MXNetError("pictures are read and written with Pillow: pip install symc[image]") from None
    return Image


def _opened(data: bytes) -> Any:
    Image = _pillow()
    try:
        return Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        shown = f"{len(data)} bytes that begin with {data[:8]!r}" if data else "no bytes"
        raise MXNetError(f"this is no picture that Pillow can read: {shown}") from None


def _loaded(picture: Any) -> None:
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError) as problem:
        raise MXNetError(f"a {picture.format} picture is damaged: {problem}") from None


def decode(data: bytes, channels: Literal[1, 3] = 3) -> Array:
    """The picture in an encoded file: (height, width, channels), uint8.

    Transparency is left out, and the orientation that cameras write beside the picture (EXIF) is not followed, as in
    MXNet. MXNetError for what is no picture, and for files that end early.
    """
    picture = _opened(data)
    gray = channels == 1
    if gray and picture.format == "JPEG":
        picture.draft("L", picture.size)  # the brightness that the file holds, as OpenCV takes it
    _loaded(picture)
    if picture.mode in ("I;16", "I;16B", "I"):
        flat = (np.asarray(picture).astype(np.int64) >> 8).astype(np.uint8)
        return np.repeat(flat[:, :, None], channels, axis=2)
    if gray and picture.mode in ("L", "1", "LA"):
        return np.asarray(picture.convert("L"))[:, :, None]
    if gray:
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(np.int64), 2, 0)
        mixed = (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue) >> 15
        return np.where((red == green) & (red == blue), red, mixed).astype(np.uint8)[:, :, None]
    return np.asarray(picture.convert("RGB"))


def decode_stored(data: bytes) -> Array:
    """The picture as it is stored: (height, width) for gray, else with 3 or 4 channels; uint16 where it has 16 bits."""
    picture = _opened(data)
    _loaded(picture)
    if picture.mode in ("I;16", "I;16B", "I"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("L", "1"):
        return np.asarray(picture.convert("L"))
    clear = picture.mode in ("RGBA", "LA") or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if clear else "RGB"))


def encode(pixels: Array, suffix: str, quality: int) -> bytes:
    """A picture (height, width[, channels]), red first, as the bytes of a file. `quality` is JPEG's (1 to 100) or how
    hard PNG is compressed (0 to 9). ValueError for other suffixes, and for arrays that are no pictures."""
    Image = _pillow()
    kind = {".JPG": "JPEG", ".JPEG": "JPEG", ".PNG": "PNG"}.get(suffix.upper())
    if kind is None:
        raise ValueError(f"pictures are written as .jpg or .png, not {suffix!r}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    deep = kind == "PNG" and pixels.ndim == 2 and pixels.dtype == np.uint16
    plain = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in ((3,) if kind == "JPEG" else (3, 4)))
    if not plain or 0 in pixels.shape or not (deep or pixels.dtype == np.uint8):
        raise ValueError(f"{pixels.dtype}{pixels.shape} is no picture that {suffix} can hold")
    made = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == "JPEG":
        picture.save(made, kind, quality=min(max(quality, 1), 100))
    else:
        picture.save(made, kind, compress_level=min(max(quality, 0), 9))
    return made.getvalue()
