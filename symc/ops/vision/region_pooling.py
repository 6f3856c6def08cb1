"""Pooling over regions of interest: maxima (ROIPooling) and interpolated averages (ROIAlign)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.indexing import gather
from symc.ir.prims.movement import broadcast, iota, reshape, slice_, transpose
from symc.ir.prims.reduce import argmax, reduce_max, reduce_sum
from symc.ir.types import I32, I64, TensorType
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, operator
from symc.ops.shared.families import no_gradient
from symc.ops.shared.layers import check_positive, check_range, indices


def _column(rois: Node, at: int) -> Node:
    """One coordinate of all regions, (R,)."""
    return reshape(slice_(rois, (0, at), (rois.shape[0], at + 1), (1, 1)), (rois.shape[0],))


def _regions(s: Shapes, pooled: Tuple, channels: int = 0) -> None:
    data, rois = s.ins
    if data is not None and len(data) != 4:
        raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
    if rois is not None and (len(rois) != 2 or rois[1] not in (0, 5)):
        raise ShapeError(f"rois must have shape (regions, 5), not {rois}")
    if data is not None and rois is not None:
        s.set_out(0, (rois[0], channels or data[1], *pooled))


def _batch_index(rois: Node, batch: int) -> Node:
    return ew.minimum(ew.maximum(ew.cast(_column(rois, 0), I32), 0), batch - 1)


def _first_max(x: Node) -> Node:
    """The maximum over the last axis. Its gradient goes to the first of equal elements, as in MXNet: behind a rectifier
    whole cells are equal."""
    axis = x.rank - 1

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        shape, kept = ins[0].shape, tuple(range(axis))
        place = broadcast(argmax(ins[0], axis), shape, kept)
        return [ew.select(ew.eq(iota(TensorType(I64, shape), axis), place), broadcast(cts[0], shape, kept), 0)]

    made = custom_grad([x], lambda x: reduce_max(x, (axis,)), rule)
    assert isinstance(made, Node)
    return made


@operator("ROIPooling", inputs="data rois")
class ROIPooling(Operator):
    """The maximum of every cell of a pooled_size grid over each region (batch index, x1, y1, x2, y2). Girshick 2015.

    A region of an image that is not in the batch gives zeros.
    """

    floats_only: ClassVar[bool] = True

    pooled_size: Tuple
    spatial_scale: float

    def check(self) -> None:
        check_positive(self, "pooled_size", 2)
        check_range(self, 0, 1, "spatial_scale")

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and regions (R, 5) give (R, C, *pooled_size)."""
        _regions(s, self.pooled_size)

    def _bins(self, begin: Node, end: Node, count: int, size: int) -> Node:
        """i1 (regions, count, size): which cells belong to which bin along one axis."""
        begin, end = (ew.round_(v * self.spatial_scale) for v in (begin, end))
        regions = begin.shape[0]
        # divided, not times 1 / count: where it divides evenly a product's rounding would open one more cell
        step = ew.maximum(end - begin + 1.0, 1.0) / float(count)
        kind = TensorType(begin.dtype, (regions, count))
        number = indices(kind.shape, 1, begin.dtype)
        low = ew.floor(number * broadcast(step, kind.shape, (0,))) + broadcast(begin, kind.shape, (0,))
        high = ew.ceil((number + 1.0) * broadcast(step, kind.shape, (0,))) + broadcast(begin, kind.shape, (0,))
        shape = (regions, count, size)
        at = indices(shape, 2, begin.dtype)
        return ew.and_(ew.ge(at, broadcast(low, shape, (0, 1))), ew.lt(at, broadcast(high, shape, (0, 1))))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, rois = inputs
        batch, channels, height, width = data.shape
        pooled_h, pooled_w = self.pooled_size
        regions = rois.shape[0]
        chosen = gather(data, _batch_index(rois, batch), 0)
        columns = self._bins(_column(rois, 1), _column(rois, 3), pooled_w, width)
        rows = self._bins(_column(rois, 2), _column(rois, 4), pooled_h, height)
        low = float("-inf")
        shape = (regions, channels, height, pooled_w, width)
        across = ew.select(broadcast(columns, shape, (0, 3, 4)), broadcast(chosen, shape, (0, 1, 2, 4)), low)
        by_row = _first_max(across)
        shape = (regions, channels, pooled_h, pooled_w, height)
        turned = transpose(by_row, (0, 1, 3, 2))
        images = ew.cast(_column(rois, 0), I32)
        there = broadcast(ew.and_(ew.ge(images, 0), ew.lt(images, batch)), rows.shape, (0,))
        down = ew.select(broadcast(ew.and_(rows, there), shape, (0, 2, 4)), broadcast(turned, shape, (0, 1, 3, 4)), low)
        best = _first_max(down)
        return ew.select(ew.eq(best, low), 0.0, best)


