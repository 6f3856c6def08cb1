"""Files that failures leave, for people to look at: a folder of every kind, in the system's place for temporary files,
that keeps the newest of them."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

#: files of one kind that are kept
KEPT = 20


def folder(kind: str) -> Path:
    """Where files of a kind are, if there are any."""
    return Path(tempfile.gettempdir()) / f"symc-{kind}-{os.getuid()}"


def new_file(kind: str, suffix: str) -> Path:
    """An empty file that nobody else has. Older ones are taken away, but for the newest, with what stands beside them
    under their name. OSError where there is no place."""
    place = folder(kind)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # another process takes them away, too
        for path in sorted(place.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime)[: 1 - KEPT]:
            remove(path)
    handle, name = tempfile.mkstemp(suffix, f"{os.getpid()}-", place)
    os.close(handle)
    return Path(name)


def remove(path: Path) -> None:
    """Take a file away, and what stands beside it under its name."""
    for file in path.parent.glob(f"{path.stem}.*"):
        file.unlink(missing_ok=True)
