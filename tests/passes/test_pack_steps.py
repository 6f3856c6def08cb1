"""pack_steps: weights that the turns of a loop multiply by lie packed, and every turn computes what it did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

import symc as mx
from symc.ir.op import Node
from symc.ir.prims import dot
from symc.ir.prims import elementwise as ew
from symc.ir.prims.flow import Loop, loop
from symc.ir.prims.linear import Conv
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.manager.rewrite import Rewriter
from symc.passes.manager.watching import Miss
from symc.passes.tensor.pack_steps import PackSteps

HERE = PackSteps(vector_bytes=32, vectors=1, least=0)


def _steps(
    turn: Callable[[Node, Node, Node], Node], weights: tuple[int, int], trips: int = 9, **kwargs: object
) -> Graph:
    def run(h: Node, x: Node, w: Node) -> list[Node]:
        ended, made, _ = loop(
            lambda state, row, fixed: ([turn(state[0], row[0], fixed[0])], [state[0]]), [h], [x], [w], **kwargs
        )
        return [*ended, *made]

    types = {"h": (3, 60), "x": (trips, 3, 60), "w": weights}
    return graph_of(run, **{name: TensorType(F32, shape) for name, shape in types.items()})


def _small(y: Node) -> Node:
    """Whole numbers that stay exact from turn to turn."""
    return ew.minimum(ew.maximum(y, -3.0), 3.0)


def _bodies(graph: Graph) -> list[Graph]:
    return [node.op.body for node in graph.nodes() if isinstance(node.op, Loop)]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_turns_read_packed_weights(tb: bool, backwards: bool) -> None:
    """60 outputs fill seven panels of 8 and a half."""
    graph = _steps(lambda h, x, w: _small(dot(h, w, tb=tb) + x), (60, 60), backwards=backwards)
    made = Manager(verify=True).run([HERE], graph)
    (body,) = _bodies(made)
    (product,) = (node for node in body.nodes() if isinstance(node.op, Conv))
    assert product.op.lanes == 8 and product.inputs[1].shape == (8, 60, 1, 1, 8)
    arrays = arrays_for(graph, kind="int")
    want = evaluate(graph, arrays).outputs
    for got in (evaluate(made, arrays).outputs, run_native(to_program(made), arrays)):
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])


class _Heard(Instrument):
    watches = True

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def missed(self, miss: Miss) -> None:
        self.reasons.append(miss.reason)


REFUSED = {
    "few turns": (_steps(lambda h, x, w: dot(h, w) + x, (60, 60), trips=7), "fewer than trips"),
    "both sides": (_steps(lambda h, x, w: dot(h, w) + dot(x, w, tb=True), (60, 60)), "both sides"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_reasons_against_it(case: str) -> None:
    graph, reason = REFUSED[case]
    heard = _Heard()
    assert Manager([heard]).run([HERE], graph) is graph
    assert [reason in told for told in heard.reasons] == [True]


def test_weights_that_are_read_otherwise_stay() -> None:
    graph = _steps(lambda h, x, w: dot(h, w) + dot(x, w * 2.0), (60, 60))
    assert HERE.run(graph, Rewriter("pack_steps")) is graph


@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_recurrent_layers_train_as_without_it(mode: str) -> None:
    def trained() -> list[np.ndarray]:
        net = mx.sym.RNN(mx.sym.var("data"), state_size=70, num_layers=1, mode=mode, name="rnn")
        exe = net.simple_bind(mx.cpu(), data=(9, 20, 70))
        rng = np.random.default_rng(0)
        for array in exe.arg_dict.values():
            array[:] = rng.uniform(-0.2, 0.2, array.shape)
        exe.forward(is_train=True)
        exe.backward(mx.nd.ones(exe.outputs[0].shape))
        return [exe.outputs[0].asnumpy(), *(g.asnumpy() for g in exe.grad_arrays)]

    packed = trained()
    with mx.pipeline(disable=["pack_steps"]):
        plain = trained()
    for a, b in zip(packed, plain):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
