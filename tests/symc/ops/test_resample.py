"""Bilinear resizing reads the places that MXNet reads: they are computed in float32 (a golden file)."""

from __future__ import annotations

import numpy as np
import pytest
from loading import GOLDEN, module_at

import symc as mx

FOLDER = GOLDEN / "resample"
scenarios = module_at(FOLDER / "scenarios.py")
ANSWERS = dict(np.load(FOLDER / "answers.npz"))


@pytest.mark.parametrize("name", scenarios.CASES)
def test_places_are_those_of_mxnet(name: str) -> None:
    np.testing.assert_allclose(scenarios.run(mx, name), ANSWERS[name], rtol=1e-12, atol=1e-12)
