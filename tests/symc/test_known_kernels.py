"""Protects programs whose kernels the process has described before: they run without loops being written, as the same
kernels as by the long way; what decides a kernel's code is never mistaken for another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symc as mx
import symc.compile
import symc.runtime.programs
from symc.codegen.emit.description import describe
from symc.codegen.target import host_target
from symc.compile import Executable, compile_symbol
from symc.ir.text import print_loops
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager
from symc.runtime import known
from symc.typed import complete, module_of

S = mx.sym


@pytest.fixture(autouse=True)
def none_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_known", {})
    monkeypatch.setattr(symc.runtime.programs, "_programs", {})
    monkeypatch.delenv("SYMC_VERIFY", raising=False)
    monkeypatch.setenv("SYMC_CACHE", "0")


def module(symbol: Any, **shapes: tuple[int, ...]) -> Any:
    return module_of(symbol, complete(symbol, shapes)[0])


def weights(symbol: Any) -> list[str]:
    return [n for n in symbol.list_arguments() if n not in ("data", "softmax_label")]


def mlp() -> Any:
    x = S.BatchNorm(S.FullyConnected(S.Variable("data"), num_hidden=8, name="fc1"), fix_gamma=False, name="bn")
    x = S.Dropout(S.Activation(x, act_type="relu"), p=0.3)
    return S.SoftmaxOutput(S.FullyConnected(x, num_hidden=4, name="fc2"), name="softmax")


def convolutions() -> Any:
    x = S.Convolution(S.Variable("data"), kernel=(3, 3), pad=(1, 1), num_filter=6, name="c")
    x = S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    return S.Concat(S.Flatten(x), S.Flatten(S.transpose(x, axes=(0, 2, 3, 1))), dim=1, name="both") * 2 + 1


def lstm() -> Any:
    outputs, _ = mx.rnn.LSTMCell(5, prefix="l_").unroll(3, S.Variable("data"))
    return S.Concat(*outputs, dim=1)


CASES = [(mlp, (2, 5)), (convolutions, (1, 3, 8, 8)), (lstm, (2, 3, 4))]


@pytest.mark.parametrize(("make", "shape"), CASES)
@pytest.mark.parametrize("train", [False, True])
def test_known_kernels_are_those_of_the_long_way(make: Callable[[], Any], shape: tuple[int, ...], train: bool) -> None:
    with mx.name.NameManager():
        symbol = make()
    found = module(symbol, data=shape)
    wrt = weights(symbol) if train else []
    first = compile_symbol(found, train, wrt)
    again = symc.compile._made(symc.compile.pipeline(train, wrt), found, host_target())
    assert again.kernels == first.kernels and again.called == first.called
    long = compile_symbol(found, train, wrt, manager=Manager())
    assert long.kernels == again.kernels and long.called == again.called
    assert print_loops(again.loops) == print_loops(long.loops)
    assert [describe(kernel, host_target()) for kernel in again.loops.kernels] == list(again.kernels)


def test_no_loops_are_written_for_known_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(scale: float) -> Executable:
        with mx.name.NameManager():
            symbol = S.Activation(S.Variable("x") * scale + 1, act_type="relu")
        return compile_symbol(module(symbol, x=(3, 4)))

    compiled(2.0)

    def refused(*_: Any) -> None:
        raise AssertionError("loops are written")

    monkeypatch.setattr(Lower, "run", refused)
    same = compiled(2.0)
    with pytest.raises(AssertionError, match="loops are written"):
        compiled(3.0)  # another constant is another kernel
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (made,) = same(x=x).values()
    np.testing.assert_array_equal(made, np.maximum(x * 2 + 1, 0))


def test_what_decides_the_code_tells_kernels_apart() -> None:
    symbol = S.sum(S.Variable("x"), axis=1)
    predicted = compile_symbol(module(symbol, x=(4, 8192)))
    trained = compile_symbol(module(symbol, x=(4, 8192)), True)
    assert predicted.kernels != trained.kernels  # longer blocks of sums
    key = symc.compile.Kernels(predicted.program).keys
    last = [p for p in symc.compile.pipeline() if p.gives == "loop"]
    assert known.facts_of(key, last, host_target()) == predicted.kernels
    assert known.facts_of(key, [Lower(), Choose(vector_bytes=8), Tile()], host_target()) is None
    assert known.facts_of(key, last, dataclasses.replace(host_target(), registers=3)) is None


def test_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KEEP", 2)
    for rows in range(2, 7):
        compile_symbol(module(S.Variable("x") + 1, x=(rows, 3)))
    assert len(known._known) <= 2
