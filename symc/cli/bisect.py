"""`symc bisect`: the smallest set of passes and actions with which a program fails."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from symc.cli.inputs import load
from symc.cli.judge import exit_code
from symc.cli.numdiff import trials_of, verdict_of
from symc.cli.opt import chosen
from symc.cli.report import BAD, FINE
from symc.debug.apart import Say, apart, unmoved
from symc.debug.bisect import Action, Only, Smallest, bisect
from symc.debug.blame import blame
from symc.debug.checks import Scene, check
from symc.debug.numdiff import SILENT, has_effects
from symc.debug.trial import Failure, Trial
from symc.ir.errors import IRError
from symc.ir.text import print_module
from symc.passes.manager.manager import Instrument, Manager, Pass

#: verdicts by what --fails asks for
KINDS = {
    "numerics": ("differs",),
    "verify": ("verifier",),
    "crash": ("crash",),
    "any": ("differs", "verifier", "crash"),
}


def bisect_command(options: argparse.Namespace) -> int:
    """Find the set and print it; exit code 1 if there is one."""
    loaded = load(options.input, options.shapes)
    passes = chosen(options.passes, loaded, options.train)
    given = trials_of(options, loaded, passes)
    judge = _Checks(given, KINDS[options.fails]) if options.fails in KINDS else _Command(given[0], options.fails)
    with unmoved():
        found = bisect(passes, judge.fails, options.seconds)
    as_json = options.diagnostics == "json"
    if found is None:
        print(json.dumps({"verdict": "ok", "passes": [], "actions": []}) if as_json else "nothing fails")
        return FINE
    names = [f"{found.passes[at].name}#{number} {rule}" for (at, number), rule in found.actions.items()]
    value, symbol, source = judge.value(found)
    if as_json:
        actions = [
            {"pass": found.passes[at].name, "action": number, "rule": rule}
            for (at, number), rule in found.actions.items()
        ]
        facts = {"verdict": "fails", "passes": [str(p) for p in found.passes], "actions": actions}
        print(json.dumps(facts | {"value": value, "symbol": symbol, "source": source}))
        return BAD
    print(f"passes   {found.passes_before} -> {len(found.passes)}: {','.join(map(str, found.passes))}")
    print(f"actions  {found.actions_before} -> {len(names)}: {', '.join(names) or 'none: it fails without any'}")
    if value:
        print(f"value    %{value}" + (f"     Symbol {symbol!r}, {source or 'line unknown'}" if symbol else ""))
    print(f"tries    {found.tries}")
    return BAD


class _Checks:
    """Fails where a check of one of some kinds does."""

    def __init__(self, given: Sequence[Trial], verdicts: Sequence[str]) -> None:
        self.given, self.verdicts = given, verdicts
        first = apart(lambda say: check(given[0], say, given[1:]).failure, SILENT)
        #: what is to be found: with fewer passes other things may fail
        self.wanted = first if isinstance(first, Failure) else None
        #: a check may end the process, or leave something behind: then every one has a process of its own
        self.apart = self.wanted is not None and (self.wanted.check in ("crash", "hang") or has_effects(self.wanted))

    def fails(self, passes: Sequence[Pass], instrument: Instrument) -> bool:
        """Whether one of the trials does, with these passes."""
        if self.apart and isinstance(instrument, Only):
            failure = apart(lambda say: self._noting(passes, instrument, say), SILENT)
            if isinstance(failure, tuple):
                failure, instrument.rules = failure
        else:
            failure = self._failure(passes, instrument, Scene())
        if failure is None or self.wanted is None or verdict_of(failure) not in self.verdicts:
            return False
        return failure.where == self.wanted.where and failure.check == self.wanted.check

    def _noting(self, passes: Sequence[Pass], only: Only, say: Say) -> tuple[Failure | None, dict[Action, str]]:
        return self._failure(passes, only, Scene(), say), only.rules

    def _failure(
        self, passes: Sequence[Pass], instrument: Instrument, scene: Scene, say: Say = lambda stage, seconds=0.0: None
    ) -> Failure | None:
        given = [dataclasses.replace(t, passes=tuple(passes)) for t in self.given]
        return check(given[0], say, given[1:], scene, [instrument]).failure

    def value(self, found: Smallest) -> tuple[str, str, str]:
        """The value that differs, its Symbol and the user's line."""
        named = apart(lambda say: self._valued(found, say), SILENT)
        return ("", "", "") if isinstance(named, Failure) else named

    def _valued(self, found: Smallest, say: Say) -> tuple[str, str, str]:
        scene = Scene()
        failure = self._failure(found.passes, Only(set(found.actions)), scene, say)
        if failure is None or has_effects(failure):
            return "", "", ""
        trial = dataclasses.replace(self.given[0], passes=tuple(found.passes))
        named = blame(trial, scene, failure)
        return named.value, named.symbol, named.source


class _Command:
    """Fails where a command does that is given the program, as the passes leave it, in a file."""

    def __init__(self, trial: Trial, command: str) -> None:
        self.trial, self.command = trial, command

    def fails(self, passes: Sequence[Pass], instrument: Instrument) -> bool:
        """Whether the command's exit code is not 0; a `{}` in it is the file, which else comes last."""
        try:
            module = Manager([instrument]).run(passes, self.trial.module)
        except IRError:
            return False
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.sir"
            path.write_text(print_module(module, elide=1 << 40), encoding="utf-8")
            return exit_code(self.command, path) != 0

    def value(self, found: Smallest) -> tuple[str, str, str]:
        """A command names none."""
        return "", "", ""
