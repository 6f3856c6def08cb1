"""Schedules that were measured, by what their kernels compute. Where they come from is no matter here: a file of lines
`key(schedule)`, written once and never changed, so that its name says what is in it."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote

from symc.ir.changed import replace
from symc.ir.errors import ParseError
from symc.ir.loop.nodes import LoopKernel
from symc.ir.loop.schedule import Schedule
from symc.ir.loop.schedule_text import parse_schedule
from symc.ir.loop.text import kernel_lines
from symc.ir.loop.verify_schedule import misfit
from symc.ir.syntax.printing import Printer
from symc.passes.loop.lower import with_buffers

_log = logging.getLogger("symc")


def key_of_kernel(kernel: LoopKernel, block: int) -> str:
    """What a kernel's schedules are kept under: its plain loops, whatever it and its buffers are called, and how exact
    its sums are."""
    named = with_buffers(kernel, [f"b{at}" for at in range(len(kernel.buffers))])
    buffers = tuple(replace(buffer, alias=()) for buffer in named.buffers)
    plain = replace(named, name="k", buffers=buffers, key="", schedule=None)
    text = "\n".join(kernel_lines(plain, Printer(locs=False)))
    return hashlib.sha256(f"{block}\n{text}".encode()).hexdigest()


@functools.cache
def tuned_schedules(path: str) -> Mapping[str, Schedule]:
    """The schedules of a file (its path quoted) by key. What cannot be read is left out, with a warning in the log."""
    try:
        with open(unquote(path), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        _log.warning("measured schedules are not used: %s", problem)
        return MappingProxyType({})
    found: dict[str, Schedule] = {}
    for number, line in enumerate(lines, 1):
        key, _, text = line.partition("(")
        try:
            if len(key) != 64 or not text.endswith(")"):
                raise ParseError("expected a key and a schedule in parentheses", number, 1, line)
            found[key] = parse_schedule(text[:-1])
        except ParseError as problem:
            _log.warning("a measured schedule is not used (%s, line %d): %s", unquote(path), number, problem)
    return MappingProxyType(found)


def measured_for(kernel: LoopKernel, block: int, schedules: Mapping[str, Schedule]) -> Schedule | None:
    """The schedule that was measured for a kernel; None if there is none, or it does not fit, which the log is told."""
    found = schedules.get(key_of_kernel(kernel, block))
    if found is not None and (problem := misfit(kernel, found)):
        _log.warning("the schedule measured for kernel @%s is not used: %s", kernel.name, problem)
        return None
    return found
