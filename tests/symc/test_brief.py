"""Kernels of so few turns that their code is not optimised: seen in the text, and the same bits as any other code."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.codegen.emit.description import describe, is_brief
from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.emit.text import BRIEF
from symc.codegen.target import host_target, is_x86, named_target
from symc.ir.loop.nodes import LoopKernel
from symc.passes import cost
from symc.runtime import known, programs

pytestmark = pytest.mark.skipif(not is_x86(), reason="code of other machines is always optimised")
S = mx.sym


def kernels_of(net: mx.sym.Symbol, **shapes: tuple[int, ...]) -> tuple[LoopKernel, ...]:
    return mx.compile(net, shapes).loops.kernels


def _functions() -> mx.sym.Symbol:
    x = S.Variable("x")
    positive = S.abs(x) + 0.5
    made = [
        S.exp(x),
        S.log(positive),
        S.tanh(x),
        S.erf(x),
        S.sin(x),
        S.gamma(positive),
        S.sqrt(positive),
        positive**1.7,
    ]
    return S.Group([*made, S.Cast(S.Cast(x, dtype="float16") * 3, dtype="float32"), S.Cast(x * 9, dtype="int32") % 4])


def _layers() -> mx.sym.Symbol:
    x = S.Convolution(S.Variable("x"), kernel=(3, 3), pad=(1, 1), num_filter=6, name="conv")
    x = S.Activation(S.BatchNorm(x, fix_gamma=False, name="norm"), act_type="tanh")
    x = S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    x = S.FullyConnected(S.Flatten(x), num_hidden=7, name="full")
    return S.SoftmaxOutput(x, S.Variable("label"), name="softmax")


def _sequence() -> mx.sym.Symbol:
    cell = mx.rnn.LSTMCell(5, prefix="lstm_")
    outputs, _ = cell.unroll(3, S.Variable("x"), merge_outputs=True)
    return S.sum(S.LayerNorm(outputs, S.Variable("gamma"), S.Variable("beta")), axis=1)


NETS = {
    "functions": (_functions, {"x": (3, 37)}),
    "layers": (_layers, {"x": (3, 2, 9, 9)}),
    "sequence": (_sequence, {"x": (2, 3, 4)}),
}


@pytest.mark.parametrize("name", NETS)
def test_brief_code_computes_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shapes = NETS[name]
    net = make()

    def trained(brief: int) -> list[bytes]:
        monkeypatch.setattr(cost, "BRIEF", brief)
        monkeypatch.setattr(known, "_known", {})
        monkeypatch.setattr(programs, "_programs", {})  # nor is what an earlier run has made taken
        exe = net.simple_bind(mx.cpu(), **shapes)
        rs = np.random.RandomState(1)
        for array in (*exe.arg_arrays, *exe.aux_arrays):
            array[:] = rs.randn(*array.shape)
        exe.forward(is_train=True)
        exe.backward([mx.nd.array(rs.randn(*o.shape), dtype=o.dtype) for o in exe.outputs])
        arrays = [*exe.outputs, *exe.grad_arrays, *exe.aux_arrays]
        return [array.asnumpy().tobytes() for array in arrays if array is not None]

    monkeypatch.setenv("SYMC_CACHE", "0")
    optimised = trained(0)
    assert trained(1 << 60) == optimised


def test_the_text_and_the_key_say_whether_code_is_brief() -> None:
    x = S.Variable("x")
    (short,), (long,) = (kernels_of(S.exp(x) * 2, x=(turns, 16)) for turns in (2, 1 << 14))
    target = host_target()
    assert is_brief(short, target) and not is_brief(long, target)
    assert BRIEF in emit_kernel(short, target) and BRIEF not in emit_kernel(long, target)
    assert describe(short, target).key != describe(long, target).key, "their turns are given, and yet they differ"


def test_kernels_of_as_few_turns_share_brief_code() -> None:
    x = S.Variable("x")
    keys = {describe(kernels_of(S.exp(x) * 2, x=(turns, 64))[0], host_target()).key for turns in (2, 3, 5)}
    assert len(keys) == 1


def test_code_of_other_machines_is_optimised() -> None:
    (kernel,) = kernels_of(S.exp(S.Variable("x")), x=(2, 3))
    assert not is_brief(kernel, named_target("aarch64"))