@operator("_contrib_ROIAlign", inputs="data rois", hint="roialign")
class ROIAlign(Operator):
    """Averages of interpolated values in a grid over each region (batch index, x1, y1, x2, y2). He et al. 2017.

    sample_ratio <= 0 takes as many points per cell as the cell has pixels, at most those of the whole image.

    The regions have no gradient.

    Differs from MXNet: an image that is not in the batch is the nearest one; MXNet reads beyond its arrays.
    """

    floats_only: ClassVar[bool] = True

    pooled_size: Tuple
    spatial_scale: float
    sample_ratio: int = -1
    position_sensitive: bool = False
    aligned: bool = False

    def check(self) -> None:
        check_positive(self, "pooled_size", 2)
        check_range(self, 0, 1, "spatial_scale")

    def _channels(self, channels: int) -> int:
        cells = self.pooled_size[0] * self.pooled_size[1] if self.position_sensitive else 1
        if channels % cells:
            raise ShapeError(f"{channels} channels are not a multiple of the {cells} cells")
        return channels // cells

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and regions (R, 5) give (R, C, *pooled_size); position-sensitive: C / prod(pooled_size)
        channels.
        """
        data = s.ins[0]
        _regions(s, self.pooled_size, self._channels(data[1]) if data is not None and len(data) > 1 else 0)

    def _points(self, begin: Node, end: Node, cells: int, size: int) -> tuple[Node, Node, Node]:
        """Along one axis: places (regions, cells, points), their weights in the mean, and whether they count."""
        offset = 0.5 if self.aligned else 0.0
        begin, end = (v * self.spatial_scale - offset for v in (begin, end))
        extent = end - begin if self.aligned else ew.maximum(end - begin, 1.0)
        step = extent / float(cells)
        regions = begin.shape[0]
        most = self.sample_ratio if self.sample_ratio > 0 else max(1, -(-size // cells))
        shape = (regions, cells, most)
        if self.sample_ratio > 0:
            count = ew.full(self.sample_ratio, begin.tensor)
        else:
            count = ew.minimum(ew.maximum(ew.ceil(step), 1.0), float(most))

        def spread(v: Node) -> Node:
            return broadcast(v, shape, (0,))

        number = indices(shape, 2, begin.dtype)
        place = spread(begin) + spread(step) * (indices(shape, 1, begin.dtype) + (number + 0.5) / spread(count))
        valid = ew.and_(ew.and_(ew.ge(place, -1.0), ew.le(place, float(size))), ew.lt(number, spread(count)))
        return place, ew.select(valid, 1.0 / spread(count), 0.0), valid

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, rois = inputs[0], no_gradient(lambda x: x)(inputs[1])
        batch, channels, height, width = data.shape
        pooled_h, pooled_w = self.pooled_size
        regions = rois.shape[0]
        ys, share_y, _ = self._points(_column(rois, 2), _column(rois, 4), pooled_h, height)
        xs, share_x, _ = self._points(_column(rois, 1), _column(rois, 3), pooled_w, width)
        shape = (regions, pooled_h, ys.shape[2], pooled_w, xs.shape[2])
        flat = reshape(transpose(data, (1, 0, 2, 3)), (channels, batch * height * width))
        first = broadcast(_batch_index(rois, batch) * (height * width), shape, (0,))
        total: Node | None = None
        for row, row_share in _corners(ys, height):
            for column, column_share in _corners(xs, width):
                at = first + broadcast(row * width, shape, (0, 1, 2)) + broadcast(column, shape, (0, 3, 4))
                picked = gather(flat, at, 1)
                weight = broadcast(row_share * share_y, shape, (0, 1, 2)) * broadcast(
                    column_share * share_x, shape, (0, 3, 4)
                )
                part = reduce_sum(picked * broadcast(weight, picked.shape, (1, 2, 3, 4, 5)), (3, 5))
                total = part if total is None else total + part
        assert total is not None
        pooled = transpose(total, (1, 0, 2, 3))
        return self._by_position(pooled) if self.position_sensitive else pooled

    def _by_position(self, pooled: Node) -> Node:
        """Cell (i, j) of output channel c is read from channel (c * height + i) * width + j."""
        regions, channels, height, width = pooled.shape
        own = channels // (height * width)
        apart = reshape(pooled, (regions, own, height, width, height, width))
        shape = apart.shape
        same = ew.and_(ew.eq(indices(shape, 2), indices(shape, 4)), ew.eq(indices(shape, 3), indices(shape, 5)))
        return reduce_sum(ew.select(same, apart, 0.0), (2, 3))


def _corners(place: Node, size: int) -> list[tuple[Node, Node]]:
    """The two neighbouring cells of every place, clamped, and their shares."""
    inside = ew.minimum(ew.maximum(place, 0.0), float(size - 1))
    low = ew.floor(inside)
    share = inside - low
    first = ew.cast(low, I32)
    return [(first, 1.0 - share), (ew.minimum(first + 1, size - 1), share)]
