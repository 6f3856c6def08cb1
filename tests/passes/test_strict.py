"""Protects strict regions: what a Symbol's `__strict__` marks keeps its rounding through every level, whoever asks for
more, and stays marked in texts and in kept programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symc as mx
from symc.compile import pipeline
from symc.ir.errors import VerifyError
from symc.ir.loop.nodes import For, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Graph
from symc.ir.text import print_module
from symc.passes.manager.manager import PASSES, Manager, Module, Pass, register_pass
from symc.passes.manager.rewrite import Rewriter, Rule, rebuild, rewrite
from symc.passes.manager.strict import has_strict
from symc.passes.program.fuse import explain_join
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.simplify import Simplify
from symc.typed import complete, module_of

S = mx.sym
STRICT = {"__strict__": "True"}


def module(net: Any, **shapes: tuple[int, ...]) -> Module:
    types, missing = complete(net, shapes)
    assert not missing
    return module_of(net, types)


def lowered(net: Any, gives: str, wrt: tuple[str, ...] = (), **shapes: tuple[int, ...]) -> Module:
    """The net after the compiler's passes up to a level."""
    manager, found = Manager(), module(net, **shapes)
    for pass_ in pipeline(bool(wrt), wrt):
        if [p for p in (pass_.takes, pass_.gives) if LEVELS.index(p) > LEVELS.index(gives)]:
            break
        found = manager.step(pass_, found)
    return found


LEVELS = ("symbol", "tensor", "program", "loop")


def convolution(**more: Any) -> Any:
    """Large enough for every pass that would like to have it."""
    x = S.Convolution(S.Variable("data"), num_filter=64, kernel=(3, 3), pad=(1, 1), name="conv", **more)
    return S.Activation(x, act_type="relu", name="act", **more)


def sums(**more: Any) -> Any:
    return S.sum(S.Variable("data"), axis=1, name="sum", **more)


def test_every_level_says_what_is_strict_and_reads_back() -> None:
    """The mark is in the text of all levels, and in what is read from it."""
    net = S.tanh(sums(attr=STRICT), name="end")
    manager, found = Manager(), module(net, data=(3, 8))
    for pass_ in [None, *pipeline(True, ("data",))]:
        found = manager.step(pass_, found) if pass_ is not None else found
        text = print_module(found)
        again = parse(text)
        assert has_strict(found) and has_strict(again) and print_module(again) == text
        assert "strict" in text


def test_a_scope_marks_operators_but_no_variables() -> None:
    """Weights are shared with what is not strict."""
    with mx.AttrScope(__strict__="True"):
        net = S.FullyConnected(S.Variable("data"), num_hidden=2, name="fc")
    assert {n.name: n.strict for n in net.graph.nodes()} == {
        "data": False, "fc_weight": False, "fc_bias": False, "fc": True,
    }  # fmt: skip
    assert not has_strict(module(sums(attr={"__strict__": "False"}), data=(2, 3)))


def test_another_word_is_refused_with_its_symbol() -> None:
    with pytest.raises(mx.MXNetError, match=r"sum 'sum' \(.*test_strict.py:\d+\): __strict__ is 'yes'"):
        sums(attr={"__strict__": "yes"}).simple_bind(mx.cpu(), data=(2, 3)).forward()


def test_rules_that_may_round_leave_it_alone() -> None:
    """Neither a strict value, nor what a rule looks at below one that is not, is rewritten; others are."""
    x = S.Variable("x")
    inner = S.negative(x, name="inner", attr=STRICT)
    net = S.Group([S.negative(inner, name="outer"), S.negative(S.negative(S.sin(x, name="sin0")), name="free")])
    graph = lowered(net, "tensor", x=(4,))
    ops = {name: node.op.name for node, name in graph.names.items()}
    assert ops["outer"] == ops["inner"] == "neg" and ops["sin0"] == "sin" and "free" not in ops


