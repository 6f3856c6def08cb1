"""`symc passes` and `symc ops`: what there is, from the definitions themselves."""

from __future__ import annotations

import dataclasses
import itertools
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from symc.base import near
from symc.cli.report import CliError


def show_passes(name: str | None, graph: str | None = None, level: str | None = None) -> int:
    """All passes, or one with its options, or those of the default pipeline in order with their properties; or those
    that take a level, and the rules of that."""
    from symc.passes.registry import PASSES

    given = [word for word, value in (("NAME", name), ("--graph", graph), ("--level", level)) if value is not None]
    if len(given) > 1:
        raise CliError(f"{' and '.join(given)} are different questions; give one of them")
    if graph is not None:
        print("\n".join(_graph(PASSES) if graph == "text" else _dot(PASSES)))
        return 0
    if name is None:
        width = max(map(len, PASSES))
        taking = [p for p in PASSES.values() if level in (None, p.takes)]
        for pass_ in sorted(taking, key=lambda p: (_ORDER.index(p.takes), p.name)):
            print(f"{pass_.name:{width}}  {pass_.takes:7} -> {pass_.gives:7}  {pass_.numerics:8}  {_first_line(pass_)}")
        if level is not None:
            print("\n".join(["", f"the verifier's rules of the {level} level:", *_rules(level)]))
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


def _rules(level: str) -> list[str]:
    """What the verifier asks of a level, as its module says it."""
    from symc.ir import verify

    lines = (verify.__doc__ or "").splitlines()
    first = next(at for at, line in enumerate(lines) if line.lower().startswith(f"{level} level"))
    return list(itertools.takewhile(lambda line: line.startswith("  "), lines[first + 1 :]))


def _default() -> list[str]:
    """The passes of a training program, in order."""
    from symc.compile import pipeline

    return [pass_.name for pass_ in pipeline(True, ["x"])]


def _properties(pass_: Any) -> list[tuple[str, tuple[str, ...]]]:
    words = (("requires", pass_.requires), ("establishes", pass_.establishes), ("breaks", pass_.breaks))
    return [(word, names) for word, names in words if names]


def _graph(passes: Mapping[str, Any]) -> list[str]:
    order = _default()
    width = max(map(len, passes))
    lines = []
    for name in [*order, *(n for n in passes if n not in order)]:
        pass_ = passes[name]
        told = "  ".join(f"{word} {', '.join(names)}" for word, names in _properties(pass_))
        number = str(order.index(name)) if name in order else "-"
        optional = "  optional" if pass_.optional else ""
        lines.append(f"{number:>3}  {name:{width}}  {pass_.takes:7} -> {pass_.gives:7}  {told}{optional}".rstrip())
    return lines


def _dot(passes: Mapping[str, Any]) -> list[str]:
    """Levels are boxes around passes; full edges are the order of the default pipeline, dashed ones lead from the pass
    that establishes a property to those that require it."""
    order = _default()
    lines = ["digraph passes {", '  node [shape=box fontname="monospace" fontsize=10];']
    for level in _ORDER:
        inside = [p for p in passes.values() if p.gives == level]
        lines += [f"  subgraph cluster_{level} {{", f'    label="gives {level}";']
        lines += [f"    {p.name} [label={_label(p)}{' style=dashed' if p.optional else ''}];" for p in inside]
        lines.append("  }")
    lines += [f"  {before} -> {after};" for before, after in zip(order, order[1:])]
    for maker in passes.values():
        for needs in passes.values():
            shared = [name for name in maker.establishes if name in needs.requires and maker is not needs]
            lines += [f'  {maker.name} -> {needs.name} [style=dashed label="{name}"];' for name in shared]
    return [*lines, "}"]


def _label(pass_: Any) -> str:
    words = [f"{word} {', '.join(names)}" for word, names in _properties(pass_)]
    return json.dumps("\n".join([f"{pass_.name} ({pass_.numerics})", *words]), ensure_ascii=False)


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
        close = near(name, among, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"`symc {_LISTED[what]}` lists them"
        raise CliError(f"there is no {what} {name!r}; {hint}")
    return among[name]


#: the commands that list things
_LISTED = {"pass": "passes", "operator": "ops"}
