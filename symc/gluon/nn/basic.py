"""Layers in a row, and the plain ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from symc import ndarray, symbol
from symc.gluon.block import Block
from symc.gluon.hybrid import HybridBlock
from symc.gluon.nn.activations import Activation
from symc.gluon.utils import indented


class _Row(Block):
    """Blocks one after the other."""

    def add(self, *blocks: Block) -> None:
        """Put blocks at the end."""
        for block in blocks:
            self.register_child(block)

    def __repr__(self) -> str:
        lines = "\n".join(f"  ({key}): {indented(repr(block))}" for key, block in self._children.items())
        return f"{type(self).__name__}(\n{lines}\n)"

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._children.values())

    def __getitem__(self, key: Any) -> Any:
        found = list(self._children.values())[key]
        if not isinstance(found, list):
            return found
        part = type(self)(prefix=self._prefix)
        with part.name_scope():
            part.add(*found)
        return part

    def _through(self, x: Any, args: Sequence[Any]) -> Any:
        """The result of a block is what the next one gets: its first member, and the others besides."""
        for block in self._children.values():
            x = block(x, *args)
            args = ()
            if isinstance(x, (list, tuple)):
                x, args = x[0], x[1:]
        return (x, *args) if args else x


class Sequential(_Row):
    """Blocks one after the other."""

    def forward(self, x: Any, *args: Any) -> Any:
        """Through all blocks."""
        return self._through(x, args)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Compile the HybridBlocks in it, each by itself."""
        if self._children and all(isinstance(block, HybridBlock) for block in self._children.values()):
            warnings.warn(
                f"all blocks in {self.prefix!r} are HybridBlocks: an nn.HybridSequential would compile them together",
                stacklevel=2,
            )
        super().hybridize(active, **kwargs)


class HybridSequential(_Row, HybridBlock):
    """HybridBlocks one after the other, which are compiled together."""

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:  # type: ignore[override]
        """Through all blocks."""
        return self._through(x, args)


class Dense(HybridBlock):
    """activation(x . weight^T + bias); `flatten` makes one axis of all but the first."""

    def __init__(
        self, units: int, activation: str | None = None, use_bias: bool = True, flatten: bool = True,
        dtype: Any = "float32", weight_initializer: Any = None, bias_initializer: Any = "zeros", in_units: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._units, self._in_units, self._flatten = units, in_units, flatten
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=(units, in_units), init=weight_initializer, dtype=dtype, allow_deferred_init=True
            )
            self.bias = None
            if use_bias:
                self.bias = self.params.get(
                    "bias", shape=(units,), init=bias_initializer, dtype=dtype, allow_deferred_init=True
                )
            self.act = None if activation is None else Activation(activation, prefix=f"{activation}_")

    def __repr__(self) -> str:
        units, before = self.weight.shape
        return f"{type(self).__name__}({before or None} -> {units}, {self.act or 'linear'})"

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:  # type: ignore[override]
        """The affine function, and the activation."""
        given = (x, weight) if bias is None else (x, weight, bias)
        made = F.FullyConnected(*given, no_bias=bias is None, num_hidden=self._units, flatten=self._flatten, name="fwd")
        return made if self.act is None else self.act(made)


class Dropout(HybridBlock):
    """Zeros with probability `rate` while training, the others scaled up; along `axes` one draw for all."""

    def __init__(self, rate: float, axes: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rate, self._axes = rate, axes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._rate}, axes={self._axes})"

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The data, some of it dropped."""
        if self._rate > 0:
            return F.Dropout(x, p=self._rate, axes=self._axes, name="fwd", cudnn_off=False)
        return F.identity(x)


class Embedding(HybridBlock):
    """Rows of a table by their numbers."""

    def __init__(
        self, input_dim: int, output_dim: int, dtype: Any = "float32", weight_initializer: Any = None,
        sparse_grad: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._kwargs = {"input_dim": input_dim, "output_dim": output_dim, "dtype": dtype, "sparse_grad": sparse_grad}
        self.weight = self.params.get(
            "weight", shape=(input_dim, output_dim), init=weight_initializer, dtype=dtype, allow_deferred_init=True,
            grad_stype="row_sparse" if sparse_grad else "default",
        )  # fmt: skip

    def __repr__(self) -> str:
        return "{}({input_dim} -> {output_dim}, {dtype})".format(type(self).__name__, **self._kwargs)

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:  # type: ignore[override]
        """The rows."""
        return F.Embedding(x, weight, name="fwd", **self._kwargs)


class Flatten(HybridBlock):
    """All axes but the first as one."""

    def __repr__(self) -> str:
        return type(self).__name__

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The data under another shape."""
        return F.flatten(x)


class Lambda(Block):
    """A function of arrays, or the name of one of `mx.nd`, as a block."""

    def __init__(self, function: Any, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if isinstance(function, str):
            if not hasattr(ndarray, function):
                raise AssertionError(f"mx.nd has no function {function!r}")
            function = getattr(ndarray, function)
        elif not callable(function):
            raise ValueError(f"Lambda takes a function or its name, not {function!r} of type {type(function).__name__}")
        self._func_impl = function

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self._func_impl, '__name__', self._func_impl)})"

    def forward(self, *args: Any) -> Any:
        """The function's value."""
        return self._func_impl(*args)


class HybridLambda(HybridBlock):
    """A function `f(F, x, ...)`, or the name of one of `mx.nd` and `mx.sym`, as a HybridBlock."""

    def __init__(self, function: Any, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if isinstance(function, str):
            if not (hasattr(ndarray, function) and hasattr(symbol, function)):
                raise AssertionError(f"mx.nd and mx.sym do not both have a function {function!r}")
            self._func_name = called = function
            self._func = lambda F, *args: getattr(F, called)(*args)
        elif callable(function):
            self._func, self._func_name = function, getattr(function, "__name__", repr(function))
        else:
            raise ValueError(
                f"HybridLambda takes a function or its name, not {function!r} of type {type(function).__name__}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:  # type: ignore[override]
        """The function's value."""
        return self._func(F, x, *args)
