"""Protects what mx.nd.image has for augmentation, beside answers of MXNet 1.9.1."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.ops.base import ShapeError

X = np.array([[[140, 182, 154], [139, 108, 165]], [[112, 227, 246], [98, 202, 135]]], np.float32)
#: by operator and attributes, for X and for X in uint8 (MXNet 1.9.1, but for saturation)
ANSWERS = {
    ("random_brightness", (("min_factor", 1.5), ("max_factor", 1.5))): [210, 273, 231, 208.5, 162, 247.5],
    ("adjust_lighting", (("alpha", (0.1, -0.2, 0.3)),)): [
        136.30115,
        178.50285,
        151.57428,
        135.30115,
        104.50285,
        162.57428,
    ],
}


@pytest.mark.parametrize("name, attributes", ANSWERS)
def test_recorded_answers(name, attributes):
    answer = np.array(ANSWERS[name, attributes])
    for dtype in ("float32", "uint8"):
        made = getattr(mx.nd.image, name)(mx.nd.array(X, dtype=dtype), **dict(attributes))
        assert made.dtype == np.dtype(dtype)
        wanted = answer if dtype == "float32" else np.clip(np.floor(answer), 0, 255)
        np.testing.assert_allclose(made.asnumpy().reshape(-1)[:6], wanted, rtol=1e-5)


def test_contrast_saturation_and_hue():
    gray = (X * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)
    image, fixed = mx.nd.array(X), {"min_factor": 1.5, "max_factor": 1.5}
    found = mx.nd.image.random_contrast(image, **fixed).asnumpy()
    np.testing.assert_allclose(found, 1.5 * X - 0.5 * gray.mean(), rtol=1e-5)
    found = mx.nd.image.random_saturation(image, **fixed).asnumpy()
    np.testing.assert_allclose(found, 1.5 * X - 0.5 * gray, rtol=1e-5)
    whole = mx.nd.image.random_hue(image, min_factor=1, max_factor=1).asnumpy()
    np.testing.assert_allclose(whole, X, rtol=1e-5)
    third = mx.nd.image.random_hue(image, min_factor=1 / 3, max_factor=1 / 3).asnumpy()
    np.testing.assert_allclose(third, X[..., [2, 0, 1]], rtol=1e-4)
    one = mx.nd.array(X[..., :1])
    for name in ("hue", "saturation"):
        assert (getattr(mx.nd.image, f"random_{name}")(one, **fixed).asnumpy() == X[..., :1]).all()


def test_draws_differ_and_follow_the_seed():
    image = mx.nd.array(X)
    for name, facts in {
        "random_brightness": {"min_factor": 0.5, "max_factor": 1.5},
        "random_lighting": {},
        "random_flip_left_right": {},
        "random_flip_top_bottom": {},
        "random_color_jitter": dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.4),
    }.items():
        call, runs = getattr(mx.nd.image, name), []
        for _ in range(2):
            mx.random.seed(7)
            runs.append([call(image, **facts).asnumpy() for _ in range(12)])
        assert all((a == b).all() for a, b in zip(*runs))
        kinds = {made.tobytes() for made in runs[0]}
        assert len(kinds) == (2 if "flip" in name else 12)
    none = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0)
    assert (mx.nd.image.random_color_jitter(image, **none).asnumpy() == X).all()


def test_they_are_symbols_too_and_their_gradient_is_the_head():
    net = mx.sym.image.random_brightness(mx.sym.Variable("x"), min_factor=2, max_factor=2)
    exe = net.simple_bind(mx.cpu(), x=X.shape)
    np.testing.assert_allclose(exe.forward(True, x=mx.nd.array(X))[0].asnumpy(), 2 * X, rtol=1e-6)
    exe.backward(mx.nd.array(X))
    assert (exe.grad_dict["x"].asnumpy() == X).all()


def test_resize():
    image = mx.nd.array(X)
    np.testing.assert_allclose(
        mx.nd.image.resize(image, size=(3, 2)).asnumpy()[0], [[140, 182, 154], [139.5, 145, 159.5], [139, 108, 165]]
    )
    assert mx.nd.image.resize(image, size=4, interp=0).asnumpy()[::2, ::2].tolist() == X.tolist()
    wide = mx.nd.zeros((2, 10, 20, 3), dtype="uint8")
    for attributes, shape in (
        ({"size": 5}, (5, 5)),
        ({"size": 5, "keep_ratio": True}, (5, 10)),
        ({"size": (4, 3)}, (3, 4)),
    ):
        made = mx.nd.image.resize(wide, **attributes)
        assert made.shape == (2, *shape, 3) and made.dtype == np.uint8
    assert mx.sym.image.resize(mx.sym.Variable("x"), size=7).infer_shape(x=(20, 10, 3))[1] == [(7, 7, 3)]


def test_refusals():
    image = mx.nd.array(X)
    for call in (
        lambda: mx.nd.image.random_hue(image, min_factor=-1, max_factor=1),
        lambda: mx.nd.image.adjust_lighting(image, alpha=(1, 2)),
        lambda: mx.nd.image.resize(image),
        lambda: mx.nd.image.resize(image, size=0),
    ):
        with pytest.raises(mx.MXNetError):
            call()
    with pytest.raises((ShapeError, mx.MXNetError), match="one image"):
        mx.nd.image.random_brightness(mx.nd.array(X[None]), min_factor=1, max_factor=2)
