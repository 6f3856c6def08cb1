"""A tensor and a number: arithmetic, tests and logic, both ways round."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from symc.ir.graph import Node
from symc.ir.prims import elementwise as ew
from symc.ir.types import F64
from symc.ops.base import BuildContext, Operator, Shapes, Types, operator
from symc.ops.elemwise import ARITHMETIC, TESTS, camel
from symc.ops.families import Function, scalar


class _ScalarOperator(Operator):
    """Base: data and the attribute `scalar`, which is cast to the data's type first.

    `is_int` False says the number is not a whole one: integer data is then taken, and given, as float64.
    """

    function: ClassVar[Function]

    def complete(self, s: Shapes) -> None:
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


def _reversed_division(x: Node, number: Node) -> Node:
    """number / x; for integers by way of doubles, so that a zero divisor gives what an infinity is cast to."""
    if x.dtype.is_float:
        return ew.div(number, x)
    return ew.cast(ew.div(ew.cast(number, F64), ew.cast(x, F64)), x.dtype)


def _register(key: str, function: Function, doc: str, gradient: str, reverse: bool = False) -> None:
    swapped = (lambda x, s: function(s, x)) if reverse else function
    if reverse and key == "div":
        swapped = _reversed_division
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
    operator(f"_{prefix}{named}_scalar", aliases=alias, gradient=gradient)(cls)


for _key, (_function, _doc) in ARITHMETIC.items():
    _register(_key, _function, _doc, "")
    if _key in ("sub", "div", "mod", "power"):
        _register(_key, _function, _doc, "", reverse=True)
for _key, (_function, _doc) in TESTS.items():
    _register(_key, _function, _doc, "zero")
