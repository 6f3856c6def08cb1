"""Which machine the code is made for: vector width, registers and the exact instruction sets LLVM may use.

x86 has three levels (`avx512`, `avx2`, `baseline`), 64-bit ARM is `aarch64`, and every other machine is `baseline`. The
level is chosen from the host's feature flags, never from its CPU name, because LLVM's name detection is wrong on some
virtual machines while its feature detection is right. `SYMC_TARGET` forces a lower level, for example to reproduce
another machine's results. Code for machines that this host is not can be made and looked at, not run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from symc.codegen.errors import TargetError
from symc.ir.process import forks_wait
from symc.settings import count


@dataclass(frozen=True)
class Target:
    """A machine to generate code for. `cpu`, `features` and `triple` (empty: this host's) are passed to LLVM as they
    are; has_f16c: instructions convert halves."""

    name: str
    cpu: str
    features: str
    vector_bytes: int
    has_fma: bool
    has_f16c: bool
    registers: int
    #: multiply-adds of whole vectors that begin in a cycle
    ports: int = 2
    #: how inline assembly calls a vector register; empty where nobody has tried
    register: str = ""
    triple: str = ""
    #: bytes of a core's second cache; of a machine that is only looked at, or named, those of a common one
    cache: int = 1 << 20

    def lanes(self, item_bytes: int) -> int:
        """How many elements of `item_bytes` bytes fit one vector register."""
        return self.vector_bytes // item_bytes


_AVX2_REQUIRED = ("avx", "avx2", "fma")
_AVX2_EXTRAS = ("bmi", "bmi2", "cx16", "f16c", "lzcnt", "movbe", "popcnt", "sahf", "sse3", "ssse3", "sse4.1", "sse4.2")
_AVX512_REQUIRED = (*_AVX2_REQUIRED, "avx512f", "avx512vl", "avx512dq", "avx512bw")
_AVX512_EXTRAS = (*_AVX2_EXTRAS, "avx512cd")
_REQUIRED: dict[str, tuple[str, ...]] = {
    "avx512": _AVX512_REQUIRED,
    "avx2": _AVX2_REQUIRED,
    "aarch64": (),
    "baseline": (),
}

#: bytes of second caches that are made use of: what is larger is shared
CACHES = (1 << 18, 1 << 21)
#: processors that execute an instruction on 64 bytes in two halves
_HALVED = ("znver4",)

TARGET_NAMES = tuple(_REQUIRED)


def is_x86() -> bool:
    """True if this process runs on a 64-bit x86 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _is_arm() -> bool:
    return platform.machine().lower() in ("aarch64", "arm64")


@functools.cache
def host_features() -> Mapping[str, bool]:
    """The host's LLVM feature flags; empty where LLVM cannot tell."""
    with forks_wait():
        from llvmlite import binding

        try:
            return dict(binding.get_host_cpu_features())
        except RuntimeError:  # LLVM knows no way to ask this operating system
            return {}


@functools.cache
def host_name() -> str:
    """What LLVM takes the host's processor for. It may be wrong: good for speed, not for what can be executed."""
    with forks_wait():
        from llvmlite import binding

        return str(binding.get_host_cpu_name())


def _flags(names: tuple[str, ...], available: Mapping[str, bool]) -> str:
    """LLVM's feature string: `names` switched on or off as `available` says."""
    return ",".join(("+" if available.get(name, False) else "-") + name for name in names)


@functools.cache
def named_target(name: str) -> Target:
    """The target called `name`, whether or not this host could run its code (the dump tool prints code for any).

    Optional instructions (f16c, bmi...) are left out if the host supports the level but lacks them.
    Raises TargetError for an unknown name.
    """
    if name not in _REQUIRED:
        raise TargetError(f"unknown target {name!r}: expected one of {', '.join(TARGET_NAMES)}; correct SYMC_TARGET")
    if name == "aarch64":
        triple = "" if _is_arm() else "aarch64-unknown-linux-gnu"
        return Target(
            name, "generic", "+neon", 16, has_fma=True, has_f16c=True, registers=32, register="w", triple=triple
        )
    if name == "baseline":
        cpu, register = ("x86-64", "x") if is_x86() else ("generic", "")
        return Target(name, cpu, "", 16, has_fma=False, has_f16c=False, registers=16, register=register)
    triple = "" if is_x86() else "x86_64-unknown-linux-gnu"
    required = _REQUIRED[name]
    extras = _AVX512_EXTRAS if name == "avx512" else _AVX2_EXTRAS
    supported = all(host_features().get(feature, False) for feature in required)
    available = {**(host_features() if supported else dict.fromkeys(extras, True)), **dict.fromkeys(required, True)}
    features = _flags((*required, *extras), available)
    has_f16c = available.get("f16c", False)
    if name == "avx2":
        return Target(name, "x86-64-v3", features, 32, True, has_f16c, registers=16, register="x", triple=triple)
    # The generic level prefers 256-bit operations; the emitter chooses widths itself and means them.
    features += ",-prefer-256-bit"
    ports = 1 if host_name() in _HALVED else 2
    return Target(name, "x86-64-v4", features, 64, True, has_f16c, 32, ports=ports, register="v", triple=triple)


_aim: ContextVar[Target | None] = ContextVar("aim", default=None)


@contextlib.contextmanager
def aimed_at(name: str) -> Iterator[None]:
    """Programs of this thread are compiled for the named target while the block runs, to be looked at: this host may
    lack what it takes to run them. Raises TargetError for an unknown name."""
    token = _aim.set(named_target(name))
    try:
        yield
    finally:
        _aim.reset(token)


def host_target() -> Target:
    """The best target this host can run, or the one `SYMC_TARGET` (or `aimed_at`) names.

    Raises TargetError if `SYMC_TARGET` is no target's name or needs instructions the host lacks.
    """
    if (aim := _aim.get()) is not None:
        return aim
    wanted = os.environ.get("SYMC_TARGET", "")
    if not wanted:
        return _host()
    target = named_target(wanted)
    if target.triple:
        raise TargetError(f"SYMC_TARGET={wanted}: this host is {platform.machine()}; unset it")
    missing = [feature for feature in _REQUIRED[wanted] if not host_features().get(feature, False)]
    if missing:
        raise TargetError(
            f"SYMC_TARGET={wanted}: this host lacks {', '.join(missing)}; unset it, or use {_best_name()!r} or lower"
        )
    return target


@functools.cache
def _host() -> Target:
    found = named_target(_best_name())
    return dataclasses.replace(found, cache=min(max(_second_cache() or found.cache, CACHES[0]), CACHES[1]))


def _second_cache() -> int:
    """Bytes of the second cache of the processor's first core as Linux tells them; 0 where it does not."""
    for index in (2, 3, 1, 0):  # first where it nearly always stands: each process asks
        place = f"/sys/devices/system/cpu/cpu0/cache/index{index}/"
        try:
            level, kind, size = (_line(place + name) for name in ("level", "type", "size"))
        except OSError:
            continue
        if level == b"2" and kind != b"Instruction" and size[-1:] == b"K" and size[:-1].isdigit():
            return int(size[:-1]) << 10
    return 0


def _line(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(64).rstrip()


@functools.cache
def _best_name() -> str:
    if _is_arm():
        return "aarch64"
    if not is_x86():
        return "baseline"
    features = host_features()
    levels = ("avx512", "avx2", "baseline")
    return next(name for name in levels if all(features.get(f, False) for f in _REQUIRED[name]))


def default_threads() -> int:
    """Threads to work with: `SYMC_NUM_THREADS`, or the processors this process may use.

    Raises SettingError if `SYMC_NUM_THREADS` is no whole number of threads.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count("SYMC_NUM_THREADS") or available
