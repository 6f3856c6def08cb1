"""Densities of the random operators' distributions at given samples, differentiable in samples and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims import movement as mv
from symc.ir.prims.reduce import reduce_sum
from symc.ops.base import BuildContext, Operator, ShapeError, Shapes, Types, operator
from symc.ops.shared.families import floats_only, no_gradient

#: the logarithm of the density: (sample, parameters of the same shape) -> Node
LogDensity = Callable[..., Node]


def _fixed(x: Node) -> Node:
    """Counts have no gradient."""
    return no_gradient(lambda x: x)(x)


def _uniform(x: Node, low: Node, high: Node) -> Node:
    return -ew.log(high - low) + x * 0.0


def _plain_uniform(x: Node, low: Node, high: Node) -> Node:
    return 1.0 / (high - low) + x * 0.0


def _normal(x: Node, mu: Node, sigma: Node) -> Node:
    z = (x - mu) / sigma
    return -0.5 * z * z - ew.log(sigma) - 0.5 * log(2 * pi)


def _gamma(x: Node, alpha: Node, beta: Node) -> Node:
    return alpha * ew.log(beta) + (alpha - 1.0) * ew.log(x) - beta * x - ew.gammaln(alpha)


def _exponential(x: Node, lam: Node) -> Node:
    return ew.log(lam) - lam * x


def _poisson(x: Node, lam: Node) -> Node:
    x = _fixed(x)
    return x * ew.log(lam) - ew.gammaln(x + 1.0) - lam


def _negative_binomial(x: Node, k: Node, p: Node) -> Node:
    x = _fixed(x)
    chosen = ew.gammaln(x + k) - ew.gammaln(x + 1.0) - ew.gammaln(k)
    return chosen + k * ew.log(p) + x * ew.log(1.0 - p)


def _generalized(x: Node, mu: Node, alpha: Node) -> Node:
    return _negative_binomial(x, 1.0 / alpha, 1.0 / (mu * alpha + 1.0))


def _fits(sample: tuple[int, ...], parameter: tuple[int, ...]) -> None:
    if len(parameter) > len(sample) or any(a and b and a != b for a, b in zip(sample, parameter)):
        raise ShapeError(f"sample {sample} must begin with the parameters' shape {parameter}")


@dataclass(frozen=True, kw_only=True)
class _Density(Operator):
    """Base: parameters are repeated along the sample's trailing axes."""

    density: ClassVar[LogDensity]
    #: the density itself, where it is not the exponential of its logarithm for parameters out of range
    plain: ClassVar[LogDensity | None] = None

    is_log: bool = False

    def complete(self, s: Shapes) -> None:
        """The output has the samples' shape; the parameters have its leading axes."""
        sample, *parameters = s.ins
        if sample is None or any(p is None for p in parameters):
            return
        for at in range(1, len(parameters)):
            s.set_in(at + 1, parameters[0])
        for p in s.ins[1:]:
            _fits(sample, p or ())
        s.set_out(0, sample)

    def complete_types(self, t: Types) -> None:
        t.all_alike()
        floats_only(self, t)

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        sample, *parameters = inputs
        spread = [mv.broadcast(p, sample.shape, range(p.rank)) for p in parameters]
        plain = type(self).plain
        if plain is not None and not self.is_log:
            return plain(sample, *spread)
        made = type(self).density(sample, *spread)
        return made if self.is_log else ew.exp(made)


_DENSITIES: list[tuple[str, str, LogDensity, str]] = [
    ("uniform", "low high", _uniform, "uniform between low and high"),
    ("normal", "mu sigma", _normal, "normal with mean mu and standard deviation sigma"),
    ("gamma", "alpha beta", _gamma, "gamma of shape alpha and rate beta"),
    ("exponential", "lam", _exponential, "exponential of rate lam"),
    ("poisson", "lam", _poisson, "Poisson of mean lam"),
    ("negative_binomial", "k p", _negative_binomial, "negative binomial: failures before k successes of probability p"),
    ("generalized_negative_binomial", "mu alpha", _generalized, "negative binomial of mean mu and dispersion alpha"),
]  # fmt: skip

for _name, _inputs, _function, _what in _DENSITIES:
    operator(f"_random_pdf_{_name}", inputs=f"sample {_inputs}", aliases=f"random_pdf_{_name}")(
        type(
            f"_random_pdf_{_name}", (_Density,),
            {"__doc__": f"Density (or its logarithm, is_log) of the samples, {_what}.", "__module__": __name__,
             "density": staticmethod(_function), "plain": staticmethod(_plain_uniform) if _name == "uniform" else None},
        )
    )  # fmt: skip


@operator("_random_pdf_dirichlet", inputs="sample alpha", aliases="random_pdf_dirichlet")
class DirichletDensity(Operator):
    """Density (or its logarithm, is_log) of the samples in the last axis, Dirichlet of concentration alpha."""

    is_log: bool = False

    def complete(self, s: Shapes) -> None:
        """Samples (*S, k) with alpha (*leading axes of S, k) give (*S)."""
        sample, alpha = s.ins
        if sample is not None and alpha is not None:
            _fits(sample[:-1], alpha[:-1])
            _fits(sample[-1:], alpha[-1:])
            s.set_out(0, sample[:-1] or (1,))

    def build(self, ctx: BuildContext, *inputs: Node) -> Node:
        sample, alpha = inputs
        last = sample.rank - 1
        a = mv.broadcast(alpha, sample.shape, (*range(alpha.rank - 1), last))
        made = reduce_sum((a - 1.0) * ew.log(sample), (last,))
        made = made + ew.gammaln(reduce_sum(a, (last,))) - reduce_sum(ew.gammaln(a), (last,))
        made = mv.reshape(made, sample.shape[:-1] or (1,))
        return made if self.is_log else ew.exp(made)
