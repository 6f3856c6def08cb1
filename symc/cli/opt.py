"""`symc opt`: named passes on a program, under instruments."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from symc.cli.checking import diagnosed, load_piece, pieces, same_again
from symc.cli.inputs import Loaded, is_text, load, passes_for
from symc.cli.report import FINE, INPUT, CliError, StageError
from symc.cli.watching import Texts, Watch, limits
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
    if train:
        raise CliError(
            "--train is for -p default; passes that are named say it themselves: decompose{train=true},...,"
            "autodiff{wrt=fc1_weight:...}"
        )
    return active().apply(parsed(text), strict=True)


def parsed(text: str) -> list[Pass]:
    """The passes of -p."""
    try:
        return parse_pipeline(text)
    except ParseError as problem:
        if re.search(r"(?i)\b(default|O[0-3s])\b", text):  # as other compilers call it
            told = f"{problem.message}; what the compiler runs itself is -p default, alone"
            problem = ParseError(told, problem.line, problem.column, problem.source)
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
    _refuse(options)
    if is_text(options.input) and options.passes != "default":
        parsed(options.passes)  # what is wrong with it is no answer of a program
    if options.verify_diagnostics:
        return diagnosed(options, lambda piece: _transformed(options, load_piece(piece, options.input)))
    if not options.split_input_file:
        return _one(options, load(options.input, options.shapes, verify=options.verify_each), options.output)
    codes, texts = [], []
    for number, piece in enumerate(pieces(options)):
        own = argparse.Namespace(**vars(options))
        if options.print_ir_tree_dir:
            own.print_ir_tree_dir = str(Path(options.print_ir_tree_dir) / str(number))
        with io.StringIO() as made, contextlib.redirect_stdout(made):
            codes.append(_one(own, load_piece(piece, options.input), None))
            texts.append(made.getvalue())
        if options.print_pipeline:  # that of all
            break
    write("// -----\n".join(texts), options.output)
    return max(codes)


def _one(options: argparse.Namespace, loaded: Loaded, output: str | None) -> int:
    """Run the passes on one program, and write what they give."""
    passes = _passes(options, loaded)
    if options.print_pipeline:
        write(",".join(pass_.spelled() for pass_ in passes), output)
        return FINE
    if options.check:
        from symc.cli.numdiff import checked

        code = checked(loaded, passes, options.bisect_exit)
        if code:
            return code
    module = _transformed(options, loaded, passes)
    write(print_module(module), output)
    if output:
        save_constants(module, output)
    return FINE


#: options of watching passes at work, which --print-pipeline does not let run
_AT_WORK = ("check", "check_determinism", "verify_diagnostics", "verify_preserved", "step", "timing", "pass_statistics")


def _refuse(options: argparse.Namespace) -> None:
    """CliError for options that do not go together."""
    for name in _AT_WORK:
        if options.print_pipeline and getattr(options, name):
            raise CliError(f"--print-pipeline runs nothing, so there is nothing for --{name.replace('_', '-')}")
    if options.verify_diagnostics and (options.output or options.check or options.check_determinism):
        raise CliError("--verify-diagnostics prints nothing: leave -o, --check and --check-determinism out")
    if options.check_determinism and options.step:
        raise CliError("--check-determinism runs the passes twice; --step asks about every change of one run")


def _passes(options: argparse.Namespace, loaded: Loaded) -> list[Pass]:
    passes = chosen(options.passes, loaded, options.train)
    if options.schedule:
        passes = with_schedules(passes, options.schedule)
    if passes and passes[0].takes != loaded.level:
        first = passes[0]
        raise PipelineError(f"pass {first.name} takes {first.takes} IR, but {options.input} is {loaded.level} IR")
    return passes


def _transformed(options: argparse.Namespace, loaded: Loaded, passes: Sequence[Pass] | None = None) -> Module:
    """What the passes make of a program, watched as the options say."""
    passes = _passes(options, loaded) if passes is None else passes
    watch = Watch(options, passes)
    texts = [Texts()] if options.check_determinism else []
    module, manager = run_passes(passes, loaded.module, [*watch.instruments, *texts], options.verify_each)
    for first in texts:
        same_again(options, loaded, first, lambda again: run_passes(passes, loaded.module, [*limits(options), again]))
    watch.report(manager)
    return module


def write(text: str, output: str | None) -> None:
    """Text to a file or to standard output."""
    text = text.rstrip("\n") + "\n"
    if output:
        Path(output).write_text(text, encoding="utf-8")
    elif sys.stdout is None:
        raise CliError("standard output is closed; -o FILE writes into a file", INPUT)
    else:
        sys.stdout.write(text)
        sys.stdout.flush()
