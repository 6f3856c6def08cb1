"""lower: equal kernels are lowered once, also where steps read different slices; protects the operands' shifts."""

from __future__ import annotations

import numpy as np
from compiling import arrays_for, graph_of, run_native, to_program

from symc.codegen.emit.description import fingerprint
from symc.codegen.target import host_target
from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import Alloc, walk
from symc.ir.parse import parse
from symc.ir.prims import broadcast, dot, reduce_max, reduce_sum, slice_, tanh
from symc.ir.prims import exp as power_of
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
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


def test_parameters_of_kernels_have_the_names_of_values() -> None:
    _, program, module = lowered()
    first = module.kernels[0]
    step = next(step for step, call in zip(program.steps, module.calls) if call == 0)
    assert isinstance(step, KernelStep)
    assert [b.name for b in first.buffers] == [*step.operands, *(r.name for r in step.results)]


def clashing(exp, panel, row, i):
    """Values that are called what loops and scratch memory are called."""
    shifted = panel - broadcast(reduce_max(panel, (1,)), panel.shape, (0,))
    powers = power_of(shifted)
    shares = powers / broadcast(reduce_sum(powers, (1,)), panel.shape, (0,))
    return [dot(exp, row), shares, dot(i, exp)]


def test_names_of_values_do_not_clash_with_those_of_loops_and_scratch() -> None:
    square = TensorType(F32, (96, 96))
    graph = graph_of(clashing, exp=square, panel=square, row=square, i=square)
    program = to_program(graph)
    module = Manager().run([Lower(), Choose(), Tile()], program)
    for kernel in module.kernels:
        scratch = [stmt.buffer.name for stmt in walk(kernel.body) if isinstance(stmt, Alloc)]
        assert not {b.name for b in kernel.buffers} & set(scratch)
    text = print_module(module)
    assert "alloc" in text and print_module(parse(text)) == text
    arrays = arrays_for(graph)
    want = evaluate(graph, arrays, "f64").outputs
    native = run_native(program, arrays)
    for name, value in want.items():
        np.testing.assert_allclose(native[name], value, rtol=2e-4, atol=1e-4)


def test_what_values_are_called_is_no_part_of_a_kernels_code() -> None:
    shape = TensorType(F32, (4, 6))
    found = []
    for name in ("x", "another name"):
        module = Manager().run(
            [Lower()], to_program(graph_of(lambda **values: tanh(*values.values()), **{name: shape}))
        )
        assert [b.name for b in module.kernels[0].buffers][0] == name
        found.append(fingerprint(module.kernels[0], host_target()))
    assert found[0] == found[1]
