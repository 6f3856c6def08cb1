"""Protects what `symc numdiff` says of code from outside that nothing else can show to be wrong: operators by what they
say of themselves, primitives, and passes that exchange names or make a program explode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ran

import symc as mx
from symc.ops.base import OPERATORS
from symc.passes.manager.manager import PASSES

OUTSIDE = """
from dataclasses import replace

import numpy as np

import symc as mx
from symc.ir.op import Node, Primitive, primitive
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.prims.movement import broadcast
from symc.ir.prims.reduce import reduce_max
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph
from symc.ir.types import F16
from symc.ops.base import Operator, operator
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, register_pass

drawn = np.random.default_rng()


def act(name, build, reference=None, grad=None, **more):
    def program(self, ctx, data):
        if grad is None:
            return build(data)
        return custom_grad([data], build, lambda ins, outs, cts: [grad(ins[0], outs[0], cts[0])])

    body = {"build": program, "complete": lambda self, s: s.all_alike(), **more}
    if reference:
        body["reference"] = lambda self, x: reference(x)
    operator(name, inputs="data")(type(name, (Operator,), body))
    fc = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    return lambda: mx.sym.tanh(getattr(mx.sym, name)(fc, name="act"), name="end")


def swish(x):
    return ew.mul(x, ew.sigmoid(x))


def of_swish(x):
    return x / (1 + np.exp(-x))


right = act(
    "OutRight", swish, of_swish,
    lambda x, y, ct: ew.mul(ct, ew.add(ew.sigmoid(x), ew.mul(y, ew.sub(1.0, ew.sigmoid(x))))),
)
loss = act("OutLoss", ew.tanh, None, lambda x, y, ct: ew.sub(y, 1.0), is_derivative=False)
other = act("OutOther", ew.sigmoid, of_swish)
tail = act("OutTail", lambda x: ew.select(ew.gt(x, 30.0), ew.mul(x, 0.9), swish(x)), of_swish)
rounded = act("OutRounded", lambda x: ew.cast(ew.cast(x, F16), x.dtype), lambda x: x)
sign = act("OutSign", swish, None, lambda x, y, ct: ew.neg(ct))
headless = act("OutHeadless", ew.tanh, None, lambda x, y, ct: ew.sub(1.0, ew.mul(y, y)))
silent = act("OutSilent", ew.tanh, None, lambda x, y, ct: None)
raising = act("OutRaising", ew.tanh, lambda x: x.nothing)
lying = act("OutLying", ew.tanh, complete=lambda self, s: s.set_out(0, s.ins[0] and (*s.ins[0], 2)))
unsteady = act("OutUnsteady", lambda x: ew.mul(x, float(drawn.random())))

d = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc")
difference = mx.sym.elemwise_sub(mx.sym.tanh(d, name="t"), mx.sym.BatchNorm(d, name="bn"), name="sub")
classes = mx.sym.SoftmaxOutput(difference, name="softmax")
plain = mx.sym.Activation(
    mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc"), act_type="relu", name="relu"
)


def of_primitive(name, **more):
    body = {
        "elementwise": True,
        "type": lambda self, ins: ins[0],
        "value": lambda self, args, out: np.maximum(args[0], 0),
        "grad": lambda self, node, ct: [ew.select(ew.gt(node.inputs[0], 0.0), ct[0], ew.mul(ct[0], 0.0))],
        "element": lambda self, k, node, index, reads: k.apply(ew.relu, [reads[0](index)]),
        "__annotations__": {},
    }
    made = primitive(name)(type(name, (Primitive,), {**body, **more}))()

    class Putting(Pass):
        def run(self, graph, rw):
            return rewrite(graph, [Rule("p", lambda n: Node.make(made, n.inputs) if n.op == ew.relu else None)], rw)

    register_pass(name)(Putting)


of_primitive("other_element", element=lambda self, k, node, index, reads: k.apply(ew.abs_, [reads[0](index)]))
of_primitive("raising_element", element=lambda self, k, node, index, reads: 1 / 0)
of_primitive("raising_gradient", grad=lambda self, node, ct: 1 / 0)
of_primitive("no_gradient", grad=lambda self, node, ct: [None])


