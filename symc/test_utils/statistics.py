"""Whether random numbers have the distribution that they should have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symc.base import MXNetError
from symc.ir.types import Array

#: makes so many random numbers
Generator = Callable[[int], Any]


def mean_check(generator: Generator, mu: float, sigma: float, nsamples: int = 1000000) -> bool:
    """Whether the mean of so many numbers is within three standard errors of `mu`."""
    return bool(abs(np.mean(generator(nsamples)) - mu) < 3 * sigma / np.sqrt(nsamples))


def var_check(generator: Generator, sigma: float, nsamples: int = 1000000) -> bool:
    """Whether the variance of so many numbers is within three standard errors of sigma^2."""
    found = np.var(generator(nsamples), ddof=1)
    return bool(abs(found - sigma**2) < 3 * np.sqrt(2 * sigma**4 / (nsamples - 1)))


def gen_buckets_probs_with_ppf(ppf: Callable[[float], float], nbuckets: int) -> tuple[list[Any], list[float]]:
    """(ranges, probabilities) of so many equally probable ranges of a distribution, of which `ppf` gives quantiles."""
    if nbuckets <= 0:
        raise AssertionError(f"nbuckets={nbuckets} must be positive")
    edges = [ppf(at / nbuckets) for at in range(nbuckets + 1)]
    return list(zip(edges, edges[1:])), [1.0 / nbuckets] * nbuckets


def chi_square_check(
    generator: Generator, buckets: Sequence[Any], probs: Sequence[float], nsamples: int = 1000000
) -> tuple[float, Array, Array]:
    """(p, counts, expected counts) of Pearson's test. `buckets` are ranges (low, high) in ascending order, or
    the values of a discrete distribution; `probs` are their probabilities. MXNetError without SciPy."""
    try:
        from scipy.stats import chi2
    except ImportError:
        raise MXNetError("chi_square_check needs SciPy: pip install symc[sparse]") from None
    if not isinstance(buckets, list) or len(probs) != len(buckets):
        raise AssertionError(f"{len(buckets)} buckets, as a list, need as many probabilities, not {len(probs)}")
    samples = np.asarray(generator(nsamples))
    if isinstance(buckets[0], (list, tuple)):
        edges = np.array([edge for pair in buckets for edge in pair], np.float32)
        if (np.diff(edges) < 0).any():
            raise AssertionError("buckets must ascend and not intersect")
        found = np.searchsorted(edges, samples, side="right") // 2
        counts = np.array([(found == at).sum() for at in range(len(buckets))])
    else:
        counts = np.array([(samples == value).sum() for value in buckets])
    expected = (nsamples * np.array(probs, np.float32)).astype(np.int32)
    # what whole numbers of expected counts lack of all samples is nobody's fault
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, len(buckets) - 1)), counts, expected


def verify_generator(
    generator: Generator, buckets: Sequence[Any], probs: Sequence[float], nsamples: int = 1000000, nrepeat: int = 5,
    success_rate: float = 0.2, alpha: float = 0.05,
) -> list[float]:  # fmt: skip
    """The p values of several `chi_square_check`. AssertionError if too few, by `success_rate`, exceed `alpha`."""
    found = [chi_square_check(generator, buckets, probs, nsamples) for _ in range(nrepeat)]
    values = [p for p, _, _ in found]
    if sum(p > alpha for p in values) < nrepeat * success_rate:
        raise AssertionError(
            f"these are not the numbers of the distribution: p={values}, counts={[c.tolist() for _, c, _ in found]}, "
            f"expected={found[0][2].tolist()}\nbuckets={buckets}, probs={probs}"
        )
    return values
