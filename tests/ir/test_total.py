"""Protects the sum of many gradients: what fits together becomes one operation, and the sum stays the same."""

from __future__ import annotations

import numpy as np
import pytest

from symc.ir.op import Node, input_node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import concat, pad
from symc.ir.prims.total import MANY_TERMS, total
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import F64, TensorType


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
    assert total([pad(g, (0, 2 * k), (0, 6 - 2 * k)) for k, g in enumerate(gates)][::-1]) is concat(gates, 1)


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
    few = products[1:]
    assert total(few).op.name == "add"
    check(few, total(few))
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
