"""Boxes: overlaps, coding against anchors, suppression and matching.

Overlaps and coding are programs over primitives. Suppression and matching go from one choice to the next and are
host calls on whole batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad, host_call, register_host
from symc.ir.prims.indexing import gather_along
from symc.ir.prims.movement import broadcast, concat, iota, reshape, slice_
from symc.ir.types import I32, Array, TensorType
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, is_known, operator
from symc.ops.shared.layers import along
from symc.ops.vision.suppression import best_first, extents, greedy_pairs, overlaps, survivors


def without_gradient(inputs: Sequence[Node], body: Callable[..., Node | Sequence[Node]]) -> Node | list[Node]:
    """body(*inputs) with zero gradients, as MXNet gives them for these operators."""
    return custom_grad(inputs, body, lambda ins, outs, cts: [None] * len(ins))


def _coordinate(boxes: Node, at: int) -> Node:
    """One entry of the last axis, without it."""
    low = (*(0,) * (boxes.rank - 1), at)
    part = slice_(boxes, low, (*boxes.shape[:-1], at + 1), (1,) * boxes.rank)
    return reshape(part, boxes.shape[:-1])


def _corners(boxes: Node, centred: bool) -> tuple[Node, Node, Node, Node]:
    a, b, c, d = (_coordinate(boxes, at) for at in range(4))
    if not centred:
        return a, b, c, d
    return a - c * 0.5, b - d * 0.5, a + c * 0.5, b + d * 0.5


def _stacked(parts: Sequence[Node]) -> Node:
    return concat([reshape(p, (*p.shape, 1)) for p in parts], parts[0].rank)


@operator("_contrib_box_iou", inputs="lhs rhs", hint="box_iou")
class BoxIou(Operator):
    """Intersection over union of every box of lhs with every box of rhs."""

    format: Literal["center", "corner"] = "corner"

    floats_only: ClassVar[bool] = True

    def overwritten_gradients(self) -> Sequence[int]:
        return (0, 1)

    def complete(self, s: Shapes) -> None:
        """(*A, 4) and (*B, 4) give (*A, *B)."""
        lhs, rhs = s.ins
        for shape in (lhs, rhs):
            if shape is not None and (len(shape) < 2 or shape[-1] not in (0, 4)):
                raise ShapeError(f"boxes must be (..., boxes, 4), not {shape}")
        if lhs is not None and rhs is not None:
            s.set_out(0, (*lhs[:-1], *rhs[:-1]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def body(lhs: Node, rhs: Node) -> Node:
            shape = (*lhs.shape[:-1], *rhs.shape[:-1])
            left, right = tuple(range(lhs.rank - 1)), tuple(range(lhs.rank - 1, len(shape)))
            centred = self.format == "center"
            a = [broadcast(v, shape, left) for v in _corners(lhs, centred)]
            b = [broadcast(v, shape, right) for v in _corners(rhs, centred)]
            width = ew.relu(ew.minimum(a[2], b[2]) - ew.maximum(a[0], b[0]))
            height = ew.relu(ew.minimum(a[3], b[3]) - ew.maximum(a[1], b[1]))
            shared = width * height
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
            return ew.select(ew.gt(union, 0), shared / union, 0.0)

        made = without_gradient(inputs, body)
        assert isinstance(made, Node)
        return made


@operator("_contrib_box_decode", inputs="data anchors", hint="box_decode")
class BoxDecode(Operator):
    """Corner boxes from offsets data (B, N, 4) to anchors (1, N, 4)."""

    std0: float = 1.0
    std1: float = 1.0
    std2: float = 1.0
    std3: float = 1.0
    clip: float = -1.0
    format: Literal["center", "corner"] = "center"

    def complete(self, s: Shapes) -> None:
        """Data (B, N, 4) with anchors (1, N, 4) gives the data's shape."""
        data, anchors = s.ins
        if data is None or anchors is None:
            return
        if len(data) != 3 or len(anchors) != 3 or data[2] not in (0, 4) or anchors[2] not in (0, 4):
            raise ShapeError(f"data and anchors must be (batch, boxes, 4), not {data} and {anchors}")
        if is_known(data) and is_known(anchors) and anchors != (1, *data[1:]):
            raise ShapeError(
                f"anchors must be {(1, *data[1:])}: one for every box, the same for the whole batch, not {anchors}"
            )
        s.set_out(0, data)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        def body(data: Node, anchors: Node) -> Node:
            shape = data.shape[:-1]
            x, y, w, h = (_coordinate(anchors, at) for at in range(4))
            if self.format == "corner":
                w, h = w - x, h - y
                x, y = x + w * 0.5, y + h * 0.5
            x, y, w, h = (broadcast(v, shape, (0, 1)) for v in (x, y, w, h))
            stds = (self.std0, self.std1, self.std2, self.std3)
            dx, dy, dw, dh = (_coordinate(data, at) * std for at, std in enumerate(stds))
            if self.clip > 0:
                dw, dh = ew.minimum(dw, self.clip), ew.minimum(dh, self.clip)
            cx, cy = dx * w + x, dy * h + y
            half_w, half_h = ew.exp(dw) * w * 0.5, ew.exp(dh) * h * 0.5
            return _stacked([cx - half_w, cy - half_h, cx + half_w, cy + half_h])

        made = without_gradient(inputs, body)
        assert isinstance(made, Node)
        return made


