"""mx.operator: operators written in Python, for Symbols and arrays (symc.custom), and the older ways to write them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from symc import symbol
from symc.aliases import standing_elsewhere
from symc.base import MXNetError, NDArrayHandle, py_str
from symc.custom import CustomOp, CustomOpProp, get_all_registered, prop_class, register
from symc.ndarray import NDArray
from symc.ops.base import OPERATORS, parameters

#: "NDArray", "NDArrayHandle", "ctypes" and "py_str" are names that programs get by `from mxnet.operator import *`
__all__ = [
    "CustomOp",
    "CustomOpProp",
    "NDArray",
    "NDArrayHandle",
    "NDArrayOp",
    "NumpyOp",
    "OperatorArguments",
    "PythonOp",
    "ctypes",
    "get_all_registered",
    "get_all_registered_operators",
    "get_operator_arguments",
    "prop_class",
    "py_str",
    "register",
]

__getattr__ = standing_elsewhere(__name__)

_serial = itertools.count()


class PythonOp:
    """Base of NumpyOp and NDArrayOp, which came before CustomOp: an object whose calls make Symbols.

    Subclasses give `forward` and `backward`, and where there is not one input and one output of its shape,
    `infer_shape`, `list_arguments` and `list_outputs`. `need_top_grad=False`: the operator is a loss.
    """

    #: user code gets numpy's arrays
    _as_numpy = False

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad
        self._op_type = ""

    def __call__(self, *args: Any, **kwargs: Any) -> symbol.Symbol:
        return self.get_symbol(*args, **kwargs)

    def get_symbol(self, *args: Any, **kwargs: Any) -> symbol.Symbol:
        """The Symbol of the operator on other Symbols."""
        if not self._op_type:
            self._op_type = f"_python_op_{next(_serial)}"
            register(self._op_type)(_prop_of(self))
        return symbol.Custom(*args, op_type=self._op_type, **kwargs)

    def forward(self, in_data: Sequence[Any], out_data: Sequence[Any]) -> None:
        """Fill `out_data` from `in_data`."""
        out_data[0][:] = in_data[0]

    def backward(
        self, out_grad: Sequence[Any], in_data: Sequence[Any], out_data: Sequence[Any], in_grad: Sequence[Any]
    ) -> None:
        """Fill `in_grad`."""
        in_grad[0][:] = 1.0

    def infer_shape(self, in_shape: list[Any]) -> Any:
        """(input shapes, output shapes) from what is known of the inputs'."""
        return in_shape, [in_shape[0]]

    def list_outputs(self) -> list[str]:
        """Names of the outputs."""
        return ["output"]

    def list_arguments(self) -> list[str]:
        """Names of the inputs."""
        return ["data"]

    def need_top_grad(self) -> bool:
        """Whether the gradient takes that of the outputs."""
        return self.need_top_grad_


class NumpyOp(PythonOp):
    """An operator on numpy's arrays."""

    _as_numpy = True


class NDArrayOp(PythonOp):
    """An operator on NDArrays."""


def _prop_of(op: PythonOp) -> type[CustomOpProp]:
    """The description of an operator of the older kind."""

    class Computation(CustomOp):
        def _call(self, function: Any, results: Sequence[Any], req: Sequence[str], *given: Sequence[Any]) -> None:
            lists = [[a.asnumpy() for a in arrays] if op._as_numpy else list(arrays) for arrays in (*given, results)]
            function(*lists)
            for target, word, made in zip(results, req, lists[-1]):
                self.assign(target, word, made)

        def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
            self._call(op.forward, out_data, req, in_data)

        def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
            self._call(op.backward, in_grad, req, out_grad, in_data, out_data)

    class Description(CustomOpProp):
        def __init__(self) -> None:
            super().__init__(op.need_top_grad())

        def list_arguments(self) -> list[str]:
            return op.list_arguments()

        def list_outputs(self) -> list[str]:
            return op.list_outputs()

        def infer_shape(self, in_shape: list[Any]) -> Any:
            return (*op.infer_shape(in_shape), [])

        def create_operator(self, ctx: Any, in_shapes: list[Any], in_dtypes: list[Any]) -> CustomOp:
            return Computation()

    return Description


class OperatorArguments(NamedTuple):
    """How many arguments an operator has, their names and types."""

    narg: int
    names: list[str]
    types: list[str]


def get_all_registered_operators() -> list[str]:
    """The names of all operators."""
    return list(OPERATORS)


def get_operator_arguments(op_name: str) -> OperatorArguments:
    """What an operator takes: inputs, then parameters. MXNetError if there is none of that name."""
    if op_name not in OPERATORS:
        raise MXNetError(f"there is no operator {op_name!r}; see get_all_registered_operators()")
    cls = OPERATORS[op_name]
    inputs = ["data"] if cls.variadic else [*cls.input_names, *cls.aux_names]
    kinds = ["NDArray-or-Symbol[]" if cls.variadic else "NDArray-or-Symbol"] * len(inputs)
    kinds += [_described(p.annotation, p.default, p.required) for p in parameters(cls)]
    names = [*inputs, *(p.name for p in parameters(cls))]
    return OperatorArguments(len(names), names, kinds)


def _described(annotation: Any, default: Any, required: bool) -> str:
    """A parameter's type and default in MXNet's words."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kind = next(a for a in parts if a is not NoneType)
    or_none = " or None" if NoneType in parts else ""
    if get_origin(kind) is Literal:
        words = sorted(get_args(kind), key=lambda w: (w != "None", w))
        shown = "{" + ", ".join("None" if w == "None" else repr(w) for w in words) + "}"
        return f"{shown}, required" if required else f"{shown},optional, default={str(default)!r}"
    value = default
    if kind is bool:
        shown, value = "boolean", default if default is None else int(default)
    elif kind is int:
        shown, value = "int", repr(str(default))
    elif kind is float:
        shown, value = "float", default if default is None else f"{default:.9g}"
    elif kind is str:
        shown, value = "string", repr(default)
    else:
        or_none = or_none if default is None else ""
        shown = "tuple of <float>" if float in get_args(kind) else "Shape" if or_none else "Shape(tuple)"
        value = f"[{','.join(f'{v:g}' for v in default)}]" if isinstance(default, tuple) else default
    return f"{shown}{or_none}, required" if required else f"{shown}{or_none}, optional, default={value}"
