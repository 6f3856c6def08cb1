"""Parameters of blocks: arrays with a name, an initializer and a gradient, one copy for each context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symc import autograd, initializer
from symc.base import MXNetError
from symc.context import Context, cpu, current_context
from symc.gluon.utils import merged_shape, shape_is_known
from symc.ndarray import NDArray, arange, array, zeros
from symc.ndarray.recorded import request
from symc.symbol import Variable


class DeferredInitializationError(MXNetError):
    """A parameter is read whose shape is not known before the first forward pass."""


class Parameter:
    """A named array of a block, with its gradient. Extents of 0 in `shape` are found out by the first forward pass, if
    `allow_deferred_init`. `differentiable` False: a state of the block, like a running mean.

    With `stype="row_sparse"` the values are in the store of the Trainer, and `row_sparse_data` takes rows out of it.
    """

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
        self._arrays: dict[Context, NDArray] = {}
        self._grads: dict[Context, NDArray] | None = None
        #: (initializer, contexts, initializer of the whole net) that wait for the shape
        self._waiting: tuple[Any, list[Context], Any] | None = None
        self._var: Any = None
        self._trainer: Any = None
        self._req = "null"
        self.grad_req = grad_req

    def __repr__(self) -> str:
        return f"Parameter {self.name} (shape={self.shape}, dtype={self.dtype})"

    # -- names that programs take from inside of MXNet

    @property
    def _data(self) -> list[NDArray] | None:
        return list(self._arrays.values()) or None

    @property
    def _grad(self) -> list[NDArray] | None:
        return None if self._grads is None else list(self._grads.values())

    @property
    def _deferred_init(self) -> tuple[Any, ...]:
        return self._waiting or ()

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
            if self._arrays:
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

    def _set_trainer(self, trainer: Any) -> None:
        """The Trainer that moves it. RuntimeError for a second one where the values are in the first one's store."""
        if self._stype != "default" and None not in (self._trainer, trainer) and self._trainer is not trainer:
            raise RuntimeError(
                f"parameter {self.name!r} is {self._stype}: its values are in the store of one Trainer, and there can "
                "be no second one"
            )
        self._trainer = trainer

    # -- start values

    def initialize(
        self, init: Any = None, ctx: Any = None, default_init: Any = None, force_reinit: bool = False
    ) -> None:
        """Make the arrays and give them their start values: by `init`, else the parameter's own initializer, else
        `default_init` (Uniform). Where the shape is not known yet it is done by the first forward pass."""
        if self._arrays and not force_reinit:
            _warn(f"parameter {self.name!r} keeps the values it has; to give it new ones, pass force_reinit=True")
            return
        self._arrays, self._grads = {}, None
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
        if data.stype != self._stype:
            data = data.tostype(self._stype)
        self._arrays = {ctx: data.copyto(ctx) for ctx in contexts}
        self._make_gradients()

    def _make_gradients(self) -> None:
        made: dict[Context, NDArray] = {}
        for ctx, data in self._arrays.items():
            if self._req == "null":
                data._entry = None
                continue
            grad = zeros(data.shape, ctx, data.dtype)
            made[ctx] = grad if self._grad_stype == "default" else grad.tostype(self._grad_stype)
            autograd.mark_variables(data, made[ctx], self._req)
        self._grads = made or None

    def _load_init(self, data: NDArray, ctx: Any, cast_dtype: bool = False, dtype_source: str = "current") -> None:
        """The values of a file."""
        if self._shape:
            merged = merged_shape(self._shape, data.shape)
            if merged is None:
                raise AssertionError(
                    f"parameter {self.name!r} has shape {self._shape}, but the one in the file has {data.shape}"
                )
        self._shape = data.shape
        if np.dtype(self._dtype) != data._read.dtype:
            if not cast_dtype:
                raise AssertionError(
                    f"parameter {self.name!r} is {np.dtype(self._dtype)}, but the one in the file is "
                    f"{data._read.dtype}; to cast it, pass cast_dtype=True"
                )
            if dtype_source == "current":
                data = data.astype(self._dtype)
            else:
                self.cast(data.dtype)
        wanted = None if ctx is None else [ctx] if isinstance(ctx, Context) else list(ctx)
        if self._arrays:
            if wanted is not None and set(wanted) != set(self._arrays):
                raise AssertionError(
                    f"parameter {self.name!r} is on {list(self._arrays)}, and cannot be loaded on {wanted}"
                )
            self.set_data(data)
        else:
            self._make(data, self._waiting[1] if self._waiting is not None else wanted or [cpu()])
        self._waiting = None

    # -- arrays

    def _check(self, ctx: Context | None, held: Mapping[Context, NDArray]) -> None:
        if held and (ctx is None or ctx in held):
            return
        if self._arrays:
            raise RuntimeError(
                f"parameter {self.name!r} is on {', '.join(map(str, self._arrays))}, not on context {ctx}"
            )
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
        initialized, and for sparse values."""
        self._refuse_sparse()
        found = self._arrays.get(ctx) if ctx is not None else None
        if found is not None:
            return found
        self._check(ctx, self._arrays)
        return self._arrays[ctx] if ctx is not None else next(iter(self._arrays.values()))

    def list_data(self) -> list[NDArray]:
        """The arrays on all contexts. RuntimeError for sparse values."""
        self._refuse_sparse()
        return self._held()

    def _held(self) -> list[NDArray]:
        """The arrays on all contexts, sparse or not."""
        self._check(None, self._arrays)
        return list(self._arrays.values())

    def _refuse_sparse(self) -> None:
        if self._stype != "default":
            raise RuntimeError(
                f"the values of parameter {self.name!r} are {self._stype}: take the rows that are needed with "
                "row_sparse_data(row_ids)"
            )

    def row_sparse_data(self, row_id: NDArray) -> NDArray:
        """The array on the context of `row_id`, holding these rows of the Trainer's store. RuntimeError without a
        Trainer, and where the values are not row_sparse."""
        self._refuse_dense()
        self._check(row_id.context, self._arrays)
        return self._with_rows([self._arrays[row_id.context]], row_id)[0]

    def list_row_sparse_data(self, row_id: NDArray) -> list[NDArray]:
        """As `row_sparse_data`, on all contexts."""
        self._refuse_dense()
        return self._with_rows(self._held(), row_id)

    def _refuse_dense(self) -> None:
        if self._stype != "row_sparse":
            raise RuntimeError(f"the values of parameter {self.name!r} are {self._stype}: take them with data()")

    def _with_rows(self, arrays: list[NDArray], row_id: NDArray) -> list[NDArray]:
        if self._trainer is None:
            raise RuntimeError(f"parameter {self.name!r} has no Trainer: make one of it, whose store holds its rows")
        with autograd.pause():
            self._trainer._row_sparse_pull(self, arrays, row_id)
        return arrays

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
        if self._arrays and self._grads is None:
            raise RuntimeError(f"parameter {self.name!r} keeps no gradient: its grad_req is 'null'")
        return self._grads or {}

    def list_ctx(self) -> list[Context]:
        """The contexts it is initialized on. RuntimeError if there is none."""
        if self._arrays:
            return list(self._arrays)
        if self._waiting is not None:
            return self._waiting[1]
        raise RuntimeError(f"parameter {self.name!r} has no values: initialize() it")

    def set_data(self, data: Any) -> None:
        """New values, on all contexts."""
        self.shape = data.shape
        if not self._arrays:
            if self._waiting is None:
                raise AssertionError(f"parameter {self.name!r} has no values that could be set: initialize() it")
            value = data if isinstance(data, NDArray) else array(data)
            contexts = self._waiting[1]
            self._waiting = None
            self._make(value.astype(self._dtype, copy=False), contexts)
            return
        if self._trainer is not None:
            self._trainer._drop_store_of(self)
        with autograd.pause():
            for held in self._arrays.values():
                held[:] = data

    def zero_grad(self) -> None:
        """Set the gradients to zero."""
        for grad in (self._grads or {}).values():
            grad[:] = 0

    def reset_ctx(self, ctx: Any) -> None:
        """Move it to other contexts."""
        contexts = [ctx] if isinstance(ctx, Context) else list(ctx)
        if self._arrays:
            with autograd.pause():
                self._make(self._reduce(), contexts)
        elif self._waiting is not None:
            self._waiting = (self._waiting[0], contexts, self._waiting[2])
        else:
            raise ValueError(f"parameter {self.name!r} has no values that could move: initialize() it")

    def cast(self, dtype: Any) -> None:
        """Change the element type."""
        self._dtype = dtype
        if self._arrays:
            with autograd.pause():
                self._arrays = {ctx: data.astype(dtype) for ctx, data in self._arrays.items()}
                self._make_gradients()

    def var(self) -> Any:
        """The Variable that stands for it in Symbols."""
        if self._var is None:
            init = self.init if isinstance(self.init, (str, initializer.Initializer)) else None
            init = initializer.create(init) if isinstance(init, str) else init
            self._var = Variable(
                self.name, shape=self._shape, dtype=self._dtype, lr_mult=self.lr_mult, wd_mult=self.wd_mult, init=init,
                stype=self._stype,
            )  # fmt: skip
        return self._var

    def _reduce(self) -> NDArray:
        """The mean over all contexts, or all rows of the store."""
        if self._stype == "row_sparse" and self._trainer is not None:
            whole = zeros(self._held()[0].shape, dtype=self._dtype).tostype("row_sparse")
            return self._with_rows([whole], arange(0, whole.shape[0], dtype=np.int64))[0]
        held = self._held()
        if len(held) == 1 or self._stype != "default":
            return held[0].copyto(cpu())
        total = sum(data._read.astype(np.float64) for data in held) / len(held)
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


def _warn(remark: str) -> None:
    import warnings

    warnings.warn(remark, stacklevel=3)
