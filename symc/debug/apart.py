"""Work in a copy of this process, which may die or never end."""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Protocol

from symc.base import MXNetError
from symc.debug.trial import Failure


class Say(Protocol):
    """Says which stage the work is at, and for how many seconds it may be silent then (0: as long as any)."""

    def __call__(self, stage: str, seconds: float = 0.0) -> None: ...


def apart(work: Callable[[Say], Any], seconds: float) -> Any:
    """What `work` gives in a forked child; it is handed a function that says which stage it is at. A child that dies,
    or that says nothing for so many seconds, or that is interrupted, is a Failure of that stage. MemoryError where it
    lacks memory, MXNetError for what it refuses; RuntimeError with the text of what else it raises."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, writing)
    os.close(writing)
    data, stage, since, limit, hung = b"", "start", time.monotonic(), seconds, False
    try:
        while True:
            left = since + limit - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                hung = True
                break
            more = os.read(reading, 1 << 16)
            if not more:
                break
            data += more
            since = time.monotonic()
            messages, data = _messages(data)
            for kind, found in messages:
                if kind == "stage":
                    stage, limit = found[0], found[1] or seconds
                if kind == "answer":
                    return found
                if kind == "interrupt":
                    return Failure("crash", stage, found, f"it raises {found}")
                if kind == "memory":
                    raise MemoryError(found)
                if kind == "refused":
                    raise MXNetError(found)
                if kind == "error":
                    raise RuntimeError(found)
    finally:
        os.close(reading)
        if hung:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if hung:
        return Failure("hang", stage, "time", f"it did not end within {limit:g} s")
    code = os.waitstatus_to_exitcode(status)
    why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Failure("crash", stage, why, f"the process ended with {why}")


@contextmanager
def unmoved() -> Iterator[None]:
    """Whatever passes that run in this process print in the block goes to standard error, and the process stays in its
    folder."""
    sys.stdout.flush()
    folder, output = os.getcwd(), os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        os.chdir(folder)


def _messages(data: bytes) -> tuple[list[tuple[str, Any]], bytes]:
    """The whole messages in the bytes, and what is left of them."""
    found = []
    while len(data) >= 8 and len(data) >= 8 + int.from_bytes(data[:8], "little"):
        size = 8 + int.from_bytes(data[:8], "little")
        found.append(pickle.loads(data[8:size]))
        data = data[size:]
    return found, data


def _work(work: Callable[[Say], Any], pipe: int) -> None:
    """The child's life. What anybody prints is no result; that it dies is one, and nothing to print a traceback of."""
    faulthandler.disable()
    os.dup2(2, 1)

    def say(kind: str, what: Any) -> None:
        message = pickle.dumps((kind, what))
        message = len(message).to_bytes(8, "little") + message
        while message:
            message = message[os.write(pipe, message) :]

    try:
        say("answer", work(lambda stage, seconds=0.0: say("stage", (stage, seconds))))
    except KeyboardInterrupt as problem:  # of a pass: Ctrl-C ends whoever waits
        say("interrupt", type(problem).__name__)
    except MemoryError as problem:
        say("memory", str(problem))
    except MXNetError as problem:
        say("refused", str(problem))
    except BaseException:
        say("error", traceback.format_exc())
    finally:
        os._exit(0)
