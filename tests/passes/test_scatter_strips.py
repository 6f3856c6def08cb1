"""Scatters take neighbours in strips: whatever the axes divide by, and however little scratch there is."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.prims import scatter_add
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, I32, TensorType
from symc.passes.loop.nests import copy


@pytest.mark.parametrize("scratch", [1 << 24, 128])
@pytest.mark.parametrize(
    ("base", "positions", "axis"),
    [((9, 26), (4, 3), 0), ((9, 29), (40,), 0), ((9,), (20,), 0), ((2, 5, 17), (7,), 1), ((3, 9), (5,), 1)],
)
def test_strips_add_what_falls_on_them(
    base: tuple[int, ...], positions: tuple[int, ...], axis: int, scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "SCRATCH", scratch)
    updates = (*base[:axis], *positions, *base[axis + 1 :])
    graph = graph_of(
        lambda x, i, u: [scatter_add(x, i, u, axis)],
        x=TensorType(F32, base), i=TensorType(I32, positions), u=TensorType(F32, updates),
    )  # fmt: skip
    arrays = arrays_for(graph, kind="int")
    np.testing.assert_array_equal(
        run_native(to_program(graph), arrays)["out0"], evaluate(graph, arrays).outputs["out0"]
    )
