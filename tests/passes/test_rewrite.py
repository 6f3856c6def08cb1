"""Protects the rewriter: rules see rewritten operands; actions are numbered and can be vetoed; names, origins stay."""

from __future__ import annotations

import pytest

from symc.ir.errors import IRError, TypeMismatch, VerifyError
from symc.ir.op import Node, input_node
from symc.ir.origins import DerivedOrigin, SymOrigin, symbols_of
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast_to, reshape
from symc.ir.prims.reduce import reduce_sum
from symc.ir.tensor.graph import Graph, Output, Update, finish
from symc.ir.types import F16, F32, F64, TensorType
from symc.passes.manager.rewrite import Rewriter, Rule, rebuild, rewrite

NEG, EXP, LOG, ABS = (type(op) for op in (ew.neg, ew.exp, ew.log, ew.abs_))
x = input_node("x", TensorType(F32, (3,)))
y = input_node("y", TensorType(F32, (3,)))


def graph_of(root: Node, **extra: object) -> Graph:
    """A graph of x and y whose nodes come from the Symbols a, b, c... in order."""
    probe = finish("g", [x, y], [("out", root)])
    origins = {n: SymOrigin(chr(ord("a") + at), n.op.name) for at, n in enumerate(probe.nodes())}
    return finish("g", [x, y], [("out", root)], origins=origins, **extra)  # type: ignore[arg-type]


def undo(node: Node) -> Node | None:
    inner = node.inputs[0]
    return inner.inputs[0] if inner.op == node.op else None


NEG_NEG = Rule("neg-neg", undo, (NEG,))
EXP_LOG = Rule("exp-log", lambda n: n.inputs[0].inputs[0] if isinstance(n.inputs[0].op, LOG) else None, (EXP,))


def test_operands_first_and_until_nothing_changes() -> None:
    rw = Rewriter("test")
    root = ew.exp(ew.log(ew.neg(ew.exp(ew.log(ew.neg(x))))))
    after = rewrite(graph_of(root), [NEG_NEG, EXP_LOG], rw)
    assert after.outputs[0].node is x
    assert rw.hits == {"exp-log": 2, "neg-neg": 1} and rw.actions == 3


def test_an_unchanged_graph_is_the_same_object() -> None:
    graph = graph_of(ew.add(x, y))
    assert rewrite(graph, [NEG_NEG], Rewriter("test")) is graph


def test_rules_that_undo_each_other_are_an_error() -> None:
    there = Rule("there", lambda n: ew.abs_(n.inputs[0]), (NEG,))
    back = Rule("back", lambda n: ew.neg(n.inputs[0]), (ABS,))
    with pytest.raises(IRError, match="test: 100 rules in a row apply to one neg; two of them undo each other"):
        rewrite(graph_of(ew.neg(x)), [there, back], Rewriter("test"))


def test_growth_without_end_is_an_error() -> None:
    grow = Rule("grow", lambda n: ew.exp(ew.neg(ew.exp(n.inputs[0]))) if n.inputs[0].op.name != "neg" else None, (EXP,))
    with pytest.raises(IRError, match="no fixed point after 5 rounds; rules still acting: grow"):
        rewrite(graph_of(ew.exp(x)), [grow], Rewriter("test"), rounds=5)


def test_new_nodes_come_from_what_was_matched() -> None:
    rule = Rule("double", lambda n: ew.mul(n.inputs[0], 2.0) if n.inputs[0] is n.inputs[1] else None, (type(ew.add),))
    graph = graph_of(ew.exp(ew.add(ew.neg(x), ew.neg(x))))
    after = rewrite(graph, [rule], Rewriter("test"))
    made = next(n for n in after.nodes() if n.op.name == "mul")
    origin = after.origins[made]
    assert isinstance(origin, DerivedOrigin) and (origin.pass_name, origin.action) == ("test", 0)
    assert {s.op for s in symbols_of(origin)} == {"add", "neg"}
    # what stays keeps its origin; what only got new operands keeps that of the node it was
    exp = next(n for n in after.nodes() if n.op.name == "exp")
    assert after.origins[exp] is graph.origins[graph.outputs[0].node]


