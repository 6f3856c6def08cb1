"""Parameters of blocks: arrays with a name, an initializer and a gradient, one copy for each context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symc import autograd, initializer
from symc.base import MXNetError, those
from symc.context import Context, cpu, current_context
from symc.gluon.utils import merged_shape, shape_is_known
from symc.ndarray import NDArray, array, zeros
from symc.ndarray import load as load_arrays
from symc.ndarray import save as save_arrays
from symc.ndarray.recorded import request
from symc.symbol import Variable


class DeferredInitializationError(MXNetError):
    """A parameter is read whose shape is not known before the first forward pass."""


class Parameter:
    """A named array of a block, with its gradient. Extents of 0 in `shape` are found out by the first forward pass, if
    `allow_deferred_init`. `differentiable` False: a state of the block, like a running mean."""

    def __init__(
        self, name: str, grad_req: str = "write", shape: Any = None, dtype: Any = np.float32, lr_mult: float = 1.0,
        wd_mult: float = 1.0, init: Any = None, allow_deferred_init: bool = False, differentiable: bool = True,
        stype: str = "default", grad_stype: str = "default",
    ) -> None:  # fmt: skip
        for kind, called in ((stype, "stype"), (grad_stype, "grad_stype")):
            if kind not in ("default", "row_sparse", "csr"):
                raise AssertionError(f"parameter {name!r}: {called}={kind!r} is none of default, row_sparse, csr")
        self.name, self.init = name, init
        self.lr_mult, self.wd_mult = lr_mult, wd_mult
        self._shape = (shape,) if isinstance(shape, int) else None if shape is None else tuple(shape)
        self._dtype = dtype
        self._deferred_allowed, self._differentiable = allow_deferred_init, differentiable
        self._stype, self._grad_stype = stype, grad_stype
        self._data: dict[Context, NDArray] = {}
        self._grad: dict[Context, NDArray] | None = None
        #: (initializer, contexts, initializer of the whole net) that wait for the shape
        self._waiting: tuple[Any, list[Context], Any] | None = None
        self._var: Any = None
        self._req = "null"
        self.grad_req = grad_req

    def __repr__(self) -> str:
        return f"Parameter {self.name} (shape={self.shape}, dtype={self.dtype})"

    # -- facts that may change

    @property
    def grad_req(self) -> str:
        """What becomes of the gradient: "write", "add" or "null"."""
        return self._req

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        req = request(req) if self._differentiable else "null"
        if req != self._req:
            self._req = req
            if self._data:
                self._make_gradients()

    @property
    def dtype(self) -> Any:
        """The element type."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        self.cast(dtype)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape; extents of 0 are not known yet."""
        return self._shape

    @shape.setter
    def shape(self, shape: Sequence[int]) -> None:
        merged = tuple(shape) if self._shape is None else merged_shape(self._shape, tuple(shape))
        if merged is None:
            raise AssertionError(f"parameter {self.name!r} has shape {self._shape}, which cannot become {tuple(shape)}")
        self._shape = merged

    # -- start values

    def initialize(
        self, init: Any = None, ctx: Any = None, default_init: Any = None, force_reinit: bool = False
    ) -> None:
        """Make the arrays and give them their start values: by `init`, else the parameter's own initializer, else
        `default_init` (Uniform). Where the shape is not known yet it is done by the first forward pass."""
        if self._data and not force_reinit:
            _warn(f"parameter {self.name!r} keeps the values it has; to give it new ones, pass force_reinit=True")
            return
        self._data, self._grad = {}, None
        default_init = initializer.Uniform() if default_init is None else default_init
        if init is None:
            init = default_init if self.init is None else self.init
        contexts = [ctx] if isinstance(ctx, Context) else list(ctx) if ctx is not None else [current_context()]
        self._waiting = (init, contexts, default_init)
        if shape_is_known(self._shape):
            self._finish_deferred_init()
        elif not self._deferred_allowed:
            raise ValueError(f"parameter {self.name!r} has the shape {self._shape}: give every extent its size")

    def _finish_deferred_init(self) -> None:
        """Make the arrays of a parameter that waited for its shape."""
        if self._waiting is None:
            return
        init, contexts, _ = self._waiting
        if not shape_is_known(self._shape):
            raise AssertionError(
                f"parameter {self.name!r} cannot have values yet: its shape {self._shape} is not known; give the block "
                "in_units, in_channels, ..."
            )
        assert self._shape is not None
        self._waiting = None
        with autograd.pause():
            data = zeros(self._shape, dtype=self._dtype)
            self._fill(data, init)
            self._make(data, contexts)

    def _fill(self, data: NDArray, init: Any) -> None:
        """Start values: an initializer that is named for a parameter treats it as a weight, whatever its name."""
        made = initializer.create(init) if isinstance(init, str) else init
        described = initializer.InitDesc(self.name)
        if isinstance(made, initializer.Initializer):
            described.global_init = made
            made._init_weight(described, data)
        else:
            made(described, data)

    def _make(self, data: NDArray, contexts: Iterable[Context]) -> None:
        self._data = {ctx: data.copyto(ctx) for ctx in contexts}
        self._make_gradients()

    def _make_gradients(self) -> None:
        made: dict[Context, NDArray] = {}
        for ctx, data in self._data.items():
            if self._req == "null":
                data._entry = None
                continue
            grad = zeros(data.shape, ctx, data.dtype)
            made[ctx] = grad if self._grad_stype == "default" else grad.tostype(self._grad_stype)
            autograd.mark_variables(data, made[ctx], self._req)
        self._grad = made or None

    def _load_init(self, data: NDArray, ctx: Any, cast_dtype: bool = False, dtype_source: str = "current") -> None:
        """The values of a file."""
        if self._shape:
            merged = merged_shape(self._shape, data.shape)
            if merged is None:
                raise AssertionError(
                    f"parameter {self.name!r} has shape {self._shape}, but the one in the file has {data.shape}"
                )
        self._shape = data.shape
        if np.dtype(self._dtype) != data._data.dtype:
            if not cast_dtype:
                raise AssertionError(
                    f"parameter {self.name!r} is {np.dtype(self._dtype)}, but the one in the file is "
                    f"{data._data.dtype}; to cast it, pass cast_dtype=True"
                )
            if dtype_source == "current":
                data = data.astype(self._dtype)
            else:
                self._dtype = data.dtype
        wanted = None if ctx is None else [ctx] if isinstance(ctx, Context) else list(ctx)
        if self._data:
            if wanted is not None and set(wanted) != set(self._data):
                raise AssertionError(
                    f"parameter {self.name!r} is on {list(self._data)}, and cannot be loaded on {wanted}"
                )
            self.set_data(data)
        else:
            self._make(data, self._waiting[1] if self._waiting is not None else wanted or [cpu()])
        self._waiting = None

    # -- arrays

    def _check(self, ctx: Context | None, held: Mapping[Context, NDArray]) -> None:
        if held and (ctx is None or ctx in held):
            return
        if self._data:
            raise RuntimeError(f"parameter {self.name!r} is on {', '.join(map(str, self._data))}, not on context {ctx}")
        if self._waiting is not None:
            raise DeferredInitializationError(
                f"parameter {self.name!r} gets its values when its shape is known: call the net with data once before "
                "they are read"
            )
        raise RuntimeError(
            f"parameter {self.name!r} has no values: call initialize() of the net, or of collect_params(), which holds "
            "the parameters of inner blocks, too"
        )

    def data(self, ctx: Context | None = None) -> NDArray:
        """The array on a context. DeferredInitializationError before the shape is known, RuntimeError where it was not
        initialized."""
        found = self._data.get(ctx) if ctx is not None else None
        if found is not None:
            return found
        self._check(ctx, self._data)
        return self._data[ctx] if ctx is not None else next(iter(self._data.values()))

    def list_data(self) -> list[NDArray]:
        """The arrays on all contexts."""
        self._check(None, self._data)
        return list(self._data.values())

    def grad(self, ctx: Context | None = None) -> NDArray:
        """The gradient on a context. RuntimeError if none is kept."""
        held = self._gradients()
        self._check(ctx, held)
        return held[ctx] if ctx is not None else next(iter(held.values()))

    def list_grad(self) -> list[NDArray]:
        """The gradients on all contexts."""
        held = self._gradients()
        self._check(None, held)
        return list(held.values())

    def _gradients(self) -> dict[Context, NDArray]:
        if self._data and self._grad is None:
            raise RuntimeError(f"parameter {self.name!r} keeps no gradient: its grad_req is 'null'")
        return self._grad or {}

    def list_ctx(self) -> list[Context]:
        """The contexts it is initialized on. RuntimeError if there is none."""
        if self._data:
            return list(self._data)
        if self._waiting is not None:
            return self._waiting[1]
        raise RuntimeError(f"parameter {self.name!r} has no values: initialize() it")

    def set_data(self, data: Any) -> None:
        """New values, on all contexts."""
        self.shape = data.shape
        if not self._data:
            if self._waiting is None:
                raise AssertionError(f"parameter {self.name!r} has no values that could be set: initialize() it")
            value = data if isinstance(data, NDArray) else array(data)
            contexts = self._waiting[1]
            self._waiting = None
            self._make(value.astype(self._dtype, copy=False), contexts)
            return
        with autograd.pause():
            for held in self._data.values():
                held[:] = data

    def zero_grad(self) -> None:
        """Set the gradients to zero."""
        for grad in (self._grad or {}).values():
            grad[:] = 0

    def reset_ctx(self, ctx: Any) -> None:
        """Move it to other contexts."""
        contexts = [ctx] if isinstance(ctx, Context) else list(ctx)
        if self._data:
            with autograd.pause():
                self._make(self._reduce(), contexts)
        elif self._waiting is not None:
            self._waiting = (self._waiting[0], contexts, self._waiting[2])
        else:
            raise ValueError(f"parameter {self.name!r} has no values that could move: initialize() it")

    def cast(self, dtype: Any) -> None:
        """Change the element type."""
        self._dtype = dtype
        if self._data:
            with autograd.pause():
                self._data = {ctx: data.astype(dtype) for ctx, data in self._data.items()}
                self._make_gradients()

    def var(self) -> Any:
        """The Variable that stands for it in Symbols."""
        if self._var is None:
            init = self.init if isinstance(self.init, (str, initializer.Initializer)) else None
            init = initializer.create(init) if isinstance(init, str) else init
            self._var = Variable(
                self.name, shape=self._shape, dtype=self._dtype, lr_mult=self.lr_mult, wd_mult=self.wd_mult, init=init
            )
        return self._var

    def _reduce(self) -> NDArray:
        """The mean over all contexts."""
        held = self.list_data()
        if len(held) == 1:
            return held[0].copyto(cpu())
        total = sum(data._data.astype(np.float64) for data in held) / len(held)
        return array(total, dtype=held[0].dtype)


class Constant(Parameter):
    """A parameter that keeps the value it is given, and has no gradient."""

    def __init__(self, name: str, value: Any) -> None:
        self.value = value if isinstance(value, NDArray) else array(value)
        super().__init__(name, grad_req="null", shape=self.value.shape, dtype=self.value.dtype)

    def __repr__(self) -> str:
        return f"Constant {self.name} (shape={self.shape}, dtype={self.dtype})"

    @property
    def grad_req(self) -> str:
        """Always "null"."""
        return "null"

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req != "null":
            _warn(f"constant {self.name!r} has no gradient: grad_req={req!r} changes nothing")

    def _fill(self, data: NDArray, init: Any) -> None:
        data[:] = self.value


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


def _warn(remark: str) -> None:
    import warnings

    warnings.warn(remark, stacklevel=3)
