"""Protects `symc numdiff` and what belongs to it: the first bad pass, action and value are named, with Symbol and
line, the failure is made small, and its file shows it again."""

from __future__ import annotations

import json
import re

import pytest
from commands import ran

from symc.cli.command import main
from symc.debug import numdiff
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

def marked(node):
    return ew.add(node, 0.0) if node.op == ew.relu else None

def trusting(node):
    return ew.abs_(node.inputs[0].inputs[0]) if node.op == ew.add and node.inputs[0].op == ew.relu else None

@register_pass("marking")
class Marking(Pass):
    # right: x + 0
    def run(self, graph, rw):
        done = set()
        def once(node):
            if node in done or not marked(node):
                return None
            done.add(node)
            return marked(node)
        return rewrite(graph, [Rule("mark", once)], rw)

@register_pass("trusting")
class Trusting(Pass):
    # wrong, but only where the other pass has been
    def run(self, graph, rw):
        return rewrite(graph, [Rule("trust", trusting)], rw)

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
    assert "ValueError: not today" in found["message"] and "outside.py:41 in run" in found["message"]
    found = told(files, capsys, "--insert", "inline+nothing", code=4)
    assert found["pass"] == "nothing" and "NoneType" in found["message"]


def model(files) -> list[str]:
    return [f"{files / 'net.py'}:net", "--shapes", "data=3x4", "--load", str(files / "outside.py")]


def test_opt_checks_values_on_the_way(files, capsys) -> None:
    out, _ = ran(capsys, "opt", *model(files), "--check", "-p", "decompose,inline,simplify")
    assert out.startswith("symc ir 1 level=tensor")
    out, err = ran(capsys, "opt", *model(files), "--check", "--insert", "inline+wrong_relu", code=1)
    assert not out and "wrong_relu#0 relu-abs" in err and "Symbol 'relu1'" in err and "net.py:6" in err


def test_bisect_finds_the_pass_and_the_action(files, capsys) -> None:
    given = [*model(files), "--insert", "simplify+wrong_relu", "--diagnostics", "json"]
    found = json.loads(ran(capsys, "bisect", *given, "--fails", "numerics", code=1)[0])
    assert found["passes"][1:] == ["wrong_relu"]
    assert found["actions"] == [{"pass": "wrong_relu", "action": 0, "rule": "relu-abs"}]
    assert found["value"] == "relu1" and found["source"].endswith("net.py:6")
    assert json.loads(ran(capsys, "bisect", *given, "--fails", "verify")[0])["verdict"] == "ok"
    found = ran(capsys, "bisect", *model(files), "--insert", "simplify+raising", "--fails", "crash", code=1)
    assert ": decompose,raising" in found[0]


def test_bisect_finds_two_passes_that_are_wrong_together_only(files, capsys) -> None:
    pair = ["--insert", "inline+marking", "--insert", "prune+trusting", "--disable", "simplify"]
    ran(capsys, "numdiff", *model(files), "--insert", "prune+trusting")
    found = json.loads(ran(capsys, "bisect", *model(files), *pair, "--diagnostics", "json", code=1)[0])
    assert [p.split("{")[0] for p in found["passes"]] == ["decompose", "marking", "trusting"]
    assert [a["rule"] for a in found["actions"]] == ["mark", "trust"]


def test_bisect_asks_any_command(files, capsys) -> None:
    passes = ["-p", "decompose,inline,simplify,fuse"]
    found = ran(capsys, "bisect", *model(files), *passes, "--fails", "! grep -q fuse", code=1)
    assert ": decompose,inline,fuse" in found[0]


def test_a_file_is_reduced_and_replayed(files, capsys, tmp_path) -> None:
    found = told(files, capsys, "--insert", "simplify+wrong_relu", "--reduce", "0", code=1)
    out, _ = ran(capsys, "reduce", found["reproducer"], "-o", str(tmp_path / "small.sir"), code=1)
    assert "-> 1 operators" in out
    assert "wrong_relu" in ran(capsys, "replay", str(tmp_path / "small.sir"), code=1)[0]


def test_a_reproducer_of_opt_is_replayed(tmp_path, capsys) -> None:
    path = tmp_path / "one.sir"
    text = "symc ir 1 level=tensor\nfunc @f(%x: f32[3] data !1) -> (out: f32[3]) {\n  return %x\n}\n"
    text += '!1 = sym "x" Variable\n'
    path.write_text('// RUN: symc opt -p "simplify,prune" one.sir\n' + text)
    assert ran(capsys, "replay", str(path))[0] == "fine\n"
    path.write_text(text)
    assert "neither a trial nor a RUN line" in ran(capsys, "replay", str(path), code=3)[1]


