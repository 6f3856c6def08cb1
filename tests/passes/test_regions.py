"""Protects what passes do inside the bodies of loops and branches: they go down into them with numbered actions, and
every value there knows its Symbol and line."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for

import symc as mx
from symc.ir.errors import VerifyError
from symc.ir.origins import symbols_of
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import CustomGrad
from symc.ir.prims.flow import Loop
from symc.ir.syntax.printing import graphs_of
from symc.ir.tensor.graph import Graph, finish
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Manager, Pass
from symc.passes.manager.rewrite import Rewriter, Rule, in_regions, rewrite
from symc.passes.tensor import simplify
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.typed import module_of

S = mx.sym
SHAPES = {"x": (3, 2), "h": (2,), "w": (2,), "p": (1,)}


def net() -> mx.sym.Symbol:
    """A branch and a loop with a condition inside of a loop."""
    x, h, w, p = (S.Variable(n) for n in "xhwp")

    def turn(row, s):
        outs, last = S.contrib.while_loop(
            lambda t: S.sum(t) < 2, lambda t: (S.tanh(t * w, name="inner"), [t + 1]), [s], max_iterations=2
        )
        picked = S.contrib.cond(p, lambda: S.softmax(S.broadcast_mul(row, S.sum(outs)), name="soft"), lambda: row * w)
        return picked, last[0] * 1

    out, last = S.contrib.foreach(turn, x, h)
    return S.Group([out, last])


def module():
    return module_of(net(), {n: TensorType(F32, s) for n, s in SHAPES.items()})


def run(*passes: Pass, instruments: tuple[Instrument, ...] = ()) -> Graph:
    return Manager(instruments).run(passes, module())


def test_values_in_bodies_know_their_symbol_and_line() -> None:
    graph = run(Decompose(train=True), Autodiff(wrt=("x", "h", "w")), Inline(), simplify.Simplify())
    bodies = graphs_of(graph)[1:]
    assert len(bodies) > 8
    found = {}
    for body in bodies:
        for node in body.nodes():
            if node.op.name == "tanh":
                found[node] = symbols_of(body.origins[node])[0]
    assert {(s.name, s.op) for s in found.values()} == {("inner", "tanh")}
    assert all(s.file == __file__ and s.line > 0 for s in found.values())


def test_the_same_body_on_two_lines_keeps_both() -> None:
    x, h = S.Variable("x"), S.Variable("h")
    first, _ = S.contrib.foreach(lambda row, s: (S.tanh(row, name="one"), s * 1), x, h)
    second, _ = S.contrib.foreach(lambda row, s: (S.tanh(row, name="two"), s * 1), x, h)
    both = module_of(S.Group([first, second]), {n: TensorType(F32, SHAPES[n]) for n in "xh"})
    bodies = graphs_of(Manager().run([Decompose()], both))[1:]
    named = [symbols_of(body.origins[n])[0].name for body in bodies for n in body.nodes() if n.op.name == "tanh"]
    assert sorted(named) == ["one", "two"]


def test_a_body_without_origins_is_refused() -> None:
    graph = run(Decompose())
    bare = in_regions(graph, lambda region: finish(region.name, region.inputs, region.outputs, (), region.names))
    with pytest.raises(VerifyError, match="T7.*T3.*has no origin"):
        verify(bare)


def test_no_pass_stops_at_a_body() -> None:
    graph = run(Decompose(), Inline())
    assert not any(isinstance(n.op, CustomGrad) for at in graphs_of(graph) for n in at.nodes())
    assert sum(isinstance(n.op, Loop) for at in graphs_of(graph) for n in at.nodes()) == 2


class Limit(Instrument):
    """Lets the first actions of a pass happen and counts all."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, 0

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        self.seen = number + 1
        return number < self.limit


#: there is one tanh, in the body of the inner loop
WRONG = Rule("wrong", lambda node: ew.neg(node.inputs[0]) if node.op.name == "tanh" else None)


def test_a_wrong_rule_is_found_in_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bisection does: the first action after which the numbers differ is the wrong one, inside of two bodies."""
    monkeypatch.setattr(simplify, "RULES", (*simplify.RULES, WRONG))
    graph = run(Decompose(), Inline())
    arrays = arrays_for(graph)
    want = evaluate(graph, arrays, "f64").outputs

    def right(limit: int) -> bool:
        made = Manager([Limit(limit)]).run([simplify.Simplify()], graph)
        got = evaluate(made, arrays, "f64").outputs
        return all(np.allclose(got[name], want[name]) for name in want)

    whole = Limit(1 << 30)
    Manager([whole]).run([simplify.Simplify()], graph)
    assert right(0) and not right(whole.seen)
    low, high = 0, whole.seen
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if right(middle) else (low, middle)

    class Name(Instrument):
        rule = ""

        def acted(self, pass_name: str, number: int, rule: str) -> None:
            if number == low:
                self.rule = rule

    name = Name()
    Manager([name]).run([simplify.Simplify()], graph)
    assert name.rule == "wrong"


@pytest.mark.parametrize("may", [True, False])
def test_an_action_in_a_body_may_be_vetoed(may: bool) -> None:
    made = rewrite(run(Decompose(), Inline()), [WRONG], Rewriter("test", lambda *_: may))
    assert any(n.op.name == "tanh" for at in graphs_of(made) for n in at.nodes()) is not may
