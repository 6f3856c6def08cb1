"""`symc dump`: a program at any level."""

from __future__ import annotations

import argparse
import functools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from symc.base import near, those
from symc.cli.inputs import Loaded, level_of, load, passes_for
from symc.cli.opt import run_passes, write
from symc.cli.report import CliError
from symc.cli.views import bare, names_of, origins_of, select, shorten
from symc.ir.loop.schedule_text import schedules_text
from symc.ir.program.nodes import Program
from symc.ir.syntax.printing import ELIDE
from symc.ir.text import level_of as text_level
from symc.ir.text import print_module, save_constants
from symc.passes.manager.manager import Instrument, Module, Pass, collections_paused

#: the last pass that gives a level; a program has two states (`program` is another word for the second)
_REACHED_BY = {
    "fused": "fuse", "planned": "plan_memory", "program": "plan_memory", "schedule": "choose", "loop": "tile",
}  # fmt: skip


#: levels with a text form, as the compiler goes through them
_IR = ("symbol", "tensor", "fused", "planned", "loop")
#: of levels of machine code the suffix of a file, and what begins a comment
_NATIVE = {"llvm": (".ll", ";"), "asm": (".s", "#")}
#: options that only some formats heed
_PICTURES = ("dot", "svg", "png", "html")
_HEEDED = {
    "locs": ("text",), "elide": ("text",), "select": ("text", "json", "table"), "focus": _PICTURES,
    "radius": _PICTURES, "fold": _PICTURES,
}  # fmt: skip
#: pixels of a side that cairo can draw
PIXELS = 32767
_MEMORY_FORMATS = ("table", "svg", "png", "html")


def dump(options: argparse.Namespace) -> int:
    """Compile as far as asked and print."""
    with collections_paused():  # what is printed in the end stays until then
        if options.target is None:
            return _dump(options)
        from symc.codegen.target import aimed_at

        with aimed_at(options.target):
            return _dump(options)


def _dump(options: argparse.Namespace) -> int:
    level = options.level
    native = level in _NATIVE
    _refuse(options, native)
    if options.select is not None:
        options.select = bare(options.select)  # as the text spells values and kernels
    if level == "all":
        return _every_level(options)
    if options.memory and level is None and options.after is None:
        level = "planned"
    structure = options.after is None and level in (None, "symbol")
    if options.after is None and level is None:
        _refuse_unused(options)
    loaded = load(options.input, options.shapes, needs_types=bool(options.shapes) or not structure)
    module, _ = run_passes(_wanted(loaded, "loop" if native else level, options.after, options.train), loaded.module)
    if native:
        if level_of(module) != "loop":
            raise CliError(f"--level={level} needs loops, but --after={options.after} gives {level_of(module)} IR")
        write(_native(module, [level], options.select)[level], options.output)
    elif level == "schedule":
        write(schedules_text(module.kernels), options.output)
    elif options.memory:
        _write(_memory(module, options.format), options)
    elif options.format in (None, "text"):
        write(_text(module, options.locs or "full", options.select, options.elide), options.output)
        if options.output and options.select is None:
            save_constants(module, options.output, ELIDE if options.elide is None else options.elide)
    elif options.format in _PICTURES:
        _write(_drawn(module, options), options)
    else:
        write(_rows(module, options.format, options.select), options.output)
    return 0


def _write(text: str, options: argparse.Namespace) -> None:
    """A picture as text to a file or standard output, or as pixels to a file."""
    if options.format == "png":
        Path(options.output).write_bytes(_pixels(text))
    else:
        write(text, options.output)


def _pixels(svg: str) -> bytes:
    """An SVG as PNG."""
    try:
        import cairosvg  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, OSError) as problem:  # the latter: the package is there, the library cairo is not
        how = "pip install cairosvg; Debian has the library as libcairo2"
        raise CliError(f"--format=png needs cairosvg ({problem}): {how}; or use --format=svg") from None
    size = [float(side) for side in re.findall(r' (?:width|height)="([\d.]+)"', svg.partition(">")[0])]
    if max(size) > PIXELS:
        across = " x ".join(f"{side:.0f}" for side in size)
        raise CliError(
            f"the picture has {across} pixels, more than a PNG holds; use --focus or --fold, or --format=svg"
        )
    made: bytes = cairosvg.svg2png(bytestring=svg.encode(), background_color="white")
    return made


