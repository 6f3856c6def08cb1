"""mx.nd.random: draws from distributions whose parameters are numbers (one distribution, any shape) or arrays (one
distribution per element, `shape` draws of each)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symc.base import _Null
from symc.ndarray.ndarray import NDArray
from symc.ops.base import OPERATORS

Call = Callable[..., Any]


def make_functions(make: Callable[[Any, str], Call]) -> dict[str, Call]:
    """The functions; `make(operator class, name)` gives the function of one operator."""

    def operator(name: str) -> Call:
        return make(OPERATORS[name], name)

    def draw(word: str, parameters: Sequence[Any], shape: Any, dtype: Any, ctx: Any, out: Any) -> Any:
        arrays = [isinstance(p, NDArray) for p in parameters]
        if any(arrays) and not all(arrays):
            raise AssertionError(f"{word}: the parameters of a distribution are either all numbers or all NDArrays")
        given = {} if dtype is _Null else {"dtype": dtype}
        if arrays[0]:
            if shape is not _Null:
                given["shape"] = shape
            return operator(f"_sample_{word}")(*parameters, out=out, **given)
        if not all(isinstance(p, (int, float)) or hasattr(p, "__float__") for p in parameters):
            raise ValueError(
                f"Distribution parameters must be either NDArray or numbers, but got {type(parameters[0])}."
            )
        given["shape"] = shape if shape is not _Null else 1 if out is None else out.shape
        return operator(f"_random_{word}")(*parameters, ctx=ctx, out=out, **given)

    def uniform(
        low: Any = 0,
        high: Any = 1,
        shape: Any = _Null,
        dtype: Any = _Null,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Uniform in [low, high)."""
        return draw("uniform", [low, high], shape, dtype, ctx, out)

    def normal(
        loc: Any = 0,
        scale: Any = 1,
        shape: Any = _Null,
        dtype: Any = _Null,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Normal with mean `loc` and standard deviation `scale`."""
        return draw("normal", [loc, scale], shape, dtype, ctx, out)

    def randn(*shape: int, loc: Any = 0, scale: Any = 1, dtype: Any = _Null, ctx: Any = None, out: Any = None) -> Any:
        """Normal, the shape given as arguments."""
        return draw("normal", [loc, scale], shape or _Null, dtype, ctx, out)

    def poisson(
        lam: Any = 1, shape: Any = _Null, dtype: Any = _Null, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Poisson with mean `lam`."""
        return draw("poisson", [lam], shape, dtype, ctx, out)

    def exponential(
        scale: Any = 1, shape: Any = _Null, dtype: Any = _Null, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Exponential with mean `scale`."""
        return draw("exponential", [1.0 / scale], shape, dtype, ctx, out)

    def gamma(
        alpha: Any = 1,
        beta: Any = 1,
        shape: Any = _Null,
        dtype: Any = _Null,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Gamma of shape `alpha` and scale `beta`."""
        return draw("gamma", [alpha, beta], shape, dtype, ctx, out)

    def negative_binomial(
        k: Any = 1, p: Any = 1, shape: Any = _Null, dtype: Any = _Null, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Failures before `k` successes of probability `p`."""
        return draw("negative_binomial", [k, p], shape, dtype, ctx, out)

    def generalized_negative_binomial(
        mu: Any = 1,
        alpha: Any = 1,
        shape: Any = _Null,
        dtype: Any = _Null,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Negative binomial of mean `mu` and dispersion `alpha`."""
        return draw("generalized_negative_binomial", [mu, alpha], shape, dtype, ctx, out)

    def randint(
        low: int, high: int, shape: Any = _Null, dtype: Any = _Null, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Whole numbers in [low, high)."""
        return draw("randint", [low, high], shape, dtype, ctx, out)

    def multinomial(
        data: Any, shape: Any = _Null, get_prob: bool = False, out: Any = None, dtype: Any = "int32", **kwargs: Any
    ) -> Any:
        """Numbers of classes, drawn with the probabilities in the last axis of `data`."""
        given = {} if shape is _Null else {"shape": shape}
        return operator("_sample_multinomial")(data, get_prob=get_prob, dtype=dtype, out=out, **given)

    def shuffle(data: Any, **kwargs: Any) -> Any:
        """The rows of `data` in a random order."""
        return operator("_shuffle")(data, **kwargs)

    made: list[Any] = [
        uniform, normal, randn, poisson, exponential, gamma, negative_binomial, generalized_negative_binomial, randint,
        multinomial, shuffle,
    ]  # fmt: skip
    return {function.__name__: function for function in made}
