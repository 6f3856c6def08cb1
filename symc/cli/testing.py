"""`symc test`: `.sir` files that say what must come out, as pytest runs them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from symc.cli.report import BAD, FINE, CliError
from symc.debug.sirtest import is_test, problems_of, read_test, updated
from symc.ir.errors import IRError


def test_files(options: argparse.Namespace) -> int:
    """A line for every file; exit code 1 if one fails."""
    files = list(dict.fromkeys(found(options.paths)))
    if not files:
        raise CliError(f"no .sir file with a RUN line in {', '.join(options.paths)}")
    failed = 0
    for file in files:
        problems = _problems(file, options.update)
        failed += bool(problems)
        print(f"{'FAIL' if problems else 'ok':5}{file}", flush=True)
        for problem in problems:
            print("     " + problem.replace("\n", "\n     "), flush=True)
    print(f"{len(files) - failed} of {len(files)} pass", file=sys.stderr)
    return BAD if failed else FINE


def _problems(file: Path, update: bool) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
        if update:
            now = updated(read_test(text))
            if now != text:
                file.write_text(now, encoding="utf-8")
                text = now
        return problems_of(read_test(text))
    except IRError as problem:
        return [str(problem)]


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
