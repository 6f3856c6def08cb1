"""Protects the first calls of mx.nd on new shapes: what numpy answers meanwhile has the very bits of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.ndarray import functions
from symc.ndarray.functions import FIRST, QUICK, Function

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
    first = bits(EXACT[name](x))
    functions.function_of.cache_clear()
    monkeypatch.setattr(functions, "FIRST", 0)
    assert bits(EXACT[name](x)) == first


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
        lambda: nd.exp(nd.ones((2,))),  # numpy has another exp
        lambda: nd.sum(nd.ones((2, 3))),  # and adds up in another order
        lambda: nd.smooth_l1(nd.ones((2,)), scalar=1.0),  # several roundings, which a pass may change
        lambda: nd.square(nd.ones((2,), dtype="float16")),  # computed in float32
        lambda: nd.transpose(nd.ones((2, QUICK))),  # not few elements
        lambda: nd.random.uniform(shape=(2,)),
    ],
)
def test_whatever_may_differ_is_compiled_at_once(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
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
