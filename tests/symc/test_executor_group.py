"""Protects what programs read of `module._exec_group`, and the groups of executors that they build themselves."""

from __future__ import annotations

import numpy as np
import pytest

import symc as mx
from symc.module.executor_group import DataParallelExecutorGroup


def net():
    data = mx.sym.BatchNorm(mx.sym.Variable("data"), name="bn", fix_gamma=False)
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(data, num_hidden=3, name="fc"), name="softmax")


def batch(rows=4):
    rng = np.random.RandomState(rows)
    return mx.io.DataBatch([mx.nd.array(rng.randn(rows, 2))], [mx.nd.array(rng.randint(0, 3, rows))])


def bound(**given):
    mod = mx.mod.Module(net(), fixed_param_names=["fc_bias"])
    assert mod._exec_group is None
    mod.bind([("data", (4, 2))], [("softmax_label", (4,))], **given)
    mod.init_params()
    return mod


def test_a_module_shows_its_executor():
    mod = bound(inputs_need_grad=True)
    group = mod._exec_group
    mod.forward_backward(batch())  # is put off until somebody looks
    exe = group.execs[0]
    assert len(group.execs) == 1 and group.batch_size == 4 and group.slices == [slice(0, 4)]
    assert group.arg_names == mod.symbol.list_arguments() and group.aux_names == ["bn_moving_mean", "bn_moving_var"]
    assert group.param_names == ["bn_gamma", "bn_beta", "fc_weight", "fc_bias"]
    assert [a[0] is exe.arg_dict[n] for a, n in zip(group.param_arrays, group.param_names)] == [True] * 4
    assert group.grad_arrays[3] == [None] and group.grad_req["fc_bias"] == "null"
    assert float(abs(group.grad_arrays[2][0].asnumpy()).sum()) > 0
    assert group.data_arrays[0][0][0] == slice(0, 4) and group.data_arrays[0][0][1] is exe.arg_dict["data"]
    assert group.label_arrays[0][0][1] is exe.arg_dict["softmax_label"]
    assert group.input_grad_arrays[0][0] is mod.get_input_grads()[0]
    assert group.get_outputs()[0].shape == (4, 3)
    mod.forward(batch(6))
    assert group.batch_size == 6 and group.execs[0].outputs[0].shape == (6, 3)


def test_a_module_for_prediction_has_no_gradients():
    group = bound(for_training=False)._exec_group
    assert group.grad_arrays is None and group.input_grad_arrays is None


def test_a_group_divides_the_rows():
    """Each executor has its statistics, parameters and gradients; together they give what one has for the whole."""
    data, label = [mx.io.DataDesc("data", (4, 2))], [mx.io.DataDesc("softmax_label", (4,))]
    names = ["fc_weight", "fc_bias"]
    head = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc")
    symbol = mx.sym.SoftmaxOutput(head, name="softmax")
    given = {"fc_weight": mx.nd.array([[1, 2], [3, 4], [5, 6]]), "fc_bias": mx.nd.zeros(3)}

    def run(contexts, workload):
        group = DataParallelExecutorGroup(symbol, contexts, workload, data, label, names, True, True)
        group.set_params(given, {})
        group.forward(batch())
        group.backward()
        return group

    one, two = run([mx.cpu()], None), run([mx.cpu(0), mx.cpu(1)], [1, 3])
    assert two.slices == [slice(0, 1), slice(1, 4)] and [len(a) for a in two.param_arrays] == [2, 2]
    np.testing.assert_allclose(two.get_outputs()[0].asnumpy(), one.get_outputs()[0].asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(two.get_input_grads()[0].asnumpy(), one.get_input_grads()[0].asnumpy(), rtol=1e-5)
    summed = two.grad_arrays[0][0].asnumpy() + two.grad_arrays[0][1].asnumpy()
    np.testing.assert_allclose(summed, one.grad_arrays[0][0].asnumpy(), rtol=1e-5, atol=1e-6)
    assert [o.shape for o in two.get_outputs(merge_multi_context=False)[0]] == [(1, 3), (3, 3)]
    two.param_arrays[0][1][:] = 0
    held: dict[str, mx.nd.NDArray] = {}
    two.get_params(held, {})
    np.testing.assert_allclose(held["fc_weight"].asnumpy(), given["fc_weight"].asnumpy() / 2)
    metric = mx.metric.Accuracy()
    two.update_metric(metric, batch().label)
    assert metric.num_inst == 4
    two.reshape([("data", (8, 2))], [("softmax_label", (8,))])
    assert two.slices == [slice(0, 2), slice(2, 8)] and not two.param_arrays[0][1].asnumpy().any()
    with pytest.raises(ValueError, match="1 rows for 2 devices"):
        two.reshape([("data", (1, 2))], [("softmax_label", (1,))])


def test_a_manager_trains_on_several_contexts():
    it = mx.io.NDArrayIter(np.random.RandomState(0).randn(6, 2), np.array([0, 1, 2, 0, 1, 2.0]), 6)
    symbol = net()
    names = [n for n in symbol.list_arguments() if n not in ("data", "softmax_label")]
    manager = mx.executor_manager.DataParallelExecutorManager(
        symbol, [mx.cpu(0), mx.cpu(1)], it, symbol.list_arguments(), names, symbol.list_auxiliary_states(), [1, 2]
    )
    assert manager.slices == [slice(0, 2), slice(2, 6)]
    with pytest.raises(AssertionError, match="load_data_batch"):
        manager.forward()
    shapes = {n: a[0].shape for n, a in zip(names, manager.param_arrays)}
    start = {n: mx.nd.ones(shape) for n, shape in shapes.items()}
    states = {"bn_moving_mean": mx.nd.zeros(2), "bn_moving_var": mx.nd.ones(2)}
    manager.set_params(start, states)
    manager.load_data_batch(next(it))
    manager.forward(is_train=True)
    manager.backward()
    assert [g.shape for g in manager.grad_arrays[2]] == [(3, 2)] * 2
    metric = mx.metric.Accuracy()
    manager.update_metric(metric, [mx.nd.array([0, 1, 2, 0, 1, 2])])
    assert metric.num_inst == 6
    manager.copy_to(start, states)
    means = [a.asnumpy() for a in manager.aux_arrays[0]]
    np.testing.assert_allclose(states["bn_moving_mean"].asnumpy(), (means[0] + means[1]) / 2, rtol=1e-6)
    assert abs(means[0] - means[1]).max() > 0


def test_groups_of_operators_may_name_contexts():
    with mx.AttrScope(ctx_group="dev1"):
        head = net()
    mod = mx.mod.Module(head, group2ctxs={"dev1": [mx.cpu(1)]}, context=[mx.cpu(0), mx.cpu(1)])
    mod.bind([("data", (4, 2))], [("softmax_label", (4,))])
    assert mod._exec_group.group2ctxs == [{"dev1": mx.cpu(1)}] * 2
    with pytest.raises(AssertionError, match="not 1 or 2"):
        bad = mx.mod.Module(head, group2ctxs={"dev1": [mx.cpu(1)] * 3}, context=[mx.cpu(0), mx.cpu(1)])
        bad.bind([("data", (4, 2))], [("softmax_label", (4,))])
    with pytest.raises(AssertionError, match="the same number of rows"):
        mod = mx.mod.Module(head, context=[mx.cpu(0), mx.cpu(1)])
        mod.bind([("data", (4, 2))], [("softmax_label", (3,))])
