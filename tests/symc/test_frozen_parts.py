"""Protects states of frozen parts of a net: they change in the backward half only where the operator's own runs, as
MXNet 1.9.1 answers for every case here."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

BATCH = (4, 3)


def normed(data: mx.sym.Symbol, name: str, **attrs: object) -> mx.sym.Symbol:
    return mx.sym.BatchNorm(data, name=name, fix_gamma=False, momentum=0.5, **attrs)


def states_moved(net: mx.sym.Symbol, asked: tuple[str, ...]) -> set[str]:
    """The auxiliary states that a step with the gradients of these arguments changes."""
    requests = {name: "write" if name in asked else "null" for name in net.list_arguments()}
    exe = net.simple_bind(mx.cpu(), grad_req=requests, data=BATCH)
    rng = np.random.default_rng(0)
    for array in exe.arg_dict.values():
        array[:] = rng.uniform(1, 2, array.shape)
    before = {name: array.asnumpy() for name, array in exe.aux_dict.items()}
    exe.forward(is_train=True)
    exe.backward([mx.nd.ones(o.shape) for o in exe.outputs])
    return {name for name, array in exe.aux_dict.items() if not np.array_equal(array.asnumpy(), before[name])}


def both(name: str) -> set[str]:
    return {f"{name}_moving_mean", f"{name}_moving_var"}


DATA = mx.sym.Variable("data")
CHAIN = normed(normed(DATA, "a"), "b")
BLOCKED = normed(mx.sym.BlockGrad(normed(DATA, "a")), "b")


@pytest.mark.parametrize(
    ("net", "asked", "moved"),
    [
        (CHAIN, (), set()),
        (CHAIN, ("data",), both("a") | both("b")),
        (CHAIN, ("a_beta",), both("a") | both("b")),
        (CHAIN, ("b_gamma",), both("b")),
        (BLOCKED, ("data",), both("a")),
        (BLOCKED, ("b_beta",), both("b")),
        (BLOCKED, ("a_gamma", "b_beta"), both("a") | both("b")),
        (mx.sym.Group([CHAIN, mx.sym.BlockGrad(normed(DATA, "c"))]), ("b_beta",), both("b")),
        (mx.sym.Group([CHAIN, mx.sym.BlockGrad(normed(DATA, "c"))]), ("b_beta", "c_beta"), both("b") | both("c")),
        (mx.sym.Group([normed(DATA, "a"), mx.sym.argmax(normed(DATA, "c"))]), ("c_beta",), both("c")),
        (mx.sym.IdentityAttachKLSparseReg(mx.sym.sigmoid(DATA), name="k"), (), set()),
        (mx.sym.IdentityAttachKLSparseReg(mx.sym.sigmoid(DATA), name="k"), ("data",), {"k_moving_avg"}),
    ],
)
def test_states_change_where_gradients_are_asked_for(
    net: mx.sym.Symbol, asked: tuple[str, ...], moved: set[str]
) -> None:
    assert states_moved(net, asked) == moved


def test_a_gamma_that_counts_as_one_is_asked_for_all_the_same() -> None:
    assert states_moved(mx.sym.BatchNorm(DATA, name="a"), ("a_gamma",)) == both("a")


def test_operators_that_share_a_state_change_it_each_for_itself() -> None:
    """The one that is frozen takes no part."""
    mean = mx.sym.Variable("mean", init=mx.init.Zero())
    net = normed(mx.sym.BlockGrad(normed(DATA, "a", moving_mean=mean)), "b", moving_mean=mean)
    assert states_moved(net, ("a_gamma",)) == {"mean", "a_moving_var"}
    exe = net.simple_bind(mx.cpu(), grad_req={"b_gamma": "write"}, data=BATCH)
    exe.arg_dict["data"][:] = np.arange(12).reshape(BATCH)
    exe.arg_dict["a_gamma"][:] = exe.arg_dict["a_beta"][:] = 1.0
    exe.forward(is_train=True)
    exe.backward([mx.nd.ones(BATCH)])
    np.testing.assert_allclose(exe.aux_dict["mean"].asnumpy(), np.full(3, 0.5), atol=1e-6)


def test_fine_tuning_leaves_the_moving_averages_of_frozen_layers() -> None:
    net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(normed(DATA, "a"), num_hidden=2, name="fc"), name="softmax")
    for fixed, moves in ((["a_gamma", "a_beta"], False), (["a_gamma"], True)):
        module = mx.mod.Module(net, fixed_param_names=fixed)
        module.bind([("data", BATCH)], [("softmax_label", (4,))])
        module.init_params()
        module.init_optimizer()
        module.forward_backward(mx.io.DataBatch([mx.nd.ones(BATCH)], [mx.nd.zeros(4)]))
        module.update()
        assert (module.get_params()[1]["a_moving_mean"].asnumpy() != 0).all() == moves
