"""Protects correlation, deformable layers, proposals, masks, closeness, marked events, transforms and sketches."""

from __future__ import annotations

import numpy as np
import pytest
from operating import check_numerically, forward, gradients, infer, infer_types

import symc as mx
from symc.ops.base import MXNetError, ShapeError

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.normal(size=shape)


IMAGE = normal(1, 4, 5, 4)
ROIS = np.array([[0, 0.4, 0.7, 3.2, 3.6], [1, 1.5, 1, 5, 4]])
KERNEL = dict(kernel=(2, 3), stride=(2, 1), pad=(1, 1), num_filter=2, num_group=2, num_deformable_group=2)
OFFSET = RNG.uniform(0.1, 0.9, (1, 24, 3, 4)) + RNG.integers(-2, 2, (1, 24, 3, 4))
WEIGHT, BIAS = normal(2, 2, 2, 3), normal(2)
POOLED = dict(spatial_scale=0.7, output_dim=2, group_size=2, pooled_size=2)
EVENTS = [
    RNG.uniform(0.5, 1, (2, 3)), RNG.uniform(0.1, 0.4, 3), RNG.uniform(0.5, 1.5, 3), RNG.uniform(0.1, 1, (2, 3)),
    RNG.uniform(0.1, 1, (2, 4)), RNG.integers(0, 3, (2, 4)).astype(np.int32), np.array([4.0, 2.0]), np.full(2, 5.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arrays", "wrt", "attrs"),
    [
        ("Correlation", [normal(1, 2, 5, 6), normal(1, 2, 5, 6)], [0, 1], dict(kernel_size=3, pad_size=2)),
        (
            "Correlation", [normal(1, 2, 6, 5), normal(1, 2, 6, 5)], [0, 1],
            dict(max_displacement=3, stride1=2, stride2=2, pad_size=3, is_multiply=False),
        ),
        ("_contrib_DeformableConvolution", [IMAGE, OFFSET, WEIGHT, BIAS], [0, 1, 2, 3], KERNEL),
        (
            "_contrib_ModulatedDeformableConvolution",
            [IMAGE, OFFSET, RNG.uniform(0, 1, (1, 12, 3, 4)), WEIGHT], [0, 1, 2, 3], KERNEL | dict(no_bias=True),
        ),
        ("_contrib_PSROIPooling", [normal(2, 8, 5, 6), ROIS], [0], POOLED),
        ("_contrib_DeformablePSROIPooling", [normal(2, 8, 5, 6), ROIS], [0], POOLED | dict(no_trans=True)),
        (
            "_contrib_DeformablePSROIPooling", [normal(2, 8, 5, 6), ROIS, normal(2, 4, 2, 2)], [0, 2],
            POOLED | dict(sample_per_part=2, trans_std=0.1),
        ),
        ("_contrib_fft", [normal(2, 34)], [0], {}),
        ("_contrib_ifft", [normal(1, 2, 2, 12)], [0], {}),
        ("_contrib_count_sketch", [normal(2, 5), np.array([[1.0, 0, 1, 2, 0]]), np.ones((1, 5))], [0], dict(out_dim=4)),
    ],
)  # fmt: skip
def test_gradients(name, arrays, wrt, attrs):
    check_numerically(name, *arrays, wrt=wrt, **attrs)


def test_correlation_by_its_definition():
    a, b = normal(1, 3, 4, 5), normal(1, 3, 4, 5)
    made = forward("Correlation", a, b, max_displacement=1, pad_size=1)
    padded = np.pad(b, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for at in range(9):
        y, x = divmod(at, 3)
        assert np.allclose(made[0, at], (a * padded[:, :, y : y + 4, x : x + 5]).mean(1))
    with pytest.raises(MXNetError, match="odd"):
        forward("Correlation", a, b, kernel_size=2)
    with pytest.raises(ShapeError, match="leave no place"):
        infer("Correlation", (1, 2, 4, 4), (1, 2, 4, 4), max_displacement=3)


def test_no_offsets_are_a_plain_convolution():
    plain = {k: v for k, v in KERNEL.items() if k != "num_deformable_group"}
    expected = forward("Convolution", IMAGE, WEIGHT, BIAS, **plain)
    still, ones = np.zeros((1, 24, 3, 4)), np.ones((1, 12, 3, 4))
    assert np.allclose(forward("_contrib_DeformableConvolution", IMAGE, still, WEIGHT, BIAS, **KERNEL), expected)
    name = "_contrib_ModulatedDeformableConvolution"
    assert np.allclose(forward(name, IMAGE, still, ones, WEIGHT, BIAS, **KERNEL), expected)
    assert infer("_contrib_DeformableConvolution", (1, 4, 5, 4), None, None, None, **KERNEL)[0][1] == (1, 24, 3, 4)


def test_position_sensitive_cells_read_their_own_channels():
    data = np.broadcast_to(np.arange(8.0)[None, :, None, None], (1, 8, 6, 6))
    made = forward("_contrib_PSROIPooling", data, np.array([[0.0, 0, 0, 5, 5]]), **POOLED)
    assert np.allclose(made[0], np.arange(8.0).reshape(2, 2, 2))
    with pytest.raises(ShapeError, match="channels"):
        infer("_contrib_PSROIPooling", (1, 7, 6, 6), (1, 5), **POOLED)
    # channels that no cell reads change nothing, as in MXNet
    more = np.concatenate([data, data], 1)
    assert (forward("_contrib_PSROIPooling", more, np.array([[0.0, 0, 0, 5, 5]]), **POOLED) == made).all()


def test_rotated_regions():
    data = np.broadcast_to(np.arange(8.0)[None, None, None, :], (1, 1, 8, 8))
    rois = np.array([[0.0, 4, 4, 4, 2, 0], [0, 4, 4, 4, 2, 180], [0, 4, 4, 4, 2, 90]])
    made = forward("_contrib_RROIAlign", data, rois, pooled_size=(1, 2), spatial_scale=1.0)
    assert np.allclose(made[:, 0, 0], [[3, 5], [5, 3], [4, 4]])


def test_closeness():
    def close(a, b, **attrs):
        made = forward("_contrib_allclose", np.array(a), np.array(b), **attrs)
        assert made.shape == () and made.dtype == np.uint8
        return bool(made)

    assert close([1.0, np.nan], [1.0, np.nan]) and not close([1.0, np.nan], [1.0, np.nan], equal_nan=False)
    assert close([np.inf], [np.inf]) and close([1.0], [np.inf]) and not close([np.inf], [1.0])
    assert close([1.0], [1.05], rtol=0.1) and not close([1.0], [1.05])


def test_masks_of_constants():
    data = mx.sym.Variable("data")
    chosen = mx.sym.contrib.boolean_mask(data, mx.sym.arange(4) > 1)
    assert chosen.infer_shape_partial(data=(4, 2))[1] == [()]
    x, g = mx.nd.array(np.arange(8.0).reshape(4, 2)), mx.nd.zeros((4, 2))
    bound = chosen.bind(mx.cpu(), {"data": x}, {"data": g})
    assert (bound.forward(is_train=True)[0].asnumpy() == [[4, 5], [6, 7]]).all()
    bound.backward(mx.nd.ones((2, 2)))
    assert g.asnumpy().sum(1).tolist() == [0, 0, 2, 2]
    with pytest.raises(ShapeError, match="entries"):
        infer("_contrib_boolean_mask", (4, 2), (3,))
    with pytest.raises(MXNetError, match="axis"):
        forward("_contrib_boolean_mask", np.ones((2, 2)), np.ones(2), axis=1)


def _likelihood(rates, alpha, beta, state, lags, marks, length, end):
    """Of one row, by the definition."""
    time, total, state, last = 0.0, 0.0, state.copy(), np.zeros(3)
    for lag, k in zip(lags[: int(length)], marks):
        time += lag
        gap = time - last[k]
        fade = np.exp(-beta[k] * gap)
        total += np.log(rates[k] + alpha[k] * beta[k] * state[k] * fade)
        total -= rates[k] * gap + alpha[k] * state[k] * (1 - fade)
        state[k], last[k] = 1 + state[k] * fade, time
    fade = np.exp(-beta * (end - last))
    return total - (rates * (end - last) + alpha * state * (1 - fade)).sum(), fade * state


def test_likelihood_of_events():
    made, states = forward("_contrib_hawkesll", *EVENTS)
    rates, alpha, beta, *rows = EVENTS
    for n in range(2):
        expected, state = _likelihood(rates[n], alpha, beta, *(r[n] for r in rows))
        assert np.isclose(made[n], expected) and np.allclose(states[n], state)
    delta, found = 1e-6, gradients("_contrib_hawkesll", *EVENTS)
    for at in range(3):
        for place in np.ndindex(EVENTS[at].shape):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in EVENTS]
                moved[at][place] += sign * delta
                sides.append(forward("_contrib_hawkesll", *moved)[0].sum())
            assert np.isclose(found[at][place], (sides[0] - sides[1]) / (2 * delta), atol=1e-6)
    assert not found[3].any()
    assert infer_types("_contrib_hawkesll", np.float64, *[None] * 7)[0][5] == np.int32


@pytest.mark.parametrize("size", [1, 7, 16, 34, 60, 128])
def test_transforms(size):
    x = normal(3, size)
    made = forward("_contrib_fft", x)
    expected = np.fft.fft(x)
    assert np.allclose(made, np.stack([expected.real, expected.imag], -1).reshape(3, 2 * size))
    assert np.allclose(forward("_contrib_ifft", made), size * x)


def test_sketches_add_up_with_signs():
    data, places, signs = normal(2, 4), np.array([[2.0, 0, 2, 1]]), np.array([[1.0, -1, -1, 1]])
    made = forward("_contrib_count_sketch", data, places, signs, out_dim=3)
    assert np.allclose(made, np.stack([-data[:, 1], data[:, 3], data[:, 0] - data[:, 2]], 1))
