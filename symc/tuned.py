"""Schedules that `symc tune` has measured, kept for this machine beside the compiled kernels.

All of them are one file, whose name says what is in it: what was compiled by other schedules is not taken for what
these make. Nobody needs them; a file that cannot be read counts as none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from symc.codegen.jit.cache import default_cache
from symc.codegen.jit.compile import target_fingerprint
from symc.codegen.target import Target, host_name
from symc.ir.loop.schedule import Schedule
from symc.ir.loop.schedule_text import schedule_text
from symc.passes.loop.tiling.tuned import tuned_schedules

_FOLDER = "tuned"


def tuned_file(target: Target) -> str:
    """The path of the newest schedules for code of this target on this machine, as the pass choose takes it; empty if
    there are none, or nothing is kept."""
    cache = default_cache()
    if cache is None:
        return ""
    folder = os.fspath(cache.directory / _FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:  # nothing was ever tuned
        return ""
    found = [os.path.join(folder, name) for name in names if name.startswith(_prefix(target))]
    if not found:
        return ""
    path = quote(max(found, key=_modified))
    # read now, as another process may replace it before the loops are written
    tuned_schedules(path)
    return path


def add_tuned(schedules: Mapping[str, Schedule], target: Target) -> Path | None:
    """Keep schedules by their kernels' keys, beside those that are known; the file, None where nothing is kept. OSError
    for a directory that cannot be written."""
    cache = default_cache()
    if cache is None:
        return None
    before = tuned_file(target)
    known = {**(tuned_schedules(before) if before else {}), **schedules}
    text = "".join(f"{key}({schedule_text(schedule)})\n" for key, schedule in sorted(known.items()))
    folder = cache.directory / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = folder / f"{_prefix(target)}{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt"
    temporary = folder / f"{os.urandom(8).hex()}.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, final)
    if before and unquote(before) != os.fspath(final):
        Path(unquote(before)).unlink(missing_ok=True)
    return final


def _prefix(target: Target) -> str:
    machine = hashlib.sha256(target_fingerprint(target) + host_name().encode()).hexdigest()[:12]
    return f"{target.name}-{machine}-"


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:  # another process has replaced it
        return 0.0
