"""The `symc` command: dump, opt, run, fuzz, passes, ops, demo and bench.

Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's); returns the exit code."""
    from symc.cli.command import main as run

    return run(argv)
