"""Protects the interpreters below the tensor level: all levels of one program agree, bit for bit on small integers;
memory is shared for good, so a wrong plan gives wrong numbers; guards keep loads inside; loops run
as the machine runs them: in order where it does, many turns at once where it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from symc.ir.errors import IRError
from symc.ir.loop.interp import run_kernel, run_loop_module, run_loops
from symc.ir.loop.nodes import LoopKernel
from symc.ir.modules import LoopModule
from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import KernelStep, Place, Program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import Results, evaluate
from symc.ir.types import Array

FILES = sorted((Path(__file__).parent / "sir").glob("*.sir"))
GRAPH, PROGRAM, LOOPS = (parse(path.read_text()) for path in FILES[:3])
assert isinstance(GRAPH, Graph) and isinstance(PROGRAM, Program) and isinstance(LOOPS, LoopModule)


def inputs(exact: bool = False) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    assert isinstance(GRAPH, Graph)
    made: dict[str, Array] = {}
    for node in GRAPH.inputs:
        value = rng.integers(-4, 5, node.shape) if exact else rng.normal(size=node.shape)
        made[node.op.input_name] = np.asarray(value, node.dtype.numpy)  # type: ignore[attr-defined]
    made["steps"] = np.asarray(41, np.int32)
    return made


def same(a: Results, b: Results, tolerance: float = 2e-6) -> None:
    assert a.outputs.keys() == b.outputs.keys() and a.updates.keys() == b.updates.keys()
    for name, value in {**a.outputs, **a.updates}.items():
        other = {**b.outputs, **b.updates}[name]
        assert value.shape == other.shape and np.allclose(value, other, tolerance, tolerance), name


def test_every_level_gives_the_truth() -> None:
    given = inputs()
    truth = evaluate(GRAPH, given, "f64")  # type: ignore[arg-type]
    same(run_program(PROGRAM, given), truth)  # type: ignore[arg-type]
    same(run_loop_module(LOOPS, given), truth)
    same(run_loop_module(LOOPS, given, serial=True), truth)
    assert truth.updates["steps"] == 42


def test_the_program_in_double_precision_is_the_graph_in_double_precision() -> None:
    given = inputs()
    same(run_program(PROGRAM, given, "f64"), evaluate(GRAPH, given, "f64"), 1e-14)  # type: ignore[arg-type]


def test_schedules_change_rounding_only() -> None:
    given = inputs()
    same(run_loop_module(LOOPS, given), run_loop_module(LOOPS, given, serial=True), 1e-6)
    truth = evaluate(GRAPH, given, "f64")  # type: ignore[arg-type]
    for serial in (False, True):
        same(run_loop_module(LOOPS, given, serial, "f64"), truth, 1e-14)


def test_integers_are_exact_up_to_the_first_exp() -> None:
    given = inputs(exact=True)
    assert isinstance(LOOPS, LoopModule)
    x, w, b = given["data"], given["fc1_weight"], given["fc1_bias"]
    y = np.empty((4, 8), np.float32)
    run_kernel(LOOPS.kernels[0], [x, w, b, y])
    assert np.array_equal(y, np.maximum(x @ w.T + b, 0))
    z = np.empty((4, 3), np.float32)
    run_kernel(LOOPS.kernels[1], {"x": y, "w": given["fc2_weight"], "y": z})
    assert np.array_equal(z, y @ given["fc2_weight"].T)


def test_parameters_are_left_alone() -> None:
    given = inputs()
    before = {name: value.copy() for name, value in given.items()}
    run_program(PROGRAM, given)  # type: ignore[arg-type]
    run_loop_module(LOOPS, given)
    assert all(np.array_equal(before[name], value) for name, value in given.items())


def move(program: Program, name: str, offset: int) -> Program:
    """The program with a result at another arena offset."""
    steps = []
    for step in program.steps:
        if isinstance(step, KernelStep):
            results = [replace(r, place=Place("arena", offset)) if r.name == name else r for r in step.results]
            step = replace(step, results=tuple(results))
        steps.append(step)
    return replace(program, steps=tuple(steps))


def test_a_wrong_plan_gives_wrong_numbers() -> None:
    given = inputs()
    assert isinstance(PROGRAM, Program)
    right = run_program(PROGRAM, given)
    # over relu1, which its own product reads on and the backward half reads again
    wrong = run_program(move(PROGRAM, "fc2", 0), given)
    assert not np.allclose(right.outputs["softmax_output"], wrong.outputs["softmax_output"])
    assert not np.allclose(right.outputs["fc2_weight.grad"], wrong.outputs["fc2_weight.grad"])
    kernels = [None if c is None else LOOPS.kernels[c] for c in LOOPS.calls]  # type: ignore[union-attr]
    broken = run_loops(move(PROGRAM, "fc2", 0), kernels, given)
    assert not np.allclose(right.outputs["fc2_weight.grad"], broken.outputs["fc2_weight.grad"])


def test_unwritten_memory_reads_as_nan() -> None:
    text = """symc ir 1 level=loop
