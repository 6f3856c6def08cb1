"""What a command says beside its results: warnings, and where nobody listens."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from symc.extensions import is_own


@contextmanager
def spoken() -> Iterator[None]:
    """Warnings of this project are lines as its errors are, without the place in its code; those of the user's code
    have theirs. Of a closed standard error nothing comes out among the results."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # until the process ends
    before = warnings.formatwarning

    def line(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, source: str | None = None
    ) -> str:
        return (
            f"symc: {str(message).removeprefix('symc: ')}\n"
            if is_own(filename)
            else before(message, category, filename, lineno, source)
        )

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = before
