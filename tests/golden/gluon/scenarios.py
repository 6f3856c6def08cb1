"""What is done with MXNet 1.9.1 and with symc alike, of Gluon: nets that train, losses, cells. Each scenario gives
something that JSON holds.

Run under MXNet to record the answers: `python scenarios.py` writes answers.json beside this file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def numbers(mx, *shape, seed=0, low=-0.5, high=0.5):
    """An array of random numbers, the same everywhere."""
    return mx.nd.array(np.random.RandomState(seed).uniform(low, high, shape))


def fill(mx, net):
    """Parameters that are the same everywhere, by their order."""
    for at, (name, parameter) in enumerate(net.collect_params().items()):
        if "running" not in name:
            parameter.set_data(numbers(mx, *parameter.shape, seed=at + 1, low=-0.3, high=0.3))


def listed(array):
    return np.asarray(array.asnumpy(), np.float64).round(6).ravel().tolist()


def trained(mx, net, loss, data, label, optimizer, steps=10, hybridize=False, **options):
    """Losses of some steps, the names and shapes of the parameters, and what they are at the end."""
    net.initialize()
    if hybridize:
        net.hybridize()
    net(data)
    fill(mx, net)
    trainer = mx.gluon.Trainer(net.collect_params(), optimizer, options)
    losses = []
    for _ in range(steps):
        with mx.autograd.record():
            value = loss(net(data), label)
        value.backward()
        trainer.step(data.shape[0])
        losses.append(float(value.mean().asscalar()))
    named = {name: list(p.shape) for name, p in net.collect_params().items()}
    last = [listed(p.data())[:3] for p in net.collect_params().values()]
    return {"losses": losses, "names": named, "last": last}


def conv_net(mx, hybridize=False):
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="conv_")
    with net.name_scope():
        net.add(
            nn.Conv2D(8, 3, padding=1, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(),
            nn.Conv2D(8, 3, use_bias=False), nn.LeakyReLU(0.1), nn.AvgPool2D(2, 1), nn.Flatten(), nn.LayerNorm(),
            nn.Dense(5),
        )  # fmt: skip
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    label = mx.nd.array([0, 1, 2, 3, 4, 0])
    return trained(
        mx, net, loss, numbers(mx, 6, 3, 8, 8), label, "sgd", hybridize=hybridize, learning_rate=0.3, momentum=0.9
    )


def conv_net_hybridized(mx):
    return conv_net(mx, True)


def other_layers(mx, hybridize=False):
    nn = mx.gluon.nn

    class Net(mx.gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.embed = nn.Embedding(11, 6)
                self.body = nn.HybridSequential()
                self.body.add(nn.Dense(7, flatten=False, activation="tanh"), nn.PReLU(), nn.Dropout(0.0), nn.Swish())
                self.scale = self.params.get("scale", shape=(1, 1, 7), init="ones")
                self.shift = self.params.get_constant("shift", mx.nd.array([0.5]))
                self.last = nn.Dense(2, in_units=28)

        def hybrid_forward(self, F, x, scale, shift):
            y = F.broadcast_mul(self.body(self.embed(x)), scale)
            return self.last(F.broadcast_add(y, shift.reshape((1, 1, 1))))

    words = mx.nd.array(np.random.RandomState(3).randint(0, 11, (5, 4)))
    net = Net(prefix="other_")
    return trained(
        mx, net, mx.gluon.loss.L2Loss(), words, numbers(mx, 5, 2, seed=9), "adam", hybridize=hybridize,
        learning_rate=0.05,
    )  # fmt: skip


def other_layers_hybridized(mx):
    return other_layers(mx, True)


class Recurrent:
    """A net that unrolls a cell."""

    @staticmethod
    def make(mx, cell):
        class Net(mx.gluon.HybridBlock):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                with self.name_scope():
                    self.cell = cell()
                    self.out = mx.gluon.nn.Dense(3, flatten=False)

            def hybrid_forward(self, F, x):
                outputs, _ = self.cell.unroll(4, x, layout="NTC", merge_outputs=True)
                return self.out(outputs)

        return Net(prefix="net_")


def recurrent(mx):
    rnn = mx.gluon.rnn

    def stack():
        made = rnn.HybridSequentialRNNCell()
        with made.name_scope():
            made.add(rnn.LSTMCell(5))
            made.add(rnn.DropoutCell(0.0))
            made.add(rnn.ResidualCell(rnn.GRUCell(5)))
            made.add(rnn.ZoneoutCell(rnn.RNNCell(4, activation="relu")))
        return made

    found = {}
    kinds = {
        "rnn": lambda: rnn.RNNCell(5), "lstm": lambda: rnn.LSTMCell(5), "gru": lambda: rnn.GRUCell(5), "stack": stack,
        "both": lambda: rnn.BidirectionalCell(rnn.LSTMCell(5), rnn.GRUCell(4)),
    }  # fmt: skip
    for name, cell in kinds.items():
        net = Recurrent.make(mx, cell)
        label = mx.nd.array(np.random.RandomState(5).randint(0, 3, (2, 4)))
        loss = mx.gluon.loss.SoftmaxCELoss()
        found[name] = trained(mx, net, loss, numbers(mx, 2, 4, 6), label, "sgd", steps=5, learning_rate=1.0)
        del found[name]["last"]
    return found


def valid_lengths(mx):
    rnn, lengths = mx.gluon.rnn, mx.nd.array([2, 4])
    cell = rnn.BidirectionalCell(rnn.LSTMCell(3, prefix="l_"), rnn.LSTMCell(3, prefix="r_"))
    cell.initialize()
    cell.unroll(4, numbers(mx, 2, 4, 3), merge_outputs=True, valid_length=lengths)
    fill(mx, cell)
    outputs, states = cell.unroll(4, numbers(mx, 2, 4, 3), merge_outputs=True, valid_length=lengths)
    return [listed(outputs), [listed(s) for s in states]]


def losses(mx):
    L, found = mx.gluon.loss, {}
    pred, label = numbers(mx, 4, 3, seed=1), numbers(mx, 4, 3, seed=2, low=0.1, high=0.9)
    signs = mx.nd.array(np.sign(numbers(mx, 4, 3, seed=3).asnumpy()))
    weight = numbers(mx, 4, 1, seed=4, low=0.5, high=1.5)
    classes = mx.nd.array([0, 2, 1, 1])
    calls = {
        "l1": (L.L1Loss(), pred, label, weight), "l2": (L.L2Loss(weight=3.0), pred, label, weight),
        "bce": (L.SigmoidBCELoss(), pred, label, weight), "bce_pos": (L.SigmoidBCELoss(), pred, label, None, weight),
        "bce_from": (L.SigmoidBCELoss(from_sigmoid=True), label, label, None, weight),
        "ce": (L.SoftmaxCELoss(), pred, classes, weight),
        "ce_dense": (L.SoftmaxCELoss(sparse_label=False), pred, label),
        "ce_axis": (L.SoftmaxCELoss(axis=0, batch_axis=1), pred, mx.nd.array([0, 3, 1])),
        "kl": (L.KLDivLoss(from_logits=False), pred, label, weight), "huber": (L.HuberLoss(rho=0.3), pred, label),
        "hinge": (L.HingeLoss(), pred, signs), "squared_hinge": (L.SquaredHingeLoss(margin=0.7), pred, signs),
        "logistic": (L.LogisticLoss(), pred, signs), "binary": (L.LogisticLoss(label_format="binary"), pred, label),
        "triplet": (L.TripletLoss(), pred, label, signs), "poisson": (L.PoissonNLLLoss(), pred, label, weight),
        "poisson_rate": (L.PoissonNLLLoss(from_logits=False), label, label * 4),
        "cosine": (L.CosineEmbeddingLoss(margin=0.1), pred, label, mx.nd.array([1, -1, 1, -1])),
        "sdml": (L.SDMLLoss(), pred, label),
        "ctc": (L.CTCLoss(), numbers(mx, 2, 6, 4), mx.nd.array([[0, 1], [2, 2]])),
        "ctc_lengths": (
            L.CTCLoss(layout="TNC", label_layout="TN"), numbers(mx, 6, 2, 4), mx.nd.array([[0, 1], [2, 2]]),
            mx.nd.array([5, 6]), mx.nd.array([1, 2]),
        ),
    }  # fmt: skip
    for name, (loss, first, *others) in calls.items():
        first = first.copy()
        first.attach_grad()
        with mx.autograd.record():
            value = loss(first, *others)
        value.backward()
        found[name] = [list(value.shape), listed(value), listed(first.grad), repr(loss)]
    return found


def names(mx):
    """Names and texts of nets."""
    nn = mx.gluon.nn
    with mx.name.NameManager():
        net = nn.Sequential()
        with net.name_scope():
            net.add(nn.Dense(3, in_units=2), nn.Dense(4, activation="relu"))
        net.add(nn.Conv1D(2, 3, in_channels=2), nn.Conv2DTranspose(2, (3, 2), output_padding=0, groups=1))
        shared = nn.Dense(3, in_units=2, params=net[0].params)
        whole = nn.HybridSequential(prefix="whole_")
        with whole.name_scope():
            inner = nn.HybridSequential(prefix="")
            inner.add(nn.Dense(2), nn.BatchNorm(in_channels=2))
            whole.add(inner, nn.GlobalMaxPool1D(), nn.Activation("tanh"), nn.Flatten(), nn.ELU(), nn.InstanceNorm())
        found = [sorted(n.collect_params()) for n in (net, shared, whole)]
        found.append(sorted(whole.collect_params(".*gamma|.*bias")))
        return [*found, repr(net), repr(whole), [net.prefix, shared.name], list(net[2].weight.shape)]


def composed(mx):
    """The Symbol of a block: its nodes' names, and its arguments."""
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), nn.MaxPool2D(), nn.Dense(2))
    symbol = net(mx.sym.Variable("data"))
    return [symbol.get_internals().list_outputs(), symbol.list_auxiliary_states()]


