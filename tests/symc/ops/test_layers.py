"""Protects the layers: convolution, pooling, normalisation, activations, softmax, sequences and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from operating import Built, check_numerically, forward, gradients, infer, infer_types, make

import symc as mx
from symc.ops.base import MXNetError, ShapeError

RNG = np.random.default_rng(3)
IMAGE = RNG.normal(size=(2, 4, 6, 5))
GROUPED = dict(kernel=(3, 2), num_filter=6, num_group=2, stride=(2, 1), pad=(1, 2))
TRANSPOSED = dict(kernel=(3, 3), num_filter=2, num_group=2, stride=(2, 2), pad=(1, 1), adj=(1, 0))


def test_fully_connected_folds_or_keeps_the_leading_axes():
    x, w, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(5, 12)), RNG.normal(size=5)
    assert np.allclose(forward("FullyConnected", x, w, b, num_hidden=5), x.reshape(2, 12) @ w.T + b)
    kept = forward("FullyConnected", x, w[:, :4], num_hidden=5, flatten=False, no_bias=True)
    assert np.allclose(kept, x @ w[:, :4].T)
    assert infer("FullyConnected", (0, 3, 4), None, None, num_hidden=5, outs=[(7, 5)])[0] == [(7, 3, 4), (5, 12), (5,)]


@pytest.mark.parametrize(
    ("name", "shapes", "attrs"),
    [
        ("FullyConnected", [(3, 4), (2, 4), (2,)], {"num_hidden": 2}),
        ("Convolution", [(2, 4, 6, 5), (6, 2, 3, 2), (6,)], GROUPED),
        ("Convolution", [(1, 2, 7), (3, 2, 2)], dict(kernel=(2,), num_filter=3, dilate=(3,), no_bias=True)),
        ("Deconvolution", [(1, 4, 3, 3), (4, 1, 3, 3)], TRANSPOSED),
        ("UpSampling", [(1, 2, 3, 2), (2, 1, 4, 4)], dict(scale=2, sample_type="bilinear", num_filter=2)),
        ("LRN", [(1, 5, 2, 2)], dict(nsize=3, alpha=0.5)),
        ("L2Normalization", [(2, 3, 4)], dict(mode="channel")),
        ("LayerNorm", [(2, 3, 4), (3,), (3,)], dict(axis=1)),
        ("GroupNorm", [(2, 4, 3), (2,), (2,)], dict(num_groups=2)),
        ("softmax", [(2, 3, 4)], dict(axis=1, temperature=2.0)),
        ("log_softmax", [(3, 4)], {}),
        ("softmin", [(3, 4)], {}),
        ("LeakyReLU", [(2, 3, 2), (3,)], dict(act_type="prelu")),
        ("LeakyReLU", [(3, 4)], dict(act_type="gelu")),
        ("LeakyReLU", [(3, 4)], dict(act_type="elu")),
        ("Activation", [(3, 4)], dict(act_type="softsign")),
        ("Pooling", [(1, 2, 5, 6)], dict(kernel=(3, 2), stride=(2, 2), pad=(1, 0), pool_type="avg")),
        ("Pooling", [(1, 2, 5, 6)], dict(kernel=(2, 2), stride=(2, 2), pool_type="lp", p_value=2)),
        ("Pooling", [(1, 5, 6, 2)], dict(kernel=(2, 2), pool_type="max", layout="NHWC")),
        ("im2col", [(1, 2, 5, 4)], dict(kernel=(3, 2), stride=(2, 1), pad=(1, 0))),
        ("col2im", [(1, 8, 12)], dict(kernel=(2, 2), output_size=(5, 4))),
    ],
)  # fmt: skip
def test_gradients(name, shapes, attrs):
    rng = np.random.default_rng(11)
    check_numerically(name, *(rng.normal(size=s) for s in shapes), **attrs)


def test_deconvolution_target_shape_overrides_padding():
    shapes = infer("Deconvolution", (1, 2, 4, 4), None, kernel=(3, 3), stride=(2, 2), target_shape=(8, 7), num_filter=3)
    assert shapes == ([(1, 2, 4, 4), (2, 3, 3, 3)], [(1, 3, 8, 7)])
    with pytest.raises(MXNetError, match="adj"):
        make("Deconvolution", kernel=(3, 3), stride=(2, 2), adj=(2, 0), num_filter=1)


def test_convolution_infers_weights_with_unknown_batch():
    ins, outs = infer("Convolution", (0, 3, 8, 0), None, None, kernel=(3, 3), num_filter=4, stride=(2, 2))
    assert ins[1:] == [(4, 3, 3, 3), (4,)] and outs == [(0, 4, 3, 0)]
    with pytest.raises(ShapeError, match="groups"):
        infer("Convolution", (1, 3, 8, 8), None, kernel=(3, 3), num_filter=4, num_group=2, no_bias=True)


def test_average_pooling_counts_the_window_within_the_padded_extent():
    x = np.ones((1, 1, 5))
    common = dict(kernel=(2,), stride=(2,), pool_type="avg")
    assert forward("Pooling", x, pooling_convention="full", **common).tolist() == [[[1, 1, 1]]]
    assert forward("Pooling", x, pad=(1,), **common).tolist() == [[[0.5, 1, 1]]]
    assert forward("Pooling", x, pad=(1,), count_include_pad=False, **common).tolist() == [[[1, 1, 1]]]


def test_the_average_of_nothing_is_that_of_mxnet():
    """Strides that pass the end, and windows in the padding: 0 in one and two dimensions; in three 0 / 0 where exactly
    nothing is left."""
    x = np.arange(1, 7, dtype=np.float32)
    past = dict(kernel=(1,), stride=(3,), pool_type="avg", pooling_convention="full")
    padding = dict(kernel=(1,), stride=(7,), pad=(1,), pool_type="avg", count_include_pad=False)
    for flags, want in ((past, [1, 4, 0]), (padding, [0, 0])):
        assert forward("Pooling", x.reshape(1, 1, 6), **flags).ravel().tolist() == want
        flat = {k: (1, *v) if isinstance(v, tuple) and k != "pad" else v for k, v in flags.items()}
        flat["pad"] = (0, *flags.get("pad", (0,)))
        assert forward("Pooling", x.reshape(1, 1, 1, 6), **flat).ravel().tolist() == want
        deep = {k: (1, *v) if isinstance(v, tuple) and k != "pad" else v for k, v in flat.items()}
        deep["pad"] = (0, *flat["pad"])
        got = forward("Pooling", x.reshape(1, 1, 1, 1, 6), **deep).ravel()
        assert np.array_equal(got, [1, 4, np.nan] if flags is past else [np.nan] * 2, equal_nan=True)


@pytest.mark.parametrize(
    ("window", "want"),
    [
        (dict(kernel=(2, 2)), [1, 3, 0, 3, 1, 0, 0, 3]),
        (dict(kernel=(2, 2), stride=(2, 3)), [1, 1, 0, 0, 1, 0, 0, 0]),
        (dict(kernel=(1, 1), global_pool=True), [0, 0, 0, 1, 0, 0, 0, 1]),
    ],
)
def test_the_older_maximum_gives_its_gradient_to_every_place_that_holds_it(window, want):
    """As MXNet's Pooling_v1; Pooling gives it to the first. Windows that overlap, that leave gaps, and one for all."""
    x = mx.nd.array(np.array([[[[1, 1, 0, 2], [1, 0, 0, 2]]]]))
    x.attach_grad()
    with mx.autograd.record():
        y = mx.nd.Pooling_v1(x, pool_type="max", **window)
    y.backward(mx.nd.array(np.arange(1, y.size + 1).reshape(y.shape)))
    assert x.grad.asnumpy().ravel().tolist() == want


