"""Resampling of images: to other sizes, at the points of a grid, and the grids of affine maps and flows."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.indexing import gather_along
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import broadcast, reshape, slice_, transpose
from symc.ir.types import I32, Array
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, is_known, operator
from symc.ops.shared.layers import along, check_range, narrow, refuse, wide


def _four(shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {shape}")


def separable(x: Node, down: Array, across: Array) -> Node:
    """down . x . across^T for every channel of (N, C, H, W)."""
    batch, channels, height, width = x.shape
    f = wide(x)
    rows = dot(reshape(f, (batch * channels * height, width)), ew.const(across, f.dtype), tb=True)
    turned = transpose(reshape(rows, (batch * channels, height, across.shape[0])), (0, 2, 1))
    columns = dot(reshape(turned, (batch * channels * across.shape[0], height)), ew.const(down, f.dtype), tb=True)
    made = transpose(reshape(columns, (batch * channels, across.shape[0], down.shape[0])), (0, 2, 1))
    return narrow(reshape(made, (batch, channels, down.shape[0], across.shape[0])), x)


def averaging(size: int, out: int) -> Array:
    """Row i averages the cells floor(i * size / out) to ceil((i + 1) * size / out)."""
    matrix = np.zeros((out, size))
    for i in range(out):
        begin, end = i * size // out, -(-(i + 1) * size // out)
        matrix[i, begin:end] = 1.0 / (end - begin)
    return matrix


def interpolating(size: int, out: int, align_corners: bool) -> Array:
    """Row i interpolates linearly at the place of output i.

    MXNet computes places in float32 for every type of data, and over a hundred pixels that shows in the fifth digit of
    the weights; so they are computed like that here.
    """
    matrix = np.zeros((out, size))
    extents = (size - 1, out - 1) if align_corners else (size, out)
    scale = np.float32(extents[0]) / np.float32(extents[1]) if out > 1 else np.float32(0)
    for i in range(out):
        place = scale * np.float32(i) if align_corners else np.float32(max(float(scale) * (i + 0.5) - 0.5, 0.0))
        low = min(int(place), size - 1)
        share = float(place) - low
        matrix[i, low] += 1.0 - share
        matrix[i, min(low + 1, size - 1)] += share
    return matrix


@operator("_contrib_AdaptiveAvgPooling2D", hint="adaptiveavgpooling2d")
class AdaptiveAvgPooling2D(Operator):
    """Averages over as equal windows as give output_size (one number: both; none: 1 x 1)."""

    floats_only: ClassVar[bool] = True

    output_size: Tuple | None = ()

    def _size(self) -> tuple[int, int]:
        if self.output_size is None or len(self.output_size) not in (1, 2):
            return 1, 1
        return self.output_size[0], self.output_size[-1]

    def complete(self, s: Shapes) -> None:
        """(N, C, H, W) gives (N, C, *output_size), 1 x 1 without one."""
        data = s.ins[0]
        if data is not None:
            _four(data)
            if min(self._size()) < 0:
                raise ShapeError(f"output_size={self.output_size} must not be negative")
            if is_known(data):
                s.set_out(0, (*data[:2], *self._size()))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        height, width = self._size()
        data = inputs[0]
        return separable(data, averaging(data.shape[2], height), averaging(data.shape[3], width))


@operator("_contrib_BilinearResize2D", inputs="data like", hint="bilinearresize2d")
class BilinearResize2D(Operator):
    """Bilinear interpolation to height x width, a scaled size, the nearest odd or even one, or that of `like`."""

    floats_only: ClassVar[bool] = True

    height: int = 1
    width: int = 1
    scale_height: float | None = None
    scale_width: float | None = None
    mode: Literal["like", "odd_scale", "size", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up"] = "size"
    align_corners: bool = True

    def check(self) -> None:
        check_range(self, 1, 10000, "height", "width")
        if self.mode == "size" and self.scale_height is not None and self.scale_width is None:
            raise refuse(self, "scale_height needs scale_width")

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "like") if self.mode == "like" else ("data",)

    def overwritten_gradients(self) -> tuple[int, ...]:
        return (1,)

    def _extent(self, size: int, given: int, scale: float | None) -> int:
        if self.mode == "size":
            # MXNet looks at scale_height alone: without it scale_width counts for nothing
            return int(scale * size) if scale is not None and self.scale_height is not None else given
        if self.mode == "odd_scale":
            factor = 1.0 if scale is None else scale
            return int(size * factor) if size % 2 == 0 else int((size - 1) * factor) + 1
        even = self.mode.startswith("to_even")
        if (size % 2 == 0) == even:
            return size
        return size + (1 if self.mode.endswith("up") else -1)

    def _size(self, data: tuple[int, ...], like: tuple[int, ...] | None) -> tuple[int, int]:
        if like is not None:
            return like[2], like[3]
        height = self._extent(data[2], self.height, self.scale_height)
        width = self._extent(data[3], self.width, self.scale_width)
        if height < 1 or width < 1:
            raise ShapeError(f"nothing is left of data {data} at {height} x {width}")
        return height, width

    def complete(self, s: Shapes) -> None:
        """(N, C, H, W) gives (N, C, H', W') by height and width, the scales, the mode, or like."""
        data = s.ins[0]
        if data is None:
            return
        _four(data)
        like = s.ins[1] if self.mode == "like" else None
        if not is_known(data) or (self.mode == "like" and like is None):
            return
        if like is not None:
            _four(like)
        s.set_out(0, (*data[:2], *self._size(data, like)))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        height, width = self._size(data.shape, inputs[1].shape if self.mode == "like" else None)
        return separable(
            data,
            interpolating(data.shape[2], height, self.align_corners),
            interpolating(data.shape[3], width, self.align_corners),
        )


# --------------------------------------------------------------------------------------------- grids


def sample(data: Node, x: Node, y: Node) -> Node:
    """data (N, C, H, W) at places x, y (N, P), bilinearly, 0 outside: (N, C, P)."""
    batch, channels, height, width = data.shape
    points = x.shape[1]
    flat = reshape(data, (batch, channels, height * width))
    left, top = ew.floor(x), ew.floor(y)
    # not |x - column|: at a cell's centre the gradient is that of the cell to the right
    shares_x, shares_y = (1.0 - (x - left), x - left), (1.0 - (y - top), y - top)
    total: Node | None = None
    for down in (0, 1):
        for right in (0, 1):
            column, row = left + float(right), top + float(down)
            weight = shares_x[right] * shares_y[down]
            inside = ew.and_(
                ew.and_(ew.ge(column, 0), ew.le(column, width - 1)), ew.and_(ew.ge(row, 0), ew.le(row, height - 1))
            )
            at = ew.cast(ew.select(inside, row * float(width) + column, 0.0), I32)
            picked = gather_along(flat, broadcast(at, (batch, channels, points), (0, 2)), 2)
            # not a select: at a place that is nan so is the result, as in MXNet
            weight = broadcast(weight * ew.cast(inside, weight.dtype), picked.shape, (0, 2))
            total = picked * weight if total is None else total + picked * weight
    assert total is not None
    return total


def sample_grid(data: Node, grid: Node) -> Node:
    """data at a grid (N, 2, H, W) of x and y in [-1, 1]."""
    batch, _, height, width = grid.shape
    points = height * width

    def places(at: int, size: int) -> Node:
        part = slice_(grid, (0, at, 0, 0), (batch, at + 1, height, width), (1,) * 4)
        return (reshape(part, (batch, points)) + 1.0) * ((size - 1) / 2.0)

    made = sample(data, places(0, data.shape[3]), places(1, data.shape[2]))
    return reshape(made, (batch, data.shape[1], height, width))


def _ramp(size: int) -> Array:
    return np.linspace(-1.0, 1.0, size) if size > 1 else np.full(1, -1.0)


def affine_grid(theta: Node, height: int, width: int) -> Node:
    """The grid of affine maps (N, 6): (N, 2, height, width)."""
    y, x = np.meshgrid(_ramp(height), _ramp(width), indexing="ij")
    target = np.stack([x.ravel(), y.ravel(), np.ones(height * width)])
    batch = theta.shape[0]
    made = dot(reshape(theta, (batch * 2, 3)), ew.const(target, theta.dtype))
    return reshape(made, (batch, 2, height, width))


@operator("GridGenerator")
class GridGenerator(Operator):
    """Sampling grids from affine maps (N, 6), for target_shape, or from flows in pixels (N, 2, H, W)."""

    floats_only: ClassVar[bool] = True

    transform_type: Literal["affine", "warp"]
    target_shape: Tuple | None = (0, 0)

    def complete(self, s: Shapes) -> None:
        """affine: (N, 6) gives (N, 2, *target_shape); warp: (N, 2, H, W) gives the same."""
        data = s.ins[0]
        if data is None:
            return
        if self.transform_type == "warp":
            _four(data)
            if data[1] not in (0, 2):
                raise ShapeError(f"a flow has 2 channels, not {data[1]}")
            s.set_out(0, data)
            return
        if len(data) != 2 or data[1] not in (0, 6):
            raise ShapeError(f"affine maps have shape (batch, 6), not {data}")
        if self.target_shape is None or len(self.target_shape) != 2 or min(self.target_shape) < 1:
            raise ShapeError(f"target_shape={self.target_shape} must be a positive height and width")
        s.set_in(0, (data[0], 6))
        s.set_out(0, (data[0], 2, *self.target_shape))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        if self.transform_type == "affine":
            assert self.target_shape is not None
            return affine_grid(data, *self.target_shape)
        _, _, height, width = data.shape
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        base = broadcast(ew.const(np.stack([x, y]).astype(np.float64), data.dtype), data.shape, (1, 2, 3))
        halves = np.array([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)])
        return (data + base) * along(ew.const(halves, data.dtype), data.shape, 1) - 1.0


@operator("BilinearSampler", inputs="data grid")
class BilinearSampler(Operator):
    """data (N, C, H, W) at the points of grid (N, 2, Ho, Wo), x and y in [-1, 1]; 0 outside. Jaderberg et al. 2015."""

    floats_only: ClassVar[bool] = True

    cudnn_off: bool | None = None

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and grid (N, 2, H', W') give (N, C, H', W')."""
        data, grid = s.ins
        if data is None or grid is None:
            return
        _four(data)
        if len(grid) != 4 or grid[1] not in (0, 2):
            raise ShapeError(f"grid must be (batch, 2, y, x), not {grid}")
        if is_known(data) and is_known(grid):
            s.set_out(0, (*data[:2], *grid[2:]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return sample_grid(*inputs)


@operator("SpatialTransformer", inputs="data loc")
class SpatialTransformer(Operator):
    """data sampled at the grid of the affine maps loc (N, 6). Jaderberg et al. 2015."""

    floats_only: ClassVar[bool] = True

    target_shape: Tuple = (0, 0)
    transform_type: Literal["affine"]
    sampler_type: Literal["bilinear"]
    cudnn_off: bool | None = None

    def overwritten_gradients(self) -> tuple[int, ...]:
        return (0, 1)

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and loc (N, 6) give (N, C, *target_shape)."""
        data = s.ins[0]
        if data is None:
            return
        _four(data)
        if not is_known(data) or s.ins[1] is None:
            return
        s.set_in(1, (data[0], 6))
        if len(self.target_shape) != 2 or min(self.target_shape) < 1:
            raise ShapeError(f"target_shape={self.target_shape} must be a positive height and width")
        s.set_out(0, (*data[:2], *self.target_shape))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return sample_grid(inputs[0], affine_grid(inputs[1], *self.target_shape))
