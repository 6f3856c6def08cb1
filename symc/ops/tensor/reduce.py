"""Reductions over axes: sums, products, extrema, norms, positions of extrema, running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast, reshape
from symc.ir.prims.reduce import argmax, argmin, cumsum, reduce_max, reduce_min, reduce_prod, reduce_sum
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, is_known, operator
from symc.ops.shared.families import (
    MaybeNumber,
    constant,
    element_type,
    floats_only,
    half_in_single,
    in_floats,
    ir_type,
    one_axis,
    some_axes,
)
from symc.ops.shared.storage import DEFAULT, ROW_SPARSE

Reducer = Callable[[Node, tuple[int, ...]], Node]


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """What is left of a shape: MXNet has no rank 0, a full reduction has shape (1,)."""
    if keepdims:
        return tuple(1 if a in axes else d for a, d in enumerate(shape))
    return tuple(d for a, d in enumerate(shape) if a not in axes) or (1,)


# --------------------------------------------------------------------------------------------- reductions


@dataclass(frozen=True, kw_only=True)
class _Reduction(Operator):
    """Base: the axes (None or (): all; `exclude`: the others) are folded."""

    function: ClassVar[Reducer]
    #: unknown dimensions of the data stay unknown in the output, instead of the whole shape
    partial: ClassVar[bool] = True

    axis: Tuple | None = None
    keepdims: bool = False
    exclude: bool = False

    def axes(self, rank: int) -> tuple[int, ...]:
        if not self.axis:
            return tuple(range(rank))
        named = some_axes(self.axis, rank)
        return tuple(a for a in range(rank) if a not in named) if self.exclude else named

    def complete(self, s: Shapes) -> None:
        """The data's shape without the reduced axes (`keepdims`: with extent 1); nothing left is (1,)."""
        data = s.ins[0]
        if data is not None and (self.partial or is_known(data)):
            s.set_out(0, reduced_shape(data, self.axes(len(data)), self.keepdims))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        axes = self.axes(data.rank)
        if not all(data.shape) and (len(axes) < data.rank or not self.partial):
            raise ShapeError(f"data of shape {data.shape} has nothing to take its {self.op_name} of")
        made = type(self).function(data, axes)
        return reshape(made, reduced_shape(data.shape, axes, self.keepdims))


def _mean(x: Node, axes: tuple[int, ...]) -> Node:
    count = prod(x.shape[a] for a in axes)
    if not x.dtype.is_float:
        # the sum wraps in the data's type before it is divided
        return ew.div(reduce_sum(x, axes), constant(count, x.dtype, ()))
    return half_in_single(lambda x: ew.mul(reduce_sum(x, axes), 1.0 / max(count, 1)))(x)


def _without_nan(fold: Reducer, identity: int) -> Reducer:
    def apply(x: Node, axes: tuple[int, ...]) -> Node:
        return fold(ew.select(ew.isnan(x), identity, x) if x.dtype.is_float else x, axes)

    return apply


def _product(x: Node, axes: tuple[int, ...]) -> Node:
    return half_in_single(lambda x: reduce_prod(x, axes))(x)


def _squares_stored(op: Any, stypes: Sequence[str]) -> str:
    return ROW_SPARSE if stypes[0] == ROW_SPARSE and op.axis == (1,) and op.keepdims else DEFAULT


_REDUCTIONS: list[tuple[str, str, Reducer, str]] = [
    ("sum", "sum_axis", reduce_sum, "Sum over axes; integers wrap, half precision accumulates in single."),
    ("mean", "", _mean, "Mean over axes; of integers: the wrapped sum divided toward zero."),
    ("prod", "", _product, "Product over axes; the gradient is head * output / data."),
    ("max", "max_axis", reduce_max, "Maximum over axes; nan wins; every tied element gets the full gradient."),
    ("min", "min_axis", reduce_min, "Minimum over axes; nan wins; every tied element gets the full gradient."),
    ("nansum", "", _without_nan(reduce_sum, 0), "Sum over axes where nan counts as 0."),
    ("nanprod", "", _without_nan(_product, 1), "Product over axes where nan counts as 1."),
    ("_square_sum", "", lambda x, axes: reduce_sum(x * x, axes), "Sum of squares over axes."),
]  # fmt: skip

