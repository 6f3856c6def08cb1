"""The line that `fit` shows on a terminal while it trains, where nobody else speaks."""

from __future__ import annotations

import time
from typing import Any

from symc.progress import Progress, duration

#: digits of a metric's value
DIGITS = 4


class Live:
    """How far a fit is: epoch, metric, samples per second, and the time left as soon as it is known how many batches
    an epoch has. The line of every epoch stays. Off a terminal, and where `speaks` says that callbacks tell how it
    goes, nothing is shown."""

    def __init__(self, epochs: range, train_data: Any, speaks: bool) -> None:
        self._progress = Progress(0)
        self._on = self._progress.live and not speaks
        self._epochs, self._batches, self._done, self._here = epochs, _batches_of(train_data), 0, 0
        self._rows = self._first = 0
        self._start = self._begun = time.perf_counter()

    def begin(self) -> None:
        """An epoch begins."""
        self._here, self._begun = 0, time.perf_counter()

    def step(self, metric: Any, batch: Any, epoch: int) -> None:
        """A batch was trained on."""
        if not self._on:
            return
        self._done, self._here = self._done + 1, self._here + 1
        if self._done == 1:  # the first one compiled the programs
            self._start = time.perf_counter()
        else:
            self._rows += _rows_of(batch)
        self._progress.total = (self._batches or 0) * len(self._epochs)
        self._progress.show(self._done, lambda: self._parts(metric, epoch))

    def _parts(self, metric: Any, epoch: int) -> list[str]:
        said = [f"epoch {epoch + 1}/{self._epochs.stop}"]
        said += [f"{name} {value:.{DIGITS}g}" for name, value in metric.get_name_value()]
        elapsed = time.perf_counter() - self._start
        if self._rows and elapsed > 0:
            said.append(f"{self._rows / elapsed:,.0f} samples/s")
        return said

    def end(self, pairs: list[tuple[str, float]], epoch: int) -> None:
        """An epoch is over; its metric is in pairs."""
        if not self._on or not self._here:
            return
        self._batches = self._here
        took = duration(time.perf_counter() - self._begun)
        values = [f"{name} {value:.{DIGITS}g}" for name, value in pairs]
        self._progress.say("  ".join([f"epoch {epoch + 1}/{self._epochs.stop}", *values, took]))

    def close(self) -> None:
        """The fit is over, or was interrupted."""
        self._progress.close()


def _batches_of(data: Any) -> int | None:
    """How many batches an iterator over arrays has; of others the first epoch tells."""
    rows, size = getattr(data, "num_data", None), getattr(data, "batch_size", None)
    return -(-rows // size) if isinstance(rows, int) and isinstance(size, int) and size > 0 else None


def _rows_of(batch: Any) -> int:
    """The rows of a batch, or of a list of batches."""
    parts = batch if isinstance(batch, list) else [batch]
    return sum(int(part.data[0].shape[0]) for part in parts if getattr(part, "data", None))
