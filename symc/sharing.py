"""The one rule of reshaping, sharing and copying: no parameter is made anew behind its owner's back.

What is taken over from another executor or from a file keeps its shape and type. Where another shape is needed, who
asked must have named the array among the new shapes, or have said that new values are meant; else it is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symc import ndarray
from symc.base import MXNetError, those
from symc.context import Context
from symc.ndarray import NDArray
from symc.runtime.memory import fits, need

Shape = tuple[int, ...]


def place_of(symbol: Any, name: str) -> str:
    """What a variable is to its first reader: `the weight of FullyConnected 'fc' (net.py:3)`."""
    for node in symbol.graph.nodes():
        read = [at for at, (source, _) in enumerate(node.inputs) if source.is_variable and source.name == name]
        if read:
            word = [*node.definition.list_inputs(), *node.definition.list_aux()][read[0]]
            file, line = node.where
            return f"the {word} of {node.op} {node.name!r}" + (f" ({file}:{line})" if file else "")
    return "an output"


def keep(who: str, symbol: Any, name: str, held: NDArray, shape: Shape, dtype: Any, advice: str) -> NDArray:
    """`held`, for use as the variable `name` of this shape and type (None: any). MXNetError if it has others."""
    if held.shape != shape:
        has, needed = f"shape {held.shape}", str(shape)
    elif dtype is not None and held.dtype != dtype:
        has, needed = f"type {np.dtype(held.dtype).name}", np.dtype(dtype).name
    else:
        return held
    raise MXNetError(f"{who}: {name!r}, {place_of(symbol, name)}, has {has}, but {needed} is needed; {advice}")


def copy_all(who: str, symbol: Any, pairs: Iterable[tuple[str, NDArray, NDArray]]) -> None:
    """Copy values: (name, from, to). MXNetError if a shape differs, before anything is copied."""
    listed = [pair for pair in pairs if pair[1] is not pair[2]]
    for name, source, target in listed:
        keep(
            who, symbol, name, source, target.shape, None, "the parameters are those of another net, or of other sizes"
        )
    for _, source, target in listed:
        source.astype(target.dtype, copy=False).copyto(target)


# --------------------------------------------------------------------------------------------- reshaping


def resized(array: NDArray, shape: Shape) -> NDArray:
    """The beginning of an array's memory under another shape; new zeros where it is too small."""
    size = math.prod(shape)
    if array._sparse or size > array.size:
        return ndarray.zeros(shape, ctx=array.context, dtype=array.dtype, stype=array.stype)
    return NDArray._of(array._read.reshape(-1)[:size].reshape(shape), array.context)


def arrays_for(
    who: str, symbol: Any, held: Mapping[str, NDArray], shapes: Mapping[str, Shape], named: Collection[str] | None,
    grow: bool, advice: str,
) -> dict[str, NDArray]:  # fmt: skip
    """Arrays for other shapes: those that stay, and for `named` (None: all) their memory under the new shape, or new
    zeros where that is too small. MXNetError for any other that changes, and for new memory unless `grow`."""
    made = {}
    for name, array in held.items():
        shape = shapes[name]
        if array.shape != shape and (named is None or name in named):
            if math.prod(shape) > math.prod(array.shape) and not grow:
                raise MXNetError(
                    f"{who}: {name!r}, {place_of(symbol, name)}, would grow from {array.shape} to {shape}; "
                    "pass allow_up_sizing=True to allocate it anew"
                )
            made[name] = resized(array, shape)
        else:
            made[name] = keep(who, symbol, name, array, shape, None, advice)
    return made


# --------------------------------------------------------------------------------------------- sharing

#: a variable's name, shape and element type
Wanted = tuple[str, Shape, Any]

_ADVICE = "what executors share has one shape and type: give it a name of its own, or do not share it"


