"""`symc opt`: named passes on a program, under instruments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from symc.cli.checking import diagnosed, load_piece, pieces, same_again
from symc.cli.inputs import Loaded, load, passes_for
from symc.cli.report import CliError, StageError
from symc.cli.watching import Texts, Watch
from symc.debug.reproducer import Reproducer
from symc.extensions import loaded_files
from symc.ir.errors import ParseError
from symc.ir.loop.schedule_text import parse_schedules
from symc.ir.syntax.tokens import END, Reader
from symc.ir.text import print_module, save_constants
from symc.passes.edits import active
from symc.passes.loop.tiling.choose import Choose
from symc.passes.manager.manager import Instrument, Manager, Module, Pass, PipelineError
from symc.passes.pipeline import parse_pipeline


def run_passes(
    passes: Sequence[Pass], module: Module, instruments: Sequence[Instrument] = (), verify: bool = True
) -> tuple[Module, Manager]:
    """Run passes; an error becomes a StageError that names the pass and the reproducer."""
    reproducer = Reproducer(module, passes, loaded_files())
    manager = Manager([*instruments, reproducer], verify)
    for pass_ in passes:
        try:
            module = manager.step(pass_, module)
        except PipelineError:
            reproducer.done()
            raise
        except Exception as error:
            raise StageError(error, str(pass_), reproducer.path) from error
    reproducer.end()
    return module, manager


def chosen(text: str, loaded: Loaded, train: bool) -> list[Pass]:
    """The passes of -p, with the edits of --insert and --disable."""
    if text == "default":
        return passes_for(loaded, train)
    try:
        return active().apply(parse_pipeline(text), strict=True)
    except ParseError as problem:
        raise CliError(f"pipeline: {problem}") from None


def with_schedules(passes: Sequence[Pass], path: str) -> list[Pass]:
    """The passes with the schedules of a file given to choose."""
    if not any(isinstance(pass_, Choose) for pass_ in passes):
        raise CliError(f"--schedule {path}: the pass choose, which takes schedules, does not run")
    text = Path(path).read_text(encoding="utf-8")
    try:
        parse_schedules(text)
    except ParseError as problem:
        raise problem.of_file(path) from None
    text = "".join(Reader(text).tokens).rstrip(END)  # an option of a pass has no blanks
    return [replace(pass_, schedules=text) if isinstance(pass_, Choose) else pass_ for pass_ in passes]


def opt(options: argparse.Namespace) -> int:
    """Run the pipeline and print the result."""
    if options.verify_diagnostics:
        return diagnosed(options, lambda piece: _transformed(options, load_piece(piece))[0])
    if options.split_input_file:
        texts = [_transformed(options, load_piece(piece))[0] for piece in pieces(options)]
        write("// -----\n".join(texts), options.output)
        return 0
    text, module = _transformed(options, load(options.input, options.shapes, verify=options.verify_each))
    write(text, options.output)
    if options.output and module is not None:
        save_constants(module, options.output)
    return 0


def _transformed(options: argparse.Namespace, loaded: Loaded) -> tuple[str, Module | None]:
    """The text of a program after the passes, and the program (with --print-pipeline: the passes' own, and none)."""
    watch = Watch(options)
    passes = chosen(options.passes, loaded, options.train)
    if options.schedule:
        passes = with_schedules(passes, options.schedule)
    if passes and passes[0].takes != loaded.level:
        first = passes[0]
        raise PipelineError(f"pass {first.name} takes {first.takes} IR, but {options.input} is {loaded.level} IR")
    if options.print_pipeline:
        return ",".join(pass_.spelled() for pass_ in passes), None
    texts = [Texts()] if options.check_determinism else []
    module, manager = run_passes(passes, loaded.module, [*watch.instruments, *texts], options.verify_each)
    for first_run in texts:
        same_again(options, first_run, lambda again: run_passes(passes, loaded.module, [again], False))
    watch.report(manager)
    return print_module(module), module


def write(text: str, output: str | None) -> None:
    """Text to a file or to standard output."""
    text = text.rstrip("\n") + "\n"
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
        sys.stdout.flush()
