"""What is done with MXNet 1.9.1 and with symc alike; each scenario gives {name: array}.

Run under MXNet to record the answers: `MXNET_MKLDNN_ENABLED=0 python scenarios.py` writes NAME.npz beside this file.
The functions take the module (`mx`) and use nothing that only one of the two has.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np

#: optimizer, its settings
OPTIMIZERS = [
    ("sgd", {"wd": 0.01}),
    ("sgd", {"momentum": 0.9, "wd": 0.01, "clip_gradient": 0.5, "rescale_grad": 0.5}),
    ("sgd", {"momentum": 0.9, "multi_precision": True}),
    ("nag", {"momentum": 0.9, "wd": 0.01}),
    ("nag", {}),
    ("adam", {"wd": 0.01, "clip_gradient": 0.7}),
    ("rmsprop", {"wd": 0.01}),
    ("rmsprop", {"centered": True, "wd": 0.01, "clip_weights": 0.8}),
    ("adagrad", {"wd": 0.1}),
    ("adadelta", {"wd": 0.01}),
    ("ftrl", {"wd": 0.01}),
    ("ftrl", {"lamda1": 0.5}),
    ("ftml", {"wd": 0.01}),
    ("signum", {"wd": 0.01, "wd_lh": 0.02}),
    ("signum", {"momentum": 0.0, "wd": 0.1}),
    ("dcasgd", {"wd": 0.01}),
    ("adamax", {"wd": 0.01}),
    ("nadam", {"wd": 0.01}),
    ("lamb", {"wd": 0.01}),
    ("lamb", {"wd": 0.01, "bias_correction": False, "lower_bound": 1.0, "upper_bound": 2.0}),
    ("test", {}),
    ("lars", {"wd": 0.01}),
    ("lars", {"momentum": 0.9, "wd": 0.01, "eta": 0.5, "eps": 0.1, "clip_gradient": 0.7, "rescale_grad": 0.5}),
    ("lbsgd", {"momentum": 0.9, "wd": 0.01}),
    ("lbsgd", {"wd": 0.01, "batch_scale": 2, "warmup_epochs": 1, "updates_per_epoch": 4}),
    ("lbsgd", {"batch_scale": 2, "momentum": 0.9, "warmup_strategy": "power2", "warmup_epochs": 2, "begin_epoch": 1,
               "updates_per_epoch": 5}),
    ("lbsgd", {"batch_scale": 3, "warmup_strategy": "sqrt"}),
    ("lbsgd", {"wd": 0.01, "warmup_strategy": "lars", "clip_gradient": 0.5}),
]  # fmt: skip


def optimizers(mx):
    """Two parameters after five updates: a weight, and a bias, which has no weight decay."""
    rs = np.random.RandomState(0)
    start = [rs.randn(4, 3).astype("f"), rs.randn(5).astype("f")]
    grads = [[rs.randn(*w.shape).astype("f") for w in start] for _ in range(5)]
    found = {}
    for number, (name, settings) in enumerate(OPTIMIZERS):
        dtype = "float16" if settings.get("multi_precision") else "float32"
        optimizer = mx.optimizer.create(
            name, learning_rate=0.1, param_idx2name={0: "a_weight", 1: "a_bias"}, **settings
        )
        updater = mx.optimizer.get_updater(optimizer)
        weights = [mx.nd.array(w, dtype=dtype) for w in start]
        for step in grads:
            for i, g in enumerate(step):
                updater(i, mx.nd.array(g, dtype=dtype), weights[i])
        for i, w in enumerate(weights):
            found[f"{number:02d}_{name}_{i}"] = w.asnumpy().astype("f")
    return found


def corrections(mx):
    """LARS scales its momentum where a scheduler changes the rate; six updates."""
    rs = np.random.RandomState(0)
    found = {}
    for corrected in (True, False):
        optimizer = mx.optimizer.create(
            "lars", lr_scheduler=mx.lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.8), momentum=0.9, eta=0.1, wd=0.01,
            momentum_correction=corrected, param_idx2name={0: "a_weight"},
        )  # fmt: skip
        updater, weight = mx.optimizer.get_updater(optimizer), mx.nd.array(rs.randn(4, 3))
        for step in range(6):
            updater(0, mx.nd.array(rs.randn(4, 3)), weight)
            found[f"{corrected}_{step}"] = weight.asnumpy()
    return found


def schedules(mx):
    """Fifteen learning rates of every scheduler."""
    s = mx.lr_scheduler
    made = {
        "factor": s.FactorScheduler(3, 0.5, base_lr=1.0, stop_factor_lr=0.1, warmup_steps=2, warmup_begin_lr=0.2),
        "multi": s.MultiFactorScheduler([2, 5], 0.1, base_lr=0.3),
        "poly": s.PolyScheduler(8, 0.4, 2, 0.01, warmup_steps=3),
        "cosine": s.CosineScheduler(8, 0.4, 0.01, warmup_steps=2, warmup_mode="constant"),
    }
    return {name: np.array([one(t) for t in range(15)]) for name, one in made.items()}


def metrics(mx):
    """Values of every metric: local ones after a reset in the middle, and global ones."""
    rs = np.random.RandomState(0)

    def shares(rows, classes):
        made = rs.rand(rows, classes).astype("f")
        return made / made.sum(1, keepdims=True)

    def several(label, pred):
        return [([mx.nd.array(label())], [mx.nd.array(pred())]) for _ in range(4)]

    classes = several(lambda: rs.randint(0, 5, 8), lambda: shares(8, 5))
    binary = several(lambda: rs.randint(0, 2, 8), lambda: shares(8, 2))
    column = several(lambda: rs.randn(8), lambda: rs.randn(8, 1))
    table = several(lambda: rs.randn(8, 3), lambda: rs.randn(8, 3))
    create = mx.metric.create
    cases = [
        ("acc", create("acc"), classes), ("topk", create("top_k_accuracy", top_k=3), classes),
        ("f1", create("f1"), binary), ("f1_micro", create("f1", average="micro"), binary),
        ("mcc", create("mcc"), binary),
        ("mcc_micro", create("mcc", average="micro"), binary),
        ("perplexity", create("perplexity", ignore_label=None), classes),
        ("perplexity_ignoring", create("perplexity", ignore_label=2), classes), ("mae", create("mae"), column),
        ("mse", create("mse"), table), ("rmse", create("rmse"), column), ("ce", create("ce"), classes),
        ("nll", create("nll_loss"), classes), ("pearson", create("pearsonr"), table),
        ("pearson_micro", create("pearsonr", average="micro"), table), ("pcc", create("pcc"), classes),
        ("loss", create("loss"), classes), ("both", create(["acc", "ce"]), classes),
        ("numpy", mx.metric.np(lambda l, p: float((l == p.argmax(1)).mean()), name="x"), classes),
        ("custom", create(lambda l, p: (1.5, 2)), classes),
    ]  # fmt: skip
    found = {}
    for name, metric, batches in cases:
        for number, (labels, preds) in enumerate(batches):
            metric.update(labels, preds)
            if number == 1:
                metric.reset_local()
        found[name] = np.array([metric.get()[1], metric.get_global()[1]], "d")
    return found


def iterators(mx):
    """Rows, labels and padding of three epochs, for every way to end one."""
    found = {}
    for n in (7, 8):
        data, label = np.arange(n * 2).reshape(n, 2).astype("f"), np.arange(n).astype("f")
        for ending in ("pad", "discard", "roll_over"):
            for size in (2, 3, 5):
                for shuffle in (False, True):
                    np.random.seed(0)
                    it = mx.io.NDArrayIter(data, label, size, shuffle=shuffle, last_batch_handle=ending)
                    rows = []
                    for _ in range(3):
                        for batch in it:
                            rows.append(np.r_[batch.data[0].asnumpy().ravel(), batch.label[0].asnumpy(), batch.pad])
                        it.reset()
                    found[f"{n}_{ending}_{size}_{int(shuffle)}"] = np.array(rows)
    return found


def lenet_like(mx):
    """Convolution, batch normalization, pooling, a fully connected layer that learns at half the rate."""
    sym = mx.sym
    h = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=4, name="c1")
    h = sym.Activation(sym.BatchNorm(h, name="bn", fix_gamma=False), act_type="tanh")
    h = sym.Flatten(sym.Pooling(h, kernel=(2, 2), stride=(2, 2), pool_type="max"))
    h = sym.FullyConnected(h, num_hidden=4, name="fc", weight=sym.Variable("fc_weight", lr_mult=0.5))
    return sym.SoftmaxOutput(h, name="softmax")


def start_values(mx, module):
    """The same parameters everywhere."""
    rs = np.random.RandomState(5)
    args, states = module.get_params()
    return (
        {k: mx.nd.array(rs.randn(*v.shape) * 0.2) for k, v in sorted(args.items())},
        {k: mx.nd.array(np.abs(rs.randn(*v.shape))) for k, v in sorted(states.items())},
    )


def values(module):
    """Parameters and states as numpy arrays."""
    return {k: v.asnumpy() for params in module.get_params() for k, v in params.items()}


TRAINING = [
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}, None),
    ("rmsprop", {"learning_rate": 0.01}, None),
    ("nag", {"learning_rate": 0.05, "momentum": 0.5}, None),
    ("adadelta", {}, None),
    ("ftrl", {"learning_rate": 0.1}, None),
    ("sgd", {"learning_rate": 0.1}, ["c1_weight"]),
]


def training(mx):
    """Parameters, the metrics of every batch, the score and predictions after two epochs of Module.fit."""
    rs = np.random.RandomState(0)
    data, label = rs.randn(50, 1, 8, 8).astype("f"), rs.randint(0, 4, 50).astype("f")
    found = {}
    for number, (name, settings, fixed) in enumerate(TRAINING):
        it, check = mx.io.NDArrayIter(data, label, 16), mx.io.NDArrayIter(data[:20], label[:20], 16)
        module = mx.mod.Module(lenet_like(mx), fixed_param_names=fixed)
        module.bind(it.provide_data, it.provide_label)
        module.init_params(mx.init.Xavier())
        module.set_params(*start_values(mx, module))
        log = []
        module.fit(
            it, check, eval_metric=["acc", "ce"], optimizer=name, optimizer_params=settings, num_epoch=2,
            batch_end_callback=lambda p, log=log: log.append([p.epoch, p.nbatch] + p.eval_metric.get()[1]),
        )  # fmt: skip
        tag = f"{number}_{name}_"
        found.update({tag + k: v for k, v in values(module).items()})
        found[tag + "log"] = np.array(log)
        found[tag + "score"] = np.array([v for _, v in module.score(check, ["acc", "ce"])])
        found[tag + "predict"] = module.predict(check).asnumpy()
    return found


def buckets(mx):
    """Outputs and parameters of a BucketingModule over batches of several lengths."""

    def net(key):
        h = mx.sym.FullyConnected(mx.sym.mean(mx.sym.Variable("data"), axis=1), num_hidden=3, name="fc")
        return mx.sym.SoftmaxOutput(h, name="softmax"), ("data",), ("softmax_label",)

    rs = np.random.RandomState(2)
    module = mx.mod.BucketingModule(net, default_bucket_key=10)
    module.bind([("data", (4, 10, 6))], [("softmax_label", (4,))])
    module.init_params()
    module.set_params({"fc_weight": mx.nd.array(rs.randn(3, 6)), "fc_bias": mx.nd.array(rs.randn(3))}, {})
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.3, "momentum": 0.9})
    found = {}
    for number, key in enumerate((10, 5, 7, 5, 10)):
        shape = (4, key, 6)
        batch = mx.io.DataBatch(
            [mx.nd.array(rs.randn(*shape))], [mx.nd.array([0, 1, 2, 1])], bucket_key=key,
            provide_data=[("data", shape)],
            provide_label=[("softmax_label", (4,))],
        )  # fmt: skip
        module.prepare(batch)
        module.forward_backward(batch)
        module.update()
        found[f"out{number}"] = module.get_outputs()[0].asnumpy()
    found.update(values(module))
    return found


def sequence(mx):
    """Parameters of a SequentialModule after two epochs."""
    first = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=5, name="f1")
    first = mx.sym.Activation(first, act_type="relu")
    second = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="f2")
    module = mx.mod.SequentialModule()
    module.add(mx.mod.Module(first, label_names=None))
    module.add(mx.mod.Module(mx.sym.SoftmaxOutput(second, name="softmax")), take_labels=True, auto_wiring=True)
    rs = np.random.RandomState(2)
    it = mx.io.NDArrayIter(rs.randn(20, 4).astype("f"), rs.randint(0, 3, 20).astype("f"), 5)
    module.bind(it.provide_data, it.provide_label)
    module.init_params()
    params = {
        "f1_weight": mx.nd.array(rs.randn(5, 4)), "f1_bias": mx.nd.zeros(5), "f2_weight": mx.nd.array(rs.randn(3, 5)),
        "f2_bias": mx.nd.zeros(3),
    }  # fmt: skip
    module.init_params(arg_params=params, aux_params={}, force_init=True, allow_extra=True)
    module.fit(it, num_epoch=2, optimizer_params={"learning_rate": 0.2})
    return values(module)


def python_loss(mx):
    """Parameters of a net whose loss is Python code, after three updates; a metric's value; what the loss gives."""

    def hinge(scores, labels):
        found, right = np.zeros(scores.shape, "f"), labels.asnumpy().astype(int)
        at = np.arange(len(right))
        own = scores.asnumpy()[at, right]
        found[scores.asnumpy() > own[:, None] - 1] = 1
        found[at, right] = -1
        return found

    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="f1")
    module = mx.mod.SequentialModule()
    module.add(mx.mod.Module(net, label_names=None))
    module.add(mx.mod.PythonLossModule(grad_func=hinge), take_labels=True, auto_wiring=True)
    rs = np.random.RandomState(4)
    it = mx.io.NDArrayIter(rs.randn(15, 4).astype("f"), rs.randint(0, 3, 15).astype("f"), 5)
    module.bind(it.provide_data, it.provide_label)
    module.init_params(arg_params={"f1_weight": mx.nd.array(rs.randn(3, 4)), "f1_bias": mx.nd.zeros(3)}, aux_params={})
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    metric = mx.metric.create("acc")
    for batch in it:
        module.forward(batch)
        module.backward()
        module.update()
        module.update_metric(metric, batch.label)
    return {
        **values(module), "metric": np.array(metric.get()[1]), "output": module.get_outputs()[0].asnumpy(),
        "input_grad": module._modules[1].get_input_grads()[0].asnumpy(),
        "shape": np.array(module.output_shapes[0][1]),
    }  # fmt: skip


def saved(mx, path):
    """A file of named arrays of every element type."""
    types = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]
    arrays = {f"arg:{t}": mx.nd.array(np.arange(6).reshape(2, 3) - 2, dtype=t) for t in types if t != "uint8"}
    arrays["aux:byte"] = mx.nd.array([1, 255], dtype="uint8")
    mx.nd.save(path, arrays)


SCENARIOS = [optimizers, corrections, schedules, metrics, iterators, training, buckets, sequence, python_loss]

if __name__ == "__main__":
    import os

    import mxnet

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for scenario in SCENARIOS:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), scenario.__name__ + ".npz")
        np.savez_compressed(path, **scenario(mxnet))
    saved(mxnet, os.path.join(os.path.dirname(os.path.abspath(__file__)), "named.params"))
