"""Start values of parameters, chosen by name: weights by the initializer, biases and betas 0, gammas 1.

Random values follow `mx.random.seed`.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from symc.ir.types import Array
from symc.ndarray import NDArray, load
from symc.registry import Registry
from symc.runtime.keys import numpy_generator

__all__ = [
    "Bilinear", "Constant", "FusedRNN", "InitDesc", "Initializer", "LSTMBias", "Load", "MSRAPrelu", "Mixed", "Normal",
    "One", "Orthogonal", "Uniform", "Xavier", "Zero", "alias", "create", "register",
]  # fmt: skip


class InitDesc(str):
    """A parameter's name with its Symbol's attributes (`__init__` overrides the initializer)."""

    attrs: dict[str, str]
    global_init: Any

    def __new__(cls, name: str, attrs: Mapping[str, str] | None = None, global_init: Any = None) -> InitDesc:
        made = super().__new__(cls, name)
        made.attrs, made.global_init = dict(attrs or {}), global_init
        return made


#: endings of names, in the order they are tried, and the method for each
_BY_ENDING = (
    ("weight", "_init_weight"), ("bias", "_init_bias"), ("gamma", "_init_gamma"), ("beta", "_init_beta"),
    ("min", "_init_zero"), ("max", "_init_one"), ("weight_quantize", "_init_quantized_weight"),
    ("bias_quantize", "_init_quantized_bias"),
)  # fmt: skip
#: the same for plain strings, which also start the states
_BY_ENDING_OF_STRING = (
    ("bias", "_init_bias"), ("gamma", "_init_gamma"), ("beta", "_init_beta"), ("weight", "_init_weight"),
    ("moving_mean", "_init_zero"), ("moving_var", "_init_one"), ("moving_inv_var", "_init_zero"),
    ("moving_avg", "_init_zero"), ("min", "_init_zero"), ("max", "_init_one"),
)  # fmt: skip


class Initializer:
    """Base: `initializer(InitDesc(name), array)` fills the array; subclasses say how weights start."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self._verbose = False
        self._print_func: Callable[[NDArray], str] | None = None

    def set_verbosity(self, verbose: bool = False, print_func: Callable[[NDArray], str] | None = None) -> Initializer:
        """Log every parameter's start with `print_func(array)` (default: norm / sqrt(size))."""
        self._verbose = verbose
        self._print_func = print_func or (lambda x: str(np.linalg.norm(x.asnumpy().ravel()) / sqrt(x.size)))
        return self

    def dumps(self) -> str:
        """Name and arguments as JSON, as in the attribute `__init__` of a Variable."""
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, desc: str, arr: NDArray) -> None:
        if not isinstance(desc, InitDesc):
            self._legacy_init(desc, arr)
            return
        if desc.global_init is None:
            desc.global_init = self
        own = desc.attrs.get("__init__", "")
        if own:
            create(own)._init_weight(desc, arr)
            self._verbose_print(desc, own, arr)
            return
        for ending, method in _BY_ENDING:
            if desc.endswith(ending):
                getattr(self, method)(desc, arr)
                self._verbose_print(desc, ending, arr)
                return
        self._init_default(desc, arr)

    def _legacy_init(self, name: Any, arr: Any) -> None:
        warnings.warn(
            "Calling initializer with init(str, NDArray) has been deprecated; "
            "please use init(mx.init.InitDesc(...), NDArray) instead.",
            DeprecationWarning,
            stacklevel=3,
        )
        if not isinstance(name, str):
            raise TypeError("name must be string")
        if not isinstance(arr, NDArray):
            raise TypeError("arr must be NDArray")
        if name.startswith("upsampling"):
            self._init_bilinear(name, arr)
            return
        if name.startswith("stn_loc") and name.endswith("weight"):
            self._init_zero(name, arr)
            return
        if name.startswith("stn_loc") and name.endswith("bias"):
            self._init_loc_bias(name, arr)
            return
        for ending, method in _BY_ENDING_OF_STRING:
            if name.endswith(ending):
                getattr(self, method)(name, arr)
                return
        self._init_default(name, arr)

    def _verbose_print(self, desc: str, what: str, arr: NDArray) -> None:
        if self._verbose and self._print_func:
            logging.info("Initialized %s as %s: %s", desc, what, self._print_func(arr))

    def _init_zero(self, name: str, arr: NDArray) -> None:
        arr[:] = 0.0

    def _init_one(self, name: str, arr: NDArray) -> None:
        arr[:] = 1.0

    def _init_bilinear(self, name: str, arr: NDArray) -> None:
        arr[:] = bilinear_kernel(arr.shape)

    def _init_loc_bias(self, name: str, arr: NDArray) -> None:
        """The identity, for the six numbers of a spatial transformer."""
        if arr.shape != (6,):
            raise AssertionError(f"{name}: the bias of a transformer's localisation has 6 elements, got {arr.shape}")
        arr[:] = np.array([1.0, 0, 0, 0, 1.0, 0])

    _init_bias = _init_zero
    _init_beta = _init_zero
    _init_gamma = _init_one
    _init_quantized_bias = _init_zero

    def _init_weight(self, name: str, arr: NDArray) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how weights start")

    def _init_quantized_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = numpy_generator().integers(-127, 127, arr.shape).astype(np.int8)

    def _init_default(self, name: str, arr: NDArray) -> None:
        raise ValueError(
            f'Unknown initialization pattern for {name}. Default initialization is now limited to "weight", "bias", '
            '"gamma" (1.0), and "beta" (0.0). Please use mx.sym.Variable(init=mx.init.*) to set initialization pattern'
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Initializer):
            return NotImplemented
        return type(self) is type(other) and self._kwargs == other._kwargs

    def __hash__(self) -> int:
        return hash(type(self))