for _name, _aliases, _function, _doc in _REDUCTIONS:
    _body = {
        "__doc__": _doc,
        "__module__": __name__,
        "function": staticmethod(_function),
        "partial": _name not in ("max", "min"),
    }
    operator(_name, aliases=_aliases, storage=_squares_stored if _name == "_square_sum" else None)(
        type(_name, (_Reduction,), _body)
    )


@operator("norm")
class Norm(Operator):
    """The 1-norm or 2-norm (`ord`) over axes; over everything without `axis`. The gradient at a zero vector is nan.

    Differs from MXNet: it gives another `out_dtype` than the data's only with MXNET_SAFE_ACCUMULATION=1, and rounds in
    the middle of norms of integers.
    """

    ord: int = 2
    axis: Tuple | None = None
    out_dtype: MaybeNumber = "None"
    keepdims: bool = False

    def check(self) -> None:
        if self.ord not in (1, 2):
            raise MXNetError(f"norm: ord={self.ord} is not supported, only 1 and 2 are")

    def _axes(self, rank: int) -> tuple[int, ...]:
        return some_axes(self.axis, rank) if self.axis else tuple(range(rank))

    def complete(self, s: Shapes) -> None:
        """The data's shape without the reduced axes (`keepdims`: with extent 1); nothing left is (1,)."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, reduced_shape(data, self._axes(len(data)), self.keepdims))

    def complete_types(self, t: Types) -> None:
        if self.out_dtype == "None":
            t.all_alike()
        else:
            t.set_out(0, element_type(self, self.out_dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        axes = self._axes(data.rank)
        out = data.dtype if self.out_dtype == "None" else ir_type(self.out_dtype)
        wider = out.is_float and out.numpy.itemsize > data.dtype.numpy.itemsize
        if out.is_float and (wider or not data.dtype.is_float):
            data = ew.cast(data, out)

        def value(x: Node) -> Node:
            if self.ord == 1:
                return reduce_sum(ew.abs_(x), axes)
            return ew.sqrt(reduce_sum(x * x, axes))

        return reshape(ew.cast(in_floats(value)(data), out), reduced_shape(data.shape, axes, self.keepdims))


@operator("moments", outputs="output0 output1")
class Moments(Operator):
    """Mean and (biased) variance over `axes`."""

    axes: Tuple | None = None
    keepdims: bool = False

    def _axes(self, rank: int) -> tuple[int, ...]:
        if not self.axes:
            raise ShapeError("moments: axes must be given")
        return some_axes(self.axes, rank, "axes")

    def complete(self, s: Shapes) -> None:
        """Both outputs: the data's shape without the axes (`keepdims`: with extent 1)."""
        data = s.ins[0]
        if data is not None:
            for at in range(2):
                s.set_out(at, reduced_shape(data, self._axes(len(data)), self.keepdims))

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data = inputs[0]
        axes = self._axes(data.rank)
        kept = [a for a in range(data.rank) if a not in axes]

        def variance(x: Node) -> Node:
            off = x - broadcast(_mean(x, axes), x.shape, kept)
            return _mean(off * off, axes)

        shape = reduced_shape(data.shape, axes, self.keepdims)
        return [reshape(_mean(data, axes), shape), reshape(half_in_single(variance)(data), shape)]


# --------------------------------------------------------------------------------------------- positions


@dataclass(frozen=True, kw_only=True)
class _Position(Operator):
    """Base: the index of an extremum along `axis` (None: of the flattened data), in the data's type."""

    function: ClassVar[Callable[[Node, int], Node]]

    axis: int | None = None
    keepdims: bool = False

    def complete(self, s: Shapes) -> None:
        """The data's shape without the axis (`keepdims`: with extent 1); nothing left is (1,)."""
        data = s.ins[0]
        if data is not None and is_known(data):
            axes = tuple(range(len(data))) if self.axis is None else (one_axis(self.axis, len(data)),)
            s.set_out(0, reduced_shape(data, axes, self.keepdims))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        axes = tuple(range(data.rank)) if self.axis is None else (one_axis(self.axis, data.rank),)
        x = reshape(data, (prod(data.shape),)) if self.axis is None else data
        found = ew.cast(type(self).function(x, 0 if self.axis is None else axes[0]), data.dtype)
        return reshape(found, reduced_shape(data.shape, axes, self.keepdims))


