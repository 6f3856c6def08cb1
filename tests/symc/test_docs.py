"""Protects the documentation: the code of each page runs, and the text form's examples are real."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

import symc as mx
from symc.docs import operators
from symc.ops.base import OPERATORS
from symc.passes.manager.manager import PASSES

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "symc" / "docs").glob("*.md")), ROOT / "README.md"]


@pytest.fixture
def registries():
    """Leaves the tables of operators and passes as they were."""
    kept = [(table, dict(table)) for table in (OPERATORS, PASSES, vars(mx.sym), vars(mx.nd))]
    yield
    for table, before in kept:
        for name in set(table) - set(before):
            del table[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages_run(page, registries, monkeypatch, tmp_path):
    """The blocks of a page in order, in one module, in an empty folder. A block that begins with the name of a file is
    the file; one of the console is commands, with what they print."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(python|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        file = re.match(r"# (\w+\.py)\n", block[2])
        if block[1] == "console":
            if page.stem != "tools":  # tests/symc/test_tools_page.py runs that one's
                in_console(block[2])
        elif file:
            (tmp_path / file[1]).write_text(block[2], encoding="utf-8")
        else:
            exec(compile(block[2], str(page), "exec"), vars(module))


def in_console(block):
    """Run the commands of a block. Where the page says `...`, anything may stand; without an exit code it is 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, expected = command.partition("\n")
        wanted = re.search(r"^exit code (\d+)\n", expected, re.MULTILINE)
        expected = expected.replace(wanted[0], "") if wanted else expected
        program, *arguments = shlex.split(line)
        assert program == "symc", line
        command = [sys.executable, "-m", "symc", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        told = f"{line}:\n{done.stdout}{done.stderr}"
        assert done.returncode == (int(wanted[1]) if wanted else 0), told
        assert re.fullmatch(re.escape(expected).replace(r"\.\.\.", ".*"), done.stdout, re.DOTALL), told


def test_pages_name_what_exists():
    """Files and modules that a page mentions are there."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:symc|ir|passes|tests)/[\w/.-]+)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
        for module in re.findall(r"`(symc(?:\.[a-z_]+)+)`", text):
            parts = module.split(".")
            place = ROOT.joinpath(*parts)
            assert place.exists() or place.with_suffix(".py").exists(), f"{page.name}: {module}"


def test_unknown_functions_are_named():
    for space in (mx.sym, mx.nd):
        with pytest.raises(AttributeError, match="FullyConected.*did you mean FullyConnected"):
            _ = space.FullyConected


def test_the_page_of_operators_is_current():
    assert operators.PATH.read_text(encoding="utf-8") == operators.text(), "run python -m symc.docs.operators"


def test_every_operator_is_documented():
    """What it does, and the rule of its shapes: both in its definition."""
    for name, cls in OPERATORS.items():
        assert operators.meaning(cls), name
        assert operators.shapes(cls), f"{name}: complete() has no docstring"
        assert operators.signature(cls).startswith(cls.op_name + "(")


def test_what_differs_from_mxnet_is_an_entry_of_its_own():
    entry = dict(operators.entry(OPERATORS["_contrib_fft"]))
    assert "GPU" in entry["differs from MXNet"]
    assert "Differs" not in operators.meaning(OPERATORS["_contrib_fft"])
    assert "seed" in dict(operators.entry(OPERATORS["_random_normal"]))["differs from MXNet"]
