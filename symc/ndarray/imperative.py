"""mx.nd's operators: each call is a compiled program of one operator, kept by operator and types."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc.base import LateError, user_line
from symc.ir.errors import IRError
from symc.ir.prims.numeric import cast_numpy
from symc.ir.types import Array
from symc.ndarray.functions import KEEP, function_for, run_operator
from symc.ndarray.late import failed
from symc.ndarray.ndarray import NDArray, located
from symc.ndarray.sparse.arrays import cast_storage
from symc.ndarray.sparse.kernels import run_stored, warn_fallback
from symc.ndarray.tape import STATE, Opaque, Scope, record, records, refuse_written, taped
from symc.ops.base import (
    OPERATORS,
    MXNetError,
    Operator,
    Shapes,
    Types,
    given_text,
    is_known,
    parameters,
    parse,
    takes_anything,
)
from symc.ops.embedded.custom import Custom
from symc.ops.functions import METHODS, describe, signature
from symc.runtime.memory import aligned, empty
from symc.runtime.versions import touch


def invoke(
    cls: type[Operator], called: str, args: Sequence[Any], kwargs: dict[str, Any], out: Any = None, ctx: Any = None
) -> NDArray | list[NDArray]:
    """Run an operator on NDArrays; results go into `out` if it is given. Without inputs, results are on `ctx`."""
    values = list(args)
    inputs: list[NDArray] = []
    while values and isinstance(values[0], NDArray):
        inputs.append(values.pop(0))
    # None in the place of an input: it is not given (a bias, say)
    places = max(len(cls.input_names) + len(cls.aux_names) - len(inputs), not inputs)
    while values and values[0] is None and places > 0:
        values.pop(0)
        places -= 1
    named: dict[str, NDArray] = {k: v for k, v in kwargs.items() if isinstance(v, NDArray)}
    given: dict[str, str] = {}
    if values:
        free = [p.name for p in parameters(cls) if p.name not in kwargs and p.name != cls.variadic]
        if out is None and len(values) == len(free) + 1 and isinstance(values[-1], NDArray):
            out = values.pop()  # stands after the parameters
        if len(values) > len(free):
            raise TypeError(f"{called}: too many positional arguments")
        for name, value in zip(free, values):
            given[name] = given_text(cls, name, value)
    for key, value in kwargs.items():
        # None for what is no parameter is an input that is not given, or what numpy's functions hand on (np.mean)
        if key not in named and (value is not None or any(p.name == key for p in parameters(cls))):
            given[key] = given_text(cls, key, value)
    if cls.variadic and cls.counts_itself and cls.variadic not in given:
        given[cls.variadic] = str(len(inputs) + len(named))
    op = parse(cls, {} if takes_anything(cls) else given)
    names = [*op.list_inputs(), *op.list_aux()]
    unknown = [k for k in named if k not in names]
    if unknown and not cls.variadic:
        raise MXNetError(f"{called}: has no input {unknown[0]!r}; it has {', '.join(names)}")
    ordered = list(inputs)
    if out is None and len(ordered) == len(names) + 1 and not named and not parameters(cls):
        out = ordered.pop()
    if cls.variadic and unknown:
        ordered += list(named.values())
    else:
        for name in names[len(inputs) :]:
            if name not in named:
                raise MXNetError(f"{called}: input {name!r} is missing; it takes {', '.join(names)}")
            ordered.append(named[name])
    if len(ordered) > len(names):
        raise MXNetError(f"{called}: takes {len(names)} inputs ({', '.join(names)}), got {len(ordered)}")
    run: Callable[..., Any] = run_custom if isinstance(op, Custom) else run_operator
    targets = None if out is None else list(out) if isinstance(out, (list, tuple)) else [out]
    recorded = STATE.recording and records(ordered)
    try:
        stored = any([a._sparse for a in ordered])
        _check(op, tuple([(a.shape, np.dtype(a.dtype) if stored else a._read.dtype) for a in ordered]))
        for array in (targets or ()) if STATE.recording else ():
            refuse_written(array, recorded and any(array is x for x in ordered))
        if stored:
            results = run_stored(op, ordered, STATE.training)
            given = [a._read for a in ordered] if recorded else []
            function = function_for(op, given, STATE.training) if recorded else None
        else:
            made, function, given = run(op, [a._read for a in ordered], STATE.training)
            context = ordered[0].context if ordered else located(ctx)
            results = [NDArray._of(a, context) for a in made]
            if op.sparse_of_dense:
                results[0] = cast_storage(results[0], op.storage_of(["default"] * len(ordered)))
    except (LateError, np.linalg.LinAlgError) as problem:
        if targets is not None:
            raise LateError.of(problem, f"{called}: {problem}") from None
        return _failed(op, called, ordered, located(ctx) if not ordered else ordered[0].context, problem)
    except (MXNetError, IRError) as problem:
        raise MXNetError(f"{called}: {problem}") from None
    everything = results
    if targets is not None:
        results = _put(called, everything, targets)
        everything = [*results, *everything[len(results) :]]
    if recorded and function is not None:
        record(function, ordered, given, everything)
    return results[0] if len(results) == 1 else results


def _failed(op: Operator, called: str, given: Sequence[NDArray], ctx: Any, problem: Exception) -> Any:
    """The results of a call whose values were refused. LateError at once where values decide about shapes, too."""
    names, outputs = [*op.list_inputs(), *op.list_aux()], [None] * len(op.list_outputs())
    shapes = Shapes([a.shape for a in given], outputs, names)
    types = Types([np.dtype(a.dtype) for a in given], outputs, names)
    op.complete(shapes)
    op.bind_types(types)
    file, line = user_line()
    remark = f"{called}: {str(problem).removeprefix(f'{called}: ')} (called at {file}:{line})"
    found = list(zip(shapes.outs, types.outs))[: op.num_visible_outputs()]
    error = LateError.of(problem, remark)
    if any(shape is None or dtype is None or not is_known(shape) for shape, dtype in found):
        raise error from None
    results = failed(found, ctx, error, getattr(problem, "failure", None), op.random)  # type: ignore[arg-type]
    return results[0] if len(results) == 1 else results


@functools.lru_cache(maxsize=KEEP)
def _check(op: Any, inputs: tuple[tuple[tuple[int, ...], Any], ...]) -> None:
    """MXNetError if the operator does not take inputs of these shapes and types."""
    names = [*op.list_inputs(), *op.list_aux()]
    outputs = len(op.list_outputs())
    op.complete(Shapes([shape for shape, _ in inputs], [None] * outputs, names))
    op.bind_types(Types([dtype for _, dtype in inputs], [None] * outputs, names))


class _CustomStep(Opaque):
    """A call of an operator in Python, as a recorded step."""

    def __init__(
        self,
        op: Custom,
        training: bool,
        results: Sequence[Array],
        states: Sequence[Array],
        gradient: Callable[..., Any],
    ) -> None:
        """`states` are the arrays that `gradient` changes."""
        self.name, self.operator, self._states = f"Custom {op.op_type}", op, states
        self._training, self._gradient = training, gradient
        self._kinds = [(r.shape, r.dtype) for r in results]

    def backward(self, cts: Sequence[Array | None]) -> Sequence[Array | None]:
        heads = [np.zeros(*kind) if ct is None else ct for ct, kind in zip(cts, self._kinds)]
        with Scope(False, self._training):
            found = self._gradient(*heads)
        for state in self._states:
            touch(state)
        return [g if g.dtype.kind == "f" else None for g in found]


def run_custom(op: Custom, arrays: Sequence[Array], train: bool) -> tuple[list[Array], Opaque, Sequence[Array]]:
    """As run_operator, for an operator in Python: it is called as it is, and nothing is compiled."""
    with Scope(False, train):
        made, gradient = op.on_arrays(arrays, train)
    results = [aligned(a) for a in made]
    states = arrays[len(op.list_inputs()) :]
    for state in states:
        touch(state)
    return results, _CustomStep(op, train, results, states, gradient), arrays


def _put(called: str, results: Sequence[NDArray], targets: list[NDArray]) -> list[NDArray]:
    """Results copied into the arrays that were given for them."""
    if len(targets) > len(results):
        raise MXNetError(f"{called}: has {len(results)} outputs, but out has {len(targets)} arrays")
    for target, made in zip(targets, results):
        if not isinstance(target, NDArray):
            raise TypeError(f"{called}: out must be an NDArray, got {type(target).__name__}")
        if target.shape != made.shape or target.dtype != made.dtype:
            raise MXNetError(
                f"{called}: out is {np.dtype(target.dtype)}{target.shape}, but the result is "
                f"{np.dtype(made.dtype)}{made.shape}"
            )
        target._receive(made)
    return targets


def make_function(cls: type[Operator], called: str) -> Callable[..., Any]:
    """The function of `mx.nd` for an operator under one of its names."""

    def function(*args: Any, out: Any = None, name: str | None = None, **kwargs: Any) -> Any:
        # an operator that is defined anew (in a notebook) replaces the one the function was made for
        return invoke(OPERATORS.get(cls.op_name, cls), called, args, kwargs, out, kwargs.pop("ctx", None))

    function.__name__ = function.__qualname__ = called
    function.__doc__ = describe(cls).replace(": Symbol", ": NDArray")
    function.__module__ = "symc.ndarray"
    function.__signature__ = signature(cls, NDArray)  # type: ignore[attr-defined]
    return function


#: the functions of operators that were registered after the module was imported
made_later = functools.cache(make_function)


# --------------------------------------------------------------------------------------------- NDArray's operators


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, bool, np.number))


#: operators that numpy computes as the compiled program would, bit for bit, and sooner than a program could be called
_EXACT: dict[str, Callable[..., Array]] = {
    "broadcast_add": np.add, "broadcast_sub": np.subtract, "broadcast_mul": np.multiply, "broadcast_equal": np.equal,
    "broadcast_not_equal": np.not_equal, "broadcast_greater": np.greater, "broadcast_greater_equal": np.greater_equal,
    "broadcast_lesser": np.less, "broadcast_lesser_equal": np.less_equal,
}  # fmt: skip


def binary(left: Any, right: Any, both: str, python: Callable[[Any, Any], Any] | None = None) -> Any:
    """left op right for arrays (broadcast) and numbers, which take the other operand's element type as C++ casts them.
    `python` does it for two numbers.

    Numbers become arrays instead of attributes, so that a loop over many of them does not compile many programs.
    """
    if getattr(left, "_sparse", False) or getattr(right, "_sparse", False):
        found = _stored_binary(left, right, both)
        if found is not None:
            return found
    if isinstance(left, NDArray) and isinstance(right, NDArray):
        a, b, context = left._read, right._read, left.context
    elif isinstance(left, NDArray) and _number(right):
        a, b, context = left._read, _as_operand(right, left._read), left.context
    elif _number(left) and isinstance(right, NDArray):
        a, b, context = _as_operand(left, right._read), right._read, right.context
    elif python is not None and _number(left) and _number(right):
        return python(left, right)
    else:
        other = right if isinstance(left, NDArray) else left
        raise TypeError(f"type {type(other)} not supported")
    if a.dtype == np.bool_ and isinstance(left, NDArray) != isinstance(right, NDArray) and both not in _COMPARISONS:
        # booleans and a number give whole numbers, or float64 where the number has a fraction
        wide = np.dtype(np.float64 if isinstance(right if isinstance(left, NDArray) else left, float) else np.int64)
        number = [_as_operand(x, a.astype(wide)) for x in (left, right) if not isinstance(x, NDArray)][0]
        left, right = a, b = (a.astype(wide), number) if isinstance(left, NDArray) else (number, b.astype(wide))
    if a.dtype != b.dtype:
        raise MXNetError(f"{both}: lhs has type {a.dtype}, but rhs has {b.dtype}; convert one with astype")
    exact = _EXACT.get(both) or (np.divide if both == "broadcast_div" and a.dtype.kind == "f" else None)
    inputs = (left if isinstance(left, NDArray) else a, right if isinstance(right, NDArray) else b)
    if exact is None or a.dtype == np.bool_:
        try:
            (made,), function, given = run_operator(OPERATORS[both](), (a, b))
        except IRError as problem:
            raise MXNetError(f"{both}: {problem}") from None
        result = NDArray._of(made, context)
        if STATE.recording and records(inputs):
            record(function, inputs, given, [result])
        return result
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise MXNetError(f"{both}: shapes {a.shape} and {b.shape} do not broadcast") from None
    made = empty(shape, a.dtype)
    with np.errstate(all="ignore"):
        exact(a, b, out=made, casting="unsafe")
    return taped(both, {}, inputs, NDArray._of(made, context))


_SCALAR_NAMES = {"add": "plus", "sub": "minus"}
_SWAPPED = {
    "greater": "lesser", "greater_equal": "lesser_equal", "lesser": "greater", "lesser_equal": "greater_equal",
    "sub": "rsub", "div": "rdiv", "mod": "rmod", "power": "rpower",
}  # fmt: skip


def _stored_binary(left: Any, right: Any, both: str) -> Any:
    """`binary` where one operand is sparse and the result, too; None where the result is dense."""
    word = both.removeprefix("broadcast_")
    if isinstance(left, NDArray) and isinstance(right, NDArray):
        name = f"elemwise_{word}"
        if left.shape != right.shape or not left._sparse or name not in OPERATORS:
            name = both
        stypes, operands, given = [left.stype, right.stype], (left, right), {}
    elif _number(left) or _number(right):
        array, number = (left, right) if isinstance(left, NDArray) else (right, left)
        word = word if array is left else _SWAPPED.get(word, word)
        name = f"_{_SCALAR_NAMES.get(word, word)}_scalar"
        stypes, operands, given = [array.stype], (array,), {"scalar": str(float(number))}
    else:
        return None
    if name not in OPERATORS or parse(OPERATORS[name], given).storage_of(stypes) == "default":
        warn_fallback(name, stypes)
        return None
    return invoke(OPERATORS[name], name, operands, dict(given))


def _as_operand(number: Any, beside: Array) -> Array:
    """A number in an array's element type, with as many axes, all of size 1."""
    with np.errstate(all="ignore"):
        return cast_numpy(np.asarray(number), beside.dtype).reshape((1,) * beside.ndim)


