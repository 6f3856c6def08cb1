"""Files that show a failure inside of the compiler again.

In commands a file is written before the first pass runs, and says before every pass, and before code generation, what
is about to run: it is there whatever becomes of the process. Where a pass fails in an orderly way, the file is written
anew with the program that this pass was given. It is taken away where nothing failed. `symc replay` runs a file, as it
does what `symc numdiff` writes. Programs that use the library do not pay for this: symc.tracing writes a file where
their compilations fail (SYMC_DUMP is for those that end the process).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from symc.debug.files import failure_line, text_of
from symc.debug.operator_fault import files_of_operators
from symc.debug.trial import Failure, Trial
from symc.extensions import files_of
from symc.ir.errors import IRError, VerifyError
from symc.ir.text import ELIDE, save_constants
from symc.leftovers import new_file, remove
from symc.passes.manager.manager import Module, Pass
from symc.tracing import WATCHER, Watcher

#: what is said of machine code as of a pass
NATIVE = "native"

_open: ContextVar[list[Reproducer] | None] = ContextVar("reproducers", default=None)


@contextmanager
def kept_until_end(loads: Sequence[str]) -> Iterator[None]:
    """Whatever is compiled in the block has a reproducer, which is there until the block ends: machine code may be made
    of what passes gave. `loads` are files that it has to load."""
    opened: list[Reproducer] = []
    token, watcher = _open.set(opened), WATCHER.set(lambda module, passes: Reproducer(module, passes, loads))
    try:
        yield
    finally:
        _open.reset(token)
        WATCHER.reset(watcher)
        for reproducer in opened:
            reproducer.done()


class Reproducer(Watcher):
    """The file of one run of some passes on a module. `loads` are files, beside those that passes are from, that it has
    to load."""

    def __init__(self, module: Module, passes: Sequence[Pass], loads: Sequence[str] = ()) -> None:
        self.module = module
        self.passes = tuple(passes)
        self.loads = list(dict.fromkeys([*loads, *files_of(passes), *files_of_operators(module)]))
        self.path: Path | None = None
        self.failed = False
        self._file: BinaryIO | None = None
        self._line = (0, 0)
        trial = self._trial(module, self.passes)
        self._write(trial, Failure("crash", passes[0].name if passes else NATIVE, "", "the process ended there"))
        opened = _open.get()
        if opened is not None:
            opened.append(self)

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self.about_to(pass_.name)
        return True

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        if pass_ is self.passes[-1]:
            self.about_to(NATIVE)

    def about_to(self, stage: str) -> None:
        """Say which stage is about to run."""
        if self._file is not None:
            at, size = self._line
            self._file.seek(at)
            self._file.write(failure_line(("crash", stage, "")).ljust(size).encode())

    def failed_pass(self, pass_: Pass, before: Module, error: BaseException) -> None:
        self.failed = True
        check, rule = "pass", type(error).__name__
        if isinstance(error, VerifyError):
            check, rule = "verifier", error.rule
        elif isinstance(error, IRError):
            check = "refused"
        self._write(self._trial(before, (pass_,)), Failure(check, pass_.name, rule, _cause(error)))

    def stopped(self, error: BaseException) -> Path | None:
        if not self.failed:  # the passes did not: machine code cannot be made
            self.failed = True
            failure = Failure("native", "compile", type(error).__name__, _cause(error))
            self._write(self._trial(self.module, self.passes), failure)
        return self.path

    def end(self) -> None:
        """The passes are over. Machine code may be made of what they gave: a block that keeps the file knows when that
        is over, too."""
        if _open.get() is None:
            self.done()

    def done(self) -> None:
        """Nothing failed, or what did is written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self.path is not None and not self.failed:
            remove(self.path)

    @staticmethod
    def _trial(module: Module, passes: tuple[Pass, ...]) -> Trial:
        return Trial(module, passes, 0, native=not passes or passes[-1].gives == "loop", refusable=False, bound=False)

    def _write(self, trial: Trial, failure: Failure) -> None:
        """The file; nothing where there is no place for it, or the program has no text (it calls Python)."""
        try:
            path = self.path or new_file("reproducers", ".sir")
            text = text_of(trial, failure, path.name, f"command: {' '.join(sys.argv)}", self.loads, ELIDE)
            start = text.index(failure_line(failure.signature))
            end = text.index("\n", start)
            # room for the name of every stage
            line = failure_line(failure.signature).ljust(max(len(p.name) for p in (*self.passes, Pass())) + 40)
            save_constants(trial.module, path)
            path.write_text(text[:start] + line + text[end:], encoding="utf-8")
            self.path, self._line = path, (len(text[:start].encode()), len(line))
            if self._file is None:
                self._file = path.open("r+b", buffering=0)
        except (OSError, IRError):
            self.path = self._file = None


def _cause(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
