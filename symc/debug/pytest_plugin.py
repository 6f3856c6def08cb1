"""A pytest plugin: `.sir` files that say how they are run (symc.debug.sirtest) are tests.

In the conftest.py of the tests: `pytest_plugins = ["symc.debug.pytest_plugin"]`. With `--sir-update` expectations that
are not met are written anew, unless the numbers are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symc.debug.files import loads_of
from symc.debug.sirtest import is_expected, is_test, problems_of, read_test, updated
from symc.extensions import load_extensions
from symc.ir.errors import IRError, ParseError


class Unmet(Exception):
    """What a test expects did not come out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """--sir-update."""
    parser.addoption("--sir-update", action="store_true", help="write anew what .sir tests expect")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A `.sir` file with a RUN line."""
    if file_path.suffix != ".sir" or not is_test(file_path):
        return None
    made: SirFile = SirFile.from_parent(parent, path=file_path)
    return made


class SirFile(pytest.File):
    """A file with one test."""

    def collect(self) -> Iterator[pytest.Item]:
        yield SirItem.from_parent(self, name=self.path.stem)


class SirItem(pytest.Item):
    """The test of a file."""

    def runtest(self) -> None:
        text = self.path.read_text(encoding="utf-8-sig")
        load_extensions(loads_of(text, self.path.parent))
        test = read_test(text)
        if self.config.getoption("--sir-update"):
            now = updated(test)
            if now != text:
                self.path.write_text(now, encoding="utf-8")
                test = read_test(now)
        if test.replays and is_expected(test):
            pytest.xfail("it fails as it says")
        problems = problems_of(test)
        if problems:
            raise Unmet("\n".join(problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ParseError):
            return str(excinfo.value.of_file(str(self.path)))
        if isinstance(excinfo.value, (Unmet, IRError)):
            return f"{self.path}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.path.name