def several_contexts(mx):
    """Two contexts, whose gradients are added up."""
    contexts = [mx.cpu(0), mx.cpu(1)]
    net = mx.gluon.nn.Dense(2, in_units=3, prefix="dense_")
    net.initialize(ctx=contexts)
    fill(mx, net)
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.2, "wd": 0.1})
    loss, found = mx.gluon.loss.L2Loss(), []
    for _ in range(3):
        parts = mx.gluon.utils.split_and_load(numbers(mx, 5, 3), contexts, even_split=False)
        labels = mx.gluon.utils.split_and_load(numbers(mx, 5, 2, seed=7), contexts, even_split=False)
        with mx.autograd.record():
            values = [loss(net(x), y) for x, y in zip(parts, labels)]
        mx.autograd.backward(values)
        trainer.step(5)
        found.append([listed(v) for v in values])
    arrays = [numbers(mx, 3, seed=1), numbers(mx, 2, 2, seed=2)]
    norm = mx.gluon.utils.clip_global_norm(arrays, 0.5)
    return [found, [listed(d) for d in net.weight.list_data()], round(float(norm), 5), [listed(a) for a in arrays]]


def saved(mx, folder):
    """What files of parameters hold, under which names."""
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(3, in_units=2), nn.BatchNorm(in_channels=3))
    net.initialize()
    fill(mx, net)
    net.hybridize()
    net(numbers(mx, 1, 2))
    places = [f"{folder}/structure", f"{folder}/names"]
    net.save_parameters(places[0])
    net.collect_params().save(places[1], strip_prefix="net_")
    net.export(f"{folder}/net", epoch=3)
    return [{k: listed(v) for k, v in sorted(mx.nd.load(p).items())} for p in [*places, f"{folder}/net-0003.params"]]


SCENARIOS = [
    conv_net, conv_net_hybridized, other_layers, other_layers_hybridized, recurrent, valid_lengths, losses, names,
    composed, several_contexts,
]  # fmt: skip


if __name__ == "__main__":
    import tempfile

    import mxnet

    answers = {scenario.__name__: scenario(mxnet) for scenario in SCENARIOS}
    with tempfile.TemporaryDirectory() as place:
        answers["saved"] = saved(mxnet, place)
    Path(__file__).with_name("answers.json").write_text(json.dumps(answers) + "\n")
    sys.stdout.write(f"{len(answers)} answers\n")
