"""Operators that cut tensors into pieces and put pieces together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import movement as mv
from symc.ir.prims.elementwise import const
from symc.ops.base import (
    Bounds,
    BuildContext,
    MXNetError,
    Operator,
    ShapeError,
    Shapes,
    Tuple,
    Types,
    common_shapes,
    is_known,
    operator,
)
from symc.ops.shared.families import constant, one_axis
from symc.ops.shared.storage import CSR, DEFAULT

# --------------------------------------------------------------------------------------------- slices


def slice_bounds(
    data: tuple[int, ...], begin: Bounds, end: Bounds, step: Bounds | None
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Resolved bounds for every axis of known data, clipped to it. ShapeError for an empty piece."""
    step = step or ()
    if len(begin) > len(data) or len(begin) != len(end) or (step and len(step) != len(begin)):
        raise ShapeError(f"begin={begin}, end={end}, step={step} do not fit data {data}")
    found = []
    for axis, extent in enumerate(data):
        b, e = (begin[axis], end[axis]) if axis < len(begin) else (None, None)
        s = step[axis] if axis < len(step) and step[axis] is not None else 1
        if s == 0:
            raise ShapeError(f"step={step} has a 0")
        resolved = slice(b, e, s).indices(extent)
        if not len(range(*resolved)):
            raise ShapeError(f"begin={begin}, end={end}, step={step} take nothing from axis {axis} of data {data}")
        found.append(resolved)
    return tuple(f[0] for f in found), tuple(f[1] for f in found), tuple(f[2] for f in found)


def _partial_slice(data: tuple[int, ...], begin: Bounds, end: Bounds, step: Bounds | None) -> tuple[int, ...]:
    stand_in = tuple(d or 1 << 30 for d in data)
    b, e, s = slice_bounds(stand_in, begin, end, step)
    return tuple(len(range(*bounds)) if d else 0 for d, *bounds in zip(data, b, e, s))


@operator("slice", aliases="crop")
class Slice(Operator):
    """data[begin:end:step]; None and negative numbers as in Python, for the leading axes."""

    begin: Bounds
    end: Bounds
    step: Bounds | None = ()

    def storage(self, stypes: Sequence[str]) -> str:
        return CSR if stypes[0] == CSR and all(s in (None, 1) for s in self.step or ()) else DEFAULT

    def complete(self, s: Shapes) -> None:
        """The leading axes have the number of steps from begin to end, the others the data's extents."""
        data = s.ins[0]
        if data is not None:
            s.set_out(0, _partial_slice(data, self.begin, self.end, self.step))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.slice_(inputs[0], *slice_bounds(inputs[0].shape, self.begin, self.end, self.step))


def assigned(target: Node, piece: Node, bounds: tuple[tuple[int, ...], ...]) -> Node:
    """`target` with `piece` in place of the slice."""
    from symc.ir.prims import elementwise as ew
    from symc.ir.prims.indexing import scatter_nd
    from symc.ir.types import I32

    where = [slice(b, e if e >= 0 or s > 0 else None, s) for b, e, s in zip(*bounds)]
    places = np.indices(target.shape)[tuple([slice(None), *where])]
    coordinates = const(np.ascontiguousarray(places.astype(np.int32)), I32)
    return scatter_nd(target, coordinates, ew.cast(piece, target.dtype), "set")


@operator("_slice_assign", inputs="lhs rhs", aliases="_crop_assign", gradient="none")
class SliceAssign(Operator):
    """lhs with rhs in place of lhs[begin:end:step]."""

    begin: Bounds
    end: Bounds
    step: Bounds | None = ()

    def complete(self, s: Shapes) -> None:
        """rhs has the shape of the slice, the output lhs's."""
        lhs = s.ins[0]
        if lhs is not None:
            s.set_in(1, _partial_slice(lhs, self.begin, self.end, self.step))
            s.set_out(0, lhs)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return assigned(inputs[0], inputs[1], slice_bounds(inputs[0].shape, self.begin, self.end, self.step))


@operator("_slice_assign_scalar", aliases="_crop_assign_scalar", gradient="none")
class SliceAssignScalar(Operator):
    """The data with `scalar` in place of data[begin:end:step]."""

    scalar: float = 0.0
    begin: Bounds
    end: Bounds
    step: Bounds | None = ()

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        bounds = slice_bounds(data.shape, self.begin, self.end, self.step)
        shape = tuple(len(range(*b)) for b in zip(*bounds))
        return assigned(data, constant(self.scalar, data.dtype, shape), bounds)


