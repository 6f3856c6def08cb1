"""Protects: optimizers, schedulers, metrics, iterators and modules give what MXNet 1.9.1 gives.

The answers were recorded by running tests/golden/model_api/scenarios.py under MXNet; the same functions run here.
"""

from __future__ import annotations

import numpy as np
import pytest
from loading import GOLDEN, module_at

import symc as mx

FOLDER = GOLDEN / "model_api"
scenarios = module_at(FOLDER / "scenarios.py")

#: (relative, absolute) tolerance: exact where nothing is computed, single precision elsewhere
TOLERANCE = {"iterators": (0, 0), "schedules": (1e-12, 0), "metrics": (1e-6, 1e-7), "optimizers": (1e-5, 5e-6)}


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
@pytest.mark.filterwarnings("ignore")
def test_same_as_mxnet(scenario):
    with np.load(FOLDER / f"{scenario.__name__}.npz") as recorded:
        expected = dict(recorded)
    got = scenario(mx)
    assert sorted(got) == sorted(expected)
    rtol, atol = TOLERANCE.get(scenario.__name__, (1e-3, 1e-4))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=rtol, atol=atol, err_msg=f"{scenario.__name__}/{name}")


def test_saved_files_are_equal_to_the_byte(tmp_path):
    scenarios.saved(mx, str(tmp_path / "named.params"))
    assert (tmp_path / "named.params").read_bytes() == (FOLDER / "named.params").read_bytes()
