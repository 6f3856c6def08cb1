"""The memory plan of a program to look at: a table, and a picture of the arena over time."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate
from pathlib import Path

from symc.ir.errors import IRError
from symc.ir.origins import Origin, named_symbol
from symc.ir.program.form import form_text, overwrite_refusal
from symc.ir.program.nodes import (
    BranchStep,
    KernelStep,
    LoopStep,
    Program,
    Result,
    Step,
    ViewStep,
    bases_of,
    operands_of,
    origin_of,
    programs_of,
    results_of,
)


@dataclass
class Value:
    """What lies in memory from the step that writes it to the last one that reads it or a view of it."""

    name: str
    size: int
    first: int
    last: int
    symbol: str
    line: str
    #: bytes into the arena; -1 for memory of the caller
    offset: int
    over: str = ""
    #: why it does not take over the memory of the kernel's operands
    blocked: list[str] = field(default_factory=list)
    #: a result takes over its memory in its last step
    taken: bool = False
    #: it is what the regions of a loop or branch work in, and no value
    frame: bool = False

    @property
    def until(self) -> int:
        """The last step at which its memory is its own."""
        return self.last - 1 if self.taken else self.last

    @property
    def title(self) -> str:
        return self.name if self.frame else f"%{self.name}"

    @property
    def end(self) -> int:
        return self.offset + self.size


def named(origin: Origin | None, value: str = "") -> tuple[str, str]:
    """The Symbol's name and `file:line` that a value goes back to, of several that of its name; empty where unknown."""
    symbol = named_symbol(origin, value)
    if symbol is None:
        return "", ""
    return symbol.name, f"{Path(symbol.file).name}:{symbol.line}" if symbol.file else ""


def lifetimes(program: Program) -> list[Value]:
    """The values that the program's own steps write, in order, and the frames of its loops and branches."""
    base = bases_of(program)
    last: dict[str, int] = {}
    for at, step in enumerate(program.steps):
        last.update((base[name], at) for name in operands_of(step))
    for output in program.outputs:
        last[base[output.value]] = len(program.steps) - 1
    size = {name: t.nbytes for name, t in program.value_types().items()}
    arena = {r.name for step in program.steps for r in results_of(step) if r.place.kind == "arena"}
    found: list[Value] = []
    for at, step in enumerate(program.steps):
        if isinstance(step, ViewStep):
            continue
        for number, r in enumerate(step.results):
            symbol, line = named(origin_of(step, number), r.name)
            offset = r.place.offset if r.place.kind == "arena" else -1
            value = Value(r.name, r.type.nbytes, at, last.get(r.name, at), symbol, line, offset, r.inplace)
            if offset >= 0 and not r.inplace:
                value.blocked = list(_refusals(step, number, at, base, last, size, arena))
            found.append(value)
        if isinstance(step, (LoopStep, BranchStep)) and step.frame_size and step.frame.kind == "arena":
            name, (symbol, line) = f"frame of step {at}", named(step.origin)
            found.append(Value(name, step.frame_size, at, at, symbol, line, step.frame.offset, frame=True))
    own = {value.name: value for value in found}
    for value in found:
        below = own.get(base.get(value.over, ""))
        if below is not None and below.last == value.first:
            below.taken = True
    return found


def _refusals(
    step: Step, number: int, at: int, base: dict[str, str], last: dict[str, int], size: dict[str, int], arena: set[str]
) -> Iterator[str]:
    """For every operand in the arena, why a result is not stored over it."""
    made = results_of(step)[number].type
    for position, name in enumerate(operands_of(step)):
        if base[name] not in arena:
            continue
        if last[base[name]] > at:
            yield f"%{name} is read until step {last[base[name]]}"
        elif size[base[name]] != made.nbytes:
            yield f"%{name} has {size[base[name]]} B, not {made.nbytes}"
        elif isinstance(step, KernelStep):
            why = overwrite_refusal(step.form, number, made, position, step.body.inputs[position].tensor)
            if why:
                yield f"%{name}: {why}"


def alive(values: Sequence[Value]) -> list[int]:
    """How many bytes of the arena are alive at each step, up to the last one that any value lives to."""
    change = [0] * (max((v.until for v in values), default=-1) + 2)
    for v in values:
        if v.offset >= 0:
            change[v.first] += v.size
            change[v.until + 1] -= v.size
    return list(accumulate(change))[:-1]


