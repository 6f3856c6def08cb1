"""Regions of interest: proposals from anchors, and means over rotated regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims.control import host_call
from symc.ir.types import Array, TensorType
from symc.ops.base import (
    BuildContext,
    Floats,
    MXNetError,
    Operator,
    ShapeError,
    Shapes,
    Tuple,
    Types,
    is_known,
    operator,
)
from symc.ops.shared.layers import check_range, float32_only, refuse
from symc.ops.vision.boxes import host_of, without_gradient
from symc.ops.vision.suppression import best_first, extents, overlaps, survivors


def _anchors(op: _Proposal) -> Array:
    """Boxes (ratios * scales, 4) around the first cell; sides are rounded to whole pixels before they are scaled."""
    stride = float(op.feature_stride)
    centre = (stride - 1) / 2
    made = []
    for ratio in op.ratios:
        width = np.floor(np.sqrt(np.floor(stride * stride / ratio)) + 0.5)
        height = np.floor(width * ratio + 0.5)
        for scale in op.scales:
            half = np.array([width * scale - 1, height * scale - 1]) / 2
            made.append([*(centre - half), *(centre + half)])
    return np.array(made, np.float32)


def _moved(boxes: Array, deltas: Array, info: Array, iou_loss: bool) -> Array:
    """Boxes (..., 4) moved by deltas and clipped to the image."""
    if iou_loss:
        moved = boxes + deltas
    else:
        size = boxes[..., 2:] - boxes[..., :2] + 1
        centre = boxes[..., :2] + (size - 1) / 2
        centre = centre + deltas[..., :2] * size
        half = (np.exp(deltas[..., 2:]) * size - 1) / 2
        moved = np.concatenate([centre - half, centre + half], -1)
    height, width = info[:2]
    return np.asarray(np.clip(moved, 0, np.array([width - 1, height - 1] * 2, boxes.dtype)))


def _suppress(boxes: Array, threshold: float, most: int) -> Array:
    """Greedy suppression of boxes in order: the places of those kept. Sides count whole pixels."""
    corners = extents(boxes, False)
    areas = (corners[2] - corners[0] + 1) * (corners[3] - corners[1] + 1)

    def hits(a: Array, b: Array) -> Array:
        return np.asarray(overlaps(corners[:, a], corners[:, b], areas[a], areas[b], 1) > np.float32(threshold))

    return survivors(len(boxes), hits, most=most)


def _propose(scores: Array, deltas: Array, info: Array, op: _Proposal) -> tuple[Array, Array]:
    batch, _, height, width = scores.shape
    anchors = _anchors(op)
    count, total = len(anchors), len(anchors) * height * width
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    shift = (np.stack([x, y, x, y], -1) * op.feature_stride)[:, :, None]
    places = (anchors + shift).astype(scores.dtype)
    before = min(op.rpn_pre_nms_top_n, total) if op.rpn_pre_nms_top_n > 0 else total
    most = min(op.rpn_post_nms_top_n, before)
    out, marks = np.zeros((batch, op.rpn_post_nms_top_n, 5)), np.zeros((batch, op.rpn_post_nms_top_n, 1))
    for n in range(batch):
        if (info[n, :2] // op.feature_stride > (height, width)).any():
            raise refuse(
                op,
                f"image {n} has {info[n, 0]:g} x {info[n, 1]:g} pixels (im_info), but {height} x {width} cells with "
                f"feature_stride={op.feature_stride} cover fewer",
            )
        moves = deltas[n].reshape(count, 4, height, width).transpose(2, 3, 0, 1)
        boxes = _moved(places, moves, info[n], op.iou_loss)
        score = scores[n, count:].transpose(1, 2, 0).copy()
        # cells beyond the image itself, in padding up to the batch's size
        score[(y >= info[n, 0] // op.feature_stride) | (x >= info[n, 1] // op.feature_stride)] = -1
        boxes, score = boxes.reshape(-1, 4), score.reshape(-1)
        least = op.rpn_min_size * info[n, 2]
        small = (boxes[:, 2:] - boxes[:, :2] + 1 < least).any(1)
        boxes[small] += np.array([-1, -1, 1, 1], boxes.dtype) * (least / 2)
        score[small] = -1
        order = best_first(score, before)
        kept = order[_suppress(boxes[order], op.threshold, most)]
        # too few are repeated from the first on
        rows = np.resize(kept, op.rpn_post_nms_top_n)
        out[n, :, 0], out[n, :, 1:], marks[n, :, 0] = n, boxes[rows], score[rows]
    return out.reshape(-1, 5), marks.reshape(-1, 1)


class _Proposal(Operator):
    """What both forms share. Suppression goes from one choice to the next: the whole operator is a host call."""

    rpn_pre_nms_top_n: int = 6000
    rpn_post_nms_top_n: int = 300
    threshold: float = 0.7
    rpn_min_size: int = 16
    scales: Floats = (4.0, 8.0, 16.0, 32.0)
    ratios: Floats = (0.5, 1.0, 2.0)
    feature_stride: int = 16
    output_score: bool = False
    iou_loss: bool = False

    def check(self) -> None:
        if self.rpn_post_nms_top_n < 1 or self.feature_stride < 1 or not self.scales or not self.ratios:
            raise refuse(self, "rpn_post_nms_top_n and feature_stride must be positive, scales and ratios not empty")
        if 0 in self.ratios:
            raise refuse(self, f"ratios={self.ratios} must not be 0")

    def num_visible_outputs(self) -> int:
        return 2 if self.output_score else 1

    def complete(self, s: Shapes) -> None:
        """Scores (N, 2 A, H, W), offsets (N, 4 A, H, W), sizes (N, 3) give (N * rpn_post_nms_top_n, 5) and (.., 1)."""
        scores = s.ins[0]
        if scores is None or not is_known(scores):
            return
        count = len(self.scales) * len(self.ratios)
        if len(scores) != 4 or scores[1] != 2 * count:
            raise ShapeError(f"cls_prob must be (batch, 2 * {count} anchors, y, x), not {scores}")
        s.set_in(1, (scores[0], 4 * count, *scores[2:]))
        s.set_in(2, (scores[0], 3))
        s.set_out(0, (scores[0] * self.rpn_post_nms_top_n, 5))
        s.set_out(1, (scores[0] * self.rpn_post_nms_top_n, 1))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        name = host_of("proposal", self, _propose)
        rows = inputs[0].shape[0] * self.rpn_post_nms_top_n

        def body(*ins: Node) -> Sequence[Node]:
            made = host_call(name, ins, [TensorType(ins[0].dtype, (rows, n)) for n in (5, 1)])
            assert isinstance(made, list)
            return made

        made = without_gradient(inputs, body)
        assert isinstance(made, list)
        return made


@operator(
    "_contrib_Proposal", inputs="cls_prob bbox_pred im_info", outputs="output score", hint="proposal", gradient="zero"
)
class Proposal(_Proposal):
    """The best regions of one image, [0, x1, y1, x2, y2], after suppression, and their scores. Ren et al. 2015.

    cls_prob (1, 2 A, H, W) has the background's scores first; bbox_pred (1, 4 A, H, W) moves the A anchors of every
    cell; im_info is height, width and scale of the image. Fewer regions than wanted are repeated.
    """

    rpn_pre_nms_top_n: int = 6000
    rpn_post_nms_top_n: int = 300
    threshold: float = 0.7
    rpn_min_size: int = 16
    scales: Floats = (4.0, 8.0, 16.0, 32.0)
    ratios: Floats = (0.5, 1.0, 2.0)
    feature_stride: int = 16
    output_score: bool = False
    iou_loss: bool = False

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        if inputs[0].shape[0] != 1:
            raise ShapeError(
                f"_contrib_Proposal takes one image, not {inputs[0].shape[0]}; use _contrib_MultiProposal for several"
            )
        return super().build(ctx, *inputs)


@operator(
    "_contrib_MultiProposal",
    inputs="cls_prob bbox_pred im_info",
    outputs="output score",
    hint="multiproposal",
    gradient="zero",
)
class MultiProposal(_Proposal):
    """As _contrib_Proposal for every image of a batch; the first entry of a region is its image's number."""

    rpn_pre_nms_top_n: int = 6000
    rpn_post_nms_top_n: int = 300
    threshold: float = 0.7
    rpn_min_size: int = 16
    scales: Floats = (4.0, 8.0, 16.0, 32.0)
    ratios: Floats = (0.5, 1.0, 2.0)
    feature_stride: int = 16
    output_score: bool = False
    iou_loss: bool = False