@operator("slice_axis")
class SliceAxis(Operator):
    """data[begin:end] along one axis; negative numbers count from the end, end None is the end."""

    axis: int
    begin: int
    end: int | None

    def _bounds(self, extent: int) -> tuple[int, int]:
        begin = self.begin + extent if self.begin < 0 else self.begin
        end = extent if self.end is None else self.end + extent if self.end < 0 else self.end
        if not 0 <= begin < end <= extent:
            raise ShapeError(f"begin={self.begin}, end={self.end} take no piece of an axis of {extent}")
        return begin, end

    def complete(self, s: Shapes) -> None:
        """The data's shape with end - begin along the axis."""
        data = s.ins[0]
        if data is not None:
            axis = one_axis(self.axis, len(data))
            if data[axis]:
                begin, end = self._bounds(data[axis])
                s.set_out(0, data[:axis] + (end - begin,) + data[axis + 1 :])
            else:
                s.set_out(0, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        axis = one_axis(self.axis, inputs[0].rank)
        return mv.slice_axis(inputs[0], axis, *self._bounds(inputs[0].shape[axis]))


@operator("slice_like", inputs="data shape_like")
class SliceLike(Operator):
    """The leading part of data as large as shape_like, along `axes` (default: all; None: none, as in MXNet)."""

    axes: Tuple | None = ()

    def target(self, data: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
        if self.axes is None:
            return data
        if not self.axes and len(data) != len(like):
            raise ShapeError(f"data {data} and shape_like {like} must have as many axes, unless axes says which")
        wanted = list(data)
        for given in self.axes or range(len(data)):
            axis, other = one_axis(given, len(data), "axes"), one_axis(given, len(like), "axes")
            if data[axis] and like[other] > data[axis]:
                raise ShapeError(f"shape_like {like} is larger than data {data} along axis {axis}")
            wanted[axis] = like[other]
        return tuple(wanted)

    def complete(self, s: Shapes) -> None:
        """The data's shape with shape_like's extents along `axes`."""
        data, like = s.ins
        if data is not None and like is not None:
            s.set_out(0, self.target(data, like))

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        return mv.slice_(data, (0,) * data.rank, self.target(data.shape, inputs[1].shape))


# --------------------------------------------------------------------------------------------- splits


def _pieces(data: Node, axis: int, bounds: list[tuple[int, int]], squeeze: bool) -> list[Node]:
    made = [mv.slice_axis(data, axis, b, e) for b, e in bounds]
    return [mv.squeeze(m, (axis,)) for m in made] if squeeze else made


def _numbered(count: int) -> tuple[str, ...]:
    return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))


@operator("SliceChannel", aliases="split")
class SliceChannel(Operator):
    """The data in `num_outputs` equal pieces along an axis, which `squeeze_axis` drops (pieces of extent 1)."""

    counts: ClassVar[tuple[str, ...]] = ("num_outputs",)

    num_outputs: int
    axis: int = 1
    squeeze_axis: bool = False

    def check(self) -> None:
        if self.num_outputs < 1:
            raise MXNetError(f"SliceChannel: num_outputs={self.num_outputs} must be positive")

    def list_outputs(self) -> tuple[str, ...]:
        return tuple(f"output{i}" for i in range(self.num_outputs))

    def complete(self, s: Shapes) -> None:
        """Every piece: the data's shape with extent / num_outputs along the axis, or without it; and the data's from
        those of the pieces, if its rank is known."""
        data = s.ins[0]
        if data is None:
            return
        axis = one_axis(self.axis, len(data))
        each = data[axis] // self.num_outputs
        if data[axis] % self.num_outputs:
            raise ShapeError(f"axis {axis} of data {data} does not divide into {self.num_outputs} equal pieces")
        if self.squeeze_axis and data[axis] and each != 1:
            raise ShapeError(f"squeeze_axis needs pieces of extent 1, not {each}: axis {axis} of data {data}")
        middle = () if self.squeeze_axis else (each,)
        for at in range(self.num_outputs):
            s.set_out(at, data[:axis] + middle + data[axis + 1 :])
            piece = s.outs[at]
            if piece is not None and len(piece) == len(data) - self.squeeze_axis:
                extent = 1 if self.squeeze_axis else piece[axis]
                behind = piece[axis if self.squeeze_axis else axis + 1 :]
                s.set_in(0, (*piece[:axis], extent * self.num_outputs, *behind))

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        data = inputs[0]
        axis = one_axis(self.axis, data.rank)
        each = data.shape[axis] // self.num_outputs
        return _pieces(data, axis, [(i * each, (i + 1) * each) for i in range(self.num_outputs)], self.squeeze_axis)


