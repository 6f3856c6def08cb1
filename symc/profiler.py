"""Where the time goes: per kernel and per Symbol, beside what the machine could do.

    mx.profiler.set_config(filename="profile.json")
    mx.profiler.set_state("run")
    module.forward_backward(batch); module.update()
    mx.profiler.set_state("stop")
    print(mx.profiler.dumps())      # tables
    mx.profiler.dump()              # profile.json: opens in Perfetto, and holds the tables' numbers

The names are those of mxnet.profiler. Executors and Modules are recorded; Predictors and calls of `nd` are not.
`symc run --profile` does it for one program on the command line.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symc.bench.limits import bytes_per_second, flops_per_second
from symc.ir.modules import LoopModule
from symc.ir.origins import first_symbol, passed, symbols_of
from symc.ir.program.nodes import Program, Step, ViewStep, operands_of, results_of
from symc.ir.program.work import flops_of_step
from symc.marks import MARKS, Counter, Domain, Event, Frame, Marker, Task  # noqa: F401 - names of mxnet.profiler
from symc.runtime.recording import Event as Ran
from symc.runtime.recording import Recording, active, record
from symc.views.memory import alive, lifetimes, peak, short_size

#: rows that a table shows
MOST = 30
PHASES = ("prologue", "forward", "backward", "update")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program, over all its runs. `seconds` is the median of a run; `share` is the part of the
    machine's limit (of arithmetic or of memory, whichever the kernel is nearer to) that it reaches."""

    program: str
    name: str
    symbol: str
    symbols: int
    source: str
    phase: str
    calls: int
    seconds: float
    flops: float
    nbytes: int
    share: float


@functools.cache
def limits() -> tuple[float, float]:
    """FLOP/s and bytes/s of this machine, measured once in a process (it takes about a second)."""
    before = active()
    record(None)
    try:
        return flops_per_second(), bytes_per_second()
    finally:
        record(before)


def steps_of(program: Program) -> list[Step]:
    """The steps that are entries of the program's table."""
    return [step for step in program.steps if not isinstance(step, ViewStep)]


def kernels(events: Iterable[Ran]) -> list[Kernel]:
    """The kernels that ran, those that took most time first."""
    took: dict[tuple[int, int], list[int]] = {}
    programs: dict[int, Program] = {}
    for event in events:
        programs[id(event.program)] = event.program
        took.setdefault((id(event.program), event.entry), []).append(event.took)
    known: dict[int, tuple[list[Step], list[str]]] = {}
    made = []
    for (key, entry), times in took.items():
        program = programs[key]
        if key not in known:
            known[key] = steps_of(program), phases_of(program)
        steps, phases = known[key]
        made.append(_kernel(program, steps[entry], phases[entry], times))
    return sorted(made, key=lambda k: -k.seconds * k.calls)


