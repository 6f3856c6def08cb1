"""An LSTM language model over sentences of several lengths: one net for each bucket, with the same parameters."""

import random

import mxnet as mx
import numpy as np
from common import cross_entropy, fill, finish

WORDS, EMBED, HIDDEN, BATCH = 20, 12, 16, 8


def sentences(count):
    """Words that follow one another in a circle, with a jump now and then."""
    rng = np.random.RandomState(0)
    for _ in range(count):
        word, text = rng.randint(1, WORDS), []
        for _ in range(rng.randint(4, 13)):
            text.append(int(word))
            word = (word + (3 if rng.rand() < 0.1 else 1) - 1) % (WORDS - 1) + 1
        yield text


def sym_gen(length):
    data, label = mx.sym.Variable("data"), mx.sym.Variable("softmax_label")
    embed = mx.sym.Embedding(data, input_dim=WORDS, output_dim=EMBED, name="embed")
    stack = mx.rnn.SequentialRNNCell()
    for layer in range(2):
        stack.add(mx.rnn.LSTMCell(HIDDEN, prefix=f"lstm_l{layer}_"))
    outputs, _ = stack.unroll(length, inputs=embed, merge_outputs=True)
    scores = mx.sym.FullyConnected(mx.sym.Reshape(outputs, shape=(-1, HIDDEN)), num_hidden=WORDS, name="pred")
    flat = mx.sym.Reshape(label, shape=(-1,))
    return (
        mx.sym.SoftmaxOutput(scores, flat, use_ignore=True, ignore_label=0, name="softmax"),
        ("data",),
        ("softmax_label",),
    )


def main():
    random.seed(0)
    np.random.seed(0)
    train = mx.rnn.BucketSentenceIter(list(sentences(160)), BATCH, buckets=[7, 12], invalid_label=0)
    model = mx.mod.BucketingModule(sym_gen, default_bucket_key=train.default_bucket_key, context=mx.cpu())
    model.bind(train.provide_data, train.provide_label)
    fill(model)
    model.init_optimizer("local", "adam", {"learning_rate": 0.02, "rescale_grad": 1.0 / BATCH})
    metric, losses = mx.metric.Perplexity(ignore_label=0), []
    for _ in range(5):
        train.reset()
        metric.reset()
        for batch in train:
            model.forward(batch, is_train=True)
            losses.append(cross_entropy(model.get_outputs()[0].asnumpy(), batch.label[0].asnumpy(), 0))
            model.update_metric(metric, batch.label)
            model.backward()
            model.update()
    assert metric.get()[1] < WORDS / 2
    finish(losses, 0.6)


main()
