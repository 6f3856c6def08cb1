"""Protects convolutions by minimal filtering: their values within the stated error of exact ones, with whatever stands
around and behind them, on every kind of machine; that they are taken only where they pay; and that they can be refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from compiling import arrays_for, graph_of

import symc as mx
from symc.codegen.target import host_target
from symc.compile import emit, remaining, tensor_passes
from symc.debug.numdiff import KINDS, Search, trials
from symc.ir.op import Node, Recorder, input_node
from symc.ir.parse import parse
from symc.ir.prims import add, conv, conv_dw, conv_dx, maximum, pad, winograd, winograd_weights
from symc.ir.prims.winograd import FURTHER, Winograd, WinogradWeights, matrices
from symc.ir.tensor.graph import Graph, finish, topological
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_graph
from symc.ir.types import F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager, Pass
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor.winograd import WinogradConvolutions
from symc.settings import SettingError
from symc.typed import complete, module_of

ALWAYS = WinogradConvolutions(always=True)
PLAIN = ((1, 1), (1, 1), 1)


def padded(x: Node, low: Sequence[int] = (1, 1), high: Sequence[int] = (1, 1)) -> Node:
    return pad(x, (0, 0, *low), (0, 0, *high))


def layer(images: int, channels: int, outs: int, size: Sequence[int], low: Sequence[int], high: Sequence[int]) -> Graph:
    return graph_of(
        lambda x, w: conv(padded(x, low, high), w, *PLAIN),
        x=TensorType(F32, (images, channels, *size)), w=TensorType(F32, (outs, channels, 3, 3)),
    )  # fmt: skip


def filtered(graph: Graph, pass_: Pass = ALWAYS) -> Graph:
    made = Manager(verify=True).run([pass_], graph)
    assert isinstance(made, Graph)
    return made


def forms(graph: Graph) -> list[Winograd]:
    return [n.op for n in graph.nodes() if isinstance(n.op, Winograd)]


def computed(graph: Graph, arrays: dict[str, np.ndarray], choose: Choose | None = None) -> dict[str, np.ndarray]:
    """The outputs by machine code, with verified passes that leave the graph's form alone."""
    target = host_target()
    choose = choose or Choose(vector_bytes=target.vector_bytes, registers=target.registers)
    passes = [*parse_pipeline("inline,fuse,own_results,plan_memory"), Lower(), choose, Tile()]
    return emit(Manager(verify=True).run(passes, graph), target)(**arrays)


