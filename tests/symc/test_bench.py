"""Protects the arithmetic of the benchmark: the share of the limit is that of the work which is done."""

from __future__ import annotations

import pytest

import symc as mx
from symc.bench import specs
from symc.bench.cli import _share
from symc.compile import compile_symbol
from symc.ir.program.work import flops_of
from symc.ir.types import F32, TensorType
from symc.typed import module_of


@pytest.mark.parametrize("name", ["dw960-7", "160-7-960", "3-224-32k3s2"])
def test_the_work_of_a_layer_is_that_of_its_program(name: str) -> None:
    channels, size, filters, kernel, stride, groups = specs.LAYERS[name]
    net = mx.sym.Convolution(
        mx.sym.Variable("data"), kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(kernel // 2,) * 2, num_filter=filters,
        num_group=groups, no_bias=True,
    )  # fmt: skip
    shapes, _, _ = net.infer_shape(data=(1, channels, size, size))
    types = {n: TensorType(F32, s) for n, s in zip(net.list_arguments(), shapes)}
    assert specs.layer_flops(name) == flops_of(compile_symbol(module_of(net, types)).program)
    assert _share(f"layer/{name}", 1.0, 2 * specs.layer_flops(name)) == "50 %"


def test_a_layer_runs() -> None:
    specs.layer(mx, "dw960-7")()
