"""What the layer operators share: values along axes, precision inside an operator, rules of inference."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast, iota
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import BOOL, F16, F32, I32, DType, Shape, TensorType
from symc.ops.base import MXNetError, Operator, ShapeLike, Shapes, Types


def wide(x: Node) -> Node:
    """Half precision as single: MXNet's layers accumulate half precision in single."""
    return ew.cast(x, F32) if x.dtype == F16 else x


def narrow(x: Node, like: Node) -> Node:
    """Back to the element type of `like`."""
    return ew.cast(x, like.dtype)


def along(v: Node, shape: Sequence[int], axis: int) -> Node:
    """A vector repeated over all axes but `axis`."""
    return broadcast(v, tuple(shape), (axis,))


def rows(v: Node, shape: Sequence[int], axes: Sequence[int]) -> Node:
    """A value reduced over `axes` (dropped), repeated along them."""
    return broadcast(v, tuple(shape), tuple(a for a in range(len(shape)) if a not in axes))


def others(rank: int, *kept: int) -> tuple[int, ...]:
    """All axes but these."""
    return tuple(a for a in range(rank) if a not in kept)


def average(x: Node, axes: Sequence[int]) -> Node:
    """Mean over the axes, which are dropped."""
    return reduce_sum(x, tuple(axes)) / float(max(1, prod(x.shape[a] for a in axes)))


def indices(shape: Shape, axis: int, dtype: DType = I32) -> Node:
    """The index along `axis` at every element."""
    return iota(TensorType(dtype, tuple(shape)), axis)


def one_hot(label: Node, shape: Shape, axis: int) -> Node:
    """i1: whether the index along `axis` is the label's; label has the shape without that axis, fractions truncate."""
    return ew.eq(indices(shape, axis), rows(ew.cast(label, I32), shape, (axis,)))


def as_number(truth: Node, dtype: DType) -> Node:
    """i1 as 0 or 1."""
    assert truth.dtype == BOOL
    return ew.cast(truth, dtype)


def data_like_output(s: Shapes) -> None:
    """Data and output have one shape; it flows both ways."""
    s.all_alike((0,), (0,))


def data_to_output(s: Shapes) -> None:
    """The output has the data's shape; nothing flows back."""
    if s.ins[0] is not None:
        s.set_out(0, s.ins[0])


def types_from_data(t: Types) -> None:
    """Everything has the type of the data, or, that unknown, of the output: weights tell nothing."""
    dtype = t.ins[0] if t.ins[0] is not None else t.outs[0] if t.outs else None
    if dtype is not None:
        for at in range(len(t.ins)):
            t.set_in(at, dtype)
        for at in range(len(t.outs)):
            t.set_out(at, dtype)


def float32_only(t: Types) -> None:
    """Everything is float32, known or not; ShapeError for other types: MXNet has no kernels for them."""
    for at in range(len(t.ins)):
        t.set_in(at, np.float32)
    t.all_alike()


def refuse(op: Operator, problem: str) -> MXNetError:
    """An error about this operator's attributes."""
    return MXNetError(f"{op.op_name}: {problem}")


def check_range(op: Operator, low: float, high: float, *names: str) -> None:
    """MXNetError if one of the parameters does not lie in [low, high]."""
    for name in names:
        value = getattr(op, name)
        if not low <= value <= high:
            raise refuse(op, f"{name}={value} must lie between {low} and {high}")


def check_positive(op: Operator, name: str, count: int) -> None:
    """MXNetError unless the tuple parameter has `count` entries of at least 1."""
    value = getattr(op, name)
    if len(value) != count or min(value) < 1:
        raise refuse(op, f"{name}={value} must have {count} positive entries")


def spatial_tuple(op: Operator, name: str, value: tuple[Any, ...], rank: int, default: int) -> tuple[int, ...]:
    """A per-axis attribute: the default where it is not given; MXNetError for a wrong length."""
    if not value:
        return (default,) * rank
    if len(value) != rank:
        raise refuse(op, f"{name}={value} must have {rank} entries, as kernel has")
    return tuple(int(v) for v in value)


def size_of(shape: ShapeLike) -> int:
    """Number of elements; 0 while a dimension is unknown."""
    return prod(shape) if shape is not None else 0
