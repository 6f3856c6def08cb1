"""A limit for what runs in Python: a pass that loops for ever is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TimeLimit(BaseException):
    """The time is over. No Exception, so that nobody takes it for a failure of the work that it interrupts."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """TimeLimit in the block after so many seconds (0: never; only the main thread can be interrupted)."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
