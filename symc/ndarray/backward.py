"""Gradients of what the tape holds: a sweep over its calls, from the last to the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from symc.base import MXNetError
from symc.ir.types import TensorType, dtype_of
from symc.ndarray.functions import Function, function_of
from symc.ndarray.tape import Call, Entry, Opaque, Operand, Variable, entry_of
from symc.ops.base import OPERATORS
from symc.runtime.memory import aligned, empty, zeros

if TYPE_CHECKING:
    from symc.ndarray.ndarray import NDArray


def backward(heads: Sequence[NDArray], head_grads: Sequence[NDArray | None] | None, retain_graph: bool = False) -> None:
    """Gradients of the heads, weighed by `head_grads` (1 where None), into the gradient arrays of all variables that
    they were computed from. MXNetError for a head that was not recorded, and where there is no such variable."""
    starts = _entries(heads)
    calls, variables = _history(starts)
    wanted = [v for v in variables if v.req != "null"]
    if not wanted:
        raise MXNetError(
            "backward: nothing that these arrays were computed from requires a gradient; call attach_grad() before"
        )
    found = _sweep(calls, _weighed(heads, starts, head_grads), wanted, False)
    for variable, value in zip(wanted, found):
        assert variable.grad is not None
        if variable.grad._sparse:
            variable.grad._receive(_dense_gradient(variable, value))
            continue
        target = variable.grad._data
        if variable.req == "add":
            if value is not None:
                target += value.array
        else:
            target[...] = 0 if value is None else value.array
    for variable in wanted:
        variable.fresh = True
    if not retain_graph:
        _forget([*calls, *variables])


def _dense_gradient(variable: Variable, value: Operand | None) -> NDArray:
    """What a variable's sparse gradient array becomes, as a dense one."""
    assert variable.grad is not None
    dense = variable.grad.tostype("default")
    if variable.req != "add":
        dense._data[...] = 0
    if value is not None:
        dense._data[...] += value.array
    return dense


def gradients(
    heads: Sequence[NDArray],
    variables: Sequence[NDArray],
    head_grads: Sequence[NDArray | None] | None,
    retain_graph: bool,
    create_graph: bool,
) -> list[Operand]:
    """The gradients with respect to `variables`, as new arrays; with `create_graph` they are on the tape themselves.
    MXNetError for a variable that is none, or that the heads were not computed from."""
    starts = _entries(heads)
    calls, reached = _history(starts)
    wanted: list[Variable] = []
    for at, array in enumerate(variables, 1):
        entry = entry_of(array)
        if entry is None or not isinstance(entry[0], Variable):
            raise MXNetError(
                f"grad: variable {at} does not require a gradient; call its attach_grad() before recording"
            )
        if entry[0] not in reached:
            raise MXNetError(f"grad: the heads were not computed from variable {at}")
        wanted.append(entry[0])
    found = _sweep(calls, _weighed(heads, starts, head_grads), wanted, create_graph)
    if not retain_graph:
        _forget([*calls, *reached])
    return [
        Operand(zeros(v.array.shape, v.array.dtype), None)
        if value is None
        else Operand(aligned(value.array), value.entry)
        for v, value in zip(wanted, found)
    ]


def _entries(heads: Sequence[NDArray]) -> list[Entry]:
    starts = []
    for head in heads:
        entry = entry_of(head)
        if entry is None:
            raise MXNetError(
                "an array that was not recorded cannot be differentiated: compute it under autograd.record(); to take "
                "the gradient of one history twice, pass retain_graph=True the first time"
            )
        starts.append(entry)
    return starts


def _history(starts: Sequence[Entry]) -> tuple[list[Call], dict[Variable, None]]:
    """The calls that the entries were computed by, the last first, and the variables they were computed from."""
    calls: set[Call] = set()
    variables: dict[Variable, None] = {}
    waiting = [source for source, _ in starts]
    while waiting:
        source = waiting.pop()
        if isinstance(source, Variable):
            variables[source] = None
        elif source not in calls:
            calls.add(source)
            waiting += [o.entry[0] for o in (*source.operands, *source.besides) if o.entry is not None]
    return sorted(calls, key=lambda call: -call.number), variables


def _weighed(
    heads: Sequence[NDArray], starts: Sequence[Entry], weights: Sequence[NDArray | None] | None
) -> list[tuple[Entry, Operand]]:
    """The cotangents that the sweep begins with."""
    made = []
    for at, (head, entry) in enumerate(zip(heads, starts)):
        weight = weights[at] if weights is not None else None
        if weight is not None and weight._sparse:
            weight = weight.tostype("default")
        if weight is None:
            ones = empty(head.shape, head.dtype)
            ones[...] = 1
            made.append((entry, Operand(ones, None)))
            continue
        if weight.size < math.prod(head.shape) or weight.dtype != head.dtype:
            raise MXNetError(
                f"backward: head {at} is {head._read.dtype}{head.shape}, but its head gradient is "
                f"{weight._read.dtype}{weight.shape}"
            )
        if weight.shape != head.shape:  # its elements in order, as MXNet takes them
            weight = weight.reshape((-1,))[: math.prod(head.shape)].reshape(head.shape)
        made.append((entry, Operand(weight._read, entry_of(weight))))
    return made


