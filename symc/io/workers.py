"""Threads that make the samples of the next batches while this one is used."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

Task = Callable[[], Any]


class Pending:
    """Tasks that were ordered together; `results` waits for them, in their order, and raises what they raised."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks, self.process, self.wanted = tasks, os.getpid(), True
        self.done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def results(self) -> list[Any]:
        """What the tasks gave."""
        found = dict(self.done.get() for _ in self.tasks)
        for at in range(len(self.tasks)):
            if isinstance(found[at], BaseException):
                raise found[at]
        return [found[at] for at in range(len(self.tasks))]


class Workers:
    """So many threads, begun when they are first needed, and again in a process that was forked: it has none."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._process: int | None = None
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def order(self, tasks: Sequence[Task]) -> Pending:
        """Have tasks done."""
        if self._process != os.getpid():
            self._process, self._orders = os.getpid(), queue.SimpleQueue()
            for _ in range(self.count):
                threading.Thread(target=_work, args=(self._orders,), name="symc-pictures", daemon=True).start()
        pending = Pending(tasks)
        for at in range(len(tasks)):
            self._orders.put((pending, at))
        return pending

    def results(self, pending: Pending) -> list[Any]:
        """What tasks gave; those that another process was to do are done anew."""
        return (pending if pending.process == os.getpid() else self.order(pending.tasks)).results()

    def __del__(self) -> None:
        if self._process == os.getpid():
            for _ in range(self.count):
                self._orders.put(None)


def _work(orders: queue.SimpleQueue[Any]) -> None:
    while (order := orders.get()) is not None:
        pending, at = order
        made: Any = None
        if pending.wanted:
            try:
                made = pending.tasks[at]()
            except Exception as problem:
                made = problem
        pending.done.put((at, made))
