"""Protects what passes tell those who watch: tries, rewrites, vetoes, and refusals with the condition that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from symc.ir.errors import VerifyError
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.passes.manager.instruments import Counters, Promises, Statistics
from symc.passes.manager.manager import Instrument, Manager, OptionError, Pass
from symc.passes.manager.watching import Action, Miss
from symc.passes.pipeline import parse_pipeline

TEXT = """symc ir 1 level=tensor
func @f(%x: f32[2,3] data) -> (y: f32[2,3]) {
  %a: f32[2,3] = relu(%x) !1
  %b: f32[2,3] = relu(%a) !1
  %c: f32[2,3] = add(%b, 0.0) !2
  %y: f32[2,3] = exp(%c) !2
  return %y
}
!1 = sym "first" negative at "net.py":3
!2 = sym "second" exp at "net.py":4
"""


class Watch(Instrument):
    watches = True

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.misses: list[Miss] = []

    def proposed(self, action: Action) -> None:
        self.actions.append(action)

    def missed(self, miss: Miss) -> None:
        self.misses.append(miss)


def ran(pipeline: str, *instruments: Instrument, text: str = TEXT) -> Any:
    return Manager(instruments).run(parse_pipeline(pipeline), parse(text))


def test_an_action_says_what_becomes_of_what_and_for_which_symbol() -> None:
    watch = Watch()
    ran("simplify", watch)
    (action,) = watch.actions
    assert (action.pass_name, action.number, action.rule) == ("simplify", 0, "twice")
    assert (action.before, action.made) == ("%b = relu(%a)", "%a")
    assert action.symbol is not None and (action.symbol.name, action.symbol.line) == ("first", 3)


def test_a_rule_says_which_condition_failed() -> None:
    watch = Watch()
    ran("simplify", watch)
    assert (
        Miss("simplify", "neutral-operand", "c", "-0 + 0 is 0: only -0 is neutral in a sum of floats") in watch.misses
    )


def test_a_rule_that_is_left_out_says_so_where_it_would_apply() -> None:
    watch = Watch()
    graph = ran("simplify{without=twice}", watch)
    assert graph == parse(TEXT) and not watch.actions
    assert [(m.value, m.reason) for m in watch.misses if m.rule == "twice"] == [
        ("b", "left out by simplify{without=twice}")
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [("dot(%a, %a)", "the kernel reads that operand whole"), ("exp(%a)", "memory is read until step 2")],
)
def test_the_planner_says_why_memory_is_not_taken_over(value: str, reason: str) -> None:
    watch = Watch()
    text = f"""symc ir 1 level=tensor
func @f(%x: f32[2,3] data) -> (y: f32[3,3]) {{
  %a: f32[3,3] = dot(%x, %x) {{ta=true}} !1
  %b: f32[3,3] = {value} !1
  %y: f32[3,3] = dot(%b, %a) !1
  return %y
}}
!1 = sym "s" op
"""
    ran("fuse{epilogues=false},own_results,plan_memory", watch, text=text)
    found = [m.reason for m in watch.misses if (m.rule, m.value, m.other) == ("take over", "b", "a")]
    assert found and reason in found[0]


def test_own_results_says_why_it_copies() -> None:
    watch = Watch()
    text = TEXT.replace("-> (y: f32[2,3])", "-> (y: f32[2,3], z: f32[2,3])").replace("return %y", "return %y, %x")
    ran("fuse,own_results", watch, text=text)
    (miss,) = [m for m in watch.misses if m.pass_name == "own_results"]
    assert (miss.rule, miss.value, miss.other) == ("output", "x", "z") and "is a parameter or constant" in miss.reason


def test_statistics_count_tries_hits_vetoes_and_reasons() -> None:
    statistics = Statistics()
    ran("simplify", statistics, Counters("twice-count=0"))
    row = next(line for line in statistics.report().splitlines() if line.endswith("simplify/twice"))
    tries, hits, vetoed, refused = map(int, row.split()[:4])
    assert (hits, refused) == (0, 0) and 1 <= vetoed <= tries
    assert "only -... is neutral in a sum of floats" in statistics.report()


@pytest.mark.parametrize(
    ("text", "left"),
    [("twice-skip=1", "b"), ("simplify/twice-count=0", "b"), ("simplify-count=1", "a"), ("twice-count=5", "a")],
)
def test_counters_allow_some_rewrites(text: str, left: str) -> None:
    graph = ran("simplify", Counters(text))
    assert graph.names[graph.outputs[0].node.inputs[0].inputs[0]] == left


def test_a_counter_of_another_form_is_refused_and_one_that_counts_nothing_says_so() -> None:
    with pytest.raises(OptionError, match=r"debug counter 'twice': expected RULE-skip=N or RULE-count=N"):
        Counters("twice")
    counters = Counters("halo-skip=1")
    ran("simplify", counters)
    assert counters.report() == "counter halo: nothing of this name was about to happen"


class _Mutates(Pass):
    """Changes the names of the very graph it is given."""

    name = "mutates"

    def run(self, module: Any, rw: Any) -> Any:
        names: dict[Node, str] = module.names
        names[module.outputs[0].node] = "other"
        return module


class _Keeps(Pass):
    name = "keeps"

    def run(self, module: Any, rw: Any) -> Any:
        return replace(module, name="g")


def test_a_pass_that_changes_what_it_was_given_breaks_its_promise() -> None:
    graph = parse(TEXT)
    graph = replace(graph, names=dict(graph.names))
    promises = Promises()
    Manager([promises]).step(_Keeps(), graph)
    assert promises.report() == "promises: kept by all 1 passes"
    with pytest.raises(VerifyError, match="M8: pass mutates changes the very program that it was given"):
        Manager([Promises()]).step(_Mutates(), graph)


def test_nothing_is_put_into_words_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nobody watches")

    monkeypatch.setattr("symc.passes.manager.rewrite._shown", refuse)
    graph = ran("simplify", Instrument())
    assert graph.outputs[0].node.op == ew.exp(graph.inputs[0]).op
