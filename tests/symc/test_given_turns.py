"""Kernels over another outermost extent are the same machine code, with the same bits: protects what new batch sizes,
numbers of rows and sizes of flat tensors cost, and that the turns a kernel is told are the right ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compiling import arrays_for, graph_of, to_executable, to_program

from symc.codegen.target import host_target
from symc.compile import Executable, emit
from symc.ir.errors import VerifyError
from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import For, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.parse import parse
from symc.ir.prims import add, const, conv, dot, exp, mul, reduce_sum, relu, sub, tanh
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.ir.types import F16, F32, F64, I32, DType, TensorType
from symc.ir.verify import verify
from symc.runtime.table import num_threads, set_num_threads

Function = Callable[..., Node]


def compiled(function: Function, **shapes: tuple[int, ...]) -> Executable:
    return to_executable(to_program(graph_of(function, **{n: TensorType(F32, s) for n, s in shapes.items()})))


def codes(executable: Executable) -> set[str]:
    return {kernel.key for kernel in executable.kernels}


def chain(a: Node, b: Node) -> Node:
    return sub(mul(exp(a), b), tanh(add(a, b)))


def layer(x: Node, w: Node) -> Node:
    return relu(conv(x, w, (1, 1), (1, 1), 1))


SHARED: dict[str, tuple[Function, Callable[[int], dict[str, tuple[int, ...]]], tuple[int, ...]]] = {
    "flat": (chain, lambda n: {"a": (n,), "b": (n,)}, (2, 7, 64, 65, 1000, 4099)),
    "tensors": (chain, lambda n: {"a": (n, 3, 5), "b": (n, 3, 5)}, (1, 2, 7, 64, 65, 301)),
    "rows": (lambda x: exp(reduce_sum(x, (1,))), lambda n: {"x": (n, 40)}, (2, 3, 17, 64)),
    "a batch of images": (layer, lambda n: {"x": (n, 8, 30, 30), "w": (16, 8, 3, 3)}, (4, 5, 8, 31)),
    "sums over a batch": (lambda x: reduce_sum(x, (0,)), lambda n: {"x": (n, 70)}, (48, 49, 71, 72, 96, 500)),
    "short sums": (lambda x: reduce_sum(x, (0,)), lambda n: {"x": (n, 70)}, (5, 24, 47)),
    "means": (lambda x: mul(reduce_sum(x, (0,)), const(1.0 / x.shape[0], F32)), lambda n: {"x": (n, 70)}, (48, 500)),
    "gradients of weights": (
        lambda x, y: dot(y, x, True, False), lambda n: {"x": (n, 96), "y": (n, 64)}, (48, 64, 100),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_other_extents_are_the_same_code_and_right(name: str) -> None:
    function, shapes, extents = SHARED[name]
    first = None
    for extent in extents:
        executable = compiled(function, **shapes(extent))
        first = first or codes(executable)
        assert codes(executable) == first, extent
        graph = graph_of(function, **{n: TensorType(F32, s) for n, s in shapes(extent).items()})
        arrays = arrays_for(graph)
        want = evaluate(graph, arrays).outputs["out0"]
        got = executable(**arrays)["out0"]
        np.testing.assert_allclose(got, want, 1e-4, 1e-4 * np.abs(want).max())


@pytest.mark.parametrize("dtype", [F16, F32, F64, I32])
def test_every_turn_of_a_flat_kernel_gives_the_same_bits(dtype: DType) -> None:
    """In whole chunks, in single vectors and one by one: a long run's answers are those of all short ones."""

    def function(a: Node, b: Node) -> Node:
        return mul(add(a, b), b) if dtype == I32 else chain(a, b)

    longest = 4 * 16 * 3 + 5
    graph = graph_of(function, a=TensorType(dtype, (longest,)), b=TensorType(dtype, (longest,)))
    arrays = arrays_for(graph)
    whole = to_executable(to_program(graph))(**arrays)["out0"]
    for count in (1, 3, 15, 16, 17, 31, 63, 64, 65, 127, 130, longest):
        part = graph_of(function, a=TensorType(dtype, (count,)), b=TensorType(dtype, (count,)))
        got = to_executable(to_program(part))(**{n: a[:count].copy() for n, a in arrays.items()})["out0"]
        assert got.tobytes() == whole[:count].tobytes(), count


def test_threads_share_given_turns_with_the_same_bits() -> None:
    executable = compiled(chain, a=(300_007,), b=(300_007,))
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal(300_007).astype(np.float32) for n in "ab"}
    before = num_threads()
    found = set()
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            found.add(executable(**arrays)["out0"].tobytes())
    finally:
        set_num_threads(before)
    assert len(found) == 1


