"""Instruments: what the tools see of a pipeline. Each listens to the manager; none changes a program.

PrintIR      the program before and after passes        Timing       seconds per pass
TreeDir      one NN-pass.sir file per pass              Statistics   accepted rewrites per rule
Bisect       only the first N rewrites happen           Reproducer   what a failing pass was given, as a file
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from symc.ir.text import collect_constants, print_module
from symc.passes.manager.manager import Instrument, Module, OptionError, Pass


def is_unchanged(before: Module, after: Module) -> bool:
    """Whether a pass gave back what it was given."""
    return before is after or type(before) is type(after) and bool(before == after)


class PrintIR(Instrument):
    """Prints programs to a stream. `before` and `after` are names of passes, or "all"; with `changed`, a pass that
    changed nothing is one line."""

    def __init__(
        self, stream: TextIO, before: Collection[str] = (), after: Collection[str] = (), changed: bool = False
    ) -> None:
        self.stream, self.before, self.after, self.changed = stream, before, after, changed

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        if "all" in self.before or pass_.name in self.before:
            self._print(f"before {pass_}", module)
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        if self.changed and is_unchanged(before, after):
            self.stream.write(f"// ----- after {pass_}: unchanged -----\n")
        elif self.changed or "all" in self.after or pass_.name in self.after:
            self._print(f"after {pass_}", after)

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None:
        if self.after or self.changed:
            self.stream.write(f"// ----- {pass_} failed: {error} -----\n")

    def _print(self, title: str, module: Module) -> None:
        self.stream.write(f"// ----- {title} -----\n{print_module(module).rstrip()}\n")


class TreeDir(Instrument):
    """Writes 00-input.sir and NN-pass.sir files into a directory (made if missing)."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.count = 0

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        if self.count == 0:
            self._write("input", module)
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self._write(pass_.name, after)

    def _write(self, name: str, module: Module) -> None:
        (self.directory / f"{self.count:02d}-{name}.sir").write_text(print_module(module), encoding="utf-8")
        self.count += 1


class Timing(Instrument):
    """Seconds of every pass, in order."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.rows.append((str(pass_), seconds))

    def report(self, verify_seconds: float = 0.0) -> str:
        """A table: seconds, share, pass; verification as its own line."""
        rows = [*self.rows, *([("verify", verify_seconds)] if verify_seconds else [])]
        total = sum(seconds for _, seconds in rows)
        lines = ["   seconds  share  pass"]
        lines += [f"{seconds:10.6f} {100 * seconds / total if total else 0:5.1f}%  {name}" for name, seconds in rows]
        return "\n".join([*lines, f"{total:10.6f} 100.0%  total"])


class Statistics(Instrument):
    """Counts the rewrites that happened, by pass and rule."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], int] = {}

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        self.hits[pass_name, rule] = self.hits.get((pass_name, rule), 0) + 1

    def report(self) -> str:
        """A table: count, pass/rule; most frequent first."""
        rows = sorted(self.hits.items(), key=lambda row: (-row[1], row[0]))
        return "\n".join(["    count  rule", *(f"{count:9d}  {pass_name}/{rule}" for (pass_name, rule), count in rows)])


class Bisect(Instrument):
    """Lets only the first `limit` rewrites of the whole pipeline happen (-1: all), so that halving the limit finds the
    one that breaks something. Passes that add results (autodiff) are not limited: without their rewrites results are
    missing."""

    def __init__(self, limit: int) -> None:
        if limit < -1:
            raise OptionError(f"a bisection allows a number of rewrites, or -1 for all of them, not {limit}")
        self.limit, self.seen = limit, 0
        self.last = ""
        self._limited = True

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._limited = pass_.numerics != "extends"
        return True

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        if not self._limited:
            return True
        self.seen += 1
        return self.limit < 0 or self.seen <= self.limit

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        if self._limited:
            self.last = f"{pass_name}#{number} {rule}"

    def report(self) -> str:
        """What the limit let happen last."""
        happened = self.seen if self.limit < 0 else min(self.seen, self.limit)
        return f"bisect: {happened} of {self.seen} rewrites; last: {self.last or 'none'}"


class Reproducer(Instrument):
    """When a pass fails, writes the program it was given, and how to run it again, as a `.sir` file (large
    constants beside it, as `.npz`).

    `rest` are the passes of the pipeline, so that the file's RUN line holds the failing pass and those after it.
    """

    def __init__(self, directory: str | Path, rest: Sequence[Pass] = ()) -> None:
        self.directory, self.rest = Path(directory), list(rest)
        self.path: Path | None = None

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None:
        remaining = self.rest[self.rest.index(pass_) :] if pass_ in self.rest else [pass_]
        path = self.directory / f"reproducer-{pass_.name}.sir"
        cause = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        header = [
            f'// RUN: symc opt -p "{",".join(map(str, remaining))}" {path.name}',
            f"// {pass_.name} failed:",
            *(f"//   {line}" for line in cause.splitlines()),
        ]
        self.directory.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*header, print_module(before)]), encoding="utf-8")
        constants: dict[str, Any] = collect_constants(before)
        if constants:
            np.savez(path.with_suffix(".npz"), **constants)
        self.path = path
