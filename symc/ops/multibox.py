"""Single shot detection: prior boxes, training targets, and detections. Liu et al. 2016."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symc.ir.graph import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import host_call
from symc.ir.types import Array, TensorType
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Tuple, Types, operator
from symc.ops.boxes import host_of, overlaps, without_gradient
from symc.ops.layers import float32_by_default

_VARIANCES = (0.1, 0.1, 0.2, 0.2)


@operator("_contrib_MultiBoxPrior", hint="multiboxprior")
class MultiBoxPrior(Operator):
    """Boxes around every cell of data's height and width: each size with the first ratio, then the other ratios."""

    sizes: Tuple = (1.0,)
    ratios: Tuple = (1.0,)
    clip: bool = False
    steps: Tuple = (-1.0, -1.0)
    offsets: Tuple = (0.5, 0.5)

    @property
    def _per_cell(self) -> int:
        return len(self.sizes) + len(self.ratios) - 1

    def complete(self, s: Shapes) -> None:
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 4 or not data[2] or not data[3]:
            raise ShapeError(f"data must have 4 axes with known height and width, not {data}")
        s.set_out(0, (1, data[2] * data[3] * self._per_cell, 4))

    def complete_types(self, t: Types) -> None:
        float32_by_default(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        height, width = inputs[0].shape[2:4]
        step_y, step_x = (s if s > 0 else 1.0 / n for s, n in zip(self.steps, (height, width)))
        y = (np.arange(height) + self.offsets[0]) * step_y
        x = (np.arange(width) + self.offsets[1]) * step_x
        root = np.sqrt(self.ratios[0])
        shapes = [(size * root, size / root) for size in self.sizes]
        shapes += [(self.sizes[0] * np.sqrt(r), self.sizes[0] / np.sqrt(r)) for r in self.ratios[1:]]
        half = np.array([(w * height / width / 2, h / 2) for w, h in shapes])
        centre = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1)[:, :, None, :]
        boxes = np.concatenate([centre - half, centre + half], -1).reshape(1, -1, 4)
        return ew.const(np.clip(boxes, 0, 1) if self.clip else boxes, inputs[0].dtype)


def _targets(anchor: Array, label: Array, predicted: Array, op: MultiBoxTarget) -> tuple[Array, Array, Array]:
    anchors = anchor.reshape(-1, 4).astype(np.float64)
    batch, count = label.shape[0], len(anchors)
    loc, mask = np.zeros((batch, count, 4)), np.zeros((batch, count, 4))
    classes = np.full((batch, count), float(op.ignore_label))
    for n in range(batch):
        ends = np.flatnonzero(label[n, :, 0] == -1)
        truth = label[n, : ends[0] if len(ends) else None].astype(np.float64)
        if not len(truth):
            continue
        matched, negative = _assign(overlaps(anchors, truth[:, 1:5]), predicted[n], op)
        classes[n, negative] = 0
        for at in np.flatnonzero(matched >= 0):
            own = truth[matched[at]]
            classes[n, at] = own[0] + 1
            mask[n, at] = 1
            loc[n, at] = _encode(anchors[at], own[1:5], op.variances)
    return loc.reshape(batch, -1), mask.reshape(batch, -1), classes


def _assign(shared: Array, predicted: Array, op: MultiBoxTarget) -> tuple[Array, Array]:
    """For every anchor the truth it is to find, or -1; and which anchors are to find background."""
    count, truths = shared.shape
    matched = np.full(count, -1)
    open_truths = np.ones(truths, bool)
    best = np.full(count, -1.0)
    while open_truths.any():
        left = np.where((matched < 0)[:, None] & open_truths[None, :], shared, 0.0)
        at, truth = divmod(int(left.argmax()), truths)
        if left[at, truth] <= 1e-6:
            break
        matched[at], best[at] = truth, left[at, truth]
        open_truths[truth] = False
    if op.overlap_threshold > 0:
        for at in np.flatnonzero(matched < 0):
            truth = int(shared[at].argmax())
            best[at] = shared[at, truth]
            if best[at] > op.overlap_threshold:
                matched[at] = truth
    positive = int((matched >= 0).sum())
    if op.negative_mining_ratio <= 0:
        return matched, matched < 0
    wanted = min(int(positive * op.negative_mining_ratio), count - positive)
    wanted = max(wanted, op.minimum_negative_samples)
    scores = np.exp(predicted - predicted.max(0))
    background = scores[0] / scores.sum(0)
    able = [int(a) for a in np.flatnonzero((matched < 0) & (shared.max(1) < op.negative_mining_thresh))]
    able.sort(key=lambda a: background[a])
    negative = np.zeros(count, bool)
    negative[able[:wanted]] = True
    return matched, negative