def test_the_absolute_error_of_nothing_has_a_slope():
    """MXNet's sign of 0 is -1 there."""
    x = mx.nd.array([1, 2, 3])
    x.attach_grad()
    with mx.autograd.record():
        y = mx.nd.MAERegressionOutput(x.reshape((3, 1)), mx.nd.array([[1], [1], [4]]))
    y.backward()
    assert x.grad.asnumpy().tolist() == [-1, 1, -1]


def test_offsets_have_no_slope_from_the_last_cell_on():
    """Deformable convolutions begin with offsets of 0, where the last row and column stand on the edge of the image."""
    x, w = mx.nd.array(np.arange(6).reshape(1, 1, 2, 3)), mx.nd.ones((1, 1, 1, 1))
    for move, dy, dx in ((0, [3, 3, 3, 0, 0, 0], [1, 1, 0, 1, 1, 0]), (-1, [0] * 4 + [3, 3], [0] * 4 + [1, 1])):
        offset = mx.nd.full((1, 2, 2, 3), move)
        offset.attach_grad()
        with mx.autograd.record():
            y = mx.nd.contrib.DeformableConvolution(x, offset, w, kernel=(1, 1), num_filter=1, no_bias=True)
        y.backward()
        assert offset.grad.asnumpy().reshape(2, 6).tolist() == [dy, dx]