@operator("_split_v2")
class SplitV2(Operator):
    """The data cut along an axis before each of `indices` (the first is 0), or into `sections` nearly equal pieces."""

    ignores_add: ClassVar[bool] = True
    counts: ClassVar[tuple[str, ...]] = ("sections",)

    indices: Tuple
    axis: int = 1
    squeeze_axis: bool = False
    sections: int = 0

    def list_outputs(self) -> tuple[str, ...]:
        return _numbered(self.sections or len(self.indices))

    def _bounds(self, extent: int) -> list[tuple[int, int]]:
        if self.sections:
            each, more = divmod(extent, self.sections)
            starts = [i * each + min(i, more) for i in range(self.sections)]
        else:
            starts = [int(i) for i in self.indices]
        ends = [*starts[1:], extent]
        for b, e in zip(starts, ends):
            if not 0 <= b < e <= extent:
                raise ShapeError(f"indices={self.indices}, sections={self.sections} do not cut an axis of {extent}")
        return list(zip(starts, ends))

    def complete(self, s: Shapes) -> None:
        """Every piece: the data's shape with its part along the axis, or without it."""
        data = s.ins[0]
        if data is None:
            return
        axis = one_axis(self.axis, len(data))
        for at, (b, e) in enumerate(self._bounds(data[axis]) if data[axis] else []):
            if self.squeeze_axis and e - b != 1:
                raise ShapeError(f"squeeze_axis needs pieces of extent 1, not {e - b}: axis {axis} of data {data}")
            s.set_out(at, data[:axis] + (() if self.squeeze_axis else (e - b,)) + data[axis + 1 :])

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        axis = one_axis(self.axis, inputs[0].rank)
        return _pieces(inputs[0], axis, self._bounds(inputs[0].shape[axis]), self.squeeze_axis)


# --------------------------------------------------------------------------------------------- joins


class _Variadic(Operator):
    def check(self) -> None:
        if self.num_args < 1:  # type: ignore[attr-defined]
            raise MXNetError(f"{self.op_name}: it needs at least one input")


@operator("Concat", aliases="concat", variadic="num_args")
class Concat(_Variadic):
    """The inputs one after the other along axis `dim`; the other axes agree."""

    num_args: int
    dim: int = 1

    def storage(self, stypes: Sequence[str]) -> str:
        return CSR if self.dim == 0 and set(stypes) == {CSR} else DEFAULT

    def complete(self, s: Shapes) -> None:
        """The extents along `dim` add up, all others agree; one unknown among them follows."""
        ranks = {len(x) for x in (*s.ins, *s.outs) if x is not None}
        if not ranks:
            return
        rank = ranks.pop()
        if ranks:
            raise ShapeError(f"the inputs have different numbers of axes: {s.ins}")
        axis = one_axis(self.dim, rank, "dim")
        blank = (0,) * rank
        given = list(s.ins)
        ins = [x if x is not None else blank for x in given]
        out = s.outs[0] if s.outs[0] is not None else blank
        rest = [x[:axis] + (0,) + x[axis + 1 :] for x in (*ins, out)]
        for other in common_shapes(rest):
            for at in range(len(ins)):
                s.set_in(at, other)
            s.set_out(0, other)
        extents = [x[axis] for x in ins]
        told = [x[axis] for x in given if x is not None]
        if all(extents) or (all(told) and not out[axis]):
            # an input of which nothing is known counts as nothing, as in MXNet
            s.set_out(0, blank[:axis] + (sum(extents),) + blank[axis + 1 :])
        elif extents.count(0) == 1 and out[axis]:
            at = extents.index(0)
            s.set_in(at, blank[:axis] + (out[axis] - sum(extents),) + blank[axis + 1 :])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.concat(list(inputs), one_axis(self.dim, inputs[0].rank, "dim"))


@operator("stack", variadic="num_args")
class Stack(_Variadic):
    """The inputs, of one shape, along a new axis."""

    axis: int = 0
    num_args: int

    def complete(self, s: Shapes) -> None:
        """The inputs have one shape, of which each may know a part; the output has num_args more along the new axis."""
        for data in common_shapes(s.ins):
            if data is not None and is_known(data):
                at = one_axis(self.axis, len(data) + 1)
                s.set_out(0, data[:at] + (self.num_args,) + data[at:])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.stack(list(inputs), one_axis(self.axis, inputs[0].rank + 1))


@operator("_rnn_param_concat", variadic="num_args")
class RnnParamConcat(_Variadic):
    """The inputs one after the other along axis `dim`; missing extents follow from the output's."""

    num_args: int
    dim: int = 1

    def complete(self, s: Shapes) -> None:
        """As Concat; several unknown extents along `dim` share what the output leaves equally."""
        shapes = [i for i in s.ins if i is not None]
        if shapes:
            axis = one_axis(self.dim, len(shapes[0]), "dim")
            known = sum(i[axis] for i in shapes)
            missing = [at for at, i in enumerate(shapes) if not i[axis]]
            total = s.outs[0][axis] if s.outs[0] is not None else 0
            if len(shapes) == len(s.ins) and len(missing) > 1 and total:
                # the packed parameters of a recurrent layer: what is missing are the weights of the first layer's
                # directions, which share what is left
                for at in missing:
                    found = list(shapes[at])
                    found[axis] = (total - known) // len(missing)
                    s.set_in(at, tuple(found))
                return
        Concat.complete(self, s)  # type: ignore[arg-type]

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return mv.concat(list(inputs), one_axis(self.dim, inputs[0].rank, "dim"))
