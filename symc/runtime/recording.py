"""Recordings of runs: while one is made, programs run kernel by kernel with a clock around each.

A call of one kernel costs 0.3 us more than as part of a table, and the clock 0.1 us.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from symc.ir.program.nodes import Program
from symc.runtime.table import Table


class Event(NamedTuple):
    """One run of one kernel: entry number `entry` of a program's table, when it began and how long it took (ns)."""

    program: Program
    entry: int
    begun: int
    took: int
    thread: int


class Recording:
    """What ran, in order. Threads may record into it at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def run(self, program: Program, table: Table, first: int, last: int) -> None:
        """Run entries of a program's table, one by one."""
        clock, thread = time.perf_counter_ns, threading.get_ident()
        for entry in range(first, last):
            begun = clock()
            table.run(entry, entry + 1)
            self.events.append(Event(program, entry, begun, clock() - begun, thread))


#: what is being recorded into; None: nothing is, and programs run at full speed (every run of a program looks here)
RECORDING: list[Recording | None] = [None]


def active() -> Recording | None:
    """The recording that is being made."""
    return RECORDING[0]


def record(recording: Recording | None) -> None:
    """Record into this from now on; None: stop."""
    RECORDING[0] = recording
