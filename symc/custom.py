"""Operators written in Python: subclasses of CustomOp, described by a registered CustomOpProp.

    @mx.operator.register("scaled")
    class ScaledProp(mx.operator.CustomOpProp):
        def __init__(self, factor="1"):              # attributes arrive as text
            super().__init__(need_top_grad=True)
            self.factor = float(factor)
        def create_operator(self, ctx, shapes, dtypes):
            return Scaled(self.factor)

    y = mx.sym.Custom(x, factor=3, op_type="scaled", name="y")

Inside a compiled program such an operator is a call into Python, before and after native code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from symc.base import MXNetError
from symc.ir.types import Array
from symc.registry import warn_if_replaced

__all__ = ["CustomOp", "CustomOpProp", "get_all_registered", "prop_class", "register"]


class CustomOp:
    """Base of the computations. Arrays are NDArrays; `req` says for each: "null", "write", "inplace" or "add"."""

    def forward(self, is_train: bool, req: Sequence[str], in_data: Any, out_data: Any, aux: Any) -> None:
        """Fill `out_data` from `in_data`; `aux` (auxiliary states) may be changed in place."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, req: Sequence[str], out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        """Fill `in_grad` from the outputs' gradients. What is not filled stays zero; `aux` may be changed in place."""

    def assign(self, dst: Any, req: str, src: Any) -> None:
        """Put `src` into `dst` as `req` says."""
        if req == "add":
            dst[:] = dst + src
        elif req != "null":
            dst[:] = src


class CustomOpProp:
    """Base of the descriptions. `need_top_grad` False: the operator is a loss, its gradient needs no head."""

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad

    def list_arguments(self) -> list[str]:
        """Names of the inputs."""
        return ["data"]

    def list_outputs(self) -> list[str]:
        """Names of the outputs."""
        return ["output"]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the states the operator changes."""
        return []

    def infer_shape(self, in_shape: list[Any]) -> Any:
        """(input shapes, output shapes[, state shapes]) from what is known of the inputs' (unknown: [])."""
        return in_shape, (in_shape[0],) * len(self.list_outputs()), ()

    def infer_type(self, in_type: list[Any]) -> Any:
        """(input types, output types[, state types]); by default all are the first input's."""
        first = in_type[0]
        return (
            [first] * len(self.list_arguments()),
            [first] * len(self.list_outputs()),
            [first] * len(self.list_auxiliary_states()),
        )

    def infer_storage_type(self, in_stype: list[str]) -> Any:
        """(input, output, state storage types). Operators in Python are given dense arrays, whatever is said here."""
        return in_stype, ["default"] * len(self.list_outputs()), ["default"] * len(self.list_auxiliary_states())

    def infer_storage_type_backward(
        self, ograd_stype: list[str], in_stype: list[str], out_stype: list[str], igrad_stype: list[str],
        aux_stype: list[str],
    ) -> Any:  # fmt: skip
        """The storage types of head gradients, inputs, outputs, gradients and states in `backward`, which are dense."""
        return tuple(["default"] * len(given) for given in (ograd_stype, in_stype, out_stype, igrad_stype, aux_stype))

    def declare_backward_dependency(self, out_grad: list[int], in_data: list[int], out_data: list[int]) -> list[int]:
        """Which arrays the gradient needs; heads only if `need_top_grad`."""
        return [*(out_grad if self.need_top_grad_ else []), *in_data, *out_data]

    def create_operator(self, ctx: Any, in_shapes: list[Any], in_dtypes: list[Any]) -> CustomOp:
        """The computation for these shapes and types."""
        return CustomOp()


#: makes what user code is given of numpy's arrays; symc.ndarray, which stands above all operators, puts it here
_wrappers: list[Callable[[Array], Any]] = []


def hand_arrays_as(wrap: Callable[[Array], Any]) -> None:
    """Say what user code is given: `wrap` makes an NDArray over a numpy array."""
    _wrappers[:] = [wrap]


#: what is done before user code is called
_before: list[Callable[[], None]] = []


@contextmanager
def before_user_code(do: Callable[[], None]) -> Iterator[None]:
    """Do that before every call of user code in the block."""
    _before.append(do)
    try:
        yield
    finally:
        _before.remove(do)


def prepare_user_code() -> None:
    """What is called before user code."""
    for do in _before:
        do()


def as_user_array(array: Array) -> Any:
    """The array as user code is given it."""
    return _wrappers[0](array)


_PROPS: dict[str, type[CustomOpProp]] = {}
P = TypeVar("P", bound=type[CustomOpProp])


def register(reg_name: str) -> Callable[[P], P]:
    """Make a CustomOpProp known as `op_type=reg_name`; a name that is taken is replaced, with a warning."""

    def add(prop: P) -> P:
        if not (isinstance(prop, type) and issubclass(prop, CustomOpProp)):
            raise TypeError(f"register({reg_name!r}) takes a subclass of CustomOpProp, not {prop!r}")
        warn_if_replaced("custom operator", reg_name, _PROPS.get(reg_name), prop)
        _PROPS[reg_name] = prop
        return prop

    return add


def get_all_registered() -> list[str]:
    """Names of all registered operators."""
    return sorted(_PROPS)


def prop_class(op_type: str) -> type[CustomOpProp]:
    """The description registered under a name. MXNetError if there is none."""
    try:
        return _PROPS[op_type]
    except KeyError:
        known = ", ".join(_PROPS) or "none"
        raise MXNetError(
            f"Custom: op_type={op_type!r} is not registered with mx.operator.register; there are: {known}"
        ) from None
