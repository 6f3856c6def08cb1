"""Protects whole nets with their gradients: random ones over all operators give the same values interpreted and
compiled, with and without every optional pass.

Every operator of tests/operator_cases.py becomes a node of nets: an operator's inputs are
variables, moved a little by what earlier nodes give. On whole numbers (`exact`) operators that keep numbers whole read
earlier nodes directly, and every bit must agree; other numbers must agree as the passes promise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compiling import SUBSETS, VERIFY, program_passes, run_native
from operating import symbol_of
from operator_cases import OTHERS, TABLE, Array, Case

import symc as mx
from symc.ir.op import parameter
from symc.ir.prims.elementwise import Const
from symc.ir.program.interp import run_program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate, values_of
from symc.ir.types import F32, F64, DType, TensorType, dtype_of
from symc.ops.base import OPERATORS, Shapes
from symc.passes.manager.manager import Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.typed import module_of

#: attributes of the table that keep no number whole, and what they are on whole numbers
WHOLE = {"scalar": 2.0, "alpha": 2.0, "beta": 3.0, "value": 2.0, "a_min": -2.0, "a_max": 3.0}

#: operators that compute in single precision whatever their data
SINGLE = ("multi_sum_sq",)


class Net:
    """A Symbol that grows node by node, and arrays for its variables."""

    def __init__(self, seed: int, exact: bool, dtype: DType) -> None:
        self.rng, self.exact, self.dtype = np.random.default_rng(seed), exact, dtype
        self.arrays: dict[str, Array] = {}
        self.wrt: list[str] = []
        self.rows: dict[str, int] = {}
        self.pool: list[tuple[Any, tuple[int, ...]]] = []
        self.read: set[int] = set()
        self.count = 0

    def variable(self, array: Array, wanted: bool) -> Any:
        name = f"x{len(self.arrays)}"
        self.arrays[name] = array.astype(self.dtype.numpy) if array.dtype.kind == "f" else array
        if wanted:
            self.wrt.append(name)
        return mx.sym.Variable(name, shape=array.shape, dtype=self.arrays[name].dtype)

    def earlier(self, shape: tuple[int, ...]) -> Any:
        """One of the last values, brought into a shape."""
        at = len(self.pool) - 1 - int(self.rng.integers(min(3, len(self.pool))))
        self.read.add(at)
        symbol, had = self.pool[at]
        size, needed = math.prod(had), math.prod(shape)
        flat = mx.sym.Reshape(symbol, shape=(-1,))
        if size < needed:
            flat = mx.sym.tile(flat, reps=(-(-needed // size),))
        if size != needed:
            flat = mx.sym.slice_axis(flat, axis=0, begin=0, end=needed)
        return mx.sym.Reshape(flat, shape=shape)

    def input(self, case: Case, at: int) -> Any:
        array = case.arrays[at]
        if at not in case.wrt():
            return self.variable(array, False)
        if self.exact:
            array = self.rng.integers(-4, 5, array.shape).astype(self.dtype.numpy)
        made = self.variable(array, True)
        if not self.pool or case.symmetric or self.rng.random() < 0.2:
            return made
        if not self.exact:
            return made + 0.01 * mx.sym.tanh(self.earlier(array.shape))
        found = mx.sym.clip(self.earlier(array.shape), a_min=-4, a_max=4)
        return found if self.rng.random() < 0.6 else found + made

    def add(self, case: Case) -> None:
        """A node, and its float outputs as values for later ones."""
        cls, name = OPERATORS[case.op], f"n{self.count}"
        self.count += 1
        attrs = {k: WHOLE.get(k, v) if self.exact else v for k, v in case.attrs.items()}
        inputs = [self.input(case, i) for i in range(len(case.arrays))]
        if cls.gradient == "none":
            inputs = [mx.sym.BlockGrad(x) if i in case.wrt() else x for i, x in enumerate(inputs)]
        symbol = symbol_of(case.op, inputs, attrs, name)
        op = symbol.graph.outputs[0][0].definition
        shapes = Shapes([a.shape for a in case.arrays], [None] * len(op.list_outputs()))
        op.complete(shapes)
        if cls.row_chooser is not None:
            self.rows[name] = op.count_rows(case.arrays[cls.row_chooser])
            shapes.outs[0] = (self.rows[name], *case.arrays[0].shape[1:])
        for at in range(op.num_visible_outputs()):
            out = mx.sym.Cast(symbol[at], dtype=self.dtype.numpy.name)
            if case.through is None or at in case.through:
                self.pool.append((out, shapes.outs[at]))

    def graph(self) -> Graph:
        """The net and its gradients as a program over primitives; values that nothing reads are its outputs."""
        symbol = mx.sym.Group([s for at, (s, _) in enumerate(self.pool) if at not in self.read])
        used = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
        types = {n: TensorType(dtype_of(a.dtype), a.shape) for n, a in self.arrays.items() if n in used}
        module = module_of(symbol, types, rows=self.rows)
        wrt = tuple(n for n in self.wrt if n in used)
        gradients = [Autodiff(wrt=wrt)] if wrt else []
        made: Graph = Manager(verify=VERIFY).run([Decompose(train=True), *gradients, Inline()], module)
        return made

    def values(self, graph: Graph) -> dict[str, Array]:
        """Arrays for all inputs of the graph."""
        made: dict[str, Array] = {}
        for node in graph.inputs:
            name, role, numpy = node.op.input_name, parameter(node).role, node.dtype.numpy
            if role == "key":
                made[name] = np.array([3, 5], np.uint32)
            elif role == "head":
                drawn = self.rng.integers(-2, 3, node.shape) if self.exact else self.rng.uniform(0.5, 1.5, node.shape)
                made[name] = drawn.astype(numpy)
            else:
                made[name] = self.arrays[name]
        return made


def stays_whole(graph: Graph, arrays: dict[str, Array]) -> bool:
    """All values are whole numbers, so small that no sum of products rounds in whatever order it is taken."""
    limit = 2**9 if any(n.dtype == F32 for n in graph.inputs) else 2**22
    nodes = [n for n in graph.nodes() if not isinstance(n.op, Const)]
    try:
        values = values_of(graph, arrays, nodes).values()
    except np.linalg.LinAlgError:
        return False
    floats = [v for found in values for v in (found if isinstance(found, tuple) else [found]) if v.dtype.kind == "f"]
    return all((np.abs(v) <= limit).all() and (v == np.rint(v)).all() for v in floats)


@functools.cache
def exact_cases() -> list[Case]:
    """The cases that keep whole numbers whole, with their gradients."""
    found = []
    for at, case in enumerate([*TABLE, *OTHERS]):
        net = Net(at, True, F64)
        net.add(case)
        graph = net.graph()
        if stays_whole(graph, net.values(graph)):
            found.append(case)
    return found


def check(net: Net, switches: Sequence[str], tolerance: float, compiled: bool = True) -> bool:
    """Interpreted after every pass that keeps the level, as a planned program, and compiled, the net gives the same:
    every bit after a pass that promises it and on whole numbers, else up to `tolerance` of the largest value. False
    if whole numbers did not stay whole."""
    graph = net.graph()
    arrays = net.values(graph)
    if net.exact and not stays_whole(graph, arrays):
        return False
    want = evaluate(graph, arrays).outputs

    def compare(got: dict[str, Array], expected: dict[str, Array], where: str, bits: bool) -> None:
        for name, value in expected.items():
            size = max(1.0, float(np.abs(value.astype(np.float64)).max(initial=0.0)))
            margin = 0.0 if bits or net.exact else tolerance * size
            np.testing.assert_allclose(got[name], value, rtol=0, atol=margin, err_msg=f"{where}: {name}")

    manager, module, last = Manager(verify=VERIFY), graph, want
    for pass_ in program_passes(switches):
        module = manager.step(pass_, module)
        if isinstance(module, Graph):
            before, last = last, evaluate(module, arrays).outputs
            compare(last, before, pass_.name, pass_.numerics == "exact")
    compare(run_program(module, arrays).outputs, want, "program", False)
    if compiled:
        compare(run_native(module, arrays, tiled="tile" in switches, verify=VERIFY), want, "native", False)
    return True


def widened(case: Case) -> Case:
    """The case with rows that fill vectors, where the operator does not care."""
    small = all(a.shape in ((2, 3), (1, 3)) for a in case.arrays)
    if not small or case.op in ("SliceChannel", "_linalg_maketrian", "_linalg_gelqf", "_linalg_gemm2"):
        return case
    return replace(case, arrays=tuple(np.resize(a, (5 if len(a) > 1 else 1, 37)) for a in case.arrays))


def groups(cases: Sequence[Case], size: int, seed: int) -> list[list[Case]]:
    """One case of every operator, in random order, `size` to a net."""
    rng = np.random.default_rng(seed)
    by_name: dict[str, list[Case]] = {}
    for case in cases:
        by_name.setdefault(case.op, []).append(case)
    chosen = [found[int(rng.integers(len(found)))] for found in by_name.values()]
    chosen = [widened(case) if rng.random() < 0.5 else case for case in chosen]
    order = rng.permutation(len(chosen))
    return [[chosen[i] for i in order[at : at + size]] for at in range(0, len(chosen), size)]


def test_many_operators_keep_whole_numbers_whole() -> None:
    assert len({case.op for case in exact_cases()}) >= 150


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_whole_numbers_agree_bit_for_bit(dtype: DType) -> None:
    kept = total = 0
    for at, cases in enumerate(groups(exact_cases(), 4, seed=1 if dtype == F32 else 2)):
        net = Net(at, True, dtype)
        for case in cases:
            net.add(case)
        total += 1
        kept += check(net, SUBSETS[(7 * at) % len(SUBSETS)], 0.0, compiled=at % (2 if dtype == F32 else 4) == 0)
    assert kept >= 0.6 * total


@pytest.mark.parametrize("seed", range(4))
def test_nets_agree_within_rounding(seed: int) -> None:
    for at, cases in list(enumerate(groups([*TABLE, *OTHERS], 4, seed=3)))[seed::4]:
        net = Net(at, False, F64)
        for case in cases:
            net.add(case)
        tolerance = 1e-4 if any(case.op in SINGLE for case in cases) else 1e-10
        check(net, SUBSETS[(5 * at) % len(SUBSETS)], tolerance, compiled=at % 5 == 0)
