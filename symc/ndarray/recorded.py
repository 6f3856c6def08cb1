"""What arrays have to do with gradients: `attach_grad`, `grad`, `backward`, `detach`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from symc.base import MXNetError
from symc.ndarray.backward import backward
from symc.ndarray.tape import Entry, Variable, variable_of
from symc.runtime.memory import zeros

if TYPE_CHECKING:
    from symc.ndarray.ndarray import NDArray

REQUESTS = ("null", "write", "add")


def mark(array: NDArray, grad: NDArray | None, req: str) -> None:
    """Make an array a variable, whatever it was on the tape: its gradient goes into `grad`, or is added to it."""
    array._entry = Variable(array._read, grad if req != "null" else None, req), 0


def request(req: Any) -> str:
    """What is to be done with a gradient. KeyError if it is none of "null", "write" and "add"."""
    if req not in REQUESTS:
        raise KeyError(f"grad_req={req!r} is none of {', '.join(REQUESTS)}")
    return cast(str, req)


class Recorded:
    """Base of NDArray."""

    __slots__ = ("_entry",)

    #: where the array stands on the tape
    _entry: Entry | None

    def attach_grad(self, grad_req: str = "write", stype: str | None = None) -> None:
        """Make this array a variable with a gradient array of zeros: `backward` writes the gradient there, or adds it
        to what is there (grad_req "add"). What the array was computed from is forgotten."""
        array = cast("NDArray", self)
        grad = type(array)._of(zeros(array.shape, array._read.dtype), array._ctx)
        mark(array, grad.tostype(stype or array.stype), request(grad_req))

    @property
    def grad(self) -> NDArray | None:
        """The gradient array, if this is a variable."""
        variable = variable_of(cast("NDArray", self))
        return None if variable is None else variable.grad

    @property
    def _fresh_grad(self) -> bool:
        """Whether the gradient was computed since this was set to False."""
        variable = variable_of(cast("NDArray", self))
        return variable is not None and variable.fresh

    @_fresh_grad.setter
    def _fresh_grad(self, fresh: bool) -> None:
        variable = variable_of(cast("NDArray", self))
        if variable is None:
            raise MXNetError("an array without attach_grad() has no state of its gradient")
        variable.fresh = bool(fresh)

    def backward(self, out_grad: NDArray | None = None, retain_graph: bool = False, train_mode: bool = True) -> None:
        """Gradients of this array, weighed by `out_grad` (1 if it is not given), into the gradient arrays of what it
        was computed from; see `mx.autograd.backward`."""
        backward([cast("NDArray", self)], None if out_grad is None else [out_grad], retain_graph)

    def detach(self) -> NDArray:
        """Another array over the same memory, through which no gradient flows."""
        array = cast("NDArray", self)
        return type(array)._of(array._read, array._ctx)
