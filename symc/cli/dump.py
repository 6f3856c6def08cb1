"""`symc dump`: a program at any level."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from symc.cli.inputs import Loaded, level_of, load, passes_for
from symc.cli.opt import run_passes, write
from symc.cli.report import CliError
from symc.cli.views import memory_table, select, shorten
from symc.ir.program.nodes import Program
from symc.ir.text import level_of as text_level
from symc.ir.text import print_module
from symc.passes.manager.manager import Module, Pass

#: the last pass that gives a level; a program has two states (`program` is another word for the second)
_REACHED_BY = {"fused": "fuse", "planned": "plan_memory", "program": "plan_memory", "loop": "tile"}


def dump(options: argparse.Namespace) -> int:
    """Compile as far as asked and print."""
    level = options.level
    native = level in ("llvm", "asm")
    if options.after is not None and level is not None and not native:
        raise CliError(f"--after={options.after} and --level={level} both say where to stop; give one of them")
    if options.format != "text" and (native or options.memory):
        raise CliError(f"{f'--level={level}' if native else '--memory'} is text only, not --format={options.format}")
    if options.memory and level is None and options.after is None:
        level = "planned"
    structure = level == "symbol" or level is None and options.after is None
    loaded = load(options.input, options.shapes, needs_types=bool(options.shapes) or not structure)
    module, _ = run_passes(_wanted(loaded, "loop" if native else level, options.after, options.train), loaded.module)
    if native:
        if level_of(module) != "loop":
            raise CliError(f"--level={level} needs loops, but --after={options.after} gives {level_of(module)} IR")
        write(_native(module, level, options.select), options.output)
    elif options.memory:
        program = module if isinstance(module, Program) else getattr(module, "program", None)
        if program is None:
            raise CliError(f"--memory needs a program, not {level_of(module)} IR; use --level=planned")
        write(memory_table(program), options.output)
    elif options.format == "text":
        write(_text(module, options.locs, options.select), options.output)
    else:
        write(_drawn(module, options.format), options.output)
    return 0


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
            ran = ", ".join(p.name for p in passes)
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


def _text(module: Module, locs: str, pattern: str | None) -> str:
    text = print_module(module)
    if pattern is not None:
        lines = select(text, pattern)
        if not lines:
            raise CliError(f"--select: no value and no Symbol matches {pattern!r}", 1)
        table = [line for line in text.splitlines() if line.startswith("!")]
        text = "\n".join([*lines, *table])
    return text if locs == "full" else shorten(text, comments=locs == "short")


def _drawn(module: Module, format: str) -> str:
    from symc.cli.drawing import diagram, to_dot, to_svg

    name = getattr(module, "name", "program")
    drawing = diagram(module)
    return to_dot(drawing, name) if format == "dot" else to_svg(drawing, name)


def _native(module: Module, level: str, pattern: str | None) -> str:
    """Optimised LLVM IR, or machine code, of the kernels."""
    import fnmatch

    from symc.codegen.emit.kernel import emit_kernel
    from symc.codegen.jit.compile import assembly, llvm_ir
    from symc.codegen.target import host_target
    from symc.ir.origins import symbols_of

    target = host_target()
    parts: list[str] = []
    mark = ";" if level == "llvm" else "#"
    for kernel in module.kernels:
        symbols: Sequence[str] = [s.name for s in symbols_of(kernel.origin)] if kernel.origin is not None else []
        if pattern is not None and not any(fnmatch.fnmatchcase(n, pattern) for n in (kernel.name, *symbols)):
            continue
        text = emit_kernel(kernel, target)
        made = llvm_ir(text, target) if level == "llvm" else assembly(text, target)
        parts.append(f"{mark} ----- {kernel.name} ({', '.join(symbols)}) for {target.name} -----\n{made.strip()}\n")
    if pattern is not None and not parts:
        raise CliError(f"--select: no kernel and no Symbol matches {pattern!r}", 1)
    return "\n".join(parts)
