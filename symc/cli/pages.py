"""`symc report`: how a program is compiled, as one page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from symc.cli.inputs import Loaded, load, load_text, passes_for
from symc.cli.opt import run_passes, write
from symc.cli.report import INPUT, CliError
from symc.cli.values import arrays_of
from symc.ir.modules import LoopModule
from symc.passes.manager.manager import Module


def report(options: argparse.Namespace) -> int:
    """Compile the input down to machine code, or read the stages of a folder, and write the page."""
    from symc.views.report import Recorder, Stage, report_page

    folder = Path(options.input)
    times: Mapping[str, tuple[float, float]] = {}
    if folder.is_dir():
        if options.profile:
            raise CliError(f"--profile runs the program that a report compiles; {folder} has texts only")
        traced = sorted(path.parent for path in folder.glob("[0-9]*/program.json"))
        if len(traced) > 1:
            raise CliError(f"{folder} has {len(traced)} programs: report one of them, such as {traced[0]}")
        folder = traced[0] if traced else folder
        files = sorted(folder.glob("*.sir"))
        if not files:
            raise CliError(f"{folder} has no .sir files; `symc opt --print-ir-tree-dir` writes them", INPUT)
        stages = []
        for file in files:
            beside = file.with_suffix(".npz")
            constants = arrays_of(str(beside)) if beside.exists() else {}
            module = load_text(file.read_text(encoding="utf-8"), constants, verify=False).module
            stages.append(Stage(file.stem.lstrip("0123456789-"), module))
        title = folder.name
    else:
        loaded: Loaded = load(options.input, options.shapes)
        recorder = Recorder(loaded.module)
        run_passes(passes_for(loaded, options.train), loaded.module, [recorder])
        stages = recorder.stages
        title = getattr(loaded.module, "name", "") or options.input
        if options.profile:
            times = _timed(loaded, options.train, stages[-1].module)
    write(report_page(stages, title, options.native, times), options.output)
    return 0


def _timed(loaded: Loaded, train: bool, loops: Module) -> Mapping[str, tuple[float, float]]:
    """The time of every kernel in a run on random inputs, and its share of the machine's limit."""
    from symc.cli.execute import Job, Kind, run_native
    from symc.profiler import times_of
    from symc.runtime.recording import Recording

    if not isinstance(loops, LoopModule):
        raise CliError("--profile runs machine code, which needs loops; the passes end before them")
    recording = Recording()
    run_native(loops, Job(loaded, train, {}, Kind()).values, recording)
    return times_of(loops, recording.events)
