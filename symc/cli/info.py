"""`symc passes` and `symc ops`: what there is, from the definitions themselves."""

from __future__ import annotations

import dataclasses
import difflib
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
    pass_ = _find(name.replace("-", "_"), PASSES, "pass")
    needed = "optional" if pass_.optional else "required"
    print(f"{pass_.name}: {pass_.takes} -> {pass_.gives}; values: {pass_.numerics}; {needed}")
    print(f"\n{(pass_.__doc__ or '').strip()}")
    for option in dataclasses.fields(pass_):
        text = ":".join(option.default) if isinstance(option.default, tuple) else str(option.default).lower()
        print(f"  {option.name.replace('_', '-')}={text}  {option.metadata.get('help', '')}")
    return 0


_ORDER = ("symbol", "tensor", "program", "loop")


def show_operators(name: str | None) -> int:
    """All MXNet operators, or one with its signature, inputs and text."""
    operators = _operators()
    if name is None:
        width = max(map(len, operators), default=0)
        for key in sorted(operators, key=str.lower):
            print(f"{key:{width}}  {_first_line(operators[key])}")
        return 0
    cls = _find(name, operators, "operator")
    print(f"{name}({', '.join([*_inputs(cls), *_parameters(cls)])})")
    print(f"\n{_document(cls)}")
    return 0


def _operators() -> dict[str, Any]:
    import symc.ops  # noqa: F401  (registers every operator)
    from symc.ops.base import OPERATORS

    return dict(OPERATORS)


def _inputs(cls: Any) -> list[str]:
    if cls.variadic:
        return ["*data"]
    return [*cls.input_names, *cls.aux_names]


def _parameters(cls: Any) -> list[str]:
    from symc.ops.base import parameters

    made = []
    for p in parameters(cls):
        made.append(p.name if p.required else f"{p.name}={p.default!r}")
    return made


def _document(cls: Any) -> str:
    import inspect

    return inspect.getdoc(cls) or ""


def _first_line(cls: Any) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _find(name: str, among: dict[str, Any], what: str) -> Any:
    if name not in among:
        close = difflib.get_close_matches(name, among, 3)
        raise CliError(f"there is no {what} {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
    return among[name]
