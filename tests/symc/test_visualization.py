"""Protects mx.viz: the table of layers, and drawings with and without graphviz."""

from __future__ import annotations

import sys
import types

import pytest

import symc as mx
from symc import visualization


def net():
    data = mx.sym.Variable("data")
    conv = mx.sym.Convolution(data, kernel=(3, 3), num_filter=4, name="conv")
    pool = mx.sym.Pooling(mx.sym.BatchNorm(conv, name="bn"), kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool")
    side = mx.sym.Convolution(pool, kernel=(1, 1), num_filter=4, name="side", no_bias=True, num_group=2)
    both = mx.sym.elemwise_add(pool, side, name="sum")
    return mx.sym.FullyConnected(both, num_hidden=5, name="fc")


#: as MXNet 1.9.1 prints it but for fc, which it counts as 25: there the input's first extent stands for all of it
ROWS = """\
data(null)                    3x10x10           0
conv(Convolution)             4x8x8             112       data
bn(BatchNorm)                 4x8x8             8         conv
pool(Pooling)                 4x4x4             0         bn
side(Convolution)             4x4x4             8         pool
sum(elemwise_add)             4x4x4             0         pool
                                                          side
fc(FullyConnected)            5                 325       sum
Total params: 453
"""


def test_the_table_counts_what_layers_hold(capsys):
    mx.viz.print_summary(net(), shape={"data": (2, 3, 10, 10)}, line_length=80, positions=(30, 48, 58, 80))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#", "Previous", "Layer"]
    assert [line for line in lines[2:] if line.strip("_=")] == ROWS.splitlines()


def test_a_parameter_that_layers_share_counts_once(capsys):
    weight = mx.sym.Variable("shared_weight")
    a, b = (mx.sym.FullyConnected(mx.sym.Variable(n), weight, num_hidden=2, no_bias=True, name=f"fc_{n}") for n in "ab")
    mx.viz.print_summary(a + b, shape={"a": (1, 3), "b": (1, 3)})
    assert "Total params: 6\n" in capsys.readouterr().out


def test_the_table_needs_no_shapes_but_not_half_of_them(capsys):
    mx.viz.print_summary(net())
    assert "conv(Convolution)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Input shape is incomplete"), pytest.warns(UserWarning):
        mx.viz.print_summary(mx.sym.dot(mx.sym.Variable("a"), mx.sym.Variable("b")), shape={"a": (2, 3)})
    with pytest.raises(TypeError, match="must be Symbol, not str"):
        mx.viz.print_summary("net")


def test_without_graphviz_the_drawing_is_our_own(monkeypatch, tmp_path):
    monkeypatch.setattr(visualization, "Digraph", None)
    plot = mx.viz.plot_network(net(), title="small", shape={"data": (2, 3, 10, 10)})
    assert "conv" in plot.source and "4x8x8" in plot.source and "conv_weight" not in plot.source
    assert plot._repr_svg_().startswith("<svg")
    with open(plot.render(directory=str(tmp_path))) as file:
        assert file.read() == plot.svg
    assert "conv_weight" in mx.viz.plot_network(net(), hide_weights=False).source


def test_with_graphviz_it_is_a_digraph(monkeypatch):
    """Edges point back from the layer to what it reads, as MXNet draws them."""
    calls = []
    fake = types.SimpleNamespace(
        node=lambda **given: calls.append(given), edge=lambda **given: calls.append(given)
    )  # fmt: skip
    monkeypatch.setattr(visualization, "Digraph", lambda name, format: fake)
    assert mx.viz.plot_network(net(), shape={"data": (2, 3, 10, 10)}, node_attrs={"fixedsize": "false"}) is fake
    found = {c["name"]: c for c in calls if "name" in c}
    assert found["conv"]["label"] == "Convolution\n3x3/1, 4" and found["conv"]["fixedsize"] == "false"
    assert found["pool"]["label"] == "Pooling\nmax, 2x2/2x2" and found["data"]["shape"] == "oval"
    edges = {(c["tail_name"], c["head_name"]): c["label"] for c in calls if "tail_name" in c}
    assert edges[("bn", "conv")] == "4x8x8" and edges[("conv", "data")] == "3x10x10" and len(edges) == 7


def test_graphviz_is_asked_for_once():
    assert (visualization.Digraph is None) == ("graphviz" not in sys.modules)
