"""Protects modules under other names: they are the modules themselves, and say where they are."""

from __future__ import annotations

import importlib
import sys

import pytest

from symc.aliases import INNER, MOVED, Aliases


@pytest.mark.parametrize("old", MOVED)
def test_a_module_under_its_earlier_name_is_the_module(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        found = importlib.import_module(old)
    real = importlib.import_module(MOVED[old])
    assert found is real and real.__name__ == MOVED[old] and real.__spec__ is not None
    assert real.__spec__.name == MOVED[old]


@pytest.mark.parametrize("name", [name for name in INNER if not name.startswith("contrib.")])
def test_what_mxnet_has_in_inner_modules_is_reached_by_attributes_too(name: str) -> None:
    found = importlib.import_module("symc")
    for part in name.split("."):
        found = getattr(found, part)
    assert found is importlib.import_module(f"symc.{INNER[name]}")


def test_a_name_with_a_file_is_never_an_alias(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken_name.py").write_text("MINE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finder = Aliases({"taken_name": "json", "free_name": "json"})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert importlib.import_module("taken_name").MINE
    assert importlib.import_module("free_name") is importlib.import_module("json")
    for name in ("taken_name", "free_name"):
        del sys.modules[name]