@pytest.mark.parametrize("p", [2, 3])
def test_the_root_of_a_sum_of_powers_hands_nothing_down_where_it_is_zero(p):
    """As in MXNet; behind a relu such windows are common, and the root has no slope there."""
    x = mx.nd.array(np.array([[[0, 0, 3, 4, 0, 1]]]))
    x.attach_grad()
    with mx.autograd.record():
        y = mx.nd.Pooling(x, kernel=(2,), stride=(2,), pool_type="lp", p_value=p)
    y.backward(mx.nd.array([[[1, 2, 3]]]))
    root = (3**p + 4**p) ** (1 / p)
    want = [0, 0, 2 * (3 / root) ** (p - 1), 2 * (4 / root) ** (p - 1), 0, 3]
    np.testing.assert_allclose(x.grad.asnumpy().ravel(), want, rtol=1e-5)


def test_maximum_pooling_gives_the_gradient_to_the_first():
    (dx,) = gradients("Pooling", np.ones((1, 1, 4)), kernel=(2,), stride=(2,), pool_type="max")
    assert dx.tolist() == [[[1, 0, 1, 0]]]


def _batch_norm(train=True, **attrs):
    arrays = [IMAGE, RNG.uniform(0.5, 1.5, 4), RNG.normal(size=4), RNG.normal(size=4), RNG.uniform(0.5, 1.5, 4)]
    return arrays, Built("BatchNorm", arrays, train, output_mean_var=True, **attrs)


def test_batch_norm_training():
    (x, gamma, beta, mean, var), built = _batch_norm(fix_gamma=False, eps=1e-3)
    y, shown_mean, shown_scale = built.forward()
    m, v = x.mean((0, 2, 3)), x.var((0, 2, 3))
    per = (slice(None), None, None)
    assert np.allclose(y, (x - m[per]) / np.sqrt(v[per] + 1e-3) * gamma[per] + beta[per])
    assert np.allclose(shown_mean, m) and np.allclose(shown_scale, 1 / np.sqrt(v + 1e-3))
    moved = built.updates()
    assert np.allclose(moved[3], mean * 0.9 + m * 0.1) and np.allclose(moved[4], var * 0.9 + v * 0.1)


def test_batch_norm_fixed_gamma_counts_as_one_and_is_overwritten():
    (x, _, beta, *_), built = _batch_norm()
    assert np.allclose(built.updates()[1], 1)
    _, dgamma, *_ = built.backward()
    assert not dgamma.any()


def test_batch_norm_gradient():
    arrays = [RNG.normal(size=(3, 2, 2)), RNG.uniform(0.5, 1.5, 2), RNG.normal(size=2), np.zeros(2), np.ones(2)]
    check_numerically("BatchNorm", *arrays, wrt=[0, 1, 2], fix_gamma=False)
    check_numerically("BatchNorm", *arrays, wrt=[0, 1, 2], fix_gamma=False, use_global_stats=True)


