"""Ratings of users for items, as products of learned vectors."""

import mxnet as mx
import numpy as np
from common import fill, finish

USERS, ITEMS, RANK, BATCH = 40, 30, 4, 32


def network():
    user, item, score = mx.sym.Variable("user"), mx.sym.Variable("item"), mx.sym.Variable("score")
    user = mx.sym.Embedding(user, input_dim=USERS, output_dim=RANK, name="user_vectors")
    item = mx.sym.Embedding(item, input_dim=ITEMS, output_dim=RANK, name="item_vectors")
    found = mx.sym.Flatten(mx.sym.sum_axis(user * item, axis=1, keepdims=True))
    return mx.sym.LinearRegressionOutput(found, score, name="rating")


def ratings():
    rng = np.random.RandomState(3)
    true = rng.randn(USERS, RANK) @ rng.randn(RANK, ITEMS) / 2
    user, item = rng.randint(0, USERS, 1600), rng.randint(0, ITEMS, 1600)
    return user, item, true[user, item]


def main():
    user, item, score = ratings()
    train = mx.io.NDArrayIter({"user": user, "item": item}, {"score": score.reshape(-1, 1)}, BATCH)
    model = mx.mod.Module(network(), data_names=("user", "item"), label_names=("score",), context=mx.cpu())
    losses = []

    def note(param):
        found, wanted = model.get_outputs()[0].asnumpy(), param.locals["data_batch"].label[0].asnumpy()
        losses.append(float(((found - wanted) ** 2).mean()))

    model.bind(train.provide_data, train.provide_label)
    fill(model, 4, 0.5)
    model.fit(
        train, num_epoch=6, optimizer="adam", optimizer_params={"learning_rate": 0.05, "wd": 1e-4},
        eval_metric="rmse", batch_end_callback=[note, mx.callback.Speedometer(BATCH, 20)],
    )  # fmt: skip
    finish(losses, 0.2)


main()