def _forget(sources: Sequence[Call | Variable]) -> None:
    for source in sources:
        source.forget()


class _Cotangents:
    """What has arrived so far at every entry."""

    def __init__(self, record: bool) -> None:
        self._record = record
        #: values, and whether they are sums that nobody else has: these may be added to in place
        self._held: dict[Entry, tuple[Operand, bool]] = {}

    def add(self, entry: Entry, value: Operand) -> None:
        if entry not in self._held:
            self._held[entry] = value, False
            return
        before, own = self._held[entry]
        if self._record:
            self._held[entry] = _recorded_sum(before, value), True
        elif own:
            before.array[...] += value.array
        else:
            total = empty(before.array.shape, before.array.dtype)
            np.add(before.array, value.array, out=total)
            self._held[entry] = Operand(total, None), True

    def take(self, entry: Entry) -> Operand | None:
        found = self._held.pop(entry, None)
        return None if found is None else found[0]


def _recorded_sum(a: Operand, b: Operand) -> Operand:
    kind = TensorType(dtype_of(a.array.dtype), a.array.shape)
    function = function_of(OPERATORS["elemwise_add"](), (kind, kind), False)
    made = aligned(np.add(a.array, b.array))
    return Operand(made, (Call(function, [a, b], [made]), 0))


def _recorded_copy(ct: Operand, of: Sequence[Operand]) -> Operand:
    """A cotangent that an input of a call has from its output as it is."""
    function = function_of(OPERATORS["_copy"](), (TensorType(dtype_of(ct.array.dtype), ct.array.shape),), False)
    return Operand(ct.array, (Call(function, [ct], [ct.array], of), 0))


def _sweep(
    calls: Sequence[Call], heads: Sequence[tuple[Entry, Operand]], wanted: Sequence[Variable], record: bool
) -> list[Operand | None]:
    """The cotangents of the wanted variables; None where nothing flows to."""
    active: set[Call | Variable] = set(wanted)
    for call in reversed(calls):
        if any(operand.entry is not None and operand.entry[0] in active for operand in call.operands):
            active.add(call)
    cts = _Cotangents(record)
    for entry, value in heads:
        if entry[0] in active:
            cts.add(entry, value)
    for call in calls:
        if call not in active:
            continue
        arrived = {j: ct for j in range(len(call.results)) if (ct := cts.take((call, j))) is not None}
        if not arrived:
            continue
        if isinstance(call.function, Opaque):
            found = _through_opaque(call, call.function, arrived, record)
        else:
            found = _through(call, call.function, arrived, active, record)
        for at, value in found:
            entry = call.operands[at].entry
            if entry is not None and entry[0] in active:
                cts.add(entry, value)
    return [cts.take((variable, 0)) for variable in wanted]


def _through(
    call: Call, function: Function, arrived: dict[int, Operand], active: set[Call | Variable], record: bool
) -> list[tuple[int, Operand]]:
    """(input number, its cotangent) from those of a call's results."""
    operands = call.operands
    wrt = tuple([i for i, o in enumerate(operands) if o.entry is not None and o.entry[0] in active])
    way = function.pullback(wrt, tuple(arrived))
    found = [(i, _recorded_copy(arrived[j], operands) if record else arrived[j]) for i, j in way.passed]
    if way.function is None:
        return found
    given: list[Operand] = []
    for kind, at in way.operands:
        if kind == "in":
            given.append(operands[at])
        elif kind == "out":
            given.append(Operand(call.results[at], (call, at)))
        else:
            given.append(arrived[at])
    made = way.function([operand.array for operand in given])
    step = Call(way.function, given, made, operands) if record else None
    for at, (i, array) in enumerate(zip(way.results, made)):
        found.append((i, Operand(array, None if step is None else (step, at))))
    return found


def _through_opaque(call: Call, step: Opaque, arrived: dict[int, Operand], record: bool) -> list[tuple[int, Operand]]:
    back = step.transposed() if record else None
    if record and back is None:
        raise MXNetError(f"{step.name}: gradients through it cannot be differentiated again (create_graph=True)")
    made = step.backward([arrived[j].array if j in arrived else None for j in range(len(call.results))])
    entry = (
        (Call(back, [arrived[0]], [made[0]], call.operands), 0) if back is not None and made[0] is not None else None
    )
    return [(i, Operand(array, entry)) for i, array in enumerate(made) if array is not None]
