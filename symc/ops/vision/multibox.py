"""Single shot detection: prior boxes, training targets, and detections. Liu et al. 2016."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import host_call
from symc.ir.prims.movement import broadcast, concat, reshape, slice_axis
from symc.ir.prims.reduce import argmax, reduce_max
from symc.ir.types import Array, TensorType
from symc.ops.base import BuildContext, Floats, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.layers import float32_only, refuse
from symc.ops.vision.boxes import host_of, without_gradient
from symc.ops.vision.suppression import best_first, extents, greedy_pairs, intersections, overlaps, survivors

_VARIANCES = (0.1, 0.1, 0.2, 0.2)


@operator("_contrib_MultiBoxPrior", hint="multiboxprior")
class MultiBoxPrior(Operator):
    """Boxes around every cell of data's height and width: each size with the first ratio, then the other ratios."""

    ignores_add: ClassVar[bool] = True

    sizes: Floats = (1.0,)
    ratios: Floats = (1.0,)
    clip: bool = False
    steps: Floats = (-1.0, -1.0)
    offsets: Floats = (0.5, 0.5)

    def check(self) -> None:
        if len(self.steps) != 2 or self.steps[0] * self.steps[1] < 0:
            raise refuse(self, f"steps={self.steps} must be two numbers; both positive, or none given")
        if len(self.offsets) != 2 or not all(0 <= at <= 1 for at in self.offsets):
            raise refuse(self, f"offsets={self.offsets} must be two numbers from 0 to 1")
        if not self.sizes or not self.ratios:
            raise refuse(self, "sizes and ratios must not be empty")

    @property
    def _per_cell(self) -> int:
        return len(self.sizes) + len(self.ratios) - 1

    def complete(self, s: Shapes) -> None:
        """(N, C, H, W) gives (1, H * W * boxes per cell, 4)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 4 or not data[2] or not data[3]:
            raise ShapeError(f"data must have 4 axes with known height and width, not {data}")
        s.set_out(0, (1, data[2] * data[3] * self._per_cell, 4))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        height, width = inputs[0].shape[2:4]
        step_y, step_x = self.steps if min(self.steps) > 0 else (1.0 / height, 1.0 / width)
        y = (np.arange(height) + self.offsets[0]) * step_y
        x = (np.arange(width) + self.offsets[1]) * step_x
        root = np.sqrt(self.ratios[0])
        shapes = [(size * root, size / root) for size in self.sizes]
        shapes += [(self.sizes[0] * np.sqrt(r), self.sizes[0] / np.sqrt(r)) for r in self.ratios[1:]]
        half = np.array([(w * height / width / 2, h / 2) for w, h in shapes])
        centre = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1)[:, :, None, :]
        boxes = np.concatenate([centre - half, centre + half], -1).reshape(1, -1, 4)
        return ew.const(np.clip(boxes, 0, 1) if self.clip else boxes, inputs[0].dtype)


def _check_variances(op: Operator, variances: Sequence[float]) -> None:
    if len(variances) != 4:
        raise refuse(op, f"variances={variances} must be 4 numbers")


def _targets(anchor: Array, label: Array, predicted: Array, op: MultiBoxTarget) -> tuple[Array, Array, Array]:
    anchors = anchor.reshape(-1, 4)
    batch, count = label.shape[0], len(anchors)
    loc, mask = np.zeros((batch, count, 4), anchor.dtype), np.zeros((batch, count, 4), anchor.dtype)
    classes = np.full((batch, count), op.ignore_label, anchor.dtype)
    for n in range(batch):
        truth = _truths(label[n], op)
        if not len(truth):
            continue
        matched, negative = _assign(_shared(anchors, truth[:, 1:5]), predicted[n], op)
        classes[n, negative] = 0
        positive = np.flatnonzero(matched >= 0)
        own = truth[matched[positive]]
        classes[n, positive] = own[:, 0] + 1
        mask[n, positive] = 1
        loc[n, positive] = _encode(anchors[positive], own[:, 1:5], np.asarray(op.variances, anchor.dtype))
    return loc.reshape(batch, -1), mask.reshape(batch, -1), classes


def _truths(label: Array, op: MultiBoxTarget) -> Array:
    """The rows of one image's label before the first of class -1. MXNetError if that is no row of -1."""
    ends = np.flatnonzero(label[:, 0] == -1)
    if not len(ends):
        return label
    if not (label[ends[0], :5] == -1).all():
        raise refuse(op, f"a label of class -1 ends the labels and must be -1 altogether, not {label[ends[0]]}")
    return label[: ends[0]]


def _shared(anchors: Array, truths: Array) -> Array:
    """Intersection over union (anchors, truths)."""
    a, b = extents(anchors, False), extents(truths, False)
    area_a, area_b = ((v[2] - v[0]) * (v[3] - v[1]) for v in (a, b))
    shared = intersections(a, b)
    union = area_a[:, None] + area_b - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union != 0))


