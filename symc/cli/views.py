"""Text views of a printed program: origins shortened or left out, lines and kernels selected."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from symc.ir.origins import SymOrigin

_TABLE = re.compile(r"^!(\d+) = (.*)$")
_SYMBOL = re.compile(r'^sym ("(?:[^"\\]|\\.)*") (\S+)(?: at ("(?:[^"\\]|\\.)*"):(\d+))?$')
#: the origin of what a line defines, and any origin in it (operands of a kernel have theirs)
_LOC = re.compile(r" !(\d+)(?: \{|,)?$")
_ANY_LOC = re.compile(r" !\d+(?=[,) ]|$)")
_KERNEL_NAME = r'@("(?:[^"\\]|\\.)*"|[\w.]+)\('
_ANY_NUMBER, _STRING = re.compile(r"!(\d+)"), re.compile(r'"(?:[^"\\]|\\.)*"')
_CALL, _KERNEL = re.compile(f" = call .*?{_KERNEL_NAME}"), re.compile(f"kernel {_KERNEL_NAME}")
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


def bare(name: str) -> str:
    """A name, or a pattern, that somebody may have copied from a text: without its % or @ and its quotes."""
    name = name.lstrip("%@")
    if len(name) > 1 and name[0] == name[-1] == '"':
        try:
            return str(json.loads(name))
        except ValueError:  # a pattern with a quote on each side
            return name
    return name


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
    """What defines a value (or kernel) whose name, or one of whose Symbols, matches the glob pattern: its line, and its
    body if it has one; of a kernel, in which anything matches or which such a line calls, all of it."""
    table = OriginTable(text)
    found: list[str] = []
    lines = [line for line in text.splitlines() if not _TABLE.match(line)]
    calls = [(line, call.group(1)) for line in lines if (call := _CALL.search(line)) is not None]
    called = {kernel for line, kernel in calls if _matches(line, table, pattern)}
    for block in _blocks(lines):
        if block[0].startswith("kernel @"):
            name = _KERNEL.match(block[0])
            wanted = name is not None and name.group(1) in called
            found += block if wanted or any(_matches(line, table, pattern) for line in block) else []
            continue
        end = -1
        for at, line in enumerate(block):
            if at <= end or line.startswith(("symc ir", "func ", "arena ")) or line.lstrip().startswith("}"):
                continue
            last = _end(block, at)
            # a kernel's origin stands behind its body
            if _matches(line, table, pattern) or " = fuse " in line and _matches(block[last], table, pattern):
                end = last
                found += block[at : end + 1]
    return found


def names_of(text: str) -> list[str]:
    """What lines of a text can be selected by: values, kernels and Symbols."""
    table = OriginTable(text)
    lines = [line for line in text.splitlines() if not _TABLE.match(line)]
    return list(dict.fromkeys(name for line in lines for name in _names(line, table)))


def origins_of(text: str, lines: Sequence[str]) -> list[str]:
    """The lines of a text's table of origins that some of its lines refer to, and those that these refer to."""
    rows = {row.group(1): line for line in text.splitlines() if (row := _TABLE.match(line))}
    needed: set[str] = set()
    left = [number for line in lines for number in _ANY_NUMBER.findall(_without_strings(line))]
    while left:
        number = left.pop()
        if number in rows and number not in needed:
            needed.add(number)
            left += _ANY_NUMBER.findall(_without_strings(rows[number]))
    return [line for number, line in rows.items() if number in needed]


def _without_strings(line: str) -> str:
    return _STRING.sub('""', line)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Every kernel, and what is between them."""
    at = start = 0
    while at < len(lines):
        if lines[at].startswith("kernel @"):
            if start < at:
                yield list(lines[start:at])
            end = _end(lines, at)
            yield list(lines[at : end + 1])
            at = start = end + 1
        else:
            at += 1
    if start < at:
        yield list(lines[start:at])


def _end(lines: Sequence[str], at: int) -> int:
    """The last line of what begins at a line: of a body the one with its closing brace."""
    if not lines[at].endswith("{"):
        return at
    close = lines[at][: len(lines[at]) - len(lines[at].lstrip())] + "}"
    return next((n for n in range(at + 1, len(lines)) if lines[n].startswith(close)), at)


def _matches(line: str, table: OriginTable, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(n, pattern) for n in _names(line, table))


def _names(line: str, table: OriginTable) -> list[str]:
    """What a line is about: its Symbols, and the value or kernel that it defines."""
    names = [s.name for s in table.of_line(line)]
    name = _DEFINED.match(line)
    if name is not None and (line.lstrip().startswith(("%", "(%")) or " @" in line[:8]):
        names.append(json.loads(name.group(1)) if name.group(1).startswith('"') else name.group(1))
    return names
