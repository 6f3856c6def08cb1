"""A generator and a discriminator, two Modules: the generator learns from the gradient of the discriminator's input."""

import mxnet as mx
import numpy as np
from common import fill, finish

BATCH, NOISE = 16, 4


def generator():
    data = mx.sym.Reshape(mx.sym.Variable("noise"), shape=(-1, NOISE, 1, 1))
    data = mx.sym.Deconvolution(data, kernel=(4, 4), num_filter=8, no_bias=True, name="g1")
    data = mx.sym.BatchNorm(data, fix_gamma=True, eps=1e-5, name="gbn1")
    data = mx.sym.Activation(data, act_type="relu")
    data = mx.sym.Deconvolution(data, kernel=(4, 4), stride=(2, 2), pad=(1, 1), num_filter=1, name="g2")
    return mx.sym.Activation(data, act_type="tanh", name="picture")


def discriminator():
    data = mx.sym.Convolution(
        mx.sym.Variable("data"), kernel=(4, 4), stride=(2, 2), pad=(1, 1), num_filter=8, name="d1"
    )
    data = mx.sym.LeakyReLU(data, act_type="leaky", slope=0.2)
    data = mx.sym.Convolution(data, kernel=(4, 4), num_filter=1, name="d2")
    return mx.sym.LogisticRegressionOutput(mx.sym.Flatten(data), mx.sym.Variable("label"), name="real")


def pictures(rng):
    """A cross, a little moved."""
    made = -np.ones((BATCH, 1, 8, 8))
    for at, (row, column) in enumerate(rng.randint(2, 6, (BATCH, 2))):
        made[at, 0, row], made[at, 0, :, column] = 1, 1
    return made


def entropy(found, label):
    return float(-np.log(np.clip(found if label else 1 - found, 1e-7, 1)).mean())


def main():
    rng = np.random.RandomState(2)
    gen = mx.mod.Module(generator(), data_names=("noise",), label_names=None, context=mx.cpu())
    gen.bind([("noise", (BATCH, NOISE))], inputs_need_grad=True)
    fill(gen, 1, 0.2)
    dis = mx.mod.Module(discriminator(), data_names=("data",), label_names=("label",), context=mx.cpu())
    dis.bind([("data", (BATCH, 1, 8, 8))], [("label", (BATCH, 1))], inputs_need_grad=True)
    fill(dis, 2, 0.2)
    for module in (gen, dis):
        module.init_optimizer("local", "adam", {"learning_rate": 0.01, "beta1": 0.5, "rescale_grad": 1.0 / BATCH})
    ones, zeros, losses = mx.nd.ones((BATCH, 1)), mx.nd.zeros((BATCH, 1)), []
    for _ in range(60):
        gen.forward(mx.io.DataBatch([mx.nd.array(rng.randn(BATCH, NOISE))], None), is_train=True)
        made = gen.get_outputs()
        # the discriminator learns from both kinds of pictures: their gradients are summed here
        dis.forward(mx.io.DataBatch(made, [zeros]), is_train=True)
        loss = entropy(dis.get_outputs()[0].asnumpy(), 0)
        dis.backward()
        kept = [[g.copyto(g.context) for g in grads] for grads in dis._exec_group.grad_arrays]
        dis.forward(mx.io.DataBatch([mx.nd.array(pictures(rng))], [ones]), is_train=True)
        loss += entropy(dis.get_outputs()[0].asnumpy(), 1)
        dis.backward()
        for grads, others in zip(dis._exec_group.grad_arrays, kept):
            for grad, other in zip(grads, others):
                grad += other
        dis.update()
        # the generator learns what would have looked real
        dis.forward(mx.io.DataBatch(made, [ones]), is_train=True)
        dis.backward()
        gen.backward(dis.get_input_grads())
        gen.update()
        losses.append(loss)
    finish(losses, 0.75)


main()
