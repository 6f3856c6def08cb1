"""Protects the page of the tools: every command that it shows runs, and prints what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from symc.cli import main
from symc.passes.pipeline import PASSES

PAGE = (Path(__file__).parents[2] / "symc" / "docs" / "tools.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```console\n\$ symc ([^\n]*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page."""
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(f"# {name}\n{text}")
    for name, text in re.findall(r"^```\n// (\w+\.sir)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(text)
    for number, text in enumerate(re.findall(r"^```\n(// RUN.*?)^```", PAGE, re.DOTALL | re.MULTILINE)):
        (tmp_path / ("twice.sir" if not number else f"test{number}.sir")).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROW = re.compile(r"^\| (\d+) \| [^|]+ \| `symc ([^`]+)` \| `([^`]+)`(?: exit (\d))? \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE)


def test_there_are_thirty_rows_and_all_of_them_are_true(capsys, folder: Path) -> None:
    """In their order, as some use what others wrote."""
    assert [int(number) for number, *_ in ROWS] == list(range(1, 31))
    before = set(PASSES)
    try:
        for number, command, wanted, code in ROWS:
            given = main(shlex.split(command))
            out, err = capsys.readouterr()
            assert given == int(code or 0), f"row {number}: {given}\n{err}"
            pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
            assert any(map(pattern.fullmatch, (out + err).splitlines())), (
                f"row {number}: {wanted!r} is not in\n{out}{err}"
            )
    finally:
        for name in set(PASSES) - before:
            del PASSES[name]


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_the_commands_print_what_the_page_shows(capsys, folder: Path, command: str, shown: str) -> None:
    """Lines of the page stand in the output; `...` is anything within a line."""
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    assert code == (command.startswith("diff ") and "equal" not in shown), err
    lines = (out + err).splitlines()
    for wanted in shown.splitlines():
        pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        assert any(pattern.fullmatch(line) for line in lines), f"{wanted!r} is not in\n{out}{err}"
