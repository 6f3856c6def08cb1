"""`symc why`, `symc why-not` and `symc diff`: questions about programs, answered from what passes tell."""

from __future__ import annotations

import argparse
import shutil
import sys

from symc.cli.inputs import is_text, load
from symc.cli.opt import chosen, run_passes, write
from symc.cli.report import BAD, FINE, CliError
from symc.cli.views import bare
from symc.debug.life import History, NoSuchValue, life, why_not
from symc.debug.structure import amount_of, deltas, lines_of, side_by_side
from symc.ir.errors import IRError
from symc.ir.text import level_of


def _history(options: argparse.Namespace) -> History:
    loaded = load(options.input, options.shapes)
    history = History(loaded.module)
    run_passes(chosen(options.passes, loaded, options.train), loaded.module, [history])
    return history


def _bare(value: str) -> str:
    if value.startswith("@"):
        kernels = f"symc dump --level=loop --select '{value}' shows kernels"
        raise CliError(f"{value} is no value, but may be a kernel: ask for a value that it writes; {kernels}")
    return bare(value)


def why(options: argparse.Namespace) -> int:
    """The life of a value."""
    history = _history(options)
    try:
        write("\n".join(life(history, _bare(options.value))), None)
    except NoSuchValue as problem:
        raise CliError(str(problem)) from None
    return FINE


def why_not_(options: argparse.Namespace) -> int:
    """The conditions that failed."""
    *values, source = options.values
    if not 1 <= len(values) <= 2:
        raise CliError("why-not takes a pass, one value or two, and the input: symc why-not fuse %a %b net.py:net")
    options.input = source
    history = _history(options)
    try:
        lines = why_not(history, options.pass_.replace("-", "_"), *map(_bare, values))
    except IRError as problem:
        raise CliError(str(problem)) from None
    write("\n".join(lines), None)
    return FINE


def diff(options: argparse.Namespace) -> int:
    """Exit code 0 for programs that are equal up to names, 1 for others."""
    inputs = (options.one, options.other)
    if inputs == ("-", "-"):
        raise CliError("standard input can be read only once; give one of the programs as a file")
    if options.passes is None:
        for word in ("train", "insert", "disable"):
            if getattr(options, word):
                raise CliError(f"--{word} is for what passes make of the inputs: give -p default, too")
    if options.shapes and all(map(is_text, inputs)):
        raise CliError("--shapes is for models; programs in text form have their types")
    modules = []
    for text in inputs:
        loaded = load(text, {} if is_text(text) else options.shapes)
        passes = chosen(options.passes, loaded, options.train) if options.passes else []
        modules.append(run_passes(passes, loaded.module)[0])
    levels = [level_of(module) for module in modules]
    if type(modules[0]) is not type(modules[1]):
        raise CliError(
            f"{options.one} is {levels[0]} IR, {options.other} {levels[1]} IR: only programs of one level can be like "
            "each other; -p runs passes on both first"
        )
    width = max(60, shutil.get_terminal_size((160, 24)).columns) if sys.stdout.isatty() else 160
    rows = side_by_side(*map(lines_of, modules), width)
    if not rows:
        write(f"equal up to names ({levels[0]})", None)
        return FINE
    column = (width - 3) // 2
    head = f"{options.one:{column}.{column}}   {options.other}"
    numbers = deltas(*map(amount_of, modules))
    table = ["", f"{'':24}{'left':>14} {'right':>14} {'change':>14}", *numbers] if numbers else []
    write("\n".join([head, *rows, *table]), None)
    return BAD
