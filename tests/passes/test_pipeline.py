"""Protects the pass manager: pipeline text and its errors, steps under instruments, failures, and the instruments."""

from __future__ import annotations

import dataclasses
import gc
import io
import re
from pathlib import Path
from typing import Any

import pytest

from symc.ir.errors import IRError, ParseError, VerifyError
from symc.ir.op import Node, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.tensor.graph import Graph, finish
from symc.ir.types import F32, TensorType
from symc.passes.loop.tiling.choose import Choose
from symc.passes.manager.instruments import Bisect, PrintIR, Statistics, Timing, TreeDir
from symc.passes.manager.manager import (
    PASSES,
    Instrument,
    Manager,
    Module,
    OptionError,
    Pass,
    PipelineError,
    collections_paused,
    option,
    option_problem,
    register_pass,
)
from symc.passes.manager.rewrite import Rewriter
from symc.passes.pipeline import parse_pipeline
from symc.passes.program.fuse import Fuse
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.registry import PASSES as REGISTERED
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.simplify import Simplify

x = input_node("x", TensorType(F32, (3,)))


def graph_of(root: Node) -> Graph:
    nodes = finish("g", [x], [("out", root)]).nodes()
    return finish("g", [x], [("out", root)], origins={n: SymOrigin("s", "Op", "net.py", 3) for n in nodes})


@pytest.fixture
def failing():
    """A pass that refuses everything, registered for one test."""

    @register_pass("refuse")
    class Refuse(Pass):
        """Refuse."""

        def run(self, module: Module, rw: Rewriter) -> Module:
            raise IRError("no")

    yield Refuse
    del PASSES["refuse"]


# --------------------------------------------------------------------------------------------- text


def test_pipeline_text_round_trips() -> None:
    text = "simplify{rounds=7 without=twice:select},layout,fuse{limit=3 rows=false}"
    passes = parse_pipeline(text)
    assert ",".join(map(str, passes)) == text
    assert passes[0] == Simplify(rounds=7, without=("twice", "select")) and passes[2] == Fuse(limit=3, rows=False)


