"""Kernels that this process has described, by what their loops follow from. A program all of whose kernels are known
runs without its loops: they are written when somebody looks at them."""

from __future__ import annotations

from collections.abc import Sequence

from symc.codegen.emit.description import NativeKernel
from symc.codegen.target import Target
from symc.ir.process import lock
from symc.passes.loop.lower import KernelKey
from symc.passes.manager.manager import Pass

#: kernels remembered; a kernel's body is held with it
KEEP = 4096
#: what decides a kernel's code: its key, the passes that write and schedule its loops, and the target
Decided = tuple[KernelKey, tuple[Pass, ...], Target]

_lock = lock("known kernels")
#: in the order they were met; guarded by `_lock`
_known: dict[Decided, NativeKernel] = {}


def facts_of(keys: Sequence[KernelKey], passes: Sequence[Pass], target: Target) -> tuple[NativeKernel, ...] | None:
    """What running the kernels needs to know; None if one of them is new."""
    how = tuple(passes), target
    with _lock:
        found = [_known.get((key, *how)) for key in keys]
    kernels = tuple(kernel for kernel in found if kernel is not None)
    return kernels if len(kernels) == len(keys) else None


def remember(
    keys: Sequence[KernelKey], passes: Sequence[Pass], target: Target, kernels: Sequence[NativeKernel]
) -> None:
    """Know these kernels from now on."""
    how = tuple(passes), target
    with _lock:
        for key, kernel in zip(keys, kernels, strict=True):
            _known[(key, *how)] = kernel
        while len(_known) > KEEP:
            del _known[next(iter(_known))]
