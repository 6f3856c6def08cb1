"""`symc fuzz`: random programs, checked after every pass; or one of its files, run again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from symc.cli.report import BAD, FINE
from symc.debug.files import read_text
from symc.fuzz.campaign import Campaign, Settings, Totals, Victims

#: seconds between two lines of progress
EVERY = 5.0


def fuzz(options: argparse.Namespace) -> int:
    """Run trials and print what came of them; exit code 1 if any failed."""
    if options.replay is not None:
        return replay(Path(options.replay))
    seconds = options.seconds or (0 if options.graphs else 60)
    settings = Settings(
        seed=options.seed, seconds=seconds, graphs=options.graphs or 0, level=options.level, jobs=options.jobs,
        native=options.native / 100, folder=Path(options.out),
    )  # fmt: skip
    totals = Campaign(settings, _Progress()).run()
    print(totals.summary())
    return BAD if totals.failures else FINE


def replay(path: Path) -> int:
    """Run the trial of a file; what fails, and whether that is what the file expects."""
    trial, expected = read_text(path.read_text(encoding="utf-8"))
    victims = Victims()
    failure = victims.tried(trial, 120.0)
    victims.close()
    if failure is None:
        print("fine" if expected is None else f"fine: {' / '.join(expected)} does not fail any more")
        return FINE
    print(failure)
    if expected is not None and failure.signature != expected:
        print(f"symc: the file expects {' / '.join(expected)}", file=sys.stderr)
    return BAD


class _Progress:
    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, totals: Totals) -> None:
        now = time.monotonic()
        if now - self.last >= EVERY:
            self.last = now
            failed = sum(totals.failures.values())
            print(
                f"symc fuzz: {totals.graphs} graphs, {totals.checks} checks, {failed} failures, {totals.seconds:.0f} s",
                file=sys.stderr,
            )
