"""What `symc opt` shows of passes at work: differences after every pass, single changes, counts, and promises kept."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional, TextIO

from symc.base import those
from symc.cli.info import find
from symc.cli.report import CliError
from symc.ir.text import print_module
from symc.passes.manager.instruments import (
    Bisect,
    Counters,
    PrintIR,
    Promises,
    Statistics,
    Timing,
    TreeDir,
    is_unchanged,
)
from symc.passes.manager.manager import Instrument, Manager, Module, OptionError, Pass
from symc.passes.manager.watching import Action
from symc.passes.pipeline import PASSES
from symc.views.drawing import to_dot
from symc.views.graphs import NoPicture, picture_of
from symc.views.picture import changed

RED, GREEN, CYAN, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


def colours(stream: TextIO) -> bool:
    """Whether text for a stream may have colours: it is a terminal, and nobody says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def difference(before: str, after: str, titles: tuple[str, str], colour: bool = False) -> str:
    """Two texts as a unified diff; empty if they are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *titles, lineterm="")
    return "\n".join(map(_coloured if colour else str, lines))


def _coloured(line: str) -> str:
    for start, code in (("@@", CYAN), ("-", RED), ("+", GREEN)):
        if line.startswith(start):
            return f"{code}{line}{PLAIN}"
    return line


class Changes(Instrument):
    """After every pass what it changed: as a diff of texts without origins (diff-quiet: nothing where that is nothing),
    or as a picture (dot)."""

    def __init__(self, stream: TextIO, form: str = "diff") -> None:
        self.stream, self.form, self.colour = stream, form, colours(stream)

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        found = ""
        if not is_unchanged(before, after):
            found = self._picture(pass_, before, after) if self.form == "dot" else self._diff(pass_, before, after)
        if found:
            self.stream.write(f"// ----- {pass_} -----\n{found}\n")
        elif self.form == "diff":
            self.stream.write(f"// ----- {pass_}: unchanged -----\n")

    def _diff(self, pass_: Pass, before: Module, after: Module) -> str:
        texts = print_module(before, locs=False), print_module(after, locs=False)
        return difference(*texts, (f"before {pass_}", f"after {pass_}"), self.colour)

    @staticmethod
    def _picture(pass_: Pass, before: Module, after: Module) -> str:
        """Of another level than before all is new, and loops have no picture."""
        try:
            made = picture_of(after)
            if pass_.takes == pass_.gives:
                made = changed(picture_of(before), made)
        except NoPicture:
            return ""
        return to_dot(made, pass_.name)


class _Stopped(CliError):
    """The user has seen enough."""


class Steps(Instrument):
    """A line for every change: its number (that of --bisect-limit), pass#number, rule, Symbol, and what becomes of
    what. `ask` gives what the user wants next: nothing (go on), s (leave this change out), c (no more questions) or
    q."""

    watches = True

    def __init__(self, stream: TextIO, ask: Optional[Callable[[str], str]] = None) -> None:
        self.stream, self.ask = stream, ask
        self.count = 0
        self._counts = True

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._counts = pass_.numerics != "extends"
        return True

    def proposed(self, action: Action) -> None:
        self.count += self._counts
        number = str(self.count) if self._counts else "-"
        symbol = action.symbol
        where = ""
        if symbol is not None:
            where = f"  [{symbol.name}{f' {Path(symbol.file).name}:{symbol.line}' if symbol.file else ''}]"
        change = f"  {action.before} -> {action.made}" if action.made else ""
        self.stream.write(f"{number:>6}  {action.pass_name}#{action.number} {action.rule}{where}{change}\n")

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        if self.ask is None:
            return True
        answer = self.ask("        Enter: go on, s: skip, c: to the end, q: quit > ").strip().lower()
        if answer == "q":
            raise _Stopped("stopped", 0)
        if answer == "c":
            self.ask = None
        return answer != "s"


class Texts(Instrument):
    """The text after every pass."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.rows.append((str(pass_), print_module(after)))


class Watch:
    """The instruments that the options ask for, and what they report in the end."""

    def __init__(self, options: argparse.Namespace, passes: Sequence[Pass]) -> None:
        self.instruments: list[Instrument] = []
        self._reports: list[Callable[[Manager], str]] = []
        before, after = (_printed(options, word, passes) for word in ("before", "after"))
        if before or after:
            self.instruments.append(PrintIR(sys.stderr, before, after))
        if options.print_changed:
            self.instruments.append(Changes(sys.stderr, options.print_changed))
        if options.print_ir_tree_dir:
            self.instruments.append(TreeDir(options.print_ir_tree_dir))
        if options.step:
            stops = sys.stdin.isatty() and sys.stderr.isatty() and options.input != "-"
            self.instruments.append(Steps(sys.stderr, _ask if stops else None))
        if options.timing:
            timing = Timing()
            self._add(timing, lambda manager: timing.report(manager.seconds.get("verify", 0.0)))
        if options.pass_statistics:
            statistics = Statistics()
            self._add(statistics, lambda _: statistics.report())
        for limit in limits(options):
            self._add(limit, lambda _, limit=limit: limit.report())  # type: ignore[misc]
        if options.verify_preserved:
            promises = Promises()
            self._add(promises, lambda _: promises.report())

    def _add(self, instrument: Instrument, report: Callable[[Manager], str]) -> None:
        self.instruments.append(instrument)
        self._reports.append(report)

    def report(self, manager: Manager) -> None:
        """What was counted, on standard error."""
        for report in self._reports:
            print(report(manager), file=sys.stderr)


def limits(options: argparse.Namespace) -> list[Counters | Bisect]:
    """What leaves changes out, as the options say."""
    found: list[Counters | Bisect] = []
    if options.debug_counter:
        try:
            found.append(Counters(",".join(options.debug_counter)))
        except OptionError as problem:
            raise CliError(f"--debug-counter: {problem}") from None
    if options.bisect_limit is not None:
        found.append(Bisect(options.bisect_limit))
    return found


def _ask(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    return line if line else "q"


def _printed(options: argparse.Namespace, word: str, passes: Sequence[Pass]) -> set[str]:
    """The passes around which programs are printed: names as options spell them, and "all", "change", "failure"."""
    names = {name.replace("-", "_") for name in getattr(options, f"print_ir_{word}")}
    ran = [pass_.name for pass_ in passes]
    for name in names:
        find(name, PASSES, "pass")
        if name not in ran:
            raise CliError(f"--print-ir-{word}={name}: this pass does not run here; these do: {those(ran, name, 6)}")
    return names | {kind for kind in ("all", "change", "failure") if getattr(options, f"print_ir_{word}_{kind}")}
