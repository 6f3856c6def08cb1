"""The history of an array as a Symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ndarray.functions import Function
from symc.ndarray.indexing import Taken, is_basic
from symc.ndarray.tape import Call, Entry, Operand, Variable
from symc.ops.base import OPERATORS, Operator, parameters
from symc.symbol import Variable as make_variable
from symc.symbol.compose import compose
from symc.symbol.symbol import Symbol

#: operator on two arrays -> the operators that take a number on the right, and on the left
_SCALAR = {
    "broadcast_add": ("_plus_scalar", "_plus_scalar"), "broadcast_sub": ("_minus_scalar", "_rminus_scalar"),
    "broadcast_mul": ("_mul_scalar", "_mul_scalar"), "broadcast_div": ("_div_scalar", "_rdiv_scalar"),
    "broadcast_mod": ("_mod_scalar", "_rmod_scalar"), "broadcast_power": ("_power_scalar", "_rpower_scalar"),
    "broadcast_maximum": ("_maximum_scalar", "_maximum_scalar"), "broadcast_hypot": ("_hypot_scalar", "_hypot_scalar"),
    "broadcast_minimum": ("_minimum_scalar", "_minimum_scalar"), "broadcast_equal": ("_equal_scalar", "_equal_scalar"),
    "broadcast_not_equal": ("_not_equal_scalar", "_not_equal_scalar"),
    "broadcast_greater": ("_greater_scalar", "_lesser_scalar"),
    "broadcast_lesser": ("_lesser_scalar", "_greater_scalar"),
    "broadcast_greater_equal": ("_greater_equal_scalar", "_lesser_equal_scalar"),
    "broadcast_lesser_equal": ("_lesser_equal_scalar", "_greater_equal_scalar"),
    "broadcast_logical_and": ("_logical_and_scalar", "_logical_and_scalar"),
    "broadcast_logical_or": ("_logical_or_scalar", "_logical_or_scalar"),
    "broadcast_logical_xor": ("_logical_xor_scalar", "_logical_xor_scalar"),
}  # fmt: skip


def symbol_of(entry: Entry) -> Symbol:
    """The Symbol of what an entry was computed by. Variables are named `var1`, `var2`, ... where a gradient is wanted,
    others `null1`, ...; operators `node_1`, ..., in the order in which they were called. MXNetError for steps that no
    operator stands for."""
    made: dict[Call | Variable, Symbol] = {}
    waiting = [entry[0]]
    while waiting:
        source = waiting[-1]
        if source in made:
            waiting.pop()
        elif isinstance(source, Variable):
            made[source] = make_variable(f"{'var' if source.grad is not None else 'null'}{source.number}")
        else:
            missing = [o.entry[0] for o in source.operands if o.entry is not None and o.entry[0] not in made]
            if missing:
                waiting += missing
                continue
            made[source] = _composed(source, lambda e: made[e[0]] if isinstance(e[0], Variable) else made[e[0]][e[1]])
    found = made[entry[0]]
    return found if isinstance(entry[0], Variable) else found[entry[1]]


def _composed(call: Call, value: Callable[[Entry], Symbol]) -> Symbol:
    """A call's operator on the Symbols of its operands."""
    name = f"node_{call.number}"
    function = call.function
    if isinstance(function, Taken):
        (operand,) = call.operands
        assert operand.entry is not None
        return _part(function, operand, value(operand.entry), call.results[0].shape, name)
    if not isinstance(function, Function):
        return function.composed([value(operand.entry) for operand in call.operands if operand.entry is not None])
    if function.operator is None:
        raise MXNetError(f"get_symbol: no operator stands for {function.name}, which is part of the history")
    operator = function.operator
    cls = type(operator)
    operands = call.operands[:-1] if function.keyed else call.operands
    numbers = [at for at, operand in enumerate(operands) if operand.entry is None]
    if numbers:
        (at,) = numbers
        scalar = operands[at].array.reshape(()).item()
        (kept,) = [operand.entry for operand in operands if operand.entry is not None]
        named = _SCALAR[cls.op_name][0 if at == 1 else 1]
        return compose(OPERATORS[named], named, [value(kept)], {"scalar": scalar}, name)
    symbols = [value(operand.entry) for operand in operands if operand.entry is not None]
    given = attributes_of(operator)
    if cls.variadic:
        return compose(cls, cls.op_name, symbols, given, name)
    names = [*operator.list_inputs(), *operator.list_aux()]
    return compose(cls, cls.op_name, [], {**dict(zip(names, symbols)), **given}, name)


def attributes_of(operator: Operator) -> dict[str, Any]:
    """The parameters that are not as they are by default."""
    cls = type(operator)
    found = {p.name: getattr(operator, p.name) for p in parameters(cls)}
    kept = {p.name for p in parameters(cls) if p.required or found[p.name] != p.default}
    return {k: v for k, v in found.items() if k in kept and not (k == cls.variadic and cls.counts_itself)}


def _part(step: Taken, operand: Operand, x: Symbol, shape: tuple[int, ...], name: str) -> Symbol:
    """x[key] by the operators slice and Reshape."""
    if not is_basic(step.key):
        raise MXNetError("get_symbol: an array was indexed by arrays; use mx.nd.take or mx.nd.gather_nd for that")
    bounds = []
    parts = list(step.key) if isinstance(step.key, tuple) else [step.key]
    parts = [p for p in parts if p is not None]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(step.shape) - len(parts) + 1)
    for part, extent in zip(parts, operand.array.shape):
        if isinstance(part, slice):
            bounds.append((part.start, part.stop, part.step))
        else:
            at = int(part) % extent
            bounds.append((at, at + 1, None))
    begin, end, stride = zip(*bounds) if bounds else ((0,), (None,), (None,))
    cut = compose(OPERATORS["slice"], "slice", [x], {"begin": begin, "end": end, "step": stride}, name)
    if np.ndim(operand.array) == len(shape) and all(isinstance(p, slice) for p in parts):
        return cut
    return compose(OPERATORS["Reshape"], "Reshape", [cut], {"shape": shape}, f"{name}_shape")
