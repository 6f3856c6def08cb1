"""Protects: Gluon against MXNet 1.9.1: names, losses of training, gradients of losses, files.

The answers were recorded by running tests/golden/gluon/scenarios.py under MXNet; the same functions run here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from golden.gluon import scenarios

import symc as mx

ANSWERS = json.loads(Path(scenarios.__file__).with_name("answers.json").read_text())


def compare(found, answer, place="", close=1e-4):
    """Equal, but for the last places of numbers."""
    if isinstance(answer, dict):
        assert list(found) == list(answer), place
        for key, value in answer.items():
            compare(found[key], value, f"{place}/{key}", close)
    elif isinstance(answer, list) and answer and all(isinstance(v, float) for v in answer):
        assert len(found) == len(answer), place
        assert np.allclose(found, answer, rtol=close, atol=close), f"{place}: {found} is not {answer}"
    elif isinstance(answer, list):
        assert len(found) == len(answer), place
        for at, value in enumerate(answer):
            compare(found[at], value, f"{place}/{at}", close)
    elif isinstance(answer, float):
        assert abs(found - answer) <= close * max(1, abs(answer)), place
    else:
        assert found == answer, place


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
def test_answers(scenario):
    compare(json.loads(json.dumps(scenario(mx))), ANSWERS[scenario.__name__], scenario.__name__)


def test_files(tmp_path):
    compare(scenarios.saved(mx, str(tmp_path)), ANSWERS["saved"], "saved")
