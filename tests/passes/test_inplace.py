"""Results written over operands: what the plan lets share memory is right natively. Protects from kernels that still
read what they have overwritten."""

from __future__ import annotations

import pytest
from compiling import arrays_for, assert_close, graph_of, run_native, to_program

from symc.ir.errors import VerifyError
from symc.ir.loop.nodes import Buffer
from symc.ir.op import Index
from symc.ir.prims import (
    broadcast,
    dot,
    exp,
    mul,
    reduce_max,
    reduce_sum,
    reshape,
    tanh,
    transpose,
    window_max_grad,
)
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import KernelStep, Program
from symc.ir.tensor.graph import Node
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.loop.body import _Rows
from symc.passes.loop.lower import Lower
from symc.passes.manager.manager import Manager


def f(*shape: int) -> TensorType:
    return TensorType(F32, shape)


def overwritten(program: Program) -> dict[str, str]:
    """What every result in place overwrites, by the kernel's label."""
    steps = [step for step in program.steps if isinstance(step, KernelStep)]
    return {step.label: r.inplace for step in steps for r in step.results if r.inplace}


def checked(function, **types: TensorType) -> Program:
    """The program of a function, which the interpreter and the machine run right."""
    graph = graph_of(function, **types)
    program = to_program(graph)
    arrays = arrays_for(graph)
    native, read = run_native(program, arrays), run_program(program, arrays).outputs
    for name, value in evaluate(graph, arrays, "f64").outputs.items():
        assert_close(native[name], value)
        assert_close(read[name], value)
    return program


def row_result(x, z, w):
    """The sum of a row lies where a factor of the whole row did, which the row's elements are read with."""
    factor = reduce_sum(z, (1,))
    shifted = x + broadcast(factor, x.shape, (0,))
    total = reduce_sum(mul(x, x), (1,))
    return [dot(shifted, w), dot(reshape(total, (1, *total.shape)), x)]


def test_a_rows_result_may_overwrite_what_its_elements_are_read_with() -> None:
    program = checked(row_result, x=f(16, 9), z=f(16, 7), w=f(9, 4))
    assert overwritten(program) == {"add_sum": "net.sum"}


def softmax(x, w):
    """The elements of a row lie where those it is computed from did, which three passes over the row read."""
    y = dot(x, w)
    e = exp(y - broadcast(reduce_max(y, (1,)), y.shape, (0,)))
    return dot(e / broadcast(reduce_sum(e, (1,)), e.shape, (0,)), w)


def test_elements_of_rows_overwrite_what_they_are_computed_from() -> None:
    assert overwritten(checked(softmax, x=f(6, 8), w=f(8, 8))) == {"max_exp_sum_div": "net.dot"}


def test_a_transpose_overwrites_nothing() -> None:
    program = checked(lambda x, w: dot(tanh(transpose(dot(x, w), (1, 0))), w), x=f(8, 8), w=f(8, 8))
    assert not overwritten(program)


def test_pooling_behind_a_gate_writes_over_the_gate() -> None:
    """Its places are stored over the gate, which the epilogue reads: each of them once."""

    def net(x, ct, gate, w):
        gate = dot(gate, w)
        return dot(mul(gate, window_max_grad(x, ct, (2,), (3,))), w)

    program = checked(net, x=f(4, 8), ct=f(4, 3), gate=f(4, 8), w=f(8, 8))
    assert overwritten(program) == {"window_max_grad_mul": "net.dot"}


# --------------------------------------------------------------------------------------------- slips of passes


def test_a_plan_that_overwrites_what_is_read_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelStep, "overwritable", lambda step, result: list(range(len(step.operands))))
    graph = graph_of(lambda x, w: dot(tanh(transpose(dot(x, w), (1, 0))), w), x=f(8, 8), w=f(8, 8))
    with pytest.raises(VerifyError, match=r"(?s)P8: step \d+: %net\.\w+ inplace\(%net\.\w+\): .*plan_memory"):
        to_program(graph)


def test_loops_that_store_a_rows_value_too_early_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    last = _Rows._start

    def early(rows: _Rows, stage: int, outside: Index, holders: dict[Node, Buffer]) -> None:
        if stage == len(rows.stages):
            kernel = rows.kernel
            kernel.put_all(rows.singles, [kernel.value(node, outside) for _, node in rows.singles], outside)
        last(rows, stage, outside, holders)

    program = to_program(graph_of(row_result, x=f(16, 9), z=f(16, 7), w=f(9, 4)))
    Manager(verify=True).run([Lower()], program)
    monkeypatch.setattr(_Rows, "_start", early)
    with pytest.raises(VerifyError, match=r"(?s)L12: kernel @k1.add_sum: load of .* may come after store .*lower"):
        Manager(verify=True).run([Lower()], program)