def test_a_rule_that_reaches_far_down_is_refused() -> None:
    """What a replacement gives up counts, however deep it lies."""
    net = S.sin(S.cos(S.tanh(S.exp(S.Variable("x"), name="low", attr=STRICT)), name="mid"), name="top")

    def skip(node: Node) -> Node | None:
        return (
            ew.sin(node.inputs[0].inputs[0].inputs[0].inputs[0]) if node.op == ew.sin and len(depth(node)) > 2 else None
        )

    def depth(node: Node) -> list[Node]:
        return [node, *depth(node.inputs[0])] if node.inputs else [node]

    graph = Manager().step(Decompose(), module(net, x=(4,)))
    rw = Rewriter("skipping", strict=True)
    assert rewrite(graph, [Rule("skip", skip)], rw) is graph and not rw.actions
    assert rewrite(graph, [Rule("skip", skip)], Rewriter("skipping")) is not graph


def test_its_gradient_is_strict_too() -> None:
    """So is what is computed for the way back."""
    graph = lowered(S.tanh(sums(attr=STRICT), name="end"), "tensor", ("data",), data=(3, 8))
    (gradient,) = [o.node for o in graph.outputs if o.role == "gradient" or o.name.endswith("grad")]
    assert graph.origins[gradient].strict


def test_its_values_are_kernels_of_their_own() -> None:
    """Each is rounded to its type where it is stored; fuse says why it did not join them."""
    loose: Program = lowered(convolution(), "program", data=(1, 3, 8, 8))
    strict: Program = lowered(convolution(attr=STRICT), "program", data=(1, 3, 8, 8))
    assert len([s for s in strict.steps if isinstance(s, KernelStep)]) > len(loose.steps) - 1
    graph: Graph = lowered(convolution(attr=STRICT), "tensor", data=(1, 3, 8, 8))
    names = [n for node, n in graph.names.items() if node.op.name == "conv" or n == "act"]
    refusal = explain_join(graph, *names)
    assert refusal is not None and (refusal.rule, refusal.reason) == ("strict", "%act is in a strict region")


def test_no_pass_takes_a_convolution_apart() -> None:
    """Minimal filtering, packed weights and other layouts round in other ways."""
    for more, found in (({}, False), ({"attr": STRICT}, True)):
        graph: Graph = lowered(convolution(**more), "tensor", data=(1, 64, 32, 32))
        assert ("conv" in [n.op.name for n in graph.nodes()]) is found


def test_sums_run_in_the_order_of_their_axes() -> None:
    """Bit for bit: in machine code, beside an equal sum elsewhere that is scheduled, and from the kept program."""
    x = np.random.RandomState(0).randn(4, 5000).astype("float32")
    wanted = np.zeros(4, "float32")
    for column in x.T:
        wanted += column

    def run(**more: Any) -> Any:
        return sums(**more).bind(mx.cpu(), {"data": mx.nd.array(x)}, grad_req="null").forward()[0].asnumpy()

    first, loose, again = run(attr=STRICT), run(), run(attr=STRICT)
    np.testing.assert_array_equal(first, wanted)
    np.testing.assert_array_equal(again, wanted)
    assert (loose != wanted).any()
    np.testing.assert_allclose(loose, wanted, rtol=1e-4)


def test_equal_operators_are_one_strict_one() -> None:
    """Of two that compute the same, the first decides nothing."""
    data = S.Variable("data")
    both = S.Group([S.sum(data, axis=1, name="loose"), S.sum(data, axis=1, name="strict", attr=STRICT)])
    graph = Manager().step(Decompose(), module(both, data=(2, 3)))
    assert graph.origins[graph.outputs[0].node].strict


def test_loops_without_sums_are_still_vectors() -> None:
    """What carries nothing rounds the same however it runs."""
    loops: LoopModule = lowered(S.exp(S.Variable("x"), name="e", attr=STRICT), "loop", x=(64,))
    assert "vector" in {s.kind for k in loops.kernels for s in walk(k.body) if isinstance(s, For)}
    plain: LoopModule = lowered(sums(attr=STRICT), "loop", data=(4, 640))
    assert {s.kind for k in plain.kernels for s in walk(k.body) if isinstance(s, For)} <= {"serial", "parallel"}


