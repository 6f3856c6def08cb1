"""mx.nd.contrib beside the operators: control flow, which is plain Python on arrays, and helpers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np

from symc.context import Context
from symc.ir.types import Array
from symc.ndarray.ndarray import NDArray, full
from symc.ndarray.tape import STATE, Opaque, record, records
from symc.ops.base import OPERATORS
from symc.runtime.memory import zeros as allocate

#: how a nested list was flattened: None an array, a list its members
Form = Union[None, list[Any]]


def _flatten(value: Any, what: str) -> tuple[list[NDArray], Form]:
    if isinstance(value, NDArray):
        return [value], None
    if not isinstance(value, (list, tuple)):
        raise AssertionError(f"{what} must be (nested) list of NDArray, but got {value!r} of type {type(value)}")
    parts = [_flatten(v, what) for v in value]
    return [x for flat, _ in parts for x in flat], [form for _, form in parts]


def _regroup(flat: list[NDArray], form: Form) -> Any:
    """The nested list that was flattened, of other arrays (taken from the front)."""
    return flat.pop(0) if form is None else [_regroup(flat, f) for f in form]


class Stacked(Opaque):
    """Arrays along a new axis 0, in front of rows that are zero, as a recorded step."""

    name = "the stacking of a loop's outputs"

    def __init__(self, count: int) -> None:
        self.count = count

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        (ct,) = cts
        return [None] * self.count if ct is None else list(ct[: self.count])


def _stacked(rows: list[list[NDArray]], length: int, form: Form) -> Any:
    """What the turns gave, each stacked along a new axis 0 of this length; rows of turns not taken are zero."""
    outputs = []
    for at, turns in enumerate(zip(*rows), 1):
        shapes = [x.shape for x in turns]
        if len(set(shapes)) > 1:
            listed = "\n".join(f"  Step {i}, shape is {s}" for i, s in enumerate(shapes))
            raise ValueError(f"Shapes of {at}-th elements in step_outputs are inconsistent, which are:\n{listed}")
        shape = (length, *shapes[0])
        data = allocate(shape, turns[0].dtype)
        np.stack([x._read for x in turns], out=data[: len(turns)])
        made = NDArray._of(data, turns[0].context)
        if STATE.recording and records(turns):
            record(Stacked(len(turns)), turns, [x._read for x in turns], [made])
        outputs.append(made)
    return _regroup(outputs, form)


def foreach(body: Callable[[Any, Any], tuple[Any, Any]], data: Any, init_states: Any) -> tuple[Any, Any]:
    """Apply body(rows, states) -> (outputs, new states) to every row (along axis 0) of `data`, an array or a list of
    arrays. Returns (outputs, stacked along a new axis 0; the last states)."""
    arrays, _ = _flatten(data, "foreach input")
    _flatten(init_states, "foreach states")
    rows: list[list[NDArray]] = []
    form: Form = []
    states = init_states
    count = arrays[0].shape[0]
    for at in range(count):
        row = data[at] if isinstance(data, NDArray) else [d[at] for d in data]
        made, states = body(row, states)
        flat, form = _flatten(made, "foreach output")
        rows.append(flat)
    return _stacked(rows, count, form), states


def _scalar(value: Any, kind: Callable[[Any], Any], what: str) -> Any:
    if hasattr(value, "asscalar"):
        value = value.asscalar()
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"Cannot convert {what} to python {getattr(kind, '__name__', kind)}") from None


def while_loop(
    cond: Callable[..., Any], func: Callable[..., tuple[Any, Any]], loop_vars: Any, max_iterations: int | None = None
) -> tuple[Any, Any]:
    """Repeat func(*loop_vars) -> (outputs, new loop_vars) while cond(*loop_vars) holds, `max_iterations` times at most.

    Returns (outputs, stacked in `max_iterations` rows of which those of turns not taken are zero, or [] if none was
    taken; the last loop_vars). ValueError: the loop_vars or the outputs change their number.
    """
    if max_iterations is None:
        raise ValueError("max_iterations should be specified")
    most = _scalar(max_iterations, int, "max_iteration")
    single = isinstance(loop_vars, NDArray)
    held = [loop_vars] if single else list(loop_vars)
    if not held:
        raise ValueError("loop_vars should contain at least one element")
    rows: list[list[NDArray]] = []
    form: Form = []
    while len(rows) < most and _scalar(cond(*held), bool, "Return value of cond"):
        made, new = func(*held)
        new = [] if new is None else list(new) if isinstance(new, (list, tuple)) else [new]
        if len(new) != len(held):
            raise ValueError("The length of loop_vars should be consistent during the loop")
        held = new
        flat, form = _flatten([] if made is None else made, "while output")
        rows.append(flat)
        if len(flat) != len(rows[0]):
            raise ValueError("Number of elements in step_output should be the same in each step")
    return _stacked(rows, most, form), held[0] if single else held


def cond(pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any]) -> Any:
    """then_func() where `pred` (an array of one element) is not zero, else else_func()."""
    return then_func() if _scalar(pred, bool, "pred") else else_func()


def isinf(data: NDArray) -> NDArray:
    """1 where an element is infinite, else 0."""
    return data.abs() == np.inf  # type: ignore[attr-defined, no-any-return]


def isnan(data: NDArray) -> NDArray:
    """1 where an element is not a number, else 0."""
    return data != data  # type: ignore[return-value]


def isfinite(data: NDArray) -> NDArray:
    """1 where an element is a finite number, else 0."""
    return (data == data) * (data.abs() != np.inf)  # type: ignore[attr-defined, no-any-return]


def rand_zipfian(
    true_classes: NDArray, num_sampled: int, range_max: int, ctx: Context | None = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Classes drawn from [0, range_max) with probability log((k + 2) / (k + 1)) / log(range_max + 1) for class k.

    (int64 samples of shape (num_sampled,), how often each true class is expected, how often each sample is expected).
    """
    from symc.ndarray import random  # type: ignore[attr-defined]

    span = math.log(range_max + 1)

    def expected(classes: Any) -> Any:
        return ((classes + 2.0) / (classes + 1.0)).log() / span * num_sampled

    drawn = random.uniform(0, span, shape=(num_sampled,), dtype="float64", ctx=ctx)
    samples = (drawn.exp() - 1).astype("int64") % range_max
    return samples, expected(true_classes.astype("float64")), expected(samples.astype("float64"))


