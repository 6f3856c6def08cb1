"""mx.nd's operators: each call is a compiled program of one operator, kept by operator and types."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from symc.ir.errors import IRError
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims.numeric import cast_numpy
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph, Update, finish
from symc.ir.tensor.interp import evaluate
from symc.ir.types import Array, TensorType, dtype_of
from symc.ndarray.ndarray import NDArray, aligned, located
from symc.ndarray.pool import Pool
from symc.ops.base import OPERATORS, MXNetError, Operator, Shapes, Types, given_text, parameters, parse
from symc.ops.functions import METHODS, describe, signature
from symc.ops.shared.inferred import output_types
from symc.passes.tensor.decompose import Context, built_results
from symc.runtime.keys import next_key
from symc.runtime.memory import empty

#: compiled programs of single operators kept at a time
KEEP = 2048


class _Build(Context):
    """Updates by the operator's own input numbers."""

    def __init__(self, train: bool) -> None:
        super().__init__(train)
        self.changed: dict[int, Node] = {}

    def update(
        self, position: int, value: Node, phase: str = "backward", again: Callable[[Node], Node] | None = None
    ) -> None:
        self.changed[position] = value

    def becomes(self, position: int, value: Node) -> None: ...


def _graph(op: Operator, types: Sequence[TensorType], train: bool, rows: int | None = None) -> Graph:
    """An operator as a tensor program: inputs in0, in1, ... (and a key), shown outputs, updates of changed inputs."""
    origin = SymOrigin(op.op_name, op.op_name)
    inputs = [input_node(f"in{i}", t) for i, t in enumerate(types)]
    context = _Build(train)
    context.name = op.op_name
    if rows is not None:
        context.output_shapes = ((rows, *types[0].shape[1:]),)
    variables = [SymNode("null", f"in{i}") for i in range(len(types))]
    node = SymNode(op.op_name, op.op_name, {}, [(v, 0) for v in variables], op)
    known = {(v, 0): t for v, t in zip(variables, types)}
    inferred = output_types(SymGraph(((node, 0),)), known, {} if rows is None else {node.name: rows})
    with Recorder() as recorder, recorder.at(origin):
        outs = built_results(node, op.build(context, *inputs), inferred[node])
    if context.key is not None:
        inputs.append(context.key)
    recorder.origins.update({node: origin for node in inputs})
    updates = [Update(f"in{i}", node, "forward") for i, node in context.changed.items()]
    shown = [(f"out{i}", n) for i, n in enumerate(outs[: op.num_visible_outputs()])]
    return finish(op.op_name, inputs, shown, updates, {}, recorder.origins)


class _Compiled(NamedTuple):
    """A program of one operator, ready for any arrays of its types."""

    pool: Pool
    outputs: tuple[TensorType, ...]
    #: the input that takes random bits, if there is one
    key: str


@functools.lru_cache(maxsize=KEEP)
def _program(op: Any, types: tuple[TensorType, ...], train: bool, rows: int | None = None) -> _Compiled:
    """The compiled program of an operator; `rows` where the number of the output's rows is not told by the types."""
    from symc.compile import compile_graph

    executable = compile_graph(_graph(op, types, train, rows))
    values = executable.program.value_types()
    outputs = tuple(values[output.value] for output in executable.program.outputs)
    return _Compiled(Pool(executable), outputs, executable.program.key)


def run_operator(op: Operator, arrays: Sequence[Array], train: bool = False) -> list[Array]:
    """Outputs of an operator on numpy arrays; inputs that it changes are changed in place."""
    types = tuple([TensorType(dtype_of(a.dtype), a.shape) for a in arrays])
    if op.is_update:
        return _interpret(op, arrays, types, train)
    rows = None if op.row_chooser is None else op.count_rows(arrays[op.row_chooser])
    compiled = _program(op, types, train, rows)
    buffers = {f"in{i}": a for i, a in enumerate(arrays)}
    if compiled.key:
        buffers[compiled.key] = next_key()
    outputs = [empty(t.shape, t.dtype.numpy) for t in compiled.outputs]
    compiled.pool.run(buffers, outputs)
    return outputs