def _assign(shared: Array, predicted: Array, op: MultiBoxTarget) -> tuple[Array, Array]:
    """For every anchor the truth it is to find, or -1; and which anchors are to find background."""
    count = len(shared)
    matched = np.full(count, -1)
    for at, truth in greedy_pairs(shared, shared.dtype.type(1e-6)):
        matched[at] = truth
    best, nearest = shared.max(1), shared.argmax(1)
    if op.overlap_threshold > 0:
        near = (matched < 0) & (best > np.float32(op.overlap_threshold))
        matched[near] = nearest[near]
    if op.negative_mining_ratio <= 0:
        return matched, matched < 0
    positive = int((matched >= 0).sum())
    wanted = min(int(np.float32(op.negative_mining_ratio) * positive), count - positive)
    negative = np.zeros(count, bool)
    if wanted > 0:
        able = np.flatnonzero((matched < 0) & (best < np.float32(op.negative_mining_thresh)))
        if len(able) < wanted:
            raise refuse(
                op, f"{wanted} anchors should find background, but only {len(able)} are far enough from truths"
            )
        # the least sure ones first
        scores = np.exp((predicted[:, able] - predicted[:, able].max(0)).astype(np.float64)).astype(predicted.dtype)
        negative[able[best_first(-(scores[0] / np.add.reduce(scores, 0)), wanted)]] = True
    return matched, negative