def _encode(anchor: Array, box: Array, variances: Sequence[float]) -> Array:
    (aw, ah), (w, h) = anchor[2:] - anchor[:2], box[2:] - box[:2]
    (ax, ay), (x, y) = (anchor[:2] + anchor[2:]) / 2, (box[:2] + box[2:]) / 2
    raw = np.array([(x - ax) / aw, (y - ay) / ah, np.log(w / aw), np.log(h / ah)])
    return np.asarray(raw / np.asarray(variances))


@operator(
    "_contrib_MultiBoxTarget",
    inputs="anchor label cls_pred",
    outputs="loc_target loc_mask cls_target",
    hint="multiboxtarget",
)
class MultiBoxTarget(Operator):
    """What every anchor should predict: box offsets, which of them count, and the class (0 is background)."""

    overlap_threshold: float = 0.5
    ignore_label: float = -1.0
    negative_mining_ratio: float = -1.0
    negative_mining_thresh: float = 0.5
    minimum_negative_samples: int = 0
    variances: Tuple = _VARIANCES

    def complete(self, s: Shapes) -> None:
        anchor, label, predicted = s.ins
        if anchor is None or label is None or predicted is None:
            return
        if len(anchor) != 3 or anchor[2] not in (0, 4) or len(label) != 3 or len(predicted) != 3:
            raise ShapeError(f"anchor (1, N, 4), label (B, M, 5) and cls_pred (B, C, N) are needed, not {s.ins}")
        s.set_out(0, (label[0], anchor[1] * 4))
        s.set_out(1, (label[0], anchor[1] * 4))
        s.set_out(2, (label[0], anchor[1]))

    def complete_types(self, t: Types) -> None:
        float32_by_default(t)

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


def _detections(scores: Array, offsets: Array, anchor: Array, op: MultiBoxDetection) -> Array:
    batch, _, count = scores.shape
    anchors = anchor.reshape(-1, 4).astype(np.float64)
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    out = np.full((batch, count, 6), -1.0)
    for n in range(batch):
        moves = offsets[n].reshape(-1, 4) * np.asarray(op.variances)
        middle, half = moves[:, :2] * size + centre, np.exp(moves[:, 2:]) * size / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        boxes = np.clip(boxes, 0, 1) if op.clip else boxes
        best = scores[n, 1:].argmax(0)
        score = scores[n, 1:].max(0)
        valid = np.flatnonzero(score >= op.threshold)
        if 0 < op.nms_threshold <= 1:
            valid = valid[np.argsort(-score[valid], kind="stable")]
            if op.nms_topk > 0:
                valid = valid[: op.nms_topk]
        rows = np.concatenate([best[valid, None], score[valid, None], boxes[valid]], 1)
        if 0 < op.nms_threshold <= 1:
            shared = overlaps(rows[:, 2:], rows[:, 2:]) >= op.nms_threshold
            if not op.force_suppress:
                shared &= rows[:, None, 0] == rows[None, :, 0]
            for i in range(len(rows)):
                if rows[i, 0] >= 0:
                    rows[i + 1 :, 0][shared[i, i + 1 :]] = -1
        out[n, : len(rows)] = rows
    return out


@operator("_contrib_MultiBoxDetection", inputs="cls_prob loc_pred anchor", hint="multiboxdetection")
class MultiBoxDetection(Operator):
    """Rows [class, score, x1, y1, x2, y2] in order of score; suppressed and empty ones have class -1."""

    clip: bool = True
    threshold: float = 0.01
    background_id: int = 0
    nms_threshold: float = 0.5
    force_suppress: bool = False
    variances: Tuple = _VARIANCES
    nms_topk: int = -1

    def complete(self, s: Shapes) -> None:
        scores, offsets, anchor = s.ins
        if scores is None or offsets is None or anchor is None:
            return
        if len(scores) != 3 or len(offsets) != 2 or len(anchor) != 3 or anchor[2] not in (0, 4):
            raise ShapeError(f"cls_prob (B, C, N), loc_pred (B, 4 N) and anchor (1, N, 4) are needed, not {s.ins}")
        s.set_out(0, (scores[0], anchor[1], 6))

    def complete_types(self, t: Types) -> None:
        float32_by_default(t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        name = host_of("multibox_detection", self, _detections)
        kind = TensorType(inputs[0].dtype, (inputs[0].shape[0], inputs[0].shape[2], 6))

        def body(*ins: Node) -> Node:
            made = host_call(name, ins, [kind])
            assert isinstance(made, Node)
            return made

        made = without_gradient(inputs, body)
        assert isinstance(made, Node)
        return made