def _interpret(op: Operator, arrays: Sequence[Array], types: Sequence[TensorType], train: bool) -> list[Array]:
    """See Operator.is_update. (Optimizer objects take the rate as an input of a compiled program.)"""
    given = {f"in{i}": a for i, a in enumerate(arrays)}
    made = evaluate(_graph(op, types, train), given)
    found = [aligned(a) for a in made.outputs.values()]
    for name, value in made.updates.items():
        given[name][...] = value
    return found


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
    op = parse(cls, given)
    names = [*op.list_inputs(), *op.list_aux()]
    unknown = [k for k in named if k not in names]
    if unknown and not cls.variadic:
        raise MXNetError(f"{called}: has no input {unknown[0]!r}; it has {', '.join(names)}")
    ordered = list(inputs)
    if cls.variadic and unknown:
        ordered += list(named.values())
    else:
        for name in names[len(inputs) :]:
            if name not in named:
                raise MXNetError(f"{called}: input {name!r} is missing; it takes {', '.join(names)}")
            ordered.append(named[name])
    if len(ordered) > len(names):
        raise MXNetError(f"{called}: takes {len(names)} inputs ({', '.join(names)}), got {len(ordered)}")
    try:
        _check(op, tuple([(a.shape, a._data.dtype) for a in ordered]))
        made = run_operator(op, [a._data for a in ordered])
    except (MXNetError, IRError) as problem:
        raise MXNetError(f"{called}: {problem}") from None
    context = ordered[0].context if ordered else located(ctx)
    results = [NDArray._of(a, context) for a in made]
    if out is not None:
        results = _put(called, results, list(out) if isinstance(out, (list, tuple)) else [out])
    return results[0] if len(results) == 1 else results


@functools.lru_cache(maxsize=KEEP)
def _check(op: Any, inputs: tuple[tuple[tuple[int, ...], Any], ...]) -> None:
    """MXNetError if the operator does not take inputs of these shapes and types."""
    names = [*op.list_inputs(), *op.list_aux()]
    outputs = len(op.list_outputs())
    op.complete(Shapes([shape for shape, _ in inputs], [None] * outputs, names))
    op.bind_types(Types([dtype for _, dtype in inputs], [None] * outputs, names))


def _put(called: str, results: Sequence[NDArray], targets: list[NDArray]) -> list[NDArray]:
    """Results copied into the arrays that were given for them."""
    if len(targets) > len(results):
        raise MXNetError(f"{called}: has {len(results)} outputs, but out has {len(targets)} arrays")
    for target, made in zip(targets, results):
        if not isinstance(target, NDArray):
            raise TypeError(f"{called}: out must be an NDArray, got {type(target).__name__}")
        if target.shape != made.shape or target.dtype != made.dtype:
            raise MXNetError(
                f"{called}: out is {target._data.dtype}{target.shape}, but the result is {made._data.dtype}{made.shape}"
            )
        target._data[...] = made._data
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
    if isinstance(left, NDArray) and isinstance(right, NDArray):
        a, b, context = left._data, right._data, left.context
    elif isinstance(left, NDArray) and _number(right):
        a, b, context = left._data, _as_operand(right, left._data), left.context
    elif _number(left) and isinstance(right, NDArray):
        a, b, context = _as_operand(left, right._data), right._data, right.context
    elif python is not None and _number(left) and _number(right):
        return python(left, right)
    else:
        other = right if isinstance(left, NDArray) else left
        raise TypeError(f"type {type(other)} not supported")
    if a.dtype == np.bool_ and isinstance(left, NDArray) != isinstance(right, NDArray) and both not in _COMPARISONS:
        # booleans and a number give whole numbers, or float64 where the number has a fraction
        wide = np.dtype(np.float64 if isinstance(right if isinstance(left, NDArray) else left, float) else np.int64)
        number = [_as_operand(x, a.astype(wide)) for x in (left, right) if not isinstance(x, NDArray)][0]
        a, b = (a.astype(wide), number) if isinstance(left, NDArray) else (number, b.astype(wide))
    if a.dtype != b.dtype:
        raise MXNetError(f"{both}: lhs has type {a.dtype}, but rhs has {b.dtype}; convert one with astype")
    exact = _EXACT.get(both) or (np.divide if both == "broadcast_div" and a.dtype.kind == "f" else None)
    if exact is None or a.dtype == np.bool_:
        return invoke(OPERATORS[both], both, (NDArray._of(a, context), NDArray._of(b, context)), {})
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise MXNetError(f"{both}: shapes {a.shape} and {b.shape} do not broadcast") from None
    made = empty(shape, a.dtype)
    with np.errstate(all="ignore"):
        exact(a, b, out=made, casting="unsafe")
    return NDArray._of(made, context)


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
            made = binary(self, other, both)._data
            if made.shape != self.shape:
                raise MXNetError(
                    f"{both}: the result has shape {made.shape}, which does not fit into {self.shape} in place"
                )
            self._data[...] = made
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
