"""The text of schedules; symc.ir.loop.schedule says what it means."""

from __future__ import annotations

from collections.abc import Iterable

from symc.ir.loop.nodes import LoopKernel
from symc.ir.loop.schedule import Nest, Schedule, Split
from symc.ir.syntax.printing import global_name, value_name
from symc.ir.syntax.tokens import END, Reader

#: what a nest may say besides its loops
WORDS = ("fold", "unroll", "pack", "panel", "abreast")


def schedule_text(schedule: Schedule) -> str:
    """`sums=24; %i: %i*6, %j*24/8`."""
    parts = [f"sums={schedule.sums}"] if schedule.sums else []
    return "; ".join([*parts, *map(_nest_text, schedule.nests)])


def _nest_text(nest: Nest) -> str:
    items = [_split_text(split) for split in nest.loops]
    if nest.fold is not None:
        items.append(f"fold={_split_text(nest.fold)}")
    if nest.unroll:
        items.append(f"unroll={'+'.join(map(value_name, nest.unroll))}")
    if nest.pack:
        items.append(f"pack={value_name(nest.pack)}")
    items += [f"{word}={number}" for word, number in (("panel", nest.panel), ("abreast", nest.abreast)) if number]
    return f"{value_name(nest.at)}: {', '.join(items)}"


def _split_text(split: Split) -> str:
    turns = f"*{split.turns}" if split.turns else ""
    lanes = f"/{split.lanes}" if split.lanes else ""
    vectors = f"*{split.vectors}" if split.vectors != 1 else ""
    return value_name(split.var) + turns + lanes + vectors


def parse_schedule(text: str) -> Schedule:
    """The schedule that a text says. ParseError with a caret where it is wrong."""
    p = Reader(text)
    made = read_schedule(p)
    if p.peek != END:
        p.unexpected("';' and a nest, or the end of the schedule")
    return made


def schedules_text(kernels: Iterable[LoopKernel]) -> str:
    """The schedules of kernels by their names, one a line: `@k0.dot(sums=24; %i: %i*6, %j*24/8)`."""
    chosen = [(kernel.name, kernel.schedule) for kernel in kernels if kernel.schedule is not None]
    return "".join(f"{global_name(name)}({schedule_text(schedule)})\n" for name, schedule in chosen)


def parse_schedules(text: str) -> dict[str, Schedule]:
    """Schedules by the names of their kernels. ParseError with a caret where the text is wrong."""
    p = Reader(text)
    found: dict[str, Schedule] = {}
    while p.peek != END:
        at = p.at
        name = p.global_name()
        if name in found:
            raise p.error(f"{global_name(name)} has two schedules", at)
        p.expect("(")
        found[name] = read_schedule(p)
        p.expect(")")
    return found


def read_schedule(p: Reader) -> Schedule:
    """A schedule up to what cannot be part of one."""
    sums = 0
    if p.accept("sums"):
        p.expect("=")
        sums = _number(p, 2)
        if not p.accept(";"):
            return Schedule((), sums)
    nests: list[Nest] = []
    while p.peek[0] == "%":
        at = p.at
        nest = _nest(p)
        if any(n.at == nest.at for n in nests):
            raise p.error(f"the schedule says twice what becomes of {value_name(nest.at)}", at)
        nests.append(nest)
        if not p.accept(";"):
            break
    return Schedule(tuple(nests), sums)


def _nest(p: Reader) -> Nest:
    at = p.name()
    p.expect(":")
    loops: list[Split] = []
    fold: Split | None = None
    unroll: list[str] = []
    pack = ""
    numbers = {"panel": 0, "abreast": 0}
    seen: set[str] = set()
    while True:
        word = p.peek
        if word[0] == "%":
            loops.append(_split(p))
        elif word not in WORDS:
            p.unexpected(f"a loop like %i, or one of {', '.join(WORDS)}")
        elif word in seen:
            raise p.error(f"{word} is given twice")
        else:
            seen.add(p.next())
            p.expect("=")
            if word == "fold":
                fold = _split(p)
            elif word == "pack":
                pack = p.name()
            elif word == "unroll":
                unroll.append(p.name())
                while p.accept("+"):
                    unroll.append(p.name())
            else:
                numbers[word] = _number(p, 1)
        if not p.accept(","):
            return Nest(at, tuple(loops), fold, tuple(unroll), pack, **numbers)


def _split(p: Reader) -> Split:
    var = p.name()
    turns = _number(p, 1) if p.accept("*") else 0
    lanes = _number(p, 2) if p.accept("/") else 0
    vectors = _number(p, 1) if lanes and not turns and p.accept("*") else 1
    return Split(var, turns, lanes, vectors)


def _number(p: Reader, least: int) -> int:
    at = p.at
    number = p.integer()
    if number < least:
        raise p.error(f"{number} is too small: at least {least}", at)
    return number
