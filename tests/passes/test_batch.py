"""Protects batch: products of parts by one weight become one, with the same values and gradients, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import reshape, slice_axis
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F64, TensorType
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.batch import Batch

W = TensorType(F64, (3, 4))


def unrolled(steps: int, axis: int, block: int = 1, skip: int = 0, weights: int = 1) -> Graph:
    """h = tanh(x_t w' + h u') over the parts of x along an axis."""
    shape = [2, 4] if block == 1 else [steps * block, 4]
    if block == 1:
        shape.insert(axis, steps)

    def build(x: Node, u: Node, **ws: Node) -> Node:
        h = None
        for t in range(skip, steps):
            part = slice_axis(x, axis, t * block, t * block + block)
            rows = reshape(part, (2, 4)) if block == 1 else part
            made = dot(rows, ws[f"w{t % weights}"], tb=True)
            h = ew.tanh(made if h is None else ew.add(made, dot(h, u)))
        assert h is not None
        return h

    return graph_of(
        build, x=TensorType(F64, tuple(shape)), u=TensorType(F64, (3, 3)), **{f"w{k}": W for k in range(weights)}
    )


def dots(graph: Graph) -> int:
    return sum(node.op.name == "dot" for node in graph.nodes())


@pytest.mark.parametrize(("axis", "block"), [(0, 1), (1, 1), (2, 1), (0, 2)])
@pytest.mark.parametrize("skip", [0, 2])
def test_products_of_parts_become_one(axis: int, block: int, skip: int) -> None:
    graph = unrolled(9, axis, block, skip)
    joined = Manager().run([Batch()], graph)
    assert dots(graph) == 2 * (9 - skip) - 1 and dots(joined) == 9 - skip
    assert all(node in joined.origins for node in joined.nodes() if not node.op.is_literal(node))
    arrays = arrays_for(graph)
    both = [evaluate(Manager().run([Autodiff(ones=True)], g), arrays).outputs for g in (graph, joined)]
    assert set(both[0]) == {"out0", "x.grad", "u.grad", "w0.grad"}
    for name, value in both[0].items():
        np.testing.assert_allclose(both[1][name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_what_has_no_common_weight_or_too_few_parts_stays() -> None:
    for graph in (unrolled(9, 0, weights=9), unrolled(3, 0), unrolled(12, 0, skip=7)):
        assert Manager().run([Batch()], graph) == graph
    few = unrolled(3, 0)
    assert dots(Manager().run([Batch(least=2)], few)) == 3


def test_parts_that_overlap_or_do_not_fill_blocks_stay() -> None:
    def build(x: Node, w: Node) -> Node:
        made = [dot(slice_axis(x, 0, t, t + 2), w, tb=True) for t in range(1, 8, 2)]
        return ew.add(ew.add(made[0], made[1]), ew.add(made[2], made[3]))

    graph = graph_of(build, x=TensorType(F64, (10, 4)), w=W)
    assert Manager().run([Batch()], graph) == graph


def test_a_veto_leaves_the_graph() -> None:
    class Never(Instrument):
        def action(self, pass_name: str, number: int, rule: str) -> bool:
            return False

    graph = unrolled(9, 1)
    assert dots(Manager([Never()]).run([Batch()], graph)) == dots(graph)


def test_whole_layers_on_each_other() -> None:
    """The second group's whole is made from the first group's products."""

    def build(x: Node, w: Node, u: Node) -> Node:
        first = [dot(slice_axis(x, 0, t, t + 1), w, tb=True) for t in range(6)]
        total = first[0]
        for t in range(1, 6):
            total = ew.add(total, ew.mul(first[t], float(t)))
        wide = reshape(ew.exp(ew.add(reshape(total, (3, 1)), reshape(total, (3, 1)))), (3, 1))
        parts = [dot(slice_axis(wide, 0, k, k + 1), u) for k in range(3)]
        return ew.add(ew.add(parts[0], parts[1]), parts[2])

    graph = graph_of(build, x=TensorType(F64, (6, 4)), w=W, u=TensorType(F64, (1, 2)))
    joined = Manager().run([Batch(least=3)], graph)
    assert dots(joined) == 2
    arrays = arrays_for(graph)
    np.testing.assert_allclose(
        evaluate(joined, arrays).outputs["out0"], evaluate(graph, arrays).outputs["out0"], rtol=1e-12
    )
