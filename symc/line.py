"""A line on a terminal that tqdm writes over. Only symc.progress imports this, when the first one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO
from weakref import WeakSet

from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from symc.ir.process import in_child, turns

#: columns where the terminal does not say; the widest and the narrowest bar that is worth its place
COLUMNS, WIDEST, NARROWEST = 80, 30, 8

Parts = Callable[[], Sequence[str]]


class Line(tqdm):
    """A bar, `parts` (what is most important first) and the time left, which is judged by what happens from now on."""

    monitor_interval = 0  # no thread that watches lines: a forked child would not have it
    # its own: tqdm's lock decides how multiprocessing starts processes, and its list has the lines of symc's user
    _instances: WeakSet[Line] = WeakSet()

    def __init__(self, total: int, stream: TextIO, done: int, parts: Parts) -> None:
        self.parts = parts
        for other in self._instances - {self}:
            other.clear()
        super().__init__(
            total=total, initial=done, file=stream, ascii=".#", position=0, leave=False, dynamic_ncols=True,
            miniters=0, smoothing=0,
        )  # fmt: skip

    def __str__(self) -> str:
        given = self.format_dict
        room = given["ncols"] if (given["ncols"] or 0) > 0 else COLUMNS - 1
        said = list(self.parts())
        if self.total and self.initial < self.n < self.total:
            said.append(self.format_meter(**{**given, "ncols": None, "bar_format": "{remaining} left"}))
        while len(said) > 1 and disp_len("  ".join(said)) > room:
            said.pop()
        text = disp_trim("  ".join(said), room)
        bar = min(room - disp_len(text) - len("[] "), WIDEST)
        if bar < NARROWEST or not self.total:
            return str(text)
        width = bar + len("[] ") + disp_len(text)
        return str(self.format_meter(**{**given, "ncols": width, "prefix": text, "bar_format": "[{bar}] {desc}"}))


def _not_ours() -> None:
    """A child does not draw its parent's lines."""
    for line in Line._instances:
        line.disable = True


Line.set_lock(turns())
in_child(_not_ours)
