"""Blocks, parameters and the Trainer where Gluon's answers are no numbers: what is deferred, refused and kept."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc import autograd, gluon
from symc.gluon import nn

L2 = gluon.loss.L2Loss()


def dense(**kwargs):
    made = nn.Dense(2, in_units=3, **kwargs)
    made.initialize()
    return made


def step(net, trainer, x, **kwargs):
    with autograd.record():
        loss = L2(net(x), mx.nd.ones((x.shape[0], 2)))
    loss.backward()
    trainer.step(x.shape[0], **kwargs)
    return float(loss.mean().asscalar())


# ----------------------------------------------------------------------------------------------- parameters


def test_shapes_are_found_out_by_the_first_pass():
    net = nn.HybridSequential()
    net.add(nn.Dense(4), nn.Dense(2))
    with pytest.raises(RuntimeError, match="has no values"):
        net[0].weight.data()
    net.initialize()
    with pytest.raises(gluon.DeferredInitializationError, match="call the net with data once"):
        net[0].weight.data()
    assert net[0].weight.shape == (4, 0)
    net(mx.nd.ones((5, 3)))
    assert net[0].weight.shape == (4, 3) and net[1].weight.data().shape == (2, 4)
    with pytest.raises(ValueError, match="do not follow from the data"):
        wrong = nn.Dense(2, in_units=7)
        wrong.weight._shape = (2, 0)
        wrong.bias._shape = (3,)
        wrong.initialize()
        wrong(mx.nd.ones((5, 3)))


def test_initializers_of_parameters_and_of_the_net():
    net = nn.Dense(2, in_units=3, weight_initializer=mx.init.Constant(4), bias_initializer="ones")
    net.initialize(mx.init.Zero())
    assert (net.weight.data().asnumpy() == 4).all() and (net.bias.data().asnumpy() == 1).all()
    net.initialize(mx.init.Zero(), force_reinit=True)
    with pytest.warns(UserWarning, match="keeps the values"):
        net.initialize()
    mx.random.seed(3)
    first = dense(prefix="a_").weight.data().asnumpy()
    mx.random.seed(3)
    assert (dense(prefix="b_").weight.data().asnumpy() == first).all()
    assert abs(first).max() <= 0.07


def test_what_becomes_of_gradients():
    net = dense()
    net.weight.grad_req = "null"
    net.bias.grad_req = "add"
    for _ in range(2):
        with autograd.record():
            loss = net(mx.nd.ones((1, 3))).sum()
        loss.backward()
    assert net.bias.grad().asnumpy().tolist() == [2.0, 2.0]
    net.collect_params().zero_grad()
    assert net.bias.grad().asnumpy().tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="grad_req is 'null'"):
        net.weight.grad()
    net.collect_params().setattr("grad_req", "write")
    assert net.weight.grad().shape == (2, 3)
    with pytest.raises(KeyError):
        net.weight.grad_req = "often"
    with pytest.raises(AssertionError, match="stype='dense'"):
        gluon.Parameter("w", stype="dense")


def test_values_types_and_contexts():
    net = dense()
    net.weight.set_data(np.full((2, 3), 2.0))
    assert (net.weight.data().asnumpy() == 2).all()
    with pytest.raises(AssertionError, match="cannot become"):
        net.weight.set_data(mx.nd.ones((3, 3)))
    net.cast("float64")
    assert net(mx.nd.ones((1, 3), dtype="float64")).dtype == np.float64
    net.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)])
    assert net.weight.list_ctx() == [mx.cpu(0), mx.cpu(1)]
    with pytest.raises(RuntimeError, match="not on context cpu"):
        net.weight.data(mx.cpu(2))


def test_parameters_by_name():
    shared = gluon.ParameterDict("net_")
    first = shared.get("weight", shape=(2, 0))
    assert shared.get("weight", shape=(0, 3)) is first and first.shape == (2, 3)
    with pytest.raises(AssertionError, match="its shape is"):
        shared.get("weight", shape=(4, 3))
    assert gluon.ParameterDict("net_", shared).get("weight") is first
    constant = shared.get_constant("c", [1.0, 2.0])
    assert shared.get_constant("c") is constant and constant.grad_req == "null"
    with pytest.raises(AssertionError, match="another one"):
        shared.get_constant("c", [1.0, 3.0])
    constant.initialize()
    assert constant.data().asnumpy().tolist() == [1.0, 2.0]


# ----------------------------------------------------------------------------------------------- blocks


def test_blocks_know_their_parts():
    class Net(nn.Block):
        def __init__(self):
            super().__init__()
            self.first = nn.Dense(2)
            self.hidden = [nn.Dense(2)]

        def forward(self, x):
            return self.first(x)

    net = Net()
    with pytest.warns(UserWarning, match="not part of the net"):
        assert len(net.collect_params()) == 2
    with pytest.raises(TypeError, match="cannot become"):
        net.first = 3
    with pytest.raises(ValueError, match="HybridSequential"):
        nn.HybridSequential().add(nn.Lambda("tanh"))
    assert [type(b).__name__ for b in _applied(net)] == ["Dense", "Net"]


def _applied(net):
    seen = []
    net.apply(seen.append)
    return seen


def test_hooks_are_called_until_they_are_detached():
    net, seen = dense(), []
    before = net.register_forward_pre_hook(lambda block, args: seen.append(len(args)))
    after = net.register_forward_hook(lambda block, args, out: seen.append(out.shape))
    net(mx.nd.ones((1, 3)))
    before.detach()
    with after:
        net(mx.nd.ones((4, 3)))
    net(mx.nd.ones((1, 3)))
    assert seen == [1, (1, 2), (4, 2)]


@pytest.mark.parametrize("hybridize", [False, True])
def test_nested_arguments_and_results(hybridize):
    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x, pair, third=None):
            a, b = pair
            return x + a, [b * 2, x if third is None else x + third]

    net = Net()
    if hybridize:
        net.hybridize()
    one = mx.nd.ones((2,))
    for extra in ((), (None,)):
        first, (second, last) = net(one, [one * 2, one * 3], *extra)
        assert [v.asnumpy()[0] for v in (first, second, last)] == [3.0, 6.0, 1.0]
    if not hybridize:
        assert net(one, [one, one], one)[1][1].asnumpy()[0] == 2.0
    else:
        with pytest.raises(ValueError, match="another form"):
            net(one, [one, one], one)
    with pytest.raises(ValueError, match="both NDArrays and Symbols"):
        net(one, [mx.sym.Variable("a"), one])


@pytest.mark.parametrize("hybridize", [False, True])
def test_an_argument_that_is_none_may_be_needed(hybridize):
    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x, y):
            return x if y is None else x + y

    net = Net()
    if hybridize:
        net.hybridize()
    assert net(mx.nd.ones((2,)), None).asnumpy().tolist() == [1.0, 1.0]


def test_a_compiled_block_takes_arrays_of_one_context():
    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x, y):
            return x + y

    one = mx.nd.ones((2,))
    assert Net()(one, 3).asnumpy().tolist() == [4.0, 4.0]
    for other in (3, mx.nd.ones((2,), ctx=mx.cpu(1))):
        net = Net()
        net.hybridize()
        with pytest.raises(ValueError, match="all on one context"):
            net(one, other)


def test_a_compiled_block_gives_the_gradients_of_an_uncompiled_one():
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="tanh"), nn.BatchNorm(), nn.Dense(2))
    net.initialize()
    x = mx.nd.array(np.random.RandomState(0).randn(5, 3))
    x.attach_grad()
    found = []
    for hybridize in (False, True):
        net(x)
        net[1].running_mean.set_data(mx.nd.zeros((4,)))
        net.hybridize(hybridize)
        with autograd.record():
            y = net(x * 2)
            z = (y * y).sum() + y[0, 0]
        z.backward(retain_graph=True)
        once = [x.grad.asnumpy(), *(p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null")]
        moved = net[1].running_mean.data().asnumpy()
        z.backward()
        again = [x.grad.asnumpy(), *(p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null")]
        assert all((a == b).all() for a, b in zip(once, again))
        found.append([*once, moved])
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found))
    with autograd.record():
        y = net(x)
    with pytest.raises(mx.MXNetError, match="differentiated again"):
        autograd.grad(y, x, create_graph=True)


def test_the_history_of_a_compiled_block_is_its_symbol():
    net = dense()
    net.hybridize()
    x = mx.nd.ones((1, 3))
    with autograd.record():
        y = net(x) * 2
    symbol = autograd.get_symbol(y)
    assert len(symbol.list_arguments()) == 3
    values = dict(zip(symbol.list_arguments(), [x, net.weight.data(), net.bias.data()]))
    assert (symbol.bind(mx.cpu(), values).forward()[0].asnumpy() == y.asnumpy()).all()


def test_dropout_of_a_compiled_block_is_drawn_anew_and_only_in_training():
    net = nn.HybridSequential()
    net.add(nn.Dropout(0.5))
    net.hybridize()
    x = mx.nd.ones((50,))
    x.attach_grad()
    assert (net(x).asnumpy() == 1).all()
    with autograd.record():
        first, second = net(x), net(x)
    assert (first.asnumpy() != second.asnumpy()).any()
    first.backward()
    assert (x.grad.asnumpy() == first.asnumpy()).all()
    second.backward()
    assert (x.grad.asnumpy() == second.asnumpy()).all()


def test_a_block_whose_result_has_a_size_of_its_own():
    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x, mask):
            return F.contrib.boolean_mask(x, mask) * 2

    net = Net()
    net.hybridize()
    x = mx.nd.array([1.0, 2.0, 3.0])
    x.attach_grad()
    for mask, kept in (([1, 0, 1], [2.0, 6.0]), ([0, 1, 0], [4.0])):
        with autograd.record():
            y = net(x, mx.nd.array(mask))
        y.backward()
        assert y.asnumpy().tolist() == kept and x.grad.asnumpy().tolist() == [2.0 * m for m in mask]


def test_summary(capsys):
    net = nn.HybridSequential()
    net.add(nn.Dense(4), nn.BatchNorm())
    net.initialize()
    net.summary(mx.nd.ones((2, 3)))
    shown = capsys.readouterr().out
    assert "Dense-1" in shown and "Total params: 32" in shown and "Non-trainable params: 8" in shown


# ----------------------------------------------------------------------------------------------- files


def test_parameters_come_back(tmp_path):
    path = str(tmp_path / "net.params")
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3), nn.Dense(2, in_units=2))
    net.initialize()
    net.save_parameters(path)
    other = nn.HybridSequential()
    other.add(nn.Dense(2), nn.Dense(2))
    other.load_parameters(path)
    x = mx.nd.ones((1, 3))
    assert (other(x).asnumpy() == net(x).asnumpy()).all()
    short = nn.HybridSequential()
    short.add(nn.Dense(2))
    with pytest.raises(ValueError, match="but the net only"):
        short.load_parameters(path)
    short.load_parameters(path, ignore_extra=True)
    long = nn.HybridSequential()
    long.add(nn.Dense(2), nn.Dense(2), nn.Dense(2))
    with pytest.raises(AssertionError, match="has no"):
        long.load_parameters(path)
    long.load_parameters(path, allow_missing=True)
    wide = nn.HybridSequential()
    wide.add(nn.Dense(2, in_units=5), nn.Dense(2))
    with pytest.raises(AssertionError, match="but the one in the file has"):
        wide.load_parameters(path)


def test_exported_nets_run_everywhere(tmp_path):
    path = str(tmp_path / "net")
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(2))
    net.initialize()
    with pytest.raises(RuntimeError, match="hybridize"):
        net.export(path)
    net.hybridize()
    x = mx.nd.array(np.random.RandomState(0).randn(2, 3, 5, 5))
    expected = net(x).asnumpy()
    assert net.export(path) == (f"{path}-symbol.json", f"{path}-0000.params")
    block = gluon.SymbolBlock.imports(f"{path}-symbol.json", ["data"], f"{path}-0000.params")
    assert np.allclose(block(x).asnumpy(), expected, atol=1e-6)
    answer = mx.Predictor(path, 0, {"data": x.shape}).predict(x.asnumpy())
    assert np.allclose(np.asarray(answer[0] if isinstance(answer, (list, tuple)) else answer), expected, atol=1e-6)
    symbol = block(mx.sym.Variable("picture"))
    assert "picture" in symbol.list_arguments()
    trainer = gluon.Trainer(block.collect_params(), "sgd", {"learning_rate": 0.1})
    assert step(block, trainer, x) > step(block, trainer, x)
    inner = gluon.SymbolBlock(symbol.get_internals()[-1], [mx.sym.Variable("picture")], params=block.params)
    assert inner(x).shape == expected.shape


# ----------------------------------------------------------------------------------------------- training


def test_the_trainer_wants_fresh_gradients():
    net, x = dense(), mx.nd.ones((4, 3))
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step(net, trainer, x)
    with pytest.raises(UserWarning, match="was not computed since the last step"):
        trainer.step(4)
    before = net.weight.data().asnumpy()
    trainer.step(4, ignore_stale_grad=True)
    assert (net.weight.data().asnumpy() == before).all()
    assert trainer.learning_rate == 0.1
    trainer.set_learning_rate(0.2)
    assert trainer.optimizer.learning_rate == 0.2


def test_states_of_the_trainer_come_back(tmp_path):
    path, x = str(tmp_path / "states"), mx.nd.array(np.random.RandomState(0).randn(4, 3))

    def run(resume):
        mx.random.seed(0)
        net = dense(prefix="net_")
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
        losses = [step(net, trainer, x) for _ in range(2)]
        if resume:
            trainer.save_states(path)
            trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
            trainer.load_states(path)
        return losses + [step(net, trainer, x) for _ in range(3)]

    assert run(True) == run(False)


def test_what_the_trainer_refuses():
    net = dense()
    with pytest.raises(ValueError, match="list or dict of Parameters"):
        gluon.Trainer([net], "sgd")
    with pytest.raises(ValueError, match="one process"):
        gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")
    with pytest.raises(AssertionError, match="optimizer_params"):
        gluon.Trainer(net.collect_params(), mx.optimizer.SGD(), {"learning_rate": 0.1})
    with pytest.raises(ValueError, match="no store for one context"):
        gluon.Trainer(net.collect_params(), "sgd", update_on_kvstore=True).allreduce_grads()
    both = gluon.Parameter("both", shape=2)
    with pytest.raises(RuntimeError, match="initialize"):
        gluon.Trainer([both], "sgd")
    both.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    with pytest.raises(AssertionError, match="same contexts"):
        gluon.Trainer([net.weight, both], "sgd")
    trainer = gluon.Trainer([both], "sgd")
    for by_hand in (trainer.allreduce_grads, lambda: trainer.update(1)):
        with pytest.raises(AssertionError, match="update_on_kvstore=False"):
            by_hand()


def test_factors_of_parameters_count():
    net, x = dense(), mx.nd.ones((4, 3))
    net.weight.lr_mult = 0.0
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    weight, bias = net.weight.data().asnumpy(), net.bias.data().asnumpy()
    step(net, trainer, x)
    assert (net.weight.data().asnumpy() == weight).all() and (net.bias.data().asnumpy() != bias).all()


# ----------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("name", ["data.DataLoader", "model_zoo.vision", "contrib.nn"])
def test_what_is_missing_says_so_where_it_is_used(name):
    found = gluon
    for part in name.split("."):
        found = getattr(found, part)
    with pytest.raises(mx.MXNetError, match=f"symc has no mx.gluon.{name}"):
        found("x")
    assert not hasattr(gluon, "nonsense") and not hasattr(gluon.rnn, "nonsense")


def test_pools_take_their_parameters_in_mxnets_order():
    """Where the mean is taken, and in three axes, ceil_mode comes before the layout."""
    first = {nn.AvgPool2D: "NCHW", nn.AvgPool3D: "NCDHW", nn.MaxPool3D: "NCDHW"}
    for make, layout in first.items():
        facts = make(2, 2, 0, True)._kwargs
        assert (facts["pooling_convention"], facts["layout"]) == ("full", layout)
    for make, layout in {nn.AvgPool1D: "NCW", nn.MaxPool1D: "NCW", nn.MaxPool2D: "NCHW"}.items():
        assert make(2, 2, 0, layout, True)._kwargs["pooling_convention"] == "full"


def test_what_blocks_do_not_have_says_what_to_do():
    net = nn.Dense(2)
    for call in (lambda: net.save("x"), lambda: net.load("x"), lambda: net.register_op_hook(print)):
        with pytest.raises(mx.MXNetError, match=r"Block\.\w+: (use|bind)"):
            call()
    net.initialize()
    with pytest.warns(UserWarning, match="'MKLDNN' cannot be found"):
        net.optimize_for(mx.nd.ones((1, 3)), backend="MKLDNN")
    assert net._active and net.weight.shape == (2, 3)


def test_a_norm_with_a_relu():
    data = mx.nd.array(np.random.default_rng(0).standard_normal((4, 3, 2, 2)))
    plain, cut = nn.BatchNorm(), nn.BatchNormReLU()
    for net in (plain, cut):
        net.initialize()
    with mx.autograd.record():
        wanted, found = plain(data), cut(data)
    np.testing.assert_allclose(found.asnumpy(), np.maximum(wanted.asnumpy(), 0), atol=1e-6)
    np.testing.assert_allclose(cut.running_var.data().asnumpy(), plain.running_var.data().asnumpy(), rtol=1e-6)