@operator(
    "_contrib_box_encode",
    inputs="samples matches anchors refs means stds",
    outputs="output0 output1",
    hint="box_encode",
)
class BoxEncode(Operator):
    """Offsets of the matched references to the anchors, and masks, for samples above 0.5; zeros elsewhere."""

    def complete(self, s: Shapes) -> None:
        """Both outputs have the shape of the anchors, (B, N, 4)."""
        samples, matches, anchors, refs = s.ins[:4]
        if samples is None or matches is None or anchors is None or refs is None:
            return
        if [len(samples), len(matches), len(anchors), len(refs)] != [2, 2, 3, 3]:
            raise ShapeError(
                f"samples and matches (B, N), anchors (B, N, 4), refs (B, M, 4) are needed, not {s.ins[:4]}"
            )
        s.set_in(2, (0, 0, 4))
        s.set_in(3, (0, 0, 4))
        s.set_in(4, (4,))
        s.set_in(5, (4,))
        s.set_out(0, anchors)
        s.set_out(1, anchors)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        def body(samples: Node, matches: Node, anchors: Node, refs: Node, means: Node, stds: Node) -> Sequence[Node]:
            at = broadcast(ew.cast(matches, I32), anchors.shape, (0, 1))
            own = gather_along(refs, at, 1)

            def centred(boxes: Node) -> tuple[Node, Node, Node, Node]:
                left, top, right, bottom = _corners(boxes, False)
                return left + (right - left) * 0.5, top + (bottom - top) * 0.5, right - left, bottom - top

            ax, ay, aw, ah = centred(anchors)
            x, y, w, h = centred(own)
            raw = _stacked([(x - ax) / aw, (y - ay) / ah, ew.log(w / aw), ew.log(h / ah)])
            coded = (raw - along(means, raw.shape, 2)) / along(stds, raw.shape, 2)
            used = broadcast(ew.gt(samples, 0.5), raw.shape, (0, 1))
            return [ew.select(used, coded, 0.0), ew.cast(used, raw.dtype)]

        made = without_gradient(inputs, body)
        assert isinstance(made, list)
        return made


# --------------------------------------------------------------------------------------------- suppression


def _nms(data: Array, op: BoxNms) -> tuple[Array, Array]:
    """Kept boxes in order of score, then rows of -1; and for every input row the row it went to, or -1."""
    flat = data.reshape(-1, *data.shape[-2:])
    out, went = np.full_like(flat, -1), np.full(flat.shape[:2], -1, np.int32)
    for n, rows in enumerate(flat):
        kept = _kept(rows, op)
        out[n, : len(kept)] = rows[kept]
        went[n, kept] = np.arange(len(kept))
        if op.in_format != op.out_format:
            places = slice(op.coord_start, op.coord_start + 4)
            a, b, c, d = rows[kept, places].T
            if op.out_format == "center":
                moved = [(a + c) / 2, (b + d) / 2, c - a, d - b]
            else:
                moved = list(extents(rows[kept, places], True))
            out[n, : len(kept), places] = np.stack(moved, -1)
    return out.reshape(data.shape), went.reshape(data.shape[:-1])


def _kept(rows: Array, op: BoxNms) -> Array:
    """The places of the rows that suppression keeps, in order of score."""
    score = rows[:, op.score_index]
    valid = score > np.float32(op.valid_thresh)
    named = op.id_index >= 0
    if named:
        valid &= rows[:, op.id_index] != op.background_id
    able = np.flatnonzero(valid)
    order = able[best_first(score[able], op.topk if op.topk > 0 else None)]
    boxes = rows[order, op.coord_start : op.coord_start + 4]
    corners = extents(boxes, op.in_format == "center")
    width, height = boxes[:, 2:].T if op.in_format == "center" else (corners[2:] - corners[:2])
    areas = np.where((width < 0) | (height < 0), 0, width * height).astype(boxes.dtype)

    def hits(a: Array, b: Array) -> Array:
        shared = overlaps(corners[:, a], corners[:, b], areas[a], areas[b])
        return np.asarray(shared > np.float32(op.overlap_thresh))

    # classes are told apart as whole numbers
    groups = rows[order, op.id_index].astype(np.int64) if named and not op.force_suppress else None
    return np.asarray(order[survivors(len(order), hits, groups)])


