"""Protects what `symc opt` shows of passes at work: differences, steps, counts, counters and promises."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from commands import ran

from symc.cli.watching import Changes, Steps
from symc.ir.parse import parse
from symc.passes.manager.manager import Manager
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


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "f.sir").write_text(TEXT)
    return str(tmp_path / "f.sir")


def test_a_diff_after_every_pass(capsys, file: str) -> None:
    _, err = ran(capsys, "opt", file, "-p", "simplify,layout", "--print-changed")
    assert "// ----- simplify -----\n--- before simplify\n+++ after simplify\n@@ " in err
    assert "\n-  %b: f32[2,3] = relu(%a)\n" in err and err.endswith("// ----- layout: unchanged -----\n")
    _, err = ran(capsys, "opt", file, "-p", "simplify,layout", "--print-changed=diff-quiet")
    assert "layout" not in err and "// ----- simplify -----" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "coloured"), [(None, True), ("NO_COLOR", False), ("TERM", False)])
def test_a_diff_has_colours_on_a_terminal_that_wants_them(monkeypatch, variable, coloured: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if variable:
        monkeypatch.setenv(variable, "dumb")
    stream = Terminal()
    Manager([Changes(stream)]).run(parse_pipeline("simplify"), parse(TEXT))
    assert ("\x1b[31m-  %b: f32[2,3] = relu(%a)\x1b[0m" in stream.getvalue()) == coloured


def test_steps_are_listed(capsys, file: str) -> None:
    _, err = ran(capsys, "opt", file, "-p", "simplify,fuse", "--step")
    assert err.splitlines()[0] == "     1  simplify#0 twice  [first net.py:3]  %b = relu(%a) -> %a"
    assert all(line.split()[0].isdigit() for line in err.splitlines())


def test_on_a_terminal_every_step_can_be_left_out() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "s"

    graph = Manager([Steps(io.StringIO(), ask)]).run(parse_pipeline("simplify"), parse(TEXT))
    assert graph == parse(TEXT) and asked

    answers = iter(["c"])
    Manager([Steps(io.StringIO(), lambda _: next(answers))]).run(parse_pipeline("simplify,fuse"), parse(TEXT))


def test_counts_counters_and_promises_are_reported(capsys, file: str) -> None:
    arguments = ["--pass-statistics", "--debug-counter", "twice-count=0", "--verify-preserved"]
    out, err = ran(capsys, "opt", file, "-p", "simplify", *arguments)
    assert "%b: f32[2,3] = relu(%a)" in out
    assert "    tries     hits   vetoed  refused  rule\n" in err and "in a sum of floats" in err
    assert "counter twice: 0 of " in err and err.endswith("promises: kept by all 1 passes\n")


def test_what_a_failing_pass_was_given_is_printed(capsys, file: str) -> None:
    _, err = ran(capsys, "opt", file, "-p", "autodiff{wrt=nothing}", "--print-ir-before-failure", code=5)
    assert "which fails on this -----\nsymc ir 1 level=tensor\nfunc @f(" in err


def test_programs_are_printed_around_changes(capsys, file: str) -> None:
    _, err = ran(capsys, "opt", file, "-p", "simplify,layout", "--print-ir-before-change", "--print-ir-after=layout")
    assert err.count("symc ir 1") == 2
    assert "before simplify -----" in err and "after layout -----" in err and "before layout" not in err
