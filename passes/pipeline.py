"""Pipelines as text, and the door to this package: what a pass, or a tool that runs passes, imports."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from symc.ir.errors import ParseError
from symc.passes.manager.manager import (
    OPTION_KINDS,
    Instrument,
    Manager,
    OptionError,
    Pass,
    PipelineError,
    dashed,
    option,
    option_problem,
    passes_that_establish,
    register_pass,
)  # fmt: skip
from symc.passes.registry import PASSES

__all__ = [
    "PASSES", "Instrument", "Manager", "OptionError", "Pass", "PipelineError", "option", "parse_pipeline",
    "register_pass",
]  # fmt: skip

_ITEM = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(\{([^{}]*)\})?\s*(,|$)")


_NAME = re.compile(r"\s*([A-Za-z_][\w-]*)?\s*")


def few_names(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    known = list(names)
    left = len(known) - most
    return ", ".join(known[:most]) + (f" and {left} other{'s' * (left > 1)}" if left > 0 else "")


def parse_pipeline(text: str) -> list[Pass]:
    """`fuse{max-ops=8},plan_memory`: passes in order. ParseError with a caret where the text is wrong."""
    passes: list[Pass] = []
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            raise _misspelt(text, at)
        name = match.group(1).replace("-", "_")
        if name not in PASSES:
            close = difflib.get_close_matches(name, PASSES, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {few_names(PASSES)}"
            raise ParseError(f"unknown pass {match.group(1)!r}{hint}", 1, match.start(1) + 1, text)
        cls = PASSES[name]
        passes.append(cls(**_parse_options(cls, match.group(3) or "", match.start(3) if match.group(3) else 0, text)))
        at = match.end()
    check_order(passes)
    return passes


def _misspelt(text: str, at: int) -> ParseError:
    """What is wrong with the item of a pipeline that begins there."""
    start = _NAME.match(text, at)
    assert start is not None
    name, end = start.group(1), start.end()
    if not name:
        return ParseError("expected the name of a pass", 1, end + 1, text)
    body, closed, _ = text[end + 1 :].partition("}") if text[end] == "{" else ("", "}", "")
    if not closed or "{" in body:
        wrong = "have braces inside" if closed else "have no closing brace"
        return ParseError(f"the options of pass {name} {wrong}: {name}{{a=1 b=2}}", 1, end + 1, text)
    after = end + len(body) + 2 if text[end] == "{" else end
    told = f"expected a comma behind pass {name}{' or its options in braces' if after == end else ''}"
    return ParseError(f"{told}, found {text[after:].strip()[0]!r}", 1, after + 1, text)


def check_order(passes: Sequence[Pass]) -> None:
    """PipelineError for passes that cannot follow each other: one takes another level than the one before it gives, or
    requires what an earlier pass has broken (what the program brings along is seen when it runs)."""
    broken: dict[str, str] = {}
    for before, after in zip([None, *passes], passes):
        if before is not None and before.gives != after.takes:
            raise PipelineError(f"pass {after.name} takes {after.takes} IR, but {before.name} gives {before.gives}")
        for name in after.requires:
            if name in broken:
                makers = " or ".join(passes_that_establish(name))
                raise PipelineError(
                    f"pass {after.name} requires that the {after.takes} IR is {name}, which it is not after "
                    f"{broken[name]}; put {makers} between them"
                )
        if after.takes != after.gives:
            broken.clear()
        broken.update(dict.fromkeys(after.breaks, after.name))
        for name in after.establishes:
            broken.pop(name, None)


def _parse_options(cls: type[Pass], body: str, offset: int, text: str) -> dict[str, Any]:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for match in re.finditer(r"\S+", body):
        key, _, raw = match.group().partition("=")
        name = key.replace("-", "_")
        column = offset + match.start() + 1
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            known = ", ".join(map(dashed, fields)) or "none"
            hint = f"; did you mean {dashed(close[0])}?" if close else f"; it has {known}"
            raise ParseError(f"pass {cls.name} has no option {key!r}{hint}", 1, column, text)
        if name in values:
            raise ParseError(f"option {key} of pass {cls.name} is given twice", 1, column, text)
        default = fields[name].default
        try:
            if isinstance(default, bool):
                values[name] = {"true": True, "false": False, "": True}[raw]
            elif isinstance(default, (int, float)):
                values[name] = type(default)(raw)
            elif isinstance(default, tuple):
                values[name] = tuple(raw.split(":")) if raw else ()
            else:
                values[name] = raw
        except (KeyError, ValueError):
            kind = OPTION_KINDS.get(type(default), type(default).__name__)
            hint = "; blanks stand between options" if "," in raw else ""
            told = f"option {key} of pass {cls.name} must be {kind}, got {raw!r}{hint}"
            raise ParseError(told, 1, column, text) from None
        problem = option_problem(fields[name], values[name])
        if problem:
            raise ParseError(f"option {key} of pass {cls.name} {problem}", 1, column, text)
    return values