def _encode(anchors: Array, boxes: Array, variances: Array) -> Array:
    """Offsets (n, 4) of boxes to their anchors."""
    (a_size, size) = (v[:, 2:] - v[:, :2] for v in (anchors, boxes))
    (a_middle, middle) = ((v[:, :2] + v[:, 2:]) * v.dtype.type(0.5) for v in (anchors, boxes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([(middle - a_middle) / a_size, np.log(size / a_size)], 1) / variances


@operator(
    "_contrib_MultiBoxTarget",
    inputs="anchor label cls_pred",
    outputs="loc_target loc_mask cls_target",
    hint="multiboxtarget",
)
class MultiBoxTarget(Operator):
    """What every anchor should predict: box offsets, which of them count, and the class (0 is background).

    Rows of label are [class, x1, y1, x2, y2, ...]; the first of class -1 ends them. Which anchor gets which truth is
    chosen greedily, see symc/ops/vision/suppression.py. As in MXNet minimum_negative_samples has no effect.
    """

    overlap_threshold: float = 0.5
    ignore_label: float = -1.0
    negative_mining_ratio: float = -1.0
    negative_mining_thresh: float = 0.5
    minimum_negative_samples: int = 0
    variances: Floats = _VARIANCES

    def check(self) -> None:
        _check_variances(self, self.variances)
        if self.negative_mining_ratio > 0 and self.negative_mining_thresh <= 0:
            raise refuse(self, f"negative_mining_thresh={self.negative_mining_thresh} must be positive")

    def overwritten_gradients(self) -> Sequence[int]:
        return (2,)

    def complete(self, s: Shapes) -> None:
        """Anchors (1, A, 4), labels (N, objects, 5 or more), predictions (N, classes, A) give (N, 4 A), (N, 4 A), (N,
        A).
        """
        anchor, label, predicted = s.ins
        if anchor is None or label is None or predicted is None:
            return
        if len(anchor) != 3 or len(label) != 3 or len(predicted) != 3 or (label[2] and label[2] < 5):
            raise ShapeError(f"anchor (1, N, 4), label (B, M, 5) and cls_pred (B, C, N) are needed, not {s.ins}")
        s.set_in(0, (1, predicted[2], 4))
        s.set_in(2, (0, 0, anchor[1]))
        s.set_out(0, (label[0], anchor[1] * 4))
        s.set_out(1, (label[0], anchor[1] * 4))
        s.set_out(2, (label[0], anchor[1]))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        name = host_of("multibox_target", self, _targets)
        dtype, batch, count = inputs[0].dtype, inputs[1].shape[0], inputs[0].shape[1]
        types = [TensorType(dtype, shape) for shape in ((batch, count * 4), (batch, count * 4), (batch, count))]

        def body(*ins: Node) -> Sequence[Node]:
            made = host_call(name, ins, types)
            assert isinstance(made, list)
            return made

        made = without_gradient(inputs, body)
        assert isinstance(made, list)
        return made


def _detections(best: Array, scores: Array, boxes: Array, op: MultiBoxDetection) -> Array:
    """Rows in order of score, from every anchor's class (-1: background), its score and its box."""
    batch, count = scores.shape
    out = np.full((batch, count, 6), -1, scores.dtype)
    for n in range(batch):
        valid = np.flatnonzero(best[n] >= 0)
        rows = out[n, : len(valid)]
        rows[:, 0], rows[:, 1], rows[:, 2:] = best[n, valid], scores[n, valid], boxes[n, valid]
        if len(valid) and 0 < op.nms_threshold <= 1:
            order = best_first(rows[:, 1], op.nms_topk if op.nms_topk > 0 else None)
            # rows after nms_topk keep their places; they and the suppressed ones lose their class only
            rows[: len(order)] = rows[order]
            stay = _unsuppressed(rows[: len(order)], op)
            classes = rows[stay, 0]
            rows[:, 0] = -1
            rows[stay, 0] = classes
    return out


def _unsuppressed(rows: Array, op: MultiBoxDetection) -> Array:
    corners = extents(rows[:, 2:], False)
    areas = (corners[2] - corners[0]) * (corners[3] - corners[1])

    def hits(a: Array, b: Array) -> Array:
        shared = overlaps(corners[:, a], corners[:, b], areas[a], areas[b])
        return np.asarray(shared >= np.float32(op.nms_threshold))

    return survivors(len(rows), hits, None if op.force_suppress else rows[:, 0])


@operator("_contrib_MultiBoxDetection", inputs="cls_prob loc_pred anchor", hint="multiboxdetection")
class MultiBoxDetection(Operator):
    """Rows [class, score, x1, y1, x2, y2] in order of score; suppressed and empty ones have class -1.

    Scores and boxes are programs over primitives, suppression is a host function (symc/ops/vision/suppression.py). As
    in MXNet class 0 is the background whatever background_id says.
    """

    clip: bool = True
    threshold: float = 0.01
    background_id: int = 0
    nms_threshold: float = 0.5
    force_suppress: bool = False
    variances: Floats = _VARIANCES
    nms_topk: int = -1

    def check(self) -> None:
        _check_variances(self, self.variances)

    def overwritten_gradients(self) -> Sequence[int]:
        return (0, 1, 2)

    def complete(self, s: Shapes) -> None:
        """Probabilities (N, classes, A), offsets (N, 4 A), anchors (1, A, 4) give (N, A, 6)."""
        scores, offsets, anchor = s.ins
        if scores is None or offsets is None or anchor is None:
            return
        if len(scores) != 3 or len(offsets) != 2 or len(anchor) != 3:
            raise ShapeError(f"cls_prob (B, C, N), loc_pred (B, 4 N) and anchor (1, N, 4) are needed, not {s.ins}")
        s.set_in(1, (scores[0], 4 * scores[2]))
        s.set_in(2, (1, scores[2], 4))
        s.set_out(0, (scores[0], anchor[1], 6))

    def complete_types(self, t: Types) -> None:
        float32_only(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        name = host_of("multibox_detection", self, _detections)
        dtype, (batch, classes, count) = inputs[0].dtype, inputs[0].shape

        def body(scores: Node, offsets: Node, anchors: Node) -> Node:
            kind = TensorType(dtype, (batch, count, 6))
            if classes < 2 or not count:
                return ew.full(-1.0, kind)
            objects = slice_axis(scores, 1, 1, classes)
            best = reduce_max(objects, (1,))
            valid = ew.and_(ew.gt(best, -1.0), ew.ge(best, self.threshold))
            chosen = ew.select(valid, ew.cast(argmax(objects, 1), dtype), -1.0)
            made = host_call(name, [chosen, best, self._decoded(offsets, anchors, (batch, count, 4))], [kind])
            assert isinstance(made, Node)
            return made

        made = without_gradient(inputs, body)
        assert isinstance(made, Node)
        return made

    def _decoded(self, offsets: Node, anchors: Node, shape: tuple[int, ...]) -> Node:
        """Corner boxes (batch, anchors, 4)."""

        def part(boxes: Node, first: int) -> Node:
            return slice_axis(boxes, boxes.rank - 1, first, first + 2)

        def spread(pair: Node) -> Node:
            return broadcast(reshape(pair, pair.shape[1:]), (*shape[:2], 2), (1, 2))

        low, high = part(anchors, 0), part(anchors, 2)
        size, middle = spread(high - low), spread((low + high) * 0.5)
        moves = reshape(offsets, shape)
        scale = [ew.const(np.asarray(self.variances[at : at + 2]), offsets.dtype) for at in (0, 2)]
        x, y = (part(moves, at) * broadcast(s, (*shape[:2], 2), (2,)) for at, s in zip((0, 2), scale))
        place, half = x * size + middle, ew.exp(y) * size * 0.5
        corners = concat([place - half, place + half], 2)
        return ew.minimum(ew.maximum(corners, 0.0), 1.0) if self.clip else corners
