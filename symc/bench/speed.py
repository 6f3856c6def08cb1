"""symc bench: workloads in symc and in every peer, in turns, on the same processors."""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symc.bench import limits
from symc.bench.cases import CASES, WHOLE_NETS, Case
from symc.bench.description import compiled, write
from symc.bench.workers import Failed, Worker, start
from symc.runtime.table import set_num_threads

#: two libraries' results are the same within this, relative to the largest
TOLERANCE = 2e-3


@dataclass
class Result:
    """What one library made of one workload. Seconds, megabytes."""

    first: float = 0.0
    sample: list[float] = field(default_factory=list)
    rounds: list[list[float]] = field(default_factory=list)
    peak: float = 0.0
    error: str = ""

    @property
    def median(self) -> float:
        return statistics.median(x for found in self.rounds for x in found)


def measure(case: Case, workers: Sequence[Worker], path: Path, rounds: int, seconds: float) -> dict[str, Result]:
    """Prepare the case everywhere, then run it in turns, every second round in the other order."""
    results = {w.library: Result() for w in workers}

    def ask(worker: Worker, **request: Any) -> Any:
        result = results[worker.library]
        if result.error:
            return None
        try:
            return worker.ask(**request)
        except Failed as e:
            result.error = str(e)
            return None

    for worker in workers:
        if answer := ask(worker, prepare=str(path)):
            results[worker.library].first, results[worker.library].sample = answer["first"], answer["sample"]
    for round in range(rounds):
        for worker in workers if round % 2 == 0 else reversed(workers):
            if answer := ask(worker, measure=str(path), **{"for": seconds}):
                results[worker.library].rounds.append(answer["seconds"])
    for worker in workers:
        if answer := ask(worker, memory=True):
            results[worker.library].peak = answer["peak"]
    return results


@contextmanager
def _workers(libraries: Sequence[str], pythons: dict[str, str], threads: int, cold: bool) -> Iterator[list[Worker]]:
    """Workers of their own; cold: symc's knows no compiled kernel."""
    with tempfile.TemporaryDirectory() as cache:
        workers = start(libraries, pythons, threads, cache if cold else None)
        try:
            yield workers
        finally:
            for worker in workers:
                worker.close()


def speed(
    chosen: Sequence[str], peers: dict[str, str], rounds: int, threads: int, seconds: float, out: str | None
) -> int:
    """Measure the cases and print a table for every family; `out`: a file for everything measured, as JSON."""
    set_num_threads(threads)  # the limits are those of as many as the workers have
    print(limits.describe())
    libraries = ["symc", *peers]
    families = dict.fromkeys(CASES[name].family for name in chosen)
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in families:
            cases = [CASES[name] for name in chosen if CASES[name].family == family]
            table = _Table(libraries, family)
            if family in WHOLE_NETS:
                for case in cases:
                    with _workers(libraries, peers, threads, cold=True) as workers:
                        told[case.name] = table.row(case, workers, folder, rounds, seconds)
            else:
                with _workers(libraries, peers, threads, cold=False) as workers:
                    for case in cases:
                        told[case.name] = table.row(case, workers, folder, rounds, seconds)
            table.close()
    if out is not None:
        Path(out).write_text(json.dumps(told, indent=1))
    return 0


class _Table:
    """A family's rows, printed as they are found."""

    def __init__(self, libraries: Sequence[str], family: str) -> None:
        self.libraries, self.whole = list(libraries), family in WHOLE_NETS
        self.ratios: list[float] = []
        self.notes: dict[str, None] = {}
        line = f"\n{family:28}" + "".join(f"{_short(name):>10}" for name in libraries)
        if len(libraries) > 1:
            line += f"{'best/symc':>11}"
        line += f"{'of limit':>10}"
        if self.whole:
            line += f"{'first call, s':>16}{'peak MB':>14}"
        print(line, flush=True)

    def row(self, case: Case, workers: Sequence[Worker], folder: str, rounds: int, seconds: float) -> dict[str, Any]:
        path = Path(folder, case.name.replace("/", "-") + ".json")
        write(case, path)
        results = measure(case, workers, path, rounds, seconds)
        limit = limits.least_seconds(compiled(case).program, case)
        ours, others = results["symc"], {n: r for n, r in results.items() if n != "symc" and not r.error}
        line = f"{case.name.partition('/')[2]:28}"
        line += "".join(f"{_seconds(r.median) if not r.error else '-':>10}" for r in results.values())
        for name, result in results.items():
            self._remark(case, name, result, ours)
        if ours.error:
            print(line, flush=True)
            return {}
        if len(self.libraries) > 1:
            best = min((r.median for r in others.values()), default=None)
            line += f"{best / ours.median:>11.2f}" if best else f"{'-':>11}"
            if best:
                self.ratios.append(best / ours.median)
        line += f"{100 * limit / ours.median:>8.0f} %" if limit else f"{'-':>10}"
        if self.whole:
            first, peak = (
                [getattr(ours, key), min((getattr(r, key) for r in others.values()), default=math.nan)]
                for key in ("first", "peak")
            )
            line += f"{first[0]:>8.2f} /{first[1]:>6.2f}{peak[0]:>7.0f} /{peak[1]:>5.0f}"
        print(line, flush=True)
        return {
            n: {"first": r.first, "seconds": r.rounds, "peak": r.peak, "error": r.error} for n, r in results.items()
        }

    def _remark(self, case: Case, name: str, result: Result, ours: Result) -> None:
        if result.error:
            if not result.error.startswith("no "):  # "no Convolution": the dash says it
                self.notes[f"{case.name}, {name}: {result.error}"] = None
            return
        pairs = list(zip(result.sample, ours.sample))
        scale = max((abs(b) for _, b in pairs), default=0.0) + 1e-6
        apart = max((abs(a - b) for a, b in pairs), default=0.0) / scale
        if apart > TOLERANCE or len(result.sample) != len(ours.sample) and not ours.error:
            self.notes[f"{case.name}, {name}: results differ from symc's by {apart:.1e} of the largest"] = None

    def close(self) -> None:
        if self.ratios:
            mean = math.exp(statistics.fmean(map(math.log, self.ratios)))
            below = sum(r < 1 for r in self.ratios)
            print(f"geometric mean {mean:.2f} of {len(self.ratios)} rows, {below} below 1")
        for note in self.notes:
            print(note, file=sys.stderr)


def _short(name: str) -> str:
    return {"torch-channels-last": "torch-cl", "torch-compile": "torch-c.", "onnxruntime": "onnxrt"}.get(name, name)


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
