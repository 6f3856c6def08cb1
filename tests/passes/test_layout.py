"""layout: a concat of many pieces is made in two steps by kernels of bounded length, and stays the same values."""

from __future__ import annotations

import numpy as np
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.interp import evaluate
from symc.ir.prims import concat, tanh
from symc.ir.prims.movement import Concat
from symc.ir.program import KernelStep
from symc.ir.types import F32, TensorType


def test_many_pieces_are_joined_in_two_steps() -> None:
    types = {f"x{i}": TensorType(F32, (3, 1 + i % 3, 2)) for i in range(130)}
    graph = graph_of(lambda **xs: tanh(concat(list(xs.values()), 1)), **types)
    program = to_program(graph)
    joins = [
        node
        for step in program.steps
        if isinstance(step, KernelStep)
        for node in step.body.nodes()
        if isinstance(node.op, Concat)
    ]
    assert sorted(len(node.inputs) for node in joins) == [10, 11, *[12] * 10]
    arrays = arrays_for(graph)
    np.testing.assert_allclose(
        run_native(program, arrays)["out0"], evaluate(graph, arrays).outputs["out0"], rtol=1e-6, atol=1e-7
    )
