"""What users do with Symbols, written once: MXNet 1.9.1 answers when `record.py` runs, symc when the tests run.

Every scenario takes the module (`mxnet` or `symc`) and gives a JSON value. Several answers of one scenario are collected
with `ask`, which records an exception's class where there is one.
"""

# ruff: noqa: E501, E711  (lists of questions, one after the other, are easier to follow than columns)

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from typing import Any

SCENARIOS: dict[str, Callable[[Any], Any]] = {}


def scenario(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENARIOS[function.__name__] = function
    return function


def run(mx: Any, name: str) -> Any:
    """The answer of one scenario, as JSON gives it back; automatic names start at 0."""
    with warnings.catch_warnings(), mx.name.NameManager():
        warnings.simplefilter("ignore")
        return json.loads(json.dumps(SCENARIOS[name](mx)))


def ask(question: Callable[[], Any]) -> Any:
    """The answer, or the class of the exception."""
    try:
        return plain(question())
    except Exception as problem:
        return {"raises": type(problem).__name__}


def plain(value: Any) -> Any:
    """Symbols as their JSON text, types as their names, tuples as lists."""
    if hasattr(value, "tojson"):
        return value.tojson()
    if isinstance(value, type):
        return value.__name__.rstrip("_")  # numpy renamed bool_
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def perceptron(mx: Any) -> Any:
    net = mx.sym.Variable("data")
    net = mx.sym.FullyConnected(net, name="fc1", num_hidden=128)
    net = mx.sym.Activation(net, name="relu1", act_type="relu")
    net = mx.sym.FullyConnected(net, name="fc2", num_hidden=10)
    return mx.sym.SoftmaxOutput(net, name="out")


def convolutional(mx: Any) -> Any:
    net = mx.sym.Variable("data")
    net = mx.sym.Convolution(net, kernel=(3, 3), num_filter=8, pad=(1, 1), name="conv")
    net = mx.sym.BatchNorm(net, name="bn")
    net = mx.sym.Activation(net, act_type="relu")
    net = mx.sym.Pooling(net, kernel=(2, 2), stride=(2, 2), pool_type="max")
    net = mx.sym.FullyConnected(net, num_hidden=5)
    return mx.sym.SoftmaxOutput(net, name="softmax")


# ---------------------------------------------------------------------------------------------- names and operators


@scenario
def python_operators(mx: Any) -> Any:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    questions: list[Callable[[], Any]] = [
        lambda: a + b, lambda: a - b, lambda: a * b, lambda: a / b, lambda: a % b, lambda: a**b,
        lambda: a == b, lambda: a != b, lambda: a > b, lambda: a >= b, lambda: a < b, lambda: a <= b,
        lambda: a + 2, lambda: a - 2, lambda: a * 2, lambda: a / 2, lambda: a % 2, lambda: a**2,
        lambda: 2 + a, lambda: 2 - a, lambda: 2 * a, lambda: 2 / a, lambda: 2 % a, lambda: 2**a,
        lambda: a == 2, lambda: a != 2, lambda: a > 2, lambda: a >= 2, lambda: a < 2, lambda: a <= 2,
        lambda: 2 == a, lambda: 2 != a, lambda: 2 > a, lambda: 2 >= a, lambda: 2 < a, lambda: 2 <= a,
        lambda: -a, lambda: abs(a), lambda: a + 1.5, lambda: a * 1e-12, lambda: a + True, lambda: a + "x", lambda: a + None,
        lambda: a // b, lambda: bool(a), lambda: a @ b, lambda: a == None, lambda: a > "x", lambda: a + 1e30,
        lambda: a / 3.3333333333333333,
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def in_place_operators(mx: Any) -> Any:
    def add() -> Any:
        a = mx.sym.Variable("a")
        a += 1
        return a

    def sub() -> Any:
        a = mx.sym.Variable("a")
        a -= 1
        return a

    def mul() -> Any:
        a = mx.sym.Variable("a")
        a *= 1
        return a

    def div() -> Any:
        a = mx.sym.Variable("a")
        a /= 1
        return a

    return [ask(q) for q in (add, sub, mul, div)]


@scenario
def helper_functions(mx: Any) -> Any:
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    answers = {}
    for word in (
        "maximum", "minimum", "power", "pow", "hypot", "modulo", "equal", "not_equal", "greater", "greater_equal", "lesser",
        "lesser_equal", "logical_and", "logical_or", "logical_xor", "add", "subtract", "multiply", "divide",
    ):  # fmt: skip
        for at, (left, right) in enumerate([(a, b), (a, 2), (2, a), (2, 3), ("x", a)]):
            answers[f"{word}{at}"] = ask(lambda w=word, x=left, y=right: getattr(mx.sym, w)(x, y))
    return {k: v if isinstance(v, (str, dict)) else float(v) for k, v in answers.items()}


@scenario
def creation(mx: Any) -> Any:
    s = mx.sym
    questions: list[Callable[[], Any]] = [
        lambda: s.zeros((2, 3)), lambda: s.zeros(3), lambda: s.zeros(shape=(2,), dtype="float64", name="z"),
        lambda: s.ones((2, 3)), lambda: s.ones([4, 5], dtype="int32"), lambda: s.full((2, 2), 7), lambda: s.full((2,), 1.5, "float16"),
        lambda: s.arange(5), lambda: s.arange(1, 7, 2, repeat=2, name="r"), lambda: s.arange(0.5, 3, dtype="int32"),
        lambda: s.eye(3), lambda: s.eye(3, 4, 1, name="e"), lambda: s.linspace(0, 1, 5), lambda: s.linspace(0, 1, 5, endpoint=False, name="l"),
        lambda: s.split_v2(s.Variable("x"), 3), lambda: s.split_v2(s.Variable("x"), (1, 3), axis=1, squeeze_axis=True),
        lambda: s.split_v2(s.Variable("x"), "3"), lambda: s.zeros_like(s.Variable("x")), lambda: s.histogram(s.Variable("x"), 5),
        lambda: s.histogram(s.Variable("x"), 5, (0, 1)), lambda: s.histogram(s.Variable("x"), s.Variable("bins")),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def methods(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    y = mx.sym.Variable("y")
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "reshape": (((2, -1),), {}), "reshape_like": ((y,), {}), "astype": (("float16",), {}), "zeros_like": ((), {}),
        "ones_like": ((), {}), "broadcast_axes": ((1, 3), {}), "repeat": ((2,), {}), "pad": ((), {"mode": "constant", "pad_width": (0, 0, 0, 0, 1, 1, 1, 1)}),
        "swapaxes": ((0, 1), {}), "split": ((2,), {}), "split_v2": ((2,), {}), "slice": (((0,), (1,)), {}),
        "slice_axis": ((0, 0, 1), {}), "slice_like": ((y,), {}), "take": ((y,), {}), "one_hot": ((3,), {}), "pick": ((y,), {}),
        "sort": ((), {}), "topk": ((), {"k": 2}), "argsort": ((), {}), "argmax": ((), {}), "argmax_channel": ((), {}), "argmin": ((0,), {}),
        "clip": ((0, 1), {}), "abs": ((), {}), "sign": ((), {}), "flatten": ((), {}), "shape_array": ((), {}), "size_array": ((), {}),
        "expand_dims": ((1,), {}), "broadcast_to": (((2, 3),), {}), "broadcast_like": ((y,), {}), "tile": (((2,),), {}),
        "transpose": (((1, 0),), {}), "flip": ((0,), {}), "depth_to_space": ((2,), {}), "space_to_depth": ((2,), {}), "diag": ((1,), {}),
        "sum": ((0,), {}), "nansum": ((), {}), "prod": ((), {"axis": (0, 1)}), "nanprod": ((), {}), "mean": ((), {"keepdims": True}),
        "max": ((), {}), "min": ((), {}), "norm": ((), {}), "round": ((), {}), "rint": ((), {}), "fix": ((), {}), "floor": ((), {}),
        "ceil": ((), {}), "trunc": ((), {}), "sin": ((), {}), "cos": ((), {}), "tan": ((), {}), "arcsin": ((), {}), "arccos": ((), {}),
        "arctan": ((), {}), "degrees": ((), {}), "radians": ((), {}), "sinh": ((), {}), "cosh": ((), {}), "tanh": ((), {}),
        "arcsinh": ((), {}), "arccosh": ((), {}), "arctanh": ((), {}), "exp": ((), {"name": "e"}), "expm1": ((), {}), "log": ((), {}),
        "log10": ((), {}), "log2": ((), {}), "log1p": ((), {}), "sqrt": ((), {}), "rsqrt": ((), {}), "cbrt": ((), {}), "rcbrt": ((), {}),
        "square": ((), {}), "reciprocal": ((), {}), "relu": ((), {}), "sigmoid": ((), {}), "softmax": ((), {"axis": 0}),
        "log_softmax": ((), {}), "softmin": ((), {}), "squeeze": ((), {}),
    }  # fmt: skip
    return {name: ask(lambda n=name, c=c: getattr(x, n)(*c[0], **c[1])) for name, c in calls.items()}


@scenario
def method_errors(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    return [
        ask(q)
        for q in (
            lambda: x.reshape(2, 3), lambda: x.reshape(shape=(2, 3)), lambda: x.reshape((2, 3), reverse=True), lambda: x.squeeze(0),
            lambda: x.squeeze(axis=(0, 1)), lambda: x.expand_dims(axis=0), lambda: x.asnumpy(), lambda: x.asscalar(), lambda: x.wait_to_read(),
            lambda: x.copy(), lambda: x.as_in_context(), lambda: x.detach(), lambda: x.backward(), lambda: x.transpose(), lambda: x.astype(dtype="int32"),
            lambda: x.gradient(["x"]), lambda: x.as_nd_ndarray().name, lambda: x.expand_dims(0, inplace=True), lambda: x.flatten(inplace=True),
            lambda: x.nothing,
        )
    ]  # fmt: skip


@scenario
def automatic_names(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    s = mx.sym
    made = [
        s.FullyConnected(x, num_hidden=2), s.FullyConnected(x, num_hidden=2), s.Activation(x, act_type="relu"), s.relu(x), s.flatten(x),
        s.Flatten(x), s.BlockGrad(x), s.stop_gradient(x), s.add_n(x, x), s.ElementWiseSum(x, x), s.elemwise_add(x, x), s.broadcast_add(x, x),
        s.broadcast_plus(x, x), s.make_loss(x), s.MakeLoss(x), s.identity(x), s.cast(x, dtype="int32"), s.Cast(x, dtype="int32"),
        s.sum(x), s.sum_axis(x), s.SoftmaxActivation(x), s.Softmax(x), s.SoftmaxOutput(x), s.BatchNorm(x), s.negative(x), s.LeakyReLU(x),
        s.LRN(x, nsize=3), s.Dropout(x), s.norm(x), s.softmax(x), s.L2Normalization(x),
    ]  # fmt: skip
    return [[m.name, m.list_outputs(), m.list_arguments()] for m in made]


@scenario
def prefixes(mx: Any) -> Any:
    with mx.name.Prefix("net_"):
        x = mx.sym.Variable("x")
        a = mx.sym.FullyConnected(x, num_hidden=2, name="fc")
        b = mx.sym.FullyConnected(a, num_hidden=2)
        with mx.name.Prefix("in_"):
            c = b + 1
        with mx.name.NameManager():
            d = c + 1
    e = d + 1
    return [e.list_arguments(), e.get_internals().list_outputs()]


@scenario
def outputs_of_operators(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    s = mx.sym
    questions: list[Callable[[], Any]] = [
        lambda: s.BatchNorm(x, name="n"), lambda: s.BatchNorm(x, name="n", output_mean_var=True), lambda: s.LayerNorm(x, name="n"),
        lambda: s.LayerNorm(x, name="n", output_mean_var=True), lambda: s.Dropout(x, name="n"), lambda: s.SliceChannel(x, name="n", num_outputs=3),
        lambda: s.SliceChannel(x, name="n", num_outputs=1), lambda: s.topk(x, name="n", ret_typ="both"), lambda: s.moments(x, axes=(0,), name="n"),
        lambda: s.GroupNorm(x, name="n"), lambda: s.InstanceNorm(x, name="n"), lambda: s.RNN(x, mode="lstm", state_size=3, num_layers=1, state_outputs=True, name="n"),
        lambda: s.LRN(x, nsize=3, name="n"), lambda: s.Pooling(x, kernel=(2, 2), name="n"), lambda: s.softmax_cross_entropy(x, name="n"),
        lambda: s.CTCLoss(x, name="n"), lambda: s.amp_multicast(x, x, num_outputs=2, name="n"),
    ]  # fmt: skip

    def facts(net: Any) -> Any:
        return [
            net.list_outputs(), net.list_arguments(), net.list_auxiliary_states(), net.list_inputs(), len(net),
            net.get_internals().list_outputs(), [i.name for i in net], json.loads(net.tojson())["node_row_ptr"],
        ]  # fmt: skip

    return [ask(lambda q=q: facts(q())) for q in questions]


@scenario
def numbers_as_text(mx: Any) -> Any:
    import numpy as np

    x = mx.sym.Variable("x")
    s = mx.sym
    questions: list[Callable[[], Any]] = [
        lambda: s.Dropout(x, p=0.25, name="n"), lambda: s.Dropout(x, p="0.25", name="n"), lambda: s.FullyConnected(x, num_hidden="12", no_bias="true", name="n"),
        lambda: s.FullyConnected(x, num_hidden=12, no_bias=1, name="n"), lambda: s.FullyConnected(x, num_hidden=np.int64(12), name="n"),
        lambda: s.Dropout(x, p=np.float32(0.1), name="n"), lambda: s.cast(x, dtype=np.float16, name="n"), lambda: s.cast(x, dtype=np.dtype("int8"), name="n"),
        lambda: s.Convolution(x, kernel=[3, 3], num_filter=4, name="n"), lambda: s.Convolution(x, kernel=(3,), num_filter=4, name="n"),
        lambda: s.Convolution(x, kernel="(3, 3)", num_filter=4, name="n"), lambda: s.sum(x, axis=None, name="n"), lambda: s.sum(x, axis=(), name="n"),
        lambda: s.sum(x, axis=-1, name="n"), lambda: s.sum(x, axis=(0, 2), keepdims=True, name="n"), lambda: s.clip(x, -np.inf, 1, name="n"),
        lambda: s.FullyConnected(x, num_hidden=12.0, name="n"), lambda: s.FullyConnected(x, num_hidden=12.5, name="n"),
        lambda: s.FullyConnected(x, num_hidden="many", name="n"), lambda: s.FullyConnected(x, name="n"), lambda: s.FullyConnected(x, num_hidden=-1, name="n"),
        lambda: s.FullyConnected(x, num_hidden=2, colour="red", name="n"), lambda: s.Activation(x, act_type="tanhh", name="n"), lambda: s.Activation(x, name="n"),
        lambda: s.FullyConnected(x, num_hidden=True, name="n"), lambda: s.Dropout(x, p=1.5, name="n"), lambda: s.cast(x, dtype="float31", name="n"),
        lambda: s.LeakyReLU(x, act_type="leaky", slope=0.1, name="n"), lambda: s.BatchNorm(x, eps=2e-5, momentum=0.9, fix_gamma=False, name="n"),
        lambda: s.softmax(x, temperature=None, name="n"), lambda: s.Pooling(x, kernel=(2, 2), pool_type="avg", count_include_pad=None, name="n"),
        lambda: s.Convolution(x, kernel=(3, 3), num_filter=4, layout=None, name="n"), lambda: s.Dropout(x, p=None, name="n"),
    ]  # fmt: skip
    return [ask(q) for q in questions]


# ---------------------------------------------------------------------------------------------- calling


@scenario
def calls(mx: Any) -> Any:
    x, y, z = (mx.sym.Variable(n) for n in "xyz")
    two = mx.sym.Group([x, y])
    s = mx.sym
    questions: list[Callable[[], Any]] = [
        lambda: s.FullyConnected(x, y, z, num_hidden=2, name="n"), lambda: s.FullyConnected(x, y, z, 2, name="n"),
        lambda: s.FullyConnected(data=x, bias=z, num_hidden=2, name="n"), lambda: s.FullyConnected(num_hidden=2, name="n"),
        lambda: s.FullyConnected(weight=y, num_hidden=2, name="n"), lambda: s.FullyConnected(x, y, z, num_hidden=2, no_bias=True, name="n"),
        lambda: s.FullyConnected(x, bias=z, num_hidden=2, no_bias=True, name="n"), lambda: s.FullyConnected(x, x, x, x, num_hidden=2, name="n"),
        lambda: s.FullyConnected(x, data=y, num_hidden=2, name="n"), lambda: s.FullyConnected(x, dta=y, num_hidden=2, name="n"),
        lambda: s.FullyConnected(two, num_hidden=2, name="n"), lambda: s.FullyConnected("x", num_hidden=2, name="n"),
        lambda: s.FullyConnected(1, num_hidden=2, name="n"), lambda: s.add_n(x, y, z, name="n"), lambda: s.add_n(two, name="n"), lambda: s.add_n(*two, name="n"),
        lambda: s.add_n(name="n"), lambda: s.add_n(x, 2, name="n"), lambda: s.add_n(x, y, num_args=3, name="n"), lambda: s.add_n(x, y, num_args=2, name="n"),
        lambda: s.add_n(x, k=y, name="n"), lambda: s.add_n(args=x, name="n"), lambda: s.add_n(arg1=x, arg0=y, name="n"),
        lambda: s.elemwise_add(x, y, name="n"), lambda: s.elemwise_add(x, name="n"), lambda: s.elemwise_add(two, name="n"), lambda: s.elemwise_add(lhs=x, rhs=y, name="n"),
        lambda: s.elemwise_add(rhs=x, name="n"), lambda: s.SoftmaxOutput(x, name="n"), lambda: s.SoftmaxOutput(x, y, name="n"),
        lambda: s.FullyConnected(x, num_hidden=2, name="n", attr={"mood": "angry"}), lambda: s.FullyConnected(x, num_hidden=2, name="n", attr={"__mood__": "angry"}),
        lambda: s.FullyConnected(x, num_hidden=2, name="n", lr_mult=2), lambda: s.FullyConnected(x, num_hidden=2, name="n", weight_lr_mult="2"),
        lambda: s.FullyConnected(x, num_hidden=2, name="n", __layout__="TNC"), lambda: s.FullyConnected(x, num_hidden=2, name="n", attr={"ctx_group": "g"}),
        lambda: s.FullyConnected(x, num_hidden=2, name="n", attr={"lr_mult": "3", "weight_lr_mult": "2"}), lambda: s.FullyConnected(x, num_hidden=2, name="n", out=None),
        lambda: s.LeakyReLU(x, act_type="prelu", name="n"), lambda: s.LeakyReLU(x, y, name="n"), lambda: s.LeakyReLU(x, y, act_type="prelu", name="n"),
        lambda: s.BatchNorm(x, y, z, name="n"), lambda: s.BatchNorm(x, moving_mean=y, name="n"), lambda: s.FullyConnected(x, num_hidden=2, name=""),
        lambda: s.SequenceMask(x, use_sequence_length=True, name="n"), lambda: s.SequenceMask(x, name="n"), lambda: s.elemwise_add(x, None, name="n"),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def composition(mx: Any) -> Any:
    s = mx.sym

    def compose_named() -> Any:
        net1 = s.FullyConnected(s.Variable("data"), name="fc1", num_hidden=10)
        net1 = s.FullyConnected(net1, name="fc2", num_hidden=100)
        net2 = s.FullyConnected(s.Variable("data2"), name="fc3", num_hidden=10)
        net2 = s.Activation(net2, name="relu", act_type="relu")
        net2 = s.FullyConnected(net2, name="fc4", num_hidden=20)
        composed = net2(data2=net1, name="composed")
        return [
            composed,
            composed.list_arguments(),
            net2.list_arguments(),
            net2.name,
            net1.list_arguments(),
            composed.name,
            net2,
        ]

    def documentation() -> Any:
        net = s.Variable("data")
        net = s.FullyConnected(net, name="fc1", num_hidden=10)
        net2 = s.Variable("data2")
        net2 = s.FullyConnected(net2, name="net2", num_hidden=10)
        composed = net(data=net2, name="compose")
        return [composed.list_arguments(), composed, net]

    def group() -> Any:
        pair = s.Group([s.Variable("a") + 1, s.Variable("b") * 2])
        return [pair(a=s.Variable("c")), pair(a=s.Variable("c"), name="g"), pair]

    def v(name: str) -> Any:
        return s.Variable(name)

    def chain() -> Any:
        return s.sin(v("a") + v("b"), name="chain")

    def bn() -> Any:
        return s.BatchNorm(v("a"), name="bn")

    questions: list[Callable[[], Any]] = [
        compose_named, documentation, group, lambda: chain()(v("c"), v("d")), lambda: chain()(v("c")), lambda: chain()(v("c"), v("c"), v("c")),
        lambda: chain()(x=v("c")), lambda: chain()(a=v("b"), b=v("a")), lambda: chain()(v("c"), b=v("c")), lambda: chain()(a=3), lambda: chain()(3),
        lambda: chain()(a=s.Group([v("b"), v("c")])), lambda: chain()(), lambda: chain()(name="other"), lambda: bn()(bn_gamma=v("b")), lambda: bn()(bn_moving_mean=v("b")),
        lambda: (lambda x: (x * x)(x=v("b")))(v("x")), lambda: (lambda x: x(a=x))(chain()), lambda: s.FullyConnected(name="f", num_hidden=3)(f_data=v("b")),
        lambda: s.FullyConnected(name="f", num_hidden=3)(data=v("b")), lambda: s.FullyConnected(name="f", num_hidden=3)(v("b")),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def shared_after_composition(mx: Any) -> Any:
    """What an earlier Symbol shows after one made from it was changed."""
    a = mx.sym.Variable("a")
    b = mx.sym.sin(a, name="b")
    c = mx.sym.cos(b, name="c")
    b._set_attr(mood="good")
    d = copy.copy(c)
    d._set_attr(mood="other")
    e = c(a=mx.sym.Variable("z"))
    a._set_attr(k="v")
    return [b.list_attr(), c.list_attr(), d.list_attr(), c.attr_dict(), e.attr_dict(), d.attr_dict()]


@scenario
def indexing(mx: Any) -> Any:
    net = perceptron(mx)
    inner = net.get_internals()
    pair = mx.sym.Group([net, inner["fc1_output"], mx.sym.Variable("q")])
    twice = mx.sym.Group([net, net])
    questions: list[Callable[[], Any]] = [
        lambda: inner.list_outputs(), lambda: inner["fc1_output"].name, lambda: inner["fc1"].name, lambda: inner["data"].name, lambda: inner[2].name,
        lambda: inner[-1].name, lambda: inner[-100].name, lambda: inner[100].name, lambda: inner[1.0].name, lambda: inner[None].name, lambda: len(inner),
        lambda: pair.list_outputs(), lambda: pair[0:2].list_outputs(), lambda: pair[1:].list_outputs(), lambda: pair[:-1].list_outputs(), lambda: pair[::2].list_outputs(),
        lambda: pair[5:].list_outputs(), lambda: pair[1:1].list_outputs(), lambda: [p.name for p in pair], lambda: repr(pair), lambda: repr(net), lambda: repr(inner),
        lambda: pair.name, lambda: pair.attr("x"), lambda: twice.name, lambda: twice["out_output"].name, lambda: net[0].list_outputs(), lambda: net[1].list_outputs(),
        lambda: net.get_children().list_outputs(), lambda: net.get_children().get_children().list_outputs(), lambda: mx.sym.Variable("x").get_children(),
        lambda: pair.get_children().list_outputs(), lambda: mx.sym.Group([]).list_outputs(), lambda: mx.sym.Group([net, 3]), lambda: mx.sym.Group(net).list_outputs(),
        lambda: pair.list_arguments(), lambda: mx.sym.Group([mx.sym.Variable("x"), mx.sym.Variable("x")]).list_arguments(), lambda: repr(mx.sym.Variable("x")),
        lambda: mx.sym.Group([net]).name, lambda: inner.list_arguments(), lambda: str(net), lambda: hash(net) == hash(net), lambda: inner[True].name,
        lambda: mx.sym.SliceChannel(net, num_outputs=3, name="s")[1].list_outputs(), lambda: mx.sym.SliceChannel(net, num_outputs=3, name="s")["s_output2"].list_outputs(),
        lambda: mx.sym.SliceChannel(net, num_outputs=3, name="s").get_internals().list_outputs(), lambda: mx.sym.SliceChannel(net, num_outputs=3, name="s").name,
        lambda: mx.sym.SliceChannel(net, num_outputs=3, name="s")[1].name, lambda: [o.list_outputs() for o in mx.sym.SliceChannel(net, num_outputs=3, name="s")],
        lambda: mx.sym.BatchNorm(net, name="bn").get_internals().list_outputs(), lambda: mx.sym.BatchNorm(net, name="bn")[1].list_outputs(),
        lambda: mx.sym.BatchNorm(net, name="bn").get_children().list_outputs(),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def copies(mx: Any) -> Any:
    net = convolutional(mx)
    pair = mx.sym.Group([net, net.get_internals()["bn_output"]])
    answers = []
    for make in (
        copy.copy,
        copy.deepcopy,
        lambda n: pickle.loads(pickle.dumps(n)),
        lambda n: mx.sym.load_json(n.tojson()),
    ):
        for source in (net, pair):
            made = make(source)
            answers.append(
                [
                    made,
                    made.list_arguments(),
                    made.list_auxiliary_states(),
                    made.name,
                    made.list_outputs(),
                    made.attr_dict(),
                ]
            )
    return plain(answers)


# ---------------------------------------------------------------------------------------------- attributes


@scenario
def attributes(mx: Any) -> Any:
    s = mx.sym
    v = s.Variable(
        "v",
        shape=(2, 0),
        dtype="float16",
        lr_mult=0.1,
        wd_mult=2,
        init=mx.init.One(),
        attr={"mood": "angry"},
        __extra__="x",
    )
    with mx.AttrScope(ctx_group="g", __tag__="t", __mood__="calm"):
        w = s.Variable("w", attr={"__mood__": "angry"})
        f = s.FullyConnected(v, w, num_hidden=2, name="f")
        with mx.AttrScope(ctx_group="h"):
            g = s.Activation(f, act_type="relu", name="g")
            p = f + 1
    outside = s.Activation(f, act_type="relu", name="o")
    group = s.Group([f, g])
    questions: list[Callable[[], Any]] = [
        lambda: v.list_attr(), lambda: w.list_attr(), lambda: f.list_attr(), lambda: g.list_attr(), lambda: p.list_attr(), lambda: outside.list_attr(),
        lambda: group.list_attr(), lambda: group.attr_dict(), lambda: v.attr("mood"), lambda: v.attr("lr_mult"), lambda: v.attr("__lr_mult__"), lambda: f.attr("ctx_group"),
        lambda: f.attr("__ctx_group__"), lambda: f.attr("nothing"), lambda: f.attr("num_hidden"), lambda: f.attr("no_bias"), lambda: f.list_attr(recursive=True),
        lambda: f.attr_dict(), lambda: p.attr_dict(), lambda: group.attr("mood"), lambda: v.attr("shape"), lambda: v.attr("__shape__"), lambda: v.attr("__dtype__"), group, p,
    ]  # fmt: skip
    return [ask(q) if callable(q) and not hasattr(q, "tojson") else plain(q) for q in questions]


@scenario
def setting_attributes(mx: Any) -> Any:
    s = mx.sym

    def changed(**attrs: Any) -> Any:
        x = s.FullyConnected(s.Variable("v"), num_hidden=2, name="x")
        x._set_attr(**attrs)
        return [x.list_attr(), x.attr_dict(), x]

    def on_group() -> Any:
        pair = s.Group([s.Variable("a"), s.Variable("b")])
        pair._set_attr(k="v")
        return pair.attr_dict()

    def parameter() -> Any:
        x = s.FullyConnected(s.Variable("v"), num_hidden=2, name="x")
        x._set_attr(num_hidden="7")
        return [x.list_attr(), x.infer_shape(v=(3, 4))]

    questions: list[Callable[[], Any]] = [
        lambda: changed(k="v"), lambda: changed(k=1), lambda: changed(lr_mult="2"), lambda: changed(__lr_mult__="2"), lambda: changed(ctx_group="g"),
        lambda: changed(weight_lr_mult="2"), lambda: changed(force_mirroring="True"), lambda: changed(mirror_stage="1"), on_group, parameter,
        lambda: mx.AttrScope(k=1), lambda: mx.AttrScope(k="1").get({"j": "2"}), lambda: mx.AttrScope().get(None), lambda: changed(__profiler_scope__="a"),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def variables(mx: Any) -> Any:
    s = mx.sym
    questions: list[Callable[[], Any]] = [
        lambda: s.Variable("v"), lambda: s.var("v", shape=(2, 3)), lambda: s.var("v", shape=[2, 3]), lambda: s.var("v", shape=(2,)), lambda: s.var("v", shape=3),
        lambda: s.var("v", dtype="float32"), lambda: s.var("v", dtype=int), lambda: s.var("v", lr_mult=1), lambda: s.var("v", lr_mult="1"), lambda: s.var("v", init="zeros"),
        lambda: s.var("v", init=mx.init.Xavier(magnitude=2)), lambda: s.var("v", init=mx.init.Zero()), lambda: s.var("v", attr={"a": "b"}), lambda: s.var("v", attr={"a": 1}),
        lambda: s.var("v", nothing="x"), lambda: s.var("v", __thing__="x"), lambda: s.var("v", __thing__=3), lambda: s.var(3), lambda: s.var(""),
        lambda: s.var("v", force_mirroring="x"), lambda: s.var("v", ctx_group="x"), lambda: s.var("a b"), lambda: s.var("ä\"\\\n\t/"), lambda: s.var("v", attr={"lr_mult": "2", "ctx_group": "g"}),
        lambda: s.var("v", shape=()), lambda: s.var("v", shape=(0, 2)), lambda: s.var("v", attr={"a": "ü\"\n\\/"}), lambda: s.var("v", profiler_scope="p"),
    ]  # fmt: skip
    return [ask(q) for q in questions]


# ---------------------------------------------------------------------------------------------- text


@scenario
def json_text(mx: Any) -> Any:
    s = mx.sym
    x = s.Variable("x")
    many = s.add_n(*[s.Variable(f"v{i}") for i in range(12)], name="many")
    ten = s.add_n(*[s.Variable(f"v{i}") for i in range(10)], name="ten")
    split = s.SliceChannel(x, num_outputs=3, name="split")
    return plain([perceptron(mx), convolutional(mx), many, ten, x, split, split[1], s.Group([split[2], split[0], x]), split[0] + split[2],
                  convolutional(mx).get_internals(), s.Group([x] * 11)])  # fmt: skip


@scenario
def debug_text(mx: Any) -> Any:
    a = mx.sym.Variable("a")
    b = mx.sym.sin(a) + 2 * a
    split = mx.sym.SliceChannel(b, num_outputs=2, name="s")
    return [
        n.debug_str()
        for n in (mx.sym.FullyConnected(b, num_hidden=10), convolutional(mx), split, mx.sym.Group([split[1], a]), a)
    ]


@scenario
def loading(mx: Any) -> Any:
    def nodes(op: str, key: str, attrs: dict[str, str], inputs: int, extra: Any = None) -> str:
        listed: list[Any] = [{"op": "null", "name": f"i{i}", "inputs": []} for i in range(inputs)]
        listed.append(
            {
                "op": op,
                "name": "n",
                key: attrs,
                "inputs": [[i, 0, int(op == "BatchNorm" and i > 2)] for i in range(inputs)],
                **(extra or {}),
            }
        )
        return json.dumps({"nodes": listed, "arg_nodes": list(range(inputs)), "heads": [[inputs, 0]]})

    old = json.dumps({
        "nodes": [
            {"op": "null", "param": {}, "name": "data", "inputs": [], "backward_source_id": -1},
            {"op": "null", "param": {}, "name": "fc_weight", "inputs": [], "backward_source_id": -1, "attr": {"lr_mult": "2"}},
            {"op": "null", "param": {}, "name": "fc_bias", "inputs": [], "backward_source_id": -1},
            {"op": "FullyConnected", "param": {"no_bias": "False", "num_hidden": "7"}, "name": "fc", "attr": {"ctx_group": "g", "weight_lr_mult": "3"},
             "inputs": [[0, 0], [1, 0], [2, 0]], "backward_source_id": -1},
        ], "arg_nodes": [0, 1, 2], "heads": [[3, 0]],
    })  # fmt: skip
    questions: list[Callable[[], Any]] = [
        lambda: mx.sym.load_json(old), lambda: mx.sym.load_json(old).attr_dict(), lambda: mx.sym.load_json(nodes("FullyConnected", "param", {"num_hidden": "3"}, 3)),
        lambda: mx.sym.load_json(nodes("FullyConnected", "attr", {"num_hidden": "3"}, 3)), lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {"num_hidden": "3"}, 3)),
        lambda: mx.sym.load_json(nodes("BatchNorm", "param", {"eps": "0.01"}, 3)), lambda: mx.sym.load_json(nodes("BatchNorm", "attrs", {"eps": "0.01"}, 5)),
        lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {"num_hidden": "3", "bad": "x"}, 3)), lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {}, 3)),
        lambda: mx.sym.load_json(nodes("Nothing", "attrs", {}, 1)), lambda: mx.sym.load_json("{}"), lambda: mx.sym.load_json("nonsense"), lambda: mx.sym.load_json(3),
        lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {"num_hidden": "3", "__mood__": "x"}, 3)), lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {"num_hidden": "3"}, 2)),
        lambda: mx.sym.load_json(nodes("FullyConnected", "attrs", {"num_hidden": "3", "ctx_group": "x", "lr_mult": "2"}, 3)),
        lambda: mx.sym.load_json(nodes("Softmax", "param", {}, 2)), lambda: mx.sym.load_json(nodes("_Plus", "param", {}, 2)), lambda: mx.sym.load_json(nodes("_PlusScalar", "param", {"scalar": "2"}, 1)),
        lambda: mx.sym.load_json(nodes("_plus_scalar", "attrs", {"scalar": "2"}, 1)), lambda: mx.sym.load_json(nodes("ElementWiseSum", "param", {"num_args": "2"}, 2)),
        lambda: mx.sym.load_json(nodes("argmax", "attrs", {"axis": "-1"}, 1)), lambda: mx.sym.load("/nonexistent/file.json"), lambda: mx.sym.load(3),
    ]  # fmt: skip
    return [ask(q) for q in questions]


