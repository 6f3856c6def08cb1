"""Contexts: where arrays live. Only the CPU exists; a GPU context can be named but not used."""

from __future__ import annotations

import threading

from symc.ops.base import MXNetError


class Context:
    """A device. `with mx.cpu(1): ...` makes it the current one."""

    devtype2str = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}
    devstr2type = {v: k for k, v in devtype2str.items()}
    _current = threading.local()

    def __init__(self, device_type: str | Context, device_id: int = 0) -> None:
        if isinstance(device_type, Context):
            self.device_typeid, self.device_id = device_type.device_typeid, device_type.device_id
        else:
            if device_type not in Context.devstr2type:
                raise ValueError(f"unknown device type {device_type!r}; there are {', '.join(Context.devstr2type)}")
            self.device_typeid, self.device_id = Context.devstr2type[device_type], device_id
        self._outer: Context | None = None

    @property
    def device_type(self) -> str:
        return Context.devtype2str[self.device_typeid]

    def check(self) -> None:
        """Refuse a device that is not here."""
        if self.device_type == "gpu":
            raise MXNetError(f"{self}: symc compiles for the CPU only; use mx.cpu() instead of mx.gpu()")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and (self.device_typeid, self.device_id) == (other.device_typeid, other.device_id)

    def __hash__(self) -> int:
        return hash((self.device_typeid, self.device_id))

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __str__ = __repr__

    def __enter__(self) -> Context:
        self._outer = current_context()
        Context._current.value = self
        return self

    def __exit__(self, *exc: object) -> None:
        Context._current.value = self._outer

    def empty_cache(self) -> None:
        """Nothing is cached."""


def cpu(device_id: int = 0) -> Context:
    """The CPU."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """The CPU, too."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """A GPU: can be named, refuses to be used."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """0."""
    return 0


def current_context() -> Context:
    """The context in force."""
    found: Context | None = getattr(Context._current, "value", None)
    if found is None:
        found = Context._current.value = Context("cpu", 0)
    return found
