"""Names say nothing: protects programs whose variables, outputs and operators bear names that the compiler gives, too.
Every net is run under such names and under plain ones; the numbers are the same."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx

#: names that a gradient, a cotangent, random bits, a copy, a rule's state and number, an operand, a region would take
HOSTILE = [
    "x.grad", "x.grad2", "v.grad", "y_output.head", "y_output.head2", "random.key", "x.state0", "x.lr", "w.state0",
    "w.lr", "w.kept", "y.out0", "in0", "out0", "y.1", "y.mul", "y.to.x", "a b", "update", "return", "0", "1.0",
    "v.grad.1", "x.grad.1", "y_output.head.1", "random.key.1",
]  # fmt: skip


def trained(build, names: dict[str, str], req: str) -> list[np.ndarray]:
    """Outputs, gradients and states of two steps; variables are named `names[...]`."""
    net = build(lambda name: mx.sym.Variable(names.get(name, name)))
    exe = net.simple_bind(mx.cpu(), grad_req=req, **{names.get("x", "x"): (3, 4)})
    rs = np.random.RandomState(1)
    for array in (*exe.arg_arrays, *exe.aux_arrays):
        array[:] = rs.uniform(0.5, 1.5, array.shape)
    found = []
    for _ in range(2):
        mx.random.seed(3)
        found += [o.asnumpy().copy() for o in exe.forward(is_train=True)]
        exe.backward([mx.nd.ones(o.shape) * 2 for o in exe.outputs])
        found += [a.asnumpy().copy() for a in (*exe.grad_arrays, *exe.aux_arrays) if a is not None]
    return found


@pytest.mark.parametrize("req", ["write", "add"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_variables_may_bear_any_name(hostile: str, req: str) -> None:
    def net(v):
        w = v("w")
        y = mx.sym.elemwise_mul(v("x"), w, name="y")
        return mx.sym.Group([mx.sym.Dropout(y, p=0.5, name="d"), w])

    for variable in ("x", "w"):
        for got, want in zip(trained(net, {variable: hostile}, req), trained(net, {}, req)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_states_may_bear_any_name(hostile: str) -> None:
    def net(v):
        x = v("x")
        y = mx.sym.BatchNorm(x, v("gamma"), v("beta"), v("mean"), v("var"), name="y", axis=1)
        return mx.sym.Group([y, mx.sym.elemwise_add(x, x, name="z")])

    for variable in ("gamma", "mean"):
        for got, want in zip(trained(net, {variable: hostile}, "write"), trained(net, {}, "write")):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("hostile", [n for n in HOSTILE if n != "x.grad"])
def test_operators_may_bear_any_name(hostile: str) -> None:
    def net(name: str):
        def build(v):
            y = mx.sym.elemwise_mul(v("x"), v("w"), name=name)
            return mx.sym.Group([mx.sym.Dropout(mx.sym.exp(y, name="e"), p=0.5, name="d"), y])

        return build

    for req in ("write", "add"):
        for got, want in zip(trained(net(hostile), {}, req), trained(net("plain"), {}, req)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("hostile", ["w.state0", "w.lr", "w.wd", "w.rescale", "random.key", "w.state0.1"])
def test_a_training_step_as_one_program_takes_any_names(hostile: str) -> None:
    def step(name: str) -> dict[str, np.ndarray]:
        bias = mx.sym.Variable(name, shape=(4,), init=mx.init.One())
        weight = mx.sym.Variable("w", init=mx.init.One())
        fc = mx.sym.FullyConnected(mx.sym.Variable("data"), weight, bias, num_hidden=4, name="fc")
        net = mx.sym.SoftmaxOutput(mx.sym.Dropout(fc, p=0.25), name="softmax")
        mod = mx.mod.Module(net)
        mod.bind([("data", (2, 3))], [("softmax_label", (2,))])
        mod.init_params()
        mod.init_optimizer(optimizer="sgd", optimizer_params={"momentum": 0.9, "learning_rate": 0.5})
        batch = mx.io.DataBatch([mx.nd.array(np.arange(6).reshape(2, 3))], [mx.nd.array([0, 2])])
        for _ in range(3):
            mx.random.seed(1)
            mod.forward_backward(batch)
            mod.update()
        assert mod._fused
        return {k if k == "w" else "bias": v.asnumpy() for k, v in mod.get_params()[0].items()}

    got, want = step(hostile), step("bias")
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])
