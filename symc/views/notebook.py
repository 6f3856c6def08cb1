"""What notebooks show of the programs of every level (symc.ir.display). Drawing is imported by the first picture."""

from __future__ import annotations

from html import escape
from typing import Any

from symc.ir.modules import LoopModule
from symc.ir.program.nodes import Program
from symc.ir.program.text import is_planned

#: boxes from which on a picture in a notebook folds Symbols with a common beginning
LARGE = 150


def shown(module: object) -> str:
    """A program as a notebook shows it."""
    if isinstance(module, Program):
        return program_html(module)
    return loops_html(module) if isinstance(module, LoopModule) else svg_of(module)


def svg_of(module: Any) -> str:
    """The picture of a graph or program as SVG; one with many boxes is folded."""
    from symc.views.drawing import to_svg
    from symc.views.graphs import picture_of
    from symc.views.picture import common_prefixes, folded

    picture = picture_of(module)
    prefixes = common_prefixes(picture) if len(picture.boxes) > LARGE else []
    return to_svg(folded(picture, prefixes) if prefixes else picture, getattr(module, "name", "") or "symbol")


def program_html(program: Program) -> str:
    """The picture of a program, and of its memory over time once that is planned."""
    from symc.views.memory import memory_svg

    memory = memory_svg(program, program.name) if is_planned(program) else ""
    return f"<div>{escape(repr(program))}</div>{svg_of(program)}{memory}"


def loops_html(loops: LoopModule) -> str:
    """The kernels as a table: work, bytes, Symbols."""
    from symc.views.tables import kernel_rows

    names = ("kernel", "calls", "flops", "read", "written", "symbols", "source")
    return f"<div>{escape(repr(loops))}</div>{html_table(names, kernel_rows(loops))}"


def html_table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    """A table of rows by column name."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for row in rows:
        cells = [", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in (row[name] for name in names)]
        body += f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
