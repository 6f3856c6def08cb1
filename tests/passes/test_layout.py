"""layout: a concat of many pieces is made in two steps by kernels of bounded length, and stays the same values."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.prims import concat, tanh
from symc.ir.prims.movement import Concat
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType


@pytest.mark.parametrize("axis", [0, 1])
def test_many_pieces_are_joined_in_two_steps(axis: int) -> None:
    """Along the first axis pieces are runs of memory: their kernels have one loop each."""
    types = {f"x{i}": TensorType(F32, ((1 + i % 3, 3, 2) if axis == 0 else (3, 1 + i % 3, 2))) for i in range(130)}
    graph = graph_of(lambda **xs: tanh(concat(list(xs.values()), axis)), **types)
    program = to_program(graph)
    joins = [
        node
        for step in program.steps
        if isinstance(step, KernelStep)
        for node in step.body.nodes()
        if isinstance(node.op, Concat)
    ]
    assert sorted(len(node.inputs) for node in joins) == [10, 11, *[12] * 10]
    assert {node.rank for node in joins} == {1 if axis == 0 else 3}
    arrays = arrays_for(graph)
    np.testing.assert_allclose(
        run_native(program, arrays)["out0"], evaluate(graph, arrays).outputs["out0"], rtol=1e-6, atol=1e-7
    )
