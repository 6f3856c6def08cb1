"""Sequences as arrays, Symbols, or lists of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symc import ndarray, symbol
from symc.gluon.nn import LeakyReLU
from symc.symbol import Symbol


def functions_of(value: Any) -> Any:
    """`mx.sym` or `mx.nd`, whichever has the functions of a value or of the first of a list."""
    first = value[0] if isinstance(value, (list, tuple)) else value
    return symbol if isinstance(first, Symbol) else ndarray


def steps_of(inputs: Any, length: int | None, axis: int) -> list[Any]:
    """The steps of a sequence, one by one."""
    if isinstance(inputs, (list, tuple)):
        if length is not None and len(inputs) != length:
            raise AssertionError(f"a sequence of {len(inputs)} steps is unrolled to {length}")
        return list(inputs)
    F = functions_of(inputs)
    if F is ndarray:
        if length is not None and inputs.shape[axis] != length:
            raise AssertionError(f"a sequence of {inputs.shape[axis]} steps is unrolled to {length}")
        length = inputs.shape[axis]
    elif len(inputs.list_outputs()) != 1:
        raise AssertionError("unroll does not take a Symbol of several outputs; give it as a list")
    made = F.split(inputs, axis=axis, num_outputs=length, squeeze_axis=True)
    return list(made) if length != 1 or isinstance(made, list) else [made]


def merged(steps: Sequence[Any], axis: int) -> Any:
    """The steps as one array or Symbol."""
    return functions_of(steps).stack(*steps, axis=axis)


def as_wanted(outputs: Any, axis: int, length: int | None, merge: bool | None) -> Any:
    """One array or Symbol, a list of steps, or (None) whichever it is."""
    listed = isinstance(outputs, (list, tuple))
    if merge is None or listed != merge:
        return outputs
    return merged(outputs, axis) if merge else steps_of(outputs, length, axis)


def reversed_steps(steps: Sequence[Any], valid_length: Any) -> list[Any]:
    """The steps from the last to the first; of every example its own `valid_length` ones."""
    if valid_length is None:
        return list(reversed(steps))
    F = functions_of(steps)
    made = F.SequenceReverse(F.stack(*steps, axis=0), sequence_length=valid_length, use_sequence_length=True)
    return steps_of(made, len(steps), 0)


def masked(outputs: Any, valid_length: Any, axis: int) -> Any:
    """Zeros behind the end of every example."""
    whole = merged(outputs, axis) if isinstance(outputs, (list, tuple)) else outputs
    F = functions_of(whole)
    return F.SequenceMask(whole, sequence_length=valid_length, use_sequence_length=True, axis=axis)


def activated(F: Any, x: Any, activation: Any, name: str) -> Any:
    if activation in ("tanh", "relu", "sigmoid", "softsign"):
        return getattr(F, activation)(x, name=name)
    if isinstance(activation, str):
        return F.Activation(x, act_type=activation, name=name)
    if isinstance(activation, LeakyReLU):
        return F.LeakyReLU(x, act_type="leaky", slope=activation._alpha, name=name)
    return activation(x)
