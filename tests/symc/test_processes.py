"""Protects whole processes: threads, forks and new processes that compile, bind, run, train and predict at once neither
hang nor compute something wrong. `python tests/rounds.py 100` does more of the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("seed", [0, 1])
def test_rounds_of_threads_and_forks(own_cache: Path, seed: int) -> None:
    """Each in a process of its own, whose first round forks while threads import."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(ROOT / "tests" / "rounds.py"), "2", str(seed)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SYMC_CHECK_LOCKS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.endswith("no hang\n"), done.stdout + done.stderr
