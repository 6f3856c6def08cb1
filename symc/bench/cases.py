"""The workloads: Symbols with the shapes of their inputs, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from symc.bench import nets

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A workload. `kind` is what one run of it does:

    predict   the outputs of the inputs
    grad      outputs, and the gradients of every input and parameter for head gradients of one
    train     a step of stochastic gradient descent with momentum (Module.forward_backward and update)
    """

    name: str
    kind: str
    build: Callable[[Any], Any]
    shapes: dict[str, Shape]
    #: inputs that hold whole numbers below a bound
    whole: dict[str, int] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]


#: families that measure whole nets: every case in processes of its own, which shows first calls and memory
WHOLE_NETS = ("predict", "train")


def _image(*size: int) -> dict[str, Shape]:
    return {"data": size}


def _nets() -> Iterator[Case]:
    rows: tuple[tuple[str, Callable[[Any], Any], Shape, tuple[int, ...]], ...] = (
        ("mlp", nets.mlp, (784,), (1, 64)),
        ("lenet", nets.lenet, (1, 28, 28), (1, 64)),
        ("resnet18", lambda mx: nets.resnet(mx, 18), (3, 224, 224), (1,)),
        ("resnet50", lambda mx: nets.resnet(mx, 50), (3, 224, 224), (1, 8)),
        ("mobilenetv2", nets.mobilenet, (3, 224, 224), (1, 8)),
        ("bert", nets.bert, (128, 768), (1,)),
        ("inception3", nets.inception, (3, 299, 299), (1,)),
        ("vgg16", nets.vgg16, (3, 224, 224), (1,)),
    )
    for name, net, shape, batches in rows:
        for batch in batches:
            yield Case(f"predict/{name}-b{batch}", "predict", net, {"data": (batch, *shape)})
    words, steps = 10000, {"data": (35, 20)}
    yield Case("predict/lstm-b20", "predict", nets.lstm, steps, {"data": words})
    trained: tuple[tuple[str, Callable[[Any], Any], Shape, int], ...] = (
        ("mlp", nets.mlp, (64, 784), 10),
        ("lenet", nets.lenet, (64, 1, 28, 28), 10),
        ("resnet18-32px", lambda mx: nets.resnet(mx, 18, small=True), (32, 3, 32, 32), 10),
        ("resnet50", lambda mx: nets.resnet(mx, 50), (8, 3, 224, 224), 1000),
    )
    for name, net, shape, classes in trained:
        yield Case(
            f"train/{name}-b{shape[0]}", "train", lambda mx, net=net: nets.loss(mx, net(mx)),
            {"data": shape, "softmax_label": shape[:1]}, {"softmax_label": classes},
        )  # fmt: skip
    trained_lstm = lambda mx: nets.loss(mx, nets.lstm(mx), flat=True)
    both = ("data", "softmax_label")
    yield Case("train/lstm-b20", "train", trained_lstm, dict.fromkeys(both, (35, 20)), dict.fromkeys(both, words))