kernel @k(%x: in f32[4], %y: out f32[4]) {
  alloc %s: f32[4]
  for %i in 0..4 {parallel} {
    %a: f32 = load %s[%i]
    store %a, %y[%i]
  }
}
func @f() -> () {
  return
}
"""
    y = np.zeros(4, np.float32)
    run_kernel(kernel_of(text), [y.copy(), y])
    assert np.isnan(y).all()


def test_missing_and_ill_shaped_parameters_are_named() -> None:
    given = inputs()
    with pytest.raises(IRError, match="no value given for parameter 'data'"):
        run_program(PROGRAM, {k: v for k, v in given.items() if k != "data"})  # type: ignore[arg-type]
    with pytest.raises(IRError, match="parameter 'data' needs shape"):
        run_program(PROGRAM, {**given, "data": given["data"].T})  # type: ignore[arg-type]
    with pytest.raises(IRError, match="needs contiguous"):
        run_kernel(LOOPS.kernels[7], [np.zeros((4, 8)), np.zeros(8, np.float32)])  # type: ignore[union-attr]


# --------------------------------------------------------------------------------------------- single kernels


def kernel_of(text: str) -> LoopKernel:
    module = parse(text)
    assert isinstance(module, LoopModule)
    return module.kernels[0]


def one(params: str, body: str) -> LoopKernel:
    """A kernel by its parameters and body."""
    return kernel_of(f"symc ir 1 level=loop\nkernel @k({params}) {{\n{body}\n}}\nfunc @f() -> () {{ return }}\n")


def test_guards_keep_accesses_inside() -> None:
    params = "%x: in f32[5], %y: out f32[5]"
    body = """for %i in 0..7 {parallel} {
      %a: f32 = load %x[%i - 3] if 0 <= %i - 3 < 5 else -1.0
      store %a, %y[%i - 2] if 0 <= %i - 2 < 5
    }"""
    x = np.arange(5, dtype=np.float32) + 10
    for serial in (False, True):
        y = np.zeros(5, np.float32)
        run_kernel(one(params, body), [x, y], serial)
        assert y.tolist() == [-1, 10, 11, 12, 13]
    unguarded = body.replace(" if 0 <= %i - 3 < 5 else -1.0", "")
    for serial in (False, True):
        with pytest.raises(IRError, match=r"load %a: index 0 of %x: f32\[5\] is -3"):
            run_kernel(one(params, unguarded), [x, y], serial)


def test_accesses_under_a_false_condition_do_not_happen() -> None:
    body = """for %i in 0..6 {vector=4} {
      %n: i64 = index(%i)
      %on: i1 = lt(%n, 5)
      if %on {
        %a: f32 = load %x[%i]
        %k: i64 = cast(%a)
        %b: f32 = load %x[%k]
        %big: i1 = gt(%b, 1.5)
        if %big {
          store %b, %y[%i]
        }
      }
    }"""
    x = np.array([4, 3, 2, 1, 0], np.float32)
    expected = [0, 0, 2, 3, 4]
    for serial in (False, True):
        y = np.zeros(5, np.float32)
        run_kernel(one("%x: in f32[5], %y: out f32[5]", body), [x, y], serial)
        assert y.tolist() == expected


def test_adding_stores_follow_the_loops() -> None:
    body = """for %i in 0..6 {
      for %j in 0..3 {parallel} {
        %a: f32 = load %x[%i, %j]
        %f: f32 = load %x[%i, 0]
        %k: i64 = cast(%f)
        store add %a, %y[%k, %j]
      }
    }"""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (6, 3)).astype(np.float32)
    expected = np.zeros((4, 3), np.float32)
    for row in x:
        expected[int(row[0])] += row
    for serial in (False, True):
        y = np.zeros((4, 3), np.float32)
        run_kernel(one("%x: in f32[6,3], %y: inout f32[4,3]", body), [x, y], serial)
        assert np.array_equal(y, expected)


def test_scratch_is_private_to_a_turn() -> None:
    body = """for %i in 0..3 {parallel} {
      for %l in 0..2 {jam} {
        alloc %row: i32[4]
        for %j in 0..4 {vector=4} {
          %a: i32 = index(10*%i + 4*%l + %j)
          store %a, %row[%j]
        }
        %sum: i32 = for %j in 0..4 carry(%s: i32 = 0) {
          %a: i32 = load %row[%j]
          %t: i32 = add(%s, %a)
          yield %t
        }
        store %sum, %y[%i, %l]
      }
    }"""
    for serial in (False, True):
        y = np.zeros((3, 2), np.int32)
        run_kernel(one("%y: out i32[3,2]", body), [y], serial)
        assert np.array_equal(y, 40 * np.arange(3)[:, None] + 16 * np.arange(2) + 6)


def test_long_lockstep_loops_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import symc.ir.loop.interp as module

    monkeypatch.setattr(module, "LANES", 7)
    body = """for %i in 0..9 {parallel} {
      for %j in 0..10 {vector=4} {
        %a: i32 = index(floordiv(%i, 2) + mod(%j, 3))
        store %a, %y[%i, -%j + 9]
      }
    }"""
    y = np.zeros((9, 10), np.int32)
    run_kernel(one("%y: out i32[9,10]", body), [y])
    assert np.array_equal(y, np.arange(9)[:, None] // 2 + (9 - np.arange(10)) % 3)


def test_empty_loops_and_buffers() -> None:
    body = """%s: f32 = for %i in 0..0 carry(%c: f32 = 2.0) {
      %a: f32 = load %x[%i]
      yield %a
    }
    for %i in 0..0 {parallel} {
      store 1.0, %x[%i]
    }
    store %s, %y[]"""
    x, y = np.zeros(0, np.float32), np.zeros((), np.float32)
    for serial in (False, True):
        run_kernel(one("%x: inout f32[0], %y: out f32[]", body), [x, y], serial)
        assert y == 2


def ran(text: str, *arrays: Array, serial: bool = False, precision: str = "declared") -> None:
    run_kernel(one("%x: in f32[24], %y: inout f32[24]", text), list(arrays), serial, precision)


PREFIX = """%s: f32 = for %i in 0..24 carry(%c: f32 = 100.0 combine=add) {HINT} {
  %a: f32 = load %x[%i]
  %n: f32 = add(%c, %a)
  store %n, %y[%i]
  yield %n
}"""


def test_a_prefix_sum_in_lanes_gives_what_the_machine_would_give() -> None:
    x, y = np.arange(1, 25, dtype=np.float32), np.zeros(24, np.float32)
    ran(PREFIX.replace("HINT", "vector=4, unroll=2"), x, y)
    np.testing.assert_array_equal(y, np.cumsum(x.reshape(3, 8), 0).reshape(-1))  # every lane by itself, from 0
    ran(PREFIX.replace("HINT", "jam"), x, y)
    np.testing.assert_array_equal(y, x)
    for text, serial in (("vector=4, unroll=2", True), ("unroll", False), ("parallel", False)):
        ran(PREFIX.replace("HINT", text), x, y, serial=serial)
        np.testing.assert_array_equal(y, 100 + np.cumsum(x))


def test_turns_at_once_need_a_combination() -> None:
    x, y = np.ones(24, np.float32), np.zeros(24, np.float32)
    with pytest.raises(IRError, match="combines nothing"):
        ran(PREFIX.replace(" combine=add", "").replace("HINT", "vector=4"), x, y)


def test_turns_that_read_what_others_store() -> None:
    """y[i + 1] = y[i]: in order the first element spreads; in lockstep it moves by one a chunk."""
    text = "for %i in 0..23 {HINT} { %a: f32 = load %y[%i] store %a, %y[%i + 1] }"
    first = np.arange(24, dtype=np.float32)
    chunks = first.copy()
    for start in (0, 8, 16):  # each begins with what the one before has stored last
        piece = chunks[start : min(start + 8, 23)].copy()
        chunks[start + 1 : start + 1 + len(piece)] = piece
    moved = np.r_[0, first[:-1]]
    for hint, want in (("parallel", 0 * first), ("unroll", 0 * first), ("jam", moved), ("vector=8", chunks)):
        y = first.copy()
        ran(text.replace("HINT", hint), first, y)
        np.testing.assert_array_equal(y, want, hint)


def test_memory_that_operand_and_result_share_is_one_memory() -> None:
    """A kernel that turns its operand round in place runs wrong here as it does natively."""
    both = np.arange(24, dtype=np.float32)
    ran("for %i in 0..24 {parallel} { %a: f32 = load %x[23 - %i] store %a, %y[%i] }", both, both)
    want = np.arange(24, dtype=np.float32)
    for i in range(24):
        want[i] = want[23 - i]
    np.testing.assert_array_equal(both, want)


@pytest.mark.parametrize("combine", ["add", "mul", "maximum", "minimum"])
@pytest.mark.parametrize("hint", ["vector=4", "vector=8, unroll=2", "vector=4, unroll=3", "jam", "vector=32"])
def test_partial_results_of_every_combination(combine: str, hint: str) -> None:
    text = f"""for %j in 0..2 {{parallel}} {{
      %s: f32 = for %i in 0..11 carry(%c: f32 = 0.5 combine={combine}) {{{hint}}} {{
        %a: f32 = load %x[12*%j + %i]
        %n: f32 = {combine}(%c, %a)
        yield %n
      }}
      store %s, %y[%j]
    }}"""
    x = np.random.default_rng(0).normal(size=24).astype(np.float32)
    for precision, dtype, tolerance in (("declared", np.float32, 1e-6), ("f64", np.float64, 1e-15)):
        got, want = np.zeros(24, dtype), np.zeros(24, dtype)
        ran(text, x.astype(dtype), got, precision=precision)
        ran(text, x.astype(dtype), want, serial=True, precision=precision)
        np.testing.assert_allclose(got, want, tolerance)