class Pool:
    """Where simple_bind takes arrays from: the executor that parameters are shared with, the caller's buffer of arrays
    by name, or new memory.

    As in MXNet, without a buffer nothing is shared; with one, the arguments that `names` has and all auxiliary states
    are those of the executor, and everything else is in the buffer, which is filled.
    """

    def __init__(
        self, who: str, symbol: Any, ctx: Context, executor: Any, names: Collection[str] | None, buffer: Any,
        places: Mapping[str, Context],
    ) -> None:  # fmt: skip
        """`places`: the contexts of variables that are not `ctx`."""
        if names is not None and not isinstance(names, list):
            raise ValueError(f"shared_arg_names in simple_bind must be a list or None, got {type(names).__name__}")
        if buffer is not None and not isinstance(buffer, dict):
            raise ValueError(f"shared_buffer in simple_bind must be dict or None, got {type(buffer).__name__}")
        if names and executor is not None and buffer is None:
            warnings.warn(
                "simple_bind: shared_arg_names shares nothing without shared_buffer, as in MXNet; "
                "pass shared_buffer={} to share those arguments",
                stacklevel=4,
            )
        self.who, self.symbol, self.ctx, self.buffer, self.places = who, symbol, ctx, buffer, places
        self.executor = executor if buffer is not None else None
        self.names = set(names or ()) if buffer is not None else set()

    def check(self, wanted: Sequence[Wanted]) -> None:
        """MXNetError if all of these arrays are more than a process can have, before the first is made."""
        sizes = [
            (math.prod(shape) * np.dtype(dtype).itemsize, name, shape)
            for name, shape, dtype in wanted
            if name not in self.names
        ]
        total = sum(size for size, _, _ in sizes)
        if not fits(total):
            _, name, shape = max(sizes)
            remark = f"; the largest, {name!r}, {place_of(self.symbol, name)}, has shape {shape}"
            need(total, f"{self.who}: making the arrays", remark)

    def argument(self, wanted: Wanted) -> NDArray:
        """The array of an argument."""
        name, shape, dtype = wanted
        if name not in self.names:
            return self._buffered(name, name, shape, dtype)
        return self._shared(wanted, "arg_dict")

    def gradient(self, wanted: Wanted) -> NDArray:
        """The array of an argument's gradient."""
        name, shape, dtype = wanted
        if name not in self.names:
            return self._buffered(f"grad of {name}", name, shape, dtype)
        held = self.executor.grad_dict.get(name) if self.executor is not None else None
        return self._new(name, shape, dtype) if held is None else self._keep(wanted, held)

    def state(self, wanted: Wanted) -> NDArray:
        """The array of an auxiliary state."""
        return self._shared(wanted, "aux_dict")

    def _shared(self, wanted: Wanted, which: str) -> NDArray:
        name, shape, dtype = wanted
        if self.executor is None:
            return self._new(name, shape, dtype)
        known = getattr(self.executor, which)
        if name not in known:
            raise MXNetError(
                f"{self.who}: {name!r}, {place_of(self.symbol, name)}, is not in the executor that parameters are "
                f"shared with (it has {those(known, name)}); bind the net that has all parameters first, or do not "
                "share it"
            )
        return self._keep(wanted, known[name])

    def _keep(self, wanted: Wanted, held: NDArray) -> NDArray:
        return keep(self.who, self.symbol, wanted[0], held, *wanted[1:], _ADVICE)

    def _buffered(self, key: str, name: str, shape: Shape, dtype: Any) -> NDArray:
        if self.buffer is None:
            return self._new(name, shape, dtype)
        held = self.buffer.get(key)
        if held is not None and held.size >= math.prod(shape):
            keep(f"{self.who}: shared_buffer", self.symbol, name, held, held.shape, dtype, _ADVICE)
            return resized(held, shape)
        if held is not None:
            warnings.warn(
                f"simple_bind: shared_buffer has {key!r} of shape {held.shape}, but {shape} is needed: it is "
                "allocated anew; bind the largest net first",
                stacklevel=5,
            )
        made = self.buffer[key] = self._new(name, shape, dtype)
        return made

    def _new(self, name: str, shape: Shape, dtype: Any) -> NDArray:
        return ndarray.zeros(shape, ctx=self.places.get(name, self.ctx), dtype=dtype)


def warn_left(names: Collection[str], why: str) -> None:
    """A UserWarning about parameters that nobody gave a value to."""
    if names:
        warnings.warn(f"{why}: {those(sorted(names))}; they are zeros", stacklevel=4)
