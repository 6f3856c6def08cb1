"""`symc numdiff`: the first pass, action and value that make a program wrong."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symc.cli.execute import need_for_inputs
from symc.cli.inputs import Loaded, load
from symc.cli.opt import chosen
from symc.cli.report import BAD, FINE, INTERNAL, PASS, VERIFIER, CliError
from symc.debug.apart import unmoved
from symc.debug.numdiff import KINDS, Search, kind_of, trials
from symc.debug.reading import operators_of
from symc.debug.split import write_units
from symc.debug.trial import Failure, Trial
from symc.extensions import files_of, loaded_files
from symc.ir.loop.nodes import walk
from symc.ir.modules import LoopModule
from symc.ir.program.nodes import KernelStep, Program
from symc.passes.manager.manager import Pass, PipelineError

#: programs that are made of kernels
Kernels = (Program, LoopModule)
#: verdicts and exit codes by what failed; the rest are crashes
VERDICTS = {
    **dict.fromkeys(("values", "gradient", "native", "executor", "text"), ("differs", BAD)),
    "again": ("differs", BAD),
    "verifier": ("verifier", VERIFIER),
    "refused": ("crash", PASS),
}


def numdiff(options: argparse.Namespace) -> int:
    """Check, blame, reduce and write; the exit code is the verdict."""
    loaded = load(options.input, options.shapes)
    passes = chosen(options.passes, loaded, options.train)
    search = Search(trials_of(options, loaded, passes), [*loaded_files(), *files_of(passes)])
    if options.split_tests:
        return _split(options, search)
    failure = search.check()
    say = _Lines(search, options.diagnostics == "json")
    say.passes(passes)
    if failure is None:
        say.verdict("ok")
        return FINE
    say.failure(failure)
    path: Path | None = None
    if options.reduce:
        with unmoved():
            operators, tries = search.reduce(options.reduce)
        say.line("reduced", f"{_size(search, operators)} in {tries} tries, same failure")
    if options.out:
        path = search.write(Path(options.out), f"found in {options.input}")
        say.line("wrote", f"{path}   # symc replay {path}")
    say.verdict(verdict_of(failure), path)
    return BAD if options.bisect_exit else code_of(failure)


def _split(options: argparse.Namespace, search: Search) -> int:
    """Write a test of every kernel instead of checking the whole."""
    if options.diagnostics == "json":
        raise CliError("--diagnostics=json is of a verdict; --split-tests writes tests, and symc test judges them")
    folder = Path(options.split_tests)
    with unmoved():
        paths = write_units(search.given[0], folder, options.input, search.loads)
    print(f"wrote {len(paths)} tests into {folder}   # symc test {folder}")
    return FINE


def _size(search: Search, operators: int) -> str:
    """How large the reduced program is."""
    module = None if search.small is None else search.small.module
    text = f"{operators} {'kernel' if isinstance(module, Kernels) else 'operator'}{'s' * (operators != 1)}"
    if isinstance(module, LoopModule):
        inner, word = sum(1 for kernel in module.kernels for _ in walk(kernel.body)), "statement"
    elif isinstance(module, Program):
        bodies = [step.body for step in module.steps if isinstance(step, KernelStep)]
        inner, word = sum(operators_of(body) for body in bodies), "operator"
    else:
        return text
    return f"{text} of {inner} {word}{'s' * (inner != 1)}"


def checked(loaded: Loaded, passes: Sequence[Pass], bisects: bool) -> int:
    """The checks of `symc opt --check`: what fails is told on standard error, and the exit code is the verdict."""
    need_for_inputs(loaded.module)
    search = Search(trials(loaded.module, passes, KINDS), [*loaded_files(), *files_of(passes)])
    failure = search.check()
    if failure is None:
        return FINE
    with contextlib.redirect_stdout(sys.stderr):
        _Lines(search, False).failure(failure)
    return BAD if bisects else code_of(failure)


def trials_of(options: argparse.Namespace, loaded: Loaded, passes: Sequence[Pass]) -> list[Trial]:
    """The trials that the options ask for."""
    if passes and passes[0].takes != loaded.level:
        raise PipelineError(
            f"pass {passes[0].name} takes {passes[0].takes} IR, but {options.input} is {loaded.level} IR"
        )
    need_for_inputs(loaded.module)
    kinds, seed = [], 0
    for text in options.inputs or KINDS:
        word, _, number = text.partition("=")
        if word not in KINDS or (number and not number.isdigit()) or (number and word != "seed"):
            raise CliError(f"--inputs {text}: expected seed=N, exact-int, edge or wide")
        seed = int(number or seed)
        kinds.append(word)
    return trials(loaded.module, passes, list(dict.fromkeys(kinds)), seed, options.train)


def verdict_of(failure: Failure) -> str:
    """differs, verifier or crash."""
    return VERDICTS.get(failure.check, ("crash", INTERNAL))[0]


def code_of(failure: Failure) -> int:
    """The exit code of a failure."""
    return VERDICTS.get(failure.check, ("crash", INTERNAL))[1]


class _Lines:
    """What is known, for people as it becomes known, or as one line of JSON in the end."""

    def __init__(self, search: Search, as_json: bool) -> None:
        self.search, self.as_json = search, as_json

    def line(self, word: str, text: str) -> None:
        if not self.as_json:
            print(f"{word:17}{text}", flush=True)

    def passes(self, passes: Sequence[Pass]) -> None:
        """A line for every pass that was run."""
        failed = self.search.failure is not None
        if self.as_json:
            return
        width = max([8, *(len(p.numerics) for p in passes)])
        for at, pass_ in enumerate(passes[: self.search.at + 1]):
            word = "FAIL" if failed and at == self.search.at else "ok"
            if at in self.search.idle and files_of([pass_]):  # somebody tries a pass of his own
                word += ", changed nothing"
            print(f"  #{at:<3}{pass_.name:16}{pass_.numerics:{width}} {word}")
        if failed and self.search.at == len(passes):
            print(f"  #{len(passes):<3}{self.search.place:{16 + width}} FAIL")

    def failure(self, failure: Failure) -> None:
        """Pass, action, value."""
        blame = self.search.blame
        first, *more = failure.message.splitlines() or [""]
        on = f" ({kind_of(self.search.trial)} inputs)" if failure.check in ("values", "native", "gradient") else ""
        only = ", by machine code alone: the interpreter runs its loops right" if failure.check == "native" else ""
        if blame.maker:
            only = f", seen after {failure.where}"
        self.line("first bad pass", f"{self.search.place}: {verdict_of(failure)}{only}: {first}{on}")
        for text in more:
            self.line("", text)
        if blame.action is not None:
            alone = "" if blame.maker else " (without it alone: ok)"
            self.line("first bad action", f"{self.search.place}#{blame.action} {blame.rule}{alone}")
        if blame.value:
            symbol = f"     Symbol {blame.symbol!r}, {blame.source or 'line unknown'}" if blame.symbol else ""
            detail = f": {blame.detail}" if blame.detail else ""
            self.line("first bad value", f"%{blame.value}{detail}{symbol}")

    def verdict(self, word: str, path: Path | None = None) -> None:
        """The last word."""
        if not self.as_json:
            if word == "ok":
                print("every pass keeps its numeric contract")
            return
        search, blame = self.search, self.search.blame
        passes = search.given[0].passes
        facts: dict[str, Any] = {"verdict": word, "pass": None, "action": None, "rule": None, "value": None}
        facts |= {"symbol": None, "source": None, "message": "", "reproducer": None if path is None else str(path)}
        facts["idle"] = [p.name for at, p in enumerate(passes) if at in search.idle and files_of([p])]
        if search.failure is not None:
            facts |= {"pass": search.place, "action": blame.action, "rule": blame.rule or None}
            facts |= {"value": blame.value or None, "symbol": blame.symbol or None, "source": blame.source or None}
            facts["message"] = search.failure.message
        print(json.dumps(facts), file=sys.stdout, flush=True)
