"""Protects what numdiff holds passes to: approximations to their r, and values that are not finite to what they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from symc.debug.numdiff import KINDS, Search, trials
from symc.ir.op import Node, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.reduce import reduce_sum
from symc.ir.tensor.graph import Graph, finish
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import PASSES, register_pass, tolerance
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, parse_pipeline

x = input_node("x", TensorType(F32, (3, 4)))


def graph_of(node: Node, *more: Node) -> Graph:
    names = {node: "y", node.inputs[0]: "inner"}
    outputs = [("out", node), *((f"out{at}", other) for at, other in enumerate(more))]
    nodes = finish("g", [x], outputs, names=names).nodes()
    return finish("g", [x], outputs, names=names, origins={n: SymOrigin("s", "Op", "net.py", 3) for n in nodes})


@pytest.fixture
def searched():
    """What numdiff says of a pass of one rule, which acts once at a node, with a promise, on a graph."""
    before = set(PASSES)

    def search(match, numerics: str, node: Node, after: str = "", more: Sequence[Node] = ()) -> Search:
        @register_pass(f"tried{len(PASSES)}", numerics=numerics)
        class Tried(Pass):
            def run(self, graph, rw):
                made: set[Node] = set()

                def once(node):
                    found = None if node in made else match(node)
                    made.update((node, found) if found is not None else ())
                    return found

                return rewrite(graph, [Rule("rule", once)], rw)

        found = Search(trials(graph_of(node, *more), [Tried(), *parse_pipeline(after or "prune")], KINDS))
        found.check()
        return found

    yield search
    for name in set(PASSES) - before:
        del PASSES[name]


def scaled(by: float):
    return lambda node: ew.mul(node, by) if node.op == ew.exp else None


@pytest.mark.parametrize("node", [ew.tanh(ew.exp(x)), reduce_sum(ew.exp(x), (1,))], ids=["tanh", "sum"])
@pytest.mark.parametrize("after", ["prune", "simplify,fuse,schedule,own_results,plan_memory,lower,choose,tile"])
def test_an_approximation_is_held_to_its_r(searched, node: Node, after: str) -> None:
    """What follows it is compared with what it gave."""
    assert searched(scaled(1 + 0.9e-4), "approx(1e-4)", node, after).failure is None
    wrong = searched(scaled(1 + 2e-4), "approx(1e-4)", node, after)
    assert wrong.failure is not None and wrong.place.startswith("tried")
    assert (wrong.blame.rule, wrong.blame.value) == ("rule", "inner")
    assert searched(scaled(1 + 0.9e-4), "reassoc", node, after).failure is not None


def test_promises_have_a_form() -> None:
    assert tolerance("approx(1e-6)") == 1e-6 and tolerance("approx(0.5)") == 0.5 and tolerance("exact") == 0
    for text in ("approx", "approx(0)", "approx(2)", "approx(x)", "fast"):
        with pytest.raises(ValueError, match="approx\\(r\\) with r between 0 and 1"):
            register_pass("never", numerics=text)


WRONG = {
    "nan comes from nowhere": (ew.exp(ew.log(x)), lambda n: n.inputs[0].inputs[0] if n.op == ew.exp else None),
    "overflow": (ew.log(ew.exp(x)), lambda n: n.inputs[0].inputs[0] if n.op == ew.log else None),
    "the sign": (ew.sqrt(ew.mul(x, x)), lambda n: x if n.op == ew.sqrt else None),
    "nan is nan": (ew.neg(ew.mul(x, 0.0)), lambda n: ew.zeros_like(x) if n.op == ew.mul else None),
    "nan is no least": (
        ew.neg(ew.relu(x)),
        lambda n: ew.select(ew.gt(x, 0.0), x, ew.zeros_like(x)) if n.op == ew.relu else None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_are_not_finite_are_what_they_are(searched, name: str) -> None:
    """No order of sums explains another one; what one branch has of them says nothing of another branch."""
    node, match = WRONG[name]
    assert searched(match, "reassoc", node).failure is not None
    assert searched(match, "reassoc", node, more=[ew.log(ew.sub(x, 9.0))]).failure is not None


def test_exact_is_the_sign_of_zeros_too(searched) -> None:
    assert searched(lambda n: ew.add(n, 0.0) if n.op == ew.neg else None, "exact", ew.exp(ew.neg(x))).failure is None
    wrong = searched(lambda n: ew.add(n, 0.0) if n.op == ew.neg else None, "exact", ew.neg(ew.neg(x)))
    assert wrong.failure is not None and "0.0 instead of" in wrong.failure.message
