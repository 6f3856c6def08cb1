"""A tensor and a number: arithmetic, tests and logic, both ways round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.types import F64
from symc.ops.base import BuildContext, Operator, Shapes, Types, operator
from symc.ops.elementwise.elemwise import ARITHMETIC, TESTS, camel
from symc.ops.shared import storage as stored
from symc.ops.shared.families import Function, scalar, with_rule


class _ScalarOperator(Operator):
    """Base: data and the attribute `scalar`, which is cast to the data's type first.

    `is_int` False says the number is not a whole one: integer data is then taken, and given, as float64.
    """

    function: ClassVar[Function]

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        data = t.ins[0]
        if self.is_int or (data is not None and data.kind == "f"):  # type: ignore[attr-defined]
            t.all_alike()
        elif data is not None:
            t.set_out(0, np.float64)
        else:
            t.all_alike()

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        if not data.dtype.is_float and not self.is_int:  # type: ignore[attr-defined]
            data = ew.cast(data, F64)
        return type(self).function(data, scalar(self.scalar, data.dtype))  # type: ignore[attr-defined]


def _division(x: Node, number: Node) -> Node:
    """x / number; for integers the cotangent is divided, too (see ir.prims: that of a tensor is not)."""
    if x.dtype.is_float:
        return ew.div(x, number)
    return with_rule([x, number], ew.div, lambda ins, outs, cts: [ew.div(cts[0], ins[1]), None])


def _reversed_division(x: Node, number: Node) -> Node:
    """number / x; for integers by way of doubles, so that a zero divisor gives what an infinity is cast to."""
    if x.dtype.is_float:
        return ew.div(number, x)

    def body(x: Node, number: Node) -> Node:
        return ew.cast(ew.div(ew.cast(number, F64), ew.cast(x, F64)), x.dtype)

    def rule(ins: Any, outs: Any, cts: Any) -> list[Node | None]:
        wide = ew.cast(ins[0], F64)
        slope = ew.div(ew.neg(ew.cast(ins[1], F64)), ew.mul(wide, wide))
        return [ew.mul(cts[0], ew.cast(slope, ins[0].dtype)), None]

    return with_rule([x, number], body, rule)


def _shifted(op: Any, stypes: Sequence[str]) -> str:
    return stypes[0] if op.scalar == 0 else stored.DEFAULT


def _tested(function: Callable[[float, float], bool]) -> Callable[[Any, Sequence[str]], str]:
    """Zeros stay zeros where a zero does not pass the test."""
    return lambda op, stypes: stored.DEFAULT if function(0.0, float(op.scalar)) else stypes[0]


#: how the number and what is stored decide; of the operators whose tensor comes first
_STORAGE: dict[str, Callable[[Any, Sequence[str]], str]] = {
    "add": _shifted, "sub": _shifted, "mul": stored.kept, "div": stored.kept, "equal": _tested(float.__eq__),
    "not_equal": _tested(float.__ne__), "greater": _tested(float.__gt__), "greater_equal": _tested(float.__ge__),
    "lesser": _tested(float.__lt__), "lesser_equal": _tested(float.__le__),
}  # fmt: skip


def _register(key: str, function: Function, doc: str, gradient: str, reverse: bool = False) -> None:
    swapped = (lambda x, s: function(s, x)) if reverse else function
    if key == "div":
        swapped = _reversed_division if reverse else _division
    named = {"add": "plus", "sub": "minus"}.get(key, key)
    prefix = "r" if reverse else ""
    body: dict[str, Any] = {
        "__doc__": f"{doc[0].upper()}{doc[1:]}, where {'lhs' if reverse else 'rhs'} is the number `scalar`.",
        "__module__": __name__,
        "__annotations__": {"scalar": float, "is_int": bool},
        "scalar": 1.0,
        "is_int": True,
        "function": staticmethod(swapped),
    }
    cls = type(f"_{prefix}{named}_scalar", (_ScalarOperator,), body)
    alias = f"_{prefix.upper()}{camel(named)}Scalar"
    storage = None if reverse else _STORAGE.get(key)
    operator(f"_{prefix}{named}_scalar", aliases=alias, gradient=gradient, storage=storage)(cls)


for _key, (_function, _doc) in ARITHMETIC.items():
    _register(_key, _function, _doc, "")
    if _key in ("sub", "div", "mod", "power"):
        _register(_key, _function, _doc, "", reverse=True)
for _key, (_function, _doc) in TESTS.items():
    _register(_key, _function, _doc, "zero")
