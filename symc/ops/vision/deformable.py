"""Convolution and region pooling at places that data decide: bilinear samples, then products or means.

Dai et al. 2016 and 2017 (R-FCN, deformable convolution), Zhu et al. 2018 (modulation).
"""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import gather
from symc.ir.prims.linear import conv
from symc.ir.prims.movement import broadcast, reshape, slice_, slice_axis
from symc.ir.prims.reduce import reduce_sum
from symc.ir.types import I32, Array
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, is_known, operator
from symc.ops.shared.families import no_gradient
from symc.ops.shared.layers import along, check_range, indices, refuse, spatial_tuple
from symc.ops.vision.resample import sample

Layout = Literal["None", "NCDHW", "NCHW", "NCW"]


class _DeformableConvolution(Operator):
    """What both versions share: inference, the places of the taps, the product."""

    only_types: ClassVar[tuple[str, ...]] = ("float32", "float64")

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    num_deformable_group: int = 1
    no_bias: bool = False
    layout: Layout = "None"

    def check(self) -> None:
        if len(self.kernel) != 2 or min(self.kernel) < 1:
            raise refuse(self, f"kernel={self.kernel} must have two positive entries")
        stride, dilate, margin = self._window()
        if min(*stride, *dilate) < 1 or min(margin) < 0:
            raise refuse(self, "stride and dilate must be positive and pad not negative")
        if self.num_filter < 1 or self.num_group < 1 or self.num_filter % self.num_group:
            problem = f"num_filter={self.num_filter} must be a positive multiple of num_group={self.num_group}"
            raise refuse(self, problem)
        if self.num_deformable_group < 1:
            raise refuse(self, f"num_deformable_group={self.num_deformable_group} must be positive")

    def list_inputs(self) -> tuple[str, ...]:
        return self.input_names[:-1] if self.no_bias else self.input_names

    def _window(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return (
            spatial_tuple(self, "stride", self.stride, 2, 1),
            spatial_tuple(self, "dilate", self.dilate, 2, 1),
            spatial_tuple(self, "pad", self.pad, 2, 0),
        )

    def _places(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """The output's extent."""
        made = []
        for d, k, st, dl, p in zip(spatial, self.kernel, *self._window()):
            reach = dl * (k - 1) + 1
            if d and d + 2 * p < reach:
                raise ShapeError(f"kernel of extent {reach} exceeds data of {d} padded by {p}")
            made.append((d + 2 * p - reach) // st + 1 if d else 0)
        return tuple(made)

    def complete_from(self, s: Shapes, data: tuple[int, ...]) -> None:
        """Everything from the data's shape; `offset` (and `mask`) per image, as MXNet checks one image's extents."""
        if len(data) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
        if data[1] % self.num_group or data[1] % self.num_deformable_group:
            raise ShapeError(
                f"{data[1]} channels must be a multiple of num_group={self.num_group} and of "
                f"num_deformable_group={self.num_deformable_group}"
            )
        places, taps = self._places(data[2:]), prod(self.kernel) * self.num_deformable_group
        weight = self.input_names.index("weight")
        s.set_in(1, (data[0], 2 * taps, *places))
        if weight == 3:
            s.set_in(2, (data[0], taps, *places))
        s.set_in(weight, (self.num_filter, data[1] // self.num_group, *self.kernel))
        if not self.no_bias:
            s.set_in(weight + 1, (self.num_filter,))
        s.set_out(0, (data[0], self.num_filter, *places))

    def taps(self, data: Node, offset: Node) -> tuple[Node, Node, Node]:
        """One deformable group an image: data (N * D, C / D, H, W), and x and y of every tap (N * D, K * P)."""
        batch, channels, height, width = data.shape
        groups, count, places = self.num_deformable_group, prod(self.kernel), self._places(data.shape[2:])
        shape = (batch * groups, count, *places)
        moves = reshape(offset, (batch * groups, count, 2, *places))
        found = []
        for axis, (st, dl, p) in enumerate(zip(*self._window())):
            move = reshape(slice_axis(moves, 2, axis, axis + 1), shape)
            tap = np.indices(self.kernel)[axis].ravel() * dl - p
            place = broadcast(ew.const(np.arange(places[axis]) * st, data.dtype), shape, (2 + axis,))
            at = place + along(ew.const(tap, data.dtype), shape, 1) + move
            found.append(reshape(at, (shape[0], count * prod(places))))
        images = reshape(data, (batch * groups, channels // groups, height, width))
        return images, found[1], found[0]

    def product(self, data: Node, taken: Node, weight: Node, bias: tuple[Node, ...]) -> Node:
        """Filters over the samples `taken` (N * D, C / D, K * P)."""
        batch, channels = data.shape[:2]
        places = self._places(data.shape[2:])
        columns = reshape(taken, (batch, channels * prod(self.kernel), *places))
        flat = reshape(weight, (self.num_filter, prod(weight.shape[1:]), 1, 1))
        y = conv(columns, flat, (1, 1), (1, 1), self.num_group)
        return y + along(bias[0], y.shape, 1) if bias else y


@operator("_contrib_DeformableConvolution", inputs="data offset weight bias", hint="deformableconvolution")
class DeformableConvolution(_DeformableConvolution):
    """Convolution whose taps are moved by `offset` (N, 2 groups taps, Ho, Wo), y and x in turn.

    Places outside the image read 0; between the last cell and the image's end the last cell's value holds.
    """

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    num_deformable_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    layout: Layout = "None"

    def overwritten_gradients(self) -> tuple[int, ...]:
        return (0, 1)

    def complete(self, s: Shapes) -> None:
        """As Convolution; offset is (N, 2 * groups * prod(kernel), *P)."""
        data = s.ins[0]
        if data is not None and is_known(data):
            self.complete_from(s, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, offset, weight = inputs[:3]
        images, x, y = self.taps(data, offset)
        height, width = data.shape[2:]
        ends = ((x, width), (y, height))
        inside = [ew.and_(ew.ge(v, 0.0), ew.lt(v, float(size))) for v, size in ends]
        # from the last cell on nothing changes with the place: its own gradient is 0 too, as where offsets begin at 0
        held = [ew.select(ew.ge(v, float(size - 1)), float(size - 1), ew.maximum(v, 0.0)) for v, size in ends]
        taken = sample(images, held[0], held[1])
        within = broadcast(ew.and_(inside[0], inside[1]), taken.shape, (0, 2))
        return self.product(data, ew.select(within, taken, 0.0), weight, inputs[3:])


@operator(
    "_contrib_ModulatedDeformableConvolution",
    inputs="data offset mask weight bias",
    hint="modulateddeformableconvolution",
)
class ModulatedDeformableConvolution(_DeformableConvolution):
    """Deformable convolution whose samples are weighted by `mask` (N, groups taps, Ho, Wo); cells outside are 0."""

    kernel: Tuple
    stride: Tuple = ()
    dilate: Tuple = ()
    pad: Tuple = ()
    num_filter: int
    num_group: int = 1
    num_deformable_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    im2col_step: int = 64
    layout: Layout = "None"

    def complete(self, s: Shapes) -> None:
        """As Convolution; offset is (N, 2 * groups * prod(kernel), *P), mask half as wide."""
        data = s.ins[0]
        if data is None:
            raise ShapeError("the shape of data must be known")
        if self.im2col_step < 1 or data[0] % min(data[0] or 1, self.im2col_step):
            raise ShapeError(f"im2col_step={self.im2col_step} must divide the batch of {data[0]}")
        self.complete_from(s, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, offset, mask, weight = inputs[:4]
        images, x, y = self.taps(data, offset)
        taken = sample(images, x, y)
        share = broadcast(reshape(mask, x.shape), taken.shape, (0, 2))
        return self.product(data, taken * share, weight, inputs[4:])


# --------------------------------------------------------------------------------------------- position-sensitive


def _group_of(pooled: int, groups: int) -> Array:
    """For every cell of a pooled axis the group of channels it reads."""
    return np.minimum(np.arange(pooled) * groups // pooled, groups - 1)


def _extent(rois: Node, axis: int, scale: float) -> tuple[Node, Node]:
    """Begin and end of every region along x (0) or y (1), (R,): whole pixels, the last one included."""
    count = rois.shape[0]
    low, high = (ew.round_(reshape(slice_(rois, (0, at), (count, at + 1)), (count,))) for at in (1 + axis, 3 + axis))
    return low * scale, (high + 1.0) * scale


def _image_of(rois: Node, batch: int) -> Node:
    count = rois.shape[0]
    number = ew.cast(reshape(slice_(rois, (0, 0), (count, 1)), (count,)), I32)
    return ew.minimum(ew.maximum(number, 0), batch - 1)


class _PositionSensitive(Operator):
    floats_only: ClassVar[bool] = True

    spatial_scale: float
    output_dim: int
    pooled_size: int
    group_size: int

    def check(self) -> None:
        if self.output_dim < 1 or self.pooled_size < 1 or self.group_size < 0:
            raise refuse(self, "output_dim and pooled_size must be positive and group_size not negative")
        check_range(self, 0, 1, "spatial_scale")

    @property
    def groups(self) -> int:
        return self.group_size or self.pooled_size

    @property
    def channels(self) -> int:
        """How many of the data's channels are read, from the first on."""
        return self.output_dim * self.groups**2

    def regions(self, s: Shapes) -> tuple[int, ...]:
        """The pooled shape, from data and rois."""
        data, rois = s.ins[:2]
        if data is None or len(data) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
        if rois is None or len(rois) != 2 or rois[1] not in (0, 5):
            raise ShapeError(f"rois must have shape (regions, 5), not {rois}")
        if data[1] and data[1] < self.channels:
            raise ShapeError(f"data needs output_dim * group_size^2 = {self.channels} channels, but has {data[1]}")
        return (rois[0], self.output_dim, self.pooled_size, self.pooled_size)


@operator("_contrib_PSROIPooling", inputs="data rois", hint="psroipooling")
class PSROIPooling(_PositionSensitive):
    """Means over the cells of a grid on each region (batch index, x1, y1, x2, y2), each from channels of its own.

    Differs from MXNet: an image that is not in the batch is the nearest one; MXNet reads beyond its arrays.
    """

    spatial_scale: float
    output_dim: int
    pooled_size: int
    group_size: int = 0

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and regions (R, 5) give (R, output_dim, pooled_size, pooled_size)."""
        s.set_out(0, self.regions(s))

    def _bins(self, rois: Node, axis: int, size: int) -> tuple[Node, Node]:
        """i1 (R, cells, size): which pixels each cell has; and how many, (R, cells)."""
        low, high = _extent(rois, axis, self.spatial_scale)
        step = ew.maximum(high - low, 0.1) / float(self.pooled_size)
        shape = (rois.shape[0], self.pooled_size)
        low, step, number = broadcast(low, shape, (0,)), broadcast(step, shape, (0,)), indices(shape, 1, rois.dtype)
        begin, end = ew.floor(number * step + low), ew.ceil((number + 1.0) * step + low)
        begin, end = (ew.minimum(ew.maximum(v, 0.0), float(size)) for v in (begin, end))
        full = (*shape, size)
        at = indices(full, 2, rois.dtype)
        has = ew.and_(ew.ge(at, broadcast(begin, full, (0, 1))), ew.lt(at, broadcast(end, full, (0, 1))))
        return has, ew.maximum(end - begin, 0.0)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, rois = slice_axis(inputs[0], 1, 0, self.channels), no_gradient(lambda x: x)(inputs[1])
        batch, _, height, width = data.shape
        columns, across = self._bins(rois, 0, width)
        rows, down = self._bins(rois, 1, height)
        chosen = gather(data, _image_of(rois, batch), 0)
        apart = reshape(chosen, (rois.shape[0], self.output_dim, self.groups, self.groups, height, width))
        group = ew.const(_group_of(self.pooled_size, self.groups), I32)
        own = gather(gather(apart, group, 2), group, 3)
        inside = ew.and_(broadcast(rows, own.shape, (0, 2, 4)), broadcast(columns, own.shape, (0, 3, 5)))
        sums = reduce_sum(ew.select(inside, own, 0.0), (4, 5))
        area = broadcast(down, sums.shape, (0, 2)) * broadcast(across, sums.shape, (0, 3))
        return sums / ew.maximum(area, 1.0)


@operator(
    "_contrib_DeformablePSROIPooling",
    inputs="data rois trans",
    outputs="output top_count",
    hint="deformablepsroipooling",
)
class DeformablePSROIPooling(_PositionSensitive):
    """Means of sample_per_part^2 samples in every cell of a grid on each region, each cell from channels of its own
    and moved by `trans` (R, 2 classes, part_size, part_size), x and y, in units of trans_std regions.

    A second, hidden output counts the samples inside the image.

    Differs from MXNet: an image that is not in the batch is the nearest one; MXNet reads beyond its arrays.
    """

    spatial_scale: float
    output_dim: int
    group_size: int
    pooled_size: int
    part_size: int = 0
    sample_per_part: int = 1
    trans_std: float = 0.0
    no_trans: bool = False

    def check(self) -> None:
        super().check()
        if self.sample_per_part < 1 or self.part_size < 0:
            raise refuse(self, "sample_per_part must be positive and part_size not negative")
        check_range(self, 0, 1, "trans_std")

    def list_inputs(self) -> tuple[str, ...]:
        return self.input_names[:2] if self.no_trans else self.input_names

    def num_visible_outputs(self) -> int:
        return 1

    @property
    def _parts(self) -> int:
        return self.part_size or self.pooled_size

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W), regions (R, 5), trans (R, 2 * classes, part, part) give (R, output_dim, pooled_size,
        pooled_size).
        """
        pooled = self.regions(s)
        if not self.no_trans:
            trans = s.ins[2]
            if trans is None or len(trans) != 4:
                raise ShapeError(f"trans must have shape (regions, 2 classes, parts, parts), not {trans}")
            if trans[1] % 2 or (trans[1] and self.output_dim % (trans[1] // 2)):
                raise ShapeError(f"trans has {trans[1]} channels: not 2 for each of so many classes of equal size")
            s.set_in(2, (pooled[0], 0, self._parts, self._parts))
        s.set_out(0, pooled)
        s.set_out(1, pooled)

    def _moves(self, trans: Node) -> tuple[Node, Node]:
        """The moves (R, output_dim, cells, cells) along x and y, in regions."""
        count, classes = trans.shape[0], trans.shape[1] // 2
        part = ew.const(np.arange(self.pooled_size) * self._parts // self.pooled_size, I32)
        spread = gather(gather(trans, part, 2), part, 3) * self.trans_std
        cells = (self.pooled_size,) * 2
        pairs = reshape(spread, (count, classes, 2, *cells))
        each = self.output_dim // classes

        def one(axis: int) -> Node:
            part = reshape(slice_axis(pairs, 2, axis, axis + 1), (count, classes, *cells))
            full = broadcast(part, (count, classes, each, *cells), (0, 1, 3, 4))
            return reshape(full, (count, self.output_dim, *cells))

        return one(0), one(1)

    def build(self, ctx: BuildContext, *inputs: Node) -> tuple[Node, Node]:
        data, rois = slice_axis(inputs[0], 1, 0, self.channels), no_gradient(lambda x: x)(inputs[1])
        batch, channels, height, width = data.shape
        moves = (None, None) if self.no_trans else self._moves(inputs[2])
        cells, taps = self.pooled_size, self.sample_per_part
        shape = (rois.shape[0], self.output_dim, cells, cells, taps, taps)
        places = []
        for axis, move in enumerate(moves):
            low, high = _extent(rois, axis, self.spatial_scale)
            size = ew.maximum(high - low, 0.1)
            step = broadcast(size * (1.0 / cells), shape, (0,))
            cell, tap = indices(shape, 3 - axis, data.dtype), indices(shape, 5 - axis, data.dtype)
            place = broadcast(low - 0.5, shape, (0,)) + step * (cell + tap * (1.0 / taps))
            if move is not None:
                place = place + broadcast(move * broadcast(size, move.shape, (0,)), shape, (0, 1, 2, 3))
            places.append(place)
        inside = [ew.and_(ew.ge(v, -0.5), ew.le(v, size - 0.5)) for v, size in zip(places, (width, height))]
        within = ew.and_(inside[0], inside[1])
        group = _group_of(cells, self.groups)
        channel = (np.arange(self.output_dim)[:, None, None] * self.groups + group[:, None]) * self.groups + group
        first = broadcast(_image_of(rois, batch) * channels, shape, (0,))
        first = (first + broadcast(ew.const(channel, I32), shape, (1, 2, 3))) * (height * width)
        flat = reshape(data, (data.tensor.size,))
        total: Node | None = None
        for row, down in _neighbours(places[1], height):
            for column, across in _neighbours(places[0], width):
                part = gather(flat, first + row * width + column, 0) * (down * across)
                total = part if total is None else total + part
        assert total is not None
        count = reduce_sum(ew.cast(within, data.dtype), (4, 5))
        return reduce_sum(ew.select(within, total, 0.0), (4, 5)) / ew.maximum(count, 1.0), count


def _neighbours(place: Node, size: int) -> list[tuple[Node, Node]]:
    """The cells to both sides of every place, held inside, and their shares."""
    held = ew.minimum(ew.maximum(place, 0.0), float(size - 1))
    low, high = ew.floor(held), ew.ceil(held)
    return [(ew.cast(low, I32), 1.0 - (held - low)), (ew.cast(high, I32), held - low)]
