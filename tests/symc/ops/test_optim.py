"""Protects optimizer updates against formulas in numpy: clipping and decay, states, mixed precision, many weights."""

from __future__ import annotations

import numpy as np
import pytest
from operating import Built

import symc as mx
from symc.ir.prims import elementwise as ew
from symc.ndarray import functions
from symc.ndarray.functions import Function, run_operator
from symc.ops.base import OPERATORS, MXNetError, Operator, operator, parse
from symc.ops.updates.single import InPlace

RNG = np.random.default_rng(3)
W, G = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
A, B, C = (RNG.uniform(0.1, 1, size=(2, 3)) for _ in range(3))
LR, WD, SCALE, CLIP = 0.1, 0.02, 0.5, 0.3
COMMON = {"lr": LR, "wd": WD, "rescale_grad": SCALE, "clip_gradient": CLIP}


def clipped(g):
    return np.clip(g, -CLIP, CLIP)


FIRST = clipped(SCALE * G) + WD * W
LAST = clipped(SCALE * G + WD * W)


def run(name, *arrays, **attrs):
    built = Built(name, arrays, **attrs)
    return built.forward()[0], built.updates()


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_descent():
    close(run("sgd_update", W, G, **COMMON)[0], W - LR * FIRST)
    new, states = run("sgd_mom_update", W, G, A, momentum=0.9, **COMMON)
    close(states[2], 0.9 * A - LR * FIRST)
    close(new, W + states[2])
    new, states = run("nag_mom_update", W, G, A, momentum=0.9, **COMMON)
    close(new, W + 0.9 * (0.9 * A - LR * FIRST) - LR * FIRST)
    close(run("signsgd_update", W, G, **COMMON)[0], (1 - LR * WD) * W - LR * np.sign(G))
    new, states = run("signum_update", W, G, A, momentum=0.9, wd_lh=0.1, **COMMON)
    close(states[2], 0.9 * A - 0.1 * FIRST)
    close(new, (1 - LR * 0.1) * W + LR * np.sign(states[2]))


def test_adaptive():
    new, states = run("adam_update", W, G, A, B, beta1=0.75, beta2=0.875, **COMMON)
    close(states[2], 0.75 * A + 0.25 * LAST)
    close(states[3], 0.875 * B + 0.125 * LAST**2)
    close(new, W - LR * states[2] / (np.sqrt(states[3]) + 1e-8))
    new, states = run("rmsprop_update", W, G, A, clip_weights=0.5, **COMMON)
    close(new, np.clip(W - LR * LAST / np.sqrt(0.05 * LAST**2 + 0.95 * A + 1e-8), -0.5, 0.5))
    new, states = run("rmspropalex_update", W, G, A + 1, B, C, **COMMON)
    n, g = 0.05 * LAST**2 + 0.95 * (A + 1), 0.05 * LAST + 0.95 * B
    close(states[4], 0.9 * C - LR * LAST / np.sqrt(n - g**2 + 1e-8))
    close(new, W + states[4])


def test_ftrl_zeroes_small_weights():
    new, states = run("ftrl_update", W, G, A, B, lamda1=0.4, **COMMON)
    g = clipped(SCALE * G)
    n = B + g**2
    z = A + g - (np.sqrt(n) - np.sqrt(B)) * W / LR
    close(states[2], z)
    close(new, np.where(np.abs(z) > 0.4, (np.sign(z) * 0.4 - z) / ((1 + np.sqrt(n)) / LR + WD), 0))


