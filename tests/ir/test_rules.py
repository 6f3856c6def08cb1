"""Protects the list of rules at the head of symc.ir.verify: what it lists is what the source raises, and every number
has a bad program in the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import symc.ir.verify

ROOT = Path(__file__).resolve().parents[2]
LISTED = re.findall(r"^  ([STPLM]\d+) ", symc.ir.verify.__doc__ or "", re.M)


def strings(folder: str) -> dict[str, set[str]]:
    """For every file the rules that stand in its strings: alone, or before a colon."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / folder).rglob("*.py"):
        if file == Path(__file__) or "__pycache__" in file.parts:
            continue
        rules: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                rules.update(re.findall(r"^\^?([STPLM]\d+)(?=$|:)", node.value))
        found[str(file.relative_to(ROOT))] = rules
    return found


def test_the_list_is_numbered_without_gaps() -> None:
    by_letter: dict[str, list[int]] = {}
    for rule in LISTED:
        by_letter.setdefault(rule[0], []).append(int(rule[1:]))
    assert list(by_letter) == ["S", "T", "P", "L", "M"]
    for letter, numbers in by_letter.items():
        assert numbers == list(range(1, len(numbers) + 1)), letter


def test_what_is_listed_is_what_is_checked() -> None:
    raised = set().union(*strings("ir").values(), *strings("passes").values(), *strings("symc").values())
    assert raised == set(LISTED)


def test_every_rule_has_a_bad_program() -> None:
    tested = set().union(*strings("tests").values())
    assert not set(LISTED) - tested, "no test breaks these"
    assert not {rule for rule in tested if rule[0] in "STPLM"} - set(LISTED), "tests of rules that are not listed"
