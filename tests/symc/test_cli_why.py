"""Protects the questions about programs: the life of a value, why a pass did not act, and how two programs differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import NET, SHAPES, ran

from symc.debug.structure import lines_of, side_by_side
from symc.ir.parse import parse
from symc.passes.registry import PASSES


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:net"


# --------------------------------------------------------------------------------------------- why


def test_a_value_that_is_written(capsys, net: str) -> None:
    out, _ = ran(capsys, "why", "%relu1", net, "--train", *SHAPES)
    lines = out.splitlines()
    assert lines[0] == "%relu1: f32[4,8]"
    assert 'from     Symbol "relu1" (Activation), ' in lines[1] and lines[1].endswith("net.py:6")
    assert "           decompose: %relu1 = relu(%fc1)" in lines
    assert "           plan_memory: written by step 0, dot_relu, at @A+0" in lines
    assert "  memory   @A+0, in the arena, 128 bytes" in lines
    assert lines[-1].startswith("  lives    from step 0 (dot_relu), which writes it, to step ")


def test_a_value_that_needs_no_memory(capsys, net: str) -> None:
    out, _ = ran(capsys, "why", "fc1.dot", net, *SHAPES)
    assert "fuse: computed inside of step 0, dot_relu: it needs no memory" in out and "memory   " not in out


def test_a_value_that_passes_made_names_actions_and_symbols(capsys, net: str) -> None:
    out, _ = ran(capsys, "why", "%fc1_weight.grad", net, "--train", *SHAPES)
    assert 'from     autodiff#7 (dot) <- Symbol "fc1" (FullyConnected), ' in out
    assert "the caller's buffer of output 1" in out and "to the end: it is fc1_weight.grad" in out


def test_in_place_over_what(capsys, tmp_path: Path) -> None:
    (tmp_path / "f.sir").write_text("""symc ir 1 level=tensor
func @f(%x: f32[3,3] data) -> (y: f32[3,3]) {
  %a: f32[3,3] = dot(%x, %x) !1
  %b: f32[3,3] = exp(%a) !1
  %y: f32[3,3] = dot(%b, %b) !1
  return %y
}
!1 = sym "s" op
""")
    out, _ = ran(capsys, "why", "%b", str(tmp_path / "f.sir"), "-p", "fuse{epilogues=false},own_results,plan_memory")
    assert "memory   @A+0, in the arena, 36 bytes, in place over %a" in out
    assert "plan_memory#0 take over: %b -> %b in the memory of %a" in out


def test_an_unknown_value_is_refused_with_one_that_is_like_it(capsys, net: str) -> None:
    _, err = ran(capsys, "why", "%rlu1", net, *SHAPES, code=2)
    assert "no value is named %rlu1; there are " in err and "did you mean relu1?" in err


# --------------------------------------------------------------------------------------------- why not


def test_why_two_values_are_two_kernels(capsys, net: str) -> None:
    out, _ = ran(capsys, "why-not", "fuse", "%fc2.dot", "%relu1", net, *SHAPES)
    assert out == "fuse/kinds: %fc2.dot and %relu1: a loop nest begins a kernel of its own\n"
    out, _ = ran(capsys, "why-not", "fuse", "%fc1.dot", "%relu1", net, *SHAPES)
    assert out == "fuse: %fc1.dot and %relu1 are computed by one kernel\n"


def test_why_memory_is_not_taken_over(capsys, net: str) -> None:
    out, _ = ran(capsys, "why-not", "plan_memory", "%relu1.select", "%relu1", net, "--train", *SHAPES)
    assert "plan_memory/take over: %relu1.select and %relu1: %relu1's memory is read until step " in out
    out, _ = ran(capsys, "why-not", "plan-memory", "%softmax", net, *SHAPES)
    assert "it is a result: it lies in the caller's buffer @out.0" in out


def test_why_a_rewrite_does_not_apply(capsys, net: str) -> None:
    rule = "simplify{without=neutral-operand}"
    pipeline = f"decompose,autodiff{{wrt=fc1_weight}},inline,{rule}"
    out, _ = ran(capsys, "why-not", "simplify", "%softmax.mul", net, "-p", pipeline, *SHAPES)
    assert f"simplify/neutral-operand: %softmax.mul: left out by {rule}" in out
    out, _ = ran(capsys, "why-not", "simplify", "%relu1", net, *SHAPES)
    assert out == "simplify: no rule that looked at %relu1 was about to apply\n"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["autodiff", "%fc1"], "pass autodiff did not run; these did: "),
        (["fuse"], "one value or two"),
        (["decompose", "%x"], "before decompose no value is named %x"),
    ],
)
def test_questions_that_make_no_sense(capsys, net: str, question: list[str], answer: str) -> None:
    assert answer in ran(capsys, "why-not", *question, net, *SHAPES, code=2)[1]


# --------------------------------------------------------------------------------------------- diff


@pytest.mark.parametrize("level", ["symbol", "tensor", "fused", "planned", "loop"])
def test_programs_that_differ_in_names_only_are_equal(capsys, net: str, tmp_path: Path, level: str) -> None:
    (tmp_path / "other.py").write_text(NET.replace("fc1", "alpha").replace("relu1", "beta"))
    files = [str(tmp_path / name) for name in ("a.sir", "b.sir")]
    for file, source in zip(files, (net, net.replace("net.py", "other.py"))):
        ran(capsys, "dump", source, "--level", level, "--train", "-o", file, *SHAPES)
    assert ran(capsys, "diff", *files)[0] == f"equal up to names ({level})\n"


def test_programs_that_differ_stand_side_by_side_with_what_that_costs(capsys, net: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(NET.replace('"relu"', '"sigmoid"').replace("num_hidden=8", "num_hidden=9"))
    out, _ = ran(capsys, "diff", net, net.replace("net.py", "other.py"), "-p", "default", *SHAPES, code=1)
    assert any("@k0.dot_relu" in line and " | " in line and "@k0.dot_sigmoid" in line for line in out.splitlines())
    rows = {line[:24].strip(): line[24:].split() for line in out.splitlines()}
    assert rows["operator relu"] == ["1", "0", "-1"] and rows["operator sigmoid"] == ["0", "1", "+1"]
    # multiply-adds twice: 4 images, 6 and 8 (9) features, 3 classes
    assert rows["flops"] == [str(2 * 4 * (6 * h + h * 3)) for h in (8, 9)] + [f"+{2 * 4 * 9}"]


HEAD = "symc ir 1 level=tensor\nfunc @f(%x: f32[3] data) -> (y: f32[3]) {\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("%a: f32[3] = exp(%x)\n%y: f32[3] = sub(%a, %x)", "%a: f32[3] = exp(%x)\n%y: f32[3] = sub(%x, %a)"),
        ("%y: f32[3] = mul(%x, 2.0)", "%y: f32[3] = mul(%x, 3.0)"),
        ("%a: f32[3] = exp(%x)\n%y: f32[3] = exp(%a)", "%y: f32[3] = exp(%x)"),
    ],
)
def test_what_differs_in_more_than_names_is_not_equal(one: str, other: str) -> None:
    modules = [parse(f"{HEAD}{body}\nreturn %y\n}}\n") for body in (one, other)]
    assert side_by_side(*map(lines_of, modules), 120)
    assert not side_by_side(lines_of(modules[0]), lines_of(modules[0]), 120)


# --------------------------------------------------------------------------------------------- passes --graph


def test_the_pipeline_in_order_with_its_properties(capsys) -> None:
    lines = ran(capsys, "passes", "--graph")[0].splitlines()
    assert {line.split()[1] for line in lines} >= set(PASSES)
    assert any(line.startswith("  0  decompose ") for line in lines)
    assert any(" plan_memory " in line and line.endswith("requires owned  establishes planned") for line in lines)
    dot, _ = ran(capsys, "passes", "--graph=dot")
    assert dot.startswith("digraph passes {") and "  fuse -> schedule;" in dot
    assert '  own_results -> plan_memory [style=dashed label="owned"];' in dot


VIEWED = """
import symc as mx

