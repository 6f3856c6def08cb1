"""Parameters by name; the parameters themselves are in `symc.gluon.values`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symc import initializer
from symc.base import those
from symc.context import Context
from symc.gluon.utils import merged_shape
from symc.gluon.values import Constant, DeferredInitializationError, Parameter
from symc.ndarray import NDArray
from symc.ndarray import load as load_arrays
from symc.ndarray import save as save_arrays

__all__ = ["Constant", "DeferredInitializationError", "Parameter", "ParameterDict"]


class ParameterDict(Mapping[str, Parameter]):
    """Parameters by their full names; `get` makes those that are missing, with the prefix before their names. `shared`:
    another such dict, whose parameters are taken before new ones are made."""

    def __init__(self, prefix: str = "", shared: ParameterDict | None = None) -> None:
        self._prefix, self._shared = prefix, shared
        self._params: dict[str, Parameter] = {}

    def __repr__(self) -> str:
        name = f"{self._prefix} " if self._prefix else ""
        return "\n".join([f"{name}(", *(f"  {value!r}" for value in self._params.values()), ")"])

    def __getitem__(self, key: str) -> Parameter:
        return self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __bool__(self) -> bool:
        return True  # an empty one is a dict all the same: `params or ...` does not lose it

    def __hash__(self) -> int:
        return id(self)

    @property
    def prefix(self) -> str:
        """What stands before the names of new parameters."""
        return self._prefix

    def _find(self, name: str) -> Parameter | None:
        if name not in self._params and self._shared is not None and name in self._shared:
            self._params[name] = self._shared[name]
        return self._params.get(name)

    def get(self, name: str, default: Any = None, **kwargs: Any) -> Any:
        """The parameter `prefix + name`, made with these arguments if there is none. AssertionError where they
        contradict one that there is."""
        name = self._prefix + name
        found = self._find(name)
        if found is None:
            found = self._params[name] = Parameter(name, **kwargs)
            return found
        for key, value in kwargs.items():
            before = getattr(found, key, None)
            if before is None:
                setattr(found, key, value)
                continue
            if key == "shape" and value is not None:
                merged = merged_shape(before, (value,) if isinstance(value, int) else tuple(value))
                if merged is not None:
                    found._shape = merged
                    continue
            elif key == "dtype" and np.dtype(value) == np.dtype(before):
                continue
            if value is not None and value != before:
                raise AssertionError(
                    f"parameter {name!r} is there already: its {key} is {before!r}, but {value!r} is asked for"
                )
        return found

    def get_constant(self, name: str, value: Any = None) -> Parameter:
        """The constant `prefix + name`, made with this value if there is none."""
        name = self._prefix + name
        found = self._find(name)
        if found is None:
            if value is None:
                raise KeyError(f"there is no constant {name!r}; give the value to make it with")
            found = self._params[name] = Constant(name, value)
        elif value is not None:
            held = value.asnumpy() if isinstance(value, NDArray) else np.asarray(value)
            if not isinstance(found, Constant) or not np.array_equal(found.value.asnumpy(), held):
                raise AssertionError(f"constant {name!r} is there already, and its value is another one")
        return found

    def update(self, other: ParameterDict) -> None:
        """Take over the parameters of another dict. AssertionError where different ones have the same name."""
        for name, value in other.items():
            if self._params.setdefault(name, value) is not value:
                raise AssertionError(f"two different parameters are named {name!r}")

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialize all parameters; `init` (Uniform) is for those without an initializer of their own."""
        init = initializer.Uniform() if init is None else init
        if verbose:
            init.set_verbosity(verbose=verbose)
        for value in self.values():
            value.initialize(None, ctx, init, force_reinit=force_reinit)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for value in self.values():
            value.zero_grad()

    def reset_ctx(self, ctx: Any) -> None:
        """Move all parameters to other contexts."""
        for value in self.values():
            value.reset_ctx(ctx)

    def list_ctx(self) -> list[Context]:
        """The contexts on which parameters are."""
        return list(dict.fromkeys(ctx for value in self.values() for ctx in value.list_ctx()))

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of all parameters: `setattr("grad_req", "null")`."""
        for parameter in self.values():
            setattr(parameter, name, value)

    def save(self, filename: str, strip_prefix: str = "") -> None:
        """Write all parameters into a file, without the prefix. ValueError for a name that does not begin with it."""
        found: dict[str, NDArray] = {}
        for name, parameter in self.items():
            if not name.startswith(strip_prefix):
                raise ValueError(f"parameter {name!r} does not begin with {strip_prefix!r}, which is to be taken off")
            found[name[len(strip_prefix) :]] = parameter._reduce()
        save_arrays(filename, found)

    def load(
        self, filename: str, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False,
        restore_prefix: str = "", cast_dtype: bool = False, dtype_source: str = "current",
    ) -> None:  # fmt: skip
        """Read parameters from a file, with the prefix before their names."""
        for name in self.keys():
            if restore_prefix and not name.startswith(restore_prefix):
                raise AssertionError(f"parameter {name!r} does not begin with restore_prefix={restore_prefix!r}")
        loaded = load_arrays(filename)
        if not isinstance(loaded, dict):
            raise ValueError(f"{filename} holds arrays without names")
        self.load_dict(loaded, ctx, allow_missing, ignore_extra, restore_prefix, filename, cast_dtype, dtype_source)

    def load_dict(
        self, param_dict: Mapping[str, NDArray], ctx: Any = None, allow_missing: bool = False,
        ignore_extra: bool = False, restore_prefix: str = "", filename: str | None = None, cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:  # fmt: skip
        """Take values from arrays by name; `arg:` and `aux:` before a name do not count."""
        source = f"file {filename!r}" if filename else "param_dict"
        values = {restore_prefix + k.removeprefix("arg:").removeprefix("aux:"): v for k, v in param_dict.items()}
        if not allow_missing:
            for name in self.keys():
                if name not in values:
                    raise AssertionError(
                        f"{source} has no {name[len(restore_prefix) :]!r}, but {those(list(values), name)}; nets that "
                        "share a file need the same prefix"
                    )
        for name, value in values.items():
            if name in self._params:
                self[name]._load_init(value, ctx, cast_dtype, dtype_source)
            elif not ignore_extra:
                raise AssertionError(
                    f"{source} has {name[len(restore_prefix) :]!r}, but there are only "
                    f"{those(list(self._params), name)}; to pass over it, set ignore_extra=True"
                )