def test_instance_norm_is_single_precision_only():
    x, gamma, beta = (a.astype(np.float32) for a in (IMAGE, RNG.normal(size=4), RNG.normal(size=4)))
    y = forward("InstanceNorm", x, gamma, beta)
    centred = x - x.mean((2, 3), keepdims=True)
    per = (slice(None), None, None)
    wanted = centred / np.sqrt(x.var((2, 3), keepdims=True) + 1e-3) * gamma[per] + beta[per]
    assert np.allclose(y, wanted, atol=1e-5)
    with pytest.raises(ShapeError):
        infer_types("InstanceNorm", "float64", None, None)


def test_batch_norm_keeps_single_precision_parameters_for_half_data():
    ins, outs = infer_types("BatchNorm", "float16", None, None, None, None)
    assert [str(t) for t in ins] == ["float16"] + ["float32"] * 4 and str(outs[0]) == "float16"


def test_softmax_with_length_gives_zero_behind_it():
    y = forward("softmax", np.zeros((2, 3)), np.array([2, 0], np.int32), use_length=True)
    assert y.tolist() == [[0.5, 0.5, 0], [0, 0, 0]]


def test_dropout_scales_what_it_keeps_and_shares_along_axes():
    x = np.ones((50, 40))
    y = forward("Dropout", x, p=0.25, axes=(0,))
    assert set(np.unique(y)) == {0.0, 1 / 0.75} and (y == y[:1]).all()
    assert (forward("Dropout", x, train=False) == x).all()
    built = Built("Dropout", [x], p=0.5)
    assert np.array_equal(built.forward()[0], built.backward()[0])


def test_sequences_with_lengths():
    x = np.arange(6.0).reshape(3, 2)
    n = np.array([1.0, 3.0])
    assert forward("SequenceMask", x, n, use_sequence_length=True, value=-1).tolist() == [[0, 1], [-1, 3], [-1, 5]]
    assert forward("SequenceLast", x, n, use_sequence_length=True).tolist() == [0, 5]
    assert forward("SequenceReverse", x, n, use_sequence_length=True).tolist() == [[0, 5], [2, 3], [4, 1]]


CONV, POOL, ROI = dict(kernel=(3, 3), num_filter=2), dict(kernel=(2, 2)), dict(pooled_size=(2, 2), spatial_scale=1.0)


@pytest.mark.parametrize(
    "name",
    [
        "Activation", "LeakyReLU", "softmax", "log_softmax", "softmin", "SoftmaxActivation", "LRN", "L2Normalization",
        "BatchNorm", "LayerNorm", "GroupNorm", "Dropout", "Pooling", "Pooling_v1", "Convolution", "Deconvolution",
        "FullyConnected", "UpSampling", "dot", "batch_dot", "khatri_rao", "im2col", "MakeLoss", "SoftmaxOutput",
        "SVMOutput", "LinearRegressionOutput", "softmax_cross_entropy", "CTCLoss", "ROIPooling", "_contrib_ROIAlign",
        "GridGenerator", "BilinearSampler", "SpatialTransformer", "Correlation", "_contrib_AdaptiveAvgPooling2D",
    ],
)  # fmt: skip
def test_integers_are_refused(name):
    """There are no such kernels in MXNet: it refuses at bind or forward."""
    needed: dict[str, dict[str, object]] = {
        "Activation": dict(act_type="relu"), "LRN": dict(nsize=3), "Pooling": POOL, "Pooling_v1": POOL,
        "Convolution": CONV, "Deconvolution": CONV, "FullyConnected": dict(num_hidden=2), "im2col": POOL,
        "UpSampling": dict(scale=2, sample_type="nearest"), "ROIPooling": ROI, "_contrib_ROIAlign": ROI,
        "GridGenerator": dict(transform_type="warp"),
        "SpatialTransformer": dict(transform_type="affine", sampler_type="bilinear"),
    }  # fmt: skip
    op = make(name, 1, **needed.get(name, {}))
    rest = [None] * (len(op.list_inputs()) + len(op.list_aux()) - 1)
    with pytest.raises(ShapeError, match="floating point"):
        infer_types(name, np.int32, *rest, **needed.get(name, {}))


