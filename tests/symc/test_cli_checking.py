"""Protects `symc opt` on files of several programs, on programs that must be refused, and the same twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import NET, SHAPES, SIR, ran

from symc.passes.manager.manager import PASSES, Pass, register_pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.sir"


def test_programs_of_one_file_run_one_by_one(capsys, file: Path) -> None:
    file.write_text(f"{SIR}// -----\n{SIR.replace('@f', '@g')}")
    out, _ = ran(capsys, "opt", str(file), "-p", "fuse", "--split-input-file")
    one, other = out.split("// -----\n")
    assert "func @f(" in one and "func @g(" in other and out.count("fuse map[3]") == 2
    assert "is for .sir files" in ran(capsys, "opt", "net.py:net", "--split-input-file", code=2)[1]


def test_errors_that_are_announced(capsys, file: Path) -> None:
    bad = SIR.replace(
        "  %y: f32[3] = exp(%x)", "  // expected-error@below {{unknown value '%z'}}\n  %y: f32[3] = exp(%z)"
    )
    file.write_text(bad)
    arguments = ["opt", str(file), "-p", "simplify", "--verify-diagnostics"]
    assert ran(capsys, *arguments) == ("", "")
    file.write_text(bad.replace("@below", "@above"))
    assert "f.sir:4:20: unknown value" in ran(capsys, *arguments, code=1)[1]


def test_errors_of_passes_and_errors_that_do_not_come(capsys, file: Path) -> None:
    told = "// expected-error {{autodiff}}\n"
    file.write_text(f"{told}{SIR}// -----\n{told}{SIR.replace('data)', 'arg)').replace('%x', '%w')}")
    arguments = ["opt", str(file), "-p", "autodiff{wrt=w}", "--verify-diagnostics", "--split-input-file"]
    _, err = ran(capsys, *arguments, code=1)
    assert "(program 1): line 9: the expected error did not come: autodiff" in err and "program 0" not in err


def test_runs_that_are_the_same_twice(capsys, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    net = f"{tmp_path / 'net.py'}:net"
    out, err = ran(capsys, "opt", net, "--train", "--check-determinism", *SHAPES)
    assert out.startswith("symc ir 1 level=loop") and err == ""


@pytest.fixture
def counting() -> Iterator[None]:
    """A pass that gives another name every time."""
    count = 0

    @register_pass("counting")
    class Counting(Pass):
        def run(self, module, rw):
            nonlocal count
            count += 1
            return replace(module, name=f"f{count}")

    yield
    del PASSES["counting"]


def test_a_pass_that_gives_something_else_each_time_is_named(capsys, file: Path, counting: None) -> None:
    file.write_text(SIR)
    _, err = ran(capsys, "opt", str(file), "-p", "simplify,counting", "--check-determinism", code=1)
    assert "pass counting is not deterministic: a second run gives another program" in err and "+func @f2(" in err
