"""What users set from outside of a program: environment variables, and numbers on command lines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping

#: every variable that symc reads, and what it means (printed by `symc --help`; see docs/settings.md)
VARIABLES: Mapping[str, str] = {
    "SYMC_NUM_THREADS": "threads that kernels are divided among (default: the processors this process may use)",
    "SYMC_TARGET": "avx512, avx2, aarch64 or baseline: instructions to use (default: the best the host has)",
    "SYMC_CACHE": "0: compiled kernels and programs are not kept on disk",
    "SYMC_CACHE_DIR": "where they are kept (default: symc in $XDG_CACHE_HOME or in ~/.cache)",
    "SYMC_DUMP": "a directory that all compiled programs are written into, level by level, with an index",
    "SYMC_VERIFY": "1: programs are verified after every pass; 0: not at all (default: at the end of every level)",
    "SYMC_WINOGRAD": "convolutions by fewer products; 1: in training forward, too; 0: never (default: others)",
    "SYMC_GPU": "cpu: mx.gpu(i) means the CPU, with one warning (default: making an array there is an error)",
    "MXNET_BACKWARD_DO_MIRROR": "1: training computes values again rather than to keep them (memory_budget=0)",
    "MXNET_ELIMINATE_COMMON_EXPR": "0: Executor.get_optimized_symbol shows operators that compute the same, too",
    "SYMC_CHECK_LOCKS": "1: an error where symc takes its locks out of order (for work on symc itself)",
}


class SettingError(ValueError):
    """A variable or an argument whose value makes no sense; the message says which, and what is expected."""


def switch(name: str) -> bool | None:
    """The environment variable `name` as 0 or 1; None where it is not set."""
    text = os.environ.get(name, "")
    if text not in ("", "0", "1"):
        raise SettingError(f"{name}={text!r}: expected 0 or 1")
    return None if not text else text == "1"


def verification() -> bool | None:
    """How programs are verified that users compile (the argument of Manager): after every pass, not at all, or (None,
    the default) at the end of every level and where a kernel is compiled for the first time."""
    return switch("SYMC_VERIFY")


def filtering() -> bool | None:
    """Whether convolutions may be computed by minimal filtering (SYMC_WINOGRAD), which rounds more. None where nothing
    is said: those of predictions and of gradients. On which side of its bend a relu is turns gradients by more than
    rounding, so that training goes forward without."""
    return switch("SYMC_WINOGRAD")


def gpu() -> str | None:
    """SYMC_GPU: "cpu" where contexts of GPUs mean the CPU; None where they are errors."""
    text = os.environ.get("SYMC_GPU", "")
    if text not in ("", "cpu"):
        raise SettingError(f"SYMC_GPU={text!r}: expected cpu")
    return text or None


def count(name: str) -> int | None:
    """The environment variable `name` as a whole number from 1 on; None where it is not set."""
    text = os.environ.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and int(text)):
        raise SettingError(f"{name}={text!r}: expected a whole number, 1 or more")
    return int(text) if text else None


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of a command line's whole number (for argparse): usage errors outside of [least, most]."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, got {value}")
        return value

    return read
