"""Arrays that could not be computed: an operator refused values, which is told where the result is looked at.

MXNet runs operators while the program goes on: what shapes and attributes say is refused where an operator is called,
what values say (a distribution's parameters, a matrix without inverse) where its result is waited for, once. So it is
here for `mx.nd`: `LateError` is raised by the first that looks. Afterwards such arrays hold nan, or 0 in whole numbers.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc.base import LateError
from symc.context import Context
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray
from symc.ops.functions import METHODS

#: methods that make arrays of arrays, and may do so of what is not there
_MAKING = (
    "as_in_context", "as_in_ctx", "astype", "copy", "detach", *METHODS,
    *(f"__{word}__" for word in (
        "abs", "add", "eq", "ge", "getitem", "gt", "le", "lt", "mod", "mul", "ne", "neg", "pow", "radd", "rmod", "rmul",
        "rpow", "rsub", "rtruediv", "sub", "truediv",
    )),
)  # fmt: skip


class Failure:
    """Why arrays are not there, and whether it was told."""

    def __init__(self, error: LateError, drawn: bool) -> None:
        self.error, self.drawn, self.told = error, drawn, False
        _PENDING.append(self)

    def tell(self) -> None:
        """LateError, the first time."""
        if not self.told:
            self.told = True
            self.error.failure = self
            raise self.error


#: for `waitall`; whoever looks at none of so many results does not miss the oldest
_PENDING: deque[Failure] = deque(maxlen=64)


class Failed(NDArray):
    """An array of a failure. What is computed of it fails as well, and for the same reason."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, ctx: Context, failure: Failure) -> None:
        self._stand_in = np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype)
        self._ctx, self._entry, self._failure = ctx, None, failure

    @property
    def _read(self) -> Array:  # type: ignore[override]
        self._failure.tell()
        return self._stand_in

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stand_in.shape

    @property
    def size(self) -> int:
        return self._stand_in.size

    @property
    def ndim(self) -> int:
        return self._stand_in.ndim

    @property
    def dtype(self) -> type:
        return self._stand_in.dtype.type

    def __repr__(self) -> str:
        self._failure.tell()
        return repr(self._standing())

    def wait_to_read(self) -> None:
        """LateError, the first time."""
        self._failure.tell()

    wait_to_write = wait_to_read

    def copyto(self, other: NDArray | Context) -> NDArray:
        if isinstance(other, Context):
            return self._follow(NDArray.copyto(self._standing(), other))
        return super().copyto(other)

    def backward(self, out_grad: NDArray | None = None, retain_graph: bool = False, train_mode: bool = True) -> None:
        self._failure.tell()
        super().backward(out_grad, retain_graph, train_mode)

    def _standing(self) -> NDArray:
        return NDArray._of(self._stand_in, self._ctx)

    def _follow(self, made: Any) -> Any:
        """What was computed of the stand-in, as failed as this."""
        if isinstance(made, NDArray):
            return Failed(made.shape, made.dtype, made._ctx, self._failure)
        return [self._follow(one) for one in made] if isinstance(made, (list, tuple)) else made


def _making(name: str) -> Callable[..., Any]:
    def method(self: Failed, *args: Any, **kwargs: Any) -> Any:
        made = getattr(self._standing(), name)(*args, **kwargs)
        return made if self._failure.told else self._follow(made)

    return functools.wraps(getattr(NDArray, name))(method)


def attach_methods() -> None:
    """Give Failed the methods that NDArray has by now."""
    for name in _MAKING:
        setattr(Failed, name, _making(name))
    Failed.T = property(lambda self: self._follow(self._standing().T))  # type: ignore[assignment, method-assign]


def failed(
    results: Sequence[tuple[tuple[int, ...], Any]], ctx: Context, error: LateError, before: Failure | None, drawn: bool
) -> list[NDArray]:
    """The results of a call that failed, by shapes and types: because an input had failed `before`, or for a reason of
    its own. Draws of random numbers use one generator, and fail together: the first that is looked at tells for all."""
    if before is None and drawn:
        before = next((failure for failure in _PENDING if failure.drawn and not failure.told), None)
    failure = before or Failure(error, drawn)
    failure.told = False  # the call has seen it, not the program
    return [Failed(shape, dtype, ctx, failure) for shape, dtype in results]


def waitall() -> None:
    """Everything is finished when a call returns. LateError if values were refused and nobody was told."""
    untold = [failure for failure in _PENDING if not failure.told]
    _PENDING.clear()
    for failure in untold[1:]:
        failure.told = True
    for failure in untold[:1]:
        failure.tell()
