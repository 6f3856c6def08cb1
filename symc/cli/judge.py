"""Commands of the user's that say whether a program fails."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from symc.cli.report import CliError


def exit_code(command: str, path: Path) -> int:
    """The exit code of a command that is given a file, for {} in it or else behind its words; what it prints is
    dropped. CliError where the shell finds no such command."""
    file = shlex.quote(str(path))
    line = command.replace("{}", file) if "{}" in command else f"{command} {file}"
    ran = subprocess.run(line, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if ran.returncode in (126, 127):
        said = ran.stderr.strip().splitlines()[-1:] or ["the shell cannot run it"]
        raise CliError(f"--fails {command}: {said[0]}; expected numerics, verify, crash, any or a command")
    return ran.returncode
