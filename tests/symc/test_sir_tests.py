"""Protects tests that are programs: what meets an expectation and what does not, in pytest and in `symc test`, and that
wrong numbers are seen and never written down as right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ran

from symc.debug.sirtest import problems_of, read_test, updated
from symc.ir.errors import ParseError
from symc.ir.prims import elementwise as ew
from symc.passes.manager.manager import PASSES, Pass, register_pass
from symc.passes.manager.rewrite import Rule, rewrite

ROOT = Path(__file__).parents[2]
BODY = """symc ir 1 level=tensor
func @f(%x: f32[2,3] data) -> (y: f32[2,3]) {
  %a: f32[2,3] = neg(%x) !1
  %b: f32[2,3] = neg(%a) !1
  %y: f32[2,3] = exp(%b) !2
  return %y
}
!1 = sym "a" negative
!2 = sym "y" exp
"""


OUTSIDE = """
from symc.ir.prims import elementwise as ew
from symc.passes.manager.rewrite import Rule, rewrite
from symc.passes.pipeline import Pass, register_pass


@register_pass("wrong_exp")
class WrongExp(Pass):
    def run(self, module, rw):
        return rewrite(module, [Rule("wrong", lambda node: ew.log(node.inputs[0]), (type(ew.exp),))], rw)