def _refuse(options: argparse.Namespace, native: bool) -> None:
    """CliError for options that do not go together: none is silently left out."""
    level, format = options.level, options.format
    if level == "all":
        if not options.output:
            raise CliError("--level=all writes a file for every level: give their folder by -o DIR")
        if options.select is not None or options.after is not None:
            raise CliError(f"--{'select' if options.select is not None else 'after'} has no meaning for --level=all")
        if options.memory or format not in (None, "text"):
            raise CliError("--level=all is text only: neither --memory nor another --format")
    if options.after is not None and level is not None and not native:
        raise CliError(f"--after={options.after} and --level={level} both say where to stop; give one of them")
    if level == "schedule" and (options.memory or options.select is not None or format not in (None, "text")):
        raise CliError("--level=schedule is a line of text for every kernel: neither --memory, --select nor --format")
    if level == "schedule" and (options.locs is not None or options.elide is not None):
        raise CliError("--level=schedule has neither origins nor constants: leave --locs and --elide out")
    if native and options.memory:
        raise CliError(f"--memory is the plan of a program; it has no --level={level}")
    if native and format not in (None, "text"):
        raise CliError(f"--level={level} is text only, not --format={format}")
    if options.memory and format not in (None, *_MEMORY_FORMATS):
        raise CliError(f"--memory is drawn by --format={' or '.join(_MEMORY_FORMATS)}, not {format}")
    if format == "png" and not options.output:
        raise CliError("--format=png is no text: give the file by -o FILE.png")
    if options.radius is not None and options.focus is None:
        raise CliError("--radius is the distance from a --focus; give both")
    for name, formats in _HEEDED.items():
        if getattr(options, name) in (None, []):
            continue
        if options.memory:
            raise CliError(f"--{name} has no meaning for --memory")
        # machine code has no origins: to ask for none is to ask for what it is
        if native and name != "select" and (name, options.locs) != ("locs", "none"):
            raise CliError(f"--{name} has no meaning for --level={level}")
        if (format or "text") not in formats:
            raise CliError(f"--{name} is for --format={' or '.join(formats)}, not {format or 'text'}")


def _refuse_unused(options: argparse.Namespace) -> None:
    """CliError for options of compiling where nothing is compiled."""
    for word in ("train", "insert", "disable", "target"):
        if getattr(options, word):
            raise CliError(
                f"--{word} is for what the compiler makes of the input: give a --level below symbol, or --after"
            )


def _memory(module: Module, format: str | None) -> str:
    from symc.views.memory import memory_svg, memory_table
    from symc.views.page import picture_page

    program = module if isinstance(module, Program) else getattr(module, "program", None)
    if program is None:
        raise CliError(f"--memory needs a program, not {level_of(module)} IR; use --level=planned")
    if format in (None, "table"):
        return memory_table(program)
    svg = memory_svg(program, program.name)
    return picture_page(svg, f"memory of {program.name}") if format == "html" else svg


def _rows(module: Module, format: str, pattern: str | None) -> str:
    import fnmatch

    from symc.views.tables import as_json, as_table, names_in

    whole = as_json(module)
    if pattern is not None:
        names = [name for row in whole["rows"] for name in names_in(row)]
        whole["rows"] = [r for r in whole["rows"] if any(fnmatch.fnmatchcase(n, pattern) for n in names_in(r))]
        if not whole["rows"]:
            raise _unmatched(pattern, names)
    return json.dumps(whole, indent=1) if format == "json" else as_table(whole["rows"])


def _wanted(loaded: Loaded, level: str | None, after: str | None, train: bool) -> list[Pass]:
    """The passes that lead from the input to what was asked for."""
    if after is None and (level is None or level == loaded.level == "symbol"):
        return []
    passes = passes_for(loaded, train)
    if after is not None:
        name, _, number = after.replace("-", "_").partition("#")
        if number and not number.isdigit():
            raise CliError(f"--after={after}: {number!r} is not a number")
        at = [i for i, p in enumerate(passes) if p.name == name]
        if len(at) <= int(number or 0):
            ran = those((p.name for p in passes), name, 6)
            times = f"{int(number) + 1} times " if number else ""
            raise CliError(f"--after={after}: pass {name} does not run {times}on this input; these do: {ran}")
        return passes[: at[int(number or 0)] + 1]
    assert level is not None
    if level == "tensor":
        if loaded.level not in ("symbol", "tensor"):
            raise _below(loaded, level)
        return [p for p in passes if p.gives == "tensor"]
    names = [p.name for p in passes]
    if _REACHED_BY.get(level) in names:
        return passes[: names.index(_REACHED_BY[level]) + 1]
    if ("planned" if level == "program" else level) == text_level(loaded.module):
        return []
    raise _below(loaded, level)


def _below(loaded: Loaded, level: str) -> CliError:
    here = text_level(loaded.module)
    state = f"{loaded.level} IR already" + (f" ({here})" if here != loaded.level else "")
    return CliError(f"the input is {state}; it cannot be shown at the level {level}")


