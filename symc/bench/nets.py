"""Well-known nets, written once for any module that offers MXNet's API.

They end in logits, and so do those of every peer; `loss` puts a softmax with its cross entropy behind them for
training.
"""

from __future__ import annotations

from typing import Any

#: A Symbol, and the module (MXNet's API) that makes it.
Symbol = Any


def loss(mx: Any, logits: Symbol, flat: bool = False) -> Symbol:
    """The mean cross entropy's gradient, and the probabilities as its output; `flat`: the labels' shape is not that
    of the rows, their order is."""
    label = mx.sym.Variable("softmax_label")
    if flat:
        label = mx.sym.reshape(label, shape=(-1,))
    return mx.sym.SoftmaxOutput(logits, label, name="softmax", normalization="batch")


def mlp(mx: Any) -> Symbol:
    """784-128-64-10."""
    x = mx.sym.Variable("data")
    for name, width in (("fc1", 128), ("fc2", 64)):
        x = mx.sym.Activation(mx.sym.FullyConnected(x, name=name, num_hidden=width), act_type="relu")
    return mx.sym.FullyConnected(x, name="fc3", num_hidden=10)


def lenet(mx: Any) -> Symbol:
    """20 and 50 5x5 filters, tanh, max pooling, 500, 10, for 28x28 (LeCun et al. 1998, with more filters)."""
    x = mx.sym.Variable("data")
    for name, filters in (("conv1", 20), ("conv2", 50)):
        x = mx.sym.Activation(mx.sym.Convolution(x, name=name, kernel=(5, 5), num_filter=filters), act_type="tanh")
        x = mx.sym.Pooling(x, pool_type="max", kernel=(2, 2), stride=(2, 2))
    x = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Flatten(x), name="fc1", num_hidden=500), act_type="tanh")
    return mx.sym.FullyConnected(x, name="fc2", num_hidden=10)


