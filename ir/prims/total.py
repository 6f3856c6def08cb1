"""The sum of many values: parts that fit together become one operation.

A weight that is used at every step of an unrolled net has as many gradients, all products a_t' b_t of one form. Their
sum is the product of the stacked operands, with one long inner axis. The gradients of the parts of a split are zeros
but for their part, so their sum is those parts side by side. Many matrices are stacked and summed by one reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.linear import Dot
from symc.ir.prims.movement import Pad, concat, pad, reshape
from symc.ir.prims.reduce import reduce_sum

#: fewer products or matrices than this are added one by one: stacking copies them
MANY_TERMS = 8


def total(terms: Sequence[Node]) -> Node:
    """The sum of values of one type."""
    if len(terms) == 1:
        return terms[0]
    terms = _together(terms, _product_form, _one_product) if len(terms) >= MANY_TERMS else terms
    terms = _together(terms, _pad_form, _side_by_side)
    if len(terms) >= MANY_TERMS and terms[0].rank == 2:
        # a bias of an unrolled net: the same terms are stacked for the gradient of its weight
        stacked = reshape(concat(terms[::-1], 0), (len(terms), *terms[0].shape))
        return reduce_sum(stacked, (0,))
    made = terms[0]
    for term in terms[1:]:
        made = ew.add(made, term)
    return made


def _together(
    terms: Sequence[Node], form: Callable[[Node], Hashable], join: Callable[[list[Node]], list[Node]]
) -> list[Node]:
    """The terms of each form joined, where the first of them stood; the others (of form None) as they are."""
    groups: dict[Hashable, list[Node]] = {}
    for term in terms:
        key = form(term)
        groups.setdefault(term if key is None else (key,), []).append(term)
    made: list[Node] = []
    for key, group in groups.items():
        made.extend(join(group) if isinstance(key, tuple) and len(group) > 1 else group)
    return made


def _product_form(term: Node) -> Hashable:
    if not isinstance(term.op, Dot) or term.rank != 2:
        return None
    return term.op, term.inputs[0].shape, term.inputs[1].shape


def _one_product(group: list[Node]) -> list[Node]:
    """a1 b1 + a2 b2 + ... = (a1 a2 ...) (b1 b2 ...)'. The last product comes first: gradients arrive in the reverse
    of the program's order, and so the operands are stacked in its order."""
    if len(group) < MANY_TERMS:
        return group
    op = group[0].op
    assert isinstance(op, Dot)
    group = group[::-1]
    left = concat([term.inputs[0] for term in group], 0 if op.ta else 1)
    right = concat([term.inputs[1] for term in group], 1 if op.tb else 0)
    return [Node.make(op, [left, right])]


def _pad_form(term: Node) -> Hashable:
    """Zeros around something along one axis: that axis."""
    op = term.op
    if not isinstance(op, Pad) or op.fill != 0 or any(op.interior) or min((*op.low, *op.high)) < 0:
        return None
    padded = [axis for axis in range(term.rank) if op.low[axis] or op.high[axis]]
    return padded[0] if len(padded) == 1 else None


def _side_by_side(group: list[Node]) -> list[Node]:
    """Parts that are neighbours along the axis, each beside the next, are one part. Where a part holds -0 the result
    keeps it (-0 + 0 would be 0): equal values."""
    axis = _pad_form(group[0])
    assert isinstance(axis, int)

    def low(term: Node) -> int:
        assert isinstance(term.op, Pad)
        return term.op.low[axis]

    made: list[Node] = []
    run: list[Node] = []
    shape = group[0].shape

    def close() -> None:
        if len(run) == 1:
            made.extend(run)
        elif run:
            whole = concat([term.inputs[0] for term in run], axis)
            before = [0] * len(shape)
            before[axis] = low(run[0])
            after = [n - b - m for n, b, m in zip(shape, before, whole.shape)]
            made.append(pad(whole, before, after))

    for term in sorted(group, key=low):
        if run and low(run[-1]) + run[-1].inputs[0].shape[axis] != low(term):
            close()
            run = []
        run.append(term)
    close()
    return made