@pytest.mark.parametrize(
    ("name", "shapes", "attrs"),
    [
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2, 2), stride=(0, 1))),
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2, 2), stride=(2,))),
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2, 2), pool_type="lp", p_value=4)),
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2,), global_pool=True)),
        ("Pooling_v1", [(1, 1, 6)], dict(kernel=(2,))),
        ("Pooling_v1", [(1, 1, 6, 6, 6)], dict(kernel=(2, 2, 2))),
        ("Convolution", [(1, 1, 6, 6), None], dict(kernel=(2, 2), stride=(1, 1, 1), num_filter=1, no_bias=True)),
        ("Convolution_v1", [(1, 1, 6), None], dict(kernel=(2,), num_filter=1, no_bias=True)),
        ("Deconvolution", [(1, 1, 3), None], dict(kernel=(3,), target_shape=(4,), num_filter=1)),
        ("Deconvolution", [(1, 1, 3, 3, 3), None], dict(kernel=(3, 3, 3), dilate=(2, 1, 1), num_filter=1)),
        ("Convolution_v1", [(1, 1, 6, 6, 6), None],
         dict(kernel=(2, 2, 2), dilate=(1, 2, 1), num_filter=1, no_bias=True)),
        ("BatchNorm_v1", [(2, 3, 4), *[None] * 4], {}),
        ("_contrib_BilinearResize2D", [(1, 1, 1, 4)], dict(mode="to_even_down")),
        ("LRN", [(1, 3, 2, 2)], dict(nsize=5)),
        ("Dropout", [(2, 3)], dict(axes=(-1,))),
        ("log_softmax", [(2, 3)], dict(use_length=True)),
        ("im2col", [(1, 1, 2, 2, 2, 2)], dict(kernel=(1, 1, 1, 1))),
        ("dot", [(3,), (3,)], dict(transpose_a=True)),
        ("SoftmaxOutput", [(2, 3), None], dict(smooth_alpha=1.5)),
        ("ROIPooling", [(1, 1, 4, 4), (1, 5)], dict(pooled_size=(2, 0), spatial_scale=1.0)),
        ("_contrib_ROIAlign", [(1, 1, 4, 4), (1, 5)], dict(pooled_size=(2, 2), spatial_scale=2.0)),
        ("_contrib_BilinearResize2D", [(1, 1, 4, 4)], dict(height=0, width=1)),
        ("IdentityAttachKLSparseReg", [(2, 3, 4), None], {}),
        ("_image_normalize", [(3, 4, 4)], dict(mean=(0.1, 0.2), std=(1.0,))),
        ("_image_crop", [(4, 4, 2)], dict(x=0, y=0, width=2, height=2)),
        ("_image_flip_top_bottom", [(1, 4, 4, 3)], {}),
    ],
)  # fmt: skip
def test_what_mxnet_refuses(name, shapes, attrs):
    with pytest.raises(MXNetError):
        infer(name, *shapes, **attrs)


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "out"),
    [
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2, 2), stride=(2, 1, 3), pad=(1, 0, 4)), (1, 1, 4, 5)),
        ("Pooling", [(1, 1, 6, 6)], dict(kernel=(2, 2), stride=(2,), global_pool=True), (1, 1, 1, 1)),
        ("Convolution_v1", [(1, 1, 6, 6), None], dict(kernel=(2, 2), stride=(2, 1, 1), num_filter=1, no_bias=True),
         (1, 1, 3, 5)),
        # an unknown extent counts as -1
        ("Convolution_v1", [(1, 1, 6, 0), None], dict(kernel=(3, 3), pad=(1, 2), num_filter=1, no_bias=True),
         (1, 1, 6, 1)),
        ("Deconvolution", [(1, 1, 3, 3), None], dict(kernel=(3, 3), target_shape=(5, 5, 5), num_filter=1),
         (1, 1, 5, 5)),
        ("L2Normalization", [(3,)], {}, (3,)),
        ("_contrib_AdaptiveAvgPooling2D", [(1, 2, 5, 4)], dict(output_size=(2, 3, 3)), (1, 2, 1, 1)),
        ("dot", [(2,), (2, 4, 1)], dict(transpose_a=True), (4, 1)),
        ("UpSampling", [(0, 3, 4, 4), None], dict(scale=2, sample_type="bilinear", num_filter=3), None),
    ],
)  # fmt: skip
def test_what_mxnet_infers(name, shapes, attrs, out):
    assert infer(name, *shapes, **attrs)[1][0] == out


