"""Protects ImageDetRecordIter where it is random: boxes stay on what they frame, and follow the seed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from golden.data.scenarios import png

import symc as mx
from symc.pixels.boxes import BoxDistortion, parse_boxes

RED, BLUE = (250, 10, 10), (10, 10, 250)


@pytest.fixture
def records(tmp_path):
    """Six gray pictures with a red and a blue rectangle each, framed by boxes of classes 0 and 1."""
    pytest.importorskip("PIL")
    path = str(tmp_path / "boxes.rec")
    writer = mx.recordio.MXRecordIO(path, "w")
    for number in range(6):
        pixels = np.full((60, 80 + number, 3), 120, np.uint8)
        boxes = []
        for kind, (color, left, top) in enumerate(((RED, 4 + 2 * number, 6), (BLUE, 44, 24 + number))):
            pixels[top : top + 24, left : left + 28] = color
            boxes.append([kind, left / (80 + number), top / 60, (left + 28) / (80 + number), (top + 24) / 60])
        label = np.array([2, 5, *np.ravel(boxes)], np.float32)
        writer.write(mx.recordio.pack((0, label, number, 0), png(pixels)))
    writer.close()
    return path


def iterate(path, **given):
    return mx.io.ImageDetRecordIter(path_imgrec=path, data_shape=(3, 64, 64), batch_size=3, **given)


CHANGES = [
    {"rand_mirror_prob": 0.5},
    {"rand_pad_prob": 0.8, "max_pad_scale": 2.0},
    {"rand_crop_prob": 1, "min_crop_scales": 0.5, "min_crop_object_coverages": 0.9},
    {"rand_crop_prob": 1, "min_crop_scales": (0.6, 0.3), "max_crop_scales": (1.0, 0.9), "num_crop_sampler": 2,
     "min_crop_aspect_ratios": 0.7, "max_crop_aspect_ratios": 1.4, "min_crop_overlaps": (0.1, 0.3),
     "crop_emit_mode": "overlap", "emit_overlap_thresh": 0.5},
    {"rand_crop_prob": 0.5, "rand_pad_prob": 0.5, "max_pad_scale": 1.5, "rand_mirror_prob": 0.5, "inter_method": 10},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_boxes_stay_on_what_they_frame(records, change):
    kept, turned = 0, 0
    images = iterate(records, seed=3, **change)
    for _ in range(4):
        for batch in images:
            for picture, label in zip(batch.data[0].asnumpy(), batch.label[0].asnumpy()):
                assert label[:3].tolist() == [3, 64, 64] and label[3] in (7, 12)
                for kind, left, top, right, bottom in label[6 : 4 + int(label[3])].reshape(-1, 5):
                    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
                    middle = picture[:, int(32 * (top + bottom)), int(32 * (left + right))]
                    np.testing.assert_allclose(middle, (RED, BLUE)[int(kind)], atol=3)
                    kept += 1
                turned += abs(label[7] - 0.05) > 0.15
        images.reset()
    assert kept > 20 and turned


@pytest.mark.parametrize("change", [*CHANGES, {"max_random_hue": 20, "random_hue_prob": 1, "max_random_contrast": 0.4,
                                               "random_contrast_prob": 1}])  # fmt: skip
def test_random_changes_follow_the_seed(records, change):
    def labels_and_pictures(seed):
        batches = list(iterate(records, seed=seed, **change))
        return [batch.label[0].asnumpy() for batch in batches], [batch.data[0].asnumpy() for batch in batches]

    first, same, other = (labels_and_pictures(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], same[0])
    np.testing.assert_array_equal(first[1], same[1])
    assert not np.array_equal(first[1], other[1])


def test_a_crop_without_a_box_is_none():
    """Whatever a sampler draws: the picture stays whole if no crop fulfils what it asks."""
    pixels = np.full((20, 20, 3), 9, np.uint8)
    boxes = np.array([[0, 0.0, 0.0, 0.05, 0.05]], np.float32)
    never = BoxDistortion(rand_crop_prob=1, min_crop_overlaps=0.9)
    made, kept = never(pixels, boxes, 20, 20, random.Random(1))
    assert made.shape == (20, 20, 3) and kept.tolist() == boxes.tolist()


@pytest.mark.parametrize("labels", [[3.0], [1, 5, 0, 0, 0, 1, 1], [2, 4, 0, 0, 0, 1, 1], [2, 5, 0, 0, 0, 1, 1, 9]])
def test_labels_that_are_no_boxes_are_refused(labels):
    with pytest.raises(mx.MXNetError, match=r"in\.rec: .*boxes"):
        parse_boxes(np.array(labels, np.float32), "in.rec")


def test_a_mirror_that_would_leave_the_boxes_is_refused(records):
    with pytest.raises(mx.MXNetError, match="rand_mirror_prob"):
        iterate(records, rand_mirror=True)
