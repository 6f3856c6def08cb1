"""What Executors and Modules do, with MXNet 1.9.1 and with symc alike; each scenario gives {name: array}.

Run under MXNet to record the answers: `MXNET_MKLDNN_ENABLED=0 python scenarios.py [NAME ...]` writes NAME.npz beside
this file. The functions take the module (`mx`) and use nothing that only one of the two has.
"""

from __future__ import annotations

import logging
import re

import numpy as np


def _numbers(mx, net, shapes, silent=()):
    """An Executor of a net on seeded numbers, with the gradients of all arguments but the silent ones."""
    reqs = {n: "null" if n in silent else "write" for n in net.list_arguments()}
    exe = net.simple_bind(mx.cpu(), grad_req=reqs, **shapes)
    rng = np.random.RandomState(3)
    for array in exe.arg_arrays:
        array[:] = rng.uniform(0.5, 1.5, array.shape)
    for array in exe.aux_arrays:
        array[:] = 0.5
    return exe


def _watched_nets(mx):
    """(name, net, input shapes, whether head gradients are needed): operators of all kinds of names."""
    sym, var = mx.sym, mx.sym.Variable
    x, y = var("x"), var("y")
    hidden = sym.Activation(sym.FullyConnected(x, num_hidden=3, name="fc1"), act_type="tanh", name="act")
    scores = sym.FullyConnected(hidden, num_hidden=2, name="fc2")
    yield "mlp", sym.SoftmaxOutput(scores, name="softmax"), {"x": (5, 4)}, False
    layer = sym.BatchNorm(sym.Convolution(x, kernel=(3, 3), num_filter=2, name="conv"), name="bn", fix_gamma=False)
    pooled = sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="avg", name="pool")
    parts = sym.SliceChannel(sym.Flatten(pooled, name="flat"), num_outputs=2, name="parts")
    joined = sym.Concat(parts[0], sym.BlockGrad(parts[1], name="stop"), name="cat")
    loss = sym.MakeLoss(sym.sum(joined, name="total"), name="loss")
    softmax = sym.SoftmaxOutput(joined, name="softmax")
    yield "conv", sym.Group([softmax, loss]), {"x": (2, 3, 6, 6)}, False
    shared = sym.tanh(x, name="t")
    yield "shared", sym.sin(shared, name="s") * sym.cos(shared, name="c"), {"x": (2, 3)}, True
    rows = sym.Reshape(sym.Embedding(x, input_dim=5, output_dim=3, name="emb"), shape=(-1, 3), name="rs")
    moved = sym.broadcast_add(rows, var("b", shape=(1, 3)), name="ba")
    yield "embedding", sym.LinearRegressionOutput(moved, y, name="lro"), {"x": (2, 2), "y": (4, 3)}, False
    yield "dots", sym.batch_dot(x, y, name="bd"), {"x": (2, 3, 4), "y": (2, 4, 5)}, True
    yield "where", sym.where(sym.BlockGrad(x), x * 2, y, name="w"), {"x": (2, 3), "y": (2, 3)}, True
    yield "norms", sym.L2Normalization(sym.InstanceNorm(x, name="in"), name="l2"), {"x": (2, 3, 4)}, True
    yield "layer_norm", sym.LayerNorm(sym.swapaxes(x, dim1=0, dim2=1, name="sw"), name="ln"), {"x": (2, 3)}, True
    yield "leaky", sym.LeakyReLU(sym.LRN(x, nsize=3, name="lrn"), act_type="prelu", name="p"), {"x": (2, 3, 4, 4)}, True
    masked = sym.SequenceMask(x, use_sequence_length=True, sequence_length=y, name="mask")
    yield "sequence", sym.SequenceLast(masked, name="last"), {"x": (3, 2, 4), "y": (2,)}, True
    yield "picked", sym.pick(sym.log_softmax(x, name="ls"), y, name="pk"), {"x": (2, 3), "y": (2,)}, True
    yield "scalars", sym.clip(2 / (x + 1), 0.2, 0.9, name="cl"), {"x": (2, 3)}, True
    yield "stack", sym.stack(x, sym.take(y, x, name="tk"), name="st"), {"x": (3,), "y": (4,)}, True
    yield "svm", sym.SVMOutput(x, y, name="svm"), {"x": (2, 3), "y": (2,)}, False
    yield "likes", sym.broadcast_like(x, y, name="bl"), {"x": (1, 3), "y": (2, 3)}, True


def _seen(mx, everything):
    found = {}
    with mx.name.NameManager():
        nets = list(_watched_nets(mx))
    for title, net, shapes, heads in nets:
        exe = _numbers(mx, net, shapes, {"embedding": ["x"]}.get(title, ()))

        def stat(value):
            return mx.nd.array([float(np.abs(value.asnumpy()).sum())])

        monitor = mx.mon.Monitor(1, stat_func=stat, monitor_all=everything)
        monitor.install(exe)
        monitor.tic()
        exe.forward(is_train=True)
        [o.wait_to_read() for o in exe.outputs]
        if not everything:
            # MXNet's backward has inputs of its own, which no two operators have alike
            exe.backward([mx.nd.ones(o.shape) for o in exe.outputs] if heads else None)
            [g.wait_to_read() for g in exe.grad_arrays if g is not None]
        monitor.re_prog = re.compile("$.")  # the parameters are not what this is about
        for number, (_, name, text) in enumerate(monitor.toc()):
            found[f"{title}/{number:03d}/{name}"] = float(text)
    return found


def monitor_outputs(mx):
    """Names and sizes of what a Monitor sees of a forward and a backward."""
    return _seen(mx, False)


def monitor_inputs(mx):
    """Names and sizes of what a Monitor with monitor_all sees of a forward."""
    return _seen(mx, True)


