"""Operators that repeat, turn round and pad."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import movement as mv
from symc.ir.prims.elementwise import const
from symc.ir.prims.indexing import gather
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, is_known, operator
from symc.ops.shared.families import floats_only, one_axis, some_axes


def tiled(x: Node, reps: tuple[int, ...]) -> Node:
    """numpy's tile."""
    rank = max(x.rank, len(reps))
    reps = (1,) * (rank - len(reps)) + reps
    shape = (1,) * (rank - x.rank) + x.shape
    spread = tuple(v for r, d in zip(reps, shape) for v in (r, d))
    repeated = mv.broadcast(mv.reshape(x, shape), spread, tuple(range(1, 2 * rank, 2)))
    return mv.reshape(repeated, tuple(r * d for r, d in zip(reps, shape)))


@operator("tile")
class Tile(Operator):
    """The data repeated as a whole `reps` times along the axes (numpy's tile)."""

    reps: Tuple | None

    def check(self) -> None:
        if any(r < 1 for r in self._reps):
            raise MXNetError(f"tile: reps={self.reps} must be positive")

    def complete(self, s: Shapes) -> None:
        """Extents times `reps`, the shorter of the two filled up with ones in front."""
        data = s.ins[0]
        if data is not None and is_known(data):
            rank = max(len(data), len(self._reps))
            reps = (1,) * (rank - len(self._reps)) + self._reps
            s.set_out(0, tuple(r * d for r, d in zip(reps, (1,) * (rank - len(data)) + data)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return tiled(inputs[0], self._reps)

    @property
    def _reps(self) -> tuple[int, ...]:
        return self.reps or ()


@operator("repeat")
class Repeat(Operator):
    """Every element repeated `repeats` times along `axis` (None: of the flattened data)."""

    repeats: int
    axis: int | None = None

    def check(self) -> None:
        if self.repeats < 1:
            raise MXNetError(f"repeat: repeats={self.repeats} must be positive")

    def _view(self, data: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """(axis, shape) of what is repeated."""
        return (0, (prod(data),)) if self.axis is None else (one_axis(self.axis, len(data)), data)

    def complete(self, s: Shapes) -> None:
        """The data's shape with extent * repeats along the axis; without axis it is flat."""
        data = s.ins[0]
        if data is not None and (self.axis is not None or is_known(data)):
            axis, shape = self._view(data)
            s.set_out(0, shape[:axis] + (shape[axis] * self.repeats,) + shape[axis + 1 :])

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        axis, shape = self._view(inputs[0].shape)
        wide = shape[: axis + 1] + (self.repeats,) + shape[axis + 1 :]
        kept = [a for a in range(len(wide)) if a != axis + 1]
        spread = mv.broadcast(mv.reshape(inputs[0], shape), wide, kept)
        return mv.reshape(spread, shape[:axis] + (shape[axis] * self.repeats,) + shape[axis + 1 :])


@operator("reverse", aliases="flip")
class Reverse(Operator):
    """The order of the elements along `axis` (one or several, from 0) turned round."""

    ignores_add: ClassVar[bool] = True

    axis: Tuple

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        if any(a < 0 for a in self.axis):
            raise ShapeError(f"reverse: axis={self.axis} must count from 0")
        return mv.reverse(inputs[0], some_axes(self.axis, inputs[0].rank))


@operator("Pad", aliases="pad")
class Pad(Operator):
    """Data with 4 or 5 axes, wider at the trailing ones: by a constant, the edge's values, or reflection.

    `pad_width`: before and after every axis; the first two axes get none. Reflection does not repeat the edge.
    """

    mode: Literal["constant", "edge", "reflect"]
    pad_width: Tuple
    constant_value: float = 0.0

    def complete_types(self, t: Types) -> None:
        t.all_alike()
        floats_only(self, t)

    def _widths(self, rank: int) -> list[tuple[int, int]]:
        if rank not in (4, 5) or len(self.pad_width) != 2 * rank:
            raise ShapeError(
                f"pad_width={self.pad_width} needs data with 4 or 5 axes and two numbers for each, not {rank} axes"
            )
        if any(self.pad_width[:4]):
            raise ShapeError(f"pad_width={self.pad_width}: the first two axes cannot be padded")
        if min(self.pad_width) < 0:
            raise ShapeError(f"pad_width={self.pad_width} must not be negative")
        return list(zip(self.pad_width[::2], self.pad_width[1::2]))

    def complete(self, s: Shapes) -> None:
        """Every extent plus its two widths of `pad_width`."""
        data = s.ins[0]
        if data is not None:
            # an unknown extent counts as -1 in MXNet's sum
            s.set_out(0, tuple((d or -bool(a + b)) + a + b for d, (a, b) in zip(data, self._widths(len(data)))))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        widths = self._widths(data.rank)
        if self.mode == "constant":
            return mv.pad(data, [a for a, _ in widths], [b for _, b in widths], value=self.constant_value)
        for axis, (a, b) in enumerate(widths):
            if a or b:
                extent = data.shape[axis]
                if self.mode == "reflect" and max(a, b) >= extent:
                    raise ShapeError(
                        f"pad_width={self.pad_width}: reflection needs more than {max(a, b)} along axis {axis}"
                    )
                data = gather(data, _mirror(extent, a, b, self.mode), axis)
        return data


def _mirror(extent: int, before: int, after: int, mode: str) -> Node:
    places: Any = np.pad(
        np.arange(extent, dtype=np.int32), (before, after), mode="edge" if mode == "edge" else "reflect"
    )
    return const(places)
