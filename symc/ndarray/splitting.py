"""Functions of mx.nd whose parameters are not their operator's: split_v2, histogram; DLPack as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symc.ndarray.ndarray import NDArray
from symc.ndarray.storages import array
from symc.ops.base import OPERATORS


def make_functions(make: Callable[[Any, str], Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The functions; `make(operator class, name)` gives the function of one operator."""
    split, counted = make(OPERATORS["_split_v2"], "split_v2"), make(OPERATORS["_histogram"], "histogram")

    def split_v2(
        ary: NDArray, indices_or_sections: int | tuple[int, ...], axis: int = 0, squeeze_axis: bool = False
    ) -> Any:
        """Split into equal sections, or at the given indices."""
        if isinstance(indices_or_sections, int):
            return split(ary, indices=[], axis=axis, squeeze_axis=squeeze_axis, sections=indices_or_sections)
        if isinstance(indices_or_sections, tuple):
            return split(ary, indices=[0, *indices_or_sections], axis=axis, squeeze_axis=squeeze_axis, sections=0)
        raise ValueError(
            f"indices_or_sections={indices_or_sections!r} must be a number of sections or a tuple of indices"
        )

    def histogram(a: NDArray, bins: int | NDArray = 10, range: tuple[float, float] | None = None) -> Any:
        """Counts and edges of the bins: an array of edges, or `bins` equal ones in `range` (default: of all values, and
        counts and edges are float32 then)."""
        if isinstance(bins, NDArray):
            return counted(a, bins)
        if not isinstance(bins, int):
            raise ValueError("bins argument should be either an integer or an NDArray of edges")
        if range is None:
            return [array(found) for found in np.histogram(a.asnumpy(), bins=bins)]
        return counted(a, bin_cnt=bins, range=range)

    def to_dlpack_for_read(data: NDArray) -> Any:
        """A DLPack capsule of the array's memory, to be read."""
        return data.to_dlpack_for_read()

    def to_dlpack_for_write(data: NDArray) -> Any:
        """A DLPack capsule of the array's memory, to be written."""
        return data.to_dlpack_for_write()

    made: list[Any] = [split_v2, histogram, to_dlpack_for_read, to_dlpack_for_write]
    return {function.__name__: function for function in made}
