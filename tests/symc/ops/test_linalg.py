"""Protects the linalg family: definitions, packings and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from operating import check_numerically, forward, gradients

import symc as mx

RNG = np.random.default_rng(2)
SQUARE = RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3)
SPD = SQUARE @ np.swapaxes(SQUARE, -1, -2)
LOWER = np.tril(SQUARE)
B = RNG.normal(size=(2, 3, 3))


def test_products():
    a, b, c = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4)), RNG.normal(size=(3, 2))
    made = forward("_linalg_gemm", a, b, c, transpose_a=True, transpose_b=True, alpha=0.5, beta=-2.0)
    assert np.allclose(made, 0.5 * a.T @ b.T - 2 * c)
    rows_first = forward("_linalg_gemm2", RNG.normal(size=(3, 2, 4)), np.ones((4, 2, 5)), axis=0)
    assert rows_first.shape == (3, 2, 5)
    with pytest.raises(mx.MXNetError, match="float32"):
        mx.sym.linalg.gemm2(mx.sym.Variable("A"), mx.sym.Variable("B")).infer_type(A="float16")


def test_factorisations_give_back_the_matrix():
    low = forward("_linalg_potrf", SPD)
    assert np.allclose(low @ np.swapaxes(low, -1, -2), SPD) and not np.triu(low, 1).any()
    assert np.allclose(forward("_linalg_potri", low) @ SPD, np.eye(3))
    q, ell = forward("_linalg_gelqf", SQUARE[:, :2])
    assert np.allclose(ell @ q, SQUARE[:, :2]) and np.allclose(q @ np.swapaxes(q, -1, -2), np.eye(2))
    u, values = forward("_linalg_syevd", SPD)
    assert np.allclose(np.swapaxes(u, -1, -2) @ (values[..., None] * u), SPD)
    sign, value = forward("_linalg_slogdet", SQUARE)
    assert np.allclose(sign * np.exp(value), forward("_linalg_det", SQUARE))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rightside", [False, True])
@pytest.mark.parametrize("lower", [False, True])
def test_triangular(transpose, rightside, lower):
    attrs = dict(transpose=transpose, rightside=rightside, lower=lower, alpha=1.5)
    product = forward("_linalg_trmm", SQUARE, B, **attrs)
    assert np.allclose(forward("_linalg_trsm", SQUARE, product / 1.5, **attrs), 1.5 * B)
    check_numerically("_linalg_trsm", SQUARE, B, **attrs)
    check_numerically("_linalg_trmm", SQUARE, B, **attrs)


@pytest.mark.parametrize(
    ("name", "a"),
    [
        ("_linalg_potri", LOWER),
        ("_linalg_inverse", SQUARE),
        ("_linalg_det", SQUARE),
        ("_linalg_slogdet", SQUARE),
        ("_linalg_gelqf", SQUARE[:, :2]),
        ("_linalg_syrk", SQUARE),
        ("_linalg_sumlogdiag", SPD),
    ],
)
def test_gradients(name, a):
    check_numerically(name, a)


def test_cholesky_gradient_is_the_symmetric_one():
    head = np.tril(RNG.normal(size=SPD.shape))
    (found,) = gradients("_linalg_potrf", SPD, heads=[head])
    step = RNG.normal(size=SPD.shape)
    step = (step + np.swapaxes(step, -1, -2)) * 1e-6
    change = (np.linalg.cholesky(SPD + step) - np.linalg.cholesky(SPD - step)) * head
    assert np.allclose(found, np.swapaxes(found, -1, -2)) and np.isclose(change.sum() / 2, (found * step).sum())


@pytest.mark.parametrize(("offset", "lower"), [(0, True), (0, False), (1, True), (-2, True)])
def test_triangles_pack_and_unpack(offset, lower):
    packed = forward("_linalg_extracttrian", B, offset=offset, lower=lower)
    full = forward("_linalg_maketrian", packed, offset=offset, lower=lower)
    below = lower if offset == 0 else offset < 0
    assert np.allclose(full, np.tril(B, offset) if below else np.triu(B, offset))


@pytest.mark.parametrize("name", ["makediag", "maketrian", "extractdiag", "det", "slogdet", "inverse", "syrk"])
def test_types_without_kernels_are_refused_when_types_are_inferred(name):
    made = getattr(mx.sym.linalg, name)(mx.sym.Variable("A"))
    assert made.infer_type(A="float64")[0] == [np.float64]
    for dtype in ("float16", "int64"):
        with pytest.raises(mx.MXNetError, match="float32 or float64"):
            made.infer_type(A=dtype)


def test_operators_without_parameters_keep_unknown_ones():
    """As in MXNet, where the two that have a parser for no parameters refuse them."""
    assert mx.sym.linalg.inverse(mx.sym.Variable("A"), note=1).attr("note") == "1"
    with pytest.raises(mx.MXNetError, match="note"):
        mx.sym.linalg.potrf(mx.sym.Variable("A"), note=1)


@pytest.mark.parametrize("name, shapes, attrs, want", [
    ("batch_dot", [(0, 2, 3), (0, 3, 4)], {}, (0, 2, 4)), ("batch_dot", [(5, 2, 3), (0, 3, 4)], {}, (5, 2, 4)),
    ("batch_dot", [(0, 3, 2), (0, 4, 3)], {"transpose_a": True, "transpose_b": True}, (0, 2, 4)),
    ("batch_dot", [(0, 0, 3), (0, 3, 4)], {}, (0, 0, 4)), ("broadcast_like", [(0, 2, 1), (0, 2, 4)], {}, (0, 2, 4)),
    ("broadcast_like", [(1, 5, 1), (0, 0, 4)], {}, (0, 5, 4)),
    ("broadcast_like", [(0, 1, 3), (0, 2, 4)], {"lhs_axes": (1,), "rhs_axes": (0,)}, (0, 0, 3)),
])  # fmt: skip
def test_an_unknown_batch_stays_one_unknown_extent(name, shapes, attrs, want):
    symbol = getattr(mx.sym, name)(mx.sym.Variable("a"), mx.sym.Variable("b"), **attrs)
    assert symbol.infer_shape_partial(a=shapes[0], b=shapes[1])[1] == [want]


@pytest.mark.parametrize("name", ["det", "slogdet"])
def test_a_matrix_without_an_inverse_has_no_gradient_of_its_determinant(name: str) -> None:
    """As in MXNet: the others of its stack keep theirs."""
    data = np.float32([[[1, 2], [2, 4]], [[2, 0], [0, 4]]])
    net = getattr(mx.sym.linalg, name)(mx.sym.Variable("a"))
    exe = net.bind(mx.cpu(), {"a": mx.nd.array(data)}, {"a": mx.nd.zeros(data.shape)})
    made = exe.forward(is_train=True)
    exe.backward([mx.nd.ones((2,)) for _ in made])
    want = {"det": [[4, 0], [0, 2]], "slogdet": [[0.5, 0], [0, 0.25]]}[name]
    np.testing.assert_allclose(exe.grad_dict["a"].asnumpy(), [[[0, 0], [0, 0]], want], rtol=1e-6)
