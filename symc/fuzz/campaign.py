"""Many trials in worker processes: crashes and hangs are results like others, and every kind of failure is reduced and
written once."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from symc.debug.checks import Report
from symc.debug.files import text_of
from symc.debug.reduce import reduce
from symc.debug.trial import Failure, Trial
from symc.fuzz.generate import LEVELS, make_trial
from symc.fuzz.worker import LARGEST, LONGEST, PATIENCE, REDUCING, Worker, ready

Signature = tuple[str, str, str]
#: reproducers written for each signature
KEPT = 2


@dataclass(frozen=True)
class Settings:
    """What to run. Zero seconds or graphs: no such limit."""

    seed: int = 1
    seconds: float = 0.0
    graphs: int = 0
    level: str = "both"
    jobs: int = 1
    native: float = 0.1
    folder: Path = Path("fuzz-found")


@dataclass
class Totals:
    """What came of it."""

    graphs: int = 0
    checks: int = 0
    native: int = 0
    whole: int = 0
    seconds: float = 0.0
    ops: dict[str, set[str]] = field(default_factory=lambda: {level: set() for level in LEVELS})
    failures: Counter[Signature] = field(default_factory=Counter)
    #: by signature: what was said first, the trial, and the files written
    first: dict[Signature, tuple[int, str]] = field(default_factory=dict)
    files: dict[Signature, list[Path]] = field(default_factory=dict)

    def summary(self) -> str:
        """For people to read."""
        rate = self.graphs / self.seconds if self.seconds else 0.0
        lines = [
            f"graphs    {self.graphs} ({self.native} as machine code too, {self.whole} on whole numbers)",
            f"covered   {len(self.ops['symbol'])} operators, {len(self.ops['tensor'])} primitives",
            f"checks    {self.checks}",
            f"time      {self.seconds:.1f} s, {rate:.1f} graphs a second",
            f"failures  {sum(self.failures.values())}",
        ]
        for signature, count in self.failures.most_common():
            number, message = self.first[signature]
            lines.append(f"  {count} x {signature[0]} after {signature[1]} ({signature[2]}), first in trial {number}:")
            lines.append(f"      {message.splitlines()[0][:200] if message else ''}")
            lines += [f"      {path}" for path in self.files.get(signature, ())]
        return "\n".join(lines)


class Campaign:
    """Hands trials to workers, in order, until the time or the number of graphs is reached."""

    def __init__(self, settings: Settings, progress: Callable[[Totals], None] = lambda _: None) -> None:
        self.settings, self.progress = settings, progress
        self.totals = Totals()
        self.next = 0
        self.start = time.monotonic()

    def run(self) -> Totals:
        """All of it. Workers are gone afterwards, whatever happens."""
        workers = [Worker() for _ in range(self.settings.jobs)]
        try:
            for worker in workers:
                if self._more():
                    self._hand_out(worker)
            while any(w.command is not None for w in workers):
                speaking = ready([w for w in workers if w.command is not None], 1.0)
                for at, worker in enumerate(workers):
                    if worker.command is not None:
                        workers[at] = self._look_at(worker, worker in speaking)
                self.totals.seconds = time.monotonic() - self.start
                self.progress(self.totals)
        finally:
            for worker in workers:
                worker.close()
        return self.totals

    def _more(self) -> bool:
        s = self.settings
        within = not s.seconds or time.monotonic() - self.start < s.seconds
        return within and (not s.graphs or self.next < s.graphs)

    def _hand_out(self, worker: Worker) -> None:
        s = self.settings
        worker.send("check", s.seed, self.next, s.level, s.native)
        self.next += 1

    def _look_at(self, worker: Worker, speaks: bool) -> Worker:
        """What a worker has to say, and the worker that goes on."""
        assert worker.command is not None
        command, seed, number, level, native = worker.command
        if speaks:
            try:
                answer = worker.answer()
            except EOFError:
                return self._died(worker, number, False)
            if answer is None:
                return worker
            if command == "reduce":
                self._write(number, *answer)
            else:
                report, ops, memory = answer
                self._count(number, report, ops)
                if report.failure is not None and self._wanted(report.failure):
                    worker.send("reduce", seed, number, level, native)
                    return worker
                if memory > LARGEST:
                    worker.close()
                    worker = Worker()
        elif time.monotonic() - worker.since > LONGEST * PATIENCE:
            return self._died(worker, number, True)
        else:
            return worker
        if self._more():
            self._hand_out(worker)
        return worker

    def _count(self, number: int, report: Report, ops: set[str]) -> None:
        level = LEVELS[number % 2] if self.settings.level == "both" else self.settings.level
        self.totals.graphs += 1
        self.totals.checks += report.checks
        self.totals.whole += report.whole
        self.totals.native += report.native
        self.totals.ops[level] |= ops
        if report.failure is not None:
            self._note(number, report.failure)

    def _note(self, number: int, failure: Failure) -> None:
        self.totals.failures[failure.signature] += 1
        self.totals.first.setdefault(failure.signature, (number, failure.message))

    def _wanted(self, failure: Failure) -> bool:
        return self.totals.failures[failure.signature] <= KEPT

    def _write(self, number: int, text: str, failure: Failure | None, again: bool) -> None:
        if not text or failure is None:
            return
        stem = re.sub(r"[^\w-]+", "-", f"{failure.check}-{failure.where}-{failure.rule}-{self.settings.seed}-{number}")
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        path = self.settings.folder / f"{stem}.sir"
        path.write_text(text.replace("THIS.sir", path.name, 1), encoding="utf-8")
        self.totals.files.setdefault(failure.signature, []).append(path)

    # -- trials that kill

    def _died(self, worker: Worker, number: int, hung: bool) -> Worker:
        assert worker.command is not None
        reducing = worker.command[0] == "reduce"
        failure = worker.death(hung)
        worker.close()
        if not reducing:
            self._count(number, Report(failure=failure), set())
            if self._wanted(failure):
                self._reduce_killer(number, failure)
        worker = Worker()
        if self._more():
            self._hand_out(worker)
        return worker

    def _reduce_killer(self, number: int, failure: Failure) -> None:
        """As a worker reduces, but every try has a process of its own to kill."""
        s = self.settings
        trial, _ = make_trial(s.seed, number, s.level, s.native)
        if failure.check == "crash":
            victims = Victims()
            trial, failure = reduce(trial, failure, lambda t: victims.tried(t, 10.0), 6 * REDUCING)
            victims.close()
        self._write(number, text_of(trial, failure, source=f"trial {number} of seed {s.seed}"), failure, True)


class Victims:
    """Processes that try trials which may kill them; one lives until it dies."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def tried(self, trial: Trial, limit: float) -> Failure | None:
        """How the trial fails, within so many seconds."""
        worker = self.worker = self.worker or Worker()
        worker.send("text", text_of(trial))
        while ready([worker], worker.since + limit - time.monotonic()):
            try:
                report: Report | None = worker.answer()
            except EOFError:
                return self._lost(worker, False)
            if report is not None:
                return report.failure
        return self._lost(worker, True)

    def _lost(self, worker: Worker, hung: bool) -> Failure:
        failure = worker.death(hung)
        self.close()
        return failure

    def close(self) -> None:
        """End the process, if there is one."""
        if self.worker is not None:
            self.worker.close()
        self.worker = None
