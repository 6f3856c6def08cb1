"""Contractions ask memory for the panel that comes next: protects their answers, and that only they do."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.target import named_target
from symc.ir.prims import conv, dot, pad, relu, tanh
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.cost import FAR
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager


def layer(x, w):
    around = (0, 0, w.shape[2] // 2, w.shape[3] // 2)
    return relu(conv(pad(x, around, around), w, (1, 1), (1, 1), 1))


def types(channels: int, filters: int, kernel: int, size: int = 7) -> dict[str, TensorType]:
    return dict(x=TensorType(F32, (1, channels, size, size)), w=TensorType(F32, (filters, channels, kernel, kernel)))


def texts(function, name: str, width: int, registers: int, **operands: TensorType) -> list[str]:
    """The LLVM IR of a graph's kernels."""
    passes = [Lower(), Choose(vector_bytes=width, registers=registers), Tile()]
    loops = Manager(verify=True).run(passes, to_program(graph_of(function, **operands)))
    return [emit_kernel(kernel, named_target(name)) for kernel in loops.kernels]


@pytest.mark.parametrize(("name", "width", "registers"), [("baseline", 16, 16), ("baseline", 64, 32)])
def test_large_weights_are_asked_for_and_small_ones_are_not(name: str, width: int, registers: int) -> None:
    large, small = types(256, 512, 3, 14), types(16, 48, 3)
    assert large["w"].nbytes >= FAR > small["w"].nbytes
    assert any("llvm.prefetch" in text for text in texts(layer, name, width, registers, **large))
    assert not any("llvm.prefetch" in text for text in texts(layer, name, width, registers, **small))
    wide = TensorType(F32, (1 << 20,))
    assert not any("llvm.prefetch" in text for text in texts(lambda x: tanh(x), name, width, registers, x=wide))


@pytest.mark.parametrize(("channels", "filters", "kernel"), [(300, 420, 1), (512, 600, 1), (64, 160, 3)])
def test_the_answers_are_exact(channels: int, filters: int, kernel: int) -> None:
    """Sums of small whole numbers: every bit must agree, whatever is asked for beyond the operands' ends."""
    graph = graph_of(layer, **types(channels, filters, kernel))
    arrays = arrays_for(graph, kind="int")
    got = run_native(to_program(graph), arrays)
    np.testing.assert_array_equal(got["out0"], evaluate(graph, arrays).outputs["out0"])


def test_strips_of_the_next_tile_are_asked_for() -> None:
    """Where a tile goes across the lines of a map, and not where it reads its operands in order."""
    across = types(256, 64, 1, 9)
    assert across["w"].nbytes < FAR
    assert any("llvm.prefetch" in text for text in texts(layer, "baseline", 32, 16, **across))
    rows = {"a": TensorType(F32, (128, 400)), "b": TensorType(F32, (64, 400))}
    assert not any("llvm.prefetch" in t for t in texts(lambda a, b: dot(a, b, tb=True), "baseline", 32, 16, **rows))
    graph = graph_of(layer, **across)
    arrays = arrays_for(graph, kind="int")
    got = run_native(to_program(graph), arrays)
    np.testing.assert_array_equal(got["out0"], evaluate(graph, arrays).outputs["out0"])
