"""Protects the house: nothing imports in a circle, imports inside functions included; folders say what they hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
#: what the user fixed: nothing else stands at the top
TOP = {"ir", "passes", "symc", "tests", "pyproject.toml", "README.md", "LICENSE"}


def modules() -> dict[str, Path]:
    """Every module of the project under its import name."""
    found = {}
    for folder in ("ir", "passes", "symc"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] in (("symc", "ir"), ("symc", "passes")):
                continue
            name = ".".join(parts if folder == "symc" else ("symc", *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def imports(known: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """(module, module it imports) anywhere in it, for types only as well."""
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                named = [one if one in known else str(node.module) for one in inner]
            else:
                continue
            yield from ((name, other) for other in named if other in known and other != name)


def circles(edges: Iterator[tuple[str, str]]) -> list[list[str]]:
    return [sorted(knot) for knot in nx.strongly_connected_components(nx.DiGraph(edges)) if len(knot) > 1]


@pytest.mark.parametrize("layer", ["symc.ir", "symc.passes"])
def test_no_module_imports_itself_by_way_of_others(layer):
    known = modules()
    inside = ((a, b) for a, b in imports(known) if a.startswith(layer) and b.startswith(layer))
    assert circles(inside) == []


def room(module: str) -> str:
    """The folder of symc a module stands in; a module of its first floor (MXNet's names are there) is a room itself."""
    return ".".join(module.split(".")[:2]) if module.startswith("symc.") else module


def test_no_folder_imports_itself_by_way_of_others():
    """ir and passes are one room each here: imports from them go one way."""
    known = modules()
    rooms = {name: room(name) for name in known}
    assert circles((rooms[a], rooms[b]) for a, b in imports(known) if rooms[a] != rooms[b]) == []


@pytest.mark.parametrize("stages", [("tensor", "program", "loop")])
def test_stages_of_passes_know_their_forerunners_only(stages):
    """A pass may use what an earlier stage says, never what a later one does; the manager knows none of them."""
    order = {name: at for at, name in enumerate(("manager", *stages))}
    for a, b in imports(modules()):
        if a.startswith("symc.passes.") and b.startswith("symc.passes."):
            one, other = a.split(".")[2], b.split(".")[2]
            assert order.get(other, -1) <= order.get(one, len(order)), f"{a} imports {b}"


def test_every_package_says_what_it_holds():
    for name, path in modules().items():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name} has no docstring"


def test_the_top_level_is_fixed():
    """What installing leaves there (build, dist, egg-info) is not the project's."""
    assert {p.name for p in ROOT.iterdir() if not p.name.startswith(".") and p.suffix != ".egg-info"} <= TOP | {
        "build",
        "dist",
    }
