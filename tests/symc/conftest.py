"""Fixtures that several test modules ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

import symc.runtime.programs


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty object cache."""
    monkeypatch.setenv("SYMC_CACHE_DIR", str(tmp_path / "objects"))
    monkeypatch.delenv("SYMC_CACHE", raising=False)
    return tmp_path / "objects"


@pytest.fixture
def as_users_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests verify after every pass, and so run them all."""
    monkeypatch.delenv("SYMC_VERIFY", raising=False)
    monkeypatch.setattr(symc.runtime.programs, "_programs", {})
