"""Random numbers of many distributions, drawn anew in every run from the program's key.

Uniform, normal, exponential and integer draws are computed by the program itself; distributions that need rejection
(gamma, Poisson and what is built from them) call numpy's generator, seeded by the program's key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from symc.base import LateError
from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.control import host_call, register_host
from symc.ir.prims.indexing import gather, gather_along, sort
from symc.ir.prims.random import fold_key, normal, random_bits, uniform
from symc.ir.prims.reduce import cumsum, reduce_sum
from symc.ir.prims.tuples import get
from symc.ir.types import F32, F64, I64, U64, Array, DType, TensorType
from symc.ops.base import BuildContext, MXNetError, Operator, ShapeError, Shapes, Tuple, Types, is_known, operator
from symc.ops.shared.families import MaybeFloat, complete_shape, floats_only, ir_type, no_gradient, wanted_shape

#: (key, parameters of the result's shape or rank 0, shape, type) -> draws
Draw = Callable[[Node, list[Node], tuple[int, ...], DType], Node]


def generator_of(key: Array) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=int(key[0]) << 32 | int(key[1])))


_HOST: dict[str, Callable[..., Any]] = {
    "gamma": lambda g, size, alpha, beta: g.gamma(alpha, beta, size),
    # what is no mean has no events
    "poisson": lambda g, size, lam: g.poisson(np.fmax(lam, 0), size),
    # numpy counts failures before k successes of probability p, as MXNet does
    "negative_binomial": lambda g, size, k, p: g.poisson(g.gamma(k, np.fmax((1 - p) / p, 0), size)),
    "generalized_negative_binomial": lambda g, size, mu, alpha: (
        # without dispersion it is Poisson's
        g.poisson(g.gamma(1 / alpha, mu * alpha, size)) if np.all(alpha) else g.poisson(mu, size)
    ),
}  # fmt: skip


def _on_host(name: str) -> Draw:
    def function(key: Array, shape: Array, *parameters: Array) -> Array:
        given = [p.astype(np.float64) for p in parameters]
        try:
            return np.asarray(_HOST[name](generator_of(key), tuple(int(d) for d in shape), *given))
        except ValueError as problem:  # parameters that no such distribution has, or means beyond int64
            ranges = ", ".join(f"{p.min():g} to {p.max():g}" for p in given)
            raise LateError(f"nothing can be drawn with parameters from {ranges}: {problem}") from None

    register_host(f"random_{name}", function)

    def draw(key: Node, parameters: list[Node], shape: tuple[int, ...], dtype: DType) -> Node:
        extents = ew.const(np.array(shape, np.int64))
        made = host_call(f"random_{name}", [key, extents, *parameters], [TensorType(F64, shape)])
        assert isinstance(made, Node)
        return ew.cast(made, dtype)

    return draw


def _uniform(key: Node, parameters: list[Node], shape: tuple[int, ...], dtype: DType) -> Node:
    low, high = parameters
    return uniform(key, shape, dtype) * (high - low) + low


def _normal(key: Node, parameters: list[Node], shape: tuple[int, ...], dtype: DType) -> Node:
    loc, scale = parameters
    return normal(key, shape, dtype) * scale + loc


def _exponential(key: Node, parameters: list[Node], shape: tuple[int, ...], dtype: DType) -> Node:
    return -ew.log(1.0 - uniform(key, shape, dtype)) / parameters[0]


#: name: (parameters, defaults, names in the sample_ form, draw, what)
_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...], Draw, str]] = {
    "uniform": (("low", "high"), (0.0, 1.0), ("low", "high"), _uniform, "uniform in [low, high)"),
    "normal": (("loc", "scale"), (0.0, 1.0), ("mu", "sigma"), _normal, "normal with mean and standard deviation"),
    "gamma": (("alpha", "beta"), (1.0, 1.0), ("alpha", "beta"), _on_host("gamma"), "gamma, shape alpha, scale beta"),
    "exponential": (("lam",), (1.0,), ("lam",), _exponential, "exponential of rate lam"),
    "poisson": (("lam",), (1.0,), ("lam",), _on_host("poisson"), "Poisson of mean lam"),
    "negative_binomial": (
        ("k", "p"), (1, 1.0), ("k", "p"), _on_host("negative_binomial"), "failures before k successes of probability p",
    ),
    "generalized_negative_binomial": (
        ("mu", "alpha"), (1.0, 1.0), ("mu", "alpha"), _on_host("generalized_negative_binomial"),
        "negative binomial of mean mu and dispersion alpha",
    ),
}  # fmt: skip


#: draws that a call makes at least, and up to which it makes as many as the next power of two
FEWEST, MOST = 64, 1 << 14


class _Drawn(Operator):
    """Base: `draw` with parameters from the attributes `keys`."""

    draw: ClassVar[Draw]
    keys: ClassVar[tuple[str, ...]]

    def refuse(self) -> None:
        """LateError for parameters that no such distribution has."""
        values = {k: getattr(self, k) for k in self.keys}
        may_be_zero = "poisson" in self.op_name
        if values.get("scale", 1) <= 0 or any(
            v < 0 or (v == 0 and not may_be_zero)
            for k, v in values.items()
            if k in ("lam", "alpha", "beta") and "mu" not in values
        ):
            raise LateError(f"its parameters must be positive, got {values}")
        for key in ("p", "k", "mu", "alpha"):
            if values.get(key, 0) < 0:
                raise LateError(f"{key} must not be negative, got {values}")
        if "low" in values and values["low"] > values["high"]:
            raise LateError(f"low must not be above high, got {values}")

    def drawn(self, ctx: BuildContext, shape: tuple[int, ...], dtype: DType) -> Node:
        self.refuse()
        wide = dtype.wide
        parameters = [ew.const(float(getattr(self, k)), wide) for k in self.keys]
        return ew.cast(type(self).draw(ctx.random_key(), parameters, shape, wide), dtype)


class _Free(_Drawn):
    """Base: of a given shape and type."""

    shape: ClassVar[Tuple | None]
    dtype: ClassVar[str]

    def complete(self, s: Shapes) -> None:
        """The output has the attribute `shape`; without one, what its users need."""
        if self.shape:
            s.set_out(0, wanted_shape(self.shape))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.float32 if self.dtype == "None" else np.dtype(self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return self.drawn(ctx, complete_shape(ctx, self.shape), F32 if self.dtype == "None" else ir_type(self.dtype))


def beginning_of(op: Operator) -> tuple[Operator, tuple[int, ...]] | None:
    """An operator of which the first draws, in row-major order, are those of `op`, and the shape of `op`: draws of many
    shapes are then one program. Bits follow from the key and the position; None for those of numpy's generators, and
    for many draws."""
    if not isinstance(op, _Free) or not op.shape or type(op).draw not in (_uniform, _normal, _exponential):
        return None
    shape = wanted_shape(op.shape)
    more = max(FEWEST, 1 << (prod(shape) - 1).bit_length())
    return (replace(op, shape=(more,)), shape) if 0 < prod(shape) <= MOST and shape != (more,) else None


class _Like(_Drawn):
    """Base: of the data's shape and type."""

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def complete_types(self, t: Types) -> None:
        t.all_alike()
        floats_only(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        return self.drawn(ctx, inputs[0].shape, inputs[0].dtype)


@dataclass(frozen=True, kw_only=True)
class _Sample(Operator):
    """Base: for every element of the parameter tensors, `shape` many draws in new last axes."""

    draw: ClassVar[Draw]

    shape: Tuple = ()
    dtype: MaybeFloat = "None"

    def complete(self, s: Shapes) -> None:
        """Parameters (*S) give (*S, *shape)."""
        s.all_alike(range(len(s.ins)), ())
        if s.ins[0] is not None:
            s.set_out(0, s.ins[0] + wanted_shape(self.shape))

    def complete_types(self, t: Types) -> None:
        t.all_alike(outs=())
        t.set_out(0, np.float32 if self.dtype == "None" else np.dtype(self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        dtype = F32 if self.dtype == "None" else ir_type(self.dtype)
        wide = dtype.wide
        first = inputs[0].shape
        shape = first + tuple(self.shape)

        def draws(key: Node, *given: Node) -> Node:
            parameters = [mv.broadcast(ew.cast(p, wide), shape, range(len(first))) for p in given]
            return ew.cast(type(self).draw(key, parameters, shape, wide), dtype)

        return no_gradient(draws)(ctx.random_key(), *inputs)


for _key, (_parameters, _defaults, _inputs, _draw, _what) in _DISTRIBUTIONS.items():
    _body: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {p: type(d) for p, d in zip(_parameters, _defaults)},
        "draw": staticmethod(_draw),
        "keys": _parameters,
        **dict(zip(_parameters, _defaults)),
    }
    _alias = f"random_{_key}" + (f" {_key}" if _key in ("uniform", "normal") else "")
    _free = {
        **_body,
        "__annotations__": {**_body["__annotations__"], "shape": Tuple | None, "ctx": str, "dtype": MaybeFloat},
    }
    _free.update(shape=None, ctx="", dtype="None", __doc__=f"Random numbers, {_what}.")
    operator(f"_random_{_key}", inputs="", aliases=_alias, random=True)(type(f"_random_{_key}", (_Free,), _free))
    operator(f"_random_{_key}_like", hint=f"{_key}_like", gradient="zero", random=True)(
        type(
            f"_random_{_key}_like",
            (_Like,),
            {**_body, "__doc__": f"Random numbers of the data's shape and type, {_what}."},
        )
    )
    operator(f"_sample_{_key}", inputs=" ".join(_inputs), aliases=f"sample_{_key}", gradient="zero", random=True)(
        type(
            f"_sample_{_key}", (_Sample,),
            {"__module__": __name__, "draw": staticmethod(_draw),
             "__doc__": f"Random numbers for every element of the parameter tensors, {_what}."},
        )
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- integers and choices


@operator("_random_randint", inputs="", aliases="random_randint", random=True)
class RandInt(Operator):
    """Integers in [low, high), all equally likely."""

    low: int
    high: int
    shape: Tuple | None = None
    ctx: str = ""
    dtype: Literal["None", "int32", "int64"] = "None"

    def complete(self, s: Shapes) -> None:
        """The output has the attribute `shape`; without one, what its users need."""
        if self.shape:
            s.set_out(0, wanted_shape(self.shape))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.int32 if self.dtype == "None" else np.dtype(self.dtype))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        if self.low >= self.high:
            raise LateError(f"low={self.low} must be below high={self.high}")
        dtype = ir_type("int32" if self.dtype == "None" else self.dtype)
        key, span, shape = ctx.random_key(), self.high - self.low, complete_shape(ctx, self.shape)
        bits = ew.cast(random_bits(key, shape), U64)
        if span <= 1 << 32:
            # the high word of bits * span: Lemire's multiplication in place of a division
            offset = ew.shr(bits * span, 32)
        else:
            more = ew.cast(random_bits(fold_key(key, 1), shape), U64)
            offset = ew.mod(ew.or_(ew.shl(bits, 32), more), span)
        return ew.cast(ew.cast(offset, I64) + self.low, dtype)


@operator("_sample_multinomial", aliases="sample_multinomial", random=True)
class SampleMultinomial(Operator):
    """Class numbers drawn with the probabilities in the last axis; `get_prob` adds their log probability. Its
    gradient goes to the probabilities of what was drawn."""

    shape: Tuple = ()
    get_prob: bool = False
    dtype: Literal["float16", "float32", "float64", "int32", "uint8"] = "int32"

    @property
    def gradient(self) -> str:  # type: ignore[override]
        """only the log probability has one"""
        return "yes" if self.get_prob else "zero"

    def list_outputs(self) -> tuple[str, ...]:
        return ("output0", "output1") if self.get_prob else ("output",)

    def _out(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return data[:-1] + wanted_shape(self.shape) or (1,)

    def complete(self, s: Shapes) -> None:
        """Probabilities (*S, k) give (*S, *shape), at least (1,); so has the log probability."""
        data = s.ins[0]
        if data is not None:
            for at in range(len(s.outs)):
                s.set_out(at, self._out(data))

    def complete_types(self, t: Types) -> None:
        t.set_out(0, np.dtype(self.dtype))
        if self.get_prob:
            t.all_alike((0,), (1,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node | list[Node]:
        data = inputs[0]
        classes, draws = data.shape[-1], prod(self.shape)
        rows = mv.reshape(data, (prod(data.shape[:-1]), classes))
        wide = ew.cast(rows, rows.dtype.wide)
        below = cumsum(wide, 1)
        shape = (rows.shape[0], draws, classes)
        u = uniform(ctx.random_key(), shape[:2], wide.dtype)
        passed = ew.ge(mv.broadcast(u, shape, (0, 1)), mv.broadcast(below, shape, (0, 2)))
        # rounding may leave the last sum below 1
        chosen = ew.minimum(reduce_sum(ew.cast(passed, I64), (2,)), classes - 1)
        out = self._out(data.shape)
        found = mv.reshape(ew.cast(chosen, ir_type(self.dtype)), out)
        if not self.get_prob:
            return found
        logs = ew.log(ew.maximum(gather_along(wide, chosen, 1), 1e-20))
        return [found, mv.reshape(ew.cast(logs, data.dtype), out)]


@operator("_shuffle", aliases="shuffle", gradient="none", random=True)
class Shuffle(Operator):
    """The data with its rows (along axis 0) in random order."""

    def complete(self, s: Shapes) -> None:
        """The output has the data's shape, and the data the output's."""
        s.all_alike()

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        data = inputs[0]
        order = get(sort(random_bits(ctx.random_key(), data.shape[:1]), 0), 1)
        return gather(data, order, 0)


def _unique_zipfian(key: Array, shape: Array, limit: Array) -> tuple[Array, Array]:
    generator, top = generator_of(key), int(limit[0])
    rows, wanted = prod(int(d) for d in shape[:-1]), int(shape[-1])
    values, tries = np.empty((rows, wanted), np.int64), np.empty(rows, np.int64)
    for row in range(rows):
        seen: dict[int, None] = {}
        count = 0
        while len(seen) < wanted:
            count += 1
            seen.setdefault(int(round(np.exp(generator.random() * np.log(top + 1)))) - 1 if top > 1 else 0)
        values[row], tries[row] = np.minimum(np.fromiter(seen, np.int64), top - 1), count
    return values, tries


register_host("random_unique_zipfian", _unique_zipfian)


@operator("_sample_unique_zipfian", inputs="", outputs="output0 output1", random=True)
class SampleUniqueZipfian(Operator):
    """Different numbers below range_max, log-uniform, for every row; and how many tries each row took."""

    range_max: int
    shape: Tuple | None = None

    def check(self) -> None:
        if self.shape and self.shape[-1] > self.range_max:
            raise MXNetError(f"_sample_unique_zipfian: there are no {self.shape[-1]} numbers below {self.range_max}")

    def complete(self, s: Shapes) -> None:
        """The samples have the attribute `shape`, the counts have it without the last axis."""
        shape = wanted_shape(self.shape)
        if len(shape) != 2:
            raise ShapeError(f"shape={shape} must be (rows, numbers in a row)")
        s.set_out(0, shape)
        s.set_out(1, shape[:-1])

    def complete_types(self, t: Types) -> None:
        for at in range(2):
            t.set_out(at, np.int64)

    def build(self, ctx: BuildContext, *inputs: Node) -> list[Node]:
        shape = self.shape
        if shape is None or not is_known(shape):
            raise ShapeError(f"shape={shape} must be complete")
        given = [ew.const(np.array(shape, np.int64)), ew.const(np.array([self.range_max], np.int64))]
        types = [TensorType(I64, tuple(shape)), TensorType(I64, tuple(shape[:-1]))]
        made = host_call("random_unique_zipfian", [ctx.random_key(), *given], types)
        assert isinstance(made, list)
        return made