# --------------------------------------------------------------------------------------------- rotated regions


def _bilinear(image: Array, x: Array, y: Array) -> Array:
    """image (C, H, W) at places, held inside; 0 more than one cell outside."""
    height, width = image.shape[1:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = y - top, x - left
    upper = image[:, top, left] * (1 - across) + image[:, top, right] * across
    lower = image[:, bottom, left] * (1 - across) + image[:, bottom, right] * across
    return np.where(inside, upper * (1 - down) + lower * down, 0)


#: points of a cell: a larger region is an error of what made it
MOST_TAPS = 1 << 22


def _rotated(data: Array, rois: Array, op: RROIAlign) -> Array:
    cells = np.array(op.pooled_size)
    out = np.zeros((len(rois), data.shape[1], *op.pooled_size))
    for n, roi in enumerate(np.nan_to_num(rois.astype(np.float64), posinf=0.0, neginf=0.0)):
        middle_x, middle_y = roi[1:3] * op.spatial_scale
        size = np.maximum(roi[4:2:-1] * op.spatial_scale, 1.0)
        taps = np.ceil(size / cells) if op.sampling_ratio <= 0 else np.full(2, op.sampling_ratio)
        if np.prod(taps) > MOST_TAPS:
            raise MXNetError(f"region {n} is {size[1]:g} x {size[0]:g}: give sampling_ratio for ones so large")
        taps = taps.astype(int)
        along_y, along_x = ((np.arange(c * t) + 0.5) * (s / (c * t)) - s / 2 for c, t, s in zip(cells, taps, size))
        sin, cos = np.sin(np.radians(roi[5])), np.cos(np.radians(roi[5]))
        x = along_x[None, :] * cos + along_y[:, None] * sin + middle_x
        y = along_y[:, None] * cos - along_x[None, :] * sin + middle_y
        taken = _bilinear(data[int(np.clip(roi[0], 0, len(data) - 1))], x, y)
        out[n] = taken.reshape(-1, cells[0], taps[0], cells[1], taps[1]).mean((2, 4))
    return out


@operator("_contrib_RROIAlign", inputs="data rois", hint="rroialign", gradient="none")
class RROIAlign(Operator):
    """Means of interpolated values in a grid over each rotated region (batch index, centre x, y, width, height,
    degrees). Ma et al. 2018.

    The number of points of a cell follows from the region's size, which nothing bounds: a host call. sampling_ratio
    > 0 sets it, and has to for regions of millions of cells. As in MXNet there is no gradient.

    Differs from MXNet: an image that is not in the batch is the nearest one; MXNet reads beyond its arrays.
    """

    floats_only: ClassVar[bool] = True

    pooled_size: Tuple
    spatial_scale: float
    sampling_ratio: int = -1

    def check(self) -> None:
        if len(self.pooled_size) != 2 or min(self.pooled_size) < 1:
            raise refuse(self, f"pooled_size={self.pooled_size} must be a positive height and width")
        check_range(self, 0, 1, "spatial_scale")

    def complete(self, s: Shapes) -> None:
        """Data (N, C, H, W) and regions (R, 6) give (R, C, *pooled_size)."""
        data, rois = s.ins
        if data is None or len(data) != 4:
            raise ShapeError(f"data must have 4 axes (batch, channel, y, x), not {data}")
        if rois is None or len(rois) != 2 or rois[1] not in (0, 6):
            raise ShapeError(f"rois must have shape (regions, 6), not {rois}")
        s.set_out(0, (rois[0], data[1], *self.pooled_size))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data, rois = inputs
        name = host_of("rroi_align", self, _rotated)
        shape = (rois.shape[0], data.shape[1], *self.pooled_size)
        made = host_call(name, inputs, [data.tensor.with_shape(shape)])
        assert isinstance(made, Node)
        return made
