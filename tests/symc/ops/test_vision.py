"""Protects resampling, region pooling, boxes, images and interleaved attention."""

from __future__ import annotations

import numpy as np
import pytest
from operating import Built, check_numerically, forward, gradients, infer

from symc.ops.base import ShapeError

RNG = np.random.default_rng(4)
IMAGE = RNG.normal(size=(2, 3, 6, 5))
THETA = np.array([[0.8, 0.1, 0.05, -0.1, 0.7, 0.02], [0.873, -0.217, 0.131, 0.123, 0.617, -0.119]])
DEEP = RNG.normal(size=(2, 8, 6, 5))
KV = RNG.normal(size=(4, 1, 6))
AFFINE = dict(transform_type="affine", sampler_type="bilinear")
CELLS = dict(pooled_size=(2, 2), spatial_scale=1.0)
ROIS = np.array([[0, 0.3, 0.4, 3.9, 4.2], [1, 1.1, 0.2, 4.4, 5.1]])


@pytest.mark.parametrize(
    ("name", "arrays", "wrt", "attrs"),
    [
        ("_contrib_AdaptiveAvgPooling2D", [IMAGE], [0], dict(output_size=(4, 2))),
        ("_contrib_BilinearResize2D", [IMAGE[:1]], [0], dict(height=4, width=7)),
        ("_contrib_BilinearResize2D", [IMAGE[:1]], [0], dict(height=4, width=7, align_corners=False)),
        ("SpatialTransformer", [IMAGE, THETA], [0, 1], AFFINE | dict(target_shape=(3, 4))),
        ("BilinearSampler", [IMAGE, RNG.uniform(-1.2, 1.2, (2, 2, 3, 3))], [0, 1], {}),
        ("GridGenerator", [THETA], [0], dict(transform_type="affine", target_shape=(2, 3))),
        ("GridGenerator", [RNG.normal(size=(1, 2, 3, 4))], [0], dict(transform_type="warp")),
        ("_contrib_ROIAlign", [IMAGE, ROIS], [0], dict(pooled_size=(2, 2), spatial_scale=1.0, sample_ratio=2)),
        ("_contrib_ROIAlign", [DEEP, ROIS], [0], CELLS | dict(position_sensitive=True)),
        ("ROIPooling", [IMAGE, ROIS], [0], dict(pooled_size=(2, 3), spatial_scale=1.0)),
        ("_contrib_interleaved_matmul_selfatt_qk", [RNG.normal(size=(3, 2, 12))], [0], dict(heads=2)),
        ("_contrib_interleaved_matmul_encdec_valatt", [KV, np.ones((1, 2, 4))], [0, 1], dict(heads=1)),
        ("_image_normalize", [RNG.normal(size=(3, 2, 2))], [0], dict(mean=(0.1, 0.2, 0.3), std=(0.5,))),
    ],
)  # fmt: skip
def test_gradients(name, arrays, wrt, attrs):
    check_numerically(name, *arrays, wrt=wrt, **attrs)


def test_the_identity_grid_gives_the_image_back():
    theta = np.array([[1.0, 0, 0, 0, 1, 0]] * 2)
    made = forward("SpatialTransformer", IMAGE, theta, target_shape=(6, 5), **AFFINE)
    assert np.allclose(made, IMAGE)


def test_roi_pooling_gives_its_gradient_to_the_first_of_equal_values() -> None:
    """Recorded from MXNet: cells overlap in the middle row and column."""
    image = np.ones((1, 1, 5, 5))
    found = gradients("ROIPooling", image, np.array([[0.0, 0, 0, 4, 4]]), pooled_size=(2, 2), spatial_scale=1.0)[0]
    expected = np.zeros((5, 5))
    expected[[0, 0, 2, 2], [0, 2, 0, 2]] = 1
    np.testing.assert_array_equal(found[0, 0], expected)


def test_region_maxima():
    made = forward("ROIPooling", IMAGE, np.array([[1.0, 0, 0, 3, 3]]), pooled_size=(2, 2), spatial_scale=1.0)
    assert np.allclose(made[0], IMAGE[1, :, :4, :4].reshape(3, 2, 2, 2, 2).max((2, 4)))


def test_overlap_and_offsets():
    a, b = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [5, 5, 6, 6]])
    assert np.allclose(forward("_contrib_box_iou", a, b), [[1 / 7, 0]])
    anchors = np.array([[[0.5, 0.5, 0.2, 0.4]]])
    assert np.allclose(forward("_contrib_box_decode", np.zeros((1, 1, 4)), anchors), [[[0.4, 0.3, 0.6, 0.7]]])


def test_images():
    picture = RNG.integers(0, 255, (4, 5, 3)).astype(np.uint8)
    assert np.allclose(forward("_image_to_tensor", picture), picture.transpose(2, 0, 1) / 255)
    assert (forward("_image_crop", picture, x=1, y=2, width=3, height=2) == picture[2:4, 1:4]).all()
    assert (forward("_image_flip_left_right", picture) == picture[:, ::-1]).all()
    with pytest.raises(ShapeError, match="exceeds"):
        infer("_image_crop", (4, 5, 3), x=3, y=2, width=3, height=2)


def test_images_of_whole_numbers_are_normalised_in_floats():
    data = (np.arange(12).reshape(3, 2, 2) * 20).astype(np.uint8)
    made = forward("_image_normalize", data, mean=(0.5, 10, 100), std=(2, 0.4, -3))
    assert made.ravel().tolist() == [0, 9, 19, 29, 175, 225, 19, 69, 236, 230, 223, 216]


def test_gradient_of_to_tensor_is_the_head_in_its_order():
    head = np.arange(6.0).reshape(3, 1, 2)
    assert Built("_image_to_tensor", [np.ones((1, 2, 3), np.float32)]).backward(head)[0].ravel().tolist() == [*range(6)]


@pytest.mark.parametrize("align_corners", [True, False])
def test_resizing_to_one_cell_takes_the_first(align_corners):
    data = np.arange(15.0).reshape(1, 1, 5, 3)
    made = forward("_contrib_BilinearResize2D", data, height=1, width=1, align_corners=align_corners)
    assert made.item() == 0.0
