"""Every loop nest stores as its primitive says, before and after its loops are scheduled. Protects what the memory plan
builds on: a result is written over an operand where each element is stored once, after the operand is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ir"))
from primitive_samples import SAMPLES, Sample

from symc.ir.loop.interp import run_kernel
from symc.ir.loop.nodes import For, If, LoopKernel, Stmt, Store
from symc.ir.loop.verify import verify_kernel
from symc.ir.modules import LoopModule
from symc.ir.op import PRIMITIVES, Node, Ref
from symc.ir.prims import add, window_max_grad
from symc.ir.program.form import Form
from symc.ir.program.nodes import Program, operand_node
from symc.ir.tensor.graph import Graph, Output, topological
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import F32, Array, TensorType
from symc.passes.loop.body import lower_body
from symc.passes.loop.nests import NESTS
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager

#: nests by sample: a few primitives are made of several
FOUND = [
    (f"{sample}-{number}", sample, node)
    for sample in SAMPLES
    for number, node in enumerate(n for n in topological(sample.nodes()[1]) if n.op.nest)
]
#: windows of maxima: what overlaps, what leaves gaps and ends, and planes without a window
WINDOWS = [
    ((2, 9, 7), (2, 2), (3, 3)), ((2, 8, 8), (2, 2), (3, 2)), ((1, 7, 11), (1, 3), (2, 5)), ((2, 9), (2,), (4,)),
    ((1, 5, 6, 7), (1, 2, 2), (2, 3, 2)), ((2, 6, 6), (2, 2), (2, 2)), ((2, 7, 7), (3, 3), (2, 2)),
    ((1, 23, 5), (17, 1), (19, 1)), ((2, 3, 3), (4, 2), (5, 3)),
]  # fmt: skip


def kernels(nest: Node, epilogue: bool) -> list[LoopKernel]:
    """The nest alone, or with an operand added to its result: plain, and scheduled for two kinds of vectors."""
    inputs = [operand_node(at, i.tensor) for at, i in enumerate(nest.inputs)]
    node = Node.make(nest.op, inputs)
    element = tuple(range(node.rank))
    form = Form("nest", node.shape, (), (None,) * len(inputs), (element,), nest.op.nest)
    if epilogue:
        inputs.append(operand_node(len(inputs), node.tensor))
        node = add(node, inputs[-1])
        form = replace(form, operands=(*form.operands, element))
    plain = lower_body(Graph("body", tuple(inputs), (Output("out", node),)), form, "k")
    module = LoopModule(Program("p", (), (), ()), (plain,), ())
    chosen = [Choose(vector_bytes=16, registers=16), Choose(vector_bytes=64, registers=32)]
    return [plain, *(Manager(verify=False).run([choose, Tile()], module).kernels[0] for choose in chosen)]


def operands(sample: Sample, nest: Node) -> list[Array]:
    inputs, _ = sample.nodes()
    found = evaluate_nodes(list(dict.fromkeys(nest.inputs)), dict(zip(inputs, sample.arrays)))
    return [np.ascontiguousarray(found[i]).reshape(i.shape) for i in nest.inputs]


def counting(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """The same loops, which count what they store to `out`."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, (For, If)):
            stmt = replace(stmt, body=counting(stmt.body))
        elif isinstance(stmt, Store) and stmt.buffer == "out":
            assert not stmt.add
            stmt = replace(stmt, value=Ref("", stmt.value.dtype, 1), add=True)
        made.append(stmt)
    return tuple(made)


def test_the_table_of_nests_is_what_the_primitives_say() -> None:
    assert set(NESTS) == {cls for cls in PRIMITIVES.values() if cls.nest}
    assert {type(node.op) for _, _, node in FOUND} == set(NESTS)


@pytest.mark.parametrize("sample, nest", [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_a_nest_stores_as_often_as_it_says(sample: Sample, nest: Node) -> None:
    stores(nest, operands(sample, nest))


@pytest.mark.parametrize("sample, nest", [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_what_is_added_to_a_nest_may_lie_where_its_result_does(sample: Sample, nest: Node) -> None:
    if nest.op.nest == "once" and nest.dtype.kind != "b":
        in_place(nest, operands(sample, nest))


@pytest.mark.parametrize("shape, size, stride", WINDOWS)
def test_windows_that_leave_gaps_store_once(
    shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    x = operand_node(0, TensorType(F32, shape))
    lead, spatial = shape[: len(shape) - len(size)], shape[len(shape) - len(size) :]
    places = tuple(max(0, (n - k) // s + 1) for n, k, s in zip(spatial, size, stride))
    ct = operand_node(1, TensorType(F32, (*lead, *places)))
    nest = window_max_grad(x, ct, size, stride)
    arrays = [rng.normal(size=n.shape).astype(np.float32) for n in (x, ct)]
    stores(nest, arrays)
    in_place(nest, arrays)


def stores(nest: Node, arrays: list[Array]) -> None:
    """Counts the stores of every element."""
    for kernel in kernels(nest, epilogue=False):
        count = np.zeros(nest.shape, nest.dtype.numpy)
        run_kernel(replace(kernel, body=counting(kernel.body)), [*arrays, count], serial=True)
        wanted = (1,) if nest.op.nest == "once" else (1, 2)
        assert np.isin(count, wanted).all(), f"stores {np.unique(count)} times, not {nest.op.nest}"


def in_place(nest: Node, arrays: list[Array]) -> None:
    """Runs with the epilogue's operand in the result's memory, turn by turn; the verifier proves that it may."""
    extra = np.random.default_rng(2).integers(-9, 9, nest.shape).astype(nest.dtype.numpy)
    for kernel in kernels(nest, epilogue=True):
        apart, over = np.empty_like(extra), extra.copy()
        run_kernel(kernel, [*arrays, extra, apart], serial=True)
        run_kernel(kernel, [*arrays, over, over], serial=True)
        np.testing.assert_array_equal(over, apart)
        *ins, out = kernel.buffers
        verify_kernel(replace(kernel, buffers=(*ins, replace(out, alias=(ins[-1].name,)))), origins=False)
