"""`symc replay`: a failure that was written, once more."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from symc.cli.loading import load_extensions
from symc.cli.report import BAD, FINE
from symc.debug.apart import apart
from symc.debug.checks import check
from symc.debug.files import loads_of, read_text
from symc.debug.numdiff import SILENT
from symc.debug.trial import Failure
from symc.fuzz import custom

assert custom.NAME  # nets of `symc fuzz` have it


def replay(options: argparse.Namespace) -> int:
    """Exit code 1 while it fails."""
    return replay_file(Path(options.file))


def replay_file(path: Path) -> int:
    """Run the trial of a file; what fails, and whether that is what the file expects."""
    text = path.read_text(encoding="utf-8")
    load_extensions([str(path.parent / name) for name in loads_of(text)])
    trial, expected = read_text(text)
    found = apart(lambda say: check(trial, say).failure, SILENT)
    failure = found if isinstance(found, Failure) else None
    if failure is None:
        print("fine" if expected is None else f"fine: {' / '.join(expected)} does not fail any more")
        return FINE
    print(failure)
    if expected is not None and failure.signature != expected:
        print(f"symc: the file expects {' / '.join(expected)}", file=sys.stderr)
    return BAD
