"""The tape: what was computed while `mx.autograd` recorded, as far as gradients can flow through it.

An array that belongs to it has an entry, (source, number): result `number` of a Call, or a Variable. Arrays are held as
they are, not copied: what is written into one later is what its gradient sees, as in MXNet.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from symc.base import MXNetError
from symc.ir.errors import IRError
from symc.ir.types import Array
from symc.ndarray.functions import Function, function_for
from symc.ops.base import OPERATORS

if TYPE_CHECKING:
    from symc.ndarray.ndarray import NDArray


class State(threading.local):
    """What a thread does: whether it records, and whether operators run as for training."""

    recording = False
    training = False


STATE = State()


class Scope:
    """A `with` block in which this thread's states are these (None: as they are)."""

    def __init__(self, recording: bool | None, training: bool | None) -> None:
        self._inside = recording, training
        self._outside: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._outside.append((STATE.recording, STATE.training))
        recording, training = self._inside
        if recording is not None:
            STATE.recording = recording
        if training is not None:
            STATE.training = training

    def __exit__(self, *exc: object) -> None:
        STATE.recording, STATE.training = self._outside.pop()


class Variable:
    """An array whose gradient is wanted (`req` "write" or "add"), or one that recorded calls read (`req` "null")."""

    __slots__ = ("array", "grad", "req", "fresh", "number", "live")

    def __init__(self, array: Array, grad: NDArray | None = None, req: str = "null") -> None:
        self.array, self.grad, self.req = array, grad, req
        #: the gradient was computed since somebody set this to False
        self.fresh = False
        self.number = next(_numbers)
        #: False when a variable that wants no gradient is let go with the calls that read it
        self.live = True

    def forget(self) -> None:
        """The array stands for itself again, unless its gradient is wanted."""
        self.live = self.req != "null" or self.grad is not None


class Operand(NamedTuple):
    """What a call was given: an array, and where it comes from (None: nothing flows back to it)."""

    array: Array
    entry: Entry | None


class Opaque:
    """A step whose gradient is computed outside of the compiler: by a user's function, say."""

    name = "?"

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        """Cotangents of the inputs from those of the outputs; None where nothing flows."""
        raise NotImplementedError(f"{type(self).__name__} does not say its gradient")

    def composed(self, inputs: Sequence[Any]) -> Any:
        """The Symbol of the step's outputs, of those of its inputs. MXNetError where no operator stands for it."""
        raise MXNetError(f"get_symbol: no operator stands for {self.name}, which is part of the history")

    def transposed(self) -> Opaque | None:
        """For a linear step of one input and one output: the step that its gradient is."""
        return None


class Call:
    """A recorded step: a function (or an opaque step), what it was given, and what it gave. A step that is part of a
    gradient was computed for the operands of another one `besides`, which it need not read."""

    __slots__ = ("function", "operands", "results", "besides", "number", "live")

    def __init__(
        self,
        function: Function | Opaque,
        operands: Sequence[Operand],
        results: Sequence[Array],
        besides: Sequence[Operand] = (),
    ) -> None:
        self.function, self.operands, self.results, self.besides = function, operands, results, besides
        #: later calls have larger numbers
        self.number = next(_numbers)
        #: False when the gradient has been taken and nobody asked to keep the history
        self.live = True

    def forget(self) -> None:
        """Let go of all that a gradient would need."""
        self.live, self.operands, self.results, self.besides = False, (), (), ()


Entry = tuple[Union[Call, Variable], int]
_numbers = itertools.count(1)


def entry_of(array: NDArray) -> Entry | None:
    """Where an array stands on the tape, if it does."""
    entry = array._entry
    return entry if entry is not None and entry[0].live else None


def variable_of(array: NDArray) -> Variable | None:
    """The variable that an array is."""
    entry = array._entry
    return entry[0] if entry is not None and isinstance(entry[0], Variable) else None


def refuse_written(array: NDArray, read: bool = False) -> None:
    """MXNetError where an array that the tape knows is about to be written while it records, or one that the call which
    writes it reads."""
    if read or entry_of(array) is not None:
        raise MXNetError(
            "Inplace operations (+=, -=, x[:]=, etc) are not supported when recording with autograd, where the array "
            "is part of what is recorded: its gradient would be undefined; call backward() first, use a new array, or "
            "write under autograd.pause()"
        )


def records(inputs: Sequence[Any]) -> bool:
    """Whether a call with these inputs belongs on the tape."""
    return STATE.recording and any(getattr(x, "_entry", None) is not None and entry_of(x) is not None for x in inputs)


def operands_of(inputs: Sequence[NDArray | Array], given: Sequence[Array]) -> list[Operand]:
    """The inputs of a call that is recorded; `given` are their arrays, and a key where it has one. Arrays that the tape
    does not know become variables. Numbers, which are no NDArrays, stay what they are."""
    made: list[Operand] = []
    for x, array in zip(inputs, given):
        entry: Entry | None = None
        if hasattr(x, "_entry"):
            entry = entry_of(x)
            if entry is None:
                entry = x._entry = Variable(x._read), 0
        made.append(Operand(array, entry))
    return made + [Operand(array, None) for array in given[len(inputs) :]]


def record(
    function: Function | Opaque, inputs: Sequence[NDArray | Array], given: Sequence[Array], results: Sequence[NDArray]
) -> None:
    """Put a call on the tape. MXNetError if a result is an array that the tape knows."""
    operands = operands_of(inputs, given)
    for result in results:
        refuse_written(result)
    call = Call(function, operands, [r._read for r in results])
    for at, result in enumerate(results):
        result._entry = call, at


def taped(name: str, attributes: dict[str, Any], inputs: Sequence[NDArray | Array], result: Any) -> Any:
    """`result`, an NDArray that was computed without the operator which computes it, with a call of that recorded."""
    if STATE.recording and records(inputs):
        given = [x if not hasattr(x, "_read") else x._read for x in inputs]
        try:
            function = function_for(OPERATORS[name](**attributes), given, STATE.training)
        except IRError as problem:
            raise MXNetError(f"{name}: {problem}") from None
        record(function, inputs, given, [result])
    return result
