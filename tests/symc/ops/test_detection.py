"""Protects detection: boxes, suppression, matching, SSD's priors, targets and detections, and proposals give what
MXNet 1.9.1 gives (a golden file), and hold no overlaps of all pairs at SSD's size."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from loading import GOLDEN, module_at
from operating import forward, gradients, infer, infer_types

import symc as mx
from symc.ops.base import MXNetError, ShapeError
from symc.ops.vision import suppression

FOLDER = GOLDEN / "detection"
scenarios = module_at(FOLDER / "scenarios.py")
ANSWERS = dict(np.load(FOLDER / "answers.npz"))
RNG = np.random.default_rng(8)
RPN = dict(scales=(1, 2), ratios=(1,), feature_stride=4, rpn_min_size=1, rpn_pre_nms_top_n=9, threshold=0.5)


def single(*shape, low=0.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def boxes(*shape):
    low = single(*shape, 2, high=0.8)
    return np.concatenate([low, low + single(*shape, 2, low=0.02, high=0.3)], -1)


@pytest.mark.parametrize("op", [make.__name__ for make in scenarios.OPERATORS])
def test_same_as_mxnet(op):
    for name, of, inputs, attrs in scenarios.cases():
        if of == op:
            made = forward(f"_contrib_{op}", *inputs, **attrs)
            for at, out in enumerate(made if isinstance(made, list) else [made]):
                np.testing.assert_allclose(
                    out, ANSWERS[f"{name}/{at}"], rtol=1e-5, atol=1e-5, err_msg=f"{name} {attrs}"
                )


def test_one_step_alone_is_none():
    made = forward("_contrib_MultiBoxPrior", single(1, 1, 1, 2), steps=(0.0, 0.5))
    assert made[0, 0].tolist() == [0, 0, 0.5, 1]


def test_compiled_detections():
    name, _, inputs, attrs = next(c for c in scenarios.cases() if c[0] == "MultiBoxDetection/3")
    made = mx.nd.contrib.MultiBoxDetection(*map(mx.nd.array, inputs), **attrs)
    np.testing.assert_allclose(made.asnumpy(), ANSWERS[f"{name}/0"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [None, RNG.integers(0, 3, 3000)])
def test_survivors_are_those_of_the_definition(groups):
    rows = boxes(3000)
    corners = suppression.extents(rows, False)
    areas = (corners[2] - corners[0]) * (corners[3] - corners[1])

    def hits(a, b):
        return suppression.overlaps(corners[:, a], corners[:, b], areas[a], areas[b]) > 0.3

    everything = np.arange(len(rows))
    near, kept = hits(everything, everything), []
    if groups is not None:
        near &= groups[:, None] == groups
    for at in everything:
        if not near[kept, at].any():
            kept.append(at)
    assert 100 < len(kept) < 2900
    assert suppression.survivors(len(rows), hits, groups).tolist() == kept
    assert suppression.survivors(len(rows), hits, groups, most=70).tolist() == kept[:70]


def test_the_best_are_first_and_equal_ones_in_order():
    scores = np.round(single(500), 2)
    for most in (None, 1, 40, 500, 900):
        assert suppression.best_first(scores, most).tolist() == sorted(range(500), key=lambda i: -scores[i])[:most]


def test_no_overlaps_of_all_pairs():
    count, classes = 8732, 5
    anchors, scores = boxes(1, count), single(1, classes, count)
    label = np.concatenate([np.zeros((1, 20, 1), np.float32), boxes(1, 20)], -1)
    rows = np.concatenate([np.zeros((count, 1), np.float32), single(count, 1), anchors[0]], -1)
    tracemalloc.start()
    try:
        forward("_contrib_MultiBoxDetection", scores, np.zeros((1, 4 * count), np.float32), anchors)
        forward("_contrib_MultiBoxTarget", anchors, label, scores, negative_mining_ratio=3)
        forward("_contrib_box_nms", rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count * count  # a byte a pair would be more


def test_the_gradient_of_suppression_goes_to_the_kept_rows():
    rows = np.array([[0, 0.5, 0, 0, 1, 1], [0, 0.9, 0, 0, 1, 0.9], [1, 0.4, 0, 0, 1, 1], [0, 0.0, 2, 2, 3, 3]])
    made = forward("_contrib_box_nms", rows, id_index=0, overlap_thresh=0.5)
    assert np.allclose(made, [rows[1], rows[2], [-1] * 6, [-1] * 6])
    (dx,) = gradients("_contrib_box_nms", rows, id_index=0, overlap_thresh=0.5)
    assert dx.sum(1).tolist() == [0, 6, 6, 0]
    (dx,) = gradients("_contrib_box_nms", rows, topk=0)
    assert dx.sum(1).tolist() == [6, 6, 6, 6]


def test_offsets():
    anchors = np.array([[[0.5, 0.5, 0.2, 0.4]]])
    assert np.allclose(forward("_contrib_box_decode", np.zeros((1, 1, 4)), anchors), [[[0.4, 0.3, 0.6, 0.7]]])
    assert infer("_contrib_box_encode", (2, 3), (2, 3), (2, 3, 4), (2, 5, 4), None, None)[0][4:] == [(4,), (4,)]


def test_proposals_are_sorted_suppressed_and_repeated():
    scores = (RNG.permutation(2 * 4 * 9).reshape(2, 4, 3, 3) / 72).astype(np.float32)
    moves, info = np.zeros((2, 8, 3, 3), np.float32), np.array([[12, 12, 1], [12, 12, 1]], np.float32)
    rois, marks = forward(
        "_contrib_MultiProposal", scores, moves, info, rpn_post_nms_top_n=12, output_score=True, **RPN
    )
    assert rois[:, 0].tolist() == [0] * 12 + [1] * 12
    assert marks[0, 0] == scores[0, 2:].max() and marks[12, 0] == scores[1, 2:].max()
    assert rois[:, 1:].min() >= 0 and rois[:, 1:].max() <= 11
    alone = forward("_contrib_Proposal", scores[1:], moves[1:], info[1:], rpn_post_nms_top_n=12, **RPN)
    assert np.allclose(alone[:, 1:], rois[12:, 1:])
    with pytest.raises(ShapeError, match="one image"):
        forward("_contrib_Proposal", scores, moves, info, **RPN)
    with pytest.raises(MXNetError, match="pixels"):
        forward("_contrib_Proposal", scores[1:], moves[1:], info[1:] * 2, **RPN)


def test_region_maxima_where_cells_divide_evenly():
    # 21 / 7 is 3 exactly; 21 times a rounded 1 / 7 is more, and makes every cell one pixel longer
    data = np.arange(24 * 24, dtype=np.float32).reshape(1, 1, 24, 24)
    rois = np.array([[0, 0, 0, 20, 20]], np.float32)
    made = forward("ROIPooling", data, rois, pooled_size=(7, 7), spatial_scale=1.0)
    assert (made[0, 0] == data[0, 0, 2:21:3, 2:21:3]).all()


@pytest.mark.parametrize(
    ("name", "shapes", "attrs"),
    [
        ("box_nms", [(6,)], {}),
        ("box_nms", [(3, 5)], {}),
        ("box_nms", [(3, 7)], dict(score_index=3)),
        ("box_nms", [(3, 7)], dict(score_index=-1)),
        ("box_nms", [(3, 7)], dict(id_index=1)),
        ("box_iou", [(4,), (2, 4)], {}),
        ("box_decode", [(2, 3, 4), (2, 3, 4)], {}),
        ("box_encode", [(3,), (3,), (3, 4), (5, 4), None, None], {}),
        ("box_encode", [(2, 3), (2, 3), (2, 3, 5), (2, 5, 4), None, None], {}),
        ("MultiBoxTarget", [(2, 6, 4), (1, 3, 5), (1, 3, 6)], {}),
        ("MultiBoxTarget", [(1, 6, 4), (1, 3, 4), (1, 3, 6)], {}),
        ("MultiBoxTarget", [(1, 6, 4), (1, 3, 5), (1, 3, 7)], {}),
        ("MultiBoxDetection", [(1, 3, 6), (1, 25), (1, 6, 4)], {}),
        ("MultiBoxDetection", [(1, 3, 6), (1, 24), (1, 7, 4)], {}),
        ("MultiBoxPrior", [(1, 3, 4, 4)], dict(steps=(-1.0, 0.5))),
        ("MultiBoxPrior", [(1, 3, 4, 4)], dict(offsets=(0.3, 1.5))),
        ("MultiBoxDetection", [None, None, None], dict(variances=(0.1, 0.1))),
        ("MultiBoxTarget", [None, None, None], dict(negative_mining_ratio=3, negative_mining_thresh=0)),
    ],
)  # fmt: skip
def test_refused_as_in_mxnet(name, shapes, attrs):
    with pytest.raises(MXNetError):
        infer(f"_contrib_{name}", *shapes, **attrs)


def test_single_precision_only():
    assert infer_types("_contrib_MultiBoxDetection", None, None, None)[1] == [np.float32]
    with pytest.raises(ShapeError, match="float32 is needed"):
        infer_types("_contrib_MultiBoxPrior", "float64")


def test_labels_end_with_a_row_of_minus_one():
    label = np.array([[[1, 0.1, 0.1, 0.5, 0.5], [-1, 0, 0, 0, 0]]], np.float32)
    with pytest.raises(MXNetError, match="altogether"):
        forward("_contrib_MultiBoxTarget", boxes(1, 2), label, np.zeros((1, 3, 2), np.float32))
