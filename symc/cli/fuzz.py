"""`symc fuzz`: random programs, checked after every pass; or one of its files, run again."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from symc.cli.replay import replay_file
from symc.cli.report import BAD, FINE
from symc.fuzz.campaign import Campaign, Settings, Totals

#: seconds between two lines of progress
EVERY = 5.0


def fuzz(options: argparse.Namespace) -> int:
    """Run trials and print what came of them; exit code 1 if any failed."""
    if options.replay is not None:
        return replay_file(Path(options.replay))
    seconds = options.seconds or (0 if options.graphs else 60)
    settings = Settings(
        seed=options.seed, seconds=seconds, graphs=options.graphs or 0, level=options.level, jobs=options.jobs,
        native=options.native / 100, folder=Path(options.out),
    )  # fmt: skip
    totals = Campaign(settings, _Progress()).run()
    print(totals.summary())
    return BAD if totals.failures else FINE


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
