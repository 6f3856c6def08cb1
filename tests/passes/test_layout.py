"""layout: a concat of many pieces is made in two steps by kernels of bounded length, large products read their left
operand row by row, and all stay the same values."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.prims import concat, dot, tanh
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Concat, Transpose
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


@pytest.mark.parametrize(
    ("left", "columns", "form", "turned"),
    [
        ((300, 70), 1030, {"ta": True}, True),
        ((300, 70), 1030, {"ta": True, "tb": True}, True),
        ((70, 300), 1030, {}, False),
        ((300, 70), 40, {"ta": True}, False),
        ((300, 8), 1030, {"ta": True}, False),
    ],
)
def test_left_operands_of_large_products_are_turned(
    left: tuple[int, int], columns: int, form: dict[str, bool], turned: bool
) -> None:
    """Where many columns read them term by term, and only there: whole numbers stay the same."""
    terms = left[0] if form.get("ta") else left[1]
    right = (columns, terms) if form.get("tb") else (terms, columns)
    graph = graph_of(lambda x, w: dot(x, w, **form), x=TensorType(F32, left), w=TensorType(F32, right))
    program = to_program(graph)
    found = [n.op for s in program.steps if isinstance(s, KernelStep) for n in s.body.nodes()]
    assert any(isinstance(op, Transpose) for op in found) == turned
    assert not turned or not any(isinstance(op, Dot) and op.ta for op in found)
    arrays = arrays_for(graph, kind="int")
    np.testing.assert_array_equal(run_native(program, arrays)["out0"], evaluate(graph, arrays).outputs["out0"])
