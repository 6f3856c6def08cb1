"""lower: equal kernels are lowered once, also where steps read different slices; protects the operands' shifts."""

from __future__ import annotations

import numpy as np
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.loop.interp import run_loop_module
from symc.ir.parse import parse
from symc.ir.prims import dot, slice_, tanh
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.manager.manager import Manager


def unrolled(x, w):
    """Three steps that each take a row block of x, in the middle axis."""
    h, outs = None, []
    for t in range(3):
        part = slice_(x, (0, 2 * t, 0), (4, 2 * t + 2, 5))
        y = tanh(dot(tanh(part), w))
        h = y if h is None else h + y
        outs.append(y)
    return [h, *outs]


def lowered():
    graph = graph_of(unrolled, x=TensorType(F32, (4, 6, 5)), w=TensorType(F32, (4, 5, 3)))
    program = to_program(graph)
    return graph, program, Manager().run([Lower()], program)


def test_slices_of_one_operand_share_a_kernel() -> None:
    _, program, module = lowered()
    assert len(module.kernels) < len([c for c in module.calls if c is not None])
    moved = {shift for shifts in module.shifts for shift in shifts if shift}
    assert moved == {10, 20}  # two and four rows of five


def test_shifts_are_text_and_meaning() -> None:
    graph, program, module = lowered()
    text = print_module(module)
    assert "%x + 10" in text
    assert print_module(parse(text)) == text
    arrays = arrays_for(graph)
    want = evaluate(graph, arrays, "f64").outputs
    looped = run_loop_module(module, arrays).outputs
    native = run_native(program, arrays)
    for name, value in want.items():
        np.testing.assert_allclose(looped[name], value, atol=1e-5)
        np.testing.assert_allclose(native[name], value, atol=1e-5)
