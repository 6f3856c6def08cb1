"""A loss written in Python in the middle of a net: it passes its input on, adds a gradient, and keeps a state."""

import mxnet as mx
import numpy as np
from common import cross_entropy, fill, finish

BATCH, WIDTH, CLASSES = 16, 6, 3


class Sparsity(mx.operator.CustomOp):
    """Passes activations on, and pulls their running mean towards a target."""

    def __init__(self, target, weight):
        self.target, self.weight = target, weight

    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0])
        if is_train:
            aux[0][:] = 0.9 * aux[0] + 0.1 * mx.nd.mean(in_data[0], axis=0)

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        mean = aux[0].asnumpy()
        pull = self.weight * (mean - self.target)
        self.assign(in_grad[0], req[0], out_grad[0] + mx.nd.array(np.tile(pull, (in_data[0].shape[0], 1))))


@mx.operator.register("test_sparsity")
class SparsityProp(mx.operator.CustomOpProp):
    def __init__(self, target="0.2", weight="0.5"):
        super().__init__(need_top_grad=True)
        self.target, self.weight = float(target), float(weight)

    def list_arguments(self):
        return ["data"]

    def list_outputs(self):
        return ["output"]

    def list_auxiliary_states(self):
        return ["moving_avg"]

    def infer_shape(self, in_shape):
        return in_shape, [in_shape[0]], [[in_shape[0][1]]]

    def create_operator(self, ctx, shapes, dtypes):
        return Sparsity(self.target, self.weight)


class Focal(mx.operator.CustomOp):
    """Softmax with a loss that cares more for what is judged badly."""

    def forward(self, is_train, req, in_data, out_data, aux):
        scores = in_data[0].asnumpy()
        made = np.exp(scores - scores.max(axis=1, keepdims=True))
        self.assign(out_data[0], req[0], mx.nd.array(made / made.sum(axis=1, keepdims=True)))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        found, label = out_data[0].asnumpy(), in_data[1].asnumpy().astype(int)
        rows = np.arange(len(label))
        grad = found.copy()
        grad[rows, label] -= 1
        self.assign(in_grad[0], req[0], mx.nd.array(grad * (1 - found[rows, label])[:, None]))


@mx.operator.register("test_focal")
class FocalProp(mx.operator.CustomOpProp):
    def __init__(self):
        super().__init__(need_top_grad=False)

    def list_arguments(self):
        return ["data", "label"]

    def infer_shape(self, in_shape):
        return [in_shape[0], [in_shape[0][0]]], [in_shape[0]], []

    def create_operator(self, ctx, shapes, dtypes):
        return Focal()


def network():
    data = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=12, name="fc1")
    hidden = mx.sym.Custom(mx.sym.Activation(data, act_type="sigmoid"), op_type="test_sparsity", name="sparse")
    scores = mx.sym.FullyConnected(hidden, num_hidden=CLASSES, name="fc2")
    return mx.sym.Custom(scores, mx.sym.Variable("softmax_label"), op_type="test_focal", name="softmax")


def main():
    rng = np.random.RandomState(7)
    data = rng.randn(640, WIDTH).astype("float32")
    label = (data @ rng.randn(WIDTH, CLASSES)).argmax(axis=1).astype("float32")
    train = mx.io.NDArrayIter(data, label, BATCH)
    model = mx.mod.Module(network(), context=mx.cpu())
    model.bind(train.provide_data, train.provide_label)
    fill(model, 8, 0.3)
    model.init_optimizer("local", "sgd", {"learning_rate": 1.0, "momentum": 0.9})
    losses = []
    for _ in range(3):
        train.reset()
        for batch in train:
            model.forward(batch, is_train=True)
            losses.append(cross_entropy(model.get_outputs()[0].asnumpy(), batch.label[0].asnumpy()))
            model.backward()
            model.update()
    assert abs(model.get_params()[1]["sparse_moving_avg"].asnumpy()).max() > 0
    finish(losses, 0.4)


main()
