"""Protects code from outside: files that commands load, passes put into pipelines, and passes left out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc.passes.edits import Edits, active, insertion
from symc.passes.manager.manager import PASSES, Pass, PipelineError, register_pass
from symc.passes.tensor.simplify import Simplify

NET = """
import symc as mx
def net():
    x = mx.sym.Variable("x")
    return mx.sym.FullyConnected(mx.sym.relu(x), num_hidden=3, name="fc")
"""
OUTSIDE = """
from symc.passes.pipeline import Pass, option, register_pass
@register_pass("{name}")
class Outside(Pass):
    '''Leaves everything as it is.'''
    n: int = option(1, "a number", min=1, max=5)
    def run(self, graph, rw):
        return graph
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture
def outside(files):
    name = f"outside_{files.name.replace('-', '_')}"
    (files / "mine.py").write_text(OUTSIDE.format(name=name))
    yield name
    PASSES.pop(name, None)


def test_the_default_pipeline_can_be_seen_and_edited(files, outside, capsys) -> None:
    model = [f"{files / 'net.py'}:net", "--shapes", "x=2x4"]
    plain, _ = ran(capsys, "opt", *model, "--print-pipeline")
    assert plain.startswith("decompose{train=false ") and ",choose{" in plain
    load = ["--load", str(files / "mine.py")]
    edits = ["--insert", f"simplify+{outside}{{n=2}}", "--disable", "layout"]
    edited, _ = ran(capsys, "opt", *model, *load, *edits, "--print-pipeline")
    before, _, behind = edited.partition(f",{outside}{{n=2}},")
    assert re.search(r",simplify\{[^{}]*\}$", before) and behind and "layout" not in edited
    dumped, _ = ran(capsys, "dump", *model, *load, "--insert", f"simplify+{outside}", "--after", outside)
    assert "level=tensor" in dumped


@pytest.mark.parametrize(
    "given, words",
    [
        (["--insert", "simplify"], "expected PASS+NEW"),
        (["--insert", "simplfy+prune"], "did you mean simplify?"),
        (["--insert", "simplify+nosuch"], "unknown pass 'nosuch'"),
        (["--insert", "autodiff+prune"], "pass autodiff does not run here"),
        (["--disable", "fuse"], "pass fuse cannot be left out"),
        (["--insert", "fuse+simplify"], "simplify takes tensor IR, but fuse gives program"),
        (["--load", "nosuch.py"], "no such file"),
    ],
)
def test_edits_that_make_no_sense_are_refused(files, given, words, capsys) -> None:
    code = 3 if words == "no such file" else 2
    _, err = ran(capsys, "opt", f"{files / 'net.py'}:net", "--shapes", "x=2x4", *given, code=code)
    assert words in err


def test_a_file_that_fails_is_named_with_its_line(files, capsys) -> None:
    (files / "bad.py").write_text("x = 1\ny = x / 0\n")
    _, err = ran(capsys, "passes", "--load", str(files / "bad.py"), code=3)
    assert "bad.py:2 failed when it was run: ZeroDivisionError" in err


def test_executors_compile_with_the_passes_that_were_asked_for() -> None:
    seen = []

    @register_pass("watcher")
    class Watcher(Pass):
        """Notes that it ran."""

        def run(self, graph, rw):
            seen.append(graph.name)
            return graph

    try:
        x = mx.sym.Variable("x")
        net = mx.sym.exp(x, name="y")
        with mx.pipeline(insert={"simplify": Watcher()}, disable=["layout"]) as edits:
            assert active() is edits
            exe = net.simple_bind(mx.cpu(), x=(2,))
        assert active() == Edits() and not seen
        exe.arg_dict["x"][:] = 1
        np.testing.assert_allclose(exe.forward()[0].asnumpy(), np.e, rtol=1e-6)
        assert seen  # it compiled later, as it was bound
        seen.clear()
        net.simple_bind(mx.cpu(), x=(2,)).forward()
        assert not seen
        module = mx.mod.Module(
            mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2), name="softmax")
        )
        with mx.pipeline(insert={"simplify": "watcher"}):
            module.bind([("data", (4, 3))], [("softmax_label", (4,))])
        module.init_params()
        module.init_optimizer()
        module.forward_backward(mx.io.DataBatch([mx.nd.ones((4, 3))], [mx.nd.zeros((4,))]))
        module.update()
        assert seen
    finally:
        PASSES.pop("watcher", None)


def test_edits_nest_and_apply_in_order() -> None:
    with mx.pipeline(disable=["layout"]), mx.pipeline(insert={"inline": Simplify()}):
        made = active().apply([PASSES["inline"](), Simplify(), PASSES["layout"]()])
    assert [p.name for p in made] == ["inline", "simplify", "simplify"]
    assert [str(p) for _, p in insertion("inline+simplify{rounds=3}+prune")] == ["simplify{rounds=3}", "prune"]
    with pytest.raises(PipelineError, match="there is no pass nosuch"):
        Edits(disable=("nosuch",))


def test_registries_of_ones_own():
    """Programs make registries for their classes with the functions that MXNet's are made with."""
    from symc import registry

    class Shape:
        def __init__(self, size=1):
            self.size = size

    register, alias = registry.get_register_func(Shape, "shape"), registry.get_alias_func(Shape, "shape")
    create = registry.get_create_func(Shape, "shape")

    @alias("Square", "box")
    @register
    class Quad(Shape):
        pass

    assert set(registry.get_registry(Shape)) == {"quad", "square", "box"}
    assert create("BOX", size=3).size == 3 and type(create('["quad", {"size": 2}]')) is Quad
    assert create(shape="quad").size == 1 and registry.get_registry(mx.metric.EvalMetric)["acc"] is mx.metric.Accuracy
    with pytest.raises(AssertionError, match="only subclasses of Shape"):
        register(int)