data = mx.sym.Variable("data")
a = mx.sym.exp(data, name="a")
r = mx.sym.Reshape(a, shape=(6, 4), name="r")
w = mx.sym.FullyConnected(r, num_hidden=3, name="w")
x = mx.sym.FullyConnected(w, num_hidden=4, name="x")
net = mx.sym.broadcast_add(x, mx.sym.sum(r, axis=1, keepdims=True), name="n")
"""


def test_a_value_lives_as_long_as_its_views_are_read(capsys, tmp_path: Path) -> None:
    (tmp_path / "viewed.py").write_text(VIEWED)
    given = [f"{tmp_path / 'viewed.py'}:net", "--shapes", "data=4x6"]
    plan = ran(capsys, "dump", *given, "--level=planned", "--locs=none")[0]
    steps = [line for line in plan.splitlines() if line.startswith("  %") and " @" in line]
    last = max(at for at, line in enumerate(steps) if "%r:" in line)
    assert any("= view(%a)" in line for line in steps)
    assert f"lives    from step 0 (exp), which writes it, to step {last} " in ran(capsys, "why", "%a", *given)[0]


def test_a_symbol_that_becomes_other_values_names_them(capsys, tmp_path: Path) -> None:
    (tmp_path / "bn.py").write_text(
        'import symc as mx\n\nnet = mx.sym.relu(mx.sym.BatchNorm(mx.sym.Variable("x"), name="bn"), name="y")\n'
    )
    given = [f"{tmp_path / 'bn.py'}:net", "--shapes", "x=2x3"]
    out, _ = ran(capsys, "why", "%bn", *given)
    assert 'from     Symbol "bn" (BatchNorm), ' in out and "decompose: no value of its own any more; of this " in out
    assert out.count("no value of its own") == 1 and "%bn." in out
    assert "is no value, but may be a kernel" in ran(capsys, "why", "@k0.relu", *given, code=2)[1]


LOOP = """
import symc as mx


def body(x, s):
    made = mx.sym.tanh(mx.sym.dot(x, mx.sym.Variable("w"), name="product") + s, name="inner")
    return made, made


net = mx.sym.contrib.foreach(body, mx.sym.Variable("x"), mx.sym.Variable("s"))[0]
"""


def test_values_of_a_loops_turn_say_where_they_are(capsys, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    given = [f"{tmp_path / 'loop.py'}:net", "--shapes", "x=5x3x4,s=3x4,w=4x4"]
    out, _ = ran(capsys, "why", "%inner", *given)
    assert (
        "plan_memory: written by step 0.body/0, dot_tanh" in out
        and "the buffer that 0.body is given for output 0" in out
    )
    assert "lives    from step 0.body/0 (dot_tanh), which writes it, to the end of a turn" in out
    assert "are computed by one kernel" in ran(capsys, "why-not", "fuse", "%inner", "%product", *given)[0]
    assert "are not of one program" in ran(capsys, "why-not", "fuse", "%inner", "%x", *given)[0]
    picked, _ = ran(capsys, "dump", *given, "--level=planned", "--locs=none", "--select=product")
    lines = picked.splitlines()
    assert lines[0].lstrip().startswith("%inner: ") and lines[-1].strip() == "}"  # the whole kernel, and only that
    assert sum(line.strip() == "}" for line in lines) == picked.count(" = fuse ")