CONDUCT = """
import os, sys
from symc.ir.op import Primitive, Node, primitive
from symc.ir.prims import elementwise as ew
from symc.passes.pipeline import Pass, register_pass
from symc.passes.manager.rewrite import Rule, rewrite

def relu_abs(graph, rw):
    return rewrite(graph, [Rule("relu-abs", lambda n: ew.abs_(*n.inputs) if n.op == ew.relu else None)], rw)

def registered(name):
    def register(run):
        @register_pass(name)
        class Made(Pass):
            def run(self, graph, rw):
                return run(graph, rw)
    return register

runs = []

@registered("changing")
def _(graph, rw):
    runs.append(1)
    return relu_abs(graph, rw) if len(runs) > 1 else graph

@registered("damaging")
def _(graph, rw):
    for node in graph.nodes():
        if node.op.name == "sum":
            object.__setattr__(node.op, "axes", (0,))
    return graph

@registered("interrupting")
def _(graph, rw):
    raise KeyboardInterrupt

class Odd(Exception):
    def __str__(self):
        raise ValueError

@registered("odd")
def _(graph, rw):
    raise Odd

@registered("counting")
def _(graph, rw):
    return sum(range(10**13))

@registered("talking")
def _(graph, rw):
    print("{}")
    os.write(1, b"x")
    os.chdir("/")
    return relu_abs(graph, rw)

@registered("aborting")
def _(graph, rw):
    os.abort()

@registered("numbering")
def _(graph, rw):
    return rewrite(graph, [Rule("seven", lambda n: 7 if n.op == ew.relu else None)], rw)

@primitive("relu_of_first")
class ReluOfFirst(Primitive):
    def type(self, ins):
        return ins[0]
    def value(self, args, out):
        return args[0][..., :1]

@registered("narrowing")
def _(graph, rw):
    return rewrite(graph, [Rule("n", lambda n: Node.make(ReluOfFirst(), n.inputs) if n.op == ew.relu else None)], rw)
"""


@pytest.mark.parametrize(
    ("name", "verdict", "code", "says"),
    [
        ("changing", "differs", 1, "another one:\n  %relu1: f32[3,6] = relu(%fc1)"),
        ("damaging", "verifier", 4, "changes the very program that it is given"),
        ("interrupting", "crash", 6, "KeyboardInterrupt"),
        ("odd", "crash", 6, "Odd: (the error has no text) (...outside.py:"),
        ("counting", "crash", 6, "it did not end within"),
        ("talking", "differs", 1, "instead of"),
        ("numbering", "verifier", 4, "rule seven replaces %relu1 = relu by 7, which is no node"),
        ("narrowing", "crash", 6, "the value of primitive relu_of_first is float32[3, 1], where its type is f32[3,6]"),
    ],
)
def test_whatever_a_pass_does_it_is_named(files, capsys, monkeypatch, name, verdict, code, says) -> None:
    """In one line of JSON, though it prints, moves the process, hangs without running Python code, changes what it was
    given, or gives something else the next time; and the file is written where it was asked for."""
    monkeypatch.setattr(numdiff, "PASS_LIMIT", 0.5 if name == "counting" else 20.0)
    monkeypatch.chdir(files)
    (files / "outside.py").write_text(CONDUCT)
    seconds = ["--reduce", "0"] if name in ("counting", "interrupting") else []
    found = told(files, capsys, "--insert", f"inline+{name}", "--out", "there", *seconds, code=code)
    assert (found["verdict"], found["pass"]) == (verdict, name)
    assert re.search(re.escape(says).replace(re.escape("..."), ".*"), found["message"], re.S), found["message"]
    assert (files / found["reproducer"]).exists() and files.samefile(".")


@pytest.mark.parametrize("name", ["aborting", "changing", "damaging"])
def test_bisect_outlives_the_pass(files, capsys, name) -> None:
    (files / "outside.py").write_text(CONDUCT)
    out, _ = ran(capsys, "bisect", *model(files), "--insert", f"inline+{name}", "--diagnostics", "json", code=1)
    assert out.count("\n") == 1 and json.loads(out)["passes"][-1] == name


def test_words_that_nobody_knows_are_answered_by_like_ones(files, capsys) -> None:
    """At most six candidates, and the nearest; a judge that cannot be run is no failure of the program."""
    given = model(files)
    for words, said in (
        (("dmp",), "and 13 others; did you mean dump?"),
        (("dump", *given, "--level=lop"), "did you mean loop?"),
        (("dump", *given, "--after=fus"), "others; did you mean fuse?"),
        (("why-not", "fusee", "%fc1", *given), "others; did you mean fuse?"),
        (("bisect", *given, "--fails", "no-such-program-here"), "expected numerics, verify, crash, any or a command"),
    ):
        try:
            code = main(list(words))
        except SystemExit as end:
            code = end.code
        assert code == 2 and said in capsys.readouterr().err, words


def test_git_bisect_is_told_what_is_no_answer(files, capsys) -> None:
    given = model(files)
    ran(capsys, "numdiff", *given, "--insert", "inline+nothing", "--bisect-exit", "--reduce", "0", "--out", "", code=1)
    ran(capsys, "opt", *given, "--insert", "inline+nothing", "--bisect-exit", code=125)
    ran(capsys, "opt", *given, "-p", "inlin", "--bisect-exit", code=125)
    assert main(["no-such-command", "--bisect-exit"]) == 125


def test_what_passes_change_is_drawn(files, capsys) -> None:
    """A box that is new, one that is gone, and loops, which have no picture."""
    _, err = ran(capsys, "opt", *model(files), "--insert", "inline+wrong_relu", "--print-changed=dot")
    picture = err.split("// ----- wrong_relu -----\n")[1].split("// -----")[0]
    (made,) = [line for line in picture.splitlines() if "#bfe5bf" in line and "abs" in line]
    assert picture.startswith('digraph "wrong_relu"') and '"relu1" [label="%relu1\\nabs' in made
    assert "----- lower" not in err


def test_a_level_has_its_rules(capsys) -> None:
    out, _ = ran(capsys, "passes", "--level", "loop")
    assert "tile" in out and "\n  L1  every scalar" in out and "T1" not in out and "fuse" not in out.split("\n\n")[0]
