"""Protects the text of every level of whole nets: after every pass it reads back as what was printed, byte for byte.
`tests/round_trips.py` looks at folders of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ran
from round_trips import check, read_back

import symc as mx
from symc.compile import remaining
from symc.examples.demo import lenet
from symc.ir.op import Recorder, input_node
from symc.ir.prims import add, const
from symc.ir.tensor.graph import finish, with_origins
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Manager
from symc.typed import complete, module_of, roles_of

S, C = mx.sym, mx.sym.contrib


def residual() -> Any:
    """Names that are no identifiers, attributes on variables, a constant, two outputs of one operator."""
    x = S.Variable("data", lr_mult=2.0, attr={"__mood__": 'a "quoted" word'})
    y = S.Convolution(x, num_filter=4, kernel=(3, 3), pad=(1, 1), name="stage 1/conv")
    y = S.BatchNorm(y, name="stage 1/bn", output_mean_var=True)
    y = S.LeakyReLU(y[0] + S.broadcast_mul(y[1].reshape((1, 4, 1, 1)), x.slice_axis(1, 0, 4)), name="relu.kept")
    y = S.Pooling(S.Dropout(y, p=0.5), global_pool=True, pool_type="avg", kernel=(1, 1), name="%odd")
    return S.SoftmaxOutput(S.FullyConnected(y, num_hidden=5, name="größe"), name="softmax")


def recurrent() -> Any:
    x = S.RNN(S.Variable("data"), state_size=5, num_layers=2, mode="lstm", bidirectional=True, p=0.2, name="rnn")
    return S.LinearRegressionOutput(S.FullyConnected(x, num_hidden=2, flatten=False, name="fc"), name="out")


def unrolled() -> Any:
    cell = mx.rnn.SequentialRNNCell()
    cell.add(mx.rnn.LSTMCell(4, prefix="a_"))
    cell.add(mx.rnn.GRUCell(4, prefix="b_"))
    word = S.Embedding(S.Variable("data"), input_dim=9, output_dim=3, name="word")
    outputs, _ = cell.unroll(3, word, merge_outputs=True)
    return S.MakeLoss(S.sum(outputs, axis=1), name="loss")


def control() -> Any:
    def turn(row: Any, state: Any) -> Any:
        kept, last = C.while_loop(lambda t: S.sum(t) < 2, lambda t: (t * 3, [S.cos(t + 1)]), [state], max_iterations=2)
        return C.cond(S.sum(state) > 1, lambda: S.broadcast_add(row, S.sum(kept)), lambda: S.exp(row)), last[0] * 1

    return S.Group(C.foreach(turn, S.Variable("data"), S.Variable("h")))


def detection() -> Any:
    """Kernels of the host, integers, half precision, infinities and nan."""
    x = S.Variable("data")
    boxes = C.box_nms(x, overlap_thresh=0.5, id_index=0)
    table = S.cast(S.arange(0, 40) * float("nan"), "float16")
    found = S.topk(x, k=2, ret_typ="both", axis=1)
    return S.Group([boxes, table, *found, S.clip(x, -float("inf"), 3.4e38)])


NETS: dict[str, tuple[Callable[[], Any], dict[str, tuple[int, ...]]]] = {
    "lenet": (lenet, {"data": (2, 1, 8, 8)}),
    "residual": (residual, {"data": (2, 4, 5, 6)}),
    "recurrent": (recurrent, {"data": (3, 2, 4)}),
    "unrolled": (unrolled, {"data": (2, 3)}),
    "control": (control, {"data": (5, 4), "h": (4,)}),
    "detection": (detection, {"data": (2, 6, 6)}),
}


def typed(symbol: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
    types, missing = complete(symbol, shapes)
    assert not missing
    return module_of(symbol, types, roles_of(types, shapes))


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", NETS)
def test_every_level_reads_back(name: str, train: bool) -> None:
    make, shapes = NETS[name]
    with mx.name.NameManager():
        symbol = make()
    assert check(typed(symbol, shapes), train) > 6


def test_attributes_of_old_files_read_back() -> None:
    """A loaded file may give an operator without parameters some: they ride along, and the text says them too."""
    loaded = mx.sym.load_json(
        '{"nodes": [{"op": "null", "name": "x", "inputs": []}, {"op": "zeros_like", "name": "z", "inputs": [[0, 0, 0]],'
        ' "attrs": {"dtype": "float32"}}], "arg_nodes": [0], "heads": [[1, 0, 0]],'
        ' "attrs": {"mxnet_version": ["int", 10901]}}'
    )
    read_back(typed(loaded, {"x": (2, 3)}), "z")


def test_constants_read_back_with_their_data() -> None:
    table = np.sin(np.arange(40, dtype=np.float32))
    with Recorder():
        x = input_node("x", TensorType(F32, (40,)))
        graph = with_origins(finish("f", [x], [("out", add(x, const(table)))]))
    manager = Manager()
    for pass_ in remaining(graph):
        read_back(graph, pass_.name)
        graph = manager.step(pass_, graph)
    read_back(graph, "the loops")


BOXES = """
import symc as mx

x = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=4, kernel=(3, 3), name="conv")
net = mx.sym.contrib.MultiBoxPrior(x, sizes=(0.2, 0.4), ratios=(1, 2), name="boxes")
"""


def test_files_are_written_with_the_constants_that_they_elide(capsys, tmp_path: Path) -> None:
    """Whoever writes a program writes what its text leaves out, and keeps what else is in that file."""
    (tmp_path / "boxes.py").write_text(BOXES)
    given = [f"{tmp_path / 'boxes.py'}:net", "--shapes", "data=1x3x8x8"]
    want, _ = ran(capsys, "run", *given, "--inputs", "seed=0")
    file = tmp_path / "boxes.sir"
    np.savez(tmp_path / "boxes.npz", mine=np.ones(3))
    for command in (
        ["dump", *given, "--level=tensor"],
        ["dump", *given, "--level=loop"],
        ["opt", *given, "-p", "default"],
    ):
        ran(capsys, *command, "-o", str(file))
        assert "dense<sha256:" in file.read_text() and "mine" in np.load(tmp_path / "boxes.npz")
        assert ran(capsys, "run", str(file))[0] == want
    tree = tmp_path / "tree"
    ran(capsys, "opt", *given, "-p", "decompose,inline", "--print-ir-tree-dir", str(tree))
    ran(capsys, "run", str(tree / "02-inline.sir"))
    ran(capsys, "report", str(tree), "-o", str(tmp_path / "report.html"))
    lonely = tmp_path / "lonely.sir"
    lonely.write_text(file.read_text())
    assert "symc dump -o FILE.sir writes it" in ran(capsys, "run", str(lonely), code=3)[1]
