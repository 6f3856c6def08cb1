"""Protects operators that move elements: Reshape's codes, slices, splits, joins, repetitions, padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operating import check_numerically, forward, gradients, infer

import symc as mx
from symc.ops.base import ShapeError

X = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("codes", "reverse", "wanted"),
    [
        ((4, 0, 2), False, (4, 3, 2)),
        ((2, 0, 0), False, (2, 3, 4)),
        ((6, 1, -1), False, (6, 1, 4)),
        ((3, -1, 8), False, (3, 1, 8)),
        ((-1,), False, (24,)),
        ((-2,), False, (2, 3, 4)),
        ((2, -2), False, (2, 3, 4)),
        ((-2, 1, 1), False, (2, 3, 4, 1, 1)),
        ((-3, 4), False, (6, 4)),
        ((0, -3), False, (2, 12)),
        ((-4, 1, 2, -2), False, (1, 2, 3, 4)),
        ((2, -4, -1, 3, -2), False, (2, 1, 3, 4)),
        ((-1, 0), True, (6, 4)),
    ],
)
def test_reshape_codes(codes, reverse, wanted):
    assert infer("Reshape", X.shape, shape=codes, reverse=reverse)[1] == [wanted]
    assert forward("Reshape", X, shape=codes, reverse=reverse).shape == wanted


def test_reshape_checks_the_size_when_it_is_built():
    assert infer("Reshape", X.shape, shape=(5, 5))[1] == [(5, 5)]
    with pytest.raises(ShapeError, match="24 elements"):
        forward("Reshape", X, shape=(5, 5))


def test_reshape_infers_backward():
    assert infer("Reshape", (0, 3, 4), shape=(-1,), outs=[(24,)])[0] == [(2, 3, 4)]
    assert infer("Reshape", X.shape, target_shape=(2, 0))[1] == [(2, 12)]


CASES = [
    ("Flatten", {}, lambda x: x.reshape(2, 12)),
    ("transpose", {}, lambda x: x.T),
    ("transpose", {"axes": (1, 2, 0)}, lambda x: x.transpose(1, 2, 0)),
    ("SwapAxis", {"dim1": 0, "dim2": 2}, lambda x: x.swapaxes(0, 2)),
    ("expand_dims", {"axis": -1}, lambda x: x[..., None]),
    ("slice", {"begin": (None, 2, -1), "end": (None, 0, -4), "step": (1, -1, -2)}, lambda x: x[:, 2:0:-1, -1:-4:-2]),
    ("slice_axis", {"axis": 2, "begin": -3, "end": None}, lambda x: x[:, :, -3:]),
    ("tile", {"reps": (2, 1, 1, 3)}, lambda x: np.tile(x, (2, 1, 1, 3))),
    ("repeat", {"repeats": 2, "axis": 1}, lambda x: np.repeat(x, 2, 1)),
    ("repeat", {"repeats": 2}, lambda x: np.repeat(x, 2)),
    ("reverse", {"axis": (0, 2)}, lambda x: x[::-1, :, ::-1]),
    ("diag", {"k": 1, "axis1": 1, "axis2": 2}, lambda x: np.diagonal(x, 1, 1, 2)),
    ("diag", {"k": -1}, lambda x: np.diagonal(x, -1, 0, 1)),
]


@pytest.mark.parametrize(("name", "attrs", "numpy"), CASES)
def test_movements(name, attrs, numpy):
    assert forward(name, X, **attrs).tolist() == numpy(X).tolist()
    check_numerically(name, X, delta=1.0, **attrs)


def test_squeeze_and_vectors_to_matrices():
    assert forward("squeeze", np.ones((1, 3, 1))).shape == (3,)
    assert forward("squeeze", np.ones((1, 1))).shape == (1,)
    with pytest.raises(ShapeError):
        infer("squeeze", (2, 3), axis=0)
    assert forward("diag", np.array([1.0, 2.0]), k=-1).tolist() == np.diag([1, 2], -1).tolist()


@pytest.mark.parametrize("b", [2, 3])
def test_depth_and_space_are_inverse(b):
    x = np.arange(2 * b * b * 2 * 3 * 1.0).reshape(2, b * b, 2, 3)
    wide = forward("depth_to_space", x, block_size=b)
    assert wide.shape == (2, 1, 2 * b, 3 * b)
    assert wide[0, 0, 0, :b].tolist() == x[0, :b, 0, 0].tolist()
    assert forward("space_to_depth", wide, block_size=b).tolist() == x.tolist()


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad(mode):
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    widths = (0, 0, 0, 0, 1, 2, 2, 1)
    expected = np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], mode=mode)
    assert forward("Pad", x, mode=mode, pad_width=widths).tolist() == expected.tolist()
    check_numerically("Pad", x, delta=1.0, mode=mode, pad_width=widths)
    with pytest.raises(ShapeError):
        infer("Pad", (2, 3), mode=mode, pad_width=(0, 0, 1, 1))


def test_splits():
    parts = forward("SliceChannel", X, num_outputs=2, axis=2)
    assert [p.tolist() for p in parts] == [X[:, :, :2].tolist(), X[:, :, 2:].tolist()]
    assert forward("SliceChannel", X, num_outputs=3, axis=1, squeeze_axis=True)[2].tolist() == X[:, 2].tolist()
    uneven = forward("_split_v2", X, indices=(), sections=3, axis=2)
    assert [p.shape[2] for p in uneven] == [2, 1, 1]
    at = forward("_split_v2", X, indices=(0, 1), axis=1)
    assert [p.shape[1] for p in at] == [1, 2]
    check_numerically("SliceChannel", X, delta=1.0, num_outputs=2, axis=0)
    with pytest.raises(ShapeError):
        infer("SliceChannel", X.shape, num_outputs=2, axis=1)


def test_joins():
    a, b = X[:, :, :1], X[:, :, 1:]
    assert forward("Concat", a, b, dim=2).tolist() == X.tolist()
    assert forward("stack", a, a, axis=1).tolist() == np.stack([a, a], 1).tolist()
    assert infer("Concat", (2, 3), (2, 0), outs=[(2, 7)])[0] == [(2, 3), (2, 4)]
    with pytest.raises(ShapeError):
        infer("Concat", (2, 3), (3, 3), dim=1)
    check_numerically("Concat", a, b, delta=1.0, dim=2)


def test_likes():
    small = np.zeros((1, 2, 9))
    assert forward("slice_like", X, small, axes=(0, 1)).tolist() == X[:1, :2].tolist()
    assert forward("reshape_like", X, np.zeros((4, 6))).shape == (4, 6)
    assert forward("reshape_like", X, np.zeros((6, 9)), lhs_end=2, rhs_end=1).shape == (6, 4)
    assert forward("broadcast_like", np.ones((1, 3)), np.zeros((5, 3))).shape == (5, 3)
    assert not gradients("slice_like", X, small, axes=(0, 1))[1].any()


def test_slice_assignment():
    made = forward("_slice_assign", X, np.full((2, 1, 2), -1.0), begin=(0, 1, 1), end=(2, 2, 3))
    expected = X.copy()
    expected[:, 1:2, 1:3] = -1
    assert made.tolist() == expected.tolist()
    made = forward("_slice_assign_scalar", X, scalar=9.0, begin=(1, None, 3), end=(2, None, 0), step=(1, 1, -2))
    expected = X.copy()
    expected[1:2, :, 3:0:-2] = 9
    assert made.tolist() == expected.tolist()


def test_shapes_as_data():
    assert forward("shape_array", X).tolist() == [2, 3, 4] and forward("shape_array", X).dtype == np.int64
    assert forward("size_array", X).tolist() == [24]


BOUND = st.one_of(st.none(), st.integers(-5, 5))


@given(
    begin=st.tuples(BOUND, BOUND),
    end=st.tuples(BOUND, BOUND),
    step=st.tuples(*[st.sampled_from([None, 1, 2, -1, -2])] * 2),
)
def test_slices_are_pythons(begin, end, step):
    x = np.arange(20.0).reshape(4, 5)
    expected = x[tuple(slice(*bounds) for bounds in zip(begin, end, step))]
    if not expected.size:
        with pytest.raises(ShapeError):
            infer("slice", x.shape, begin=begin, end=end, step=step)
    else:
        assert forward("slice", x, begin=begin, end=end, step=step).tolist() == expected.tolist()


@pytest.mark.parametrize(("make", "dtype", "match"), [
    (lambda x: mx.sym.Crop(x, h_w=(2, 2)), "float64", "float32"),
    (lambda x: mx.sym.contrib.interleaved_matmul_selfatt_qk(x, heads=1), "float16", "float32"),
    (lambda x: mx.sym.contrib.SyncBatchNorm(x, key="k"), "float64", "float32"),
    (lambda x: mx.sym.contrib.DeformableConvolution(x, kernel=(2, 2), num_filter=1), "float16", "float64"),
])  # fmt: skip
def test_types_without_kernels(make, dtype, match):
    net = make(mx.sym.Variable("x"))
    assert net.infer_type(x="float32")[1][0] == np.float32
    with pytest.raises(mx.MXNetError, match=match):
        net.infer_type(x=dtype)


def test_windows_without_extent_are_refused():
    with pytest.raises(mx.MXNetError, match="positive"):
        mx.sym.im2col(mx.sym.Variable("x"), kernel=(-2, 2))


def test_scales_go_together():
    net = mx.sym.contrib.BilinearResize2D(mx.sym.Variable("x"), scale_height=2.0, scale_width=1.5)
    assert net.infer_shape(x=(1, 2, 4, 4))[1] == [(1, 2, 8, 6)]
    with pytest.raises(mx.MXNetError, match="scale_height needs scale_width"):
        mx.sym.contrib.BilinearResize2D(mx.sym.Variable("x"), width=5, scale_height=2.0)
    net = mx.sym.contrib.BilinearResize2D(mx.sym.Variable("x"), height=6, width=5, scale_width=1.5)
    assert net.infer_shape(x=(1, 2, 4, 4))[1] == [(1, 2, 6, 5)]


def test_upsampling_scales_both_axes_of_an_input_alike():
    net = mx.sym.UpSampling(mx.sym.Variable("x"), mx.sym.Variable("y"), scale=2, sample_type="nearest", num_args=2)
    assert net.infer_shape(x=(1, 2, 4, 4), y=(1, 1, 2, 2))[1] == [(1, 3, 8, 8)]
    with pytest.raises(mx.MXNetError, match="no one scale"):
        net.infer_shape(x=(1, 2, 4, 4), y=(1, 1, 8, 2))
