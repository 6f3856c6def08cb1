"""Protects: whole programs written for MXNet run as they are, learn, and have MXNet's losses from the same parameters.

The programs assert themselves that their loss falls. The first ten losses were recorded by tests/golden/programs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loading import GOLDEN

PROGRAMS = Path(__file__).parent / "programs"
RECORDED = json.loads((GOLDEN / "programs" / "losses.json").read_text())


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_program_trains_as_with_mxnet(name: str, tmp_path: Path) -> None:
    losses = tmp_path / "losses.json"
    command = [sys.executable, "-m", "symc.as_mxnet", str(PROGRAMS / f"{name}.py"), str(losses)]
    # the root is where this symc is, installed or not
    places = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places})
    assert done.returncode == 0, done.stderr[-3000:]
    got, want = json.loads(losses.read_text()), RECORDED[name]
    assert len(got) == want["steps"]
    np.testing.assert_allclose(got[:10], want["first"], rtol=0, atol=1e-4)


def test_every_program_is_recorded() -> None:
    assert {p.stem for p in PROGRAMS.glob("*.py")} - {"common"} == set(RECORDED)
