"""Protects weights that lie packed: where they do, that convolutions are the same, and that a write to them is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.ir.loop.nodes import Alloc, walk
from symc.ir.prims.linear import Conv, Dot
from symc.ir.program.nodes import KernelStep


def bound(
    shape: tuple[int, ...] = (1, 512, 7, 7), filters: int = 96, after: bool = True, off: bool = False, **attributes: Any
) -> Any:
    """A convolution of one tap, with what often follows."""
    x = mx.sym.Variable("data")
    given = {"kernel": (1,) * (len(shape) - 2), **attributes}
    x = mx.sym.Convolution(x, num_filter=filters, name="conv", **given)
    if after:
        x = mx.sym.Activation(mx.sym.BatchNorm(x, fix_gamma=False, name="bn"), act_type="relu")
    with mx.pipeline(disable=["pack"] if off else []):
        exe = x.simple_bind(mx.cpu(), grad_req="null", data=shape)
    rs = np.random.RandomState(0)
    for array in (*exe.arg_dict.values(), *exe.aux_dict.values()):
        array[:] = rs.randint(-4, 5, array.shape)
    for name, array in exe.aux_dict.items():
        array[:] = 1 if name.endswith("var") else 0
    return exe


def convolution(exe: Any) -> tuple[KernelStep, Conv]:
    for step in exe._instance(False).executable.program.steps:
        for node in step.body.nodes() if isinstance(step, KernelStep) else ():
            if isinstance(node.op, Conv):
                return step, node.op
    raise AssertionError("there is no convolution")


@pytest.mark.parametrize(
    "shape, filters, attributes",
    [
        ((1, 512, 7, 7), 96, {}),
        ((1, 256, 7, 7), 320, {"no_bias": True}),
        ((2, 512, 5, 7), 64, {}),
        ((1, 512, 11), 64, {}),
        ((1, 512, 2, 3, 5), 128, {}),
        ((1, 512, 14, 14), 64, {"stride": (2, 2)}),
    ],
)
def test_weights_of_small_maps_lie_packed_and_give_the_same(
    shape: tuple[int, ...], filters: int, attributes: dict[str, Any]
):
    exe, plain = (bound(shape, filters, off=off, **attributes) for off in (False, True))
    step, op = convolution(exe)
    assert op.lanes and filters % op.lanes == 0 and not convolution(plain)[1].lanes
    program = exe._instance(False).executable.program
    assert program.prologue and program.kept >= 4 * filters * shape[1]
    # whole numbers: sums in any order are the same
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), plain.forward()[0].asnumpy())
    loops = exe._instance(False).executable.loops
    called = exe._instance(False).executable.called.calls[program.steps.index(step)]
    assert not any(isinstance(s, Alloc) and s.buffer.name.startswith("panel") for s in walk(loops.kernels[called].body))


def test_a_write_to_packed_weights_is_seen():
    exe = bound()
    for write in (
        lambda w: w.__setitem__(slice(3, 5), 7),
        lambda w: w.__imul__(2),
        lambda w: mx.nd.random.uniform(shape=w.shape, out=w),
        lambda w: np.asarray(mx.nd.from_dlpack(w)._data).__setitem__(1, 3),
    ):
        exe.forward()
        write(exe.arg_dict["conv_weight"])
        fresh = exe._symbol.bind(mx.cpu(), exe.arg_dict, grad_req="null", aux_states=exe.aux_dict)
        np.testing.assert_array_equal(exe.forward()[0].asnumpy(), fresh.forward()[0].asnumpy())


@pytest.mark.parametrize(
    "shape, filters, attributes, why",
    [
        ((1, 512, 7, 7), 96, {"num_group": 2}, "groups"),
        ((1, 512, 7, 7), 96, {"kernel": (1, 3)}, "several taps"),
        ((1, 512, 7, 7), 97, {}, "channels that fill no vectors"),
        ((1, 16, 7, 7), 512, {}, "few products a result"),
        ((1, 256, 56, 56), 64, {}, "maps so large that packing does not count"),
        ((64, 256, 7, 7), 64, {}, "so many images"),
        ((1, 256, 2, 2), 64, {}, "little to do"),
        ((1, 1024, 7, 7), 1024, {}, "weights that come from memory"),
    ],
)
def test_other_weights_stay_as_they_are(shape: tuple[int, ...], filters: int, attributes: dict[str, Any], why: str):
    step, op = convolution(bound(shape, filters, **attributes))
    assert not op.lanes, why


def layer(rows: int, units: int, inputs: int, off: bool = False) -> Any:
    """A layer of numbers that sum up exactly."""
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=units, name="fc")
    with mx.pipeline(disable=["pack"] if off else []):
        exe = mx.sym.Activation(net, act_type="relu").simple_bind(mx.cpu(), grad_req="null", data=(rows, inputs))
    rs = np.random.RandomState(0)
    for array in exe.arg_dict.values():
        array[:] = rs.randint(-4, 5, array.shape)
    return exe


def product(exe: Any) -> Dot:
    (found,) = (
        node.op
        for step in exe._instance(False).executable.program.steps
        for node in (step.body.nodes() if isinstance(step, KernelStep) else ())
        if isinstance(node.op, Dot)
    )
    return found


@pytest.mark.parametrize("rows, units, inputs", [(2, 64, 64), (8, 64, 300), (16, 33, 17), (31, 64, 200), (48, 64, 64)])
def test_weights_of_products_of_few_rows_are_turned_once(rows: int, units: int, inputs: int):
    exe, plain = (layer(rows, units, inputs, off) for off in (False, True))
    assert product(plain).tb and not product(exe).tb
    assert exe._instance(False).executable.program.kept >= 4 * units * inputs
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), plain.forward()[0].asnumpy())
    for value in (1, 2):
        exe.arg_dict["fc_weight"][:3] = value
        plain.arg_dict["fc_weight"][:3] = value
        np.testing.assert_array_equal(exe.forward()[0].asnumpy(), plain.forward()[0].asnumpy())


@pytest.mark.parametrize("rows, units, inputs", [(1, 64, 64), (4, 8, 8), (32, 64, 256), (8, 2000, 300)])
def test_weights_of_other_products_stay_as_they_are(rows: int, units: int, inputs: int):
    assert product(layer(rows, units, inputs)).tb


def test_training_and_computed_weights_are_not_packed():
    x, w = mx.sym.Variable("data"), mx.sym.Variable("kernels")
    net = mx.sym.Convolution(x, mx.sym.tanh(w), num_filter=96, kernel=(1, 1), no_bias=True)
    shapes = {"data": (1, 512, 7, 7), "kernels": (96, 512, 1, 1)}
    exe = net.simple_bind(mx.cpu(), grad_req="null", **shapes)
    assert not convolution(exe)[1].lanes  # nobody says that these are learned
    net = mx.sym.Convolution(x, num_filter=96, kernel=(1, 1), no_bias=True)
    exe = net.simple_bind(mx.cpu(), data=shapes["data"])
    program = exe._instance(True).executable.program
    found = [n.op for s in program.steps if isinstance(s, KernelStep) for n in s.body.nodes()]
    assert not program.prologue and not any(isinstance(op, Conv) and op.lanes for op in found)
