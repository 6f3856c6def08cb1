"""Protects simplify: what every rule gives, that values stay (nan, inf, -0, empty, rank 0), that it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symc.ir.op import Node, input_node
from symc.ir.origins import SymOrigin
from symc.ir.prims import elementwise as ew
from symc.ir.prims.elementwise import BOOL, F64, cast, const, full, select
from symc.ir.prims.linear import Dot, dot, matrix_transpose
from symc.ir.prims.movement import (
    Broadcast,
    Concat,
    Pad,
    Reshape,
    Slice,
    Transpose,
    broadcast,
    concat,
    pad,
    reshape,
    reverse,
    slice_,
    slice_axis,
    transpose,
)
from symc.ir.prims.reduce import Sum, reduce_max, reduce_sum
from symc.ir.tensor.graph import Graph, finish
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F16, F32, I8, I32, U8, U32, TensorType
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.manager.rewrite import Rewriter
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor.simplify import RULES, Simplify


def tensor(name: str, *shape: int, dtype=F32) -> Node:
    return input_node(name, TensorType(dtype, tuple(shape)))


def graph_of(*roots: Node) -> Graph:
    inputs: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
            if node.op.name == "input":
                inputs.setdefault(node)
    ordered = sorted(inputs, key=lambda n: n.op.input_name)
    origins = {n: SymOrigin("s", "Op") for n in seen}
    return finish("g", ordered, [(f"out{i}", r) for i, r in enumerate(roots)], origins=origins)


def simplified(*roots: Node) -> list[Node]:
    made = Simplify().run(graph_of(*roots), Rewriter("simplify"))
    return made.output_nodes


x, y = tensor("x", 4, 6), tensor("y", 4, 6)
i, j = tensor("i", 4, 6, dtype=I32), tensor("j", 4, 6, dtype=I32)
s = tensor("s")
row, col, unit = tensor("row", 6), tensor("col", 4, 1), tensor("unit", 1, 6)
cube = tensor("cube", 2, 3, 4)
flag = tensor("flag", 4, 6, dtype=BOOL)


def lit(value: float, dtype=F32) -> Node:
    return const(value, dtype)


def filled(value: float, *shape: int, dtype=F32) -> Node:
    return full(value, TensorType(dtype, tuple(shape)))


#: rule, before, after
CASES: list[tuple[str, Callable[[], Node], Callable[[], Node]]] = [
    ("fold-literals", lambda: ew.add(x, ew.mul(lit(2), lit(3))), lambda: ew.add(x, lit(6))),
    ("fold-literals", lambda: ew.mul(filled(2, 4, 6), filled(3, 4, 6)), lambda: filled(6, 4, 6)),
    ("uniform-constant", lambda: ew.add(x, const(np.full((4, 6), 2, "f4"))), lambda: ew.add(x, lit(2))),
    ("literal-operand", lambda: ew.maximum(x, filled(0, 4, 6)), lambda: ew.maximum(x, lit(0))),
    ("literal-operand", lambda: select(flag, x, filled(0, 4, 6)), lambda: select(flag, x, lit(0))),
    ("literal-right", lambda: ew.add(lit(2), x), lambda: ew.add(x, lit(2))),
    ("before-broadcast", lambda: ew.exp(broadcast(row, (4, 6), (1,))), lambda: broadcast(ew.exp(row), (4, 6), (1,))),
    (
        "before-broadcast",
        lambda: ew.add(broadcast(row, (4, 6), (1,)), ew.mul(broadcast(row, (4, 6), (1,)), s)),
        lambda: broadcast(ew.add(row, ew.mul(row, s)), (4, 6), (1,)),
    ),
    ("before-reshape", lambda: ew.exp(reshape(row, (6, 1))), lambda: reshape(ew.exp(row), (6, 1))),
    ("neutral-operand", lambda: ew.mul(x, 1.0), lambda: x),
    ("neutral-operand", lambda: ew.div(x, filled(1, 4, 6)), lambda: x),
    ("neutral-operand", lambda: ew.sub(x, 0.0), lambda: x),
    ("neutral-operand", lambda: ew.add(x, -0.0), lambda: x),
    ("neutral-operand", lambda: ew.add(i, 0), lambda: i),
    ("neutral-operand", lambda: ew.shl(i, 0), lambda: i),
    ("neutral-operand", lambda: ew.and_(flag, True), lambda: flag),
    ("same-operands", lambda: ew.maximum(x, x), lambda: x),
    ("twice", lambda: ew.neg(ew.neg(x)), lambda: x),
    ("twice", lambda: ew.relu(ew.relu(x)), lambda: ew.relu(x)),
    ("twice", lambda: ew.abs_(ew.neg(x)), lambda: ew.abs_(x)),
    ("negated-operand", lambda: ew.add(x, ew.neg(y)), lambda: ew.sub(x, y)),
    ("negated-operand", lambda: ew.add(ew.neg(x), y), lambda: ew.sub(y, x)),
    ("negated-operand", lambda: ew.sub(x, ew.neg(y)), lambda: ew.add(x, y)),
    ("negated-operand", lambda: ew.mul(ew.neg(x), 3.0), lambda: ew.mul(x, -3.0)),
    ("negated-operand", lambda: ew.div(ew.neg(x), ew.neg(y)), lambda: ew.div(x, y)),
    ("divide-by-power-of-two", lambda: ew.div(x, 4.0), lambda: ew.mul(x, 0.25)),
    ("small-power", lambda: ew.pow_(x, 2.0), lambda: ew.mul(x, x)),
    ("select", lambda: select(flag, x, x), lambda: x),
    ("select", lambda: select(const(True, BOOL), x, y), lambda: x),
    ("select", lambda: select(ew.not_(flag), x, y), lambda: select(flag, y, x)),
    ("select", lambda: select(flag, s, s), lambda: broadcast(s, (4, 6), ())),
    ("cast", lambda: cast(cast(x, F64), F16), lambda: cast(x, F16)),
    ("cast", lambda: cast(cast(x, F64), F32), lambda: x),
    ("cast", lambda: cast(cast(flag, F32), I32), lambda: cast(cast(flag, F32), I32)),
    ("bitcast", lambda: ew.bitcast(ew.bitcast(x, I32), U32), lambda: ew.bitcast(x, U32)),
    ("reshape-reshape", lambda: reshape(reshape(x, (24,)), (6, 4)), lambda: reshape(x, (6, 4))),
    ("reshape-reshape", lambda: Node.make(Reshape((4, 6)), [x]), lambda: x),
    ("reshape-broadcast", lambda: reshape(lit(3), (1, 1)), lambda: broadcast(lit(3), (1, 1), ())),
    (
        "reshape-broadcast",
        lambda: reshape(broadcast(row, (4, 6), (1,)), (4, 1, 6)),
        lambda: broadcast(row, (4, 1, 6), (2,)),
    ),
    (
        "broadcast-broadcast",
        lambda: broadcast(broadcast(row, (4, 6), (1,)), (2, 4, 6), (1, 2)),
        lambda: broadcast(row, (2, 4, 6), (2,)),
    ),
    ("broadcast-broadcast", lambda: Node.make(Broadcast((4, 6), (0, 1)), [x]), lambda: x),
    ("broadcast-units", lambda: broadcast(unit, (4, 6), (0, 1)), lambda: broadcast(reshape(unit, (6,)), (4, 6), (1,))),
    ("broadcast-units", lambda: broadcast(row, (1, 6), (1,)), lambda: reshape(row, (1, 6))),
    ("transpose-transpose", lambda: transpose(transpose(x, (1, 0)), (1, 0)), lambda: x),
    ("transpose-transpose", lambda: Node.make(Transpose((0, 1)), [x]), lambda: x),
    ("transpose-transpose", lambda: transpose(col, (1, 0)), lambda: reshape(col, (1, 4))),
    (
        "transpose-broadcast",
        lambda: transpose(broadcast(x, (5, 4, 6), (1, 2)), (2, 0, 1)),
        lambda: broadcast(transpose(x, (1, 0)), (6, 5, 4), (0, 2)),
    ),
    (
        "slice-slice",
        lambda: slice_(slice_(x, (0, 1), (4, 6)), (1, 0), (3, 5), (1, 2)),
        lambda: slice_(x, (1, 1), (3, 6), (1, 2)),
    ),
    ("slice-slice", lambda: reverse(reverse(x, (0,)), (0,)), lambda: x),
    ("slice-slice", lambda: Node.make(Slice((0, 0), (4, 6), (1, 1)), [x]), lambda: x),
    ("slice-concat", lambda: slice_axis(concat([x, y], 0), 0, 4, 8), lambda: y),
    ("slice-concat", lambda: slice_axis(concat([x, y], 1), 1, 7, 9), lambda: slice_axis(y, 1, 1, 3)),
    (
        "slice-broadcast",
        lambda: slice_axis(broadcast(row, (4, 6), (1,)), 1, 2, 5),
        lambda: broadcast(slice_(row, (2,), (5,)), (4, 3), (1,)),
    ),
    ("slice-pad", lambda: slice_(pad(x, (1, 0), (2, 3)), (1, 0), (5, 6)), lambda: x),
    ("pad-pad", lambda: pad(pad(x, (1, 0), (0, 0)), (0, 2), (1, 0)), lambda: pad(x, (1, 2), (1, 0))),
    ("pad-pad", lambda: Node.make(Pad((0, 0), (0, 0), (0, 0)), [x]), lambda: x),
    ("pad-fill", lambda: pad(filled(0, 2, 2), (1, 0), (1, 0)), lambda: filled(0, 4, 2)),
    ("concat-pieces", lambda: Node.make(Concat(0), [x]), lambda: x),
    ("concat-pieces", lambda: concat([slice_axis(x, 1, 0, 2), slice_axis(x, 1, 2, 6)], 1), lambda: x),
    ("concat-pieces", lambda: concat([x, tensor("none", 0, 6)], 0), lambda: x),
    ("concat-fill", lambda: concat([filled(1, 2, 3), filled(1, 4, 3)], 0), lambda: filled(1, 6, 3)),
    ("reduce-unit-axes", lambda: reduce_sum(unit, (0,)), lambda: reshape(unit, (6,))),
    ("reduce-unit-axes", lambda: reduce_max(unit, (0, 1)), lambda: reduce_max(reshape(unit, (6,)), (0,))),
    ("reduce-unit-axes", lambda: Node.make(Sum(()), [x]), lambda: x),
    ("reduce-reduce", lambda: reduce_sum(reduce_sum(cube, (1,)), (1,)), lambda: reduce_sum(cube, (1, 2))),
    ("reduce-reshape", lambda: reduce_sum(reshape(x, (4, 1, 6)), (2,)), lambda: reshape(reduce_sum(x, (1,)), (4, 1))),
    ("reduce-transpose", lambda: reduce_max(transpose(cube, (2, 0, 1)), (0,)), lambda: reduce_max(cube, (2,))),
    ("dot-transpose", lambda: dot(transpose(y, (1, 0)), x), lambda: dot(y, x, ta=True)),
    ("dot-transpose", lambda: dot(x, matrix_transpose(y)), lambda: dot(x, y, tb=True)),
    ("dot-transpose", lambda: dot(transpose(y, (1, 0)), y, ta=True, tb=True), lambda: dot(y, y, tb=True)),
]


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda at: f"{at}-{CASES[at][0]}")
def test_rule(case: int) -> None:
    """Each rule alone accounts for (part of) the change, and the whole pass gives the expected node."""
    name, before, after = CASES[case]
    root, wanted = before(), after()
    if root is not wanted:
        rw = Rewriter("simplify")
        Simplify().run(graph_of(root), rw)
        assert name in rw.hits
    assert simplified(root) == [wanted], f"{name}: {root} -> {simplified(root)}"


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {name for name, _, _ in CASES}
    assert all(rule.match.__doc__ for rule in RULES)


@pytest.mark.parametrize(
    "node",
    [
        lambda: ew.add(x, 0.0),  # -0 + 0 is 0
        lambda: ew.mul(x, 0.0),  # nan, inf
        lambda: ew.div(x, 3.0),  # 1/3 is not exact
        lambda: ew.div(x, 2.0**127),  # 2^-127 is denormal in f32
        lambda: ew.div(ew.neg(i), 2),
        lambda: ew.sub(x, -0.0),  # 0 - -0 is 0, -0 - -0 is 0
        lambda: cast(cast(x, F16), F32),
        lambda: cast(cast(tensor("u", 3, dtype=U32), F64), I32),  # saturates, would wrap
        lambda: cast(cast(i, F32), I32),  # 2^24 + 1
        lambda: ew.pow_(i, 2),
        lambda: reduce_sum(reduce_sum(cast(cube, F16), (0,)), (0,)),
        lambda: ew.maximum(lit(0), x),
        lambda: pad(pad(x, (1, 1), (1, 1), value=1.0), (1, 1), (1, 1), value=2.0),
        lambda: broadcast(row, (4, 6), (1,)),
        lambda: concat([concat([x, y], 0), x], 0),  # the inner one may have other readers
    ],
)
def test_is_left_alone(node: Callable[[], Node]) -> None:
    assert simplified(node()) == [node()]


def test_kept_axes_of_a_reduction_vanish() -> None:
    mean = ew.mul(reshape(reduce_sum(x, (1,)), (4, 1)), 1.0 / 6)
    centred = ew.sub(x, broadcast(mean, (4, 6), (0, 1)))
    assert simplified(centred) == [ew.sub(x, broadcast(ew.mul(reduce_sum(x, (1,)), 1.0 / 6), (4, 6), (0,)))]


def test_long_chains_and_determinism() -> None:
    node = x
    for k in range(2000):
        node = ew.neg(node) if k % 2 else ew.mul(ew.add(node, filled(1, 4, 6)), 1.0)
    first, second = simplified(node), simplified(node)
    assert first == second


def test_names_and_origins_stay() -> None:
    graph = graph_of(ew.exp(ew.mul(x, 1.0)))
    after = Manager(verify=False).step(Simplify(), graph)
    assert all(node in after.origins for node in after.nodes() if not node.op.is_literal(node))
    assert after.names[x] == "x"


def test_options_and_vetoes() -> None:
    (pass_,) = parse_pipeline("simplify{without=twice}")
    assert str(pass_) == "simplify{without=twice}"
    root = ew.neg(ew.neg(x))
    assert pass_.run(graph_of(root), Rewriter("simplify")).outputs[0].node is root

    class Never(Instrument):
        def action(self, pass_name: str, number: int, rule: str) -> bool:
            return False

    assert Manager([Never()], verify=False).step(Simplify(), graph_of(root)).outputs[0].node is root


# --------------------------------------------------------------------------------------------- values stay

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, np.inf, -np.inf, np.nan, 1e-40]
UNARY = [ew.neg, ew.abs_, ew.relu, ew.sign]
BINARY = [ew.add, ew.sub, ew.mul, ew.maximum, ew.minimum]


@st.composite
def programs(draw: st.DrawFn, dtype=F32) -> Graph:
    """Random graphs of elementwise, movement and reduction primitives over small tensors, empty ones included."""
    a = draw(st.sampled_from([1, 2, 3]))
    b = draw(st.sampled_from([0, 1, 2, 4]))
    pool = [
        tensor("a", a, b, dtype=dtype),
        tensor("b", a, b, dtype=dtype),
        tensor("r", b, dtype=dtype),
        tensor("s", dtype=dtype),
    ]
    for _ in range(draw(st.integers(2, 12))):
        node = draw(st.sampled_from(pool))
        kind = draw(
            st.sampled_from("unary binary literal broadcast reshape transpose slice pad concat reduce pads dot".split())
        )
        made = _step(draw, kind, node, pool)
        if made is not None and made.tensor.size <= 512:
            pool.append(made)
    return graph_of(*pool[-3:])


def _step(draw: st.DrawFn, kind: str, node: Node, pool: list[Node]) -> Node | None:
    same = [n for n in pool if n.shape == node.shape and n.dtype == node.dtype]
    if kind == "unary":
        return draw(st.sampled_from(UNARY))(node)
    if kind == "binary":
        return draw(st.sampled_from(BINARY))(node, draw(st.sampled_from(same)))
    if kind == "literal":
        value = draw(st.sampled_from([0, 1, 2] if node.dtype.kind == "u" else [0, 1, 2, -1]))
        filled_too = full(value, node.tensor) if draw(st.booleans()) else const(value, node.dtype)
        pair = [node, filled_too]
        return draw(st.sampled_from(BINARY))(*(pair if draw(st.booleans()) else pair[::-1]))
    if kind == "broadcast":
        at = draw(st.integers(0, node.rank))
        if draw(st.booleans()):
            return broadcast(
                node,
                (*node.shape[:at], draw(st.integers(0, 3)), *node.shape[at:]),
                [d + (d >= at) for d in range(node.rank)],
            )
        return broadcast(node, [3 if d == 1 else d for d in node.shape], range(node.rank))
    if kind == "reshape":
        at = draw(st.integers(0, node.rank))
        if draw(st.booleans()):
            return reshape(node, (*node.shape[:at], 1, *node.shape[at:]))
        return reshape(node, [d for d in node.shape if d != 1] if draw(st.booleans()) else (node.tensor.size,))
    if kind == "transpose":
        return transpose(node, draw(st.permutations(range(node.rank))))
    if kind == "slice" and node.rank:
        axis = draw(st.integers(0, node.rank - 1))
        lo = draw(st.integers(0, node.shape[axis]))
        hi = draw(st.integers(lo, node.shape[axis]))
        part = slice_axis(node, axis, lo, hi)
        return reverse(part, (axis,)) if draw(st.booleans()) else part
    if kind == "pad" and node.rank:
        widths = st.lists(st.integers(0, 2), min_size=node.rank, max_size=node.rank)
        return pad(node, draw(widths), draw(widths), value=draw(st.sampled_from([0.0, 1.0])))
    if kind == "concat" and node.rank:
        return concat([node, draw(st.sampled_from(same))], draw(st.integers(0, node.rank - 1)))
    if kind == "pads" and node.rank:
        axis, n = draw(st.integers(0, node.rank - 1)), 0
        n = node.shape[axis]
        before, after = [0] * node.rank, [0] * node.rank
        before[axis] = after[axis] = n
        none = [0] * node.rank
        return ew.add(pad(node, before, none), pad(draw(st.sampled_from(same)), none, after))
    if kind == "reduce" and node.rank:
        axes = draw(st.sets(st.integers(0, node.rank - 1)))
        return draw(st.sampled_from([reduce_sum, reduce_max]))(node, tuple(axes))
    if kind == "dot" and node.rank == 2:
        return dot(matrix_transpose(node), node)
    return None


def run_both(graph: Graph, values: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    after = Simplify().run(graph, Rewriter("simplify"))
    assert Simplify().run(after, Rewriter("simplify")) == after, "not a fixed point"
    old, new = evaluate(graph, values).outputs, evaluate(after, values).outputs
    return [(old[name], new[name]) for name in old]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(programs(), st.data())
def test_simplify_keeps_values(graph: Graph, data: st.DataObject) -> None:
    values = {}
    for node in graph.inputs:
        flat = data.draw(st.lists(st.sampled_from(SPECIAL), min_size=node.tensor.size, max_size=node.tensor.size))
        values[node.op.input_name] = np.array(flat, "f4").reshape(node.shape)
    for old, new in run_both(graph, values):
        assert old.dtype == new.dtype and old.shape == new.shape
        np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("dtype", [F32, I32, U8, I8, F64])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_small_integers_stay_bit_for_bit(dtype, data: st.DataObject) -> None:
    graph = data.draw(programs(dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = {n.op.input_name: rng.integers(0, 3, n.shape).astype(dtype.numpy) for n in graph.inputs}
    for old, new in run_both(graph, values):
        np.testing.assert_array_equal(new, old)


def test_dot_flags_in_f32() -> None:
    assert isinstance(simplified(dot(transpose(y, (1, 0)), x))[0].op, Dot)
