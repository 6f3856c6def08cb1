"""Commands of the command line, run in the tests' own process."""

from __future__ import annotations

import pytest

from symc.cli import main


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that must end with `code`."""
    given = main(list(arguments))
    out, err = capsys.readouterr()
    assert given == code, err
    assert "Traceback" not in err
    return out, err