def test_dashes_defaults_and_spaces() -> None:
    (fuse, plan) = parse_pipeline(" fuse{ max-ops=5 } , plan-memory")
    assert fuse == Fuse(max_ops=5) and plan.name == "plan_memory"
    assert parse_pipeline("") == [] and str(Fuse()) == "fuse"
    assert parse_pipeline("fuse{rows}") == [Fuse(rows=True)]


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("inline,simplfy", "unknown pass 'simplfy'; did you mean simplify", 8),
        ("zzz", "unknown pass 'zzz'; there are .*fuse", 1),
        ("fuse{max-op=3}", "fuse has no option 'max-op'; did you mean max-ops", 6),
        ("inline{q=3}", "has no option 'q'; it has none", 8),
        ("simplify{rounds=x}", "option rounds of pass simplify must be a whole number, got 'x'", 10),
        ("fuse{rows=maybe}", "must be true or false, got 'maybe'", 6),
        ("fuse{max-ops=-8}", "option max-ops of pass fuse must be at least 1, got -8", 6),
        ("inline,fuse{rows=true max_ops=0}", "option max_ops of pass fuse must be at least 1, got 0", 23),
        ("fuse{limit=-1}", "must be at least 0, got -1", 6),
        ("batch{least=1}", "must be at least 2, got 1", 7),
        ("layout{widest=1}", "must be at least 2, got 1", 8),
        ("simplify{rounds=0}", "must be at least 1, got 0", 10),
        ("plan-memory{align=0}", "cannot be 0; there are 8, 16, 32", 13),
        ("plan-memory{align=100}", "cannot be 100; there are 8, 16, 32", 13),
        ("choose{block=0}", "must be at least 2, got 0", 8),
        ("choose{registers=0}", "must be at least 3, got 0", 8),
        ("choose{vector-bytes=24}", "cannot be 24; there are 8, 16, 32", 8),
        ("simplify{without=twise:select}", "cannot be 'twise'; did you mean twice", 10),
        ("fuse{rows=true rows=false}", "option rows of pass fuse is given twice", 16),
        ("inline simplify", "expected a comma behind pass inline", 8),
        ("inline,fuse{", "the options of pass fuse have no closing brace", 12),
    ],
)
def test_errors_in_pipeline_text_point_at_it(text: str, message: str, column: int) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        parse_pipeline(text)
    assert caught.value.column == column
    assert str(caught.value).splitlines()[-1].index("^") - 2 == column - 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fuse(max_ops=0), "option max-ops of pass fuse must be at least 1, got 0"),
        (lambda: Fuse(max_ops=True), "option max-ops of pass fuse must be a whole number, got True"),
        (lambda: Fuse(max_ops="8"), "must be a whole number, got '8'"),
        (lambda: Fuse(rows=1), "option rows of pass fuse must be true or false, got 1"),
        (lambda: Choose(block=0), "option block of pass choose must be at least 2"),
        (lambda: Choose(registers=-1), "option registers of pass choose must be at least 3"),
        (lambda: PlanMemory(align=48), "option align of pass plan_memory cannot be 48"),
        (lambda: Simplify(without=("nosuchrule",)), "option without of pass simplify cannot be 'nosuchrule'"),
        (lambda: Simplify(without="twice"), "must be a tuple of names, got 'twice'"),
        (lambda: Autodiff(wrt=(1,)), "must be names"),
    ],
)
def test_a_pass_made_in_python_has_the_same_ranges(make, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
    assert issubclass(OptionError, PipelineError) and issubclass(OptionError, ValueError)


def test_every_number_of_every_pass_has_a_range() -> None:
    """A new option of a pass says what it takes, and takes what it is by default."""
    for cls in REGISTERED.values():
        for field in dataclasses.fields(cls):
            rules = field.metadata
            if type(field.default) in (int, float):
                assert rules["min"] is not None or rules["choices"] is not None, f"{cls.name}: {field.name}"
            assert option_problem(field, field.default) == ""


def test_options_that_contradict_the_program_are_told() -> None:
    graph = graph_of(ew.exp(x))
    for text, message in (
        ("autodiff{wrt=x:x}", "autodiff: an argument stands twice in wrt=x:x"),
        ("autodiff{wrt=z}", "autodiff: 'z' is not an argument"),
    ):
        with pytest.raises(IRError, match=message):
            Manager().run(parse_pipeline(text), graph)
    y = input_node("y", TensorType(F32, (3,)))
    both = finish("g", [x, y], [("out", ew.add(x, y))])
    with pytest.raises(IRError, match="autodiff: add='x', but its gradient is not among those of y"):
        Manager(verify=False).run(parse_pipeline("autodiff{wrt=y add=x}"), both)


def test_levels_must_fit() -> None:
    with pytest.raises(PipelineError, match="simplify takes tensor IR, but fuse gives program"):
        parse_pipeline("fuse,simplify")


def test_registry_is_complete() -> None:
    folder = Path(__import__("symc.passes.registry").passes.registry.__file__).parent
    declared = {
        name for file in folder.rglob("*.py") for name in re.findall(r'@register_pass\(\s*"(\w+)"', file.read_text())
    }
    assert declared <= set(REGISTERED)
    assert all(p.__doc__ for p in REGISTERED.values())


def test_options_carry_help() -> None:
    made = option(3, "three")
    assert made.default == 3 and made.metadata["help"] == "three"


# --------------------------------------------------------------------------------------------- manager


class Log(Instrument):
    def __init__(self) -> None:
        self.events: list[str] = []

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self.events.append(f"before {pass_.name}")
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        assert seconds >= 0
        self.events.append(f"after {pass_.name}")

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None:
        self.events.append(f"failed {pass_.name}: {error}")

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        self.events.append(f"{pass_name}#{number} {rule}")


def test_a_step_tells_its_instruments() -> None:
    log = Log()
    manager = Manager([log])
    after = manager.run(parse_pipeline("simplify,layout"), graph_of(ew.neg(ew.neg(x))))
    assert after.outputs[0].node is x
    assert log.events == ["before simplify", "simplify#0 twice", "after simplify", "before layout", "after layout"]
    assert set(manager.seconds) == {"simplify", "layout", "verify"}


def test_a_failure_is_told_and_passes_through(failing: type[Pass]) -> None:
    log = Log()
    with pytest.raises(IRError, match="^no$"):
        Manager([log]).run([failing()], graph_of(x))
    assert log.events == ["before refuse", "failed refuse: no"]


def test_the_result_is_verified() -> None:
    @register_pass("break")
    class Break(Pass):
        """Lose an origin."""

        def run(self, graph: Graph, rw: Rewriter) -> Graph:
            return finish("g", [x], [("out", ew.exp(x))])

    try:
        with pytest.raises(IRError):
            Manager().step(Break(), graph_of(x))
        assert Manager(verify=False).step(Break(), graph_of(x)).outputs
    finally:
        del PASSES["break"]


def test_a_skipped_pass_must_keep_its_level() -> None:
    class Skip(Instrument):
        def before_pass(self, pass_: Pass, module: Module) -> bool:
            return False

    graph = graph_of(ew.neg(ew.neg(x)))
    assert Manager([Skip()]).step(Simplify(), graph) is graph
    with pytest.raises(PipelineError, match="cannot be skipped"):
        Manager([Skip()]).step(Fuse(), graph)


# --------------------------------------------------------------------------------------------- instruments


def printed(**options: object) -> str:
    stream = io.StringIO()
    manager = Manager([PrintIR(stream, **options)])  # type: ignore[arg-type]
    manager.run(parse_pipeline("simplify,layout"), graph_of(ew.exp(ew.neg(ew.neg(x)))))
    return stream.getvalue()


def test_print_ir() -> None:
    assert printed() == ""
    everything = printed(before=("all",), after=("all",))
    assert re.findall(r"----- (.*) -----", everything) == [
        "before simplify", "after simplify", "before layout", "after layout",
    ]  # fmt: skip
    assert everything.count("symc ir 1 level=tensor") == 4
    assert re.findall(r"----- (.*) -----", printed(after=("layout",))) == ["after layout"]
    changed = printed(after=("change",))
    assert "after layout: unchanged" in changed and changed.count("symc ir") == 1
    assert re.findall(r"----- (.*) -----", printed(before=("change",)))[0] == "before simplify"


def test_print_ir_tells_failures(failing: type[Pass]) -> None:
    stream = io.StringIO()
    with pytest.raises(IRError):
        Manager([PrintIR(stream, after=("all",))]).step(failing(), graph_of(x))
    assert stream.getvalue() == "// ----- refuse failed: no -----\n"


def test_print_ir_shows_what_a_failing_pass_was_given_and_gave() -> None:
    """Also where it gave nothing that has a text."""

    @register_pass("spoil")
    class Spoil(Pass):
        nothing: bool = option(False)

        def run(self, graph: Graph, rw: Rewriter) -> Any:
            return None if self.nothing else dataclasses.replace(graph, outputs=())

    try:
        for spoil in (Spoil(), Spoil(nothing=True)):
            stream = io.StringIO()
            with pytest.raises((VerifyError, TypeError)):
                Manager([PrintIR(stream, ("failure",), ("failure",))]).step(spoil, graph_of(ew.exp(x)))
            titles = re.findall(r"----- (.*) -----", stream.getvalue())
            assert titles[0].startswith(f"{spoil} failed") and titles[1] == f"before {spoil}, which fails on this"
            assert titles[2:] == ([] if spoil.nothing else ["after spoil, which is refused"])
    finally:
        del PASSES["spoil"]


def test_tree_dir(tmp_path: Path) -> None:
    Manager([TreeDir(tmp_path / "deep" / "dir")]).run(parse_pipeline("simplify,fuse"), graph_of(ew.exp(x)))
    files = sorted((tmp_path / "deep" / "dir").iterdir())
    assert [f.name for f in files] == ["00-input.sir", "01-simplify.sir", "02-fuse.sir"]
    assert "level=fused" in files[2].read_text()


def test_timing_and_statistics() -> None:
    timing, statistics = Timing(), Statistics()
    Manager([timing, statistics]).run(
        parse_pipeline("simplify{rounds=9},layout"), graph_of(ew.neg(ew.neg(ew.mul(x, 1.0))))
    )
    table = timing.report(verify_seconds=1.0).splitlines()
    assert [row.split()[2] for row in table[1:]] == ["simplify{rounds=9}", "layout", "verify", "total"]
    assert statistics.hits == {("simplify", "neutral-operand"): 1, ("simplify", "twice"): 1}
    assert re.search(r"^ +2 +1 +0 +0  simplify/twice$", statistics.report(), re.M)
    assert Timing().report().splitlines()[-1].endswith("total")


@pytest.mark.parametrize(("limit", "left"), [(0, 4), (1, 2), (2, 1), (9, 1)])
def test_bisect_limits_all_rewrites_together(limit: int, left: int) -> None:
    """Two rewrites are possible: each takes away nodes."""
    bisect = Bisect(limit)
    root = ew.mul(ew.neg(ew.neg(x)), 1.0)
    after = Manager([bisect]).step(Simplify(), graph_of(root))
    assert len([n for n in after.nodes() if not n.op.is_literal(n)]) == left
    assert bisect.report().startswith(f"bisect: {min(limit, 2)} of ")
    assert ("last: none" in bisect.report()) == (limit == 0)


def test_bisect_minus_one_is_no_limit() -> None:
    bisect = Bisect(-1)
    root = ew.mul(ew.neg(ew.neg(x)), 1.0)
    after = Manager([bisect]).step(Simplify(), graph_of(root))
    assert after.outputs[0].node is x and bisect.report().startswith("bisect: 2 of 2 rewrites; last: simplify#")
    with pytest.raises(OptionError, match="or -1 for all of them, not -5"):
        Bisect(-5)


def test_bisect_leaves_passes_that_add_results_alone() -> None:
    passes = parse_pipeline("autodiff{wrt=x ones=true},simplify")
    after = Manager([Bisect(0)]).run(passes, graph_of(ew.exp(x)))
    assert [o.name for o in after.outputs] == ["out", "x.grad"]


def test_nothing_is_collected_while_passes_run() -> None:
    """Whatever the passes do, and however they nest, the collector is as it was before."""
    seen: list[bool] = []

    @register_pass("watch_collector")
    class Watch(Pass):
        def run(self, graph: Graph, rw: Rewriter) -> Graph:
            seen.append(gc.isenabled())
            with collections_paused():
                pass
            seen.append(gc.isenabled())
            return graph

    try:
        assert gc.isenabled()
        Manager().run([Watch()], graph_of(ew.neg(x)))
        assert seen == [False, False] and gc.isenabled()
        gc.disable()
        Manager().run([Watch()], graph_of(ew.neg(x)))
        assert not gc.isenabled()
    finally:
        gc.enable()
        del PASSES["watch_collector"]