_registry: Registry[Initializer] = Registry(Initializer, "initializer")
register, alias, create = _registry.register, _registry.alias, _registry.create


class Load:
    """Start from saved arrays (a dict or a file of `mx.nd.save`); what is not there by `default_init`."""

    def __init__(self, param: str | Mapping[str, NDArray], default_init: Any = None, verbose: bool = False) -> None:
        loaded = load(param) if isinstance(param, str) else param
        if not isinstance(loaded, Mapping):
            raise TypeError("Load needs arrays with names, but the file holds a list")
        self.param = {(n[4:] if n[:4] in ("arg:", "aux:") else n): a for n, a in loaded.items()}
        self.default_init, self.verbose = default_init, verbose

    def __call__(self, name: str, arr: NDArray) -> None:
        found = self.param.get(name)
        if found is not None:
            if found.shape != arr.shape:
                raise AssertionError(
                    f"Parameter {name} cannot be initialized from loading: it has shape {arr.shape}, "
                    f"but {found.shape} was loaded"
                )
            arr[:] = found
        elif self.default_init is None:
            raise AssertionError(
                f"Cannot initialize {name}: not found in loaded param and no default Initializer is provided."
            )
        else:
            self.default_init(name, arr)
        if self.verbose:
            logging.info("Initialized %s by %s", name, "loading" if found is not None else "default")


class Mixed:
    """The initializer of the first pattern (a regular expression) that matches the name."""

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Any]) -> None:
        if len(patterns) != len(initializers):
            raise AssertionError(f"{len(patterns)} patterns but {len(initializers)} initializers")
        self.map = [(re.compile(p), i) for p, i in zip(patterns, initializers)]

    def __call__(self, name: str, arr: NDArray) -> None:
        for pattern, initializer in self.map:
            if pattern.match(name):
                initializer(name, arr)
                return
        raise ValueError(
            f'Parameter name {name} did not match any pattern. Consider adding a ".*" pattern at the end '
            "with a default Initializer."
        )


@register
@alias("zeros")
class Zero(Initializer):
    """0."""

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = 0


@register
@alias("ones")
class One(Initializer):
    """1."""

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = 1


@register
class Constant(Initializer):
    """A number, or an array of the parameter's shape."""

    def __init__(self, value: Any) -> None:
        super().__init__(value=value)
        self.value = value

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = self.value

    def dumps(self) -> str:
        if not np.isscalar(self.value):
            self._kwargs["value"] = np.asarray(self.value).tolist()
        return super().dumps()


def _uniform(scale: float, shape: tuple[int, ...]) -> Array:
    return numpy_generator().uniform(-scale, scale, shape)


def _normal(sigma: float, shape: tuple[int, ...]) -> Array:
    return numpy_generator().normal(0, sigma, shape)


@register
class Uniform(Initializer):
    """Uniform in [-scale, scale)."""

    def __init__(self, scale: float = 0.07) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = _uniform(self.scale, arr.shape)


@register
class Normal(Initializer):
    """Normal with mean 0 and standard deviation sigma."""

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__(sigma=sigma)
        self.sigma = sigma

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = _normal(self.sigma, arr.shape)


