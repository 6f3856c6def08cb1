"""Protects mx.test_utils: comparisons and checks say wrong where a value is wrong, and only there."""

from __future__ import annotations

import os

import numpy as np
import pytest

import symc as mx
from symc import test_utils as tu


@pytest.mark.parametrize(
    "dtype, off, right",
    [
        ("float16", 0.05, True), ("float16", 0.2, False), ("float32", 5e-4, True), ("float32", 5e-3, False),
        ("float64", 5e-6, True), ("float64", 5e-5, False), ("int32", 0, True), ("int32", 1, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [mx.nd.array, np.array], ids=["nd", "numpy"])
def test_tolerances_follow_the_types(dtype, off, right, make):
    a = make(np.ones((2, 3)), dtype=dtype)
    b = np.ones((2, 3)).astype(dtype)
    b[1, 2] += np.asarray(off).astype(dtype)
    if right:
        tu.assert_almost_equal(a, b)
    else:
        with pytest.raises(AssertionError, match=r"mismatch 16.66.*\n.*\(1, 2\)"):
            tu.assert_almost_equal(a, b)


def test_not_a_number_equals_itself_on_request_only():
    a, b = np.array([1, np.nan, np.inf]), np.array([1, np.nan, np.inf])
    tu.assert_almost_equal(a, b, equal_nan=True)
    tu.assert_almost_equal_ignore_nan(a[:2], b[:2])
    with pytest.raises(AssertionError, match=r"\(1,\)"):
        tu.assert_almost_equal(a, b)
    with pytest.raises(AssertionError):
        tu.assert_almost_equal(a, np.array([1, 2, np.inf]), equal_nan=True)


def test_a_share_of_the_elements_may_differ():
    a = np.zeros(10)
    b = np.eye(10)[3]
    tu.assert_almost_equal_with_err(a, b, 0.1, 0.1, etol=0.1)
    with pytest.raises(AssertionError):
        tu.assert_almost_equal_with_err(a, b, 0.1, 0.1, etol=0.05)


def net():
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    return mx.sym.sum(a * mx.sym.tanh(b), axis=1)


def values():
    rng = np.random.RandomState(0)
    return rng.randn(3, 4).astype("float32"), rng.randn(3, 4).astype("float32")


def test_gradients_are_checked_against_differences():
    tu.check_numeric_gradient(net(), list(values()), rtol=1e-2, atol=1e-3)
    tu.check_numeric_gradient(net(), dict(zip("ab", values())), grad_nodes={"a": "add", "b": "null"}, rtol=1e-2)
    tu.check_numeric_gradient(net(), [v.astype("float64") for v in values()], dtype=np.float64, rtol=1e-4, atol=1e-6)
    x = mx.sym.Variable("x")
    wrong = mx.sym.BlockGrad(x) * x
    with pytest.raises(AssertionError, match="NUMERICAL_x"):
        tu.check_numeric_gradient(wrong, [np.ones((2, 2), "float32")])


@pytest.mark.parametrize("req", ["write", "add", "null"])
def test_expected_values_are_checked(req):
    a, b = values()
    head = np.array([1, 2, 3], "float32")
    grads = [head[:, None] * np.tanh(b), head[:, None] * a * (1 - np.tanh(b) ** 2)]
    want = (a * np.tanh(b)).sum(1)
    tu.check_symbolic_forward(net(), [a, b], [want], rtol=1e-4, atol=1e-5)
    tu.check_symbolic_backward(net(), [a, b], [head], grads, grad_req=req, rtol=1e-3, atol=1e-4)
    tu.check_symbolic_backward(net(), {"a": a, "b": b}, [head], {"b": grads[1]}, grad_req={"b": req}, rtol=1e-3)
    with pytest.raises(AssertionError, match="FORWARD_sum0_output|FORWARD"):
        tu.check_symbolic_forward(net(), [a, b], [want + 0.1])
    if req != "null":
        with pytest.raises(AssertionError, match="BACKWARD_b"):
            tu.check_symbolic_backward(net(), [a, b], [head], [grads[0], grads[1] * 1.1], grad_req=req)
    with pytest.raises(ValueError, match="do not match"):
        tu.check_symbolic_forward(net(), {"a": a}, [want])


def test_bindings_are_compared():
    given = [
        {"ctx": mx.cpu(), "a": (3, 4), "b": (3, 4), "type_dict": dict.fromkeys("ab", t)} for t in ("float64", "float32")
    ]
    first = net()
    truth = tu.check_consistency(first, given)
    assert set(truth) == {*first.list_outputs(), "a", "b"}
    other = mx.sym.sum(mx.sym.Variable("a") * mx.sym.sin(mx.sym.Variable("b")), axis=1, name=first.name)
    with pytest.raises(AssertionError):
        tu.check_consistency([first, other], given)


def test_small_helpers(monkeypatch):
    monkeypatch.setenv("SYMC_TEST_A", "1")
    with tu.environment({"SYMC_TEST_A": None, "SYMC_TEST_B": "2"}):
        assert "SYMC_TEST_A" not in os.environ and os.environ["SYMC_TEST_B"] == "2"
    assert os.environ["SYMC_TEST_A"] == "1" and "SYMC_TEST_B" not in os.environ
    assert tu.list_gpus() == [] and tu.default_context() == mx.cpu() and tu.default_dtype() is np.float32
    assert len(tu.rand_shape_nd(4, 3)) == 4 and max(tu.rand_shape_3d(1, 2, 3)) <= 3 and min(tu.rand_shape_2d()) >= 1
    assert tu.rand_ndarray((2, 3)).shape == (2, 3) and tu.random_arrays((2,), ())[1].shape == ()
    a = mx.nd.arange(6).reshape((2, 3))
    assert tu.same_array(a, a) and not tu.same_array(a, a.copy()) and tu.same(a, np.arange(6).reshape(2, 3))
    x = np.arange(24.0).reshape(2, 3, 4)
    for keep in (False, True):
        assert tu.same(tu.np_reduce(x, (0, -1), keep, np.sum), x.sum((0, -1), keepdims=keep))
        assert tu.same(tu.np_reduce(x, None, keep, np.max), x.max(keepdims=keep))
    assert tu.same(tu.simple_forward(mx.sym.Variable("x") * 2, x=np.ones(2)), np.full(2, 2.0))
    tu.assert_exception(lambda: 1 / 0, ZeroDivisionError)
    runs = iter([False, True])

    @tu.retry(2)
    def sometimes():
        assert next(runs)

    sometimes()
    tu.compare_optimizer(mx.optimizer.Adam(), mx.optimizer.Adam(), [(2, 3)], "float32")
    tu.compare_optimizer(mx.optimizer.SGD(), mx.optimizer.SGD(), [(2, 3), (4,)], "float32", ntensors=2)
    with pytest.raises(AssertionError):
        tu.compare_optimizer(mx.optimizer.SGD(), mx.optimizer.SGD(learning_rate=1), (2, 3), "float32")


def test_a_star_import_gives_what_programs_use_from_it():
    names: dict[str, object] = {}
    exec("from symc.test_utils import *", names)
    assert names["mx"] is mx and names["np"] is np
    assert {"Context", "array", "current_context", "os", "sys", "rnd", "assert_almost_equal"} <= names.keys()


def test_distributions_are_told_apart():
    pytest.importorskip("scipy")
    rng = np.random.RandomState(0)
    buckets, probs = mx.test_utils.gen_buckets_probs_with_ppf(lambda p: p, 5)
    assert buckets[0] == (0.0, 0.2) and probs == [0.2] * 5
    check = mx.test_utils.verify_generator
    assert len(check(rng.rand, buckets, probs, nsamples=10000, nrepeat=3)) == 3
    with pytest.raises(AssertionError, match="not the numbers of the distribution"):
        check(lambda n: rng.rand(n) ** 1.2, buckets, probs, nsamples=10000, nrepeat=3)
    p, counts, expected = mx.test_utils.chi_square_check(lambda n: rng.randint(0, 2, n), [0, 1], [0.5, 0.5], 10000)
    assert p > 0.001 and counts.sum() == expected.sum() == 10000
    assert mx.test_utils.mean_check(rng.randn, 0, 1, 10000) and not mx.test_utils.mean_check(rng.randn, 0.1, 1, 10000)
    assert mx.test_utils.var_check(rng.randn, 1, 10000) and not mx.test_utils.var_check(rng.randn, 1.1, 10000)


def test_helpers_of_tests(capfd):
    use = mx.test_utils
    assert (
        use.create_2d_tensor(2, 3).asnumpy().tolist() == [[0] * 3, [1] * 3] and use.create_vector(3).dtype == np.int64
    )
    assert use.collapse_sum_like(np.ones((2, 3, 4)), (3, 1)).tolist() == [[8], [8], [8]]
    with pytest.raises(AssertionError, match="is not broadcast"):
        use.collapse_sum_like(np.ones((3, 4)), (2, 4))
    q = use.new_orthonormal_matrix_2d(4)
    assert np.allclose(q @ q.T, np.eye(4)) and use.new_sym_matrix_with_real_eigvals_nd((2, 3, 3)).shape == (2, 3, 3)
    assert np.abs(np.linalg.eigvals(use.new_matrix_with_real_eigvals_2d(4)).imag).max() < 1e-9
    x, y = mx.sym.Variable("x"), mx.sym.Variable("y")
    assert use.same_symbol_structure(x + y, y + x) and not use.same_symbol_structure(x + y, x * y)
    assert (
        use.get_tolerance(np.ones(1, "f"), {np.dtype("f"): 0.5}, {}) == 0.5
        and use.get_tolerance(np.ones(1), 2, {}) == 2
    )
    with use.discard_stderr():
        os.write(2, b"lost")
    assert "lost" not in capfd.readouterr().err
    assert (
        use.check_speed(mx.sym.exp(x), x=(2,), N=2) > 0
        and use.check_speed(mx.sym.exp(x), {"x": np.ones(2)}, N=1, typ="forward") > 0
    )
