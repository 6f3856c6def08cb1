"""Pictures as NDArrays (height, width, channels): decoded, resized, padded. What MXNet's operators of OpenCV do."""

from __future__ import annotations

from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray, aligned
from symc.pixels.codec import decode
from symc.pixels.resize import LINEAR, padded, resize


def _result(pixels: Array, out: NDArray | None) -> NDArray:
    if out is None:
        return NDArray._of(aligned(pixels))
    if out.shape != pixels.shape:
        raise MXNetError(f"out has shape {out.shape}, but the picture {pixels.shape}")
    out._data[...] = pixels
    return out


def imdecode(buf: Any, flag: int = 1, to_rgb: int = True, out: NDArray | None = None) -> NDArray:
    """The picture in the bytes of a JPEG or PNG file, uint8: three channels, or one with `flag=0`; red first, or blue
    with `to_rgb=0`. MXNetError for what is no picture."""
    if isinstance(buf, NDArray):
        buf = buf.asnumpy()
    data = buf.astype(np.uint8).tobytes() if isinstance(buf, np.ndarray) else bytes(buf)
    pixels = decode(data, 3 if flag else 1)
    return _result(pixels if to_rgb or not flag else pixels[:, :, ::-1], out)


def imread(filename: Any, flag: int = 1, to_rgb: int = True, out: NDArray | None = None) -> NDArray:
    """The picture in a file; see `imdecode`."""
    try:
        with open(filename, "rb") as file:
            data = file.read()
    except OSError as problem:
        raise MXNetError(f"cannot open {filename}: {problem.strerror}") from None
    return imdecode(data, flag, to_rgb, out)


def imresize(src: NDArray, w: int, h: int, interp: int = LINEAR, out: NDArray | None = None) -> NDArray:
    """The picture in another size. `interp`: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos, as in OpenCV."""
    return _result(resize(src._read, int(w), int(h), interp), out)


def copy_make_border(
    src: NDArray, top: int, bot: int, left: int, right: int, type: int = 0, value: float = 0.0, values: Any = (),
    out: NDArray | None = None,
) -> NDArray:  # fmt: skip
    """The picture with a border. `type`, as in OpenCV: 0 of one color (`values` for each channel, or `value` for all),
    1 the last pixel repeated, 2 mirrored, 3 the picture from its other side, 4 mirrored without the last pixel."""
    return _result(padded(src._read, (top, bot), (left, right), type, values or (value,) * 4), out)


#: names that MXNet's operators have in mx.nd._internal
INTERNAL = {
    "_cvimdecode": imdecode, "_cvimread": imread, "_cvimresize": imresize, "_cvcopyMakeBorder": copy_make_border,
}  # fmt: skip
