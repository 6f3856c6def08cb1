"""Protects what is seen of a run: where nan arises, and what inner values are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import ran

from symc.passes.manager.manager import PASSES

NETS = """
import symc as mx

x = mx.sym.Variable("data")
w = mx.sym.Variable("w", shape=(1,))
maths = mx.sym.sum(mx.sym.log(x, name="lg") * 2, name="s")
over = mx.sym.sum(mx.sym.exp(x * 100, name="big"), name="s")
hidden = mx.sym.sum(mx.sym.where(x > 1e9, mx.sym.log(x - 9, name="lg"), x), name="s")
root = mx.sym.sqrt(mx.sym.broadcast_mul(x, w) * 0, name="root")
slope = mx.sym.MakeLoss(root, name="loss")
hid = mx.sym.FullyConnected(x, name="hid", num_hidden=5)
act = mx.sym.relu(hid, name="act")
fine = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(act, name="out", num_hidden=3), name="softmax")
"""
SPOILS = """
from symc.ir.prims import elementwise as ew
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, register_pass
def spoil(node):
    return ew.log(ew.sub(node.inputs[0], 100.0)) if node.op == ew.relu else None
@register_pass("spoils")
class Spoils(Pass):
    '''relu(x) -> log(x - 100): nan.'''
    def run(self, graph, rw):
        return rewrite(graph, [Rule("spoil", spoil)], rw)
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    return f"{tmp_path / 'nets.py'}:"


GIVEN = ["--shapes=data=2x3", "--inputs=seed=0"]


@pytest.mark.parametrize(
    "net, words",
    [
        ("maths", ["your maths: %lg is nan at [0, 0] (5 of 6", "log(%data = -0.17", "'lg' (log), ", "nets.py:6"]),
        ("over", ["your maths: %big is inf at [1, 0] (1 of 6", "exp(%_mulscalar", "'big' (exp), ", "nets.py:7"]),
    ],
)
def test_nan_guard_finds_where_it_begins(capsys, nets: str, net: str, words: list[str]) -> None:
    """Value, operator, what it was given at that element, Symbol and line."""
    out, _ = ran(capsys, "run", nets + net, *GIVEN, "--nan-guard", code=1)
    assert all(word in out for word in words), out


def test_nan_guard_knows_gradients(capsys, nets: str) -> None:
    """The values are fine, and the slope of a root at zero is not: the forward Symbol is named."""
    fine, _ = ran(capsys, "run", nets + "slope", *GIVEN, "--nan-guard")
    assert "every result is finite" in fine
    out, _ = ran(capsys, "run", nets + "slope", *GIVEN, "--train", "--nan-guard", code=1)
    assert "your maths" in out and "the gradient of 'root' (sqrt), " in out and "nets.py:9" in out


def test_nan_guard_minds_results_only(capsys, nets: str, tmp_path: Path) -> None:
    """What nobody takes may be nan; what is given as nan is the input's fault."""
    ran(capsys, "run", nets + "hidden", *GIVEN, "--nan-guard")
    np.save(tmp_path / "x.npy", np.array([[1, 2, np.nan], [np.inf, 0, 0]]))
    out, _ = ran(
        capsys, "run", nets + "fine", f"--input=data={tmp_path / 'x.npy'}", "--inputs=ones", "--nan-guard", code=1
    )
    assert out.startswith("the input: %data is nan at [0, 2] (2 of 6")


@pytest.mark.parametrize("level", ["tensor", "planned", "loop"])
def test_nan_guard_takes_programs(capsys, nets: str, tmp_path: Path, level: str) -> None:
    file = str(tmp_path / "p.sir")
    ran(capsys, "dump", nets + "maths", "--shapes=data=2x3", f"--level={level}", "-o", file)
    out, _ = ran(capsys, "run", file, "--nan-guard", code=1)
    assert "your maths: %" in out and " is nan" in out and "nets.py:6" in out


