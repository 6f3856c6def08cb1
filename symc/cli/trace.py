"""`symc trace`: what any program compiles, as files."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import symc
from symc.cli.report import USAGE, CliError

#: programs that are told one by one
TOLD = 20


def trace(options: argparse.Namespace) -> int:
    """Run the command with SYMC_DUMP set; what it compiled is told on standard error, and its exit code is given."""
    words = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not words:
        raise CliError("give the command to run, as in: symc trace -o DIR train.py --epochs 1")
    if options.load:
        raise CliError("--load is for programs that symc itself compiles; import the file in the command's own program")
    if words[0].endswith(".py"):
        words = [sys.executable, *words]
    folder = Path(options.output)
    before = set(_programs(folder))
    try:
        code = subprocess.run(words, env=_environment(folder)).returncode
    except OSError as problem:
        raise CliError(f"{words[0]}: {problem.strerror}", USAGE) from None
    code = code if code >= 0 else 128 - code  # of a signal, as shells have it
    made = [path for path in _programs(folder) if path not in before]
    if not made:
        print(f"symc: {' '.join(words)} compiled nothing", file=sys.stderr)
        return code
    for path in made[:TOLD]:
        record = json.loads(path.read_text(encoding="utf-8"))
        print(f"  {path.parent.name:32} {record['kernels']:5d} kernels  {record['state']}", file=sys.stderr)
    more = f", {len(made) - TOLD} more than these" if len(made) > TOLD else ""
    word = "program" if len(made) == 1 else "programs"
    print(
        f"symc: {len(made)} {word} in {folder}{more}; symc report {made[0].parent} makes a page of one", file=sys.stderr
    )
    return code


def _environment(folder: Path) -> dict[str, str]:
    """The command's: it writes there, and finds this package too where that runs from its sources."""
    made = {**os.environ, "SYMC_DUMP": str(folder.absolute())}
    sources = Path(symc.__file__).parents[1]
    if (sources / "pyproject.toml").exists():
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [made.get("PYTHONPATH", ""), str(sources)]))
    return made


def _programs(folder: Path) -> list[Path]:
    """The records of what a folder has."""
    return sorted(folder.glob("[0-9]*/program.json"))
