"""Protects the command line: every command, every level and view, and the exit code and message of every error."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from commands import NET, SHAPES, ran

from symc.cli import main
from symc.cli.arguments import parse_shapes
from symc.codegen.target import TARGET_NAMES
from symc.passes.pipeline import PASSES
from symc.settings import VARIABLES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:net"


# --------------------------------------------------------------------------------------------- dump


@pytest.mark.parametrize("level", ["symbol", "tensor", "fused", "planned", "loop"])
@pytest.mark.parametrize("train", [False, True])
def test_dump_at_every_level_parses_back(capsys, net: str, tmp_path: Path, level: str, train: bool) -> None:
    out, err = ran(capsys, "dump", net, "--level", level, *SHAPES, *(["--train"] if train else []))
    assert err == "" and out.startswith(f"symc ir 1 level={level}\n")
    file = tmp_path / "again.sir"
    file.write_text(out)
    assert ran(capsys, "dump", str(file))[0] == out


def test_dump_without_a_level_is_the_input_itself(capsys, net: str) -> None:
    assert ran(capsys, "dump", net)[0].startswith("symc ir 1 level=symbol")
    assert "FullyConnected(%data, %fc1_weight, %fc1_bias)" in ran(capsys, "dump", net)[0]


def test_program_is_another_word_for_planned(capsys, net: str) -> None:
    program = ran(capsys, "dump", net, "--level=program", *SHAPES)
    assert program == ran(capsys, "dump", net, "--level=planned", *SHAPES)


def test_train_has_gradients_of_the_parameters_only(capsys, net: str) -> None:
    out, _ = ran(capsys, "dump", net, "--level=tensor", "--train", *SHAPES)
    assert re.findall(r"^ +(\w+)\.grad: ", out, re.M) == ["fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"]


def test_the_code_of_another_machine_is_printed(capsys, net) -> None:
    arm, _ = ran(capsys, "dump", net, "--level=asm", "--target=aarch64", *SHAPES)
    assert "fmla" in arm and "mm0" not in arm
    narrow, _ = ran(capsys, "dump", net, "--level=loop", "--target=baseline", *SHAPES)
    assert "vector=4" in narrow and "vector=8" not in narrow
    with pytest.raises(SystemExit):
        ran(capsys, "dump", net, "--target=vax", *SHAPES)
    assert "'vax' is none of avx512, avx2, aarch64, baseline" in capsys.readouterr().err


def test_dump_native_code(capsys, net: str) -> None:
    out, _ = ran(capsys, "dump", net, "--level=llvm", *SHAPES)
    assert "define" in out and "; ----- k0" in out
    out, _ = ran(capsys, "dump", net, "--level=asm", "--select=softmax", *SHAPES)
    assert out.count("# -----") == 1 and "ret" in out
    assert "text only" in ran(capsys, "dump", net, "--level=llvm", "--format=dot", *SHAPES, code=2)[1]


def test_after(capsys, net: str) -> None:
    out, _ = ran(capsys, "dump", net, "--after=decompose", *SHAPES)
    assert "custom_grad" in out
    assert "custom_grad" not in ran(capsys, "dump", net, "--after=inline#0", *SHAPES)[0]
    _, err = ran(capsys, "dump", net, "--after=inline#1", *SHAPES, code=2)
    assert "pass inline does not run 2 times on this input; these do: decompose, batch, inline" in err
    assert "'x' is not a number" in ran(capsys, "dump", net, "--after=inline#x", *SHAPES, code=2)[1]


def test_select(capsys, net: str) -> None:
    out, _ = ran(capsys, "dump", net, "--level=tensor", "--select=relu*", "--locs=none", *SHAPES)
    assert out == "  %relu1: f32[4,8] = relu(%fc1)\n"
    by_symbol, _ = ran(capsys, "dump", net, "--level=tensor", "--select=fc1", "--locs=short", *SHAPES)
    assert [line.split(":")[0].strip() for line in by_symbol.splitlines()] == ["%fc1.dot", "%fc1.broadcast", "%fc1"]
    assert all("// fc1 net.py:5" in line for line in by_symbol.splitlines())
    assert "no value and no Symbol matches 'zzz'" in ran(capsys, "dump", net, "--select=zzz", code=1)[1]


def test_locs(capsys, net: str) -> None:
    full, _ = ran(capsys, "dump", net, "--level=tensor", *SHAPES)
    short, _ = ran(capsys, "dump", net, "--level=tensor", "--locs=short", *SHAPES)
    none, _ = ran(capsys, "dump", net, "--level=tensor", "--locs=none", *SHAPES)
    assert 'FullyConnected at "' in full and "!1" in full
    assert "!" not in short and "// relu1 net.py:6" in short
    assert "!" not in none and "//" not in none


def test_memory(capsys, net: str) -> None:
    out, _ = ran(capsys, "dump", net, "--memory", "--train", *SHAPES)
    lines = out.splitlines()
    heads = ["step", "kernel", "form", "writes", "place", "bytes", "Symbol", "line", "not in place"]
    assert re.split(r"  +", lines[0].strip()) == heads
    assert any("out.0" in line and "softmax" in line and "net.py:8" in line for line in lines)
    assert any(" row[4,3 | 1] " in line for line in lines)
    assert re.fullmatch(r"arena \d+ B, -?\d+% less than .*; the largest live set is \d+ B", lines[-1])
    assert "--memory needs a program" in ran(capsys, "dump", net, "--memory", "--level=tensor", *SHAPES, code=2)[1]


@pytest.mark.parametrize("level", ["symbol", "tensor", "fused", "planned"])
def test_drawings(capsys, net: str, level: str) -> None:
    dot, _ = ran(capsys, "dump", net, "--level", level, "--format=dot", "--train", *SHAPES)
    assert dot.startswith("digraph ") and dot.rstrip().endswith("}") and " -> " in dot
    svg, _ = ran(capsys, "dump", net, "--level", level, "--format=svg", "--train", *SHAPES)
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = [[float(r.get(k, 0)) for k in ("x", "y", "width", "height")] for r in root.findall(".//{*}rect")]
    assert len(boxes) == dot.count("fillcolor")
    for at, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x and x + w <= width and 0 <= y and y + h <= height
        for x2, y2, w2, h2 in boxes[at + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, "two boxes overlap"


def test_loops_cannot_be_drawn(capsys, net: str) -> None:
    assert "can be drawn" in ran(capsys, "dump", net, "--level=loop", "--format=svg", *SHAPES, code=2)[1]


def test_text_goes_on_from_its_own_level(capsys, net: str, tmp_path: Path) -> None:
    tensor, fused, planned = (tmp_path / f"{name}.sir" for name in ("tensor", "fused", "planned"))
    for file, level in ((tensor, "tensor"), (fused, "fused"), (planned, "planned")):
        assert ran(capsys, "dump", net, "--level", level, "-o", str(file), *SHAPES) == ("", "")
    assert ran(capsys, "dump", str(fused), "--level=planned")[0] == planned.read_text()
    direct, _ = ran(capsys, "dump", net, "--level=loop", "--locs=none", *SHAPES)
    assert ran(capsys, "dump", str(planned), "--level=loop", "--locs=none")[0] == direct
    assert ran(capsys, "dump", str(tensor), "--level=fused", "--locs=none")[0].count("fuse ") >= 2
    assert "is program IR already (planned)" in ran(capsys, "dump", str(planned), "--level=tensor", code=2)[1]


def test_the_text_of_scheduled_loops_becomes_the_same_native_code(capsys, net: str, tmp_path: Path) -> None:
    file = tmp_path / "loop.sir"
    ran(capsys, "dump", net, "--level=loop", "--train", "-o", str(file), *SHAPES)
    direct, _ = ran(capsys, "dump", net, "--level=llvm", "--train", *SHAPES)
    assert "define" in direct and ran(capsys, "dump", str(file), "--level=llvm")[0] == direct


@pytest.mark.parametrize("train", [False, True])
def test_what_is_dumped_at_any_point_goes_on_to_machine_code(capsys, tmp_path: Path, train: bool) -> None:
    """The kind: after every pass, to loops and to machine code; and from a level on it is the same code. Sums of 100
    terms are blocked in training and not in prediction, which texts on the way do not say in so many words."""
    (tmp_path / "long.py").write_text(NET.replace("num_hidden=8", "num_hidden=100"))
    net, flags = f"{tmp_path / 'long.py'}:net", ["--train"] if train else []
    loops, assembly = (
        ran(capsys, "dump", net, f"--level={level}", "--locs=none", *SHAPES, *flags)[0] for level in ("loop", "asm")
    )
    file = tmp_path / "point.sir"
    for pass_ in ("inline", "simplify", "fuse", "schedule", "own_results", "plan_memory", "lower", "tile"):
        assert ran(capsys, "dump", net, f"--after={pass_}", "-o", str(file), *SHAPES, *flags) == ("", "")
        again, _ = ran(capsys, "dump", str(file), "--level=loop", "--locs=none")
        code, _ = ran(capsys, "dump", str(file), "--level=asm")
        if pass_ not in ("inline", "simplify"):
            assert again == loops and code == assembly, pass_
        assert "scheduled" in again and code.count("# -----") == again.count("kernel @")
    assert ran(capsys, "opt", str(file), "-p", "choose,tile,choose{block=2},tile")[0] == file.read_text()


def test_arguments_that_contradict_each_other_are_told(capsys, net: str) -> None:
    _, err = ran(capsys, "dump", net, "--after=fuse", "--level=loop", *SHAPES, code=2)
    assert "--after=fuse and --level=loop both say where to stop; give one of them" in err
    _, err = ran(capsys, "dump", net, "--memory", "--format=dot", *SHAPES, code=2)
    assert "--memory is drawn by --format=table or svg or png or html, not dot" in err
    _, err = ran(capsys, "dump", net, "--after=fuse", "--level=asm", *SHAPES, code=2)
    assert "--level=asm needs loops, but --after=fuse gives program IR" in err
    scalar, _ = ran(capsys, "dump", net, "--after=lower", "--level=llvm", *SHAPES)
    assert "define" in scalar and "<8 x float>" not in scalar


def test_a_file_brings_its_own_passes(capsys, net: str, tmp_path: Path) -> None:
    own = """
