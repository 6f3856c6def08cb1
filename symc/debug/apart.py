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
from collections.abc import Callable
from typing import Any

from symc.debug.trial import Failure

Say = Callable[[str], None]


def apart(work: Callable[[Say], Any], seconds: float) -> Any:
    """What `work` gives in a forked child; it is handed a function that says which stage it is at. A child that dies,
    or that says nothing for so many seconds, is a Failure of that stage. RuntimeError with the text of what it raises.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, writing)
    os.close(writing)
    data, stage, since, hung = b"", "start", time.monotonic(), False
    try:
        while True:
            left = since + seconds - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                hung = True
                break
            more = os.read(reading, 1 << 16)
            if not more:
                break
            data += more
            since = time.monotonic()
            kind, found, data = _parts(data, stage)
            stage = found if kind == "stage" else stage
            if kind == "answer":
                return found
            if kind == "error":
                raise RuntimeError(found)
    finally:
        os.close(reading)
        if hung:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if hung:
        return Failure("hang", stage, "time", f"it did not end within {seconds:g} s")
    code = os.waitstatus_to_exitcode(status)
    why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Failure("crash", stage, why, f"the process ended with {why}")


def _parts(data: bytes, stage: str) -> tuple[str, Any, bytes]:
    """The last whole message in the bytes, and what is left of them."""
    kind, found = "stage", stage
    while len(data) >= 8 and len(data) >= 8 + int.from_bytes(data[:8], "little"):
        size = 8 + int.from_bytes(data[:8], "little")
        kind, found = pickle.loads(data[8:size])
        data = data[size:]
    return kind, found, data


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
        say("answer", work(lambda stage: say("stage", stage)))
    except BaseException:
        say("error", traceback.format_exc())
    finally:
        os._exit(0)
