"""Operators on two tensors whose shapes numpy's rule brings together, and operators that repeat axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from symc.ir.op import Node
from symc.ir.prims import movement as mv
from symc.ops.base import (
    BuildContext,
    MXNetError,
    Operator,
    ShapeError,
    Shapes,
    Tuple,
    Types,
    is_known,
    operator,
)
from symc.ops.elementwise.elemwise import ARITHMETIC, TESTS
from symc.ops.shared import storage as stored
from symc.ops.shared.families import Function, one_axis, register


def broadcast_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """numpy's rule on shapes whose dimensions may be 0 = unknown. ShapeError if they do not fit."""
    rank = max(len(a), len(b))
    result = []
    for x, y in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b):
        if x == y or y == 1:
            result.append(x)
        elif x == 1:
            result.append(y)
        elif not x or not y:
            result.append(0)
        else:
            raise ShapeError(f"shapes {a} and {b} cannot be broadcast together: {x} against {y}")
    return tuple(result)


class _Broadcasting(Operator):
    """Base: extents 1 (and missing leading axes) of one side are repeated; nothing is inferred backward."""

    function: ClassVar[Function]

    def complete(self, s: Shapes) -> None:
        """Extents of 1 (and axes one side lacks in front) stretch to the other side's; the output has the larger
        ones.
        """
        a, b = s.ins
        if a is not None and b is not None:
            s.set_out(0, broadcast_shapes(a, b))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return type(self).function(*mv.broadcast_binary(*inputs))


_ALIASES = {"add": "broadcast_plus", "sub": "broadcast_minus"}

for _key, (_function, _doc) in {**ARITHMETIC, **TESTS}.items():
    register(
        f"broadcast_{_key}", _Broadcasting, f"{_doc[0].upper()}{_doc[1:]}, with broadcasting.", _function,
        inputs="lhs rhs", aliases=_ALIASES.get(_key, ""), gradient="zero" if _key in TESTS else "",
        storage=stored.by_row if _key in ("mul", "div") else None,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- repeated axes


class _Repeating(Operator):
    """Base: `target(shape)` says what the data's shape becomes; only extents 1 may change."""

    #: unknown dimensions of the data stay unknown in the output, instead of the whole shape
    partial: ClassVar[bool] = False

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape with the repeated axes at their new extents."""
        data = s.ins[0]
        if data is not None and (self.partial or is_known(data)):
            s.set_out(0, self.target(data))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.broadcast_to(inputs[0], self.target(inputs[0].shape))


def _stretch(data: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    for d, w in zip(data, wanted):
        if w < 0 or (d and d != w and d != 1):
            raise ShapeError(f"data {data} cannot be broadcast to {wanted}: {d} does not become {w}")
    return wanted


def _repeat(data: tuple[int, ...], axes: Iterable[int], sizes: Iterable[int]) -> tuple[int, ...]:
    """Every one of the axes becomes as long as its size; until then it must be of extent 1, even for an equal size."""
    wanted = list(data)
    for axis, size in zip(axes, sizes):
        if wanted[axis] > 1 or size < 0:
            raise ShapeError(f"axis {axis} of data {data} cannot be broadcast from {wanted[axis]} to {size}")
        wanted[axis] = size
    return tuple(wanted)


@operator("broadcast_to")
class BroadcastTo(_Repeating):
    """The data repeated along its axes of extent 1 to `shape`; 0 keeps an axis."""

    partial: ClassVar[bool] = True

    shape: Tuple = ()

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        if len(self.shape) != len(data):
            raise ShapeError(f"shape={self.shape} must have as many axes as the data {data}")
        return _stretch(data, tuple(w or d for w, d in zip(self.shape, data)))


@operator("broadcast_axis", aliases="broadcast_axes")
class BroadcastAxis(_Repeating):
    """The data repeated along `axis` (each of extent 1) to `size`."""

    axis: Tuple = ()
    size: Tuple = ()

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        if len(self.axis) != len(self.size):
            raise ShapeError(f"axis={self.axis} and size={self.size} must have equal lengths")
        if not all(0 <= axis < len(data) for axis in self.axis):
            raise ShapeError(f"axis={self.axis} is outside of data {data}")
        return _repeat(data, self.axis, self.size)


@operator("broadcast_like", inputs="lhs rhs")
class BroadcastLike(Operator):
    """lhs repeated to rhs's shape, or along `lhs_axes` to the extents of rhs's `rhs_axes`."""

    lhs_axes: Tuple | None = None
    rhs_axes: Tuple | None = None

    def check(self) -> None:
        given = [a for a in (self.lhs_axes, self.rhs_axes) if a is not None]
        if len(given) == 1 or (given and len(given[0]) != len(given[1])) or any(not a for a in given):
            raise MXNetError(f"broadcast_like: lhs_axes={self.lhs_axes} and rhs_axes={self.rhs_axes} must pair up")

    def target(self, lhs: tuple[int, ...], rhs: tuple[int, ...]) -> tuple[int, ...]:
        if self.lhs_axes is None or self.rhs_axes is None:
            if len(lhs) != len(rhs):
                raise ShapeError(f"lhs {lhs} and rhs {rhs} must have as many axes, unless lhs_axes says which")
            return _stretch(lhs, tuple(w or (d if d > 1 else 0) for d, w in zip(lhs, rhs)))
        axes = [one_axis(a, len(lhs), "lhs_axes") for a in self.lhs_axes]
        return _repeat(lhs, axes, [rhs[one_axis(b, len(rhs), "rhs_axes")] for b in self.rhs_axes])

    def complete(self, s: Shapes) -> None:
        """The output has rhs's shape, or lhs's with rhs's extents along `lhs_axes`."""
        lhs, rhs = s.ins
        if lhs is not None and rhs is not None:
            s.set_out(0, self.target(lhs, rhs))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.broadcast_to(inputs[0], self.target(inputs[0].shape, inputs[1].shape))
