"""Instruments: what the tools see of a pipeline. Each listens to the manager; none changes a program.

PrintIR      the program before and after passes        Timing       seconds per pass
TreeDir      one NN-pass.sir file per pass              Statistics   tries, rewrites and refusals of every rule
Bisect       only the first N rewrites happen           Counters     only some rewrites of some rules happen
Promises     what passes say they keep is looked at
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from symc.ir.errors import VerifyError
from symc.ir.parse import parse
from symc.ir.text import collect_constants, print_module, save_constants
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Module, OptionError, Pass
from symc.passes.manager.properties import held
from symc.passes.manager.watching import Action, Miss


def is_unchanged(before: Module, after: Module) -> bool:
    """Whether a pass gave back what it was given."""
    return before is after or type(before) is type(after) and bool(before == after)


class PrintIR(Instrument):
    """Prints programs to a stream. `before` and `after` hold names of passes, "all", "change" (passes that changed
    something; where "change" is asked of `after`, the others are one line) and "failure" (a pass that fails: what it
    was given, and what it gave where that is what was wrong)."""

    def __init__(self, stream: TextIO, before: Collection[str] = (), after: Collection[str] = ()) -> None:
        self.stream, self.before, self.after = stream, before, after
        self._gave: Module = None

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._gave = None
        if "all" in self.before or pass_.name in self.before:
            self._print(f"before {pass_}", module)
        return True

    def gave(self, pass_: Pass, after: Module) -> None:
        self._gave = after

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        told = "change" in self.before or "change" in self.after
        unchanged = told and is_unchanged(before, after)
        if "change" in self.before and not unchanged:
            self._print(f"before {pass_}", before)
        if "all" in self.after or pass_.name in self.after or ("change" in self.after and not unchanged):
            self._print(f"after {pass_}", after)
        elif unchanged:
            self.stream.write(f"// ----- after {pass_}: unchanged -----\n")

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None:
        if self.after:
            self.stream.write(f"// ----- {pass_} failed: {error} -----\n")
        if "failure" in self.before:
            self._print(f"before {pass_}, which fails on this", before)
        if "failure" in self.after and self._gave is not None:
            self._print(f"after {pass_}, which is refused", self._gave)

    def _print(self, title: str, module: Module) -> None:
        try:
            text = print_module(module).rstrip()
        except Exception as problem:  # a program that is refused may be broken in any way
            text = f"// it cannot be printed: {type(problem).__name__}: {problem}"
        self.stream.write(f"// ----- {title} -----\n{text}\n")


class TreeDir(Instrument):
    """Writes 00-input.sir and NN-pass.sir files into a directory (made if missing), in place of those of an earlier
    run."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.count = 0

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        if self.count == 0:
            self._clear()
            self._write("input", module)
        return True

    def _clear(self) -> None:
        for path in self.directory.glob("[0-9][0-9]-*.sir"):
            with path.open(encoding="utf-8", errors="replace") as file:
                written = file.readline().startswith("symc ir ")
            if written:
                path.unlink()
                path.with_suffix(".npz").unlink(missing_ok=True)

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self._write(pass_.name, after)

    def _write(self, name: str, module: Module) -> None:
        path = self.directory / f"{self.count:02d}-{name}.sir"
        path.write_text(print_module(module), encoding="utf-8")
        save_constants(module, path)
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
    """Counts, for every rule of every pass, how often it looked at a value, how often it changed something, was vetoed,
    and was refused for which reason (where the rule knows it)."""

    watches = True

    def __init__(self) -> None:
        self.tries: Counter[tuple[str, str]] = Counter()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.hits: Counter[tuple[str, str]] = Counter()
        self.reasons: dict[tuple[str, str], Counter[str]] = {}

    def tried(self, pass_name: str, rule: str) -> None:
        self.tries[pass_name, rule] += 1

    def proposed(self, action: Action) -> None:
        self.asked[action.pass_name, action.rule] += 1

    def acted(self, pass_name: str, number: int, rule: str) -> None:
        self.hits[pass_name, rule] += 1

    def missed(self, miss: Miss) -> None:
        # one line for a reason, whatever the numbers and names in it are
        reason = _PARTICULAR.sub("...", miss.reason)
        self.reasons.setdefault((miss.pass_name, miss.rule), Counter())[reason] += 1

    def report(self) -> str:
        """A table: tries, hits, vetoes and refusals of every pass/rule, most hits first, and below it the reasons."""
        rules = {*self.tries, *self.asked, *self.reasons}
        lines = ["    tries     hits   vetoed  refused  rule"]
        for key in sorted(rules, key=lambda key: (-self.hits[key], key)):
            reasons = self.reasons.get(key, Counter())
            refused = sum(reasons.values())
            tries = max(self.tries[key], self.asked[key] + refused)
            counts = tries, self.hits[key], self.asked[key] - self.hits[key], refused
            lines.append("".join(f"{count:9d}" for count in counts) + f"  {'/'.join(key)}")
            lines += [f"{count:36d}    {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)


_PARTICULAR = re.compile(r"%(\"[^\"]*\"|[\w.$/-]+)|\[[\d, ]*\]|\b\d+\b")


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


class Counters(Instrument):
    """Lets only some rewrites of a rule happen: `skip` of them first do not, then at most `count` do.

    `text` is RULE-skip=N,RULE-count=M,...; RULE is a rule, pass/rule, or a pass (spaces as dashes). OptionError for
    text of another form."""

    def __init__(self, text: str) -> None:
        self.limits: dict[str, tuple[int, float]] = {}
        self.seen: Counter[str] = Counter()
        self._names: dict[str, None] = {}
        for part in text.split(","):
            match = _COUNTER.fullmatch(part.strip())
            if match is None:
                raise OptionError(f"debug counter {part.strip()!r}: expected RULE-skip=N or RULE-count=N")
            rule, word, number = match.groups()
            rule = _spelled(rule)
            skip, count = self.limits.get(rule, (0, math.inf))
            self.limits[rule] = (int(number), count) if word == "skip" else (skip, int(number))

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        by, dashed = _spelled(pass_name), _spelled(rule)
        allowed = True
        for name in dict.fromkeys((by, dashed, f"{by}/{dashed}")):
            self._names[name] = None
            if name in self.limits:
                skip, count = self.limits[name]
                self.seen[name] += 1
                allowed = allowed and skip < self.seen[name] <= skip + count
        return allowed

    def report(self) -> str:
        """A line for every counter: how many of the rewrites happened."""
        lines = []
        for name, (skip, count) in self.limits.items():
            seen = self.seen[name]
            if seen:
                told = f"{max(0, min(seen - skip, count))} of {seen} rewrites allowed"
            else:
                close = difflib.get_close_matches(name, self._names, 1)
                told = "nothing of this name was about to happen" + (f"; did you mean {close[0]}?" if close else "")
            lines.append(f"counter {name}: {told}")
        return "\n".join(lines)


def _spelled(name: str) -> str:
    """A pass or rule as a command line has it."""
    return name.replace(" ", "-").replace("_", "-")


_COUNTER = re.compile(r"(.+)-(skip|count)=(\d+)")


class Promises(Instrument):
    """Looks at what passes say without being asked: that a program is as it was before a pass was given it (rule M8;
    a pass that says "no change" gives that very program back); that all rules of the level hold, nothing taken from
    what earlier passes left; and that text holds all there is: read back it prints the same and has the same
    properties. VerifyError otherwise."""

    def __init__(self) -> None:
        self.checked = 0
        self._given = ""

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._given = print_module(module)
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.checked += 1
        if print_module(before) != self._given:
            raise VerifyError("M8", f"pass {pass_.name} changes the very program that it was given")
        verify(after)
        text = print_module(after)
        again = parse(text, data=collect_constants(after))
        if print_module(again) != text:
            raise VerifyError("M8", f"what pass {pass_.name} gives prints otherwise when it was read back")
        lost = sorted(held(after) ^ held(again))
        if lost:
            raise VerifyError(
                "M7", f"what pass {pass_.name} gives, and its text read back: one of them is not {lost[0]}"
            )

    def report(self) -> str:
        """How much was looked at."""
        return f"promises: kept by all {self.checked} passes"
