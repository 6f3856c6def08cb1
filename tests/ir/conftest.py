"""Runs the tests of primitives for every sample in `primitive_samples`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from primitive_samples import SAMPLES, Sample


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of `sample` runs for each of them."""
    if "sample" in metafunc.fixturenames:
        metafunc.parametrize("sample", SAMPLES, ids=str)


@pytest.fixture
def samples() -> list[Sample]:
    return SAMPLES
