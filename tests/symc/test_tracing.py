"""Protects what traces hold: every compiled program, whole files, an index; and that writing never breaks a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc import tracing
from symc.ir.parse import parse
from symc.passes.pipeline import PASSES, Pass, register_pass

TEXT = """symc ir 1 level=tensor
func @NAME(%x: f32[4] data) -> (out: f32[4]) {
  %y: f32[4] = tanh(%x) !1
  return %y
}
!1 = sym "y" tanh at "net.py":3
"""


def program(name="f"):
    return parse(TEXT.replace("NAME", name))


def index(folder):
    return json.loads((folder / "index.json").read_text())


def test_every_program_level_by_level(tmp_path, monkeypatch):
    monkeypatch.setenv("SYMC_DUMP", str(tmp_path / "all"))
    mx.compile(program("a"))
    with mx.debug.trace(tmp_path / "some"):
        mx.compile(program("b"))
    net = mx.sym.tanh(mx.sym.Variable("data"), name="traced")
    net.simple_bind(mx.cpu(), data=(7, 3)).forward()
    records = index(tmp_path / "all")
    assert [record["folder"] for record in records] == ["0000-a", "0001-traced"]
    assert records[1]["inputs"] == {"data": "f32[7,3]"} and records[1]["kernels"] == 1
    assert [record["symbol"] for record in index(tmp_path / "some")] == ["b"]
    files = sorted(path.name for path in (tmp_path / "all" / "0000-a").glob("*.sir"))
    assert files[0] == "00-input.sir" and files[-1].endswith("-tile.sir")
    assert len(files) == len(records[0]["passes"]) + 1
    for path in (tmp_path / "all").glob("0000-a/*.sir"):
        assert parse(path.read_text())
    assert "0001-traced" in (tmp_path / "all" / "index.txt").read_text()


@pytest.fixture
def failing():
    @register_pass("fails_here")
    class Fails(Pass):
        def run(self, graph, rw):
            raise RuntimeError("no")

    yield Fails
    del PASSES["fails_here"]


def test_failures_leave_what_was_given(tmp_path, failing):
    with mx.debug.trace(tmp_path), mx.pipeline(insert={"inline": failing()}), pytest.raises(RuntimeError, match="no"):
        mx.compile(program())
    (record,) = index(tmp_path)
    assert record["state"] == "failed: RuntimeError: no" and "fails_here" in record["pipeline"]
    assert (tmp_path / "0000-f" / "01-inline.sir").exists()


def test_what_ends_the_process_leaves_what_it_was_given(tmp_path):
    script = f"""
import os, symc
from symc.ir.parse import parse
from symc.passes.pipeline import Pass, register_pass

@register_pass("fatal")
class Fatal(Pass):
    def run(self, graph, rw):
        os._exit(134)

with symc.pipeline(insert={{"inline": Fatal()}}):
    symc.compile(parse({TEXT!r}))
"""
    environment = {**os.environ, "SYMC_DUMP": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 134
    (record,) = index(tmp_path)
    assert record["state"] == "being compiled" and "inline,fatal" in record["pipeline"]
    assert sorted(path.name for path in tmp_path.glob("*/*.sir")) == ["00-input.sir", "01-inline.sir"]


def test_threads_write_into_one_directory(tmp_path):
    def work(number):
        with mx.debug.trace(tmp_path):
            mx.compile(program(f"p{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = index(tmp_path)
    assert sorted(record["symbol"] for record in records) == [f"p{n}" for n in range(6)]
    assert {record["state"] for record in records} == {"compiled"}
    assert not list(tmp_path.rglob(".*"))


def test_what_cannot_be_written_is_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with warnings.catch_warnings(record=True) as seen, mx.debug.trace(tmp_path / "file"):
        warnings.simplefilter("always")
        for _ in range(2):
            assert mx.compile(program())(x=np.zeros(4))["out"].tolist() == [0] * 4
    assert ["cannot be written" in str(one.message) for one in seen] == [True]


def test_directories_have_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "PROGRAMS", 2)
    monkeypatch.setattr(tracing, "BYTES", 10)
    with mx.debug.trace(tmp_path):
        mx.compile(program())
        mx.compile(program())
        with pytest.warns(RuntimeWarning, match="2 programs are in it"):
            mx.compile(program())
    assert len(index(tmp_path)) == 2 and "left out" in index(tmp_path)[0]
    assert not list(tmp_path.rglob("*.sir"))


def test_a_command_is_traced(tmp_path, capsys):
    (tmp_path / "train.py").write_text(
        "import sys\nimport symc as mx\n"
        "exe = mx.sym.tanh(mx.sym.Variable('x'), name='t').simple_bind(mx.cpu(), x=(3,))\n"
        "exe.forward()\nsys.exit(int(sys.argv[2]))\n"
    )
    (tmp_path / "empty.py").write_text("")
    folder = str(tmp_path / "traced")
    _, err = ran(capsys, "trace", "-o", folder, str(tmp_path / "train.py"), "--code", "7", code=7)
    assert "1 kernels  compiled" in err and f"1 program in {folder}; symc report {folder}/0000-t" in err
    out, _ = ran(capsys, "report", folder, "--native=0")
    assert out.startswith("<!DOCTYPE html>")
    _, err = ran(capsys, "trace", "-o", folder, sys.executable, "-c", "pass")
    assert "compiled nothing" in err
    assert "nowhere.sh: No such file" in ran(capsys, "trace", "nowhere.sh", code=2)[1]
    assert "give the command to run" in ran(capsys, "trace", code=2)[1]
    assert "--load is for" in ran(capsys, "trace", "--load", f"{tmp_path}/empty.py", "true", code=2)[1]
