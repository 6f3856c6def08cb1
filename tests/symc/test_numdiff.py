"""Protects `symc numdiff` and what belongs to it: the first bad pass, action and value are named, with Symbol and
line, the failure is made small, and its file shows it again."""

from __future__ import annotations

import json

import pytest
from commands import ran

from symc.passes.pipeline import PASSES

NET = """
import symc as mx
def net():
    data = mx.sym.Variable("data")
    fc1 = mx.sym.FullyConnected(data, num_hidden=6, name="fc1")
    act = mx.sym.Activation(fc1, act_type="relu", name="relu1")
    fc2 = mx.sym.FullyConnected(act, num_hidden=5, name="fc2")
    return mx.sym.SoftmaxOutput(fc2, name="softmax")
"""
OUTSIDE = """
from symc.ir.prims import elementwise as ew
from symc.passes.pipeline import Pass, register_pass
from symc.passes.manager.rewrite import Rule, rewrite

def wrong(node):
    return ew.abs_(*node.inputs) if node.op == ew.relu else None

@register_pass("wrong_relu")
class WrongRelu(Pass):
    def run(self, graph, rw):
        return rewrite(graph, [Rule("relu-abs", wrong)], rw)

@register_pass("raising")
class Raising(Pass):
    def run(self, graph, rw):
        raise ValueError("not today")

@register_pass("nothing")
class Nothing(Pass):
    def run(self, graph, rw):
        return None
"""


@pytest.fixture
def files(tmp_path):
    """A net and passes from outside; they are forgotten afterwards."""
    known = dict(PASSES)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "outside.py").write_text(OUTSIDE)
    yield tmp_path
    for name in set(PASSES) - set(known):
        del PASSES[name]


def told(files, capsys, *more: str, code: int) -> dict:
    """The line of JSON of a numdiff that ends with a code."""
    model = [f"{files / 'net.py'}:net", "--shapes", "data=3x4", "--load", str(files / "outside.py")]
    out, _ = ran(capsys, "numdiff", *model, "--out", str(files / "out"), "--diagnostics", "json", *more, code=code)
    assert out.count("\n") == 1
    return json.loads(out)


@pytest.mark.parametrize("more", [[], ["--train"]])
def test_the_compiler_keeps_its_contracts(files, capsys, more) -> None:
    assert told(files, capsys, *more, code=0)["verdict"] == "ok"


@pytest.mark.parametrize("more", [[], ["--train"]])
def test_a_wrong_rule_is_named_reduced_and_shown_again(files, capsys, more) -> None:
    found = told(files, capsys, "--insert", "simplify+wrong_relu", *more, code=1)
    assert found["verdict"] == "differs" and found["pass"] == "wrong_relu"
    assert found["rule"] == "relu-abs" and found["value"] == found["symbol"] == "relu1"
    assert found["source"] == f"{files / 'net.py'}:6"
    with open(found["reproducer"]) as file:
        text = file.read()
    assert text.count("relu(") == 1 and text.count("  %") == 1
    out, _ = ran(capsys, "replay", found["reproducer"], code=1)
    assert out.startswith("values after wrong_relu (exact)")


def test_passes_that_fail_are_named_with_their_line(files, capsys) -> None:
    found = told(files, capsys, "--insert", "inline+raising", code=6)
    assert found["verdict"] == "crash" and found["pass"] == "raising"
    assert "ValueError: not today" in found["message"] and "outside.py:17 in run" in found["message"]
    found = told(files, capsys, "--insert", "inline+nothing", code=6)
    assert found["pass"] == "nothing" and "NoneType" in found["message"]
