"""Shared by the tests that train: a small net, its data, and Modules of it."""

from __future__ import annotations

import numpy as np

import symc as mx

RS = np.random.RandomState(0)
X, Y = RS.randn(24, 6).astype("f"), RS.randint(0, 3, 24).astype("f")


def mlp(dropout=0.0, batch_norm=False):
    h = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=5, name="fc1")
    if batch_norm:
        h = mx.sym.BatchNorm(h, name="bn", fix_gamma=True)
    h = mx.sym.Activation(h, act_type="tanh")
    if dropout:
        h = mx.sym.Dropout(h, p=dropout)
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(h, num_hidden=3, name="fc2"), name="softmax")


def data(size=8):
    return mx.io.NDArrayIter(X, Y, size)


def made(net=None, optimizer="sgd", settings=None, seed=1, **options):
    module = mx.mod.Module(mlp() if net is None else net, **options)
    it = data()
    module.bind(it.provide_data, it.provide_label)
    mx.random.seed(seed)
    module.init_params(mx.init.Xavier())
    module.init_optimizer(optimizer=optimizer, optimizer_params=settings or {"learning_rate": 0.1})
    return module


def trained(module, steps=5):
    it = data()
    mx.random.seed(5)
    for _ in range(steps):
        try:
            batch = next(it)
        except StopIteration:
            it.reset()
            batch = next(it)
        module.forward_backward(batch)
        module.update()
    return values(module)


def values(module):
    return {k: v.asnumpy() for params in module.get_params() for k, v in params.items()}


def assert_same(a, b):
    assert sorted(a) == sorted(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