TEXT = """symc ir 1 level=loop
kernel @k0.f(%x: in f32[50,4], %y: out f32[4], %z: out f32[50,4]) scheduled {
  for %j in 0..4 {parallel} !1 {
    %s: f32 = for %i in 0..48 carry(%c: f32 = 0.0 combine=add) {serial, given} !1 {
      %a: f32 = load %x[%i, %j] !1
      %n: f32 = add(%c, %a) !1
      yield %n
    }
    %r: f32 = for %i in 48..END carry(%d: f32 = %s combine=add) {serial, given} !1 {
      %b: f32 = load %x[%i, %j] !1
      %m: f32 = add(%d, %b) !1
      yield %m
    }
    store %r, %y[%j] !1
  }
  for %k in 0..50 {HINT} !1 {
    for %l in 0..4 {vector=4} !1 {
      %e: f32 = load %x[INDEX, %l] !1
      store %e, %z[%k, %l] !1
    }
  }
} !1
func @f(%x: f32[50,4] data) -> (y: f32[4] result, z: f32[50,4] result) {
  (%y: f32[4] @out.0, %z: f32[50,4] @out.1) = call nest[50,4] @k0.f "f"(%x: whole) !1
  return %y, %z
}
!1 = sym "s" S
"""


def module(end: int = 50, hint: str = "parallel, given", index: str = "%k") -> LoopModule:
    made = parse(TEXT.replace("END", str(end)).replace("HINT", hint).replace("INDEX", index))
    assert isinstance(made, LoopModule)
    return made


@pytest.mark.parametrize("end", [48, 49, 50])
def test_text_says_which_turns_are_given_and_all_levels_run_it(end: int) -> None:
    made = module(end)
    verify(made)
    assert print_module(parse(print_module(made))) == print_module(made)
    assert sum(isinstance(s, For) and s.given for s in walk(made.kernels[0].body)) == 3
    x = np.random.default_rng(0).integers(-9, 9, (50, 4)).astype(np.float32)
    native = emit(made, host_target())
    assert native.kernels[0].key == emit(module(50), host_target()).kernels[0].key
    for found in (native(x=x), run_loop_module(made, {"x": x}).outputs):
        np.testing.assert_array_equal(found["y"], x[:end].sum(0))
        np.testing.assert_array_equal(found["z"], x)


def test_factors_are_given_with_the_turns() -> None:
    """Also two that are equal, and those that single precision rounds."""

    def function(x: Node, first: float, second: float) -> Node:
        return add(mul(x, const(first, F32)), mul(exp(x), const(second, F32)))

    found = set()
    x = np.linspace(-2, 2, 77, dtype=np.float32)
    for first, second in ((0.1, 3.0), (1 / 3, 1e30), (-7.0, 1e-45)):
        graph = graph_of(lambda x, a=first, b=second: function(x, a, b), x=TensorType(F32, (77,)))
        executable = to_executable(to_program(graph))
        found |= codes(executable)
        text = print_module(executable.loops)
        assert text.count(" given !") == 2 and parse(text).kernels == parse(print_module(parse(text))).kernels
        want = evaluate(graph, {"x": x}).outputs["out0"]
        np.testing.assert_allclose(executable(x=x)["out0"], want, 1e-5, 1e-5)
    assert len(found) == 1
    same = graph_of(lambda x: function(x, 0.1, 0.1), x=TensorType(F32, (77,)))
    executable = to_executable(to_program(same))
    np.testing.assert_allclose(executable(x=x)["out0"], evaluate(same, {"x": x}).outputs["out0"], 1e-5, 1e-5)


REFUSED = {
    "of lanes": dict(hint="jam, given"),
    "of a vector among others": dict(hint="vector=8, given"),
    "of what is divided": dict(index="2*floordiv(%k, 2)"),
    "of a remainder": dict(index="mod(%k, 7)"),
    "of what a guard tests": dict(index="%k", guard=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_turns_that_code_depends_on_cannot_be_given(name: str) -> None:
    options = dict(REFUSED[name])
    guard = options.pop("guard", False)
    text = print_module(module())
    made = module(**options)
    if guard:
        made = parse(text.replace("load %x[%k, %l]", "load %x[%k, %l] if 0 <= %k < 20 else 0.0"))
    with pytest.raises(VerifyError, match="L8"):
        verify(made)
