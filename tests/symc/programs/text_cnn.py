"""Sentences judged by convolutions of several widths over their words."""

import mxnet as mx
import numpy as np
from common import cross_entropy, fill, finish

WORDS, LENGTH, EMBED, FILTERS, BATCH = 30, 12, 8, 6, 16


def network():
    data, label = mx.sym.Variable("data"), mx.sym.Variable("softmax_label")
    words = mx.sym.Embedding(data, input_dim=WORDS, output_dim=EMBED, name="embed")
    picture = mx.sym.Reshape(words, shape=(-1, 1, LENGTH, EMBED))
    pooled = []
    for width in (2, 3, 4):
        found = mx.sym.Convolution(picture, kernel=(width, EMBED), num_filter=FILTERS, name=f"conv{width}")
        found = mx.sym.Activation(found, act_type="relu")
        pooled.append(mx.sym.Pooling(found, pool_type="max", kernel=(LENGTH - width + 1, 1), stride=(1, 1)))
    joined = mx.sym.Reshape(mx.sym.Concat(*pooled, dim=1), shape=(-1, 3 * FILTERS))
    scores = mx.sym.FullyConnected(mx.sym.Dropout(joined, p=0.0), num_hidden=2, name="cls")
    return mx.sym.SoftmaxOutput(scores, label, name="softmax")


def texts():
    """A sentence is good if word 7 comes somewhere right after word 5."""
    rng = np.random.RandomState(5)
    data, label = rng.randint(0, WORDS, (640, LENGTH)), rng.randint(0, 2, 640)
    for row, good in zip(data, label):
        row[row == 5] = 6
        at = rng.randint(0, LENGTH - 1)
        row[at], row[at + 1] = (5, 7) if good else (7, 5)
    return data.astype("float32"), label.astype("float32")


def main():
    data, label = texts()
    train = mx.io.NDArrayIter(data[:512], label[:512], BATCH)
    check = mx.io.NDArrayIter(data[512:], label[512:], BATCH)
    model = mx.mod.Module(network(), context=mx.cpu())
    model.bind(train.provide_data, train.provide_label)
    fill(model, 6, 0.3)
    model.init_optimizer("local", "rmsprop", {"learning_rate": 0.01})
    losses = []
    for _ in range(3):
        train.reset()
        for batch in train:
            model.forward(batch, is_train=True)
            losses.append(cross_entropy(model.get_outputs()[0].asnumpy(), batch.label[0].asnumpy()))
            model.backward()
            # a gradient that is too long is made shorter, as this kind of program does
            norm = np.sqrt(sum(float((g[0] ** 2).sum().asscalar()) for g in model._exec_group.grad_arrays)) / BATCH
            if norm > 1:
                for grads in model._exec_group.grad_arrays:
                    grads[0][:] = grads[0] / norm
            model.update()
    assert model.score(check, "acc")[0][1] > 0.8
    finish(losses, 0.5)


main()
