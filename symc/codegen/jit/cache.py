"""Object code kept on disk between processes, one file per kernel, and beside it the listings of kernels that were
looked at and programs (symc.runtime.stored).

`SYMC_CACHE_DIR` names the directory (default: `$XDG_CACHE_HOME/symc` or `~/.cache/symc`), `SYMC_CACHE=0` switches the
cache off. A file is written beside its place and renamed into it, so readers never see half an entry; a truncated,
damaged or foreign file counts as a miss and is overwritten. A directory that cannot be used costs one warning.
One file per kernel is deliberate: reading a hundred takes 3 ms, linking them ten, and packs would need an index that
concurrent writers agree on.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import time
import warnings
from pathlib import Path

from symc.settings import switch

GENERATOR_VERSION = 1
"""Raise when equal kernel keys may mean other code for a reason that is not in this package's own source."""

_MAGIC = b"SYMCOBJ1"
_HEADER = struct.Struct("<8s32sQ32s")  # magic, entry's digest, payload length, payload's sha256
_SUFFIX = ".o"
_DEFAULT_LIMIT = 512 << 20
_TRIM_AFTER_BYTES = 32 << 20
_TRIM_AFTER_SECONDS = 3600.0
_TOUCH_AFTER_SECONDS = 3600.0


class ObjectCache:
    """A size-bounded directory of checked blobs, safe for any number of processes and threads."""

    def __init__(self, directory: Path, limit_bytes: int = _DEFAULT_LIMIT) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._warned = False
        self._unchecked_bytes = 0
        self._checked_at = 0.0

    def path(self, digest: bytes) -> Path:
        """Where the entry of the 32-byte `digest` lives."""
        return self.directory / (digest.hex() + _SUFFIX)

    def get(self, digest: bytes) -> bytes | None:
        """The payload stored under `digest`, or None if there is none or it is damaged."""
        path = os.fspath(self.path(digest))
        try:
            with open(path, "rb") as file:
                blob = file.read()
                modified = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        payload = _unpack(digest, blob)
        if payload is not None and time.time() - modified > _TOUCH_AFTER_SECONDS:
            _touch(path)
        return payload

    def put(self, digest: bytes, payload: bytes) -> None:
        """Store `payload` under `digest`, replacing what is there. Failure costs a warning, never an exception."""
        blob = _HEADER.pack(_MAGIC, digest, len(payload), hashlib.sha256(payload).digest()) + payload
        final = os.fspath(self.path(digest))
        # a name that no other thread, process or machine has; tempfile has a lock, which a child may find taken
        temporary = f"{final}.{os.urandom(8).hex()}.tmp"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(blob)
            os.replace(temporary, final)
        except OSError as error:
            _remove(temporary)
            self._warn(error)
            return
        self._unchecked_bytes += len(blob)
        if self._trim_due():
            self.trim()

    def trim(self) -> None:
        """Delete least recently used entries until the directory is within four fifths of its limit, if it is over it.

        Temporary files of writers that died go as well.
        """
        self._unchecked_bytes = 0
        self._checked_at = time.time()
        entries: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self.directory) as listing:
                for item in listing:
                    status = item.stat()
                    if item.name.endswith(_SUFFIX):
                        entries.append((status.st_mtime, status.st_size, item.path))
                    elif item.name.endswith(".tmp") and self._checked_at - status.st_mtime > _TRIM_AFTER_SECONDS:
                        _remove(item.path)
        except OSError:  # another process trims at the same time, or the directory has gone: nothing to bound
            return
        total = sum(size for _, size, _ in entries)
        if total <= self.limit_bytes:
            return
        for _, size, path in sorted(entries):
            _remove(path)
            total -= size
            if total <= self.limit_bytes * 4 // 5:
                return

    def _trim_due(self) -> bool:
        """A scan is due now and then: after much was written here, or if no process has scanned for an hour."""
        if self._unchecked_bytes >= min(_TRIM_AFTER_BYTES, self.limit_bytes):
            return True
        now = time.time()
        if now - self._checked_at <= _TRIM_AFTER_SECONDS:
            return False
        self._checked_at = now
        marker = self.directory / "trimmed"
        try:
            if now - marker.stat().st_mtime <= _TRIM_AFTER_SECONDS:
                return False
        except OSError:  # no process has scanned this directory yet
            return _create(marker)
        _touch(os.fspath(marker))
        return True

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"symc: the object cache in {self.directory} cannot be used ({error}); kernels are compiled anew. "
                "Set SYMC_CACHE_DIR to a writable directory, or SYMC_CACHE=0.",
                RuntimeWarning,
                stacklevel=3,
            )


def _unpack(digest: bytes, blob: bytes) -> bytes | None:
    if len(blob) < _HEADER.size:
        return None
    magic, stored_digest, length, checksum = _HEADER.unpack_from(blob)
    payload = blob[_HEADER.size :]
    if magic != _MAGIC or stored_digest != digest or length != len(payload):
        return None
    return payload if hashlib.sha256(payload).digest() == checksum else None


def _touch(path: str) -> None:
    """Mark as used just now. A cache that may only be read keeps its old order, which is harmless."""
    try:
        os.utime(path)
    except OSError:
        return


def _create(marker: Path) -> bool:
    try:
        marker.touch()
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    """Delete a file that another process may have deleted first."""
    try:
        os.unlink(path)
    except OSError:
        return


def cache_directory() -> Path:
    """The directory that `SYMC_CACHE_DIR`, `XDG_CACHE_HOME` and the home directory lead to, in this order."""
    chosen = os.environ.get("SYMC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "symc"


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory)


def default_cache() -> ObjectCache | None:
    """The cache the environment asks for, or None if `SYMC_CACHE=0`."""
    return None if switch("SYMC_CACHE") is False else _cache_at(cache_directory())


def sources(package: str) -> list[tuple[str, int, int]]:
    """The Python files below a folder in order: their paths in it, sizes and times."""
    found: list[tuple[str, int, int]] = []
    waiting = [package]
    # every process does this before its first kernel: one listing of a folder tells all of its files
    for folder in waiting:
        with os.scandir(folder) as listing:
            for entry in listing:
                name = entry.name
                if name.endswith(".py"):
                    status = entry.stat()
                    found.append((entry.path[len(package) :], status.st_size, status.st_mtime_ns))
                elif name != "__pycache__" and entry.is_dir():
                    waiting.append(entry.path)
    return sorted(found)


@functools.cache
def generator_fingerprint() -> bytes:
    """A digest of symc.codegen's source and `GENERATOR_VERSION`: an edited emitter must not meet its old output. The
    cache keeps the digest of files of these sizes and times, as reading them all takes longer."""
    package = os.path.dirname(os.path.dirname(__file__))
    files = sources(package)
    known_by = hashlib.sha256(repr(("generator", GENERATOR_VERSION, package, files)).encode()).digest()
    cache = default_cache()
    found = cache.get(known_by) if cache is not None else None
    if found is not None:
        return found
    digest = hashlib.sha256(str(GENERATOR_VERSION).encode())
    for path, _, _ in files:
        digest.update(path.encode())
        with open(package + path, "rb") as source:
            digest.update(source.read())
    if cache is not None:
        cache.put(known_by, digest.digest())
    return digest.digest()
