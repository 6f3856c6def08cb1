"""Protects the seed: it repeats a whole session, executors included, and every draw after it is another one."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.runtime.keys import numpy_generator

DRAWS = {
    "uniform": lambda: mx.random.uniform(2, 3, shape=(50,)),
    "normal": lambda: mx.random.normal(1, 2, shape=(50,)),
    "exponential": lambda: mx.random.exponential(2, shape=(50,)),
    "gamma": lambda: mx.random.gamma(2, 3, shape=(50,)),
    "poisson": lambda: mx.random.poisson(40, shape=(50,)),
    "negative_binomial": lambda: mx.random.negative_binomial(30, 0.4, shape=(50,)),
    "randint": lambda: mx.random.randint(0, 1000, shape=(50,)),
    "multinomial": lambda: mx.random.multinomial(mx.nd.ones(20) / 20, shape=50),
    "shuffle": lambda: mx.random.shuffle(mx.nd.arange(50)),
    "each": lambda: mx.nd.random.uniform(mx.nd.array([0, 5]), mx.nd.array([1, 9]), shape=25),
    "dropout": lambda: dropped().forward(is_train=True)[0].copy(),
    "generator": lambda: mx.nd.array(numpy_generator().normal(size=50)),
}


def dropped() -> mx.executor.Executor:
    bound = mx.sym.Dropout(mx.sym.Variable("x"), p=0.5).simple_bind(mx.cpu(), x=(50,))
    bound.arg_dict["x"][:] = 1
    return bound


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_repeats_the_session(name: str) -> None:
    sessions = []
    for seed in (11, 11, 12, 11 + (1 << 33)):
        mx.random.seed(seed)
        sessions.append([DRAWS[name]().asnumpy() for _ in range(2)])
    first, again, other, high = sessions
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any() and (first[0] != other[0]).any() and (first[0] != high[0]).any()


def test_negative_and_numpy_seeds() -> None:
    mx.random.seed(-3)
    first = mx.random.uniform(shape=4).asnumpy()
    mx.random.seed(np.int64(-3))
    np.testing.assert_array_equal(first, mx.random.uniform(shape=4).asnumpy())
    with pytest.raises(ValueError, match="int"):
        mx.random.seed(1.5)


def test_a_kept_executor_draws_anew_each_run() -> None:
    bound = dropped()
    runs = [bound.forward(is_train=True)[0].asnumpy() for _ in range(3)]
    assert (runs[0] != runs[1]).any() and (runs[1] != runs[2]).any()
    assert set(np.unique(runs)) == {0.0, 2.0}


def test_draws_are_where_they_are_wanted() -> None:
    assert mx.nd.random.uniform(shape=2, ctx=mx.cpu(1)).context == mx.cpu(1)
    with mx.cpu(2):
        assert mx.random.normal(shape=2).context == mx.cpu(2)
    with pytest.raises(mx.MXNetError, match="gpu"):
        mx.nd.random.uniform(shape=2, ctx=mx.gpu())


@pytest.mark.parametrize(("dtype", "kind"), [("float16", np.float16), ("float32", np.float32), ("float64", np.float64)])
def test_types_and_moments(dtype: str, kind: type) -> None:
    mx.random.seed(4)
    flat = mx.random.uniform(-1, 1, shape=20000, dtype=dtype).asnumpy()
    bell = mx.random.normal(3, 2, shape=20000, dtype=dtype).asnumpy().astype("float64")
    assert flat.dtype == kind and flat.min() >= -1 and flat.max() < 1.001
    assert abs(flat.astype("float64").mean()) < 0.03 and abs(bell.mean() - 3) < 0.1 and abs(bell.std() - 2) < 0.1


@pytest.mark.parametrize("path", [
    "", "nd", "sym", "random", "nd.random", "sym.random", "nd.contrib", "sym.contrib", "nd.linalg", "io", "metric",
    "rnn", "contrib", "test_utils", "recordio",
])  # fmt: skip
def test_listed_names_exist(path):
    """Programs look around by dir() and vars()."""
    space = mx
    for part in filter(None, path.split(".")):
        space = getattr(space, part)
    assert all(hasattr(space, name) for name in dir(space))
    shown = {"nd": "exp", "sym": "exp", "random": "uniform", "nd.random": "normal", "sym.random": "gamma"}.get(path)
    assert shown is None or (shown in dir(space) and shown in vars(space))
