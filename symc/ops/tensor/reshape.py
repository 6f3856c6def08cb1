"""Operators that give the same elements another shape, or another order of axes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ops.base import (
    BuildContext,
    MXNetError,
    Operator,
    ShapeError,
    ShapeLike,
    Shapes,
    Tuple,
    Types,
    is_known,
    operator,
)
from symc.ops.shared.families import one_axis, some_axes


def apply_codes(data: tuple[int, ...], codes: tuple[int, ...], from_right: bool = False) -> tuple[int, ...]:
    """MXNet's shape codes: 0 copies an axis, -1 is inferred, -2 copies all the rest, -3 merges two axes, -4 splits one
    into the next two numbers (one of which may be -1). An inferred axis of unknown data is 0. ShapeError if they do
    not fit; sizes are not compared (the element count is checked when the program is built)."""
    if from_right:
        return apply_codes(data[::-1], codes[::-1])[::-1]
    result: list[int] = []
    at, inferred = 0, -1
    left = list(codes)

    def take() -> int:
        nonlocal at
        if at >= len(data):
            raise ShapeError(f"shape={codes} needs more axes than the data {data} has")
        at += 1
        return data[at - 1]

    while left:
        code = left.pop(0)
        if code == 0:
            result.append(take())
        elif code == -1:
            if inferred >= 0:
                raise ShapeError(f"shape={codes} has more than one -1")
            inferred = len(result)
            result.append(1)
            at += 1
        elif code == -2:
            result.extend(data[at:])
            at = len(data)
        elif code == -3:
            first = take()
            result.append(first * take())
        elif code == -4:
            if len(left) < 2:
                raise ShapeError(f"shape={codes}: -4 is followed by the two extents")
            whole, a, b = take(), left.pop(0), left.pop(0)
            if a == b == -1:
                raise ShapeError(f"shape={codes}: both extents after -4 are -1")
            a = whole // b if a == -1 else a
            b = whole // a if b == -1 else b
            if whole and a * b != whole:
                raise ShapeError(f"shape={codes} splits an axis of {whole} into {a} x {b}")
            result += [a, b]
        elif code > 0:
            result.append(code)
            at += 1
        else:
            raise ShapeError(f"shape={codes} has the unknown code {code}")
    if inferred >= 0:
        rest = prod(result)
        result[inferred] = prod(data) // rest if rest and all(data) else 0
    return tuple(result)


def complete_one_unknown(s: Shapes) -> None:
    """The data's only unknown axis follows from the number of elements of a known output."""
    data, out = s.ins[0], s.outs[0]
    if data is not None and is_known(out) and sum(d == 0 for d in data) == 1:
        assert out is not None
        others = prod(d for d in data if d)
        s.set_in(0, tuple(d or prod(out) // others for d in data))


@operator("Reshape", aliases="reshape")
class Reshape(Operator):
    """The data's elements in row-major order under another shape.

    Codes in `shape`: 0 copy this axis, -1 infer, -2 copy all remaining, -3 merge two, -4 split into the next two;
    `reverse` matches from the right. The older `target_shape` (0 = infer) with `keep_highest` works as well.
    """

    shape: Tuple = ()
    reverse: bool = False
    target_shape: Tuple | None = ()
    keep_highest: bool = False

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        """The output's shape; 0 where it is not known."""
        if self.shape:
            return apply_codes(data, self.shape, self.reverse)
        wanted = list(self.target_shape or ())
        if self.keep_highest and wanted:
            wanted[0] = data[0]
        free = [a for a, d in enumerate(wanted) if not d and not (a == 0 and self.keep_highest)]
        if len(free) == 1 and all(data):
            wanted[free[0]] = prod(data) // max(1, prod(d for a, d in enumerate(wanted) if a != free[0]))
        return tuple(wanted)

    def complete(self, s: Shapes) -> None:
        """The target that `shape` says: -1 the rest, 0 the same, -2 all remaining, -3 two in one, -4 one in two; the
        number of elements stays, so one unknown extent on either side follows.
        """
        data = s.ins[0]
        if data is None:
            return
        if self.shape or self.target_shape:
            s.set_out(0, self.target(data))
        complete_one_unknown(s)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        target = self.target(data.shape)
        if prod(target) != prod(data.shape):
            raise ShapeError(f"data of shape {data.shape} has {prod(data.shape)} elements, {target} has {prod(target)}")
        return mv.reshape(data, target)


@operator("Flatten", aliases="flatten")
class Flatten(Operator):
    """All axes but the first in one: (a, b, c) becomes (a, b * c), (a,) becomes (a, 1)."""

    def complete(self, s: Shapes) -> None:
        """(N, *S) gives (N, prod(S))."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, (data[0], prod(data[1:])))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        shape = inputs[0].shape
        return mv.reshape(inputs[0], (shape[0], prod(shape[1:])))


@operator("reshape_like", inputs="lhs rhs")
class ReshapeLike(Operator):
    """lhs in rhs's shape; with begin and end, lhs's axes lhs_begin:lhs_end become rhs's axes rhs_begin:rhs_end."""

    lhs_begin: int | None = None
    lhs_end: int | None = None
    rhs_begin: int | None = None
    rhs_end: int | None = None

    def target(self, lhs: tuple[int, ...], rhs: tuple[int, ...]) -> tuple[int, ...]:
        a, b = _range(self.lhs_begin, self.lhs_end, len(lhs)), _range(self.rhs_begin, self.rhs_end, len(rhs))
        return lhs[: a[0]] + rhs[b[0] : b[1]] + lhs[a[1] :]

    def complete(self, s: Shapes) -> None:
        """The output has rhs's shape, or lhs's with a part of rhs's in place of a part; the number of elements
        stays.
        """
        lhs, rhs = s.ins
        if lhs is not None and rhs is not None and is_known(lhs) and is_known(rhs):
            target = self.target(lhs, rhs)
            if prod(target) != prod(lhs):
                raise ShapeError(f"lhs {lhs} cannot be reshaped to {target}: the number of elements differs")
            s.set_out(0, target)

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.reshape(inputs[0], self.target(inputs[0].shape, inputs[1].shape))


def _range(begin: int | None, end: int | None, rank: int) -> tuple[int, int]:
    a = 0 if begin is None else begin + rank if begin < 0 else begin
    b = rank if end is None else end + rank if end < 0 else end
    if not 0 <= a <= b <= rank:
        raise ShapeError(f"axes {begin}:{end} are outside of a shape with {rank} axes")
    return a, b


@operator("expand_dims")
class ExpandDims(Operator):
    """A new axis of extent 1 at `axis` of the output; negative counts from the end."""

    axis: int

    def complete(self, s: Shapes) -> None:
        """(*A, *B) gives (*A, 1, *B), and the output tells the data."""
        data = s.ins[0]
        if data is not None:
            at = one_axis(self.axis, len(data) + 1)
            s.set_out(0, data[:at] + (1,) + data[at:])
        out = s.outs[0]
        if out is not None:
            at = one_axis(self.axis, len(out))
            s.set_in(0, out[:at] + out[at + 1 :])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.expand_dims(inputs[0], one_axis(self.axis, inputs[0].rank + 1))


@operator("squeeze")
class Squeeze(Operator):
    """Without the axes of extent 1 (all, or `axis`, which must be 1); at least one axis stays."""

    axis: Tuple | None = None

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        gone = (
            some_axes(self.axis, len(data)) if self.axis is not None else tuple(a for a, d in enumerate(data) if d == 1)
        )
        for a in gone:
            if data[a] not in (0, 1):
                raise ShapeError(f"axis {a} of data {data} cannot be squeezed: its extent is {data[a]}")
        return tuple(d for a, d in enumerate(data) if a not in gone) or (1,)

    def complete(self, s: Shapes) -> None:
        """The data's shape without the axes of extent 1 that go; at least (1,)."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, self.target(data))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.reshape(inputs[0], self.target(inputs[0].shape))


@operator("transpose")
class Transpose(Operator):
    """Axis k of the output is axis `axes[k]` of the data; without axes the order is turned round."""

    axes: Tuple = ()

    def perm(self, rank: int) -> tuple[int, ...]:
        perm = tuple(self.axes) or tuple(reversed(range(rank)))
        if sorted(perm) != list(range(rank)):
            raise ShapeError(f"axes={self.axes} must name each of the data's {rank} axes once, counted from 0")
        return perm

    def complete(self, s: Shapes) -> None:
        """The data's extents in the order of `axes`, and the output tells the data."""
        data = s.ins[0]
        if data is not None:
            s.set_out(0, tuple(data[p] for p in self.perm(len(data))))
        out = s.outs[0]
        if out is not None:
            perm = self.perm(len(out))
            s.set_in(0, tuple(out[perm.index(a)] for a in range(len(out))))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.transpose(inputs[0], self.perm(inputs[0].rank))


@operator("SwapAxis", aliases="swapaxes")
class SwapAxis(Operator):
    """Axes `dim1` and `dim2` exchanged."""

    dim1: int = 0
    dim2: int = 0

    def _axes(self, rank: int) -> tuple[int, int]:
        return one_axis(self.dim1, rank, "dim1"), one_axis(self.dim2, rank, "dim2")

    def complete(self, s: Shapes) -> None:
        """The data's shape with the two extents exchanged."""
        data = s.ins[0]
        if data is not None:
            shape = list(data)
            a, b = self._axes(len(data))
            shape[a], shape[b] = shape[b], shape[a]
            s.set_out(0, tuple(shape))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.swapaxes(inputs[0], *self._axes(inputs[0].rank))


class _Blocks(Operator):
    """Base of the two moves between channels and space."""

    def check(self) -> None:
        if self.block_size < 1:  # type: ignore[attr-defined]
            raise MXNetError(f"{self.op_name}: block_size={self.block_size} must be positive")  # type: ignore[attr-defined]

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def complete(self, s: Shapes) -> None:
        """(N, b*b*C, H, W) and (N, C, H*b, W*b), one from the other."""
        data = s.ins[0]
        if data is not None:
            if len(data) != 4:
                raise ShapeError(f"data must have 4 axes (N, C, H, W), not {data}")
            s.set_out(0, self.target(data))

    def moved(self, data: Node, split: tuple[int, ...], order: tuple[int, ...]) -> Node:
        """The data with its axes split up and put together in another order. ShapeError if it is empty."""
        if not all(data.shape):
            raise ShapeError(f"data of shape {data.shape} has nothing to move")
        return mv.reshape(mv.transpose(mv.reshape(data, split), order), self.target(data.shape))


@operator("depth_to_space")
class DepthToSpace(_Blocks):
    """(N, b*b*C, H, W) to (N, C, H*b, W*b): blocks of channels become blocks of space."""

    block_size: int

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        n, c, h, w = data
        b = self.block_size
        if c % (b * b):
            raise ShapeError(f"channels {c} must be a multiple of block_size^2 = {b * b}")
        return n, c // (b * b), h * b, w * b

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        n, c, h, w = inputs[0].shape
        b = self.block_size
        return self.moved(inputs[0], (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))


@operator("space_to_depth")
class SpaceToDepth(_Blocks):
    """(N, C, H*b, W*b) to (N, b*b*C, H, W): the reverse of depth_to_space."""

    block_size: int

    def target(self, data: tuple[int, ...]) -> tuple[int, ...]:
        n, c, h, w = data
        b = self.block_size
        if h % b or w % b:
            raise ShapeError(f"height and width {h} x {w} must be multiples of block_size={b}")
        return n, c * b * b, h // b, w // b

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        n, c, h, w = inputs[0].shape
        b = self.block_size
        return self.moved(inputs[0], (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4))


# --------------------------------------------------------------------------------------------- shapes as data


class _AboutShape(Operator):
    """Base: a constant (int64) that depends on the data's shape only."""

    def number(self, shape: tuple[int, ...]) -> Any:
        raise NotImplementedError

    def rank(self, shape: ShapeLike) -> tuple[int, ...]:
        """The output's shape, as far as the data's tells it."""
        return (1,)

    def complete(self, s: Shapes) -> None:
        """A vector: as long as the data has axes, or (1,)."""
        s.set_out(0, self.rank(s.ins[0]))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return ew.const(self.number(inputs[0].shape))


@operator("shape_array", gradient="zero")
class ShapeArray(_AboutShape):
    """The data's shape as an int64 vector."""

    def number(self, shape: tuple[int, ...]) -> Any:
        return np.array(shape, np.int64)

    def rank(self, shape: ShapeLike) -> tuple[int, ...]:
        return (len(shape) if shape is not None else 0,)


@operator("size_array", gradient="zero")
class SizeArray(_AboutShape):
    """The number of the data's elements as int64, shape (1,)."""

    def number(self, shape: tuple[int, ...]) -> Any:
        return np.array([prod(shape)], np.int64)