def _batches(mx, rows, count, width=4, classes=3):
    """`count` seeded batches."""
    rng = np.random.RandomState(rows)
    for _ in range(count):
        data = mx.nd.array(rng.randn(rows, width))
        yield mx.io.DataBatch([data], [mx.nd.array(rng.randint(0, classes, rows))])


def _normed(mx):
    data = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=5, name="fc1")
    hidden = mx.sym.Activation(mx.sym.BatchNorm(data, name="bn", fix_gamma=False), act_type="tanh")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(hidden, num_hidden=3, name="fc2"), name="softmax")


def _start(mx, module):
    """The same parameters everywhere."""
    rng = np.random.RandomState(1)
    module.init_params(mx.init.Zero())
    args, states = module.get_params()
    module.set_params({n: mx.nd.array(rng.uniform(-1, 1, args[n].shape)) for n in sorted(args)}, states)


def _both(prefix, module, found):
    for kind, values in zip(("arg", "aux"), module.get_params()):
        found.update({f"{prefix}/{kind}:{n}": a.asnumpy() for n, a in values.items()})


def several_contexts(mx):
    """Training on several contexts: rows by work load, statistics of each, stores and updaters."""
    found = {}
    cases = {
        "one": (1, None, 4, "local"), "two": (2, None, 4, "local"), "odd": (2, None, 5, "device"),
        "three": (3, [1, 2, 3], 7, "local"), "without": (2, [1, 3], 6, None), "object": (2, None, 4, "create"),
        "alone": (1, None, 4, "create"),
    }  # fmt: skip
    for title, (count, loads, rows, store) in cases.items():
        module = mx.mod.Module(_normed(mx), context=[mx.cpu(i) for i in range(count)], work_load_list=loads)
        module.bind([("data", (rows, 4))], [("softmax_label", (rows,))], inputs_need_grad=True)
        _start(mx, module)
        kvstore = mx.kv.create("local") if store == "create" else store
        module.init_optimizer(kvstore, "sgd", {"learning_rate": 0.3, "momentum": 0.9, "wd": 0.01})
        metric = mx.metric.create(["acc", "ce"])
        for number, batch in enumerate(_batches(mx, rows, 3)):
            module.forward(batch, is_train=True)
            module.backward()
            found[f"{title}/{number}/input"] = module.get_input_grads()[0].asnumpy()
            parts = module.get_outputs(merge_multi_context=False)[0]
            found.update({f"{title}/{number}/part{i}": p.asnumpy() for i, p in enumerate(parts)})
            module.update()
            module.update_metric(metric, batch.label)
        for name, value in metric.get_name_value():
            found[f"{title}/{name}"] = value
        group = module._exec_group
        found[f"{title}/slices"] = np.array([[s.start, s.stop] for s in group.slices])
        for i, exe in enumerate(group.execs):
            found[f"{title}/mean{i}"] = exe.aux_dict["bn_moving_mean"].asnumpy()
            found[f"{title}/weight{i}"] = exe.arg_dict["fc1_weight"].asnumpy()
        _both(title, module, found)
        whole = next(_batches(mx, rows + count, 1))
        module.forward(whole, is_train=False)  # other shapes
        found[f"{title}/reshaped"] = module.get_outputs()[0].asnumpy()
    return found


def rows_elsewhere(mx):
    """Inputs whose rows are along another axis, and heads from outside, on two contexts."""
    desc = mx.io.DataDesc("data", (3, 4, 2), layout="TNC")
    turned = mx.sym.transpose(mx.sym.Variable("data"), axes=(1, 0, 2))
    net = mx.sym.broadcast_mul(turned, mx.sym.Variable("scale_weight", shape=(1, 3, 2)))
    module = mx.mod.Module(net, label_names=None, context=[mx.cpu(0), mx.cpu(1)])
    module.bind([desc], inputs_need_grad=True)
    module.init_params(mx.init.Constant(2))
    rng = np.random.RandomState(5)
    module.forward(mx.io.DataBatch([mx.nd.array(rng.randn(3, 4, 2))]), is_train=True)
    module.backward([mx.nd.array(rng.randn(4, 3, 2))])
    return {
        "output": module.get_outputs()[0].asnumpy(), "gradient": module.get_input_grads()[0].asnumpy(),
        **{f"scale{i}": e.grad_dict["scale_weight"].asnumpy() for i, e in enumerate(module._exec_group.execs)},
    }  # fmt: skip


def requests(mx):
    """Gradient requests of a module as words, lists and dicts."""
    found = {}
    for title, given in {
        "word": "add", "dict": {"fc1_weight": "add", "data": "write"}, "list": ["write"] + ["null"] * 7,
    }.items():  # fmt: skip
        module = mx.mod.Module(_normed(mx), fixed_param_names=["fc2_bias"])
        module.bind([("data", (2, 4))], [("softmax_label", (2,))], grad_req=given)
        _start(mx, module)
        for batch in _batches(mx, 2, 2):
            module.forward(batch, is_train=True)
            module.backward()
        for name, array in module._exec_group.execs[0].grad_dict.items():
            found[f"{title}/{name}"] = np.zeros(0) if array is None else array.asnumpy()
    return found


SCENARIOS = [monitor_outputs, monitor_inputs, several_contexts, rows_elsewhere, requests]

if __name__ == "__main__":
    import os
    import sys

    import mxnet

    logging.disable(logging.CRITICAL)
    for scenario in SCENARIOS:
        if sys.argv[1:] and scenario.__name__ not in sys.argv[1:]:
            continue
        here = os.path.dirname(os.path.abspath(__file__))
        np.savez_compressed(os.path.join(here, f"{scenario.__name__}.npz"), **scenario(mxnet))
