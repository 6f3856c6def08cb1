"""Protects: records, pictures and iterators against MXNet 1.9.1.

The answers were recorded by running tests/golden/data/scenarios.py under MXNet; the same functions run here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden.data import scenarios

import symc as mx

ANSWERS = json.loads(Path(scenarios.__file__).with_name("answers.json").read_text())


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
def test_answers(scenario, tmp_path):
    assert scenario(mx, str(tmp_path)) == ANSWERS[scenario.__name__]
