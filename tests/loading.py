"""Modules by their file, where no package holds them: the questions that golden files answer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

GOLDEN = Path(__file__).parent / "golden"


def module_at(path: Path) -> ModuleType:
    """The module of a file, run now."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
