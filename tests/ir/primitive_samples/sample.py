"""What a sample of a primitive is, and data for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symc.ir.op import Node, input_node
from symc.ir.types import TensorType, dtype_of


@dataclass(frozen=True)
class Sample:
    """`build(*inputs)` of one primitive on `arrays`; `reference(*arrays)` is the expected result (or results)."""

    primitive: str
    build: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    reference: Callable[..., Any]
    #: the gradient is the derivative of the value (else it is none, by definition)
    grad: bool = True
    #: so is the gradient of the gradient
    second: bool = True
    tolerance: float = 1e-12
    note: str = ""

    def __str__(self) -> str:
        return f"{self.primitive}{'-' if self.note else ''}{self.note}"

    def nodes(self) -> tuple[list[Node], list[Node]]:
        """(inputs, results)"""
        ins = [input_node(f"x{i}", TensorType(dtype_of(a.dtype), a.shape)) for i, a in enumerate(self.arrays)]
        made = self.build(*ins)
        return ins, [made] if isinstance(made, Node) else list(made)


def floats(seed: int, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Distinct values in random order, none near a multiple of a half, so that differences meet no kink."""
    rng = np.random.default_rng(seed)
    n = math.prod(shape)
    x = low + (high - low) * (rng.permutation(n) + rng.uniform(0.2, 0.8, n)) / max(n, 1)
    near = np.abs(2 * x - np.round(2 * x)) < 0.02
    return np.where(near, x + 0.03, x).reshape(shape)


def ints(seed: int, low: int, high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def by_element(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[float])