"""


def text(*lines: str, run: str = "opt -p simplify") -> str:
    return "\n".join([f"// RUN: {run}", *(f"// {line}" for line in lines), BODY])


@pytest.fixture
def wrong() -> Iterator[None]:
    """A pass that computes something else."""

    @register_pass("wrong_exp")
    class WrongExp(Pass):
        def run(self, module, rw):
            return rewrite(module, [Rule("wrong", lambda node: ew.log(node.inputs[0]), (type(ew.exp),))], rw)

    yield
    del PASSES["wrong_exp"]


@pytest.mark.parametrize(
    "lines",
    [
        ["CHECK: %y: f32[2,3] = exp(%x)", "CHECK: return %y"],
        ["CHECK:   %y:   f32[2,3]  = exp(%x)", "CHECK-NOT: neg"],
        ["CHECK-NOT: neg", "CHECK: %y: f32[{{[0-9,]+}}] = exp({{%[a-z]}})"],
        ["CHECK-STATS: simplify/twice=1", "CHECK-STATS: simplify=1", "CHECK-STATS: fuse=0"],
    ],
)
def test_what_is_met(lines: list[str]) -> None:
    assert problems_of(read_test(text(*lines))) == []


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["CHECK: %z"], "line 2: CHECK: %z\n  does not stand in the rest of the result"),
        (["CHECK: return", "CHECK: exp"], "line 3: CHECK: exp\n"),
        (["CHECK-NOT: exp"], "line 2: CHECK-NOT: exp\n  stands in the result: %y: f32[2,3] = exp(%x)"),
        (["CHECK: func", "CHECK-NOT: exp", "CHECK: return"], "CHECK-NOT: exp\n  stands in the result"),
        (["CHECK-STATS: simplify/twice=2"], "line 2: CHECK-STATS: simplify/twice=2\n  there were 1"),
        (["CHECK-STATS: many"], "expected PASS=N or PASS/RULE=N"),
    ],
)
def test_what_is_not_met(lines: list[str], problem: str) -> None:
    (found,) = problems_of(read_test(text(*lines)))
    assert problem in found


def test_wrong_numbers_are_seen_without_being_asked_for(wrong: None) -> None:
    (found,) = problems_of(read_test(text("CHECK: log", run="opt -p wrong-exp")))
    assert found.startswith("the numbers are wrong: values after wrong_exp")


def test_expectations_are_written_anew() -> None:
    test = read_test(text("CHECK: %z", "CHECK-NOT: neg", "CHECK-STATS: simplify/twice=7"))
    now = updated(test)
    assert problems_of(read_test(now)) == [] and "// CHECK-NOT: neg\n" in now and "simplify/twice=1\n" in now
    assert updated(read_test(now)) == now


def test_wrong_numbers_and_what_is_forbidden_are_not_written(wrong: None) -> None:
    with pytest.raises(ParseError, match="the numbers are wrong, so nothing is written"):
        updated(read_test(text("CHECK: %z", run="opt -p wrong-exp")))
    with pytest.raises(ParseError, match="line 2: it stands what CHECK-NOT forbids: exp"):
        updated(read_test(text("CHECK-NOT: exp")))


@pytest.mark.parametrize(
    ("run", "problem"),
    [("dump -p simplify", "expected opt -p"), ("opt", "expected -p"), ("opt -p simplify --fast", "--fast")],
)
def test_run_lines_that_are_not_understood(run: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        problems_of(read_test(text(run=run)))


def test_the_command_tells_each_file(capsys, tmp_path: Path) -> None:
    (tmp_path / "good.sir").write_text(text("CHECK: exp"))
    (tmp_path / "bad.sir").write_text(text("CHECK: log"))
    (tmp_path / "program.sir").write_text(BODY)
    out, err = ran(capsys, "test", str(tmp_path), code=1)
    assert (
        f"FAIL  {tmp_path / 'bad.sir'}\n      line 2: CHECK: log\n" in out and f"ok    {tmp_path / 'good.sir'}\n" in out
    )
    assert "program.sir" not in out and err == "1 of 2 pass\n"
    assert ran(capsys, "test", str(tmp_path), "--update")[1] == "2 of 2 pass\n"
    (tmp_path / "none").mkdir()
    assert "no .sir file with a RUN line" in ran(capsys, "test", str(tmp_path / "none"), code=2)[1]


def test_pytest_collects_them(tmp_path: Path) -> None:
    (tmp_path / "good.sir").write_text(text("CHECK: exp"))
    (tmp_path / "bad.sir").write_text(text("CHECK: log"))
    (tmp_path / "program.sir").write_text(BODY)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["symc.debug.pytest_plugin"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran_ = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "bad.sir: line 2: CHECK: log" in ran_.stdout and "1 failed, 1 passed" in ran_.stdout
    again = subprocess.run([*command, "--sir-update"], cwd=ROOT, capture_output=True, text=True)
    assert "2 passed" in again.stdout, again.stdout


def test_a_model_is_split_into_tests_of_its_kernels(capsys, tmp_path: Path) -> None:
    """Every kind of kernel once, on the values that it has in the model; a wrong pass makes those fail that it is wrong
    in."""
    (tmp_path / "net.py").write_text(
        "import symc as mx\n"
        "x = mx.sym.Variable('data')\n"
        "for at in range(4):\n"
        "    x = mx.sym.FullyConnected(x, num_hidden=4, name=f'fc{at}')\n"
        "net = mx.sym.softmax(x, name='s')\n"
    )
    units = tmp_path / "units"
    model = [f"{tmp_path}/net.py:net", "--shapes", "data=2x4"]
    out, _ = ran(capsys, "numdiff", *model, "--split-tests", str(units))
    files = sorted(units.glob("*.sir"))
    assert f"wrote {len(files)} tests into {units}" in out
    first, second = (file.read_text() for file in files[:2])
    assert "the kernel of %fc0 in " in first and '// value: ["data", "float32", [2, 4]' in first
    assert "and 2 more like it" in first and "the kernel of %fc3.dot in " in second
    assert "3 of 3 pass" in ran(capsys, "test", str(units))[1]
    (tmp_path / "outside.py").write_text(OUTSIDE)
    given = ["--load", f"{tmp_path}/outside.py", "--insert", "inline+wrong_exp", "--split-tests", str(units)]
    try:
        ran(capsys, "numdiff", *model, "--train", *given)
        out, _ = ran(capsys, "test", str(units), code=1)
    finally:
        PASSES.pop("wrong_exp", None)
    assert re.search(r"FAIL  .*exp.*\n.*values after wrong_exp", out) and "ok    " in out
    program = tmp_path / "program.sir"
    ran(capsys, "dump", *model, "--level=loop", "-o", str(program))
    ran(capsys, "numdiff", str(program), "--split-tests", str(tmp_path / "loops"))
    ran(capsys, "test", str(tmp_path / "loops"))
    out, err = ran(capsys, "numdiff", *model, "-p", "decompose", "--split-tests", str(units), code=2)
    assert "--split-tests needs fuse" in err
    both = ["--split-tests", str(units), "--diagnostics=json"]
    assert "--diagnostics=json is of a verdict" in ran(capsys, "numdiff", *model, *both, code=2)[1]
