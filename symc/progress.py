"""What takes long says how far it is: one line on a terminal, written over; a log record (logging, "symc") elsewhere.

All progress of the program goes through here. A line never gets wider than the terminal, is drawn ten times a second at
most, and knows how long the rest will take. There are no colours, so NO_COLOR has nothing to switch off; TERM=dumb is
treated as a file. Only the main thread draws.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

#: width where the terminal does not say; seconds between two drawings; seconds after which compilation is spoken of
COLUMNS, EVERY, PATIENCE = 80, 0.1, 1.0
#: the widest and the narrowest bar that is worth its place
WIDEST, NARROWEST = 30, 8

_log = logging.getLogger("symc")
_NOTHING = "the program"
_compiled: ContextVar[tuple[str, float] | None] = ContextVar("compiled", default=None)


def columns(stream: TextIO) -> int:
    """The width of the terminal behind a stream."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except (OSError, ValueError):  # a file, a pipe, or no file at all
        return COLUMNS


def is_terminal(stream: TextIO) -> bool:
    """Whether a line can be written over there."""
    return stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def line(parts: Sequence[str], done: int, total: int, width: int) -> str:
    """As many of the parts as the width holds, what is most important first, with a bar if there is room."""
    text = ""
    for part in parts:
        longer = f"{text}  {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    bar = min(WIDEST, width - len(text) - 3)
    if not text:
        return parts[0][:width] if parts else ""
    if bar < NARROWEST or not total:
        return text
    filled = bar * min(done, total) // total
    return f"[{'#' * filled}{'.' * (bar - filled)}] {text}"


class Progress:
    """How far something is that takes `total` steps: a line on a terminal, and nothing elsewhere."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.stream = total, stream or sys.stderr
        self.restart()
        self.live = is_terminal(self.stream) and threading.current_thread() is threading.main_thread()
        self._drawn, self._width = 0.0, 0

    def restart(self, done: int = 0) -> None:
        """The time left is judged by what happens from now on: the first step may be unlike the others."""
        self._start, self._first = time.perf_counter(), done

    def left(self, done: int) -> float:
        """Seconds that the rest takes, if it goes on as so far."""
        return (time.perf_counter() - self._start) * (self.total - done) / max(done - self._first, 1)

    def due(self, done: int) -> bool:
        """Whether `show` would draw after `done` steps; the last one is always shown."""
        return self.live and (time.perf_counter() - self._drawn >= EVERY or 0 < self.total <= done)

    def show(self, done: int, parts: Sequence[str]) -> None:
        """The line after `done` steps: a bar, these parts (what is most important first) and the time left."""
        if not self.due(done):
            return
        self._drawn = time.perf_counter()
        rest = [f"{duration(self.left(done))} left"] if self._first < done < self.total else []
        # one column stays free: a line as wide as the terminal would begin the next one
        self._write(line([*parts, *rest], done, self.total, columns(self.stream) - 1))

    def end(self, text: str = "", always: bool = False) -> None:
        """The line that stays: this one, or what was shown last. Nothing where nothing was drawn, unless `always`."""
        if not self._width and not (always and self.live):
            return
        if text:
            self._write(text[: columns(self.stream) - 1])
        self.stream.write("\n")
        self.stream.flush()
        self._width = 0

    def _write(self, text: str) -> None:
        self.stream.write("\r" + text.ljust(self._width))
        self.stream.flush()
        self._width = len(text)


@contextmanager
def compiling(name: str) -> Iterator[None]:
    """What is compiled in the block is spoken of as `name`, and takes its time from now on."""
    token = _compiled.set((name, time.perf_counter()))
    try:
        yield
    finally:
        _compiled.reset(token)


class Compilation:
    """How far the compilation of some kernels is. Nothing is said of one that takes less than a second."""

    def __init__(self, kernels: int, cached: bool) -> None:
        self.kernels, self.cached = kernels, cached
        self.name, self.begun = _compiled.get() or (_NOTHING, time.perf_counter())
        self.progress = Progress(kernels)
        self._said = False

    def show(self, done: int) -> None:
        """After `done` kernels."""
        if time.perf_counter() - self.begun < PATIENCE:
            return
        counted = f"compiling {self.name}: {done}/{self.kernels} kernels"
        self.progress.show(done, [counted, *(["cached for next time"] if self.cached else [])])
        if not self._said:
            self._said = True
            if not self.progress.live:
                _log.info("%s so far%s", counted, "; they are cached for next time" if self.cached else "")

    def end(self) -> None:
        """All are compiled."""
        if self._said:
            took = duration(time.perf_counter() - self.begun)
            text = f"compiled {self.name}: {self.kernels} kernels in {took}"
            self.progress.end(text)
            if not self.progress.live:
                _log.info("%s", text)