def _decoupled(op: str, *inputs: Any, rescale_grad: Any, **kwargs: Any) -> Any:
    from symc.ndarray.imperative import make_function

    if not isinstance(rescale_grad, NDArray):
        rescale_grad = full((1,), rescale_grad)
    return make_function(OPERATORS[op], op)(*inputs, rescale_grad, **kwargs)


def adamw_update(
    weight: NDArray, grad: NDArray, mean: NDArray, var: NDArray, rescale_grad: Any, lr: float, eta: float, **kwargs: Any
) -> Any:
    """Adam with decoupled weight decay; `rescale_grad` is an array or a number. beta1, beta2, epsilon, wd and
    clip_gradient as of the operator."""
    return _decoupled("_adamw_update", weight, grad, mean, var, rescale_grad=rescale_grad, lr=lr, eta=eta, **kwargs)


def mp_adamw_update(
    weight: NDArray, grad: NDArray, mean: NDArray, var: NDArray, weight32: NDArray, rescale_grad: Any, lr: float,
    eta: float, **kwargs: Any,
) -> Any:  # fmt: skip
    """adamw_update of half-precision weights with a single-precision copy."""
    inputs = (weight, grad, mean, var, weight32)
    return _decoupled("_mp_adamw_update", *inputs, rescale_grad=rescale_grad, lr=lr, eta=eta, **kwargs)


def _each(op: str, *arrays: Sequence[NDArray]) -> list[NDArray]:
    """The arrays of an update's first weight, of its second, and so on. AssertionError for lists of different
    lengths."""
    if len({len(group) for group in arrays}) != 1:
        raise AssertionError(f"{op}: the lists have {', '.join(str(len(group)) for group in arrays)} arrays")
    return [array for one in zip(*arrays) for array in one]


def _lamb(op: str, *arrays: Sequence[NDArray], **kwargs: Any) -> Any:
    from symc.ndarray.imperative import make_function

    return make_function(OPERATORS[op], op)(*_each(op, *arrays), **kwargs)


def multi_adamw_update(
    weights: Sequence[NDArray], grads: Sequence[NDArray], mean: Sequence[NDArray], var: Sequence[NDArray],
    rescale_grad: Any, lrs: Any, wds: Any, etas: Any, size: int = 0, **kwargs: Any,
) -> Any:  # fmt: skip
    """adamw_update of many weights, each with rates of its own."""
    inputs = _each("multi_adamw_update", weights, grads, mean, var)
    rates = {"lrs": lrs, "wds": wds, "etas": etas, "num_weights": size or len(weights)}
    return _decoupled("_multi_adamw_update", *inputs, rescale_grad=rescale_grad, **rates, **kwargs)


def multi_mp_adamw_update(
    weights: Sequence[NDArray], grads: Sequence[NDArray], mean: Sequence[NDArray], var: Sequence[NDArray],
    weights32: Sequence[NDArray], rescale_grad: Any, lrs: Any, wds: Any, etas: Any, size: int = 0, **kwargs: Any,
) -> Any:  # fmt: skip
    """multi_adamw_update of half-precision weights with single-precision copies."""
    inputs = _each("multi_mp_adamw_update", weights, grads, mean, var, weights32)
    rates = {"lrs": lrs, "wds": wds, "etas": etas, "num_weights": size or len(weights)}
    return _decoupled("_multi_mp_adamw_update", *inputs, rescale_grad=rescale_grad, **rates, **kwargs)


def multi_lamb_update(
    weights: Sequence[NDArray], grads: Sequence[NDArray], mean: Sequence[NDArray], var: Sequence[NDArray],
    step_count: Any, lrs: Any, wds: Any, num_tensors: int = 0, **kwargs: Any,
) -> Any:  # fmt: skip
    """LAMB for many weights, each with a number of steps and rates of its own."""
    rates = {"step_count": step_count, "learning_rates": lrs, "wds": wds, "num_tensors": num_tensors or len(weights)}
    return _lamb("_multi_lamb_update", weights, grads, mean, var, **rates, **kwargs)


def multi_mp_lamb_update(
    weights: Sequence[NDArray], grads: Sequence[NDArray], mean: Sequence[NDArray], var: Sequence[NDArray],
    weights32: Sequence[NDArray], step_count: Any, lrs: Any, wds: Any, num_tensors: int = 0, **kwargs: Any,
) -> Any:  # fmt: skip
    """multi_lamb_update of half-precision weights with single-precision copies."""
    rates = {"step_count": step_count, "learning_rates": lrs, "wds": wds, "num_tensors": num_tensors or len(weights)}
    return _lamb("_multi_mp_lamb_update", weights, grads, mean, var, weights32, **rates, **kwargs)


#: what the module adds to the operators' functions
FUNCTIONS = (
    adamw_update, cond, foreach, isfinite, isinf, isnan, mp_adamw_update, multi_adamw_update, multi_lamb_update,
    multi_mp_adamw_update, multi_mp_lamb_update, rand_zipfian, while_loop,
)  # fmt: skip