def test_names_move_to_the_replacement() -> None:
    inner = ew.log(x)
    outer = ew.exp(inner)
    root = ew.add(outer, y)
    graph = graph_of(root, names={root: "sum", outer: "kept"})
    after = rewrite(graph, [EXP_LOG], Rewriter("test"))
    assert after.names[after.outputs[0].node] == "sum"
    assert after.names[x] == "x"  # a parameter's own name wins over what it replaces
    assert len(set(after.names.values())) == len(after.names)


def test_vetoes_are_asked_for_every_action_by_number() -> None:
    asked: list[tuple[str, int, str]] = []

    def may_act(pass_name: str, number: int, rule: str) -> bool:
        asked.append((pass_name, number, rule))
        return rule != "neg-neg"

    root = ew.add(ew.neg(ew.neg(x)), ew.exp(ew.log(y)))
    after = rewrite(graph_of(root), [NEG_NEG, EXP_LOG], Rewriter("test", may_act))
    assert asked == [("test", 0, "neg-neg"), ("test", 1, "exp-log")]
    assert after.outputs[0].node is ew.add(ew.neg(ew.neg(x)), y)


def test_rules_are_only_asked_about_their_roots() -> None:
    seen: list[str] = []

    def spy(node: Node) -> None:
        seen.append(node.op.name)

    rewrite(graph_of(ew.exp(ew.neg(x))), [Rule("spy", spy, (NEG,))], Rewriter("test"))
    assert seen == ["neg"]


def test_rebuild_replaces_roots_and_updates() -> None:
    root = ew.neg(x)
    graph = finish("g", [x, y], [("out", root)], [Update("y", ew.exp(y))], origins={root: SymOrigin("s", "neg")})
    after = rebuild(graph, {root: x, ew.exp(y): y})
    assert after.outputs == (Output("out", x),) and after.updates == (Update("y", y),)


def test_deep_graphs_need_no_recursion() -> None:
    node = x
    for _ in range(20_000):
        node = ew.exp(ew.log(node))
    assert rewrite(graph_of(node), [EXP_LOG], Rewriter("test")).outputs[0].node is x


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda n: ew.cast(n, F64), r"f64\[3\]"),
        (lambda n: ew.cast(n, F16), r"f16\[3\]"),
        (lambda n: reshape(n, (1, 3)), r"f32\[1,3\]"),
        (lambda n: broadcast_to(reshape(n, (3, 1)), (3, 3)), r"f32\[3,3\]"),
        (lambda n: reduce_sum(n, (0,)), r"f32\[\]"),
    ],
)
def test_a_rule_that_changes_a_type_is_blamed_itself(change, given: str) -> None:
    """Wherever the value stands: its readers (the second graph) and the function's results (the first) would be blamed
    instead. A veto keeps the rule from happening, so that a bisection can find what else is wrong."""
    rule = Rule("narrow", lambda n: change(n.inputs[0]), (EXP,))
    for root in (ew.exp(x), ew.add(ew.exp(x), y)):
        with pytest.raises(
            VerifyError, match=r"M1: test: rule narrow replaces %\S+ = exp, which is f32\[3\], by .*"
        ) as e:
            rewrite(graph_of(root), [rule], Rewriter("test"))
        assert e.match(f"which is {given}$")
        graph = graph_of(root)
        assert rewrite(graph, [rule], Rewriter("test", lambda *_: False)) is graph


def test_a_rule_that_makes_no_sense_names_itself_and_its_value() -> None:
    rule = Rule("bad", lambda n: ew.add(n.inputs[0], reshape(y, (1, 3))), (EXP,))
    with pytest.raises(TypeMismatch, match="test: rule bad at %s = exp: add: "):
        root = ew.exp(x)
        rewrite(graph_of(root, names={root: "s"}), [rule], Rewriter("test"))


def test_rebuild_refuses_other_types_too() -> None:
    """What passes that are no set of rules (inline, batch) end with."""
    root = ew.exp(x)
    with pytest.raises(VerifyError, match=r"M1: join replaces %s = exp, which is f32\[3\], by cast, which is f64\[3\]"):
        rebuild(graph_of(root, names={root: "s"}), {root: ew.cast(x, F64)}, by="join")