#: bytes of a vector, and registers
VECTORS = [(16, 16), (32, 16), (64, 32)]
#: images, channels, output channels, size, zeros before and behind: what tiles divide and what they do not, no zeros
#: around, more than a tap reaches, channels that fill no vector
LAYERS = [
    (1, 16, 32, (8, 8), (1, 1), (1, 1)), (2, 5, 7, (7, 10), (1, 1), (1, 1)), (3, 4, 8, (6, 5), (0, 0), (0, 0)),
    (1, 3, 48, (9, 3), (2, 0), (1, 4)), (2, 20, 16, (3, 14), (0, 1), (1, 0)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize("tile", [2, 4])
def test_a_layer_has_the_values_of_the_direct_form(number: int, tile: int) -> None:
    """With whatever vectors its loops were scheduled for."""
    graph, vectors = layer(*LAYERS[number]), VECTORS[(number + tile // 2) % len(VECTORS)]
    made = filtered(graph, dataclasses.replace(ALWAYS, tile=tile, vector_bytes=vectors[0]))
    assert [op.tile for op in forms(made)] and not any(n.op.name in ("conv", "pad") for n in made.nodes())
    arrays = arrays_for(graph)
    exact = evaluate(graph, arrays, precision="f64").outputs["out0"]
    np.testing.assert_allclose(evaluate(made, arrays, precision="f64").outputs["out0"], exact, rtol=0, atol=1e-12)
    if vectors[0] <= host_target().vector_bytes:
        choose = Choose(vector_bytes=vectors[0], registers=vectors[1])
        close(computed(made, arrays, choose)["out0"], exact)


def close(found: np.ndarray, exact: np.ndarray) -> None:
    np.testing.assert_allclose(found, exact, rtol=0, atol=4e-6 * np.abs(exact).max())


@pytest.mark.parametrize(
    "tile, block", [(2, (1, 3, 1)), (2, (4, 7, 1)), (4, (1, 1, 1)), (4, (1, 3, 2)), (4, (2, 4, 1))]
)
def test_blocks_change_no_bit(tile: int, block: tuple[int, int, int]) -> None:
    """Every block adds up the same terms in the same order."""

    def build(x: Node, w: Node, at: tuple[int, int, int]) -> Node:
        return winograd(x, winograd_weights(w, tile, 8), tile, (1, 1), (1, 1), at)

    types = {"x": TensorType(F32, (4, 6, 14, 9)), "w": TensorType(F32, (16, 6, 3, 3))}
    graphs = [graph_of(lambda x, w, at=at: build(x, w, at), **types) for at in (block, (1, 14, 2))]
    arrays = arrays_for(graphs[0])
    found = [computed(g, arrays)["out0"] for g in graphs]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("tile", sorted(FURTHER))
@pytest.mark.parametrize("channels", [16, 256])
def test_the_error_is_bounded(tile: int, channels: int) -> None:
    """By the sizes of the terms of a tile, and for maps without outliers by a multiple of the direct form's error."""
    rs = np.random.RandomState(1)
    x = np.maximum(rs.standard_normal((1, channels, 16, 16)), 0).astype("float32")
    w = (rs.standard_normal((16, channels, 3, 3)) / channels**0.5 / 3).astype("float32")
    graph = layer(1, channels, 16, (16, 16), (1, 1), (1, 1))
    arrays = {"x": x, "w": w}
    exact = evaluate(graph, arrays, precision="f64").outputs["out0"]
    made = filtered(graph, dataclasses.replace(ALWAYS, tile=tile))
    errors = [np.abs(computed(g, arrays)["out0"] - exact) for g in (graph, made)]
    assert errors[1].max() <= FURTHER[tile] * errors[0].max()
    (op,) = forms(made)
    weights = WinogradWeights(tile, 16)
    doubles = [a.astype("float64") for a in (x, w)]
    u = weights.sizes(doubles[1:], [TensorType(F32, ((tile + 2) ** 2, 1, channels, 16))])
    sizes = op.sizes([doubles[0], u], [TensorType(F32, exact.shape)])
    assert (errors[1] <= (channels + 24) * 2.0**-24 * sizes).all()


def test_the_transforms_interpolate() -> None:
    """A 1-D filter by the matrices is the filter, in exact arithmetic."""
    for tile in FURTHER:
        m = matrices(tile)
        rs = np.random.RandomState(0)
        x, w = rs.standard_normal(tile + 2), rs.standard_normal(3)
        np.testing.assert_allclose(m.result @ ((m.map @ x) * (m.taps @ w)), np.correlate(x, w), atol=1e-13)
        assert (m.map * 1024 == np.rint(m.map * 1024)).all() and (m.result * 64 == np.rint(m.result * 64)).all()


def test_what_follows_is_part_of_the_kernel() -> None:
    """Bias, a sum and a clip are computed where the results are stored, and weights are a value of their own."""
    graph = graph_of(
        lambda x, w, r: maximum(add(conv(padded(x), w, *PLAIN), r), conv(padded(r), w, *PLAIN)),
        x=TensorType(F32, (1, 8, 6, 6)), w=TensorType(F32, (8, 8, 3, 3)), r=TensorType(F32, (1, 8, 6, 6)),
    )  # fmt: skip
    made = filtered(graph)
    program = Manager(verify=True).run(parse_pipeline("fuse"), made)
    assert [step.label for step in program.steps] == ["winograd_weights", "winograd", "winograd_maximum"]
    arrays = arrays_for(graph)
    exact = evaluate(graph, arrays, precision="f64").outputs["out0"]
    close(computed(made, arrays)["out0"], exact)


def test_gradients_in_the_map_are_filtered_too() -> None:
    """As layout makes convolutions of them; gradients in weights stay as they are."""
    types = {
        "x": TensorType(F32, (2, 4, 6, 6)),
        "w": TensorType(F32, (8, 4, 3, 3)),
        "ct": TensorType(F32, (2, 8, 4, 4)),
    }
    graph = graph_of(lambda x, w, ct: [conv_dx(ct, w, *PLAIN, (6, 6)), conv_dw(x, ct, *PLAIN, (3, 3))], **types)
    made = Manager(verify=True).run([*parse_pipeline("layout"), ALWAYS], graph)
    assert len(forms(made)) == 1
    arrays = arrays_for(graph)
    exact = evaluate(graph, arrays, precision="f64").outputs
    found = computed(made, arrays)
    for name, value in exact.items():
        close(found[name], value)


def test_text_reads_back() -> None:
    made = filtered(layer(1, 4, 8, (6, 6), (1, 1), (1, 1)))
    text = print_graph(made)
    assert "winograd(%x, %" in text and print_graph(parse(text)) == text


def test_the_pass_keeps_its_promise() -> None:
    """As numdiff holds it to: random, whole, large and small numbers, and values that are not finite."""
    graph = layer(2, 6, 8, (9, 9), (1, 1), (1, 1))
    found = Search(trials(graph, [ALWAYS, *tensor_passes()], KINDS))
    assert found.check() is None, found.failure


# --------------------------------------------------------------------------------------------- choices

#: channels, size, output channels, images: what nets are made of
PAYS = [(64, 56, 64, 1), (128, 28, 128, 1), (256, 14, 256, 8), (64, 224, 64, 1), (512, 28, 512, 1), (512, 7, 512, 8)]
LOSES = [(3, 224, 64, 1), (4, 8, 4, 1), (512, 7, 512, 1)]
#: what pays where weights are transformed once
KEPT = (512, 7, 512, 1)


def chosen(channels: int, size: int, outs: int, images: int, pass_: Pass) -> list[Winograd]:
    return forms(filtered(layer(images, channels, outs, (size, size), (1, 1), (1, 1)), pass_))


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_it_is_taken_where_it_pays(vector_bytes: int) -> None:
    pass_ = WinogradConvolutions(vector_bytes=vector_bytes)
    assert [len(chosen(*work, pass_)) for work in PAYS] == [1] * len(PAYS)
    assert [len(chosen(*work, pass_)) for work in LOSES] == [0] * len(LOSES)


def test_weights_that_are_kept_cost_less() -> None:
    """They are where there are parameters and data, and no gradients."""
    channels, size, outs, images = KEPT
    shapes = {"x": (images, channels, size, size), "w": (outs, channels, 3, 3)}
    types = {name: TensorType(F32, shape) for name, shape in shapes.items()}
    inputs = {n: input_node(n, t, "data" if n == "x" else "arg") for n, t in types.items()}
    plain = layer(images, channels, outs, (size, size), (1, 1), (1, 1))
    with Recorder() as recorder, recorder.at(next(iter(plain.origins.values()))):
        made = conv(padded(inputs["x"]), inputs["w"], *PLAIN)
    origins = {**recorder.origins, **dict.fromkeys(inputs.values(), recorder.origins[made])}
    graph = finish("net", list(inputs.values()), [("out0", made)], (), {}, origins)
    pass_ = WinogradConvolutions(vector_bytes=64)
    assert len(forms(filtered(graph, pass_))) == 1 and not forms(filtered(plain, pass_))
    assert not forms(filtered(graph, dataclasses.replace(pass_, kept=False)))


def test_blocks_are_for_two_threads() -> None:
    for channels, size, outs, images in PAYS:
        (op,) = chosen(channels, size, outs, images, WinogradConvolutions(vector_bytes=64))
        rows = -(-op.tiles((size, size))[0] // op.block[1])
        assert images // op.block[0] * rows * (outs // 32 // op.block[2]) >= 2


@pytest.mark.parametrize("rule", [((2, 2), (1, 1), 1), ((1, 1), (2, 2), 1), ((1, 1), (1, 1), 2)])
def test_other_convolutions_stay(rule) -> None:
    graph = graph_of(
        lambda x, w: conv(x, w, *rule),
        x=TensorType(F32, (1, 8, 9, 9)), w=TensorType(F32, (8, 8 // rule[2], 3, 3)),
    )  # fmt: skip
    assert filtered(graph) is graph


def test_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prediction takes tiles of 4, training those of 2, on the way forward if asked to; SYMC_WINOGRAD=0 takes none."""
    x = mx.sym.Convolution(mx.sym.Variable("data"), name="c", kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True)

    def tiles(train: bool) -> list[int]:
        module = module_of(x, complete(x, {"data": (2, 64, 28, 28)})[0])
        wrt = ("data", "c_weight") if train else ()
        passes = [p for p in remaining(module, train, wrt) if p.takes in ("symbol", "tensor") and p.gives == "tensor"]
        return [op.tile for op in forms(Manager().run(passes, module))]

    assert tiles(False) == [4] and tiles(True) == [2]
    with monkeypatch.context() as asked:
        asked.setenv("SYMC_WINOGRAD", "1")
        assert tiles(False) == [4] and tiles(True) == [2, 2]
    exe = x.simple_bind(mx.cpu(), grad_req="null", data=(1, 64, 28, 28))
    rs = np.random.RandomState(0)
    for array in exe.arg_dict.values():
        array[:] = rs.standard_normal(array.shape)

    def value() -> np.ndarray:
        other = x.bind(mx.cpu(), exe.arg_dict, grad_req="null")
        return other.forward()[0].asnumpy()

    one = value()
    monkeypatch.setenv("SYMC_WINOGRAD", "0")
    assert tiles(False) == tiles(True) == []
    direct = value()
    assert not np.array_equal(one, direct)
    close(one, direct)
    monkeypatch.setenv("SYMC_WINOGRAD", "1")
    np.testing.assert_array_equal(value(), one)
    with mx.pipeline(disable=["winograd"]):
        np.testing.assert_array_equal(value(), direct)
    monkeypatch.setenv("SYMC_WINOGRAD", "fast")
    with pytest.raises(SettingError, match="SYMC_WINOGRAD='fast': expected 0 or 1"):
        value()


def test_training_goes_forward_with_all_products() -> None:
    """Deconvolutions too, which are convolutions turned round as gradients in maps are; theirs are not."""
    made = []
    for layer in (mx.sym.Convolution, mx.sym.Deconvolution):
        y = layer(mx.sym.Variable("data"), name="c", kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True)
        module = module_of(y, complete(y, {"data": (2, 64, 28, 28)})[0])
        graphs = [p for p in remaining(module, True, ("data", "c_weight")) if p.gives == "tensor"]
        graph = Manager().run(graphs, module)
        assert isinstance(graph, Graph)
        forward = topological([o.node for o in graph.outputs if o.phase == "forward"])
        made.append([len(forms(graph)), sum(isinstance(n.op, Winograd) for n in forward)])
    assert made == [[1, 0], [0, 0]]