@operator("_contrib_box_nms", aliases="_contrib_box_non_maximum_suppression", outputs="output0 output1", hint="box_nms")
class BoxNms(Operator):
    """Greedy suppression: in order of score every box that overlaps a kept one by more than overlap_thresh goes.

    Rows hold a score, four coordinates and maybe a class id; kept ones move to the front, the rest are -1. topk is the
    number of scores that are looked at (-1: all; 0: the data is given back as it is).
    """

    floats_only: ClassVar[bool] = True
    ignores_add: ClassVar[bool] = True

    overlap_thresh: float = 0.5
    valid_thresh: float = 0.0
    topk: int = -1
    coord_start: int = 2
    score_index: int = 1
    id_index: int = -1
    background_id: int = -1
    force_suppress: bool = False
    in_format: Literal["center", "corner"] = "corner"
    out_format: Literal["center", "corner"] = "corner"

    def num_visible_outputs(self) -> int:
        return 1

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape (..., N, width), the record of positions (..., N)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 2:
            raise ShapeError(f"data must have at least 2 axes (boxes, entries), not {data}")
        if is_known(data):
            self._check_entries(data[-1])
            s.set_out(0, data)
            s.set_out(1, data[:-1])

    def _check_entries(self, width: int) -> None:
        """ShapeError where rows of so many entries have no place for all that is looked at, or the same place twice."""
        named = [self.id_index] if self.id_index >= 0 else []
        places = [*range(self.coord_start, self.coord_start + 4), self.score_index, *named]
        if not all(0 <= at < width for at in places) or len(set(places)) < len(places):
            raise ShapeError(
                f"coord_start={self.coord_start} (4 entries), score_index={self.score_index} and "
                f"id_index={self.id_index} must be different entries of a row, and it has {width}"
            )

    def complete_types(self, t: Types) -> None:
        t.all_alike((0,), (0,))
        t.set_out(1, np.int32)

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        if self.topk == 0:
            # as in MXNet, where nothing is looked at then
            shape = inputs[0].shape[:-1]
            return [inputs[0], iota(TensorType(I32, shape), len(shape) - 1)]
        name = host_of("box_nms", self, _nms)

        def body(x: Node) -> Sequence[Node]:
            made = host_call(name, [x], [x.tensor, TensorType(I32, x.shape[:-1])])
            assert isinstance(made, list)
            return made

        def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
            shape = ins[0].shape
            went = broadcast(outs[1], shape, tuple(range(len(shape) - 1)))
            moved = gather_along(cts[0], ew.maximum(went, 0), len(shape) - 2)
            return [ew.select(ew.ge(went, 0), moved, 0.0)]

        made = custom_grad(inputs, body, rule)
        assert isinstance(made, list)
        return made


def host_of(stem: str, op: Operator, function: Callable[..., Array | tuple[Array, ...]]) -> str:
    """Register `function` with the operator's attributes as a host function; its name."""
    values = "|".join(f"{k}={v}" for k, v in sorted(vars(op).items()))
    name = f"{stem}|{values}"
    register_host(name, functools.partial(function, op=op))
    return name


def _match(data: Array, op: BipartiteMatching) -> tuple[Array, Array]:
    flat = data.reshape(-1, *data.shape[-2:])
    rows, columns = np.full(flat.shape[:2], -1.0), np.full((flat.shape[0], flat.shape[2]), -1.0)
    for n, scores in enumerate(flat):
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
        least = np.float32(op.threshold)
        # MXNet counts the pairs after it made one too many
        most = op.topk + 1 if op.topk > 0 else None
        for i, j in greedy_pairs(-scores, -least, most) if op.is_ascend else greedy_pairs(scores, least, most):
            rows[n, i], columns[n, j] = j, i
    return rows.reshape(data.shape[:-1]), columns.reshape(*data.shape[:-2], data.shape[-1])


@operator("_contrib_bipartite_matching", outputs="output0 output1", hint="bipartite_matching")
class BipartiteMatching(Operator):
    """Greedy matching by score: for every row its column or -1, and for every column its row.

    Scores must be above threshold (below it with is_ascend). As in MXNet topk > 0 stops after topk + 1 pairs.
    """

    floats_only: ClassVar[bool] = True
    ignores_add: ClassVar[bool] = True

    is_ascend: bool = False
    threshold: float
    topk: int = -1

    def complete(self, s: Shapes) -> None:
        """(..., N, M) gives (..., N) and (..., M)."""
        data = s.ins[0]
        if data is None:
            return
        if len(data) < 2:
            raise ShapeError(f"data must have at least 2 axes, not {data}")
        s.set_out(0, data[:-1])
        s.set_out(1, (*data[:-2], data[-1]))

    def build(self, ctx: BuildContext, *inputs: Node) -> Sequence[Node]:
        name = host_of("bipartite_matching", self, _match)

        def body(x: Node) -> Sequence[Node]:
            shapes = [x.shape[:-1], (*x.shape[:-2], x.shape[-1])]
            made = host_call(name, [x], [x.tensor.with_shape(shape) for shape in shapes])
            assert isinstance(made, list)
            return made

        made = without_gradient(inputs, body)
        assert isinstance(made, list)
        return made
