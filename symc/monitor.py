"""Monitor: statistics of a running net's values, for looking into it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from symc.ndarray import NDArray, array

__all__ = ["Monitor"]

Stat = Callable[[NDArray], Any]


def _mean_size(x: NDArray) -> NDArray:
    """norm / sqrt(size)."""
    return array([np.linalg.norm(x.asnumpy().ravel()) / sqrt(x.size)])


class Monitor:
    """Every `interval` batches, `stat_func` of the outputs, parameters and states whose names match `pattern`.

    `tic()` before a forward, `toc()` after the update gives [(step, name, text)]. `monitor_all` adds operator inputs.
    """

    def __init__(
        self,
        interval: int,
        stat_func: Stat | None = None,
        pattern: str = ".*",
        sort: bool = False,
        monitor_all: bool = False,
    ) -> None:
        self.interval, self.stat_func, self.sort, self.monitor_all = (
            interval,
            stat_func or _mean_size,
            sort,
            monitor_all,
        )
        self.re_prog = re.compile(pattern)
        self.activated, self.step = False, 0
        self.queue: list[tuple[int, str, Any]] = []
        self.exes: list[Any] = []

    def stat_helper(self, name: str, value: NDArray) -> None:
        """What executors call with each output."""
        if self.activated:
            self._note(name, value)

    def _note(self, name: str, value: NDArray) -> None:
        if self.re_prog.match(name):
            self.queue.append((self.step, name, self.stat_func(value)))

    def install(self, exe: Any) -> None:
        """Watch an executor."""
        exe.set_monitor_callback(self.stat_helper, self.monitor_all)
        self.exes.append(exe)

    def tic(self) -> None:
        """A batch begins; it is watched if it is its turn."""
        if self.step % self.interval == 0:
            self.queue, self.activated = [], True
        self.step += 1

    def toc(self) -> list[tuple[int, str, str]]:
        """The batch is over: (step, name, text of the statistics); empty if it was not watched."""
        if not self.activated:
            return []
        for exe in self.exes:
            for name, value in [*exe.arg_dict.items(), *exe.aux_dict.items()]:
                self._note(name, value)
        self.activated = False
        if self.sort:
            self.queue.sort(key=lambda entry: entry[1])
        found = [(step, name, _text(values)) for step, name, values in self.queue]
        self.queue = []
        return found

    def toc_print(self) -> None:
        """`toc`, logged."""
        for step, name, text in self.toc():
            logging.info("Batch: %7d %30s %s", step, name, text)


def _text(values: Any) -> str:
    parts = values if isinstance(values, list) else [values]
    for part in parts:
        if not isinstance(part, NDArray):
            raise TypeError(f"a monitor's stat_func gives an NDArray or a list of them, got {type(part).__name__}")
    return "".join(f"{p.asscalar() if p.shape == (1,) else p.asnumpy()}\t" for p in parts)