#: convolutions of well-known nets: channels, extent of the maps, filters, kernel, stride, groups
CONVOLUTIONS = {
    "r50-7x7s2-3-64@224": (3, 224, 64, 7, 2, 1),
    "r50-1x1-64-64@56": (64, 56, 64, 1, 1, 1),
    "r50-3x3-64-64@56": (64, 56, 64, 3, 1, 1),
    "r50-1x1-64-256@56": (64, 56, 256, 1, 1, 1),
    "r50-1x1-256-64@56": (256, 56, 64, 1, 1, 1),
    "r50-1x1s2-256-128@56": (256, 56, 128, 1, 2, 1),
    "r50-1x1s2-256-512@56": (256, 56, 512, 1, 2, 1),
    "r50-3x3-128-128@28": (128, 28, 128, 3, 1, 1),
    "r50-1x1-128-512@28": (128, 28, 512, 1, 1, 1),
    "r50-1x1-512-128@28": (512, 28, 128, 1, 1, 1),
    "r50-3x3s2-128-128@56": (128, 56, 128, 3, 2, 1),
    "r50-1x1s2-512-256@28": (512, 28, 256, 1, 2, 1),
    "r50-1x1s2-512-1024@28": (512, 28, 1024, 1, 2, 1),
    "r50-3x3-256-256@14": (256, 14, 256, 3, 1, 1),
    "r50-1x1-256-1024@14": (256, 14, 1024, 1, 1, 1),
    "r50-1x1-1024-256@14": (1024, 14, 256, 1, 1, 1),
    "r50-3x3s2-256-256@28": (256, 28, 256, 3, 2, 1),
    "r50-1x1s2-1024-512@14": (1024, 14, 512, 1, 2, 1),
    "r50-1x1s2-1024-2048@14": (1024, 14, 2048, 1, 2, 1),
    "r50-3x3-512-512@7": (512, 7, 512, 3, 1, 1),
    "r50-1x1-512-2048@7": (512, 7, 2048, 1, 1, 1),
    "r50-1x1-2048-512@7": (2048, 7, 512, 1, 1, 1),
    "r50-3x3s2-512-512@14": (512, 14, 512, 3, 2, 1),
    "vgg-3x3-64-64@224": (64, 224, 64, 3, 1, 1),
    "vgg-3x3-512-512@28": (512, 28, 512, 3, 1, 1),
    "dw-3x3-32@112": (32, 112, 32, 3, 1, 32),
    "dw-3x3s2-96@112": (96, 112, 96, 3, 2, 96),
    "dw-3x3-144@56": (144, 56, 144, 3, 1, 144),
    "dw-3x3-192@28": (192, 28, 192, 3, 1, 192),
    "dw-3x3-384@14": (384, 14, 384, 3, 1, 384),
    "dw-3x3-576@14": (576, 14, 576, 3, 1, 576),
    "dw-3x3s2-576@14": (576, 14, 576, 3, 2, 576),
    "dw-3x3-960@7": (960, 7, 960, 3, 1, 960),
}

#: convolutions with their normalization and a clip, on one image
LAYERS = {
    "3-224-32k3s2": (3, 224, 32, 3, 2, 1),
    "dw32-112": (32, 112, 32, 3, 1, 32),
    "dw96-112s2": (96, 112, 96, 3, 2, 96),
    "dw144-56": (144, 56, 144, 3, 1, 144),
    "dw384-14": (384, 14, 384, 3, 1, 384),
    "dw960-7": (960, 7, 960, 3, 1, 960),
    "16-112-96": (16, 112, 96, 1, 1, 1),
    "144-56-24": (144, 56, 24, 1, 1, 1),
    "64-14-384": (64, 14, 384, 1, 1, 1),
    "160-7-960": (160, 7, 960, 1, 1, 1),
    "256-56-64": (256, 56, 64, 1, 1, 1),
    "1024-14-256": (1024, 14, 256, 1, 1, 1),
    "512-7-2048": (512, 7, 2048, 1, 1, 1),
    "64-56k3": (64, 56, 64, 3, 1, 1),
    "256-14k3": (256, 14, 256, 3, 1, 1),
    "512-7k3": (512, 7, 512, 3, 1, 1),
}


