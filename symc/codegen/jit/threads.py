"""Work that the threads of one call share: one makes jobs, the others do them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from symc.codegen.target import default_threads

Job = TypeVar("Job")


def share(jobs: Iterable[Job], do: Callable[[Job], None], total: int, seen: Callable[[], None]) -> None:
    """`do` all of the `total` jobs, with as many threads as kernels may use: this one goes through `jobs`, and helps
    when it has. `seen` is called by it between jobs. The first error of any thread is raised when all have ended."""
    count = min(total, default_threads())
    if total < 2 or count < 2:
        for job in jobs:
            seen()
            do(job)
        return
    # Threads of this call, not of a pool: a forked child would have the pool without its threads.
    todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    errors: list[BaseException] = []
    caller = threading.current_thread()

    def work() -> None:
        while (job := todo.get()) is not None:
            if threading.current_thread() is caller:
                seen()
            if errors:
                continue
            try:
                do(job)
            except BaseException as error:
                errors.append(error)

    helpers: list[threading.Thread] = []
    try:
        for job in jobs:
            todo.put(job)
            seen()
            if len(helpers) < count and _started(helper := threading.Thread(target=work, name="symc-compile")):
                helpers.append(helper)
            if errors:
                break
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        for _ in range(len(helpers) + 1):
            todo.put(None)
        work()
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]


def _started(thread: threading.Thread) -> bool:
    """Whether the system had a thread to give."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
