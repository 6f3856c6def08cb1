"""Protects optimizer updates against formulas in numpy: clipping and decay, states, mixed precision, many weights."""

from __future__ import annotations

import numpy as np
import pytest
from operating import Built

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
    new, states = run("adam_update", W, G, A, B, **COMMON)
    close(states[2], 0.9 * A + 0.1 * LAST)
    close(states[3], 0.999 * B + 0.001 * LAST**2)
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
    attrs = {"t": 2, "wd": WD, "rescale_grad": SCALE, "clip_gradient": CLIP}
    new, states = run("lamb_update_phase1", W, G, A, B, **attrs)
    g = clipped(SCALE * G)
    m, v = 0.9 * A + 0.1 * g, 0.999 * B + 0.001 * g**2
    close(new, m / (1 - 0.9**2) / (np.sqrt(v / (1 - 0.999**2)) + 1e-6) + WD * W)
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