@register_pass("exchanging")
class Exchanging(Pass):
    def run(self, graph, rw):
        one, other = [n for n in graph.nodes() if n.inputs and n in graph.names][:2]
        names = {**graph.names, one: graph.names[other], other: graph.names[one]}
        return Graph(graph.name, graph.inputs, graph.outputs, graph.updates, names, graph.origins)


@register_pass("exploding")
class Exploding(Pass):
    def run(self, graph, rw):
        done = set()

        def larger(node):
            if node.op != ew.relu or node in done:
                return None
            done.add(node)
            return reduce_max(broadcast(node, (10000, 10000, *node.shape), (2, 3)), (0, 1))

        return rewrite(graph, [Rule("larger", larger)], rw)


def of_symbols(name, change, text_only=False):
    class OfSymbols(Pass):
        def run(self, module, rw):
            new = {}
            for node in module.graph.nodes():
                inputs = [(new[n], at) for n, at in node.inputs]
                attrs, inputs = change(node, node.attrs, inputs)
                said = node.attrs if text_only else attrs
                definition = node.definition and type(node.definition).from_attributes(said)
                new[node] = SymNode(node.op, node.name, attrs, inputs, definition, node.where)
            made = SymGraph(tuple((new[n], at) for n, at in module.graph.outputs))
            return replace(module, graph=made, inferred={})

    register_pass(name, takes="symbol", gives="symbol")(OfSymbols)


def given(op, **attrs):
    return lambda n, old, ins: ({**old, **attrs} if n.op == op else old, ins)


of_symbols("same_symbols", lambda n, old, ins: (old, ins))
of_symbols("other_eps", given("BatchNorm", eps="0.1"))
of_symbols("other_momentum", given("BatchNorm", momentum="0.5"))
of_symbols("other_scale", given("SoftmaxOutput", grad_scale="2.0"))
of_symbols("other_width", given("FullyConnected", num_hidden="7"))
of_symbols("other_text", given("FullyConnected", num_hidden="7"), text_only=True)
of_symbols("swapped", lambda n, old, ins: (old, ins[::-1] if n.op == "elemwise_sub" else ins))


@register_pass("overwriting", takes="symbol", gives="symbol")
class Overwriting(Pass):
    def run(self, module, rw):
        for node in module.graph.nodes():
            if node.op == "BatchNorm":
                node.attrs["eps"] = "0.5"
        return module
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Iterator[Path]:
    passes, operators = dict(PASSES), dict(OPERATORS)
    path = tmp_path_factory.mktemp("outside") / "outside.py"
    path.write_text(OUTSIDE)
    yield path
    for table, before in ((PASSES, passes), (OPERATORS, operators)):
        for name in set(table) - set(before):
            del table[name]


def told(capsys, file: Path, name: str, *more: str, code: int) -> dict[str, object]:
    given = [f"{file}:{name}", "--shapes", "data=5x3", "--train", "--diagnostics=json", "--reduce=5"]
    out, _ = ran(capsys, "numdiff", *given, "--out", str(file.parent / "out"), *more, code=code)
    found: dict[str, object] = json.loads(out)
    return found


@pytest.mark.parametrize("name", ["right", "loss"])
def test_operators_that_are_what_they_say(capsys, file, name) -> None:
    assert told(capsys, file, name, code=0)["verdict"] == "ok"


@pytest.mark.parametrize(
    ("name", "operator", "says"),
    [
        ("other", "OutOther", "is not its reference's"),
        ("tail", "OutTail", "is not its reference's"),
        ("rounded", "OutRounded", "is not its reference's"),
        ("sign", "OutSign", "its gradient is no derivative"),
        ("headless", "OutHeadless", "ignores what comes from above"),
        ("silent", "OutSilent", "gives no gradient"),
        ("raising", "OutRaising", "its reference raises AttributeError"),
        ("unsteady", "OutUnsteady", "built again"),
    ],
)
def test_an_operator_that_is_wrong_is_named_with_its_symbol_and_its_file(capsys, file, name, operator, says) -> None:
    found = told(capsys, file, name, code=1)
    assert (found["pass"], found["value"], found["symbol"]) == (f"operator {operator}", "act", "act")
    assert says in str(found["message"]) and f"defined at {file}:" in str(found["message"])
    text = Path(str(found["reproducer"])).read_text()
    lines = [line for line in text.splitlines() if line.startswith("  %")]
    assert len(lines) == 2 and f"{operator}(" in lines[1]  # a variable and the operator
    ran(capsys, "replay", str(found["reproducer"]), code=1)


