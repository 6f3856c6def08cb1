"""Sums of operands that no cache holds are read row by row, and are as exact as all long sums."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.codegen.target import host_target
from symc.compile import emit
from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import Alloc, For, walk
from symc.ir.modules import LoopModule
from symc.ir.op import Node
from symc.ir.prims import add, broadcast, dot, maximum, reduce_sum, transpose
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, I32, DType, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling import streams
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager


def _held(made: LoopModule) -> list[str]:
    return [s.buffer.name for k in made.kernels for s in walk(k.body) if isinstance(s, Alloc)]


def _product(x: Node, w: Node, b: Node) -> list[Node]:
    made = dot(x, w)
    return [maximum(add(made, broadcast(b, made.shape, (1,))), 0)]


@pytest.fixture
def _small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RUN", 64)


@pytest.mark.usefixtures("_small_cache")
@pytest.mark.parametrize("dtype", [F32, F64, I32])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (400, 130), (1100, 37), (97, 256)])
def test_products_of_one_row(rows: int, columns: int, dtype: DType) -> None:
    """With blocks of blocks, rows and columns that are left over, and what follows the sum."""
    types = {"x": (1, rows), "w": (rows, columns), "b": (columns,)}
    graph = graph_of(_product, **{name: TensorType(dtype, shape) for name, shape in types.items()})
    arrays, program = arrays_for(graph, kind="int"), to_program(graph)
    made = Manager(verify=True).run([Lower(), Choose(vector_bytes=16, block=4, cache=1400), Tile()], program)
    assert any(name.startswith("sums") for name in _held(made))
    want = evaluate(graph, arrays).outputs["out0"]
    np.testing.assert_array_equal(run_loop_module(made, arrays).outputs["out0"], want)
    np.testing.assert_array_equal(emit(made, host_target())(**arrays)["out0"], want)


@pytest.mark.usefixtures("_small_cache")
def test_sums_of_columns_are_as_exact_as_sums_in_blocks() -> None:
    graph = graph_of(lambda x: [reduce_sum(x, (0,))], x=TensorType(F32, (20000, 64)))
    arrays, program = arrays_for(graph), to_program(graph)
    made = Manager(verify=True).run([Lower(), Choose(cache=1400), Tile()], program)
    assert len([name for name in _held(made) if name.startswith("sums")]) > 1
    exact = arrays["x"].astype(np.float64)
    bound = 8 * np.sqrt(24) * np.finfo(np.float32).eps * np.abs(exact).sum(0)
    assert np.all(np.abs(emit(made, host_target())(**arrays)["out0"] - exact.sum(0)) <= bound)


def test_what_a_cache_holds_or_several_rows_use_stays_in_registers() -> None:
    for rows, shape in ((1, (256, 256)), (4, (2048, 2048))):
        types = {"x": TensorType(F32, (rows, shape[0])), "w": TensorType(F32, shape)}
        graph = graph_of(lambda x, w: [dot(x, w)], **types)
        made = Manager(verify=True).run([Lower(), Choose(), Tile()], to_program(graph))
        assert not any(name.startswith("sums") for name in _held(made))


def test_what_comes_from_far_is_transposed_by_whole_lines() -> None:
    """Every line is read once where tiles take a line's turns; near operands have shorter code."""
    found = {}
    for rows in (64, 1000):
        graph = graph_of(lambda x: [transpose(x, (1, 0))], x=TensorType(F32, (rows, 515)))
        made = Manager(verify=True).run([Lower(), Choose(vector_bytes=64, registers=32), Tile()], to_program(graph))
        found[rows] = max(s.trips for s in walk(made.kernels[0].body) if isinstance(s, For) and s.kind == "jam")
        arrays = arrays_for(graph)
        np.testing.assert_array_equal(run_native(to_program(graph), arrays)["out0"], arrays["x"].T)
    assert found == {64: 4, 1000: 16}
