"""Tests that are programs: a `.sir` file with what is run on it, and what must come out.

    // RUN: opt -p fuse{max-ops=4} [--load mine.py] [--debug-counter fuse-skip=1]
    // CHECK: fuse map[4] "relu"(%x: element)
    // CHECK-NOT: %b
    // CHECK-STATS: fuse/kernel=1

CHECK lines stand in the text of the result (without origins) in this order, each in a line behind that of the one
before; `{{...}}` is a regular expression. What a CHECK-NOT says stands nowhere between its neighbours. CHECK-STATS
counts the rewrites of a pass, or of pass/rule. Every test also runs its passes as `symc numdiff` does: verified after
each, the text read back, the values compared.

A file whose RUN line is `symc replay ...` (symc numdiff, bisect, reduce and fuzz write them) must not fail, or not any
more.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from symc.compile import remaining
from symc.debug.apart import apart
from symc.debug.checks import check
from symc.debug.files import read_text
from symc.debug.numdiff import SILENT, trials
from symc.debug.reading import definition
from symc.debug.trial import Failure
from symc.ir.errors import ParseError
from symc.ir.parse import parse
from symc.ir.text import print_module
from symc.passes.manager.instruments import Counters, Statistics
from symc.passes.manager.manager import Instrument, Manager, Pass
from symc.passes.pipeline import parse_pipeline

_LINE = re.compile(r"^\s*// (CHECK|CHECK-NOT|CHECK-STATS): ?(.*)$")
_RUN = re.compile(r"^\s*// RUN: (.*)$", re.M)
#: what is meant for one of these, and may be none
_MEANT = re.compile(r"^\s*//\s*([A-Z]+(?:-[A-Z]+)*)\s*:")
_WORDS = ("RUN", "CHECK", "CHECK-NOT", "CHECK-STATS")


@dataclass(frozen=True)
class Expectation:
    """A line that says what must come out: its kind, text and number in the file."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class SirTest:
    """A file's RUN line and expectations."""

    text: str
    command: str
    expected: tuple[Expectation, ...]

    @property
    def replays(self) -> bool:
        """Whether it is a failure that somebody wrote."""
        return self.command.startswith("symc replay ")


def is_test(path: Path) -> bool:
    """Whether a `.sir` file says how it is run."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return any(meant[1] == "RUN" for line in file if (meant := _MEANT.match(line)))


def read_test(text: str) -> SirTest:
    """The test in a text. ParseError for one without a RUN line or with two, and for a line that nobody would heed."""
    expected, runs = [], 0
    for at, line in enumerate(text.splitlines(), 1):
        match, meant = _LINE.match(line), _MEANT.match(line)
        if match is not None:
            expected.append(Expectation(match[1], match[2].strip(), at))
        elif _RUN.match(line):
            runs += 1
            if runs > 1:
                raise ParseError("a test has one RUN line", at, 1, line)
        elif meant is not None and (meant[1] in _WORDS or _is_like(meant[1])):
            what = f"it is written // {meant[1]}: ..." if meant[1] in _WORDS else f"there are {', '.join(_WORDS)}"
            raise ParseError(f"{meant[0].strip()} is none of a test's lines: {what}", at, 1, line)
    run = _RUN.search(text)
    if run is None:
        raise ParseError("no line begins with '// RUN: '")
    return SirTest(text, run[1].strip(), tuple(expected))


def _is_like(word: str) -> bool:
    """Whether a word was meant for one of a test's own: CHECK-NEXT, CHEK."""
    return word.startswith("CHECK-") or bool(difflib.get_close_matches(word, _WORDS, 1, 0.75))


@dataclass
class Outcome:
    """What came out: the text, the rewrites that happened, and what is wrong with the values ("" for nothing)."""

    text: str
    statistics: Statistics
    wrong: str


def run_test(test: SirTest) -> Outcome:
    """Run the passes of a test. ParseError for a RUN line that is not understood; errors of passes pass through."""
    module = parse(test.text, {}, definition)
    passes: list[Pass] = []
    try:
        options = _options(test.command)
        passes = remaining(module) if options.passes == "default" else parse_pipeline(options.passes)
    except ParseError as problem:
        raise _of_run_line(test.text, problem) from None
    statistics = Statistics()
    instruments: list[Instrument] = [statistics]
    if options.debug_counter:
        instruments.append(Counters(options.debug_counter))
    after = Manager(instruments).run(passes, module)
    first, *others = trials(module, passes, ("exact-int", "seed"))
    failure = check(first, also=others).failure
    return Outcome(print_module(after, locs=False), statistics, "" if failure is None else str(failure))


def _of_run_line(text: str, problem: ParseError) -> ParseError:
    """An error of a RUN line, or of the pipeline in it, where that stands in the file."""
    line, source = next((at, line) for at, line in enumerate(text.splitlines(), 1) if _RUN.match(line))
    column = source.find(problem.source) + problem.column if problem.source else 1
    return ParseError(problem.message, line, column, source)


