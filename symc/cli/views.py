"""Text views of a printed program: origins shortened or left out, lines selected, the memory plan as a table."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

from symc.ir.origins import SymOrigin, first_symbol
from symc.ir.program.form import form_text
from symc.ir.program.nodes import BranchStep, KernelStep, LoopStep, Program, Result, ViewStep, programs_of, results_of

_TABLE = re.compile(r"^!(\d+) = (.*)$")
_SYMBOL = re.compile(r'^sym ("(?:[^"\\]|\\.)*") (\S+)(?: at ("(?:[^"\\]|\\.)*"):(\d+))?$')
#: the origin of what a line defines, and any origin in it (operands of a kernel have theirs)
_LOC = re.compile(r" !(\d+)(?: \{|,)?$")
_ANY_LOC = re.compile(r" !\d+(?=[,) ]|$)")
_DEFINED = re.compile(r'^\s*(?:kernel @|for |\(?)%?("(?:[^"\\]|\\.)*"|[\w./$-]+)')


class OriginTable:
    """The `!n` table at the end of a text: for each number the Symbols it goes back to."""

    def __init__(self, text: str) -> None:
        self.symbols: dict[int, list[SymOrigin]] = {}
        for line in text.splitlines():
            entry = _TABLE.match(line)
            if entry is None:
                continue
            symbol = _SYMBOL.match(entry.group(2))
            if symbol is not None:
                name, op, file, number = symbol.groups()
                origin = SymOrigin(json.loads(name), op, json.loads(file or '""'), int(number or 0))
                self.symbols[int(entry.group(1))] = [origin]
            else:
                found: dict[SymOrigin, None] = {}
                for parent in re.findall(r"!(\d+)", entry.group(2)):
                    found.update(dict.fromkeys(self.symbols.get(int(parent), [])))
                self.symbols[int(entry.group(1))] = list(found)

    def of_line(self, line: str) -> list[SymOrigin]:
        """The Symbols of a line that ends in `!n`."""
        loc = _LOC.search(line)
        return self.symbols.get(int(loc.group(1)), []) if loc else []


def label(symbols: list[SymOrigin]) -> str:
    """`fc1 mlp.py:5`, and how many more Symbols there are."""
    if not symbols:
        return ""
    first = symbols[0]
    where = f" {Path(first.file).name}:{first.line}" if first.file else ""
    return f"{first.name}{where}{f' +{len(symbols) - 1}' if len(symbols) > 1 else ''}"


def shorten(text: str, comments: bool = True) -> str:
    """The same program without the table of origins; with `comments`, every line says `// Symbol file:line` instead."""
    table = OriginTable(text)
    lines = []
    for line in text.splitlines():
        if _TABLE.match(line):
            continue
        symbols = table.of_line(line)
        bare = _ANY_LOC.sub("", line)
        lines.append(f"{bare}  // {label(symbols)}" if symbols and comments else bare)
    return "\n".join(lines)


def select(text: str, pattern: str) -> list[str]:
    """The lines that define a value (or kernel) whose name, or one of whose Symbols, matches the glob pattern."""
    table = OriginTable(text)
    found = []
    for line in text.splitlines():
        if _TABLE.match(line) or line.startswith(("symc ir", "func ", "arena ", "}")):
            continue
        symbols = table.of_line(line)
        name = _DEFINED.match(line)
        names = [s.name for s in symbols]
        if name is not None and (line.lstrip().startswith(("%", "(%")) or " @" in line[:8]):
            names.append(json.loads(name.group(1)) if name.group(1).startswith('"') else name.group(1))
        if any(fnmatch.fnmatchcase(n, pattern) for n in names):
            found.append(line)
    return found


def memory_table(program: Program) -> str:
    """Every value the program writes: where, how many bytes, for which Symbol; and the arena beside the lower bound."""
    rows = [("step", "kernel", "form", "writes", "place", "bytes", "Symbol", "line")]
    _add_rows(rows, program, "", 0)
    unplanned = unplanned_bytes(program)
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    right = {0, 5}
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    saved = ""
    if unplanned:
        saved = f", {100 * (1 - program.arena / unplanned):.0f}% less than the {unplanned} B of one buffer per value"
    bound = f"; the largest live set is {program.lower_bound} B" if program.lower_bound else ""
    return "\n".join([*lines, f"arena {program.arena} B{saved}{bound}"])


def _add_rows(rows: list[tuple[str, ...]], program: Program, where: str, base: int) -> None:
    """What the steps of a program write, and those of their regions: `where` they are, as in 2.body/, and where in the
    whole arena theirs begins."""
    for at, step in enumerate(program.steps):
        symbol = first_symbol(step.origin)
        name = symbol.name if symbol is not None else ""
        line = f"{Path(symbol.file).name}:{symbol.line}" if symbol is not None and symbol.file else ""
        for result in results_of(step):
            place = _place(result, where, base)
            form = form_text(step.form) if isinstance(step, KernelStep) else ""
            size = str(result.type.nbytes)
            rows.append((f"{where}{at}", step.label, form, f"%{result.name}", place, size, name, line))
        if isinstance(step, (LoopStep, BranchStep)):
            for region in step.regions:
                _add_rows(rows, region.program, f"{where}{at}.{region.name}/", base + step.frame.offset)


def unplanned_bytes(program: Program) -> int:
    """Bytes of one buffer for every value that a plan puts, or would put, into the arena."""
    return sum(
        result.type.nbytes
        for part in programs_of(program)
        for step in part.steps
        if not isinstance(step, ViewStep)
        for result in step.results
        if result.place.kind in ("", "arena")
    )


def _place(result: Result, where: str, base: int) -> str:
    """Where a value lies; of a region's value in the whole arena, or in which of the region's buffers."""
    place = result.place
    if place.kind == "arena":
        text = f"A+{base + place.offset}"
    else:
        text = f"{where if place.kind else ''}{str(place).lstrip('@')}" or "unplanned"
    return f"{text}{f' over %{result.inplace}' if result.inplace else ''}"
