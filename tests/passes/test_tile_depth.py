"""Deep sums: parts whose panels stay in the cache add up to the whole sum, epilogue and all."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, to_program

from symc.ir.loop.interp import run_loop_module
from symc.ir.loop.nodes import Alloc, walk
from symc.ir.prims import broadcast, dot, maximum
from symc.ir.prims.linear import conv_dw, output_spatial
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, DType, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling import panels
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager


@pytest.mark.parametrize(
    ("left", "right", "form", "dtype"),
    [
        ((24, 140), (140, 130), {}, F32),
        ((140, 25), (140, 130), {"ta": True}, F32),
        ((70, 141), (130, 141), {"tb": True}, F32),
        ((25, 141), (141, 133), {}, F64),
        ((2, 24, 140), (2, 140, 129), {}, F32),
    ],
)
def test_parts_add_up(left: tuple[int, ...], right: tuple[int, ...], form: dict[str, bool], dtype: DType) -> None:
    def positive(x, w, b):  # type: ignore[no-untyped-def]
        made = dot(x, w, **form)
        return [maximum(made + broadcast(b, made.shape, (made.rank - 1,)), 0)]

    columns = right[-2 if form.get("tb") else -1]
    types = {"x": TensorType(dtype, left), "w": TensorType(dtype, right), "b": TensorType(dtype, (columns,))}
    graph = graph_of(positive, **types)
    arrays = arrays_for(graph, kind="int")
    made = Manager(verify=True).run([Lower(), Choose(vector_bytes=16, cache=8000), Tile()], to_program(graph))
    held = [s.buffer.name for s in walk(made.kernels[0].body) if isinstance(s, Alloc)]
    assert any(name.startswith("sums") for name in held)
    want, got = evaluate(graph, arrays).outputs, run_loop_module(made, arrays).outputs
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_threads_keep_a_loop_to_share() -> None:
    """A product of so few columns that one panel holds them is not divided: its rows are what threads share."""
    graph = graph_of(lambda x, w: [dot(x, w)], x=TensorType(F32, (24, 900)), w=TensorType(F32, (900, 8)))
    made = Manager(verify=True).run([Lower(), Choose(vector_bytes=16, cache=8000), Tile()], to_program(graph))
    (outer,) = made.kernels[0].body
    assert outer.kind == "parallel"


@pytest.mark.parametrize("largest", [1 << 20, 1_900, 500, 50])
@pytest.mark.parametrize(("kernel", "stride", "images"), [((1, 1), 1, 4), ((3, 2), 1, 3), ((3, 3), 2, 5)])
def test_parts_of_several_loops(
    monkeypatch: pytest.MonkeyPatch, largest: int, kernel: tuple[int, int], stride: int, images: int
) -> None:
    """A convolution's gradient in its weights is cut at its images, rows or positions, epilogue and all."""
    for other in ("DENSE", "SPARSE", "FOLDED"):
        monkeypatch.setattr(panels, other, 0.0)
    size = (10, 13)
    places = output_spatial(size, kernel, (stride,) * 2, (1, 1))

    def updated(x, ct, w):  # type: ignore[no-untyped-def]
        return [w - conv_dw(x, ct, (stride,) * 2, (1, 1), 1, kernel) * 2.0]

    types = {"x": (images, 18, *size), "ct": (images, 10, *places), "w": (10, 18, *kernel)}
    graph = graph_of(updated, **{name: TensorType(F32, shape) for name, shape in types.items()})
    arrays = arrays_for(graph, kind="int")
    choose = Choose(vector_bytes=16, cache=8 * largest // 3)
    made = Manager(verify=True).run([Lower(), choose, Tile()], to_program(graph))
    held = [s.buffer.name for s in walk(made.kernels[0].body) if isinstance(s, Alloc)]
    assert any(name.startswith("sums") for name in held) == (largest < 1 << 20)
    assert made.kernels[0].body[0].kind == "parallel"
    want, got = evaluate(graph, arrays).outputs, run_loop_module(made, arrays).outputs
    np.testing.assert_array_equal(got["out0"], want["out0"])


def test_short_maps_are_packed() -> None:
    """Lanes along channels that lie apart would gather: positions too few for lanes are packed instead."""
    types = {"x": (8, 40, 7, 7), "ct": (8, 64, 7, 7)}
    graph = graph_of(
        lambda x, ct: [conv_dw(x, ct, (1, 1), (1, 1), 1, (1, 1))],
        **{name: TensorType(F32, shape) for name, shape in types.items()},
    )
    made = Manager(verify=True).run([Lower(), Choose(), Tile()], to_program(graph))
    assert any(isinstance(s, Alloc) and s.buffer.name.startswith("panel") for s in walk(made.kernels[0].body))