_BINARY = {
    "add": "broadcast_add", "sub": "broadcast_sub", "mul": "broadcast_mul", "truediv": "broadcast_div",
    "mod": "broadcast_mod", "pow": "broadcast_power",
}  # fmt: skip
_COMPARE = {
    "eq": "broadcast_equal", "ne": "broadcast_not_equal", "gt": "broadcast_greater", "ge": "broadcast_greater_equal",
    "lt": "broadcast_lesser", "le": "broadcast_lesser_equal",
}  # fmt: skip


_COMPARISONS = frozenset(_COMPARE.values())


def attach_methods(namespace: dict[str, Any]) -> None:
    """Give NDArray its arithmetic and its operator methods."""

    def arithmetic(word: str) -> None:
        both = _BINARY[word]

        def forward(self: NDArray, other: Any) -> Any:
            return binary(self, other, both)

        def backward(self: NDArray, other: Any) -> Any:
            return binary(other, self, both)

        def inplace(self: NDArray, other: Any) -> NDArray:
            if STATE.recording:
                refuse_written(self, records([other]))
            made = binary(self, other, both)
            if made.shape != self.shape:
                raise MXNetError(
                    f"{both}: the result has shape {made.shape}, which does not fit into {self.shape} in place"
                )
            self._receive(made)
            return self

        setattr(NDArray, f"__{word}__", forward)
        setattr(NDArray, f"__r{word}__", backward)
        setattr(NDArray, f"__i{word}__", inplace)

    def comparison(word: str) -> None:
        both = _COMPARE[word]

        def compare(self: NDArray, other: Any) -> Any:
            if other is None and word in ("eq", "ne"):
                return word == "ne"
            return binary(self, other, both)

        setattr(NDArray, f"__{word}__", compare)

    for word in _BINARY:
        arithmetic(word)
    for word in _COMPARE:
        comparison(word)
    NDArray.__neg__ = lambda self: binary(self, -1, "broadcast_mul")  # type: ignore[attr-defined]
    NDArray.__abs__ = lambda self: namespace["abs"](self)  # type: ignore[attr-defined]
    for name in METHODS:
        if name in namespace and name not in vars(NDArray):
            setattr(NDArray, name, _method(namespace[name], name))


