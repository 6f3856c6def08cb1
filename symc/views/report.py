"""One page about how a program is compiled: every stage's text, what changed, the graph, memory and kernels.

The data is JSON, compressed inside of the page; `report.js` makes lines and pictures of it when they are looked at.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.jit.compile import listings
from symc.codegen.target import host_target
from symc.ir.modules import LoopModule
from symc.ir.program.nodes import Program
from symc.ir.program.text import is_planned
from symc.ir.text import level_of, print_module
from symc.passes.manager.instruments import is_unchanged
from symc.passes.manager.manager import Instrument, Module, Pass
from symc.passes.manager.watching import Action
from symc.progress import compiling
from symc.views.drawing import to_svg
from symc.views.graphs import NoPicture, picture_of
from symc.views.memory import memory_svg, short_size
from symc.views.picture import common_prefixes, folded
from symc.views.tables import Row, code_notes, kernel_rows

#: user's files up to this size are shown beside the program
SOURCE = 200_000
#: boxes from which on a picture is folded at first
LARGE = 150


@dataclass
class Stage:
    """A program after a pass (the first: as it was given)."""

    name: str
    module: Module
    seconds: float = 0.0
    changed: bool = True
    #: its rewrites
    actions: list[Action] = field(default_factory=list)


class Recorder(Instrument):
    """Keeps every stage of a pipeline, and every rewrite."""

    watches = True

    def __init__(self, first: Module) -> None:
        self.stages = [Stage("input", first)]
        self._actions: list[Action] = []

    def before_pass(self, pass_: Pass, module: Module) -> bool:
        self._actions = []
        return True

    def proposed(self, action: Action) -> None:
        self._actions.append(action)

    def after_pass(self, pass_: Pass, before: Module, after: Module, seconds: float) -> None:
        self.stages.append(Stage(str(pass_), after, seconds, not is_unchanged(before, after), self._actions))


def report_page(
    stages: Sequence[Stage], title: str, native: int = 256, times: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """The page about these stages; of the `native` kernels with the most work it holds optimised LLVM and machine
    code, of the others the LLVM text they are compiled from. `times`: of kernels, by name, the seconds of a run and the
    share of the machine's limit."""
    data = json.dumps(report_data(stages, title, native, times or {}), separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(data.encode(), 6)).decode()
    home = files("symc.views")
    page, style, *scripts = (
        home.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html", "report.css", "canvas.js", "report.js")
    )
    return Template(page).substitute(title=escape(title), style=style, script="".join(scripts), data=packed)


def report_data(
    stages: Sequence[Stage], title: str, native: int, times: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """What the page is made of."""
    shown = []
    for stage in stages:
        row: dict[str, Any] = {"name": stage.name, "level": level_of(stage.module), "seconds": round(stage.seconds, 6)}
        row["changed"] = stage.changed
        row["actions"] = [[a.rule, a.before, a.made, a.symbol.name if a.symbol else ""] for a in stage.actions]
        # a pass that changed nothing has the text of the stage before it
        row["text"] = print_module(stage.module) if stage.changed else None
        shown.append(row)
    programs = [s.module for s in stages if isinstance(s.module, Program) and is_planned(s.module)]
    loops = [s.module for s in stages if isinstance(s.module, LoopModule)]
    plan = programs[-1] if programs else loops[-1].program if loops else None
    texts = "\n".join(stage["text"] or "" for stage in shown[:1])
    kernels = kernels_of(loops[-1], native) if loops else []
    for row in kernels:
        if row["kernel"] in times:
            row["seconds"], row["share"] = times[row["kernel"]]
    return {
        "title": title,
        "facts": list(_facts(stages, plan, loops[-1:])),
        "stages": shown,
        "pictures": list(_pictures(stages)),
        "memory": memory_svg(plan, title) if plan is not None else "",
        "kernels": kernels,
        "sources": _sources(texts),
    }


def _facts(stages: Sequence[Stage], plan: Program | None, loops: Sequence[LoopModule]) -> Iterable[str]:
    """What the program is, in numbers."""
    if plan is not None:
        steps, cut = len(plan.steps), plan.cut
        halves = f" ({cut} forward, {steps - cut} backward)" if 0 < cut < steps else ""
        halves = f" ({plan.prologue} in the prologue)" if plan.prologue else halves
        yield f"{steps} step{'s' if steps != 1 else ''}{halves}"
        yield f"arena {short_size(plan.arena)}"
        if plan.kept:
            yield f"kept of parameters {short_size(plan.kept)}"
    for module in loops:
        yield f"{len(module.kernels)} kernels"
    yield f"{sum(stage.seconds for stage in stages):.2f} s in passes"


def _pictures(stages: Sequence[Stage]) -> Iterable[Row]:
    """The picture of the first stage, and of the last of every level; folded ones of those that are large."""
    last = {level_of(s.module): s for s in stages}
    for stage in dict.fromkeys(map(id, [stages[0], *last.values()])):
        found = next(s for s in stages if id(s) == stage)
        try:
            picture = picture_of(found.module)
        except NoPicture:
            continue
        name = f"{level_of(found.module)} ({found.name.partition('{')[0]})"
        prefixes = common_prefixes(picture) if len(picture.boxes) > LARGE else []
        if prefixes:
            yield {"name": f"{name}, folded", "svg": to_svg(folded(picture, prefixes), name)}
        yield {"name": name, "svg": to_svg(picture, name)}


def kernels_of(loops: LoopModule, native: int) -> list[Row]:
    """The rows of the kernel table with their code."""
    target = host_target()
    rows = kernel_rows(loops)
    heavy = sorted(range(len(rows)), key=lambda at: -rows[at]["flops"] * rows[at]["calls"])[:native]
    texts = {kernel.name: functools.partial(emit_kernel, kernel, target) for kernel in loops.kernels}
    with compiling(loops.program.name):
        code = listings({rows[at]["kernel"]: texts[rows[at]["kernel"]] for at in heavy}, target, ("llvm", "asm"))
    for row, kernel, notes in zip(rows, loops.kernels, code_notes(loops, target.name)):
        row.update(code.get(kernel.name) or {"llvm": texts[kernel.name](), "asm": ""})
        row["notes"] = notes[1:]
    return rows


def _sources(text: str) -> dict[str, str]:
    """The user's files that a program's origins name, as far as they can be read."""
    found = {}
    for line in text.splitlines():
        if line.startswith("!") and " at " in line:
            name = json.loads(line[line.rindex(" at ") + 4 : line.rindex(":")])
            path = Path(name)
            if name not in found and path.is_file() and path.stat().st_size < SOURCE:
                found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found
