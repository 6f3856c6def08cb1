"""What programs record themselves while mx.profiler runs: spans of time, counters, and marks."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from symc.base import MXNetError
from symc.runtime.recording import active

__all__ = ["Counter", "Domain", "Event", "Frame", "MARKS", "Marker", "Task"]

#: what was recorded, in Chrome's trace format; times in nanoseconds of time.perf_counter_ns
MARKS: list[dict[str, Any]] = []


def _record(phase: str, name: str, category: str, at: int, **more: Any) -> None:
    if active() is not None:
        where = {"pid": os.getpid(), "tid": threading.get_ident()}
        MARKS.append({"ph": phase, "name": name, "cat": category, **where, "ts": at, **more})


class Domain:
    """A name above those of what is recorded."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    def new_task(self, name: str) -> Task:
        """A span that may begin and end anywhere."""
        return Task(self, name)

    def new_frame(self, name: str) -> Frame:
        """A span that is repeated: a step, a picture."""
        return Frame(self, name)

    def new_counter(self, name: str, value: int | None = None) -> Counter:
        """A number that changes."""
        return Counter(self, name, value)

    def new_marker(self, name: str) -> Marker:
        """A moment."""
        return Marker(self, name)


class _Span:
    """Base of what has a beginning and an end."""

    def __init__(self, name: str, category: str) -> None:
        self.name, self._category = name, category
        self._begun: int | None = None

    def start(self) -> None:
        """It begins."""
        self._begun = time.perf_counter_ns()

    def stop(self) -> None:
        """It ends. MXNetError if it has not begun."""
        if self._begun is None:
            raise MXNetError(f"{type(self).__name__} {self.name!r}: stop() before start()")
        _record("X", self.name, self._category, self._begun, dur=time.perf_counter_ns() - self._begun)
        self._begun = None

    def __enter__(self) -> _Span:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __str__(self) -> str:
        return self.name


class Task(_Span):
    """A span in a domain."""

    def __init__(self, domain: Domain, name: str) -> None:
        super().__init__(name, domain.name)


class Frame(_Span):
    """A span in a domain that is repeated."""

    def __init__(self, domain: Domain, name: str) -> None:
        super().__init__(name, domain.name)


class Event(_Span):
    """A span without a domain."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "event")


class Counter:
    """A number in a domain: `set_value`, `increment`, `decrement`, += and -= record what it becomes."""

    def __init__(self, domain: Domain, name: str, value: int | None = None) -> None:
        self.name, self._category, self._value = name, domain.name, 0
        if value is not None:
            self.set_value(value)

    def set_value(self, value: int) -> None:
        """It is this from now on."""
        self._value = value
        _record("C", self.name, self._category, time.perf_counter_ns(), args={"value": value})

    def increment(self, delta: int = 1) -> None:
        """It grows."""
        self.set_value(self._value + delta)

    def decrement(self, delta: int = 1) -> None:
        """It shrinks."""
        self.set_value(self._value - delta)

    def __iadd__(self, delta: int) -> Counter:
        self.increment(delta)
        return self

    def __isub__(self, delta: int) -> Counter:
        self.decrement(delta)
        return self

    def __str__(self) -> str:
        return self.name


class Marker:
    """A moment in a domain."""

    def __init__(self, domain: Domain, name: str) -> None:
        self.name, self._category = name, domain.name

    def mark(self, scope: str = "process") -> None:
        """It is now: for the "process", a "thread", or all ("global")."""
        kinds = {"process": "p", "thread": "t", "global": "g"}
        if scope not in kinds:
            raise MXNetError(f"Marker {self.name!r}: mark({scope!r}) is none of {', '.join(kinds)}")
        _record("i", self.name, self._category, time.perf_counter_ns(), s=kinds[scope])
