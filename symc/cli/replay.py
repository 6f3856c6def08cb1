"""`symc replay` and `symc reduce`: a failure that was written, once more, and made smaller."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import symc
from symc.cli.inputs import load_text
from symc.cli.judge import exit_code
from symc.cli.report import BAD, FINE, INPUT, CliError
from symc.cli.values import arrays_of, text_of
from symc.codegen.errors import CompileError
from symc.codegen.jit.compile import assembly
from symc.codegen.target import host_target
from symc.compile import remaining
from symc.debug.apart import Say, apart
from symc.debug.checks import check
from symc.debug.files import is_trial, loads_of, read_text, write
from symc.debug.numdiff import SILENT, TRY_LIMIT
from symc.debug.reading import operators_of
from symc.debug.reduce import reduce
from symc.debug.trial import Failure, Trial
from symc.extensions import load_extensions
from symc.fuzz import custom
from symc.ir.errors import ParseError
from symc.ir.text import print_module
from symc.passes.pipeline import parse_pipeline

assert custom.NAME  # nets of `symc fuzz` have it


def read(path: Path) -> tuple[Trial, tuple[str, str, str] | None, list[str]]:
    """The trial of a file, what it expects to fail, and the files that it loads. A file without a trial has a RUN line
    of `symc opt`, whose passes it is about. CliError if it has neither."""
    text = text_of(str(path))
    loads = loads_of(text, path.parent)
    load_extensions(loads)
    beside = path.with_suffix(".npz")
    constants = arrays_of(str(beside)) if beside.exists() else {}
    if is_trial(text):
        try:
            return (*read_text(text, constants), loads)
        except ParseError as problem:
            raise problem.of_file(str(path)) from None
    run = re.search(r"// RUN: (?:symc )?opt .*?(?:-p|--passes)[ =](\"[^\"]*\"|'[^']*'|\S+)", text)
    if run is None:
        raise CliError(f"{path} has neither a trial nor a RUN line of symc opt: nothing says what fails", INPUT)
    try:
        loaded = load_text(text, constants, False)
        named = run[1].strip("\"'")
        passes = remaining(loaded.module) if named == "default" else parse_pipeline(named)
    except ParseError as problem:
        raise problem.of_file(str(path)) from None
    return Trial(loaded.module, tuple(passes), 0, refusable=False, bound=False), None, loads


def replay(options: argparse.Namespace) -> int:
    """Exit code 1 while it fails."""
    path = Path(options.file)
    code = replay_file(path)
    if options.against:
        there = _code_at(options.against, path)
        words = {FINE: "fine", BAD: "fails"}
        print(f"here: {words[code]}; {options.against}: {words.get(there, f'exit code {there}')}")
    return code


def replay_file(path: Path) -> int:
    """Run the trial of a file; what fails, and whether that is what the file expects. A `.ll` file is given to LLVM."""
    if path.suffix == ".ll":
        return _compiled(path.read_text(encoding="utf-8"))
    trial, expected, _ = read(path)
    found = apart(lambda say: check(trial, say).failure, SILENT)
    failure = found if isinstance(found, Failure) else None
    if failure is None:
        print("fine" if expected is None else f"fine: {' / '.join(filter(None, expected))} does not fail any more")
        return FINE
    print(failure)
    if expected is not None and not failure.fits(expected):
        print(f"symc: the file expects {' / '.join(filter(None, expected))}", file=sys.stderr)
    return BAD


def _compiled(text: str) -> int:
    """Whether LLVM makes code of a text, in a process that may die of it."""

    def work(say: Say) -> Failure | None:
        say("LLVM")
        try:
            assembly(text, host_target())
        except (CompileError, RuntimeError) as problem:
            return Failure("native", "LLVM", type(problem).__name__, str(problem))
        return None

    found = apart(work, SILENT)
    if isinstance(found, Failure):
        print(found)
        return BAD
    print("fine: LLVM makes code of it")
    return FINE


def _code_at(revision: str, path: Path) -> int:
    """The exit code of the replay in another revision of the repository that this code is in."""
    root = Path(symc.__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        tree = str(Path(folder) / "tree")
        made = subprocess.run(
            ["git", "-C", str(root), "worktree", "add", "--detach", tree, revision], capture_output=True, text=True
        )
        if made.returncode:
            last = made.stderr.strip().splitlines()[-1:] or ["git failed"]
            raise CliError(f"--against {revision}: {last[0]} (in {root})")
        try:
            environment = {**os.environ, "PYTHONPATH": tree}
            command = [sys.executable, "-m", "symc", "replay", str(path.resolve())]
            return subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.DEVNULL).returncode
        finally:
            subprocess.run(["git", "-C", str(root), "worktree", "remove", "--force", tree], capture_output=True)


def reduce_command(options: argparse.Namespace) -> int:
    """Write the smaller file; exit code 1 as it still fails, 0 if it does not fail at all."""
    path = Path(options.file)
    trial, _, loads = read(path)
    fails = _by_command(options.fails) if options.fails else _by_check
    failure = fails(trial)
    if failure is None:
        print("fine: nothing to reduce")
        return FINE
    before = operators_of(trial.module)
    small, found = reduce(trial, failure, fails, options.seconds)
    output = Path(options.output).with_suffix(".sir") if options.output else path.with_name(f"{path.stem}-reduced.sir")
    write(small, found, output.parent, output.stem, f"reduced from {path.name}", loads)
    print(f"{before} -> {operators_of(small.module)} operators, {len(trial.passes)} -> {len(small.passes)} passes")
    print(f"wrote {output}   # symc replay {output}")
    return BAD


def _by_check(trial: Trial) -> Failure | None:
    found = apart(lambda say: check(trial, say).failure, max(TRY_LIMIT, 2 * trial.limit))
    return found if isinstance(found, Failure) else None


def _by_command(command: str) -> Callable[[Trial], Failure | None]:
    """Failures of a command that is given the program in a file, behind its words or for {} in it."""

    def fails(trial: Trial) -> Failure | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.sir"
            path.write_text(print_module(trial.module, elide=1 << 40), encoding="utf-8")
            code = exit_code(command, path)
        return Failure("command", command, f"exit code {code}") if code else None

    return fails
