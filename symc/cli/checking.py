"""`symc opt` on files of several programs, on programs that must be refused, and the same twice."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import symc
from symc.cli.inputs import Loaded, is_text, load_text, spoken
from symc.cli.report import BAD, FINE, CliError, StageError
from symc.cli.values import text_of
from symc.cli.watching import Texts, difference
from symc.ir.errors import IRError, ParseError, VerifyError
from symc.ir.text import print_module

#: what stands between the programs of a file
_BETWEEN = re.compile(r"^// -----[ \t]*\n", re.M)
_EXPECTED = re.compile(r"//\s*expected-error(?:@([+-]\d+|below|above))?\s*\{\{(.*?)\}\}")


def pieces(options: argparse.Namespace) -> list[str]:
    """The programs of a `.sir` file, or of standard input; one, unless they are to be split. Each stands on the lines
    where the file has it."""
    if not is_text(options.input):
        word = "--split-input-file" if options.split_input_file else "--verify-diagnostics"
        raise CliError(f"{word} is for .sir files, not for {options.input}")
    if options.shapes:
        raise CliError(f"--shapes is for models; programs in text form have their types: {options.input}")
    text = text_of(options.input)
    if not options.split_input_file:
        return [text]
    above, found = 0, []
    for piece in _BETWEEN.split(text):
        found.append("\n" * above + piece)
        above += piece.count("\n") + 1
    return found


def load_piece(text: str, source: str) -> Loaded:
    """The program of a piece of what a command line calls `source`."""
    try:
        return load_text(text, {}, True)
    except ParseError as problem:
        raise problem.of_file(spoken(source)) from None
    except VerifyError as problem:
        raise problem.within(f"in {spoken(source)}") from None


def diagnosed(options: argparse.Namespace, run: Callable[[str], object]) -> int:
    """Run every piece; its error must be one that a comment `// expected-error {{text}}` announces: a part of the
    message, on the line of the comment (`@below`, `@above`, `@+N` and `@-N` move that) where the error has one. Exit
    code 1 for an error that nobody announced, and for an announced one that does not come."""
    wrong = 0
    for number, piece in enumerate(pieces(options)):
        where = f"{spoken(options.input)}{f' (program {number})' if options.split_input_file else ''}"
        for problem in _problems(piece, run):
            wrong += 1
            print(f"symc: {where}: {problem}", file=sys.stderr)
    return BAD if wrong else FINE


def _problems(piece: str, run: Callable[[str], object]) -> list[str]:
    expected = _expected(piece)
    error: Exception | None = None
    try:
        run(piece)
    except StageError as problem:
        error = problem.error
    except (IRError, CliError) as problem:
        error = problem
    if error is not None:
        line = getattr(error, "line", 0)
        met = [e for e in expected if e[1] in str(error) and line in (0, e[0])]
        if not met:
            return [f"unexpected error: {error}"]
        expected.remove(met[0])
    return [f"line {line}: the expected error did not come: {text}" for line, text in expected]


def _expected(piece: str) -> list[tuple[int, str]]:
    """Lines and texts of the errors that comments announce."""
    found = []
    for number, line in enumerate(piece.splitlines(), 1):
        for where, text in _EXPECTED.findall(line):
            found.append((number + int({"below": "1", "above": "-1", "": "0"}.get(where, where)), text))
    return found


# --------------------------------------------------------------------------------------------- determinism


def same_again(options: argparse.Namespace, loaded: Loaded, first: Texts, again: Callable[[Texts], object]) -> None:
    """CliError, exit code 1, where the passes give another text when they run once more, in this process and in one
    whose sets have another order."""
    second = Texts()
    again(second)
    _compare(first.rows, [text for _, text in second.rows], "a second run")
    with tempfile.TemporaryDirectory() as folder:
        tree, source = Path(folder) / "tree", options.input
        if is_text(source):  # standard input is read by now, and a file may have more programs
            source = str(Path(folder) / "input.sir")
            Path(source).write_text(print_module(loaded.module, elide=1 << 40), encoding="utf-8")
        seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        paths = [str(Path(symc.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        words = [source, *_arguments(options), "--print-ir-tree-dir", str(tree), "--no-verify-each", "-o", os.devnull]
        command = [sys.executable, "-m", "symc", "opt", *words]
        made = subprocess.run(command, env=environment, capture_output=True, text=True)
        if made.returncode:
            raise CliError(f"a run with PYTHONHASHSEED={seed} fails: {made.stderr.strip()}", BAD)
        files = sorted(tree.glob("*.sir"))[1:]
        _compare(first.rows, [f.read_text(encoding="utf-8") for f in files], f"a run with PYTHONHASHSEED={seed}")


def _arguments(options: argparse.Namespace) -> list[str]:
    """The options of a run, as far as they change what passes give."""
    words = ["-p", options.passes]
    if options.shapes:
        words += ["--shapes", ",".join(f"{name}={'x'.join(map(str, s))}" for name, s in options.shapes.items())]
    words += ["--train"] if options.train else []
    words += ["--schedule", options.schedule] if options.schedule else []
    words += [f"--bisect-limit={options.bisect_limit}"] if options.bisect_limit is not None else []
    for word in ("load", "insert", "disable", "debug_counter"):
        for given in getattr(options, word):
            words += [f"--{word.replace('_', '-')}", given]
    return words


def _compare(first: Sequence[tuple[str, str]], second: Sequence[str], what: str) -> None:
    for (name, text), again in zip(first, second, strict=True):
        if text != again:
            found = difference(text, again, ("first run", what))
            raise CliError(f"pass {name} is not deterministic: {what} gives another program\n{found}", BAD)