class _Layers:
    """Convolutions with their normalization and activation, named in order."""

    def __init__(self, mx: Any) -> None:
        self.sym, self.count = mx.sym, 0

    def conv(
        self, x: Symbol, filters: int, kernel: Any, stride: int = 1, pad: Any = 0, act: str = "relu", groups: int = 1
    ) -> Symbol:
        """act: relu, relu6 or none."""
        self.count += 1
        name = f"conv{self.count}"
        kernel, pad = (tuple(v) if isinstance(v, tuple) else (v, v) for v in (kernel, pad))
        x = self.sym.Convolution(
            x, name=name, kernel=kernel, stride=(stride, stride), pad=pad, num_filter=filters, num_group=groups,
            no_bias=True,
        )  # fmt: skip
        x = self.sym.BatchNorm(x, name=name + "_bn", fix_gamma=False, eps=1e-5)
        if act == "relu6":
            return self.sym.clip(x, a_min=0, a_max=6)
        return self.sym.Activation(x, act_type="relu") if act == "relu" else x

    def pool(self, x: Symbol, kernel: int, stride: int, pad: int = 0, kind: str = "max") -> Symbol:
        return self.sym.Pooling(x, kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(pad,) * 2, pool_type=kind)

    def classes(self, x: Symbol, count: int = 1000) -> Symbol:
        x = self.sym.Flatten(self.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg"))
        return self.sym.FullyConnected(x, num_hidden=count, name="fc")


def resnet(mx: Any, depth: int, small: bool = False) -> Symbol:
    """ResNet-18 or ResNet-50 (He et al. 2016) for 224x224, or for images of 32x32."""
    layers = _Layers(mx)
    x = mx.sym.Variable("data")
    x = layers.conv(x, 64, 3, 1, 1) if small else layers.pool(layers.conv(x, 64, 7, 2, 3), 3, 2, 1)
    inputs, wide = 64, 4 if depth == 50 else 1
    for stage, units in enumerate({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]):
        filters = 64 * 2**stage
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            if depth == 50:
                y = layers.conv(layers.conv(x, filters, 1, stride), filters, 3, 1, 1)
                y = layers.conv(y, filters * wide, 1, act="none")
            else:
                y = layers.conv(layers.conv(x, filters, 3, stride, 1), filters, 3, 1, 1, act="none")
            if stride != 1 or inputs != filters * wide:
                x = layers.conv(x, filters * wide, 1, stride, act="none")
            inputs = filters * wide
            x = mx.sym.Activation(x + y, act_type="relu")
    return layers.classes(x, 10 if small else 1000)


def mobilenet(mx: Any) -> Symbol:
    """MobileNetV2 (Sandler et al. 2018), 224x224."""
    layers = _Layers(mx)
    x, inputs = layers.conv(mx.sym.Variable("data"), 32, 3, 2, 1, "relu6"), 32
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, filters, units, first in rows:
        for unit in range(units):
            stride, inner = 1 if unit else first, inputs * expansion
            y = layers.conv(x, inner, 1, act="relu6") if expansion > 1 else x
            y = layers.conv(layers.conv(y, inner, 3, stride, 1, "relu6", inner), filters, 1, act="none")
            x = x + y if stride == 1 and inputs == filters else y
            inputs = filters
    return layers.classes(layers.conv(x, 1280, 1, act="relu6"))


def vgg16(mx: Any) -> Symbol:
    """VGG-16 (Simonyan and Zisserman 2015), 224x224."""
    x = mx.sym.Variable("data")
    for block, (units, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        for unit in range(units):
            name = f"conv{block}_{unit}"
            x = mx.sym.Convolution(x, name=name, kernel=(3, 3), pad=(1, 1), num_filter=filters)
            x = mx.sym.Activation(x, act_type="relu")
        x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    x = mx.sym.Flatten(x)
    for name in ("fc6", "fc7"):
        x = mx.sym.Activation(mx.sym.FullyConnected(x, name=name, num_hidden=4096), act_type="relu")
    return mx.sym.FullyConnected(x, name="fc8", num_hidden=1000)


def inception(mx: Any) -> Symbol:
    """Inception-v3 (Szegedy et al. 2016), 299x299."""
    layers = _Layers(mx)
    c, pool = layers.conv, layers.pool

    def concat(*parts: Symbol) -> Symbol:
        return mx.sym.Concat(*parts, dim=1)

    def flat(x: Symbol, filters: int, rows: int, columns: int) -> Symbol:
        return c(x, filters, (rows, columns), 1, (rows // 2, columns // 2))

    x = c(c(c(mx.sym.Variable("data"), 32, 3, 2), 32, 3), 64, 3, 1, 1)
    x = pool(c(c(pool(x, 3, 2), 80, 1), 192, 3), 3, 2)
    for filters in (32, 64, 64):
        double = c(c(c(x, 64, 1), 96, 3, 1, 1), 96, 3, 1, 1)
        x = concat(c(x, 64, 1), c(c(x, 48, 1), 64, 5, 1, 2), double, c(pool(x, 3, 1, 1, "avg"), filters, 1))
    x = concat(c(x, 384, 3, 2), c(c(c(x, 64, 1), 96, 3, 1, 1), 96, 3, 2), pool(x, 3, 2))
    for m in (128, 160, 160, 192):
        seven = flat(flat(c(x, m, 1), m, 1, 7), 192, 7, 1)
        twice = flat(flat(flat(flat(c(x, m, 1), m, 7, 1), m, 1, 7), m, 7, 1), 192, 1, 7)
        x = concat(c(x, 192, 1), seven, twice, c(pool(x, 3, 1, 1, "avg"), 192, 1))
    seven = c(flat(flat(c(x, 192, 1), 192, 1, 7), 192, 7, 1), 192, 3, 2)
    x = concat(c(c(x, 192, 1), 320, 3, 2), seven, pool(x, 3, 2))
    for _ in range(2):
        a, b = c(x, 384, 1), c(c(x, 448, 1), 384, 3, 1, 1)
        parts = [flat(y, 384, *shape) for y in (a, b) for shape in ((1, 3), (3, 1))]
        x = concat(c(x, 320, 1), *parts, c(pool(x, 3, 1, 1, "avg"), 192, 1))
    return layers.classes(x)


def bert(mx: Any, layers: int = 12, width: int = 768, heads: int = 12, inner: int = 3072) -> Symbol:
    """The encoder of BERT-base (Devlin et al. 2019) on (batch, steps, width)."""
    S = mx.sym
    x = S.Variable("data")
    for layer in range(layers):

        def dense(x: Symbol, count: int, name: str, layer: int = layer) -> Symbol:
            return S.FullyConnected(x, num_hidden=count, flatten=False, name=f"l{layer}_{name}")

        def apart(x: Symbol) -> Symbol:
            x = S.transpose(S.reshape(x, shape=(0, 0, heads, -1)), axes=(0, 2, 1, 3))
            return S.reshape(x, shape=(-3, 0, 0))

        q, k, v = (apart(dense(x, width, name)) for name in "qkv")
        weights = S.softmax(S.batch_dot(q, k, transpose_b=True) * (width // heads) ** -0.5, axis=-1)
        y = S.reshape(S.batch_dot(weights, v), shape=(-4, -1, heads, 0, 0))
        y = S.reshape(S.transpose(y, axes=(0, 2, 1, 3)), shape=(0, 0, -3))
        x = S.LayerNorm(x + dense(y, width, "o"), name=f"l{layer}_ln1")
        y = dense(S.LeakyReLU(dense(x, inner, "f1"), act_type="gelu"), width, "f2")
        x = S.LayerNorm(x + y, name=f"l{layer}_ln2")
    return x


def lstm(mx: Any, batch: int = 20, words: int = 10000, width: int = 650, layers: int = 2) -> Symbol:
    """A language model of two LSTM layers (Zaremba et al. 2014, medium) on (steps, batch) of words."""
    S = mx.sym
    x = S.Embedding(S.Variable("data"), input_dim=words, output_dim=width, name="embedding")
    state = S.zeros(shape=(layers, batch, width))
    x = S.RNN(
        x, parameters=S.Variable("rnn_parameters"), state=state, state_cell=state, state_size=width, num_layers=layers,
        mode="lstm", name="rnn",
    )  # fmt: skip
    return S.FullyConnected(S.reshape(x, shape=(-1, width)), num_hidden=words, name="decoder")


def deep(mx: Any) -> Symbol:
    """500 small nodes on (batch, 64): what a call of a node costs."""
    x = mx.sym.Variable("data")
    for i in range(100):
        y = mx.sym.Activation(mx.sym.FullyConnected(x, num_hidden=64, name=f"fc{i}"), act_type="tanh")
        x = mx.sym.Activation(y * x + x, act_type="relu")
    return mx.sym.FullyConnected(x, num_hidden=10, name="out")
