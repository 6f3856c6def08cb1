"""mx.sym.contrib: the operators named `_contrib_*`, control flow, and helpers made of several operators."""

from __future__ import annotations

import math
from typing import Any

from symc.aliases import standing_elsewhere
from symc.ops.base import OPERATORS
from symc.symbol import random
from symc.symbol.compose import compose
from symc.symbol.control import cond, foreach, while_loop
from symc.symbol.creation import full
from symc.symbol.symbol import Symbol

__getattr__ = standing_elsewhere(__name__)


__all__ = ["adamw_update", "cond", "foreach", "mp_adamw_update", "rand_zipfian", "while_loop"]


def rand_zipfian(true_classes: Symbol, num_sampled: int, range_max: int) -> tuple[Symbol, Symbol, Symbol]:
    """Classes drawn from [0, range_max) with probability log((k + 2) / (k + 1)) / log(range_max + 1) for class k.

    (int64 samples of shape (num_sampled,), how often each true class is expected, how often each sample is expected).
    """
    if not isinstance(true_classes, Symbol):
        raise AssertionError(f"rand_zipfian: true_classes must be a Symbol, got {type(true_classes)}")
    span = math.log(range_max + 1)

    def expected(classes: Any) -> Any:
        return ((classes + 2.0) / (classes + 1.0)).log() / span * num_sampled

    drawn: Any = random.uniform(0, span, shape=(num_sampled,), dtype="float64")
    samples = (drawn.exp() - 1).astype("int64") % range_max
    true: Any = true_classes
    return samples, expected(true.astype("float64")), expected(samples.astype("float64"))


def _decoupled(op: str, given: dict[str, Any], name: str | None) -> Symbol:
    if not isinstance(given["rescale_grad"], Symbol):
        given["rescale_grad"] = full(shape=(1,), val=given["rescale_grad"])
    return compose(OPERATORS[op], op, (), {**given.pop("kwargs"), **given}, name)


def adamw_update(
    weight: Any, grad: Any, mean: Any, var: Any, rescale_grad: Any, lr: float, eta: float, beta1: float = 0.9,
    beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0, clip_gradient: float = -1, out: Any = None,
    name: str | None = None, **kwargs: Any,
) -> Symbol:  # fmt: skip
    """Adam with decoupled weight decay; `rescale_grad` is a Symbol or a number."""
    given = dict(locals())
    del given["out"], given["name"]
    return _decoupled("_adamw_update", given, name)


def mp_adamw_update(
    weight: Any, grad: Any, mean: Any, var: Any, weight32: Any, rescale_grad: Any, lr: float, eta: float,
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0, clip_gradient: float = -1,
    out: Any = None, name: str | None = None, **kwargs: Any,
) -> Symbol:  # fmt: skip
    """adamw_update of half-precision weights with a single-precision copy."""
    given = dict(locals())
    del given["out"], given["name"]
    return _decoupled("_mp_adamw_update", given, name)