for _name, _position, _word in (("argmax", argmax, "largest"), ("argmin", argmin, "smallest")):
    operator(_name, gradient="zero")(
        type(
            _name, (_Position,),
            {"__doc__": f"Index of the first {_word} element along `axis`, in the data's type; nan wins.",
             "__module__": __name__, "function": staticmethod(_position)},
        )
    )  # fmt: skip


@operator("argmax_channel", gradient="none")
class ArgmaxChannel(Operator):
    """Index of the first largest element along axis 1, in the data's type."""

    def complete(self, s: Shapes) -> None:
        """The data's shape without axis 1."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, reduced_shape(data, (one_axis(1, len(data)),), False))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        return reshape(ew.cast(argmax(data, 1), data.dtype), reduced_shape(data.shape, (1,), False))


# --------------------------------------------------------------------------------------------- others


@operator("cumsum", inputs="a")
class CumSum(Operator):
    """Running sums along `axis` (None: of the flattened data), in `dtype` or the data's type."""

    ignores_add: ClassVar[bool] = True

    axis: int | None = None
    dtype: MaybeNumber = "None"

    def _out(self, data: tuple[int, ...]) -> tuple[int, ...]:
        if self.axis is None:
            return (prod(data),)
        if not 0 <= self.axis < len(data):
            raise ShapeError(f"cumsum: axis={self.axis} is outside of data {data}; it counts from 0")
        return data

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape; without axis it is flat."""
        data = s.ins[0]
        if self.axis is not None:
            s.all_alike()
        elif data is not None and is_known(data):
            s.set_out(0, self._out(data))

    def complete_types(self, t: Types) -> None:
        if self.dtype == "None":
            t.all_alike()
        else:
            t.set_out(0, element_type(self, self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        shape = self._out(data.shape)
        x = data if self.dtype == "None" else ew.cast(data, ir_type(self.dtype))
        return cumsum(reshape(x, shape), self.axis or 0)


@operator("multi_sum_sq", variadic="num_arrays", gradient="none")
class MultiSumSq(Operator):
    """The sum of squares of every input, as one float32 vector."""

    counts_itself: ClassVar[bool] = False

    num_arrays: int

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"array_{i}" for i in range(self.num_arrays))

    def complete(self, s: Shapes) -> None:
        """(num_arrays,)."""
        s.set_out(0, (self.num_arrays,))

    def complete_types(self, t: Types) -> None:
        t.all_alike(outs=())
        floats_only(self, t)
        t.set_out(0, np.float32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        from symc.ir.prims.movement import concat
        from symc.ir.types import F32

        parts: list[Any] = []
        for data in inputs:
            parts.append(reshape(reduce_sum(ew.cast(data * data, F32), tuple(range(data.rank))), (1,)))
        return concat(parts, 0)


@operator("all_finite", gradient="none")
class AllFinite(Operator):
    """1 if no element of the data is inf or nan, else 0 (float32, shape (1,))."""

    init_output: bool = True

    def complete(self, s: Shapes) -> None:
        """(1,)."""
        s.set_out(0, (1,))

    def complete_types(self, t: Types) -> None:
        floats_only(self, t)
        t.set_out(0, np.float32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        if len({x.dtype for x in inputs}) > 1:
            raise ShapeError(f"{self.op_name}: the inputs' types differ: {', '.join(str(x.dtype) for x in inputs)}")
        return finite(inputs)


@operator("multi_all_finite", variadic="num_arrays", gradient="none", first="num_arrays")
class MultiAllFinite(AllFinite):
    """1 if no element of any input is inf or nan, else 0 (float32, shape (1,)); all inputs are of one type."""

    counts_itself: ClassVar[bool] = False

    num_arrays: int = 1

    def list_inputs(self) -> tuple[str, ...]:
        return tuple(f"array_{i}" for i in range(self.num_arrays))


def finite(inputs: tuple[Node, ...]) -> Node:
    """1 if all elements are finite, else 0: f32[1]."""
    from symc.ir.types import F32

    worst = None
    for x in inputs:
        bad = ew.cast(ew.or_(ew.isnan(x), ew.isinf(x)), F32)
        here = reduce_max(bad, tuple(range(x.rank)))
        worst = here if worst is None else ew.maximum(worst, here)
    assert worst is not None
    return reshape(1.0 - worst, (1,))
