"""`symc test`: `.sir` files that say what must come out, as pytest runs them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from symc.cli.report import BAD, FINE, CliError
from symc.debug.files import loads_of
from symc.debug.sirtest import is_expected, is_test, problems_of, read_test, updated
from symc.extensions import ExtensionError, load_extensions
from symc.ir.errors import IRError, ParseError


def test_files(options: argparse.Namespace) -> int:
    """A line for every file; exit code 1 if one fails."""
    files = list(dict.fromkeys(found(options.paths)))
    if not files:
        raise CliError(f"no .sir file with a RUN line in {', '.join(options.paths)}")
    failed = 0
    for file in files:
        word, problems = _judged(file, options.update)
        failed += word == "FAIL"
        print(f"{word:6}{file}", flush=True)
        for problem in problems:
            print("      " + problem.replace("\n", "\n      "), flush=True)
    print(f"{len(files) - failed} of {len(files)} pass", file=sys.stderr)
    return BAD if failed else FINE


def _judged(file: Path, update: bool) -> tuple[str, list[str]]:
    """ok, xfail (a written failure that fails as it says) or FAIL, and why."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        load_extensions(loads_of(text, file.parent))
        test = read_test(text)
        if update:
            now = updated(test)
            if now != text:
                file.write_text(now, encoding="utf-8")
                test = read_test(now)
        if test.replays and is_expected(test):
            return "xfail", []
        problems = problems_of(test)
    except ParseError as problem:
        problems = [str(problem.of_file(str(file)))]
    except UnicodeDecodeError as problem:
        problems = [f"{file} is not a text: {problem}"]
    except (IRError, CliError, ExtensionError, OSError) as problem:
        problems = [str(problem)]
    return ("FAIL" if problems else "ok"), problems


def found(paths: Iterable[str]) -> Iterable[Path]:
    """The tests among files and in folders."""
    for text in paths:
        path = Path(text)
        if not path.exists():
            raise FileNotFoundError(2, "no such file", text)
        if path.is_file():
            yield path
        else:
            yield from (file for file in sorted(path.rglob("*.sir")) if is_test(file))