def test_lamb():
    attrs = {"t": 2, "wd": WD, "rescale_grad": SCALE, "clip_gradient": CLIP, "beta1": 0.75, "beta2": 0.875}
    new, states = run("lamb_update_phase1", W, G, A, B, **attrs)
    g = clipped(SCALE * G)
    m, v = 0.75 * A + 0.25 * g, 0.875 * B + 0.125 * g**2
    close(new, m / (1 - 0.75**2) / (np.sqrt(v / (1 - 0.875**2)) + 1e-6) + WD * W)
    r1, r2 = np.array([2.0]), np.array([0.5])
    made = run(
        "lamb_update_phase2", W.astype("f4"), G.astype("f4"), r1.astype("f4"), r2.astype("f4"), lr=LR, upper_bound=1.0
    )[0]
    np.testing.assert_allclose(made, W - LR * 2 * G, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_adamw_skips_bad_scales(scale):
    new, states = run("_adamw_update", W, G, A, B, np.array([scale]), lr=LR, eta=1.0)
    close(new, W)
    close(states[2], A)
    close(states[3], B)


def test_mixed_precision_updates_the_master_copy():
    half = W.astype(np.float16)
    new, states = run(
        "mp_sgd_mom_update", half, G.astype(np.float16), A.astype("f4"), W.astype("f4"), lr=LR, momentum=0.9
    )
    assert new.dtype == np.float16 and states[3].dtype == np.float32
    np.testing.assert_allclose(new, states[3], rtol=1e-3)


@pytest.mark.parametrize("preloaded", [False, True])
def test_many_weights_are_many_updates(preloaded):
    weights, grads, moms = [W, W[0]], [G, G[0]], [A, A[0]]
    arrays = [x.astype("f4") for trio in zip(weights, grads, moms) for x in trio]
    attrs = {"momentum": 0.9, "num_weights": 2}
    name = "multi_sgd_mom_update"
    if preloaded:
        name = f"preloaded_{name}"
        arrays += [np.array([0.1, 0.2], "f4"), np.array([0.0, 0.1], "f4")]
    else:
        attrs.update(lrs=(0.1, 0.2), wds=(0.0, 0.1))
    built = Built(name, arrays, **attrs)
    outs, states = built.forward(), built.updates()
    for i, (lr, wd) in enumerate(((0.1, 0.0), (0.2, 0.1))):
        one = Built("sgd_mom_update", arrays[3 * i : 3 * i + 3], lr=lr, wd=wd, momentum=0.9)
        np.testing.assert_allclose(outs[i], one.forward()[0], rtol=1e-5)
        np.testing.assert_allclose(states[3 * i + 2], one.updates()[2], rtol=1e-5)


def test_reset_and_lars():
    assert not any(v.any() for v in Built("reset_arrays", [W, G]).updates().values())
    given = [np.array(v, np.float32) for v in ([0.1, 0.1], [4.0, 0.0], [1.0, 1.0], [0.5, 0.5])]
    made = run("multi_lars", *given, eta=0.1, eps=0.0)[0]
    np.testing.assert_allclose(made, [0.1 * 0.1 * 2 / (1 + 0.5 * 2), 0.1], rtol=1e-6)


# MXNet 1.9.1's answers, where its single precision parameters show, and where its forms for mixed precision differ


def nd(*values, dtype="float32"):
    return [mx.nd.array(np.array(v, dtype), dtype=dtype) for v in values]


@pytest.mark.parametrize(("dtype", "lamb", "ftml"), [
    ("float64", 0.07365608962, 0.9656381101),
    ("float32", 0.07365584373, 0.9656381607),
])  # fmt: skip
def test_parameters_are_single_precision(dtype, lamb, ftml):
    made = mx.nd.lamb_update_phase1(*nd([1], [0.5], [0.1], [0.2], dtype=dtype), t=2, wd=0.0)
    np.testing.assert_allclose(made.asnumpy(), [lamb], rtol=1e-7)
    made = mx.nd.ftml_update(*nd([1], [0.5], [0.1], [0.2], [0.3], dtype=dtype), lr=0.5, t=2)
    np.testing.assert_allclose(made.asnumpy(), [ftml], rtol=1e-7)


def test_mixed_forms():
    (weight,), (g, r1, r2, copy) = nd([1, 2], dtype="float16"), nd([0.5, 1], [2], [4], [1, 2])
    made = mx.nd.mp_lamb_update_phase2(weight, g, r1, r2, copy, lr=0.5)
    assert made.asnumpy().tolist() == [0.875, 1.75] and copy.asnumpy().tolist() == [1, 2]
    weight, grad, copy = nd([1, 2], [0.5, 1], [5, 6])
    mx.nd.multi_mp_sgd_update(weight, grad, copy, lrs=(0.5,), wds=(0.0,), num_weights=1, out=weight)
    assert weight.asnumpy().tolist() == [0.75, 1.5] and copy.asnumpy().tolist() == [5, 6]


def test_scales_and_norms_of_one_element_have_any_shape():
    made = mx.nd.lamb_update_phase2(*nd([1, 2], [0.5, 1], [[2]], [[4]]), lr=0.5)
    assert made.asnumpy().tolist() == [0.875, 1.75]
    made = mx.nd.contrib.adamw_update(*nd([1, 2], [0.5, 1], [0, 0], [0, 0], [[1]]), lr=0.5, eta=1)
    np.testing.assert_allclose(made.asnumpy(), [-0.5811484, 0.41885126], rtol=1e-6)


@pytest.mark.parametrize(("call", "match"), [
    (lambda: mx.nd.sgd_update(*nd([1], [1], dtype="int32"), lr=0.5), "floating point"),
    (lambda: mx.nd.mp_sgd_update(*nd([1], [1], dtype="int8"), *nd([1]), lr=0.5), "floating point"),
    (lambda: mx.nd.multi_sgd_update(*nd([1], [1], dtype="uint8"), lrs=(1,), wds=(0,), num_weights=1), "floating point"),
    (lambda: mx.nd.mp_lamb_update_phase1(*nd([1], [1], [1], [1], [1]), t=1, wd=0), "float16"),
    (lambda: mx.nd.ftml_update(*nd([1], [1], [1], [1], [1]), lr=1, t=1, beta1=-0.3), "beta1"),
    (lambda: mx.nd.reset_arrays(*nd([1], [1])), "num_arrays"),
])  # fmt: skip
def test_refused(call, match):
    with pytest.raises(MXNetError, match=match):
        call()


def test_symbols_are_refused():
    """MXNet: Not enough argument to call operator; the forms for many weights make Symbols."""
    x = mx.sym.Variable("x")
    for name in ("sgd_update", "adam_update", "mp_nag_mom_update", "lamb_update_phase2"):
        with pytest.raises(MXNetError, match=f"mx.nd.{name}"):
            getattr(mx.sym, name)(x, x, lr=0.1)
    assert not InPlace.composable
    many = mx.sym.multi_sgd_update(x, lrs=(0.1,), wds=(0.0,), num_weights=1, name="m")
    assert many.list_arguments() == ["x", "m_grad_0"]


def test_what_an_operator_is_called_does_not_decide_how_it_runs(monkeypatch) -> None:
    """Steps of optimizers are interpreted on arrays, as they say of themselves; other operators are compiled, whatever
    their name."""

    @operator("tanh_update", inputs="data")
    class Tanh(Operator):
        def complete(self, s):
            s.all_alike()

        def build(self, ctx, data):
            return ew.tanh(data)

    interpreted = []
    monkeypatch.setattr(functions, "first_calls", lambda graph: 0)
    monkeypatch.setattr(Function, "interpret", lambda function, arrays: interpreted.append(function.name) or arrays[:1])
    for update in ("sgd_update", "lamb_update_phase2", "multi_sgd_update"):
        assert OPERATORS[update].is_update
    mx.nd.sgd_update(mx.nd.ones(2), mx.nd.ones(2), lr=0.5)
    found, _, _ = run_operator(parse(OPERATORS["tanh_update"], {}), [np.ones(2, np.float32)])
    assert interpreted == ["sgd_update"]
    np.testing.assert_allclose(found[0], np.tanh(1), rtol=1e-6)
    del OPERATORS["tanh_update"]


@pytest.mark.parametrize("name", ["sgd_mom_update", "adam_update", "multi_sgd_mom_update"])
def test_large_steps_of_a_loop_get_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step of a large parameter, again and again: by numpy at first, by a program then, and all are one rule.
    Another learning rate is another step."""
    shape = (300, 300)
    states = 2 if name == "adam_update" else 1
    rng = np.random.default_rng(0)
    first = [rng.normal(size=shape).astype("float32") for _ in range(2 + states)]
    rate = {"lrs": [0.1], "wds": [0.01], "num_weights": 1} if name.startswith("multi") else {"lr": 0.1, "wd": 0.01}
    other = {"lrs": [0.2], "wds": [0.01], "num_weights": 1} if name.startswith("multi") else {"lr": 0.2, "wd": 0.01}

    def trained(size: int) -> list[np.ndarray]:
        arrays = [mx.nd.array(a[:size]) for a in first]
        for step in range(6):
            getattr(mx.nd, name)(*arrays, out=arrays[0], **(other if step == 4 else rate))
        return [a.asnumpy() for a in (arrays[0], *arrays[2:])]

    interpret, steps = Function.interpret, []
    monkeypatch.setattr(Function, "interpret", lambda self, arrays: steps.append(self.name) or interpret(self, arrays))
    found = trained(300)
    assert len(steps) == 3  # two of the first rate, one of the other
    for large, small in zip(found, trained(10)):
        np.testing.assert_allclose(large[:10], small, rtol=1e-5, atol=1e-6)
