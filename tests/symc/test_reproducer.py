"""Protects the files that show a failure inside of the compiler again: they are there whatever becomes of the process,
say what failed, bring their passes, run as tests, and do not pile up."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import NET, SHAPES, ran

import symc
from symc import leftovers
from symc.cli.inputs import load
from symc.cli.opt import run_passes
from symc.debug.files import read_text
from symc.extensions import load_extensions
from symc.leftovers import folder
from symc.passes.pipeline import PASSES, parse_pipeline

FATAL = """
import importlib.metadata
import os

from symc.passes.pipeline import Pass, register_pass


@register_pass("fatal", takes="loop", gives="loop")
class Fatal(Pass):
    \"\"\"Ends the process as LLVM does.\"\"\"

    def run(self, module, rw):
        os.abort()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files, with a net and a pass."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "fatal.py").write_text(FATAL)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PYTHONPATH", str(Path(symc.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def passes_as_before():
    before = dict(PASSES)
    yield
    for name in [name for name in PASSES if name not in before]:
        del PASSES[name]


def files() -> list[Path]:
    return sorted(folder("reproducers").glob("*"))


def test_a_pass_that_ends_the_process_leaves_its_file(capsys, place: Path) -> None:
    """The program, all passes and their options, and which of them ran; it is replayed, made small and a test."""
    command = [sys.executable, "-m", "symc", "opt", "net.py:net", *SHAPES, "--load", "fatal.py"]
    done = subprocess.run([*command, "--insert", "tile+fatal"], capture_output=True, text=True)
    assert done.returncode == -6
    (path,) = files()
    text = path.read_text()
    assert '// fails: ["crash", "fatal", ""]' in text and "--insert tile+fatal" in text and "Python 3." in text
    out, _ = ran(capsys, "replay", str(path), code=1)
    assert out.startswith("crash after fatal (signal SIGABRT)")
    assert ran(capsys, "test", str(path))[0] == f"xfail {path}\n"
    trial, expected = read_text(text)
    assert trial.passes[-1].name == "fatal" and expected == ("crash", "fatal", "")


def test_a_pass_that_raises_leaves_the_program_that_it_was_given(capsys, place: Path) -> None:
    _, err = ran(capsys, "opt", "net.py:net", *SHAPES, "-p", "decompose,inline,autodiff{wrt=q}", code=5)
    (path,) = files()
    assert f"reproducer: {path}" in err
    trial, expected = read_text(path.read_text())
    assert [p.name for p in trial.passes] == ["autodiff"] and expected is not None and expected[1] == "autodiff"
    assert "Traceback" in path.read_text()
    assert "'q' is not an argument" in ran(capsys, "replay", str(path), code=1)[0]


@pytest.mark.parametrize("command", [["opt"], ["dump", "--level=asm"], ["run", "--inputs=seed=0"], ["why", "%fc1"]])
def test_what_does_not_fail_leaves_nothing(capsys, place: Path, command: list[str]) -> None:
    ran(capsys, *command, "net.py:net", *SHAPES)
    assert not files()


def test_code_generation_that_ends_the_process_leaves_a_file(place: Path) -> None:
    """The passes are over then."""
    (place / "dies.py").write_text("import os, symc.codegen.jit.compile as c\nc._compile = lambda *_: os.abort()\n")
    command = [sys.executable, "-m", "symc", "run", "net.py:net", *SHAPES, "--inputs=seed=0", "--load", "dies.py"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "SYMC_CACHE": "0"})
    assert done.returncode == -6
    (path,) = files()
    assert '// fails: ["crash", "native", ""]' in path.read_text()


def test_large_constants_stand_beside_it(capsys, place: Path) -> None:
    import numpy as np

    from symc.ir.origins import SymOrigin
    from symc.ir.prims import elementwise as ew
    from symc.ir.tensor.graph import finish

    big = ew.const(np.arange(5000, dtype=np.float32))
    graph = finish("g", [], [("out", ew.exp(big))], origins={n: SymOrigin("s", "Op") for n in (big, ew.exp(big))})
    with pytest.raises(Exception, match="'q' is not an argument"):
        run_passes(parse_pipeline("autodiff{wrt=q}"), graph)
    assert [path.suffix for path in files()] == [".npz", ".sir"]
    assert "'q' is not an argument" in ran(capsys, "replay", str(files()[1]), code=1)[0]


def test_only_the_newest_are_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "KEPT", 3)
    loaded = load("net.py:net", {"data": (4, 6)})
    for _ in range(5):
        with pytest.raises(Exception, match="'q' is not an argument"):
            run_passes(parse_pipeline("decompose,autodiff{wrt=q}"), loaded.module)
    assert len(files()) == 3


def test_an_error_in_a_script_says_where_the_file_is(capsys, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written where operators refuse their types, and nothing where nothing fails."""
    import symc as mx

    load_extensions(["fatal.py"])
    monkeypatch.setattr(PASSES["fatal"], "run", lambda self, module, rw: module.kernels[1000])
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fc")
    mx.compile(net, {"data": (2, 9)})
    assert not files()
    with mx.pipeline(insert={"tile": "fatal"}), pytest.raises(IndexError) as error:
        mx.compile(net, {"data": (2, 9)})
    assert error.value.__notes__ == [f"reproducer: {files()[0]}"]
    assert "IndexError: tuple index out of range" in files()[0].read_text()
    assert "pass after fatal (IndexError)" in ran(capsys, "replay", str(files()[0]), code=1)[0]


SCRIPT = """
import importlib.metadata
import os
import sys

import symc as mx
from symc.codegen.jit import compile

net = mx.sym.exp(mx.sym.Variable("x"), name="e")
net.simple_bind(mx.cpu(), x=(3,)).forward()
if sys.argv[1:]:
    compile._compile = lambda *given: os.abort()  # as LLVM does
    mx.sym.log(mx.sym.Variable("x")).simple_bind(mx.cpu(), x=(3,)).forward()
"""


def test_an_abort_inside_llvm_leaves_its_kernel(place: Path, capsys) -> None:
    """In an ordinary script, which no tool watches; where nothing fails, nothing is left."""
    (place / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "SYMC_CACHE": "0"}
    for arguments, left in (([], 0), (["abort"], 1)):
        subprocess.run([sys.executable, "script.py", *arguments], env=environment, capture_output=True)
        assert len(list(folder("compiling").glob("*"))) == left
    (file,) = folder("compiling").glob("*.ll")
    text = file.read_text()
    assert text.startswith("; the process ended when LLVM was given this") and "define " in text
    assert "fine" in ran(capsys, "replay", str(file))[0]
    file.write_text(text.replace("define ", "define nonsense ", 1))
    assert ran(capsys, "replay", str(file), code=1)[0].startswith("native after LLVM")


def test_a_file_is_written_where_symc_is_not_installed(capsys, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout on the path has no package metadata to read versions from."""

    installed = importlib.metadata.distribution

    def missing(name: str) -> importlib.metadata.Distribution:
        if name == "symc":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    _, err = ran(capsys, "opt", "net.py:net", *SHAPES, "-p", "decompose,inline,autodiff{wrt=q}", code=5)
    (path,) = files()
    assert str(path) in err and f"symc {symc.__version__}, Python" in path.read_text()
