"""Gradients of overlapping windows' maxima: every window's cotangent goes to its first maximum (the first nan wins),
and places add them up in the windows' order, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import graph_of, run_native, to_program

from symc.ir.op import Node
from symc.ir.prims.window import WindowMaxGrad
from symc.ir.types import F16, F32, F64, DType, TensorType


def expected(x: np.ndarray, ct: np.ndarray, op: WindowMaxGrad) -> np.ndarray:
    """Window by window."""
    made = np.zeros_like(x)
    for window in np.ndindex(ct.shape):
        lead, place = window[: -len(op.size)], window[-len(op.size) :]
        inside = (*lead, *(slice(p * s, p * s + k) for p, s, k in zip(place, op.stride, op.size)))
        first = np.unravel_index(int(np.argmax(x[inside])), op.size)
        made[(*lead, *(p * s + t for p, s, t in zip(place, op.stride, first)))] += ct[window]
    return made


@pytest.mark.parametrize("dtype", [F32, F64, F16])
@pytest.mark.parametrize(
    ("size", "stride", "spatial"),
    [
        ((3, 3), (2, 2), (17, 40)), ((3, 3), (1, 1), (9, 21)), ((2, 3), (1, 2), (6, 36)), ((4,), (3,), (50,)),
        ((3, 2), (2, 3), (8, 19)), ((2, 2, 2), (1, 1, 1), (4, 5, 18)), ((5, 5), (2, 2), (13, 15)),
        ((3, 1), (5, 1), (9, 4)),
    ],
)  # fmt: skip
def test_the_first_maximum_takes_it(
    dtype: DType, size: tuple[int, ...], stride: tuple[int, ...], spatial: tuple[int, ...]
) -> None:
    op, rs = WindowMaxGrad(size, stride), np.random.RandomState(0)
    places = tuple((n - k) // s + 1 for n, k, s in zip(spatial, size, stride))
    x = rs.randint(0, 4, (2, 3, *spatial)).astype(dtype.numpy)
    x[rs.rand(*x.shape) < 0.02] = np.nan
    ct = rs.standard_normal((2, 3, *places)).astype(dtype.numpy)
    types = {"x": TensorType(dtype, x.shape), "ct": TensorType(dtype, ct.shape)}
    graph = graph_of(lambda x, ct: Node.make(op, [x, ct]), **types)
    found = run_native(to_program(graph), {"x": x, "ct": ct})["out0"]
    np.testing.assert_array_equal(found, expected(x, ct, op))
