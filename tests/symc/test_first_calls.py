"""Protects the first calls of mx.nd on new shapes: what numpy answers meanwhile is what the program answers, to the bit
where it has one rounding at most, within a few units otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.ndarray import first, functions
from symc.ndarray.first import FIRST
from symc.ndarray.functions import Function

nd = mx.nd
ODD = [0.0, -0.0, 1.5, -2.25, 3e-45, -1e-38, 3.4e38, float("inf"), -float("inf"), float("nan"), 7.0, 0.1]


def odd(dtype: str) -> Any:
    with np.errstate(all="ignore"):
        return nd.array(np.asarray(ODD).reshape(3, 4).astype(dtype), dtype=dtype)


EXACT: dict[str, Callable[[Any], Any]] = {
    "transpose": lambda x: nd.transpose(x, axes=(1, 0)),
    "concat": lambda x: nd.concat(x, x, dim=1),
    "slice": lambda x: nd.slice(x, begin=(2, None), end=(None, 1), step=(-1, 2)),
    "tile": lambda x: nd.tile(x, reps=(2, 1, 3)),
    "pad": lambda x: nd.pad(
        x.reshape((1, 1, 3, 4)), mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 0, 1), constant_value=3
    ),
    "take": lambda x: nd.take(x, nd.array([2, 0, 5, -1]), mode="clip"),
    "take strangely": lambda x: nd.take(x, x, mode="clip"),
    "take around": lambda x: nd.take(x, x, axis=1, mode="wrap"),
    "one_hot": lambda x: nd.one_hot(x, 3),
    "pick": lambda x: nd.pick(x, nd.array([3, -1, 9]), axis=1),
    "to integers": lambda x: nd.cast(x, "int32"),
    "to bytes": lambda x: nd.cast(x, "uint8"),
    "to halves": lambda x: nd.cast(x, "float16"),
    "where": lambda x: nd.where(x > 0, x, -x),
    "flip": lambda x: nd.flip(x, axis=1),
    "split": lambda x: nd.split(x, num_outputs=2, axis=1),
    "square": lambda x: nd.square(x),
    "sqrt": lambda x: nd.sqrt(x),
    "abs": lambda x: nd.abs(x),
    "floor": lambda x: nd.floor(x),
    "scalar": lambda x: nd._internal._plus_scalar(x, scalar=0.3),
    "division": lambda x: nd.elemwise_div(x, x),
}  # fmt: skip


def bits(result: Any) -> list[tuple[bytes, tuple[int, ...], Any]]:
    """Of every array; nan is nan."""
    found = []
    for array in result if isinstance(result, list) else [result]:
        values = array.asnumpy()
        plain = np.where(np.isnan(values), np.nan, values).astype(values.dtype)
        found.append((plain.tobytes(), array.shape, array.dtype))
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXACT)
def test_the_bits_of_first_calls_are_those_of_programs(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions.function_of.cache_clear()
    x = odd(dtype)
    by_numpy = bits(EXACT[name](x))
    functions.function_of.cache_clear()
    monkeypatch.setattr(first, "FIRST", 0)
    assert bits(EXACT[name](x)) == by_numpy


def some(dtype: str, *shape: int) -> Any:
    return nd.array(np.random.RandomState(5).uniform(0.3, 1.7, shape), dtype=dtype)


CLOSE: dict[str, Callable[[str], Any]] = {
    "exp": lambda t: nd.exp(some(t, 3, 4)),
    "sum": lambda t: nd.sum(some(t, 3, 40, 5), axis=1, keepdims=True),
    "mean over all but one": lambda t: nd.mean(some(t, 3, 4, 5), axis=1, exclude=True),
    "prod": lambda t: nd.prod(some(t, 3, 4), axis=0),
    "nansum": lambda t: nd.nansum(some(t, 30)),
    "norm": lambda t: nd.norm(some(t, 3, 4), ord=1, axis=1),
    "argmax": lambda t: nd.argmax(some(t, 3, 4), axis=1),
    "largest": lambda t: nd.topk(some(t, 3, 9), k=2, ret_typ="both"),
    "cumsum": lambda t: nd.cumsum(some(t, 3, 9), axis=1),
    "softmax": lambda t: nd.softmax(some(t, 3, 4), axis=0),
    "log_softmax": lambda t: nd.log_softmax(some(t, 3, 4)),
    "smooth_l1": lambda t: nd.smooth_l1(some(t, 3, 4), scalar=1.0),
    "gamma": lambda t: nd.gamma(some(t, 3, 4)),
    "power": lambda t: nd.broadcast_power(some(t, 3, 4), some(t, 3, 1)),
    "modulo": lambda t: nd.broadcast_mod(some(t, 3, 4), some(t, 1, 4)),
    "dot": lambda t: nd.dot(some(t, 3, 4), some(t, 5, 4), transpose_b=True),
    "batch_dot": lambda t: nd.batch_dot(some(t, 2, 3, 4), some(t, 2, 4, 3)),
    "FullyConnected": lambda t: nd.FullyConnected(some(t, 3, 4), some(t, 2, 4), some(t, 2), num_hidden=2),
    "LayerNorm": lambda t: nd.LayerNorm(some(t, 3, 4), some(t, 4), some(t, 4)),
    "Convolution": lambda t: nd.Convolution(
        some(t, 1, 2, 5, 5), some(t, 3, 2, 3, 3), some(t, 3), kernel=(3, 3), num_filter=3, pad=(1, 1), stride=(2, 2)
    ),
    "Deconvolution": lambda t: nd.Deconvolution(
        some(t, 1, 2, 5, 5), some(t, 2, 3, 3, 3), kernel=(3, 3), num_filter=3, stride=(2, 2)
    ),
    "Pooling": lambda t: nd.Pooling(some(t, 1, 2, 5, 5), kernel=(2, 2), stride=(2, 2), pool_type="avg"),
    "foreach": lambda t: nd.contrib.foreach(lambda x, s: (x + s, x * s), some(t, 3, 2), some(t, 2)),
}  # fmt: skip


#: numpy's functions of single precision, in which halves are computed, too, are units off
FUNCTIONS = ("exp", "softmax", "log_softmax", "gamma", "power")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", CLOSE)
def test_first_calls_answer_what_programs_answer(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions.function_of.cache_clear()
    compiled = Function._compiled
    with monkeypatch.context() as patch:
        if dtype != "float64" and name in FUNCTIONS:
            patch.setattr(Function, "interpret", lambda self, arrays: pytest.fail(f"{self.name} is interpreted"))
        else:
            patch.setattr(Function, "_compiled", property(lambda self: pytest.fail(f"{self.name} is compiled")))
        by_numpy = flat(CLOSE[name](dtype))
    functions.function_of.cache_clear()
    monkeypatch.setattr(functions, "first_calls", lambda graph: 0)
    assert Function._compiled is compiled
    by_program = flat(CLOSE[name](dtype))
    for a, b in zip(by_numpy, by_program, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), 8 * np.finfo(dtype).eps, 16 * np.finfo(dtype).eps)


def flat(result: Any) -> list[Any]:
    return [a for part in result for a in flat(part)] if isinstance(result, (list, tuple)) else [result]


def test_what_is_called_often_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    functions.function_of.cache_clear()
    told: list[str] = []
    interpret = Function.interpret
    monkeypatch.setattr(
        Function, "interpret", lambda self, arrays: (told.append(self.name), interpret(self, arrays))[1]
    )
    x = nd.array([[1, 2], [3, 4]])
    results = [nd.transpose(x).asnumpy().tolist() for _ in range(FIRST + 3)]
    assert results == [[[1, 3], [2, 4]]] * (FIRST + 3) and told == ["transpose"] * FIRST


@pytest.mark.parametrize(
    "call",
    [
        lambda: nd.exp(nd.ones((1000, 1000))),  # takes numpy as long as compiling it
        lambda: nd.dot(nd.ones((300, 200)), nd.ones((200, 300))),
        lambda: nd.random.uniform(shape=(2,)),  # draws are the same whenever they are drawn
        lambda: nd.random.normal(shape=(2,)),
    ],
)
def test_what_is_long_or_random_is_compiled_at_once(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    functions.function_of.cache_clear()

    def refused(*_: Any) -> None:
        raise AssertionError("interpreted")

    monkeypatch.setattr(Function, "interpret", refused)
    call()


@pytest.mark.parametrize("shape", [(1,), (3, 5), (64,), (8, 8), (7, 11, 2), (1, 129)])
@pytest.mark.parametrize("name", ["uniform", "normal", "exponential"])
def test_draws_of_any_shape_are_those_of_its_own_program(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = getattr(nd.random, name)
    mx.random.seed(11)
    first = [draw(shape=shape).asnumpy() for _ in range(2)]
    monkeypatch.setattr(functions, "beginning_of", lambda op: None)
    mx.random.seed(11)
    for array in first:
        np.testing.assert_array_equal(draw(shape=shape).asnumpy(), array)
    assert first[0].shape == shape and not np.array_equal(first[0], first[1])


def test_shapes_have_a_program_in_common() -> None:
    functions.function_of.cache_clear()
    for rows in range(1, 60):
        nd.random.normal(shape=(rows, 3))
    assert functions.function_of.cache_info().misses <= 3  # of 64, 128 and 256 draws


def test_functions_of_single_precision_are_rounded_well() -> None:
    functions.function_of.cache_clear()
    assert nd.exp(nd.ones((1,))).asscalar() == np.float32(np.e)
