"""mx.gluon.utils: data divided among contexts, gradients kept small, and small helpers of blocks."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.context import Context
from symc.ndarray import NDArray, array


def split_data(data: NDArray, num_slice: int, batch_axis: int = 0, even_split: bool = True) -> list[NDArray]:
    """`num_slice` parts of the data along an axis. ValueError where they cannot be equal, if `even_split`; otherwise
    the first parts are larger by one."""
    size = data.shape[batch_axis]
    if even_split and size % num_slice:
        raise ValueError(
            f"{size} rows along axis {batch_axis} of data of shape {data.shape} do not make {num_slice} equal parts; "
            "choose another batch size, or pass even_split=False"
        )
    if size < num_slice:
        raise ValueError(
            f"{size} rows along axis {batch_axis} of data of shape {data.shape} do not make {num_slice} parts"
        )
    if num_slice == 1:
        return [data]
    least, larger = divmod(size, num_slice)
    bounds = [i * least + min(i, larger) for i in range(num_slice + 1)]
    if data.stype != "default" and batch_axis != 0:
        data = data.tostype("default")
    before = (slice(None),) * batch_axis
    return [data[(*before, slice(begin, end)) if before else slice(begin, end)] for begin, end in pairwise(bounds)]


def split_and_load(
    data: Any, ctx_list: Sequence[Context], batch_axis: int = 0, even_split: bool = True
) -> list[NDArray]:
    """The data divided among contexts along an axis."""
    if not isinstance(data, NDArray):
        data = array(data, ctx=ctx_list[0])
    if len(ctx_list) == 1:
        return [data.as_in_context(ctx_list[0])]
    parts = split_data(data, len(ctx_list), batch_axis, even_split)
    return [part.as_in_context(ctx) for part, ctx in zip(parts, ctx_list)]


def clip_global_norm(arrays: Sequence[NDArray], max_norm: float, check_isfinite: bool = True) -> Any:
    """Scale arrays in place so that the norm of all their elements together is at most `max_norm`; gives the norm they
    had: a number, or an array of one element if it is not to be looked at (`check_isfinite`)."""
    if not arrays:
        raise AssertionError("clip_global_norm: there are no arrays")
    total = np.float32(math.sqrt(sum(float(np.sum(np.square(a._read, dtype=np.float32))) for a in arrays)))
    if check_isfinite and not np.isfinite(total):
        warnings.warn("a gradient holds nan or inf: scaling does not mend that", UserWarning, stacklevel=2)
    scale = max_norm / (float(total) + 1e-8)
    if not scale >= 1.0:
        for a in arrays:
            a *= scale
    return float(total) if check_isfinite else array([total], ctx=arrays[0].context)


def shape_is_known(shape: Sequence[int] | None) -> bool:
    """Whether a shape has no unknown extent."""
    return shape is not None and all(extent > 0 for extent in shape)


def merged_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """The shape that both allow, where an extent of 0 is unknown; None if there is none."""
    if len(a) != len(b) or any(x > 0 and y > 0 and x != y for x, y in zip(a, b)):
        return None
    return tuple(x if x > 0 else y for x, y in zip(a, b))


class HookHandle:
    """What registering a hook gives: `detach` takes the hook away; so does leaving it as a `with` block."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks = hooks
        hooks[id(self)] = hook

    def detach(self) -> None:
        """Take the hook away."""
        self._hooks.pop(id(self), None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.detach()


def indented(text: str, spaces: int = 2) -> str:
    """A text of several lines whose lines after the first are moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


def check_sha1(filename: str, sha1_hash: str) -> bool:
    """Whether the content of a file has this SHA-1, in hexadecimal digits."""
    with open(filename, "rb") as file:
        return hashlib.sha1(file.read()).hexdigest() == sha1_hash


def download(
    url: str, path: str | None = None, overwrite: bool = False, sha1_hash: str | None = None, retries: int = 5,
    verify_ssl: bool = True,
) -> str:  # fmt: skip
    """The path at which a file of this URL is kept: below `path` where that is a folder, at `path` otherwise.
    MXNetError where none is there, or one of another hash, or it is to be fetched again: symc downloads nothing."""
    name = url.split("/")[-1]
    place = name if path is None else os.path.expanduser(path)
    if path is not None and os.path.isdir(place):
        place = os.path.join(place, name)
    if overwrite or not os.path.exists(place):
        raise MXNetError(f"symc fetches nothing from the network; put {url} at {place} beforehand")
    if sha1_hash is not None and not check_sha1(place, sha1_hash):
        raise MXNetError(f"{place} is not the file that is wanted: its SHA-1 is not {sha1_hash}")
    return place
