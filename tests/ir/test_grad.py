"""Protects the gradient rules: of every primitive, first and second order, against central differences in doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from symc.ir import prims as p
from symc.ir.errors import TypeMismatch
from symc.ir.op import PRIMITIVES, Node, Primitive, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.tensor.graph import topological
from symc.ir.tensor.interp import evaluate_nodes
from symc.ir.types import F32, F64, I64, TensorType

STEP = 1e-5
Env = dict[Node, np.ndarray]


def scalar_of(outs: Sequence[Node], seed: int, env: Env) -> Node:
    """A sum of all elements with fixed random weights (which join `env`); 0 if there is nothing to sum."""
    rng = np.random.default_rng(seed)
    total = p.const(0.0, F64)
    for i, out in enumerate(outs):
        if out.dtype.is_float:
            weight = input_node(f"w{seed}.{i}", out.tensor)
            env[weight] = rng.uniform(0.5, 1.5, out.shape)
            total = total + p.cast(p.reduce_sum(out * weight, tuple(range(out.rank))), F64)
    return total


def differences(value: Node, at: Node, env: Env) -> np.ndarray:
    """The derivative of a scalar node in an input, by central differences."""
    made = np.zeros(at.shape)
    for index in np.ndindex(*at.shape):
        ends = []
        for side in (STEP, -STEP):
            moved = env[at].copy()
            moved[index] += side
            ends.append(float(evaluate_nodes([value], {**env, at: moved}, "f64")[value]))
        made[index] = (ends[0] - ends[1]) / (2 * STEP)
    return made


def check(value: Node, ins: Sequence[Node], env: Env, note: str) -> list[Node]:
    """The pullback of a scalar is its derivative in all float inputs. Returns the gradients that exist."""
    found = p.pullback([value], [p.const(1.0, F64)], ins)
    for x, g in zip(ins, found):
        if not x.dtype.is_float:
            assert g is None, f"{note}: integers have no cotangent"
            continue
        if g is not None:
            assert g.type == x.type, note
        made = np.zeros(x.shape) if g is None else evaluate_nodes([g], env, "f64")[g]
        np.testing.assert_allclose(made, differences(value, x, env), rtol=2e-6, atol=2e-7, err_msg=note)
    return [g for g in found if g is not None]


def setting(sample: Any) -> tuple[list[Node], list[Node], Env]:
    ins, outs = sample.nodes()
    return ins, outs, {x: np.asarray(a, np.float64 if x.dtype.is_float else None) for x, a in zip(ins, sample.arrays)}


def test_every_primitive_is_checked_or_has_no_derivative(samples: list[Any]) -> None:
    checked = {s.primitive for s in samples if s.grad}
    without = {
        "and", "or", "xor", "shl", "shr", "not", "bitcast", "argmax", "argmin", "random_bits", "fold_key",
        "host_call", "trigamma",
    }  # fmt: skip
    assert checked | without == set(PRIMITIVES) and not checked & without


def test_gradient_is_the_derivative(sample: Any) -> None:
    ins, outs, env = setting(sample)
    value = scalar_of(outs, 1, env)
    if not sample.grad:
        if sample.primitive == "host_call":
            with pytest.raises(TypeMismatch, match="nobody knows the gradient"):
                p.pullback([value], [p.const(1.0, F64)], ins)
            return
        # none by definition: asking for it is allowed and gives cotangents of the right type, or nothing
        for x, g in zip(ins, p.pullback([value], [p.const(1.0, F64)], ins)):
            assert g is None or g.type == x.type
        return
    grads = check(value, ins, env, str(sample))
    if sample.second and grads:
        check(scalar_of(grads, 2, env), ins, env, f"{sample}, second order")


def test_rules_accept_a_missing_cotangent(sample: Any) -> None:
    """A result nobody asked about has no cotangent: rules answer with None (or a zero), and do not fail."""
    ins, outs, env = setting(sample)
    for node in topological(outs):
        if node.inputs and node.op.name not in ("get", "loop", "branch", "custom_grad", "sort"):
            given = node.op.grad(node, [None])
            assert len(given) == len(node.inputs) and all(g is None for g in given)


# --------------------------------------------------------------------------------------------- conventions


def gradient(build: Callable[[Node], Node], x: np.ndarray) -> np.ndarray:
    a = input_node("x", TensorType(F64, x.shape))
    y = build(a)
    (g,) = p.pullback([y], [p.full(1.0, y.tensor)], [a])
    return np.zeros(x.shape) if g is None else evaluate_nodes([g], {a: x})[g]


@pytest.mark.parametrize(
    "build, x, expected",
    [
        (p.abs_, [0.0, -1.0], [0, -1]),
        (p.relu, [0.0, 1.0], [0, 1]),
        (p.floor, [0.5, 1.5], [0, 0]),
        (lambda a: p.maximum(a, p.const(1.0, F64)), [1.0, 0.0, 2.0], [1, 0, 1]),
        (lambda a: p.minimum(a, p.const(1.0, F64)), [1.0, 0.0, 2.0], [1, 1, 0]),
        (lambda a: p.reduce_max(a, (0,)), [2.0, 1.0, 2.0], [1, 0, 1]),
        (lambda a: p.reduce_min(a, (0,)), [1.0, 1.0, 2.0], [1, 1, 0]),
        (lambda a: p.window_max(a, (3,), (3,)), [2.0, 1.0, 2.0], [1, 0, 0]),
        (lambda a: p.cast(p.cast(a, F32), F64), [1.0], [1]),
        (lambda a: p.cast(p.cast(a, I64), F64), [1.5], [1]),
        (lambda a: p.cast(p.mod(p.cast(a, I64), p.const(4, I64)), F64), [-7.0, 9.0], [0, 0]),
        (lambda a: p.cast(p.mod(p.const(-7, I64), p.cast(a, I64)), F64), [4.0, 3.0], [0, 0]),
        (lambda a: p.cast(p.div(p.const(9, I64), p.cast(a, I64)), F64), [2.0, 4.0], [-2, 0]),
        (lambda a: p.cast(p.pow_(p.cast(a, I64), p.const(3, I64)), F64), [-2.0, 3.0], [12, 27]),
        (lambda a: p.cast(p.pow_(p.const(5, I64), p.cast(a, I64)), F64), [3.0, 0.0], [201, 1]),
        (lambda a: p.reduce_sum(a * a, (0,)), [], []),
        (lambda a: a + a + a, [1.0], [3]),
    ],
)
def test_gradient_convention(build: Callable[[Node], Node], x: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(gradient(build, np.array(x)), expected)


def test_custom_rule_replaces_the_derivative() -> None:
    def doubled(a: Node) -> Node:
        made = p.custom_grad([a], lambda x: x * x, lambda ins, outs, cts: [cts[0] * 7.0 + outs[0] * 0.0])
        assert isinstance(made, Node)
        return made

    np.testing.assert_array_equal(gradient(doubled, np.array([3.0])), [7.0])


def test_custom_rule_of_several_results_gets_zeros_for_unused_ones() -> None:
    def both(a: Node) -> Node:
        made = p.custom_grad([a, a], lambda x, y: [x + y, x * y], lambda ins, outs, cts: [cts[0] + 10.0 * cts[1], None])
        assert isinstance(made, list)
        return made[0]

    np.testing.assert_array_equal(gradient(both, np.array([3.0])), [1.0])


def test_an_operand_used_twice_collects_both() -> None:
    def build(a: Node) -> Node:
        carries, _, _ = p.loop(lambda c, r, k: ([c[0] * k[0]], []), [a], [], [a], 3)
        return carries[0]

    np.testing.assert_allclose(gradient(build, np.array([1.5])), [4 * 1.5**3])


def test_loops_without_turns_pass_the_cotangent() -> None:
    def build(a: Node) -> Node:
        carries, _, count = p.loop(
            lambda c, r, k: ([p.log(c[0])], []), [a], trips=5, cond=lambda c, r, k: p.gt(p.reduce_sum(c[0], (0,)), 1e9)
        )
        assert count is not None
        return carries[0] * 2.0

    np.testing.assert_array_equal(gradient(build, np.array([-1.0, 3.0])), [2, 2])
    none = lambda a: p.loop(lambda c, r, k: ([p.log(c[0])], []), [a], trips=0)[0][0]
    np.testing.assert_array_equal(gradient(none, np.array([-1.0])), [1])


def test_loops_inside_loops() -> None:
    def build(a: Node) -> Node:
        def inner(c: list[Node], r: list[Node], k: list[Node]) -> tuple[list[Node], list[Node]]:
            return [c[0] * k[0]], []

        def outer(c: list[Node], r: list[Node], k: list[Node]) -> tuple[list[Node], list[Node]]:
            return p.loop(inner, [c[0]], [], [k[0]], 2)[0], []

        return p.loop(outer, [a * 0.0 + 1.0], [], [a], 3)[0][0]

    np.testing.assert_allclose(gradient(build, np.array([1.3])), [6 * 1.3**5])


def test_only_the_program_itself_is_recorded() -> None:
    """What is traced into a primitive has no place in the program that is being built."""
    with Recorder() as recorder, recorder.at(SymOrigin("here", "Test")):
        a = input_node("x", TensorType(F64, (3,)))
        carries, ys, _ = p.loop(lambda c, r, k: ([p.tanh(c[0])], [c[0]]), [a], trips=2)
        p.pullback([carries[0]], [carries[0]], [a])
    assert not any(n.op.name == "tanh" for n in recorder.origins)
    assert {carries[0], ys[0]} <= set(recorder.origins)


def test_asking_for_a_gradient_that_does_not_exist_fails() -> None:
    class Strange(Primitive):
        name = "strange"

        def type(self, ins: Sequence[TensorType]) -> TensorType:
            return ins[0]

    x = input_node("x", TensorType(F64, (2,)))
    y = Node.make(Strange(), [x])
    with pytest.raises(TypeMismatch, match="strange has no gradient"):
        p.pullback([y], [x], [x])
