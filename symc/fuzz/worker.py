"""A process that checks trials, and may die of one: whoever runs it learns which trial it was, and how far it came.

Commands and answers are pickled, over the process's standard input and output.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from symc.debug.apart import Say
from symc.debug.checks import Report, check
from symc.debug.files import read_text, text_of
from symc.debug.reduce import reduce
from symc.debug.trial import Failure, Trial
from symc.fuzz.generate import make_trial

#: a process that holds more code and caches than this (KiB) is replaced by a new one
LARGEST = 1_500_000
#: seconds that reducing one failure may take
REDUCING = 20.0
#: seconds of processor time after which a command hangs, and how many times as long it may take on a busy machine
LONGEST, PATIENCE = 120.0, 10.0


class Worker:
    """The process, seen from outside. It does one command at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # nobody else will want these kernels
        environment.setdefault("SYMC_CACHE", "0")
        command = [sys.executable, "-m", "symc.fuzz.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.command: tuple[Any, ...] | None = None
        self.since = 0.0
        self.stage = "start"

    def send(self, *command: Any) -> None:
        """Start a command: see `serve`."""
        self.command, self.since, self.stage = command, time.monotonic(), "start"
        assert self.process.stdin is not None
        try:
            sent(self.process.stdin.fileno(), command)
        except BrokenPipeError:  # it has died: reading says so too
            return

    def answer(self) -> Any:
        """What the command gave, or None if it has only told how far it is. EOFError if the process has died of it."""
        assert self.process.stdout is not None
        kind, found = received(self.process.stdout.fileno())
        if kind == "stage":
            self.stage = found
            return None
        self.command = None
        return found

    def death(self, hung: bool) -> Failure:
        """What to say of a process that died (of its time, too), or hangs; it is gone afterwards."""
        if hung:
            self.process.kill()
        code = self.process.wait()
        hung = hung or code == -signal.SIGPROF
        kind, rule = ("hang", "time") if hung else ("crash", f"exit code {code}")
        seconds = time.monotonic() - self.since
        return Failure(
            kind, self.stage, rule, f"the process {'did not end' if hung else 'ended'} within {seconds:.0f} s"
        )

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def sent(pipe: int, what: Any) -> None:
    """Write one message: how long it is, and it. Nothing stays in a buffer, where `select` would not see it."""
    data = pickle.dumps(what)
    data = len(data).to_bytes(8, "little") + data
    while data:
        data = data[os.write(pipe, data) :]


def received(pipe: int) -> Any:
    """Read one message. EOFError if its sender has ended."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = os.read(pipe, count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    return pickle.loads(exactly(int.from_bytes(exactly(8), "little")))


def ready(workers: Sequence[Worker], seconds: float) -> list[Worker]:
    """Those of the workers that have something to say, within so many seconds."""
    pipes = {w.process.stdout: w for w in workers}
    found, _, _ = select.select(list(pipes), [], [], seconds)
    return [pipes[pipe] for pipe in found]


def serve() -> None:
    """The process's loop over its commands:

    ("check", seed, number, level, native) -> (report, operators, KiB of memory)
    ("reduce", seed, number, level, native) -> (text of the reduced trial, its failure, whether it fails again)
    ("text", text) -> report
    """
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    answers = os.dup(1)
    os.dup2(2, 1)  # what anybody prints is no answer

    def say(kind: str, what: Any) -> None:
        sent(answers, (kind, what))

    def at(stage: str, seconds: float = 0.0) -> None:
        say("stage", stage)

    while True:
        try:
            command, *arguments = received(0)
        except EOFError:
            return
        # ends the process: how busy the machine is says nothing of the trial
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        if command == "text":
            say("answer", check(read_text(arguments[0])[0], at))
            continue
        at("generate")
        report, ops, trial = checked(*arguments, at)
        if command == "check":
            say("answer", (report, ops, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        else:
            at("reduce")
            say("answer", reduced(trial, report.failure, f"trial {arguments[1]} of seed {arguments[0]}"))


def checked(seed: int, number: int, level: str, native: float, at: Say) -> tuple[Report, set[str], Trial | None]:
    """A trial's report. What goes wrong outside of the checks is a failure too: of the fuzzer, most likely."""
    trial = None
    try:
        trial, ops = make_trial(seed, number, level, native)
        return check(trial, at), ops, trial
    except Exception as problem:
        failure = Failure("fuzzer", "generate" if trial is None else "check", type(problem).__name__, str(problem))
        return Report(failure=failure), set(), trial


def reduced(trial: Trial | None, failure: Failure | None, source: str) -> tuple[str, Failure | None, bool]:
    """The text of a small trial that fails so; without a failure (any more), that of the trial."""
    if trial is None or failure is None or failure.check == "fuzzer":
        return ("" if trial is None else text_of(trial, failure, source=source)), failure, False
    small, found = reduce(trial, failure, lambda t: check(t).failure, REDUCING)
    text = text_of(small, found, source=source)
    again = check(read_text(text)[0]).failure
    return text, found, again is not None and again.signature == found.signature


if __name__ == "__main__":
    serve()
