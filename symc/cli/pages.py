"""`symc report`: how a program is compiled, as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from symc.cli.inputs import Loaded, load, load_text, passes_for
from symc.cli.opt import run_passes, write
from symc.cli.report import INPUT, CliError


def report(options: argparse.Namespace) -> int:
    """Compile the input down to machine code, or read the stages of a folder, and write the page."""
    from symc.views.report import Recorder, Stage, report_page

    folder = Path(options.input)
    if folder.is_dir():
        files = sorted(folder.glob("*.sir"))
        if not files:
            raise CliError(f"{folder} has no .sir files; `symc opt --print-ir-tree-dir` writes them", INPUT)
        stages = []
        for file in files:
            module = load_text(file.read_text(encoding="utf-8"), {}, verify=False).module
            stages.append(Stage(file.stem.lstrip("0123456789-"), module))
        title = folder.name
    else:
        loaded: Loaded = load(options.input, options.shapes)
        recorder = Recorder(loaded.module)
        run_passes(passes_for(loaded, options.train), loaded.module, [recorder])
        stages = recorder.stages
        title = getattr(loaded.module, "name", "") or options.input
    write(report_page(stages, title, options.native), options.output)
    return 0
