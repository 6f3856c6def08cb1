"""`symc passes` and `symc ops`: what there is, from the definitions themselves."""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
from collections.abc import Mapping
from typing import Any

from symc.cli.report import CliError


def show_passes(name: str | None) -> int:
    """All passes, or one with its options."""
    from symc.passes.registry import PASSES

    if name is None:
        width = max(map(len, PASSES))
        for pass_ in sorted(PASSES.values(), key=lambda p: (_ORDER.index(p.takes), p.name)):
            print(f"{pass_.name:{width}}  {pass_.takes:7} -> {pass_.gives:7}  {pass_.numerics:8}  {_first_line(pass_)}")
        return 0
    pass_ = find(name.replace("-", "_"), PASSES, "pass")
    needed = "optional" if pass_.optional else "required"
    print(f"{pass_.name}: {pass_.takes} -> {pass_.gives}; values: {pass_.numerics}; {needed}")
    for word, names in (("requires", pass_.requires), ("establishes", pass_.establishes), ("breaks", pass_.breaks)):
        if names:
            print(f"{word}: {', '.join(names)}")
    print(f"\n{(pass_.__doc__ or '').strip()}")
    for option in dataclasses.fields(pass_):
        text = ":".join(option.default) if isinstance(option.default, tuple) else str(option.default).lower()
        print(f"  {option.name.replace('_', '-')}={text}  {option.metadata.get('help', '')}{_range(option.metadata)}")
    return 0


def _range(rules: Mapping[str, Any]) -> str:
    """What values an option takes, where not all of its type are."""
    if rules.get("choices") is not None:
        return f" (one of {', '.join(map(str, rules['choices']))})"
    bounds = (("from", rules.get("min")), ("to", rules.get("max")))
    words = [f"{word} {bound}" for word, bound in bounds if bound is not None]
    return f" ({' '.join(words)})" if words else ""


_ORDER = ("symbol", "tensor", "program", "loop")


def show_operators(name: str | None) -> int:
    """All MXNet operators under all their names, or one with all that is said of it."""
    operators = _operators()
    if name is None:
        width = max(map(len, operators), default=0)
        for key in sorted(operators, key=str.lower):
            print(f"{key:{width}}  {_first_line(operators[key])}")
        return 0
    cls = find(name, operators, "operator")
    from symc.docs.operators import entry, meaning, signature

    print(f"{signature(cls)}\n\n{meaning(cls)}\n")
    for heading, words in entry(cls):
        print(textwrap.fill(f"{heading}: {words}", 100, subsequent_indent="  ", break_long_words=False))
    return 0


def _operators() -> dict[str, Any]:
    import symc.ops  # noqa: F401  (registers every operator)
    from symc.ops.base import OPERATORS

    return dict(OPERATORS)


def _first_line(cls: Any) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def find(name: str, among: dict[str, Any], what: str) -> Any:
    """What has a name; CliError with the names that are close to one that nothing has."""
    if name not in among:
        close = difflib.get_close_matches(name, among, 3)
        raise CliError(f"there is no {what} {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
    return among[name]