def peak(values: Sequence[Value]) -> tuple[int, list[Value]]:
    """The step at which the most bytes of the arena are alive, and what is: largest first."""
    sizes = alive(values)
    step = sizes.index(max(sizes)) if sizes else 0
    here = [v for v in values if v.offset >= 0 and v.first <= step <= v.until]
    return step, sorted(here, key=lambda v: (-v.size, v.name))


# --------------------------------------------------------------------------------------------- table


def memory_table(program: Program) -> str:
    """Every value the program writes: where, how many bytes, for which Symbol; why it takes over no operand's memory;
    and the arena beside the lower bound."""
    rows = [("step", "kernel", "form", "writes", "place", "bytes", "Symbol", "line", "not in place")]
    _add_rows(rows, program, "", 0)
    unplanned = unplanned_bytes(program)
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    right = {0, 5}
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    values = lifetimes(program)
    at, here = peak(values)
    if here:
        owners: dict[str, int] = {}
        for v in here:
            owners[v.symbol or v.title] = owners.get(v.symbol or v.title, 0) + v.size
        blame = " + ".join(f"{name} {size}" for name, size in list(owners.items())[:6])
        more = f" + {len(owners) - 6} more" if len(owners) > 6 else ""
        lines.append(f"peak at step {at}: {blame}{more}")
    saved = ""
    if unplanned:
        saved = f", {100 * (1 - program.arena / unplanned):.0f}% less than the {unplanned} B of one buffer per value"
    bound = f"; the largest live set is {program.lower_bound} B" if program.lower_bound else ""
    kept = f"; the prologue keeps {program.kept} B" if program.kept else ""
    return "\n".join([*lines, f"arena {program.arena} B{saved}{bound}{kept}"])


def _add_rows(rows: list[tuple[str, ...]], program: Program, where: str, base: int) -> None:
    """What the steps of a program write, and those of their regions: `where` they are, as in 2.body/, and where in the
    whole arena theirs begins."""
    blocked = {value.name: "; ".join(value.blocked[:2]) for value in lifetimes(program)}
    for at, step in enumerate(program.steps):
        for number, result in enumerate(results_of(step)):
            name, line = named(origin_of(step, number), result.name)
            place = _place(result, where, base)
            form = form_text(step.form) if isinstance(step, KernelStep) else ""
            size = str(result.type.nbytes)
            why = blocked.get(result.name, "")
            rows.append((f"{where}{at}", step.label, form, f"%{result.name}", place, size, name, line, why))
        if isinstance(step, (LoopStep, BranchStep)):
            for region in step.regions:
                _add_rows(rows, region.program, f"{where}{at}.{region.name}/", base + step.frame.offset)


def unplanned_bytes(program: Program) -> int:
    """Bytes of one buffer for every value that a plan puts, or would put, into the arena."""
    return sum(
        result.type.nbytes
        for part in programs_of(program)
        for step in part.steps
        if not isinstance(step, ViewStep)
        for result in step.results
        if result.place.kind in ("", "arena")
    )


def _place(result: Result, where: str, base: int) -> str:
    """Where a value lies; of a region's value in the whole arena, or in which of the region's buffers."""
    place = result.place
    if place.kind == "arena":
        text = f"A+{base + place.offset}"
    else:
        text = f"{where if place.kind else ''}{str(place).lstrip('@')}" or "unplanned"
    return f"{text}{f' over %{result.inplace}' if result.inplace else ''}"


# --------------------------------------------------------------------------------------------- timeline

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1200.0, 520.0, 90.0, 46.0, 84.0