def test_the_bodies_of_loops_have_regions() -> None:
    """An operator inside of a foreach is marked as one outside is."""

    def body(x: Any, state: Any) -> Any:
        total = S.sum(S.broadcast_add(x, state), axis=0, keepdims=True, name="inner", attr=STRICT)
        return total, state + total

    net = S.Group(list(S.contrib.foreach(body, S.Variable("xs"), S.Variable("s"))))
    loops: LoopModule = lowered(net, "loop", xs=(3, 640), s=(1,))
    (kernel,) = [k for k in loops.kernels if any(isinstance(s, For) and s.carries for s in walk(k.body))]
    assert kernel.origin is not None and kernel.origin.strict
    assert "vector" not in {s.kind for s in walk(kernel.body) if isinstance(s, For)}


def other(name: str, numerics: str, run: Any, takes: str = "tensor") -> Pass:
    """A pass from outside."""
    PASSES.pop(name, None)
    body = {"run": run, "__doc__": name, "__module__": __name__}
    made: Pass = register_pass(name, takes=takes, gives=takes, numerics=numerics)(type(name, (Pass,), body))()
    return made


def absent(graph: Graph, rw: Rewriter) -> Graph:
    """Takes every exp for a sin, and asks nobody."""
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        inputs = [new.get(i, i) for i in node.inputs]
        if node.op == ew.exp:
            new[node] = ew.sin(inputs[0])
        elif inputs != list(node.inputs):
            new[node] = node.on(inputs)
    return rebuild(graph, new, {new[n]: graph.origins[n] for n in new})


@pytest.mark.parametrize("numerics, fails", [("reassoc", True), ("approx(1e-3)", True), ("exact", False)])
def test_passes_that_do_not_ask_are_refused(numerics: str, fails: bool) -> None:
    """Rule M11, whose error names the pass, the value, and the Symbol with its line."""
    net = S.exp(S.Variable("x"), name="e", attr=STRICT)
    graph = Manager().step(Decompose(), module(net, x=(4,)))
    pass_ = other("test_absent", numerics, lambda self, graph, rw: absent(graph, rw))
    try:
        if fails:
            said = rf"M11: .*test_absent, which is {numerics[:6]}.*%e, .*Symbol 'e', .*test_strict.py:\d+"
            with pytest.raises(VerifyError, match=said):
                Manager().step(pass_, graph)
        else:
            assert Manager().step(pass_, graph) is not graph
        assert Manager().step(pass_, Manager().step(Decompose(), module(S.exp(S.Variable("x")), x=(4,))))
    finally:
        del PASSES["test_absent"]


def test_passes_of_loops_that_do_not_ask_are_refused() -> None:
    """A sum that was left plain may not become a vector's later."""
    loops: LoopModule = lowered(sums(attr=STRICT), "loop", data=(4, 640))

    def run(self: Pass, module: LoopModule, rw: Rewriter) -> LoopModule:
        return replace(module, kernels=tuple(replace(k, body=k.body[:0]) for k in module.kernels))

    pass_ = other("test_empties", "reassoc", run, "loop")
    try:
        with pytest.raises(VerifyError, match="M11: .*@k0"):
            Manager(verify=False).step(pass_, loops)
    finally:
        del PASSES["test_empties"]


def test_passes_that_ask_do_not_act() -> None:
    """The rewriter answers for all of them; actions that change no rounding may say so."""
    graph = Manager().run([Decompose(), Inline()], module(sums(attr=STRICT), data=(2, 3)))
    origin = graph.origins[graph.outputs[0].node]
    rw = Rewriter("any", strict=True)
    assert rw.act("change", [origin]) is None and rw.act("same", [origin], exact=True) is not None
    assert Rewriter("any").act("change", [origin]) is not None
    assert Simplify().run(graph, rw) is graph