def _convolution(mx: Any, filters: int, kernel: int, stride: int, groups: int) -> Any:
    return mx.sym.Convolution(
        mx.sym.Variable("data"), name="conv", kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(kernel // 2,) * 2,
        num_filter=filters, num_group=groups, no_bias=True,
    )  # fmt: skip


def _normalized(mx: Any, *layer: int) -> Any:
    return mx.sym.clip(mx.sym.BatchNorm(_convolution(mx, *layer), name="bn", fix_gamma=False), a_min=0, a_max=6)


def _convolutions() -> Iterator[Case]:
    for family, kind, batches in (("conv", "predict", (1, 8)), ("convgrad", "grad", (8,))):
        for name, (channels, size, *layer) in CONVOLUTIONS.items():
            for batch in batches:
                build = lambda mx, layer=layer: _convolution(mx, *layer)
                yield Case(f"{family}/{name}-b{batch}", kind, build, _image(batch, channels, size, size))
    for name, (channels, size, *layer) in LAYERS.items():
        build = lambda mx, layer=layer: _normalized(mx, *layer)
        yield Case(f"layer/{name}", "predict", build, _image(1, channels, size, size))


#: rows, columns, terms of products
PRODUCTS = (
    *((n, n, n) for n in (64, 128, 256, 512, 1024, 2048)), (1, 4096, 4096), (64, 128, 784), (128, 3072, 768),
    (128, 768, 3072), (128, 768, 768), (20, 2600, 650), (700, 2600, 650), (512, 1024, 4096), (1, 4096, 25088),
    (8, 1000, 2048),
)  # fmt: skip


def _products() -> Iterator[Case]:
    for rows, columns, terms in PRODUCTS:
        for form in ("NN", "NT", "TN"):
            a, b = form[0] == "T", form[1] == "T"

            def build(mx: Any, a: bool = a, b: bool = b) -> Any:
                return mx.sym.dot(mx.sym.Variable("a"), mx.sym.Variable("b"), transpose_a=a, transpose_b=b)

            shapes = {"a": (terms, rows) if a else (rows, terms), "b": (columns, terms) if b else (terms, columns)}
            yield Case(f"gemm/{rows}x{columns}x{terms}-{form}", "predict", build, shapes)


def _chain(mx: Any) -> Any:
    x = mx.sym.Activation(mx.sym.Variable("x") * 1.1 + 0.3, act_type="relu")
    return mx.sym.broadcast_maximum(x * x - 0.5, mx.sym.Variable("y")) * 0.7 + 0.1


def _curved(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    return mx.sym.tanh(mx.sym.exp(x) * 0.1) * mx.sym.sigmoid(x) + x


def _streams() -> Iterator[Case]:
    """What memory bounds."""
    large, square = (1 << 24,), (4096, 4096)
    v = "x"
    rows: tuple[tuple[str, Callable[[Any], Any], dict[str, Shape]], ...] = (
        ("chain8", _chain, {"x": large, "y": large}),
        ("exp-tanh-sigmoid", _curved, {"x": large}),
        ("softmax", lambda mx: mx.sym.softmax(mx.sym.Variable(v), axis=-1), {"x": (4096, 1000)}),
        ("sum", lambda mx: mx.sym.sum(mx.sym.Variable(v)), {"x": large}),
        ("sum-rows", lambda mx: mx.sym.sum(mx.sym.Variable(v), axis=1), {"x": square}),
        ("sum-columns", lambda mx: mx.sym.sum(mx.sym.Variable(v), axis=0), {"x": square}),
        ("transpose", lambda mx: mx.sym.transpose(mx.sym.Variable(v), axes=(1, 0)), {"x": square}),
        ("relu", lambda mx: mx.sym.Activation(mx.sym.Variable(v), act_type="relu"), {"x": large}),
        ("add", lambda mx: mx.sym.Variable("x") + mx.sym.Variable("y"), {"x": large, "y": large}),
        ("layernorm", lambda mx: mx.sym.LayerNorm(mx.sym.Variable("data"), name="ln"), {"data": (4096, 1024)}),
        (
            "relu-bias",
            lambda mx: mx.sym.Activation(
                mx.sym.broadcast_add(mx.sym.Variable("x"), mx.sym.Variable("b")), act_type="relu"
            ),
            {"x": (8, 256, 56, 56), "b": (1, 256, 1, 1)},
        ),
    )
    for name, build, shapes in rows:
        yield Case(f"memory/{name}", "predict", build, shapes)
    norm = lambda mx: mx.sym.BatchNorm(mx.sym.Variable("data"), fix_gamma=False, name="bn")
    yield Case("memory/batchnorm-grad", "grad", norm, _image(32, 64, 56, 56))


def _calls() -> Iterator[Case]:
    """What a call costs."""
    v = lambda mx, name: mx.sym.Variable(name)
    abc = dict.fromkeys("ABC", (3,))
    yield Case("call/abc", "predict", lambda mx: v(mx, "A") * v(mx, "B") + v(mx, "C"), abc)
    yield Case("call/mlp-b1", "predict", nets.mlp, _image(1, 784))
    yield Case("call/500-nodes-b32", "predict", nets.deep, _image(32, 64))


CASES = {case.name: case for make in (_calls, _nets, _products, _streams, _convolutions) for case in make()}
