"""stack: what fits together in a sum becomes one operation; protects the sum, and the speed of unrolled nets."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from symc.ir.op import Input, Node, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import concat, pad
from symc.ir.tensor.graph import Graph, finish, topological
from symc.ir.tensor.interp import evaluate, evaluate_nodes
from symc.ir.types import F64, TensorType
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.stack import Stack

MANY_TERMS = Stack().least
ORIGIN = SymOrigin("net", "Test", "test.py", 1)


def graph_of(terms: list[Node]) -> Graph:
    """The sum of the terms."""
    made = functools.reduce(ew.add, terms)
    nodes = topological([made])
    inputs = [n for n in nodes if isinstance(n.op, Input)]
    return finish("sum", inputs, [("out", made)], (), {}, dict.fromkeys(nodes, ORIGIN))


def total(terms: list[Node], *instruments: Instrument) -> Node:
    """The sum of the terms, as the pass makes it."""
    return Manager(instruments).run([Stack()], graph_of(terms)).outputs[0].node


def tensor(name: str, *shape: int) -> Node:
    return input_node(name, TensorType(F64, shape))


def check(terms: list[Node], made: Node) -> None:
    """`made` is the sum of the terms."""
    rng = np.random.default_rng(0)
    leaves = {leaf for term in terms for leaf in term.inputs if not leaf.inputs and not leaf.op.is_literal(leaf)}
    leaves |= {term for term in terms if not term.inputs}
    given = {leaf: rng.standard_normal(leaf.shape) for leaf in sorted(leaves, key=lambda n: n.op.input_name)}
    found = evaluate_nodes([made, *terms], given)
    np.testing.assert_allclose(found[made], sum(found[term] for term in terms), rtol=1e-12, atol=1e-12)


x, y, z = tensor("x", 4, 6), tensor("y", 3, 6), tensor("z", 7, 6)


def test_neighbours_stand_side_by_side() -> None:
    parts = [pad(y, (4, 0), (0, 0)), pad(x, (0, 0), (3, 0)), z]
    assert total(parts) is ew.add(concat([x, y], 0), z)
    check(parts, total(parts))
    gates = [tensor(f"g{k}", 3, 2) for k in range(4)]
    padded = [pad(g, (0, 2 * k), (0, 6 - 2 * k)) for k, g in enumerate(gates)]
    for order in itertools.permutations(padded):
        assert total(list(order)) is concat(gates, 1)


def test_parts_with_gaps_or_overlaps_stay_padded() -> None:
    a, b = pad(y, (0, 0), (7, 0)), pad(y, (3, 0), (4, 0))
    far = pad(y, (7, 0), (0, 0))
    assert total([a, far]) is ew.add(a, far)
    check([a, b, far, pad(y, (2, 0), (5, 0))], total([a, b, far, pad(y, (2, 0), (5, 0))]))
    assert total([a, b]) is pad(concat([y, y], 0), (0, 0), (4, 0))
    other = pad(tensor("o", 10, 3), (0, 3), (0, 0))
    assert total([a, other]) is ew.add(a, other)
    one = pad(y, (0, 0), (7, 0), value=1.0)
    assert total([one, b]) is ew.add(one, b)


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_many_products_become_one(ta: bool, tb: bool) -> None:
    def product(k: int) -> Node:
        a = tensor(f"a{k}", *((5, 2) if ta else (2, 5)))
        return dot(a, tensor(f"b{k}", *((3, 5) if tb else (5, 3))), ta, tb)

    products = [product(k) for k in range(MANY_TERMS)]
    made = total(products)
    assert made.op == products[0].op and [made.inputs[0].shape, made.inputs[1].shape] == [
        (40, 2) if ta else (2, 40),
        (3, 40) if tb else (40, 3),
    ]
    check(products, made)
    seven = products[1:]
    assert total(seven).op.name == "add"
    check(seven, total(seven))
    rest = tensor("rest", 2, 3)
    check([*products[:3], rest, *products[3:]], total([*products[:3], rest, *products[3:]]))


def test_many_matrices_are_one_reduction() -> None:
    terms = [tensor(f"m{k}", 2, 3) for k in range(MANY_TERMS)]
    made = total(terms)
    assert made.op.name == "sum" and made.inputs[0].inputs[0] is concat(terms[::-1], 0)
    check(terms, made)
    assert total(terms[1:]).op.name == "add"
    images = [tensor(f"i{k}", 1, 2, 3) for k in range(MANY_TERMS)]
    assert total(images).op.name == "add"


class Counting(Instrument):
    """Allows the first actions only, and notes all."""

    def __init__(self, first: int = 1000) -> None:
        self.first, self.rules = first, []

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        self.rules.append(rule)
        return number < self.first


def test_every_join_is_an_action_that_may_be_vetoed() -> None:
    products = [dot(tensor(f"a{k}", 2, 5), tensor(f"b{k}", 5, 3)) for k in range(MANY_TERMS)]
    parts = [pad(tensor("p", 2, 2), (0, 0), (0, 1)), pad(tensor("q", 2, 1), (0, 2), (0, 0))]
    every = [tensor(f"m{k}", 2, 3) for k in range(MANY_TERMS)]
    terms = [*products, *parts, *every]
    counting = Counting()
    total(terms, counting)
    assert counting.rules == ["products", "parts", "matrices"]
    for first in range(4):
        made = total(terms, Counting(first))
        check(terms, made)
    assert total(terms, Counting(0)) is functools.reduce(ew.add, terms)


def test_what_others_read_is_not_computed_twice() -> None:
    """Partial sums and products with other readers stay."""
    products = [dot(tensor(f"a{k}", 2, 5), tensor(f"b{k}", 5, 3)) for k in range(MANY_TERMS)]
    half = functools.reduce(ew.add, products[:4])
    whole = functools.reduce(ew.add, products[4:], half)
    for other in (half, products[0]):
        nodes = topological([whole, other])
        inputs = [n for n in nodes if isinstance(n.op, Input)]
        graph = finish("sum", inputs, [("out", whole), ("other", ew.exp(other))], (), {}, dict.fromkeys(nodes, ORIGIN))
        graph = finish("sum", inputs, graph.outputs, (), {}, dict.fromkeys(graph.nodes(), ORIGIN))
        made = Manager().run([Stack()], graph)
        assert sum(n.op.name == "dot" for n in made.nodes()) == len(products)


def test_the_gradient_of_a_shared_weight_is_one_product() -> None:
    w = tensor("w", 5, 3)
    steps = [tensor(f"x{k}", 2, 5) for k in range(MANY_TERMS)]
    y = functools.reduce(ew.add, [ew.tanh(dot(x, w)) for x in steps])
    graph = finish("net", [*steps, w], [("y", y)], (), {}, dict.fromkeys(topological([y]), ORIGIN))
    plain = Manager().run([Autodiff(wrt=("w",), ones=True)], graph)
    joined = Manager().run([Stack()], plain)
    count = [sum(n.op.name == "dot" for n in g.nodes()) for g in (plain, joined)]
    assert count == [2 * MANY_TERMS, MANY_TERMS + 1]
    rng = np.random.default_rng(0)
    given = {n.op.input_name: rng.standard_normal(n.shape) for n in graph.inputs}
    want, got = evaluate(plain, given).outputs, evaluate(joined, given).outputs
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12)
