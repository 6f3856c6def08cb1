"""Files that failures leave, for people to look at: a folder of every kind, in the system's place for temporary files,
that keeps the newest of them."""

from __future__ import annotations

import os
import tempfile
import threading
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


class Crumbs:
    """What the threads of a piece of work are at, a file each, which are there only if the process dies of it. To say
    what comes next costs a few microseconds: the file stays open, and nothing waits for a disk."""

    def __init__(self, kind: str, suffix: str) -> None:
        self.kind, self.suffix = kind, suffix
        self._files: dict[int, tuple[int, Path]] = {}

    def say(self, text: str) -> None:
        """This thread is at something else now. Where there is no place for files, nobody will find one."""
        thread = threading.get_ident()
        with suppress(OSError):
            if thread not in self._files:
                path = new_file(self.kind, self.suffix)
                self._files[thread] = os.open(path, os.O_WRONLY), path
            handle, _ = self._files[thread]
            data = text.encode()
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))

    def end(self) -> None:
        """The work is over."""
        for handle, path in self._files.values():
            os.close(handle)
            path.unlink(missing_ok=True)
        self._files.clear()


def remove(path: Path) -> None:
    """Take a file away, and what stands beside it under its name."""
    for file in path.parent.glob(f"{path.stem}.*"):
        file.unlink(missing_ok=True)
