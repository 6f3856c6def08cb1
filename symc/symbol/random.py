"""mx.sym.random: draws with parameters that are numbers (one distribution) or Symbols (a distribution per element)."""

from __future__ import annotations

from typing import Any

from symc.base import MXNetError, _Null
from symc.ops.base import OPERATORS
from symc.symbol.compose import compose
from symc.symbol.symbol import Symbol

Numbers = (int, float)


def _draw(
    kind: str, given: dict[str, Any], shape: Any, dtype: Any, kwargs: dict[str, Any], each: dict[str, str] | None = None
) -> Symbol:
    """The operator of the kind: `_random_kind` for numbers, `_sample_kind` for Symbols (`each` renames parameters)."""
    values = list(given.values())
    symbols = isinstance(values[0], Symbol)
    if not symbols and not isinstance(values[0], Numbers):
        raise ValueError(f"Distribution parameters must be either Symbol or numbers, but got {type(values[0])}.")
    if any(not isinstance(v, Symbol if symbols else Numbers) for v in values):
        kinds = " and ".join(str(type(v)) for v in values)
        raise AssertionError(f"Distribution parameters must all have the same type, but got {kinds}.")
    op = f"_{'sample' if symbols else 'random'}_{kind}"
    if symbols and each:
        given = {each.get(k, k): v for k, v in given.items()}
    return _make(op, given, shape, dtype, kwargs)


def _make(op: str, given: dict[str, Any], shape: Any, dtype: Any, kwargs: dict[str, Any]) -> Symbol:
    cls = OPERATORS.get(op)
    if cls is None:
        raise MXNetError(f"operator {op} is not available")
    given = {**given, **{k: v for k, v in (("shape", shape), ("dtype", dtype)) if v is not _Null}}
    name, attr = kwargs.pop("name", None), kwargs.pop("attr", None)
    return compose(cls, op, (), {**given, **kwargs}, name, attr)


def uniform(low: Any = 0, high: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Uniform in [low, high)."""
    return _draw("uniform", {"low": low, "high": high}, shape, dtype, kwargs)


def normal(loc: Any = 0, scale: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Normal with mean `loc` and standard deviation `scale`."""
    return _draw("normal", {"loc": loc, "scale": scale}, shape, dtype, kwargs, {"loc": "mu", "scale": "sigma"})


def randn(*shape: int, **kwargs: Any) -> Symbol:
    """Normal of a shape given as arguments; loc=0, scale=1."""
    loc, scale, dtype = kwargs.pop("loc", 0), kwargs.pop("scale", 1), kwargs.pop("dtype", _Null)
    return normal(loc, scale, shape, dtype, **kwargs)


def poisson(lam: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Poisson of rate `lam`."""
    return _draw("poisson", {"lam": lam}, shape, dtype, kwargs)


def exponential(scale: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Exponential of mean `scale`."""
    return _draw("exponential", {"lam": 1.0 / scale}, shape, dtype, kwargs)


def gamma(alpha: Any = 1, beta: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Gamma of shape `alpha` and scale `beta`."""
    return _draw("gamma", {"alpha": alpha, "beta": beta}, shape, dtype, kwargs)


def negative_binomial(k: Any = 1, p: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Failures before `k` successes of probability `p`."""
    return _draw("negative_binomial", {"k": k, "p": p}, shape, dtype, kwargs)


def generalized_negative_binomial(
    mu: Any = 1, alpha: Any = 1, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any
) -> Symbol:
    """Negative binomial of mean `mu` and dispersion `alpha`."""
    return _draw("generalized_negative_binomial", {"mu": mu, "alpha": alpha}, shape, dtype, kwargs)


def multinomial(data: Symbol, shape: Any = _Null, get_prob: bool = True, dtype: Any = "int32", **kwargs: Any) -> Symbol:
    """Indices drawn with the probabilities in the last axis of `data`, with their logarithms if `get_prob`."""
    return _make("_sample_multinomial", {"data": data, "get_prob": get_prob}, shape, dtype, kwargs)


def shuffle(data: Symbol, **kwargs: Any) -> Symbol:
    """`data` with its first axis permuted."""
    return _make("_shuffle", {"data": data}, _Null, _Null, kwargs)


def randint(low: int, high: int, shape: Any = _Null, dtype: Any = _Null, **kwargs: Any) -> Symbol:
    """Whole numbers in [low, high)."""
    return _draw("randint", {"low": low, "high": high}, shape, dtype, kwargs)


FUNCTIONS = (
    uniform, normal, randn, poisson, exponential, gamma, negative_binomial, generalized_negative_binomial, multinomial,
    shuffle, randint,
)  # fmt: skip
