"""Devices: `mx.cpu(i)`. There is one kind that computes, the CPU; the others exist so that programs can name them."""

from __future__ import annotations

import threading
import warnings
from typing import Any, ClassVar

from symc import settings
from symc.base import MXNetError

__all__ = ["Context", "cpu", "cpu_pinned", "current_context", "gpu", "gpu_memory_info", "num_gpus"]


class _DefaultContext(type):
    """What the class Context has itself: the default device, which belongs to the thread."""

    @property
    def default_ctx(cls) -> Context:
        return current_context()

    @default_ctx.setter
    def default_ctx(cls, context: Context) -> None:
        Context._default_ctx.value = context


class Context(metaclass=_DefaultContext):
    """A device type and number. As a `with` scope it is the default device of arrays made inside."""

    devtype2str: ClassVar[dict[int, str]] = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}
    devstr2type: ClassVar[dict[str, int]] = {name: number for number, name in devtype2str.items()}
    _default_ctx = threading.local()

    device_typeid: int
    device_id: int

    def __init__(self, device_type: str | Context, device_id: int = 0) -> None:
        if isinstance(device_type, Context):
            self.device_typeid, self.device_id = device_type.device_typeid, device_type.device_id
        elif device_type in self.devstr2type:
            if device_type == "gpu" and _gpu_is_cpu():
                device_type = "cpu"
            self.device_typeid, self.device_id = self.devstr2type[device_type], int(device_id)
        else:
            raise ValueError(f"unknown device type {device_type!r}; there are {', '.join(self.devstr2type)}")
        self._outer: Context | None = None

    @property
    def device_type(self) -> str:
        """The kind of device: "cpu", "gpu", ..."""
        return self.devtype2str[self.device_typeid]

    def check(self) -> Context:
        """This context, if arrays can live there. MXNetError for a GPU."""
        if self.device_type == "gpu":
            raise MXNetError(
                f"{self}: symc compiles for the CPU only; use mx.cpu() instead of mx.gpu(), or set SYMC_GPU=cpu"
            )
        return self

    def empty_cache(self) -> None:
        """Nothing is held back on a CPU."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Context)
            and self.device_typeid == other.device_typeid
            and self.device_id == other.device_id
        )

    def __hash__(self) -> int:
        return hash((self.device_typeid, self.device_id))

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __repr__ = __str__

    def __enter__(self) -> Context:
        self._outer = current_context()
        Context._default_ctx.value = self
        return self

    def __exit__(self, *exc: object) -> None:
        Context._default_ctx.value = self._outer

    def __reduce__(self) -> tuple[Any, ...]:
        return Context, (self.device_type, self.device_id)


#: what gpu_means_cpu() has said, and whether the user was told
_reading = {"as cpu": False, "told": False}


def gpu_means_cpu() -> None:
    """From now on contexts of GPUs are made as contexts of the CPU with that number; the first of them warns."""
    _reading["as cpu"] = True


def _gpu_is_cpu() -> bool:
    if not (_reading["as cpu"] or settings.gpu() == "cpu"):
        return False
    if not _reading["told"]:
        _reading["told"] = True
        warnings.warn("mx.gpu() means the CPU here: symc compiles for the CPU only", UserWarning, stacklevel=4)
    return True


def cpu(device_id: int = 0) -> Context:
    """The CPU. The number distinguishes contexts but not memory."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """The CPU; nothing needs pinned memory here."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """Names a GPU. Using it, to make an array or to bind, raises MXNetError; with SYMC_GPU=cpu, and in programs run by
    symc.as_mxnet, it is the CPU."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """Always 0."""
    return 0


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """MXNetError: there is no GPU."""
    gpu(device_id).check()
    return (0, 0)


def current_context() -> Context:
    """The device of the innermost `with` scope; cpu(0) outside of all."""
    found: Context | None = getattr(Context._default_ctx, "value", None)
    if found is None:
        found = Context._default_ctx.value = Context("cpu", 0)
    return found
