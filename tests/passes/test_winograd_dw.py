"""Protects weight gradients by minimal filtering: their values within the stated error of exact ones, that they are
taken only where they pay, and that they can be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiling import arrays_for, graph_of

import symc as mx
from symc.codegen.target import host_target
from symc.compile import emit, loop_passes, tensor_passes
from symc.debug.numdiff import KINDS, Search, trials
from symc.ir.op import Node
from symc.ir.prims import conv_dw, pad
from symc.ir.prims.linear import output_spatial
from symc.ir.prims.winograd import FURTHER, matrices
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, TensorType
from symc.passes.manager.manager import Manager, Pass
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor.winograd_dw import WinogradDw

ALWAYS = WinogradDw(always=True)


def gradient(images: int, channels: int, outs: int, size: tuple[int, int], dtype: Any = F32, **attrs: Any) -> Graph:
    """Of a convolution with a zero around its map; the map and the given gradient are inputs."""
    given = {"stride": (1, 1), "dilate": (1, 1), "groups": 1, **attrs}
    places = output_spatial([n + 2 for n in size], (3, 3), given["stride"], given["dilate"])

    def built(x: Node, ct: Node) -> Node:
        padded = pad(x, (0, 0, 1, 1), (0, 0, 1, 1))
        return conv_dw(padded, ct, given["stride"], given["dilate"], given["groups"], (3, 3))

    return graph_of(
        built, x=TensorType(dtype, (images, channels, *size)), ct=TensorType(dtype, (images, outs, *places))
    )


def filtered(graph: Graph, pass_: Pass = ALWAYS) -> Graph:
    made = Manager(verify=True).run([pass_], graph)
    assert isinstance(made, Graph)
    return made


def is_filtered(graph: Graph) -> bool:
    return not any(n.op.name == "conv_dw" for n in graph.nodes())


def computed(graph: Graph, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """By machine code, with verified passes that leave the form alone."""
    target = host_target()
    passes = [*parse_pipeline("inline,fuse,own_results,plan_memory"), *loop_passes(target)]
    found: np.ndarray = emit(Manager(verify=True).run(passes, graph), target)(**arrays)["out0"]
    return found


#: images, channels, output channels, size: what tiles divide and what they do not, one tile, rows and columns alone
LAYERS = [
    (1, 4, 8, (6, 6)), (3, 5, 7, (7, 10)), (2, 20, 16, (5, 3)), (1, 1, 1, (2, 2)), (2, 3, 2, (1, 9)), (4, 2, 3, (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_a_gradient_has_the_values_of_the_direct_form(layer: tuple[int, int, int, tuple[int, int]]):
    graph = gradient(*layer)
    made = filtered(graph)
    assert is_filtered(made)
    arrays = arrays_for(graph)
    exact = evaluate(graph, arrays, precision="f64").outputs["out0"]
    np.testing.assert_allclose(evaluate(made, arrays, precision="f64").outputs["out0"], exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(computed(made, arrays), exact, rtol=0, atol=4e-6 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize("layer", LAYERS)
def test_whole_numbers_stay_exact(layer: tuple[int, int, int, tuple[int, int]]):
    graph = gradient(*layer)
    arrays = arrays_for(graph, kind="int")
    np.testing.assert_array_equal(computed(filtered(graph), arrays), computed(graph, arrays))


def points(x: np.ndarray, matrix: np.ndarray, tiles: tuple[int, int]) -> np.ndarray:
    """The sums of magnitudes behind the values at the points: (points, C, tiles)."""
    size = matrix.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(x), (size, size), (2, 3))[:, :, ::2, ::2]
    m = np.abs(matrix)
    made = np.einsum("ai,nctuij,bj->abcntu", m, windows[:, :, : tiles[0], : tiles[1]], m)
    return made.reshape(16, x.shape[1], -1)


@pytest.mark.parametrize("images, size", [(1, 16), (8, 14)])
def test_the_error_is_bounded(images: int, size: int):
    """By the sizes of the terms of tiles, and for maps without outliers by a multiple of the direct form's error."""
    rs = np.random.RandomState(1)
    arrays = {
        "x": np.maximum(rs.standard_normal((images, 32, size, size)), 0).astype("float32"),
        "ct": rs.standard_normal((images, 32, size, size)).astype("float32"),
    }
    graph = gradient(images, 32, 32, (size, size))
    exact = evaluate(graph, arrays, precision="f64").outputs["out0"]
    direct, found = (np.abs(computed(g, arrays) - exact) for g in (graph, filtered(graph)))
    assert found.max() <= FURTHER[2] * direct.max()
    m, tiles = matrices(2), (size // 2, size // 2)
    x = np.pad(arrays["x"].astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    products = points(arrays["ct"].astype("float64"), m.result.T, tiles) @ points(x, m.map, tiles).transpose(0, 2, 1)
    taps = np.abs(m.taps.T)
    sizes = np.einsum("ai,ijoc,bj->ocab", taps, products.reshape(4, 4, 32, 32), taps)
    assert (found <= (images * size * size // 4 + 24) * 2.0**-24 * sizes).all()


def test_the_pass_keeps_its_promise():
    """As numdiff holds it to: random, whole, large and small numbers, and values that are not finite."""
    found = Search(trials(gradient(2, 6, 8, (9, 9)), [ALWAYS, *tensor_passes(train=True)], KINDS))
    assert found.check() is None, found.failure


@pytest.mark.parametrize(
    "channels, size, outs, images, pays",
    [(128, 28, 128, 8, True), (256, 14, 256, 8, True), (512, 7, 512, 8, True), (512, 4, 512, 32, True),
     (64, 56, 64, 8, False), (3, 224, 64, 1, False), (512, 4, 512, 1, False), (16, 4, 16, 1, False)],
)  # fmt: skip
def test_it_is_taken_where_it_pays(channels: int, size: int, outs: int, images: int, pays: bool):
    assert is_filtered(filtered(gradient(images, channels, outs, (size, size)), WinogradDw())) == pays


@pytest.mark.parametrize("attrs", [{"stride": (2, 2)}, {"dilate": (2, 2)}, {"groups": 2}, {"dtype": F64}])
def test_others_stay_as_they_are(attrs: dict[str, Any]):
    assert not is_filtered(filtered(gradient(1, 4, 8, (8, 8), **attrs)))


def trained() -> tuple[list[str], list[np.ndarray]]:
    net = mx.sym.Variable("data")
    for layer in range(2):
        net = mx.sym.Convolution(net, kernel=(3, 3), pad=(1, 1), num_filter=128, no_bias=True, name=f"conv{layer}")
        net = mx.sym.Activation(mx.sym.BatchNorm(net, name=f"bn{layer}"), act_type="relu")
    exe = net.simple_bind(mx.cpu(), data=(4, 128, 15, 16))
    rs = np.random.RandomState(3)
    for array in exe.arg_dict.values():
        array[:] = rs.standard_normal(array.shape) * 0.1
    exe.forward(is_train=True)
    exe.backward(mx.nd.array(rs.standard_normal(exe.outputs[0].shape)))
    labels = [s.label for s in exe._instance(True).executable.program.steps if hasattr(s, "label")]
    return labels, [exe.grad_dict[f"conv{layer}_weight"].asnumpy() for layer in range(2)]


def test_it_can_be_refused(monkeypatch: pytest.MonkeyPatch):
    labels, found = trained()
    assert not any("conv_dw" in label for label in labels)
    with mx.pipeline(disable=["winograd_dw"]):
        plain_labels, plain = trained()
    monkeypatch.setenv("SYMC_WINOGRAD", "0")
    for other in (plain_labels, trained()[0]):
        assert any("conv_dw" in label for label in other)
    for a, b in zip(found, plain):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