def _method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: NDArray, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, function.__doc__
    return method


def helper_functions() -> dict[str, Any]:
    """add, subtract, maximum, equal...: of arrays and numbers, broadcasting."""
    table = {
        "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "modulo": "mod",
        **{word: word for word in (
            "power", "maximum", "minimum", "hypot", "equal", "not_equal", "greater", "greater_equal", "lesser",
            "lesser_equal", "logical_and", "logical_or", "logical_xor",
        )},
    }  # fmt: skip
    python: dict[str, Callable[[Any, Any], Any]] = {
        "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
        "true_divide": operator.truediv, "modulo": operator.mod, "power": operator.pow, "maximum": max, "minimum": min,
        "hypot": math.hypot, "equal": operator.eq, "not_equal": operator.ne, "greater": operator.gt,
        "greater_equal": operator.ge, "lesser": operator.lt, "lesser_equal": operator.le,
        "logical_and": lambda a, b: bool(a) and bool(b), "logical_or": lambda a, b: bool(a) or bool(b),
        "logical_xor": lambda a, b: bool(a) != bool(b),
    }  # fmt: skip

    def make(name: str, word: str) -> Callable[[Any, Any], Any]:
        def function(lhs: Any, rhs: Any) -> Any:
            return binary(lhs, rhs, f"broadcast_{word}", python[name])

        function.__name__ = name
        function.__doc__ = f"{name} of two arrays (broadcast), an array and a number, or two numbers."
        return function

    return {name: make(name, word) for name, word in table.items()}