def _options(command: str) -> argparse.Namespace:
    try:
        words = shlex.split(command)
    except ValueError as problem:
        raise ParseError(f"RUN: {problem}") from None
    words = words[1:] if words[:1] == ["symc"] else words
    if words[:1] != ["opt"]:
        raise ParseError("RUN: expected opt -p PIPELINE, or symc replay FILE")
    parser = argparse.ArgumentParser(prog="RUN: opt", add_help=False, exit_on_error=False)
    parser.add_argument("-p", "--passes", default="")
    parser.add_argument("--debug-counter", default="")
    parser.add_argument("--load", action="append")  # who reads the file has loaded them: symc.debug.files.loads_of
    try:
        options, rest = parser.parse_known_args(words[1:])
    except argparse.ArgumentError as problem:
        raise ParseError(f"RUN: {problem}") from None
    rest = [word for word in rest if not word.endswith(".sir")]
    if not options.passes:
        raise ParseError("RUN: expected -p PIPELINE")
    if rest:
        raise ParseError(f"RUN: {rest[0]} is not understood here")
    return options


def problems_of(test: SirTest) -> list[str]:
    """What is wrong, a line or more each; empty for a test that passes."""
    if test.replays:
        failure, _ = _replayed(test)
        return [] if failure is None else [str(failure)]
    outcome = run_test(test)
    found = [f"the numbers are wrong: {outcome.wrong}"] if outcome.wrong else []
    return found + [_told(test, *pair) for pair in _unmet(test, outcome)]


def is_expected(test: SirTest) -> bool:
    """Whether a written failure fails as it says."""
    if read_text(test.text)[1] is None:
        return False
    failure, expected = _replayed(test)
    return failure is not None and expected is not None and failure.fits(expected)


def _replayed(test: SirTest) -> tuple[Failure | None, tuple[str, str, str] | None]:
    """What fails, in a process that may die of it, and what is expected to."""
    trial, expected = read_text(test.text)
    found = apart(lambda say: check(trial, say).failure, SILENT)
    return (found if isinstance(found, Failure) else None), expected


def _told(test: SirTest, expected: Expectation, what: str) -> str:
    return f"line {expected.line}: {expected.kind}: {expected.text}\n  {what}"


def _unmet(test: SirTest, outcome: Outcome) -> list[tuple[Expectation, str]]:
    lines = outcome.text.splitlines()
    found: list[tuple[Expectation, str]] = []
    at = 0
    absent: list[Expectation] = []

    def look(end: int) -> None:
        for wanted in absent:
            where = next((n for n in range(at, end) if _pattern(wanted.text).search(_spaced(lines[n]))), None)
            if where is not None:
                found.append((wanted, f"stands in the result: {lines[where].strip()}"))
        absent.clear()

    for expected in test.expected:
        if expected.kind == "CHECK-STATS":
            problem = _counted(expected.text, outcome.statistics)
            if problem:
                found.append((expected, problem))
        elif expected.kind == "CHECK-NOT":
            absent.append(expected)
        else:
            pattern = _pattern(expected.text)
            where = next((n for n in range(at, len(lines)) if pattern.search(_spaced(lines[n]))), None)
            if where is None:
                rest = "\n".join(f"    {line}" for line in lines[at:])
                found.append((expected, f"does not stand in the rest of the result:\n{rest}"))
                break
            look(where)
            at = where + 1
    look(len(lines))
    return found


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"\{\{(.*?)\}\}", _spaced(text))
    return re.compile("".join(f"(?:{part})" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _count(name: str, statistics: Statistics) -> int:
    return sum(n for (by, rule), n in statistics.hits.items() if name in (by, f"{by}/{rule}"))


def _counted(text: str, statistics: Statistics) -> str:
    name, equals, number = (part.strip() for part in text.rpartition("="))
    if not equals or not number.isdigit():
        return "expected PASS=N or PASS/RULE=N"
    count = _count(name, statistics)
    return "" if count == int(number) else f"there were {count}"


# --------------------------------------------------------------------------------------------- update


def updated(test: SirTest) -> str:
    """The text with the expectations that are met by what comes out now: itself where they are. ParseError where the
    values are wrong, or where it stands what a CHECK-NOT forbids."""
    if test.replays:
        return test.text
    outcome = run_test(test)
    if outcome.wrong:
        raise ParseError(f"the numbers are wrong, so nothing is written: {outcome.wrong}")
    unmet = _unmet(test, outcome)
    if not unmet:
        return test.text
    forbidden = next((expected for expected, _ in unmet if expected.kind == "CHECK-NOT"), None)
    if forbidden is not None:
        raise ParseError(f"line {forbidden.line}: it stands what CHECK-NOT forbids: {forbidden.text}")
    stale = any(expected.kind == "CHECK" for expected, _ in unmet)
    body = [f"// CHECK: {line}" for line in outcome.text.splitlines()[1:]]
    made: list[str] = []
    for line in test.text.splitlines():
        match = _LINE.match(line)
        kind = match[1] if match else ""
        if kind == "CHECK-STATS" and match is not None:
            name = match[2].rpartition("=")[0].strip()
            made.append(f"// CHECK-STATS: {name}={_count(name, outcome.statistics)}")
        elif kind == "CHECK" and stale:
            made += body
            body = []
        else:
            made.append(line)
    return "\n".join(made) + "\n"