def colour(name: str) -> str:
    """Always the same colour for a Symbol."""
    number = zlib.crc32(name.encode())
    hue, light, rich = number % 360, 66 + number // 9000 % 14, 45 + number // 360 % 25
    parts = colorsys.hls_to_rgb(hue / 360, light / 100, rich / 100)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def memory_svg(program: Program, title: str) -> str:
    """The arena over time: steps to the right, bytes upwards, a rectangle per value in the colour of its Symbol. The
    step of the peak is marked and says whose memory it is; the dashed line is the lower bound. IRError for a program
    without a plan."""
    if any(r.place.kind == "" for step in program.steps for r in results_of(step)):
        raise IRError("the memory of this program is not planned; use --level=planned")
    values = lifetimes(program)
    steps, size = max(len(program.steps), 1), max(program.arena, 1)
    across, up = (WIDTH - LEFT - 20) / steps, (HEIGHT - TOP - BOTTOM) / size
    floor = HEIGHT - BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" '
        f'height="{HEIGHT:.0f}" font-family="monospace" font-size="12" style="background:#fff">',
        f"<title>memory of {escape(title)}</title>",
        f'<text x="{LEFT:.0f}" y="20" font-weight="bold">memory of {escape(title)}: {program.arena:,} B in '
        f"{len(program.steps)} steps, {unplanned_bytes(program):,} B without a plan</text>",
        f'<rect x="{LEFT:.1f}" y="{TOP:.1f}" width="{across * steps:.1f}" height="{floor - TOP:.1f}" fill="#f7f7f7" '
        'stroke="#bbb"/>',
    ]
    for v in values:
        if v.offset < 0:
            continue
        x, y = LEFT + v.first * across, floor - v.end * up
        wide, high = (v.until - v.first + 1) * across, v.size * up
        words = [
            f"{v.title}: {v.size:,} B at A+{v.offset}, steps {v.first} to {v.last}",
            f"{v.symbol} {v.line}".strip(),
        ]
        words += [f"over %{v.over}"] if v.over else [f"not in place: {why}" for why in v.blocked]
        tip = escape("\n".join(filter(None, words)))
        lines.append(
            f'<rect class="value" data-value="{escape(v.name)}" x="{x:.2f}" y="{y:.2f}" '
            f'width="{wide:.2f}" height="{high:.2f}" fill="{colour(v.symbol or v.name)}" stroke="#fff" '
            f'stroke-width="0.4"><title>{tip}</title></rect>'
        )
        text = v.symbol or v.name
        if wide > len(text) * 7.3 + 4 and high > 13:
            lines.append(f'<text x="{x + 3:.1f}" y="{y + 12:.1f}" pointer-events="none">{escape(text)}</text>')
    lines += _marks(program, values, across, up, floor)
    return "\n".join([*lines, "</svg>"])


def _marks(program: Program, values: list[Value], across: float, up: float, floor: float) -> Iterator[str]:
    """Axes, the lower bound, the ends of the prologue and of the forward half, and the peak."""
    steps = max(len(program.steps), 1)
    for tick in range(5):
        size = program.arena * tick // 4
        y = floor - size * up
        yield f'<text x="{LEFT - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{short_size(size)}</text>'
    for step in dict.fromkeys((steps - 1) * tick // 4 for tick in range(5)):
        x = LEFT + (step + 0.5) * across
        yield f'<text x="{x:.1f}" y="{floor + 16:.1f}" text-anchor="middle" fill="#555">{step}</text>'
    if program.lower_bound:
        y = floor - program.lower_bound * up
        yield (
            f'<path id="bound" d="M{LEFT:.1f},{y:.1f}h{across * steps:.1f}" stroke="#333" stroke-dasharray="6 4">'
            f"<title>largest live set: {program.lower_bound:,} B</title></path>"
        )
    if program.prologue:
        x = LEFT + program.prologue * across
        yield f'<path d="M{x:.1f},{TOP:.1f}V{floor:.1f}" stroke="#999" stroke-dasharray="2 3"/>'
        yield f'<text x="{x + 4:.1f}" y="{TOP - 6:.1f}" fill="#555">behind the prologue</text>'
    if 0 < program.cut < steps:
        x = LEFT + program.cut * across
        yield f'<path d="M{x:.1f},{TOP:.1f}V{floor:.1f}" stroke="#999" stroke-dasharray="2 3"/>'
        yield f'<text x="{x + 4:.1f}" y="{TOP - 6:.1f}" fill="#555">backward</text>'
    at, here = peak(values)
    if here:
        x = LEFT + (at + 0.5) * across
        yield f'<path id="peak" d="M{x:.1f},{TOP:.1f}V{floor:.1f}" stroke="#c33"/>'
        shown = ", ".join(f"{v.symbol or v.title} {short_size(v.size)}" for v in here[:5])
        more = f" and {len(here) - 5} more" if len(here) > 5 else ""
        text = f"peak at step {at}: {short_size(sum(v.size for v in here))} = {shown}{more}"
        yield f'<text x="{LEFT:.1f}" y="{floor + 40:.1f}" fill="#a22">{escape(text)}</text>'
        bound = f"dashed: the largest live set, {short_size(program.lower_bound)}"
        yield f'<text x="{LEFT:.1f}" y="{floor + 60:.1f}" fill="#555">{bound}</text>'


def short_size(size: int) -> str:
    """Bytes with three digits and a unit."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size} B"