def test_an_operator_whose_shapes_are_not_its_program_s_is_named(capsys, file) -> None:
    found = told(capsys, file, "lying", code=4)
    assert (found["pass"], found["value"]) == ("operator OutLying", "act") and "M6" in str(found["message"])
    ran(capsys, "replay", str(found["reproducer"]), code=1)  # the text has no types that were inferred


@pytest.mark.parametrize(
    ("after", "name", "code", "value", "says"),
    [
        ("inline", "other_element", 1, "relu", "elements differ"),
        ("inline", "raising_element", 6, "relu", "ZeroDivisionError"),
        ("decompose", "raising_gradient", 6, "relu", "ZeroDivisionError"),
        ("decompose", "no_gradient", 1, "relu", "it gives none"),
        ("inline", "exchanging", 4, "fc.dot", "M9: %fc.dot is called %fc.broadcast now"),
        ("inline", "exploding", 5, "relu.broadcast", "computes 2e+09 elements"),
    ],
)
def test_a_pass_from_outside_that_is_wrong_where_nobody_looks(capsys, file, after, name, code, value, says) -> None:
    found = told(capsys, file, "plain", "--load", str(file), "--insert", f"{after}+{name}", code=code)
    assert (found["pass"], found["value"], found["action"]) == (name, value, None if name == "exchanging" else 0)
    assert says in str(found["message"])


@pytest.mark.parametrize(
    ("name", "code", "value", "symbol", "says"),
    [
        ("other_eps", 1, "bn.0", "bn", ""),
        ("other_momentum", 1, "bn.mul", "bn", ""),
        ("other_scale", 1, "softmax.mul", "softmax", ""),
        ("swapped", 1, "sub", "sub", ""),
        ("other_width", 5, "fc", "fc", ""),
        ("other_text", 4, "fc", "fc", "M10: "),
        ("overwriting", 4, "bn", "bn", "M8: "),
    ],
)
def test_passes_of_symbols_that_are_wrong(capsys, file, name, code, value, symbol, says) -> None:
    """Before all others; their gradients are compared, too."""
    found = told(capsys, file, "classes", "--load", str(file), "--insert", f"+{name}", code=code)
    assert (found["pass"], found["value"], found["symbol"]) == (name, value, symbol)
    assert says in str(found["message"])
    text = Path(str(found["reproducer"])).read_text()
    operators = [line for line in text.splitlines() if line.startswith("  %") and "variable" not in line]
    assert len(operators) == 1


def test_a_pass_of_symbols_runs_before_all_others(capsys, file) -> None:
    assert told(capsys, file, "classes", "--load", str(file), "--insert", "+same_symbols", code=0)["verdict"] == "ok"
    out, _ = ran(capsys, "opt", f"{file}:classes", "--shapes", "data=5x3", "--insert=+other_eps", "--print-pipeline")
    assert out.startswith("other_eps,decompose{")
    given = ["--shapes", "data=5x3", "--insert=+other_eps", "--after=other_eps"]
    assert 'eps="0.1"' in ran(capsys, "dump", f"{file}:classes", *given)[0]


def test_executors_run_a_pass_of_symbols(file) -> None:
    x = mx.sym.Variable("x")
    net = mx.sym.BatchNorm(x, name="b", eps=1e-3)
    ones = mx.nd.ones((2, 3))

    def run() -> float:
        exe = net.simple_bind(mx.cpu(), x=(2, 3))
        exe.aux_dict["b_moving_var"][:] = 1
        return float(exe.forward(x=ones)[0].asnumpy()[0, 0])

    with mx.pipeline(insert={"": "other_eps"}):
        assert abs(run() - 1.1**-0.5) < 1e-6
        assert abs(float(mx.nd.exp(ones).asnumpy()[0, 0]) - 2.7182817) < 1e-6
    assert abs(run() - 1.001**-0.5) < 1e-6