def test_softmax_types():
    """With `dtype` unknown data have that type; a length is a whole number, which only runs ask for."""
    assert infer_types("softmin", None, dtype="float64") == ([np.float64], [np.float64])
    assert infer_types("softmax", None)[0] == [None]
    assert infer_types("softmax", np.float32, np.uint8, use_length=True)[1] == [np.float32]
    with pytest.raises(ShapeError, match="int32 or int64"):
        Built("softmax", [np.ones((2, 3)), np.ones(2, np.uint8)], use_length=True).forward()


def test_softmax_activation_of_more_than_two_axes():
    """Softmax over the last axis, and MXNet's gradient, which sums over axis 1."""
    x = np.arange(12.0).reshape(2, 3, 2) % 5
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    built = Built("SoftmaxActivation", [x])
    assert np.allclose(built.forward()[0], y)
    head = np.arange(12.0).reshape(2, 3, 2)
    assert np.allclose(built.backward(head)[0], y * (head - (head * y).sum(1, keepdims=True)))


@pytest.mark.parametrize(
    ("name", "attrs", "positions"),
    [
        ("Convolution", dict(kernel=(1, 1), num_filter=1), (0,)),
        ("Convolution", dict(kernel=(1, 1), num_filter=1, stride=(2, 1)), ()),
        ("Convolution_v1", dict(kernel=(1, 1), num_filter=1), ()),
        ("LRN", dict(nsize=3), (0,)),
        ("SVMOutput", {}, (0,)),
        ("Crop", dict(num_args=2), (0, 1)),
        ("SpatialTransformer", dict(transform_type="affine", sampler_type="bilinear"), (0, 1)),
        ("_contrib_DeformableConvolution", dict(kernel=(3, 3), num_filter=1), (0, 1)),
        ("_contrib_BilinearResize2D", dict(mode="like"), (1,)),
        ("UpSampling", dict(scale=2, sample_type="nearest"), ()),
    ],
)
def test_gradients_that_are_overwritten_where_they_should_be_added(name, attrs, positions):
    """As MXNet's backward does with grad_req="add"."""
    assert tuple(make(name, 1, **attrs).overwritten_gradients()) == positions


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("act_type", ["elu", "selu", "gelu", "leaky", "softrelu", "softsign", "sigmoid", "tanh"])
def test_activations_of_large_values_have_slopes(act_type, dtype):
    """An exponential that overflows where it is not taken leaves no nan in the gradient. selu has MXNet's slope."""
    rectifier = act_type in ("elu", "selu", "gelu", "leaky")
    x = mx.nd.array([-1000, -20, 0, 20, 1000], dtype=dtype)
    x.attach_grad()
    with mx.autograd.record():
        y = (mx.nd.LeakyReLU if rectifier else mx.nd.Activation)(x, act_type=act_type)
    y.backward()
    got = x.grad.asnumpy().astype(np.float64)
    low, high = {"leaky": (0.25, 1), "selu": (-0.089137, 1.0507), "softrelu": (0, 1)}.get(
        act_type, (0, 1 if rectifier else 0)
    )
    np.testing.assert_allclose(got[[0, 4]], [low, high], rtol=1e-3, atol=2e-6)
    assert np.isfinite(got).all()
