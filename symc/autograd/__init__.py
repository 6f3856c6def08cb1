"""mx.autograd: gradients of what is computed with arrays, recorded while it is computed.

    x.attach_grad()
    with mx.autograd.record():
        y = (x * x).sum()
    y.backward()            # x.grad is 2 * x

Every thread records for itself. The gradient of a call is a program made of the same primitives as a Symbol's
(symc.ndarray.functions); `symc.ndarray.backward` is the sweep over the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.base import MXNetError
from symc.ir.types import Array
from symc.ndarray import NDArray
from symc.ndarray import backward as _sweep
from symc.ndarray.recorded import mark, request
from symc.ndarray.tape import STATE, Opaque, Scope
from symc.ndarray.tape import entry_of as _entry_of
from symc.ndarray.tape import record as _record
from symc.ndarray.tape import records as _records
from symc.runtime.memory import aligned as _aligned
from symc.runtime.memory import zeros as _zeros

__all__ = [
    "Function", "NDArray", "backward", "get_symbol", "grad", "is_recording", "is_training", "mark_variables", "pause",
    "predict_mode", "record", "set_recording", "set_training", "train_mode",
]  # fmt: skip
__getattr__ = _standing_elsewhere(__name__)


# --------------------------------------------------------------------------------------------- states


def is_recording() -> bool:
    """Whether this thread records."""
    return STATE.recording


def is_training() -> bool:
    """Whether operators run as for training in this thread (Dropout drops, BatchNorm uses the batch)."""
    return STATE.training


def set_recording(is_recording: bool) -> bool:
    """Record from now on, or not; returns what was before."""
    before, STATE.recording = STATE.recording, bool(is_recording)
    return before


def set_training(train_mode: bool) -> bool:
    """Run operators as for training from now on, or not; returns what was before."""
    before, STATE.training = STATE.training, bool(train_mode)
    return before


def record(train_mode: bool = True) -> Scope:
    """A block whose computations are recorded, as for training by default."""
    return Scope(True, bool(train_mode))


def pause(train_mode: bool = False) -> Scope:
    """A block inside of `record` whose computations are not."""
    return Scope(False, bool(train_mode))


def train_mode() -> Scope:
    """A block in which operators run as for training."""
    return Scope(None, True)


def predict_mode() -> Scope:
    """A block in which operators run as for prediction."""
    return Scope(None, False)


# --------------------------------------------------------------------------------------------- gradients


def _listed(arrays: Any, what: str) -> list[Any]:
    found = [arrays] if isinstance(arrays, NDArray) else list(arrays)
    for array in found:
        if not isinstance(array, NDArray):
            raise TypeError(f"{what} must be NDArrays, got {type(array).__name__}")
    return found


def mark_variables(variables: Any, gradients: Any, grad_reqs: str | Sequence[str] = "write") -> None:
    """Make arrays variables: `backward` puts their gradients into `gradients`, or adds them there, as `grad_reqs` says
    ("write", "add" or "null", for all or for each). Of more gradients or requests than variables the first ones count:
    programs keep one list, to which they add in every step. ValueError for fewer."""
    arrays, grads = _listed(variables, "variables"), _listed(gradients, "gradients")
    reqs = [grad_reqs] * len(arrays) if isinstance(grad_reqs, str) else list(grad_reqs)
    if min(len(grads), len(reqs)) < len(arrays):
        raise ValueError(
            f"mark_variables: {len(arrays)} variables, but {len(grads)} gradients and {len(reqs)} requests"
        )
    for array, grad, req in zip(arrays, grads, reqs):
        if grad.shape != array.shape:
            raise MXNetError(f"mark_variables: a gradient of shape {grad.shape} is given for one of {array.shape}")
        mark(array, grad, request(req))


def _weights(heads: list[Any], head_grads: Any) -> list[Any] | None:
    if head_grads is None:
        return None
    weights = [head_grads] if isinstance(head_grads, NDArray) else list(head_grads)
    if len(weights) != len(heads):
        raise AssertionError(f"there are {len(heads)} heads, but {len(weights)} head gradients")
    return weights


def backward(heads: Any, head_grads: Any = None, retain_graph: bool = False, train_mode: bool = True) -> None:
    """Gradients of `heads`, weighed by `head_grads` (1 where there is None), into the gradient arrays of the variables
    that they were computed from. The history is forgotten unless `retain_graph`.

    `train_mode` is accepted as MXNet's; a gradient is always that of what was computed. MXNetError for a head that was
    not recorded, or whose variables want no gradient.
    """
    found = _listed(heads, "heads")
    _sweep.backward(found, _weights(found, head_grads), retain_graph)


def grad(
    heads: Any, variables: Any, head_grads: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    train_mode: bool = True,
) -> Any:  # fmt: skip
    """The gradients of `heads` with respect to `variables`, as new arrays (a list, also for a single variable). With
    `create_graph` they are recorded themselves: their gradients are those of higher order."""
    found, wanted = _listed(heads, "heads"), _listed(variables, "variables")
    if not wanted:
        raise AssertionError("grad: there are no variables")
    keep = create_graph if retain_graph is None else retain_graph
    made = _sweep.gradients(found, wanted, _weights(found, head_grads), keep, create_graph)
    results = []
    for array, operand in zip(wanted, made):
        result = NDArray._of(operand.array, array.context)
        result._entry = operand.entry
        results.append(result)
    return results


# --------------------------------------------------------------------------------------------- functions by users


class Function:
    """A computation with a gradient of its own: derive from it, and define `forward(*arrays)` and
    `backward(*gradients of the results)`, which gives the gradient of every input. An object is called once.

        class Scaled(mx.autograd.Function):
            def forward(self, x):
                self.save_for_backward(x)
                return x * x

            def backward(self, dy):
                (x,) = self.saved_tensors
                return 2 * x * dy
    """

    def __init__(self) -> None:
        self._used = False
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *args: Any) -> None:
        """Keep arrays for `backward`, as `saved_tensors`."""
        self.saved_tensors = args

    def __call__(self, *inputs: Any) -> Any:
        if self._used:
            raise AssertionError(
                f"this {type(self).__name__} was called already: make one for every call, not once for all"
            )
        self._used = True
        with Scope(False, None):
            outputs = self.forward(*inputs)
        arrays = [x for x in inputs if isinstance(x, NDArray)]
        if STATE.recording and _records(arrays):
            results = [outputs] if isinstance(outputs, NDArray) else list(outputs)
            # a result that is an input is a value of its own on the tape
            made = [type(r)._of(r._read, r._ctx) if r._entry is not None else r for r in results]
            step = _Step(self, [r._read for r in made], len(arrays))
            _record(step, arrays, [x._read for x in arrays], made)
            return made[0] if isinstance(outputs, NDArray) else type(outputs)(made)
        return outputs

    def forward(self, *inputs: Any) -> Any:
        """An array, or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, *output_grads: Any) -> Any:
        """The gradients of the inputs, from those of the results."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward")


class _Step(Opaque):
    """A Function's call on the tape."""

    def __init__(self, function: Function, results: Sequence[Array], inputs: int) -> None:
        self.function, self.inputs = function, inputs
        self.name = type(function).__name__
        self._kinds = [(r.shape, r.dtype) for r in results]

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        given = [
            NDArray._of(_zeros(shape, dtype) if ct is None else _aligned(ct))
            for ct, (shape, dtype) in zip(cts, self._kinds)
        ]
        with Scope(False, None):
            found = self.function.backward(*given)
        made = list(found) if isinstance(found, (list, tuple)) else [found]
        if len(made) != self.inputs:
            raise MXNetError(
                f"{self.name}.backward gave {len(made)} gradients, but forward was called with {self.inputs} arrays"
            )
        for value in made:
            if value is not None and not isinstance(value, NDArray):
                raise TypeError(f"{self.name}.backward must give NDArrays, not {type(value).__name__}")
        return [None if value is None else value._read for value in made]


def get_symbol(x: NDArray) -> Any:
    """The recorded computation of an array as a Symbol; its variables are the arrays that were read. MXNetError for an
    array that was not recorded, and where a step of the history is no operator."""
    if not isinstance(x, NDArray):
        raise AssertionError(f"get_symbol takes an NDArray, not a {type(x).__name__}")
    entry = _entry_of(x)
    if entry is None:
        raise MXNetError("get_symbol: this array was not recorded; compute it under autograd.record()")
    from symc.autograd.history import symbol_of

    return symbol_of(entry)
