"""Protects: records, pictures and iterators against MXNet 1.9.1.

The answers were recorded by running tests/golden/data/scenarios.py under MXNet; the same functions run here. Numbers of
pictures may differ by rounding: MXNet sums colors in another order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden.data import scenarios

import symc as mx

ANSWERS = json.loads(Path(scenarios.__file__).with_name("answers.json").read_text())


#: OpenCV rounds bicubic sums otherwise in the middle of a row than at its end: a level more or less, and what colors
#: that are normalised make of it; releases of Pillow decode the edges of JPEG some levels apart
LEVELS = {"resizing": 1.0, "det_augmenters": 0.02, "det_record_iter": 8.0}


def same(got: Any, want: Any, levels: float, where: str) -> None:
    """Alike, within so many levels of 255 (and numbers that are not whole within a little)."""
    if isinstance(want, (int, float)) and not isinstance(want, bool):
        exact = isinstance(want, int) and isinstance(got, int)
        assert abs(got - want) <= levels + (0 if exact else 2e-3 + 1e-4 * abs(want)), where
    elif isinstance(want, list):
        assert len(got) == len(want), where
        for at, pair in enumerate(zip(got, want)):
            same(*pair, levels, f"{where}[{at}]")
    else:
        assert got == want, where


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
def test_answers(scenario, tmp_path):
    if scenario not in (scenarios.record_file, scenarios.indexed_file, scenarios.packed, scenarios.borders):
        pytest.importorskip("PIL")
    got = json.loads(json.dumps(scenario(mx, str(tmp_path))))
    name = scenario.__name__
    same(got, ANSWERS[name], LEVELS.get(name, 0), name)