def test_nan_guard_blames_a_pass(capsys, nets: str, tmp_path: Path) -> None:
    (tmp_path / "spoils.py").write_text(SPOILS)
    load = ["--load", str(tmp_path / "spoils.py"), "--insert=simplify+spoils"]
    try:
        out, _ = ran(capsys, "run", nets + "fine", *GIVEN, *load, "--nan-guard", code=1)
    finally:
        PASSES.pop("spoils", None)
    assert out.startswith("pass spoils: %act is nan") and "'act' (relu), " in out and "log(" in out


def test_probes_show_inner_values(capsys, nets: str, tmp_path: Path) -> None:
    """By name, or by Symbol; they are what the interpreter computes, not memory that was used again."""
    where = str(tmp_path / "o.npz")
    net = ["run", nets + "fine", *GIVEN, "-o", where]
    plain, _ = ran(capsys, *net)
    out, _ = ran(capsys, *net, "--probe=act", "--probe=hid*", "--compare=ref")
    assert out.startswith(plain) and "agrees with the interpreter" in out
    made = dict(np.load(where))
    assert {"probe.act", "probe.hid", "probe.hid.dot"} <= set(made)
    np.testing.assert_array_equal(made["probe.act"], np.maximum(made["probe.hid"], 0))
    ran(capsys, *net, "--train", "--probe=out.dot*", "--compare=ref")
    made = dict(np.load(where))
    assert {"probe.out.dot", "hid_weight.grad"} <= set(made) and len([n for n in made if n.startswith("probe.")]) > 1
    assert "no value and no Symbol matches 'nothing*'" in ran(capsys, *net, "--probe=nothing*", code=2)[1]


def test_probes_need_a_graph(capsys, nets: str, tmp_path: Path) -> None:
    file = str(tmp_path / "p.sir")
    ran(capsys, "dump", nets + "fine", "--shapes=data=2x3", "--level=planned", "-o", file)
    assert "probe its Symbol" in ran(capsys, "run", file, "--probe=act", code=2)[1]


def test_nan_guard_looks_at_machine_code(capsys, nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every interpreter is fine, and what runs is not."""
    from symc.cli import execute
    from symc.ir.tensor.interp import Results

    made = Results({"softmax_output": np.array([[0.5, np.nan]])})
    monkeypatch.setattr(execute, "run_native", lambda loops, values: made)
    out, _ = ran(capsys, "run", nets + "fine", *GIVEN, "--nan-guard", code=1)
    assert out == "machine code: %softmax_output is nan at [0, 1] (1 of 2 elements are not finite)\n"


@pytest.mark.parametrize("level", ["tensor", "fused", "planned", "loop"])
def test_nan_guard_blames_the_input_of_a_program(capsys, nets: str, tmp_path: Path, level: str) -> None:
    """And names the operands, where the input is not to blame."""
    path = str(tmp_path / f"{level}.sir")
    ran(capsys, "dump", f"{nets}maths", "--shapes=data=2x3", f"--level={level}", "-o", path)
    data = np.ones((2, 3), np.float32)
    for value, told in (
        (np.nan, "the input: %data is nan at [1, 2] (1 of 6"),
        (-5.0, "your maths: %"),
    ):
        data[1, 2] = value
        np.savez(tmp_path / "data.npz", data=data)
        out, _ = ran(capsys, "run", path, "--inputs", str(tmp_path / "data.npz"), "--nan-guard", code=1)
        assert out.startswith(told)
    assert "(%data " in out.partition("operator")[2] and "nets.py:6" in out


def test_what_a_loop_computes_cannot_be_probed(capsys, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(
        "import symc as mx\n\n\ndef body(x, s):\n    made = mx.sym.tanh(x + s, name='inner')\n    return made, made\n\n"
        "net = mx.sym.contrib.foreach(body, mx.sym.Variable('x'), mx.sym.Variable('s'))[0]\n"
    )
    given = ["run", f"{tmp_path / 'loop.py'}:net", "--shapes", "x=3x2,s=2", "--inputs=ones"]
    assert "what matches 'inner' is computed in every turn of a loop" in ran(capsys, *given, "--probe=inner", code=2)[1]
    assert "no value and no Symbol matches 'other'" in ran(capsys, *given, "--probe=other", code=2)[1]