def _text(module: Module, locs: str, pattern: str | None, elide: int | None) -> str:
    text = print_module(module) if elide is None else print_module(module, elide=elide)
    if pattern is not None:
        lines = select(text, pattern)
        if not lines:
            raise _unmatched(pattern, names_of(text))
        text = "\n".join([*lines, *origins_of(text, lines)])
    return text if locs == "full" else shorten(text, comments=locs == "short")


def _unmatched(pattern: str, names: Iterable[str]) -> CliError:
    close = near(pattern, names)
    hint = f"; did you mean {close[0]}?" if close else ""
    return CliError(f"--select: no value and no Symbol matches {pattern!r}{hint}", 1)


def _drawn(module: Module, options: argparse.Namespace) -> str:
    from symc.views.drawing import to_dot, to_svg
    from symc.views.graphs import NoPicture, picture_of
    from symc.views.page import picture_page
    from symc.views.picture import focused, folded, keys_of

    name = getattr(module, "name", "program")
    try:
        picture = picture_of(module)
    except NoPicture as problem:
        raise CliError(str(problem)) from None
    for prefix in options.fold:
        if not any(box.symbol.startswith(prefix) for box in picture.boxes.values()):
            raise CliError(f"--fold: no Symbol begins with {prefix!r}", 1)
    if options.focus is not None:
        keys = keys_of(picture, bare(options.focus))
        if not keys:
            known = [value for box in picture.boxes.values() for value in box.values]
            close = near(bare(options.focus), known, 3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise CliError(f"--focus: no value and no Symbol is called {options.focus!r}{hint}", 1)
        picture = focused(picture, keys, 2 if options.radius is None else options.radius)
    if options.fold:
        picture = folded(picture, options.fold)
    if options.format == "dot":
        return to_dot(picture, name)
    svg = to_svg(picture, name)
    return picture_page(svg, name) if options.format == "html" else svg


def _native(module: Module, levels: Sequence[str], pattern: str | None = None) -> dict[str, str]:
    """Optimised LLVM IR, or machine code, of the kernels, by level."""
    import fnmatch

    from symc.codegen.emit.kernel import emit_kernel
    from symc.codegen.jit.compile import listings
    from symc.codegen.target import host_target
    from symc.progress import compiling
    from symc.views.tables import code_notes, kernel_rows

    target = host_target()
    heads, wanted = {}, {}
    for kernel, row, notes in zip(module.kernels, kernel_rows(module), code_notes(module, target.name)):
        if pattern is not None and not any(fnmatch.fnmatchcase(n, pattern) for n in (kernel.name, *row["symbols"])):
            continue
        heads[kernel.name] = notes
        wanted[kernel.name] = functools.partial(emit_kernel, kernel, target)
    if pattern is not None and not wanted:
        raise _unmatched(pattern, [name for row in kernel_rows(module) for name in (row["kernel"], *row["symbols"])])
    with compiling(module.program.name):
        made = listings(wanted, target, levels)
    found = {}
    for level in levels:
        mark = _NATIVE[level][1]
        parts = [
            [*(f"{mark} {note}" for note in notes), made[name][level].strip(), ""] for name, notes in heads.items()
        ]
        found[level] = "\n".join("\n".join(part) for part in parts)
    return found


def _every_level(options: argparse.Namespace) -> int:
    """A file for every level from that of the input on."""
    loaded = load(options.input, options.shapes)
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise CliError(f"-o {folder} is a file; --level=all writes a folder")
    folder.mkdir(parents=True, exist_ok=True)
    stages = [loaded.module]
    run_passes(passes_for(loaded, options.train), loaded.module, [_Stages(stages)])
    elide = ELIDE if options.elide is None else options.elide
    for number, level in enumerate(_IR):
        if number < _IR.index(text_level(loaded.module)):
            (folder / f"{number}-{level}.sir").unlink(missing_ok=True)  # of another run: it would seem to belong here
            continue
        module = stages[len(_wanted(loaded, level, None, options.train))]
        path = folder / f"{number}-{level}.sir"
        write(_text(module, options.locs or "full", None, elide), str(path))
        save_constants(module, path, elide)
    for number, (level, text) in enumerate(_native(stages[-1], list(_NATIVE)).items(), len(_IR)):
        write(text, str(folder / f"{number}-{level}{_NATIVE[level][0]}"))
    return 0


class _Stages(Instrument):
    """What every pass gave, in order."""

    def __init__(self, stages: list[Module]) -> None:
        self.stages = stages

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.stages.append(after)