@register
class Orthogonal(Initializer):
    """scale times orthonormal rows or columns (Saxe et al., 2013)."""

    def __init__(self, scale: float = 1.414, rand_type: str = "uniform") -> None:
        super().__init__(scale=scale, rand_type=rand_type)
        self.scale, self.rand_type = scale, rand_type

    def _init_weight(self, name: str, arr: NDArray) -> None:
        matrix = (arr.shape[0], arr.size // arr.shape[0])
        if self.rand_type not in ("uniform", "normal"):
            raise ValueError(f"rand_type is 'uniform' or 'normal', got {self.rand_type!r}")
        start = _uniform(1.0, matrix) if self.rand_type == "uniform" else _normal(1.0, matrix)
        left, _, right = np.linalg.svd(start, full_matrices=False)
        arr[:] = self.scale * (left if left.shape == matrix else right).reshape(arr.shape)


@register
class Xavier(Initializer):
    """Variance magnitude / fan (Glorot and Bengio, 2010): `factor_type` "avg", "in" or "out", `rnd_type` "uniform" or
    "gaussian"."""

    def __init__(self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3) -> None:
        super().__init__(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)
        self.rnd_type, self.factor_type, self.magnitude = rnd_type, factor_type, float(magnitude)

    def _init_weight(self, name: str, arr: NDArray) -> None:
        shape = arr.shape
        if len(shape) < 2:
            raise ValueError(f"Xavier initializer cannot be applied to vector {name}. It requires at least 2D.")
        window = int(np.prod(shape[2:], dtype=np.int64))
        fans = {"in": shape[1] * window, "out": shape[0] * window, "avg": (shape[0] + shape[1]) * window / 2.0}
        if self.factor_type not in fans:
            raise ValueError("Incorrect factor type")
        scale = sqrt(self.magnitude / fans[self.factor_type])
        if self.rnd_type == "uniform":
            arr[:] = _uniform(scale, shape)
        elif self.rnd_type == "gaussian":
            arr[:] = _normal(scale, shape)
        else:
            raise ValueError("Unknown random type")


@register
class MSRAPrelu(Xavier):
    """Gaussian for (P)ReLU nets of slope `slope` (He et al., 2015)."""

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1 + slope**2))
        self._kwargs = {"factor_type": factor_type, "slope": slope}


def bilinear_kernel(shape: Sequence[int]) -> Array:
    """Weights (n, c, h, w) that make a transposed convolution interpolate."""
    width = shape[3]
    half = np.ceil(width / 2.0)
    centre = (2 * half - 1 - half % 2) / (2.0 * half)
    across = 1 - np.abs(np.arange(width) / half - centre)
    down = 1 - np.abs(np.arange(shape[2]) / half - centre)
    return np.broadcast_to(np.outer(down, across), tuple(shape)).astype(np.float32)


@register
class Bilinear(Initializer):
    """Upsampling by interpolation."""

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = bilinear_kernel(arr.shape)


@register
class LSTMBias(Initializer):
    """0, and `forget_bias` for the forget gate: the second quarter."""

    def __init__(self, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias=forget_bias)
        self.forget_bias = forget_bias

    def _init_weight(self, name: str, arr: NDArray) -> None:
        hidden = arr.shape[0] // 4
        arr[:] = 0.0
        arr[hidden : 2 * hidden] = self.forget_bias


@register
class FusedRNN(Initializer):
    """The packed parameters of the RNN operator: each matrix by `init`, LSTM forget biases `forget_bias`."""

    def __init__(
        self,
        init: Any,
        num_hidden: int,
        num_layers: int,
        mode: str,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        if isinstance(init, str):
            init = create(init)
        super().__init__(
            init=init.dumps() if init is not None else None, num_hidden=num_hidden, num_layers=num_layers, mode=mode,
            bidirectional=bidirectional, forget_bias=forget_bias,
        )  # fmt: skip
        self._init, self._hidden, self._layers, self._mode = init, num_hidden, num_layers, mode
        self._directions, self._forget_bias = 2 if bidirectional else 1, forget_bias

    def _init_weight(self, name: str, arr: NDArray) -> None:
        h, d, rows = self._hidden, self._directions, len(RNN_GATES[self._mode]) * self._hidden
        later = (self._layers - 1) * d * rows * (d * h + h + 2)
        inputs = (arr.size - later) // (d * rows) - h - 2
        general = getattr(name, "global_init", None)
        fill = self._init or general
        if fill is None:
            raise ValueError(f"{name}: FusedRNN needs an initializer for the matrices")
        pieces = []
        for part, shape in packed_rnn_parts(self._mode, h, self._layers, d, inputs):
            piece = NDArray(np.zeros(shape, np.float32))
            if self._mode == "lstm" and part.endswith("_f_bias"):
                piece[:] = self._forget_bias
            else:
                fill(InitDesc(part, global_init=general), piece)
            pieces.append(piece.asnumpy().ravel())
        arr[:] = np.concatenate(pieces)


#: of each mode of the RNN operator, what its gates add to the names of their weights
RNN_GATES = {"rnn_relu": ("",), "rnn_tanh": ("",), "lstm": ("_i", "_f", "_c", "_o"), "gru": ("_r", "_z", "_o")}


def packed_rnn_parts(
    mode: str, hidden: int, layers: int, directions: int, inputs: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every gate's weights, in the order of the RNN operator's vector: all matrices, then all biases;
    `l0_i2h_f_weight` is of the first layer's forget gate, `r0_...` of its other direction."""
    cells = [(layer, way) for layer in range(layers) for way in "lr"[:directions]]
    for kind in ("weight", "bias"):
        for layer, way in cells:
            for group, width in (("i2h", directions * hidden if layer else inputs), ("h2h", hidden)):
                for gate in RNN_GATES[mode]:
                    yield f"{way}{layer}_{group}{gate}_{kind}", (hidden, width) if kind == "weight" else (hidden,)