# ---------------------------------------------------------------------------------------------- inference


@scenario
def shapes(mx: Any) -> Any:
    s = mx.sym
    net, conv = perceptron(mx), convolutional(mx)
    a, b = s.Variable("a"), s.Variable("b")
    declared = s.Variable("d", shape=(0, 4)) + s.Variable("e")
    prev = s.FullyConnected(s.Variable("prev"), name="fc2", num_hidden=128)
    partial = s.Activation(s.FullyConnected(s.Variable("data"), name="fc1", num_hidden=128) + prev, act_type="relu")
    questions: list[Callable[[Callable[..., Any]], Any]] = []
    for method in ("infer_shape", "infer_shape_partial"):
        f, c = getattr(net, method), getattr(conv, method)
        ab, d, p = getattr(a + b, method), getattr(declared, method), getattr(partial, method)
        chain = getattr(s.sin((a + b) * s.Variable("c")), method)
        group = getattr(s.Group([a + b, s.FullyConnected(a, num_hidden=3, name="g")]), method)
        questions += [
            lambda f=f: f(data=(100, 100)), lambda f=f: f((100, 100)), lambda f=f: f(), lambda f=f: f(data=(100, 0)), lambda f=f: f(data=(0, 100)), lambda f=f: f(fc1_weight=(128, 50)),
            lambda f=f: f(data=(100, 100), fc1_weight=(1, 100)), lambda f=f: f(data=(100, 100), fc2_weight=(10, 127)), lambda f=f: f(data=(100, 100), nothing=(1,)),
            lambda f=f: f(data=[100, 100]), lambda f=f: f(data=None), lambda f=f: f(None, (128, 9)), lambda f=f: f((1, 2), fc1_bias=(128,)), lambda f=f: f(*[None] * 7), lambda f=f: f(out_label=(7,)),
            lambda f=f: f(data=()), lambda f=f: f(data=(3, 2, 2)), lambda f=f: f(data=(-1, 5)), lambda f=f: f(out_output=(5, 10)), lambda f=f: f([3, 4]), lambda f=f: f(data=3),
            lambda c=c: c(data=(2, 3, 8, 8)), lambda c=c: c(data=(0, 3, 8, 8)), lambda c=c: c(data=(2, 3, 0, 8)), lambda c=c: c(data=(2, 0, 8, 8)), lambda c=c: c(bn_moving_mean=(8,)), lambda c=c: c(bn_moving_mean=(9,), data=(2, 3, 8, 8)),
            lambda c=c: c(data=(2, 3)), lambda ab=ab: ab(a=(2, 3)), lambda ab=ab: ab(b=(2, 3)), lambda ab=ab: ab(a=(0, 3), b=(2, 0)), lambda ab=ab: ab(a=(2, 3), b=(2, 4)), lambda ab=ab: ab(a=(2, 3), b=(2, 3, 1)),
            lambda ab=ab: ab(a=(2, 3), b=None), lambda d=d: d(), lambda d=d: d(e=(3, 0)), lambda d=d: d(d=(5, 4)), lambda d=d: d(d=(5, 5)), lambda p=p: p(data=(10, 64)), lambda p=p: p(data=(10, 64), prev=(10, 128)),
            lambda chain=chain: chain(c=(4,)), lambda chain=chain: chain(a=(0, 2), c=(3, 0)), lambda group=group: group(a=(2, 3)), lambda group=group: group(b=(2, 3)),
        ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def types(mx: Any) -> Any:
    s = mx.sym
    net, conv = perceptron(mx), convolutional(mx)
    a, b = s.Variable("a"), s.Variable("b")
    declared = s.Variable("d", dtype="float16") + s.Variable("e")
    cast = s.cast(a, dtype="float16") + b
    questions: list[Callable[[], Any]] = []
    for method in ("infer_type", "infer_type_partial"):
        f, c, ab, d, k = (getattr(n, method) for n in (net, conv, a + b, declared, cast))
        g = getattr(s.Group([a + 1, s.sin(b)]), method)
        questions += [
            lambda f=f: f(data="float32"), lambda f=f: f(data="float64"), lambda f=f: f("float16"), lambda f=f: f(), lambda f=f: f(data="float32", fc1_weight="float64"), lambda f=f: f(nothing="float32"),
            lambda f=f: f(data=None), lambda f=f: f(None, "float64"), lambda f=f: f(out_label="float64"), lambda f=f: f("float32", fc1_bias="float32"), lambda f=f: f(data="nonsense"), lambda f=f: f(data="complex64"),
            lambda f=f: f("complex64"), lambda f=f: f(data="int32"), lambda f=f: f(data=int), lambda f=f: f(data="bool"), lambda c=c: c(data="float16"), lambda c=c: c(data="float64"), lambda c=c: c(bn_gamma="float32"), lambda c=c: c(),
            lambda ab=ab: ab(a="int32"), lambda ab=ab: ab(b="uint8"), lambda ab=ab: ab(a="int32", b="float32"), lambda d=d: d(), lambda d=d: d(d="float32"), lambda d=d: d(e="float32"), lambda k=k: k(), lambda k=k: k(a="int8"),
            lambda k=k: k(b="float32"), lambda g=g: g(a="float64"), lambda g=g: g(b="float64", a="float16"),
        ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def warned(mx: Any) -> Any:
    """The warnings of inference that does not get through."""

    def caught(question: Callable[[], Any]) -> Any:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            answer = ask(question)
        return [answer, [[w.category.__name__, str(w.message), w.filename == __file__] for w in found]]

    net = perceptron(mx)
    wide = mx.sym.add_n(*[mx.sym.Variable(f"v{i}") for i in range(12)])
    return [
        caught(q)
        for q in (
            lambda: net.infer_shape(), lambda: net.infer_shape(data=(0, 5)), lambda: net.infer_shape_partial(), lambda: net.infer_type(), lambda: net.infer_type_partial(),
            lambda: wide.infer_shape(), lambda: wide.infer_type(), lambda: net.infer_shape(data=(2, 3)),
        )
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- random and namespaces


@scenario
def random_functions(mx: Any) -> Any:
    r = mx.sym.random
    low, high = mx.sym.Variable("low"), mx.sym.Variable("high")
    questions: list[Callable[[], Any]] = [
        lambda: r.uniform(), lambda: r.uniform(0, 2, shape=(2, 3)), lambda: r.uniform(low, high, shape=(2,)), lambda: r.uniform(low, 1), lambda: r.normal(1, 2, shape=3, dtype="float64"), lambda: r.normal(low, high),
        lambda: r.randn(2, 3), lambda: r.randn(2, 3, loc=1, scale=2), lambda: r.poisson(3, shape=(2,)), lambda: r.poisson(low), lambda: r.exponential(4, shape=(2,)), lambda: r.exponential(low), lambda: r.gamma(2, 3, shape=(2,)),
        lambda: r.gamma(low, high), lambda: r.negative_binomial(3, 0.5, shape=(2,)), lambda: r.generalized_negative_binomial(3, 0.5, shape=(2,)), lambda: r.multinomial(low, shape=3), lambda: r.multinomial(low, get_prob=False),
        lambda: r.shuffle(low), lambda: r.randint(0, 5, shape=(2,)), lambda: r.uniform("a", "b"), lambda: mx.sym.random_uniform(0, 1, shape=(2,)), lambda: mx.sym.uniform(0, 1, shape=(2,)), lambda: mx.sym.normal(shape=(2,)),
        lambda: mx.sym.sample_uniform(low, high, shape=(2,)),
    ]  # fmt: skip
    return [ask(q) for q in questions]


@scenario
def pooling_outputs(mx: Any) -> Any:
    """node_row_ptr counts the workspaces that MXNet's own kernels keep."""
    x = mx.sym.Variable("x")
    makes: list[Callable[[], Any]] = [
        lambda: mx.sym.Pooling(x, global_pool=True), lambda: mx.sym.Pooling(x, global_pool=True, kernel=(2, 2)), lambda: mx.sym.Pooling(x, kernel=(2,)),
        lambda: mx.sym.Pooling(x, kernel=(2, 2), pool_type="sum"), lambda: mx.sym.Pooling(x, kernel=(2, 2), layout="NHWC"), lambda: mx.sym.Pooling(x, kernel=(2, 2), layout="NCHW"),
        lambda: mx.sym.topk(x, ret_typ="value"), lambda: mx.sym.topk(x, ret_typ="mask"), lambda: mx.sym.sort(x), lambda: mx.sym.argsort(x), lambda: mx.sym.SVMOutput(x),
        lambda: mx.sym.L2Normalization(x), lambda: mx.sym.RNN(x, mode="gru", state_size=3, num_layers=1),
    ]  # fmt: skip
    return [ask(lambda m=m: json.loads(m().tojson())["node_row_ptr"]) for m in makes]


@scenario
def mixed_precision(mx: Any) -> Any:
    x = mx.sym.Variable("x")
    half = mx.sym.amp_cast(x, dtype="float16", name="half")
    net = mx.sym.FullyConnected(half, num_hidden=2, name="fc")
    pair = mx.sym.amp_multicast(net, x, num_outputs=2, name="pair")
    total = pair[0] + pair[1]
    return [n.tojson(remove_amp_cast=r) for n in (net, total, half, mx.sym.Group([net, half])) for r in (True, False)]