def _kernel(program: Program, step: Step, phase: str, times: Sequence[int]) -> Kernel:
    seconds = sorted(times)[len(times) // 2] / 1e9
    types = program.value_types()
    names = dict.fromkeys([*operands_of(step), *(r.name for r in results_of(step))])
    flops, nbytes = flops_of_step(step), sum(types[name].nbytes for name in names)
    arithmetic, memory = limits()
    least = max(flops / arithmetic, nbytes / memory)
    symbol = first_symbol(step.origin)
    source = f"{Path(symbol.file).name}:{symbol.line}" if symbol is not None and symbol.file else ""
    return Kernel(
        program.name, step.label, symbol.name if symbol is not None else "", len(symbols_of(step.origin)), source,
        phase, len(times), seconds, flops, nbytes, least / seconds if seconds else 0.0,
    )  # fmt: skip


def times_of(loops: LoopModule, events: Iterable[Ran]) -> dict[str, tuple[float, float]]:
    """Of the kernels that steps of the program itself call: seconds in all calls of a run (the median of the runs), and
    the share of the machine's limit that they reach. Kernels inside of loops and branches are not timed apart."""
    entries: dict[int, list[Ran]] = {}
    for event in events:
        if event.program is loops.program:
            entries.setdefault(event.entry, []).append(event)
    called = [call for step, call in zip(loops.program.steps, loops.calls) if not isinstance(step, ViewStep)]
    found: dict[str, tuple[float, float]] = {}
    for entry, own in entries.items():
        number = called[entry]
        if number is not None:
            (timed,) = kernels(own)
            seconds, least = found.get(loops.kernels[number].name, (0.0, 0.0))
            found[loops.kernels[number].name] = seconds + timed.seconds, least + timed.share * timed.seconds
    return {name: (seconds, least / seconds if seconds else 0.0) for name, (seconds, least) in found.items()}


def phases_of(program: Program) -> list[str]:
    """Which part of a training step each entry of a program belongs to. What writes a parameter anew is the update;
    a step that a Module runs in one go has no halves, so what comes of autodiff is its backward part."""
    roles = {p.name: p.role for p in program.params}
    new = {u.value for u in program.updates if roles[u.input] in ("arg", "state")}
    found = []
    for at, step in enumerate(program.steps):
        if not isinstance(step, ViewStep):
            half = "backward" if at >= program.cut or passed(step.origin, "autodiff") else "forward"
            half = "prologue" if at < program.prologue else half
            found.append("update" if any(result.name in new for result in step.results) else half)
    return found


@dataclass(frozen=True)
class Layer:
    """All kernels of one Symbol; a kernel of several counts for the first."""

    name: str
    source: str
    kernels: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def layers(found: Iterable[Kernel]) -> list[Layer]:
    """Time per Symbol and phase, in one run of every kernel; those that took most time first."""
    groups: dict[str, list[Kernel]] = {}
    for kernel in found:
        groups.setdefault(kernel.symbol, []).append(kernel)
    made = []
    for name, members in groups.items():
        seconds = {p: sum(k.seconds for k in members if k.phase == p) for p in PHASES}
        made.append(Layer(name, members[0].source, len(members), seconds))
    return sorted(made, key=lambda layer: -layer.total)


@dataclass(frozen=True)
class Memory:
    """The bytes that a program needs: arguments (data, parameters and their states), what is kept of parameters between
    runs, results, and the arena, whose largest live set is that of `step`, with the bytes of each Symbol there."""

    program: str
    arguments: int
    kept: int
    results: int
    arena: int
    step: int
    symbols: dict[str, int]

    def line(self) -> str:
        """All of it in one line."""
        blame = ", ".join(f"{name} {short_size(size)}" for name, size in list(self.symbols.items())[:4])
        more = f" and {len(self.symbols) - 4} more" if len(self.symbols) > 4 else ""
        where = f" (peak at step {self.step}: {blame}{more})" if blame else ""
        kept = f"kept {short_size(self.kept)}, " if self.kept else ""
        sizes = f"arguments {short_size(self.arguments)}, {kept}results {short_size(self.results)}"
        return f"memory of {self.program}: {sizes}, arena {short_size(self.arena)}{where}"


def memory_of(program: Program) -> Memory:
    """What a program needs."""
    step, here = peak(lifetimes(program))
    blamed: dict[str, int] = {}
    for value in here:
        name = value.symbol or value.title
        blamed[name] = blamed.get(name, 0) + value.size
    new = {u.value for u in program.updates}
    types = program.value_types()
    return Memory(
        program.name,
        sum(p.type.nbytes for p in program.params),
        program.kept,
        sum(types[o.value].nbytes for o in program.outputs if o.value not in new),
        program.arena,
        step,
        dict(sorted(blamed.items(), key=lambda pair: -pair[1])),
    )


def programs_in(events: Iterable[Ran]) -> list[Program]:
    """The programs that ran, in order."""
    return list({id(e.program): e.program for e in events}.values())


def table(events: Sequence[Ran], most: int = MOST) -> str:
    """Time per Symbol, then per kernel, then per phase; and the memory of each program."""
    found = kernels(events)
    if not found:
        return "nothing was recorded"
    total = sum(k.seconds for k in found)
    phases = [p for p in PHASES if any(k.phase == p for k in found)]
    rows = [("Symbol", "line", "kernels", *(f"{p} ms" for p in phases), "share")]
    for layer in layers(found)[:most]:
        times = [f"{1e3 * layer.seconds[p]:.4f}" for p in phases]
        share = f"{100 * layer.total / total:.1f}%"
        rows.append((layer.name, layer.source, str(layer.kernels), *times, share))
    lines = _columns(rows, left=2)
    rows = [("kernel", "Symbol", "phase", "calls", "ms", "share", "GFLOP", "MB", "GFLOP/s", "GB/s", "of limit")]
    for k in found[:most]:
        more = f" +{k.symbols - 1}" if k.symbols > 1 else ""
        rows.append((
            k.name, f"{k.symbol}{more}", k.phase, str(k.calls), f"{1e3 * k.seconds:.4f}",
            f"{100 * k.seconds / total:.1f}%", f"{k.flops / 1e9:.4f}", f"{k.nbytes / 1e6:.3f}",
            f"{k.flops / k.seconds / 1e9:.1f}" if k.seconds else "", f"{k.nbytes / k.seconds / 1e9:.1f}"
            if k.seconds else "", f"{100 * k.share:.0f}%",
        ))  # fmt: skip
    lines += ["", *_columns(rows, left=3)]
    if len(found) > most:
        lines.append(f"and {len(found) - most} kernels more")
    sums = ", ".join(f"{p} {1e3 * sum(k.seconds for k in found if k.phase == p):.3f} ms" for p in phases)
    arithmetic, memory = limits()
    lines += ["", f"{sums}; together {1e3 * total:.3f} ms in {len(found)} kernels"]
    lines.append(f"limits measured here: {arithmetic / 1e9:.0f} GFLOP/s, {memory / 1e9:.1f} GB/s")
    lines += [memory_of(program).line() for program in programs_in(events)]
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if c < left else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def document(events: Sequence[Ran], marks: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The recording as JSON: Chrome's trace format (which Perfetto reads), with the kernels' numbers beside it, and
    what the program marked itself (symc.marks)."""
    found = kernels(events)
    begin = min((*(e.begun for e in events), *(m["ts"] for m in marks)), default=0)
    programs = programs_in(events)
    known = {id(p): (steps_of(p), phases_of(p), _live(p)) for p in programs}
    trace: list[dict[str, Any]] = []
    for event in events:
        steps, phases, live = known[id(event.program)]
        step = steps[event.entry]
        symbol = first_symbol(step.origin)
        trace.append({
            "ph": "C", "name": f"live in the arena of {event.program.name}", "pid": os.getpid(),
            "ts": (event.begun - begin) / 1e3, "args": {"bytes": live[event.entry]},
        })  # fmt: skip
        trace.append({
            "ph": "X", "name": symbol.name if symbol is not None else step.label, "pid": os.getpid(),
            "cat": phases[event.entry], "tid": event.thread, "ts": (event.begun - begin) / 1e3,
            "dur": event.took / 1e3, "args": {"kernel": step.label, "program": event.program.name},
        })  # fmt: skip
    for mark in marks:
        spent = {"dur": mark["dur"] / 1e3} if "dur" in mark else {}
        trace.append({**mark, "ts": (mark["ts"] - begin) / 1e3, **spent})
    arithmetic, memory = limits() if found else (0.0, 0.0)
    return {
        "traceEvents": trace,
        "displayTimeUnit": "ms",
        "kernels": [vars(k) for k in found],
        "symbols": [{**vars(layer), "total": layer.total} for layer in layers(found)],
        "memory": [vars(memory_of(program)) for program in programs],
        "limits": {"flops_per_second": arithmetic, "bytes_per_second": memory},
    }


def _live(program: Program) -> list[int]:
    """How many bytes of the arena are alive at each entry of a program's table."""
    sizes = alive(lifetimes(program))
    at = [number for number, step in enumerate(program.steps) if not isinstance(step, ViewStep)]
    return [sizes[number] if number < len(sizes) else 0 for number in at]


# --------------------------------------------------------------------------------------------- mxnet.profiler

_recording = Recording()
_config: dict[str, Any] = {"filename": "profile.json"}


def set_config(**kwargs: Any) -> None:
    """`filename`: where `dump` writes (default: profile.json). MXNet's other options have nothing to choose here: all
    kernels are recorded."""
    _config.update(kwargs)


def set_state(state: str = "stop", profile_process: str = "worker") -> None:
    """ "run": record from now on; "stop": no longer."""
    if state not in ("run", "stop"):
        raise ValueError(f"set_state({state!r}): expected 'run' or 'stop'")
    record(_recording if state == "run" else None)


def pause(profile_process: str = "worker") -> None:
    """Record nothing until `resume`."""
    record(None)


def resume(profile_process: str = "worker") -> None:
    """Go on recording."""
    record(_recording)


def dumps(reset: bool = False, format: str = "table", sort_by: str = "total", ascending: bool = False) -> str:
    """The tables of what was recorded so far, or ("json") how often and how long (ms) each operator ran, and each span
    by its domain, sorted by "total", "avg", "min", "max" or "count"; `reset` forgets it all."""
    if format not in ("table", "json"):
        raise ValueError(f"dumps(format={format!r}): expected 'table' or 'json'")
    if format == "table":
        text = table(_recording.events)
    else:
        text = json.dumps({"Time": _totals(sort_by, ascending), "Memory": {}, "Unit": {"Time": "ms", "Memory": "kB"}})
    if reset:
        _recording.events.clear()
        MARKS.clear()
    return text


def _totals(sort_by: str, ascending: bool) -> dict[str, dict[str, dict[str, float]]]:
    if sort_by not in ("total", "avg", "min", "max", "count"):
        raise ValueError(f"dumps(sort_by={sort_by!r}): expected total, avg, min, max or count")
    spans: dict[str, dict[str, list[float]]] = {}
    known: dict[int, list[Step]] = {}
    for event in _recording.events:
        steps = known.setdefault(id(event.program), steps_of(event.program))
        symbol = first_symbol(steps[event.entry].origin)
        name = symbol.op if symbol is not None else steps[event.entry].label
        spans.setdefault("operator", {}).setdefault(name, []).append(event.took / 1e6)
    for mark in MARKS:
        if "dur" in mark:
            spans.setdefault(mark["cat"], {}).setdefault(mark["name"], []).append(mark["dur"] / 1e6)
    return {
        domain: dict(sorted(((name, _statistics(took)) for name, took in names.items()),
                            key=lambda pair: pair[1][sort_by.capitalize()], reverse=not ascending))
        for domain, names in spans.items()
    }  # fmt: skip


def _statistics(took: Sequence[float]) -> dict[str, float]:
    total = sum(took)
    return {"Count": len(took), "Total": total, "Min": min(took), "Max": max(took), "Avg": total / len(took)}


def dump(finished: bool = True, profile_process: str = "worker") -> None:
    """Write what was recorded to the configured file; `finished` stops recording."""
    if finished:
        record(None)
    Path(_config["filename"]).write_text(json.dumps(document(_recording.events, MARKS)), encoding="utf-8")


def profiler_set_config(mode: str = "symbolic", filename: str = "profile.json") -> None:
    """Deprecated: `set_config`."""
    warnings.warn("profiler_set_config is the earlier name of set_config", stacklevel=2)
    set_config(filename=filename)


def profiler_set_state(state: str = "stop") -> None:
    """Deprecated: `set_state`."""
    warnings.warn("profiler_set_state is the earlier name of set_state", stacklevel=2)
    set_state(state)


def dump_profile() -> None:
    """Deprecated: `dump`."""
    warnings.warn("dump_profile is the earlier name of dump", stacklevel=2)
    dump(True)
