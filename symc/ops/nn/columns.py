"""im2col and col2im: windows as columns, and back."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import ClassVar

from symc.ir.op import Node
from symc.ir.prims.movement import pad, reshape, slice_, stack
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, is_known, operator
from symc.ops.shared.layers import refuse, spatial_tuple


class _Columns(Operator):
    floats_only: ClassVar[bool] = True

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()

    def check(self) -> None:
        if len(self.kernel) not in (1, 2, 3):
            raise refuse(self, f"kernel={self.kernel} must have one to three entries")
        if min(self.kernel) < 1:
            raise refuse(self, f"kernel={self.kernel} must be positive")
        self.window()

    def window(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Stride, dilation and padding."""
        rank = len(self.kernel)
        return (
            spatial_tuple(self, "stride", self.stride, rank, 1),
            spatial_tuple(self, "dilate", self.dilate, rank, 1),
            spatial_tuple(self, "pad", self.pad, rank, 0),
        )

    def places(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows lie along each axis."""
        if len(spatial) != len(self.kernel):
            raise ShapeError(f"kernel={self.kernel} does not fit {len(spatial)} spatial axes")
        made = []
        for d, k, s, dl, p in zip(spatial, self.kernel, *self.window()):
            reach = dl * (k - 1) + 1
            if d and d + 2 * p < reach:
                raise ShapeError(f"kernel of extent {reach} exceeds data of {d} padded by {p}")
            made.append((d + 2 * p - reach) // s + 1 if d else 0)
        return tuple(made)

    def complete_types(self, t: Types) -> None:
        t.set_out(0, t.ins[0])


@operator("im2col")
class Im2Col(_Columns):
    """Every window of data (N, C, ...) as a column: (N, C * prod(kernel), windows)."""

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()

    def complete(self, s: Shapes) -> None:
        """(N, C, *S) gives (N, C * prod(kernel), number of windows)."""
        data = s.ins[0]
        if data is not None and is_known(data):
            s.set_out(0, (data[0], data[1] * prod(self.kernel), prod(self.places(data[2:]))))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        stride, dilate, margin = self.window()
        places = self.places(data.shape[2:])
        x = pad(data, (0, 0, *margin), (0, 0, *margin))
        taps = []
        for tap in product(*map(range, self.kernel)):
            begin = [t * d for t, d in zip(tap, dilate)]
            end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, places, stride)]
            part = slice_(x, (0, 0, *begin), (*x.shape[:2], *end), (1, 1, *stride))
            taps.append(reshape(part, (*x.shape[:2], prod(places))))
        return reshape(stack(taps, 2), (x.shape[0], x.shape[1] * len(taps), prod(places)))


@operator("col2im")
class Col2Im(_Columns):
    """The adjoint of im2col: columns added up where they came from, in an image of output_size."""

    output_size: Tuple
    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()

    def complete(self, s: Shapes) -> None:
        """(N, C * prod(kernel), number of windows) gives (N, C, *output_size)."""
        data = s.ins[0]
        if data is None or not is_known(data):
            return
        taps, columns = prod(self.kernel), prod(self.places(self.output_size))
        if len(data) != 3 or data[1] % taps or (data[2] and data[2] != columns):
            raise ShapeError(f"data must be (N, C * {taps}, {columns}), not {data}")
        s.set_out(0, (data[0], data[1] // taps, *self.output_size))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        stride, dilate, margin = self.window()
        places, count = self.places(self.output_size), prod(self.kernel)
        batch, channels = data.shape[0], data.shape[1] // count
        parts = reshape(data, (batch, channels, count, *places))
        full = tuple(d + 2 * p for d, p in zip(self.output_size, margin))
        total: Node | None = None
        for at, tap in enumerate(product(*map(range, self.kernel))):
            low = (0, 0, at, *(0,) * len(places))
            part = slice_(parts, low, (batch, channels, at + 1, *places), (1,) * parts.rank)
            begin = [t * d for t, d in zip(tap, dilate)]
            end = [f - b - (n - 1) * s - 1 for f, b, n, s in zip(full, begin, places, stride)]
            gaps = (0, 0, *(s - 1 for s in stride))
            placed = pad(reshape(part, (batch, channels, *places)), (0, 0, *begin), (0, 0, *end), gaps)
            total = placed if total is None else total + placed
        assert total is not None
        high = tuple(d + p for d, p in zip(self.output_size, margin))
        return slice_(total, (0, 0, *margin), (batch, channels, *high), (1,) * total.rank)
