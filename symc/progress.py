"""What takes long says how far it is: one line on a terminal, written over; a log record (logging, "symc") elsewhere.

All progress of the program goes through here. tqdm draws: ten times a second at most, never wider than the terminal. It
is imported when the first line is drawn. There are no colours, so NO_COLOR has nothing to switch off; TERM=dumb is
treated as a file. Only the main thread draws.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from symc.line import Line

#: seconds after which compilation is spoken of
PATIENCE = 1.0

_log = logging.getLogger("symc")
_NOTHING = "the program"
_compiled: ContextVar[tuple[str, float, ExitStack] | None] = ContextVar("compiled", default=None)


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class Progress:
    """How far something is that takes `total` steps (0 where that is not known): a line on a terminal, and nothing
    elsewhere."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.stream = total, stream or sys.stderr
        told = self.stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
        self.live = told and threading.current_thread() is threading.main_thread()
        self._line: Line | None = None

    def show(self, done: int, parts: Callable[[], Sequence[str]]) -> None:
        """The line after `done` steps: a bar, these parts (what is most important first; asked for when something is
        drawn) and the time left, judged by what happens from the first call on: the first step may be unlike others."""
        if not self.live:
            return
        if self._line is None:
            from symc.line import Line

            self._line = Line(self.total, self.stream, done, parts)
        self._line.total, self._line.parts = self.total, parts
        self._line.update(done - self._line.n)

    def say(self, text: str) -> None:
        """A line that stays, in the place of the one that was shown; nothing if none was."""
        if self._line is not None and not self._line.disable:
            self._line.clear()
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def close(self) -> None:
        """Nothing more is shown, and what was is wiped away."""
        if self._line is not None:
            self._line.close()


@contextmanager
def compiling(name: str) -> Iterator[None]:
    """What is compiled in the block is spoken of as `name`, and takes its time from now on. No line outlives it."""
    with ExitStack() as lines:
        token = _compiled.set((name, time.perf_counter(), lines))
        try:
            yield
        finally:
            _compiled.reset(token)


class Compilation:
    """How far the compilation of some kernels is. Nothing is said of one that takes less than a second."""

    def __init__(self, kernels: int, cached: bool) -> None:
        self.kernels, self.cached = kernels, cached
        self.name, self.begun, lines = _compiled.get() or (_NOTHING, time.perf_counter(), ExitStack())
        self.progress = Progress(kernels)
        lines.callback(self.progress.close)
        self._said = False

    def show(self, done: int) -> None:
        """After `done` kernels."""
        if time.perf_counter() - self.begun < PATIENCE:
            return
        counted = f"compiling {self.name}: {done}/{self.kernels} kernels"
        self.progress.show(done, lambda: [counted, *(["cached for next time"] if self.cached else [])])
        if not self._said:
            self._said = True
            if not self.progress.live:
                _log.info("%s so far%s", counted, "; they are cached for next time" if self.cached else "")

    def end(self) -> None:
        """All are compiled."""
        if self._said:
            took = duration(time.perf_counter() - self.begun)
            text = f"compiled {self.name}: {self.kernels} kernels in {took}"
            self.progress.say(text)
            self.progress.close()
            if not self.progress.live:
                _log.info("%s", text)
