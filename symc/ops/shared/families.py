"""What the tensor operators share: families made from table rows, precision, constants, axes, element types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import numeric
from symc.ir.prims.control import custom_grad
from symc.ir.prims.pullback import pullback
from symc.ir.types import F16, F32, F64, DType, TensorType, dtype_of
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Types, operator

Function = Callable[..., Node]

#: element types an operator's `dtype` may name
Float = Literal["float16", "float32", "float64"]
MaybeFloat = Literal["None", "float16", "float32", "float64"]
Number = Literal["float16", "float32", "float64", "int32", "int64", "int8", "uint8", "bfloat16"]
MaybeNumber = Literal["None", "float16", "float32", "float64", "int32", "int64", "int8"]
NumberOrBool = Literal["float16", "float32", "float64", "int32", "int64", "int8", "uint8", "bool", "bfloat16"]


def element_type(op: Operator, name: str) -> np.dtype[Any]:
    """The numpy type an attribute names. MXNetError for bfloat16, which numpy does not have."""
    if name == "bfloat16":
        raise MXNetError(f"{op.op_name}: dtype='bfloat16' is not supported; use float16 or float32")
    return np.dtype(name)


def register(name: str, base: type[Operator], doc: str, function: Function, **facts: Any) -> type[Operator]:
    """One table row: the operator `name`, which is `base` around `function`."""
    cls = type(name, (base,), {"__doc__": doc, "__module__": base.__module__, "function": staticmethod(function)})
    return operator(name, **facts)(cls)


# --------------------------------------------------------------------------------------------- precision


def in_floats(function: Function, integers: DType = F32) -> Function:
    """`function` in single precision for half precision, and in `integers` for integers, whose results truncate. MXNet
    does so: C's functions take an integer as a double, its own formulas as a float."""

    def apply(*operands: Node) -> Node:
        dtype = operands[0].dtype
        if dtype in (F32, F64):
            return function(*operands)
        wide = F32 if dtype.is_float else integers
        return ew.cast(function(*(ew.cast(x, wide) for x in operands)), dtype)

    return apply


def truncating(function: Function, slope: Function | None = None, integers: DType = F32) -> Function:
    """in_floats for an elementwise function: its derivatives truncate as well, before they meet the cotangent. `slope`
    is the derivative in terms of the (truncated) result, where MXNet computes it so."""
    wide = in_floats(function, integers)

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        floats = [ew.cast(x, F32) for x in ins]
        if slope is not None:
            found: Sequence[Node | None] = [slope(ew.cast(outs[0], F32))]
        else:
            y = function(*floats)
            found = pullback([y], [ew.full(1, y.tensor)], floats)
        return [None if g is None else cts[0] * ew.cast(g, x.dtype) for g, x in zip(found, ins)]

    def apply(*operands: Node) -> Node:
        return wide(*operands) if operands[0].dtype.is_float else with_rule(operands, wide, rule)

    return apply


def half_in_single(function: Function) -> Function:
    """`function` in single precision for half precision; other types as they are."""

    def apply(*operands: Node) -> Node:
        if operands[0].dtype != F16:
            return function(*operands)
        return ew.cast(function(*(ew.cast(x, F32) for x in operands)), F16)

    return apply


def truth(test: Function) -> Function:
    """A test's answer as 0 or 1 in the operands' type."""

    def apply(*operands: Node) -> Node:
        dtype = next(x.dtype for x in operands if isinstance(x, Node))
        return ew.cast(test(*operands), dtype)

    return apply


def scalar(value: float, dtype: DType) -> Node:
    """A rank-0 constant cast as C++ does: fractions truncate, small integer types wrap."""
    if dtype.is_float:
        return ew.const(float(value), dtype)
    return ew.const(int(numeric.cast_numpy(np.asarray(value, np.float64), dtype.numpy)), dtype)


def constant(value: float, dtype: DType, shape: Sequence[int]) -> Node:
    """A tensor of one value."""
    return ew.full(scalar(value, dtype).op.scalar(), TensorType(dtype, tuple(shape)))  # type: ignore[attr-defined]


def no_gradient(function: Function) -> Function:
    """`function` whose operands get no gradient."""

    def apply(*operands: Node) -> Node:
        return with_rule(operands, function, lambda ins, outs, cts: [None] * len(ins))

    return apply


def with_rule(
    inputs: Sequence[Node],
    body: Function,
    rule: Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], Sequence[Node | None]],
) -> Node:
    """custom_grad for a body with one result."""
    made = custom_grad(inputs, body, rule)
    assert isinstance(made, Node)
    return made


# --------------------------------------------------------------------------------------------- elementwise bases


class Elementwise(Operator):
    """Base: all inputs and the output have one shape and one element type; inference flows in every direction."""

    function: ClassVar[Function]

    def complete(self, s: Shapes) -> None:
        """All inputs and outputs have one shape."""
        s.all_alike()

    def build(self, ctx: Any, *inputs: Node) -> Node:
        return type(self).function(*inputs)


# --------------------------------------------------------------------------------------------- shapes and axes


def one_axis(axis: int, rank: int, what: str = "axis") -> int:
    """An axis counted from 0; ShapeError if there is none."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{what}={axis} is outside of data with {rank} axes")
    return axis % rank


def some_axes(axes: Iterable[int], rank: int, what: str = "axis") -> tuple[int, ...]:
    """Axes counted from 0, ascending; ShapeError for one that is not there or twice."""
    found = [one_axis(a, rank, what) for a in axes]
    if len(set(found)) != len(found):
        raise ShapeError(f"{what}={tuple(axes)} names an axis twice")
    return tuple(sorted(found))


def wanted_shape(shape: Sequence[int] | None) -> tuple[int, ...]:
    """A shape that the attributes give, () for none; -1 is an extent that is not known. ShapeError for less."""
    if any(d < -1 for d in shape or ()):
        raise ShapeError(f"shape={shape} must not have extents below -1, which is one that is not known")
    return tuple(max(d, 0) for d in shape or ())


def complete_shape(ctx: BuildContext, shape: Sequence[int] | None) -> tuple[int, ...]:
    """The output's shape where the attributes give it in part: the rest was inferred. ShapeError where it was not."""
    found = (ctx.output_shapes or (tuple(shape or ()),))[0]
    if not found or min(found) < 1:
        raise ShapeError(f"shape={shape} must be complete")
    return found


def size_of(shape: Sequence[int]) -> int:
    """Number of elements (0 while a dimension is unknown)."""
    return prod(shape)


def free_types(t: Types, ins: Iterable[int], outs: Iterable[int] = (0,)) -> None:
    """Only these inputs and outputs share a type; the other inputs are float32 if nobody says otherwise."""
    t.all_alike(ins, outs)


def out_type(t: Types, dtype: Any, at: int = 0) -> None:
    """The output's type is said by the attributes."""
    t.set_out(at, np.dtype(dtype))


def floats_only(op: Operator, t: Types) -> None:
    """Refuse inputs of other types."""
    for dtype in t.ins:
        if dtype is not None and dtype.kind != "f":
            raise ShapeError(f"{op.op_name} takes floating point tensors only, not {dtype}")


def ir_type(dtype: Any) -> DType:
    """The IR's element type of a numpy type or its name."""
    return dtype_of(np.dtype(dtype))