from symc.passes.pipeline import Pass, register_pass

@register_pass("own_of_file", optional=True)
class Own(Pass):
    def run(self, graph, rw):
        return graph
"""
    (tmp_path / "own.py").write_text(NET + own)
    try:
        out, err = ran(
            capsys, "opt", f"{tmp_path / 'own.py'}:net", "-p", "decompose,own-of-file", *SHAPES,
            "--print-ir-after-change",
        )  # fmt: skip
        assert "after own_of_file: unchanged" in err and out
    finally:
        del PASSES["own_of_file"]


def test_a_state_of_a_program_is_where_it_is(capsys, net: str, tmp_path: Path) -> None:
    """A fused program is fused, a planned one is not any more; programs that lack something say what."""
    fused, planned = (tmp_path / f"{name}.sir" for name in ("fused", "planned"))
    for file in (fused, planned):
        ran(capsys, "dump", net, f"--level={file.stem}", "-o", str(file), *SHAPES)
    assert ran(capsys, "dump", str(fused), "--level=fused")[0] == fused.read_text()
    assert ran(capsys, "dump", str(planned), "--level=program")[0] == planned.read_text()
    _, err = ran(capsys, "dump", str(planned), "--level=fused", code=2)
    assert "the input is program IR already (planned); it cannot be shown at the level fused" in err
    _, err = ran(capsys, "opt", str(fused), "-p", "lower", code=2)
    assert re.search(
        "pass lower requires that the program IR is planned, but %.* has no place in memory; plan_memory", err
    )
    _, err = ran(capsys, "opt", net, "-p", "decompose,inline,fuse,lower", *SHAPES, code=2)
    assert "which it is not after fuse; put plan_memory between them" in err
    assert "requires: planned\nbreaks: chosen, scheduled\n" in ran(capsys, "passes", "lower")[0]


def test_a_typed_symbol_graph_compiles_from_its_text(capsys, net: str, tmp_path: Path) -> None:
    file = tmp_path / "symbol.sir"
    ran(capsys, "dump", net, "--level=symbol", "-o", str(file), *SHAPES)
    again, _ = ran(capsys, "dump", str(file), "--level=planned", "--train", "--locs=none")
    assert again == ran(capsys, "dump", net, "--level=planned", "--train", "--locs=none", *SHAPES)[0]
    ran(capsys, "dump", net, "--level=symbol", "-o", str(file))
    assert "gives no types for data" in ran(capsys, "dump", str(file), "--level=tensor", code=2)[1]
    file.write_text(file.read_text().replace("= Activation(", "= Activatoin("))
    assert "no operator 'Activatoin'" in ran(capsys, "dump", str(file), code=3)[1]


def test_symbol_json(capsys, net: str, tmp_path: Path) -> None:
    import symc as mx

    symbol = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc")
    file = tmp_path / "m-symbol.json"
    symbol.save(str(file))
    assert "%fc = FullyConnected" in ran(capsys, "dump", str(file))[0]
    file.write_text("{}")
    assert "not a symbol JSON" in ran(capsys, "dump", str(file), code=3)[1]


# --------------------------------------------------------------------------------------------- opt


def test_opt(capsys, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start, _ = ran(capsys, "dump", net, "--after=decompose", *SHAPES)
    monkeypatch.setattr(sys, "stdin", io.StringIO(start))
    out, err = ran(capsys, "opt", "-", "-p", "inline,simplify,fuse{max-ops=2}", "--timing", "--pass-statistics")
    assert out.startswith("symc ir 1 level=fused") and "fuse{max-ops=2}" in err and "inline/custom_grad" in err


def test_opt_prints_programs_on_the_way(capsys, net: str, tmp_path: Path) -> None:
    pipeline = ["-p", "decompose,inline,layout", *SHAPES]
    out, err = ran(capsys, "opt", net, *pipeline, "--print-ir-after-all")
    assert re.findall(r"----- (.*) -----", err) == ["after decompose", "after inline", "after layout"]
    assert err.rstrip().endswith(out.rstrip())
    _, err = ran(capsys, "opt", net, *pipeline, "--print-ir-before-all")
    assert re.findall(r"----- (.*) -----", err)[0] == "before decompose"
    _, err = ran(capsys, "opt", net, *pipeline, "--print-ir-after-change")
    assert "after layout: unchanged" in err
    _, err = ran(capsys, "opt", net, *pipeline, "--print-ir-after=inline", "--print-ir-before=layout")
    assert re.findall(r"----- (.*) -----", err) == ["after inline", "before layout"]
    ran(capsys, "opt", net, *pipeline, "--print-ir-tree-dir", str(tmp_path / "tree"), "-o", str(tmp_path / "out.sir"))
    assert [f.name for f in sorted((tmp_path / "tree").iterdir())] == [
        "00-input.sir", "01-decompose.sir", "02-inline.sir", "03-layout.sir",
    ]  # fmt: skip
    assert (tmp_path / "out.sir").read_text() == (tmp_path / "tree" / "03-layout.sir").read_text()
    assert "no pass 'inlin'" in ran(capsys, "opt", net, *pipeline, "--print-ir-after=inlin", code=2)[1]


def test_opt_bisect(capsys, net: str) -> None:
    pipeline = ["-p", "decompose,inline,simplify,fuse", *SHAPES]
    outputs = [ran(capsys, "opt", net, *pipeline, f"--bisect-limit={n}") for n in (0, 1, 1000)]
    assert "bisect: 0 of" in outputs[0][1] and "bisect: 1 of" in outputs[1][1]
    assert outputs[2][0] == ran(capsys, "opt", net, *pipeline)[0] != outputs[0][0]


def test_opt_refuses_what_does_not_fit(capsys, net: str) -> None:
    assert "pass fuse takes tensor IR" in ran(capsys, "opt", net, "-p", "fuse", *SHAPES, code=2)[1]
    _, err = ran(capsys, "opt", net, "-p", "decompose,simplifi", *SHAPES, code=2)
    assert "did you mean simplify?" in err and err.splitlines()[-1].index("^") == err.splitlines()[-2].index("simplifi")


# --------------------------------------------------------------------------------------------- passes, ops


def test_passes(capsys) -> None:
    out, _ = ran(capsys, "passes")
    assert {"decompose", "autodiff", "simplify", "fuse", "plan_memory", "tile"} <= {
        line.split()[0] for line in out.splitlines()
    }
    out, _ = ran(capsys, "passes", "plan-memory")
    assert "align=64" in out and out.startswith("plan_memory: program -> program")
    assert "did you mean fuse" in ran(capsys, "passes", "fusee", code=2)[1]


def test_ops(capsys) -> None:
    out, _ = ran(capsys, "ops")
    assert any(line.startswith("FullyConnected ") for line in out.splitlines())
    out, _ = ran(capsys, "ops", "FullyConnected")
    assert out.startswith("FullyConnected(data, weight, bias, num_hidden, no_bias=False, flatten=True)\n")
    assert "\nshapes: Data (N, *S) needs weight (num_hidden, prod(S))" in out and "\ngradient: yes\n" in out
    assert "\nalso: crop\n" in ran(capsys, "ops", "slice")[0]
    assert "did you mean FullyConnected" in ran(capsys, "ops", "FullConnected", code=2)[1]


# --------------------------------------------------------------------------------------------- errors


def test_usage(capsys) -> None:
    for arguments in (
        ["dump"],
        ["dump", "x.sir", "--level=q"],
        ["frobnicate"],
        ["dump", "x.sir", "--shapes=3"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert err.endswith("--help shows what there is\n") and err.count("\n") == 2
    assert main([]) == 0 and "usage: symc" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out.startswith("symc ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opt", "x.sir", "-p", "fuse", "--bisect-limit", "-5"], "--bisect-limit: must be at least -1, got -5"),
        (["opt", "x.sir", "-p", "fuse", "--bisect-limit=x"], "--bisect-limit: 'x' is not a whole number"),
        (["run", "m-symbol.json", "--top", "0"], "--top: must be at least 1, got 0"),
        (["run", "m-symbol.json", "--top=-3"], "--top: must be at least 1, got -3"),
        (["bench", "--rounds", "0"], "--rounds: must be at least 1, got 0"),
        (["bench", "--threads", "-1"], "--threads: must be at least 1, got -1"),
        (["demo", "--batch", "0"], "--batch: must be at least 1, got 0"),
        (["demo", "--batch", "100000"], "--batch: must be at most 359, got 100000"),
        (["demo", "--epochs", "-3"], "--epochs: must be at least 1, got -3"),
        (["demo", "--seed", "-1"], "--seed: must be at least 0, got -1"),
        (["dump", "x.sir", "--shapes", "data=-1x6"], "'-1x6' is not a shape"),
        (["run", "m-symbol.json", "--shapes", "data=3x-2"], "'3x-2' is not a shape"),
    ],
)
def test_numbers_out_of_range_are_usage_errors(capsys, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert message in err and ("--help shows what" in err or "usage: symc" in err) and "Traceback" not in err


def test_every_number_of_every_command_has_a_range() -> None:
    """The kind: no argument of any command is read by a bare int or float."""
    for file in (ROOT / "symc").rglob("*.py"):
        assert not re.search(r"type=(int|float)\b", file.read_text()), file


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SYMC_NUM_THREADS", "abc", "SYMC_NUM_THREADS='abc': expected a whole number, 1 or more"),
        ("SYMC_NUM_THREADS", "0", "SYMC_NUM_THREADS='0': expected a whole number, 1 or more"),
        ("SYMC_TARGET", "abc", f"unknown target 'abc': expected one of {', '.join(TARGET_NAMES)}; correct SYMC_TARGET"),
        ("SYMC_CACHE", "off", "SYMC_CACHE='off': expected 0 or 1"),
    ],
)
def test_variables_that_make_no_sense_are_usage_errors(tmp_path: Path, variable: str, value: str, message: str) -> None:
    (tmp_path / "one.py").write_text("import symc as mx\n\nrelu = mx.sym.relu(mx.sym.Variable('x'))\n")
    command = [sys.executable, "-m", "symc", "run", f"{tmp_path / 'one.py'}:relu", "--input", "x=2x3"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, variable: value})
    assert done.returncode == 2 and done.stderr.strip() == f"symc: {message}"


def test_every_variable_is_documented(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    page = (ROOT / "symc" / "docs" / "settings.md").read_text()
    sources = [file.read_text() for folder in ("ir", "passes", "symc") for file in (ROOT / folder).rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"\bSYMC_[A-Z_]+\b", source)}
    assert read == {name for name in VARIABLES if name.startswith("SYMC")}
    for name in VARIABLES:
        assert name in shown and f"`{name}`" in page


def test_shapes_text() -> None:
    assert parse_shapes("data=32x784,label=32,s=") == {"data": (32, 784), "label": (32,), "s": ()}


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("nett", "has no 'nett'; it has", 3),
        ("number", "net.py:number gives int, which is not a Symbol or a program", 3),
    ],
)
def test_bad_names(capsys, net: str, name: str, message: str, code: int) -> None:
    assert message in ran(capsys, "dump", net.replace(":net", f":{name}"), code=code)[1]


def test_unreadable_inputs(capsys, tmp_path: Path) -> None:
    assert "no such file" in ran(capsys, "dump", str(tmp_path / "no.py:net"), code=3)[1]
    assert "No such file" in ran(capsys, "dump", str(tmp_path / "no.sir"), code=3)[1]
    assert "cannot read 'zzz'" in ran(capsys, "dump", "zzz", code=2)[1]
    assert "cannot import no_such_module" in ran(capsys, "dump", "no_such_module:net", code=3)[1]
    (tmp_path / "bad.py").write_text("1/0")
    assert "failed when it was run: ZeroDivisionError" in ran(capsys, "dump", str(tmp_path / "bad.py:net"), code=3)[1]
    (tmp_path / "bad.sir").write_text(
        "symc ir 1 level=tensor\nfunc @f(%x: f32[2] arg) -> (o: f32[2]) {\n  %y: f32[2] = exq(%x)\n"
    )
    _, err = ran(capsys, "dump", str(tmp_path / "bad.sir"), code=3)
    assert f"{tmp_path / 'bad.sir'}:3:16: " in err and "did you mean" in err and "^" in err


def test_missing_shapes(capsys, net: str) -> None:
    assert "give --shapes data=..." in ran(capsys, "dump", net, "--level=tensor", code=2)[1]
    _, err = ran(capsys, "dump", net, "--level=tensor", "--shapes=dada=4x6", code=2)
    assert "no argument dada; it has data, fc1_weight" in err


BROKEN = """symc ir 1 level=tensor
func @f(%x: f32[2] arg !1) -> (o: f32[2]) {
  %y: f32[2] = exp(%x)
  return %y
}
!1 = sym "x" Variable
"""


def test_the_verifier_has_its_exit_code(capsys, tmp_path: Path) -> None:
    (tmp_path / "broken.sir").write_text(BROKEN)
    assert "the verifier rejects" in ran(capsys, "dump", str(tmp_path / "broken.sir"), code=4)[1]
    out, _ = ran(capsys, "opt", str(tmp_path / "broken.sir"), "-p", "layout", "--no-verify-each")
    assert "exp(%x)" in out


def test_a_pass_that_refuses(capsys, net: str) -> None:
    """Its message, the pass, and a file that shows the same again."""
    _, err = ran(capsys, "opt", net, "-p", "decompose,autodiff{wrt=q}", *SHAPES, code=5)
    assert "'q' is not an argument" in err and "in pass autodiff{wrt=q}" in err
    (path,) = re.findall(r"reproducer: (\S+)", err)
    assert f"// RUN: symc replay {Path(path).name}" in Path(path).read_text()
    assert "'q' is not an argument" in ran(capsys, "replay", path, code=1)[0]


def test_an_internal_error_names_its_place_and_a_reproducer(capsys, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What code from outside raises is told as that of the pass."""
    from symc.passes.tensor import simplify

    def crash(*_: object) -> None:
        raise KeyError("gone")

    def told() -> str:
        _, err = ran(capsys, "dump", net, "--level=tensor", *SHAPES, code=6)
        assert "in pass simplify" in err and "reproducer: " in err
        return err

    monkeypatch.setattr(simplify, "rewrite", None)
    assert re.search(r"internal error: TypeError: .* \(at simplify.py:", told())
    monkeypatch.setattr(simplify.Simplify, "run", crash)
    assert re.search(r"the pass raises KeyError: 'gone' \(\S*test_cli.py:\d+ in crash\)", told())


def test_module_and_broken_pipe(net: str) -> None:
    """As a process: `python -m symc`, and a reader that stops reading."""
    done = subprocess.run([sys.executable, "-m", "symc", "passes"], capture_output=True, text=True, check=True)
    assert "plan_memory" in done.stdout
    process = subprocess.Popen(
        [sys.executable, "-m", "symc", "ops"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0


def test_heavy_modules_are_not_imported_for_light_commands() -> None:
    code = "import sys; from symc.cli import main; main(['passes']); sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
