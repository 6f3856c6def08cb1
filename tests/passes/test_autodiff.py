"""Protects autodiff: gradients against finite differences (second order too), what becomes an input, an output or an
update, and loss heads' own rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from symc.ir.errors import IRError, TypeMismatch
from symc.ir.op import Node, input_node
from symc.ir.origins import SymOrigin, symbols_of
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad, host_call
from symc.ir.prims.indexing import gather, sort
from symc.ir.prims.linear import dot
from symc.ir.prims.movement import broadcast, concat, pad, reshape, reverse, slice_, slice_axis, transpose
from symc.ir.prims.pullback import pullback
from symc.ir.prims.reduce import cumsum, reduce_max, reduce_prod, reduce_sum
from symc.ir.prims.tuples import results
from symc.ir.tensor.graph import Graph, Update, finish
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, I32, TensorType
from symc.passes.manager.manager import Manager, Pass
from symc.passes.tensor.autodiff import Autodiff, grad_name, head_name
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.simplify import Simplify

x = input_node("x", TensorType(F64, (3, 4)))
y = input_node("y", TensorType(F64, (3, 4)))
w = input_node("w", TensorType(F64, (4, 2)))
s = input_node("s", TensorType(F64, ()))
idx = input_node("idx", TensorType(I32, (2,)), "data")


def graph_of(*roots: Node, inputs: tuple[Node, ...] = (x, y, w, s, idx), updates: tuple[Update, ...] = ()) -> Graph:
    outputs = [(f"out{i}", r) for i, r in enumerate(roots)]
    nodes = finish("g", inputs, outputs, updates).nodes()
    return finish("g", inputs, outputs, updates, origins={n: SymOrigin(n.op.name, "Op") for n in nodes})


def values(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {n.op.input_name: rng.uniform(0.3, 1.7, n.shape) for n in (x, y, w, s)}
    return {**made, "idx": np.array([2, 0], np.int32)}


def run(graph: Graph, *passes: Pass) -> Graph:
    made: Graph = Manager().run(passes, graph)
    return made


#: functions of x (and y, w, s) to differentiate with respect to all of x, y, w, s
FUNCTIONS: dict[str, Callable[[], Node]] = {
    "arithmetic": lambda: ew.div(ew.mul(ew.add(x, y), ew.sub(x, 2.0)), y),
    "scalar operand": lambda: ew.mul(ew.add(x, s), ew.pow_(y, s)),
    "transcendental": lambda: ew.add(ew.exp(ew.sin(x)), ew.log(ew.add(ew.tanh(y), ew.sigmoid(x)))),
    "extrema": lambda: ew.add(ew.maximum(x, y), ew.minimum(x, ew.mul(y, 0.5))),
    "used often": lambda: ew.mul(ew.mul(x, x), ew.add(x, ew.mul(x, y))),
    "movement": lambda: concat([transpose(x, (1, 0)), reshape(reverse(y, (1,)), (4, 3))], 1),
    "slices": lambda: pad(slice_(x, (0, 1), (3, 4), (2, 2)), (1, 0), (0, 1), (1, 0)),
    "overlap": lambda: ew.mul(slice_axis(x, 1, 0, 3), slice_axis(x, 1, 1, 4)),
    "broadcast": lambda: ew.mul(broadcast(reduce_sum(x, (1,)), (3, 4), (0,)), y),
    "softmax": lambda: ew.div(ew.exp(x), broadcast(reduce_sum(ew.exp(x), (1,)), (3, 4), (0,))),
    "reductions": lambda: ew.mul(reduce_max(x, (0,)), ew.mul(reduce_prod(y, (0,)), reduce_sum(x, (0,)))),
    "dot": lambda: dot(ew.tanh(dot(x, w)), w, tb=True),
    "gather": lambda: gather(x, idx, 0),
    "cumsum": lambda: cumsum(ew.mul(x, y), 1),
    "sort": lambda: ew.mul(results(sort(x, 1))[0], y),
}


def numeric(graph: Graph, given: dict[str, np.ndarray], name: str, heads: dict[str, np.ndarray]) -> np.ndarray:
    """Central differences of sum(head * output) over all outputs."""
    gradient = np.zeros_like(given[name])
    step = 1e-5
    for at in np.ndindex(gradient.shape):
        sides = []
        for sign in (1, -1):
            moved = {**given, name: given[name].copy()}
            moved[name][at] += sign * step
            made = evaluate(graph, moved).outputs
            sides.append(sum(float((made[n] * h).sum()) for n, h in heads.items()))
        gradient[at] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def heads_of(graph: Graph, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {o.name: rng.uniform(0.5, 1.5, o.node.shape) for o in graph.outputs}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_order(name: str) -> None:
    graph = graph_of(FUNCTIONS[name]())
    given, heads = values(), heads_of(graph)
    after = run(graph, Autodiff(), Simplify())
    made = evaluate(after, {**given, **{head_name(n): h for n, h in heads.items()}}).outputs
    for wrt in ("x", "y", "w", "s"):
        np.testing.assert_allclose(made[grad_name(wrt)], numeric(graph, given, wrt, heads), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("sort", "gather")])
def test_second_order(name: str) -> None:
    """The gradient graph is differentiated again, with respect to x."""
    first = run(graph_of(FUNCTIONS[name]()), Autodiff(wrt=("x",), ones=True))
    gradient = {o.name: o.node for o in first.outputs}[grad_name("x")]
    graph = graph_of(ew.mul(gradient, y))
    given, heads = values(3), heads_of(graph)
    after = run(graph, Autodiff(wrt=("x",)))
    made = evaluate(after, {**given, **{head_name(n): h for n, h in heads.items()}}).outputs
    np.testing.assert_allclose(made[grad_name("x")], numeric(graph, given, "x", heads), rtol=2e-5, atol=1e-6)


def test_outputs_inputs_and_names() -> None:
    after = run(graph_of(ew.mul(x, y), ew.exp(x)), Autodiff(wrt=("x",)))
    assert [o.name for o in after.outputs] == ["out0", "out1", "x.grad"]
    assert [i.op.input_name for i in after.inputs] == ["x", "y", "w", "s", "idx", "out0.head", "out1.head"]
    assert after.inputs[-1].op.role == "head"
    assert after.names[{o.name: o.node for o in after.outputs}["x.grad"]] == "x.grad"


def test_no_wrt_means_all_float_arguments() -> None:
    after = run(graph_of(gather(x, idx, 0)), Autodiff())
    assert [o.name for o in after.outputs[1:]] == ["x.grad", "y.grad", "w.grad", "s.grad"]


def test_an_argument_without_influence_has_a_zero_gradient() -> None:
    after = run(graph_of(ew.floor(x)), Autodiff(wrt=("x", "w"), ones=True))
    made = evaluate(after, values()).outputs
    assert not made["x.grad"].any() and made["w.grad"].shape == (4, 2) and not made["w.grad"].any()


def test_add_accumulates_in_an_update() -> None:
    after = run(graph_of(ew.mul(x, 3.0)), Autodiff(wrt=("x", "y"), add=("x",), ones=True))
    assert [o.name for o in after.outputs] == ["out0", "y.grad"]
    (update,) = after.updates
    assert (update.input, update.phase) == ("x.grad", "backward")
    held = np.full((3, 4), 10.0)
    assert (evaluate(after, {**values(), "x.grad": held}).updates["x.grad"] == 13.0).all()


def test_an_output_that_is_an_argument() -> None:
    after = run(graph_of(x), Autodiff(wrt=("x",)))
    head = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(evaluate(after, {**values(), "out0.head": head}).outputs["x.grad"], head)


def test_one_output_twice() -> None:
    root = ew.mul(x, 2.0)
    after = run(graph_of(root, root), Autodiff(wrt=("x",)))
    ones = np.ones((3, 4))
    made = evaluate(after, {**values(), "out0.head": ones, "out1.head": 3 * ones}).outputs
    assert (made["x.grad"] == 8.0).all()


def test_loss_heads_have_their_own_rule_and_need_no_head() -> None:
    """(p - label) whatever comes from outside, as SoftmaxOutput."""
    loss = custom_grad([x, y], lambda a, b: ew.sigmoid(a), lambda ins, outs, cts: [ew.sub(outs[0], ins[1])])
    assert isinstance(loss, Node)
    after = run(graph_of(loss), Autodiff(wrt=("x", "y")), Inline(), Simplify())
    assert all(i.op.role != "head" for i in after.inputs)
    given = values()
    made = evaluate(after, given).outputs
    np.testing.assert_allclose(made["x.grad"], 1 / (1 + np.exp(-given["x"])) - given["y"])
    assert not made["y.grad"].any()


def test_updates_stay() -> None:
    update = Update("s", ew.add(s, 1.0), "backward")
    after = run(graph_of(ew.mul(x, s), updates=(update,)), Autodiff(wrt=("x",)))
    assert after.updates == (update,)


def test_every_new_value_knows_its_symbol() -> None:
    after = run(graph_of(ew.exp(dot(x, w))), Autodiff())
    gradient = {o.name: o.node for o in after.outputs}["w.grad"]
    assert {o.name for o in symbols_of(after.origins[gradient])} == {"dot"}
    assert all(symbols_of(after.origins[n]) for n in after.nodes() if n in after.origins)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(IRError, match="'q' is not an argument; there are x, y, w, s, idx"):
        run(graph_of(x), Autodiff(wrt=("q",)))


def test_deep_chains() -> None:
    node: Node = input_node("x", TensorType(F32, (2,)))
    root = node
    for _ in range(3000):
        root = ew.mul(root, 1.0001)
    graph = graph_of(root, inputs=(node,))
    made = evaluate(run(graph, Autodiff(ones=True)), {"x": np.ones(2, np.float32)}).outputs["x.grad"]
    np.testing.assert_allclose(made, 1.0001**3000, rtol=1e-3)


def test_applied_twice_it_differentiates_the_gradients_too() -> None:
    after = run(graph_of(ew.sin(x)), Autodiff(wrt=("x",)), Autodiff(wrt=("x",)))
    assert [o.name for o in after.outputs] == ["out0", "x.grad", "x.grad2"]
    given = values()
    heads = {"out0.head": np.full((3, 4), 2.0), "out0.head2": np.full((3, 4), 3.0), "x.grad.head2": given["y"]}
    made = evaluate(after, {**given, **heads}).outputs["x.grad2"]
    np.testing.assert_allclose(made, 3 * np.cos(given["x"]) - 2 * np.sin(given["x"]) * given["y"])


def test_integer_outputs_have_heads_and_truth_values_none() -> None:
    after = run(graph_of(ew.cast(x, I32), ew.gt(x, y)), Autodiff(wrt=("x",)))
    assert [n.op.input_name for n in after.inputs if n.op.role == "head"] == ["out0.head"]
    head = np.arange(12, dtype=np.int32).reshape(3, 4)
    np.testing.assert_array_equal(evaluate(after, {**values(), "out0.head": head}).outputs["x.grad"], head)


def test_what_nothing_can_flow_back_through_is_never_asked() -> None:
    """A function in Python has no gradient, but behind one that stops gradients that does not matter."""
    still = custom_grad([x], lambda a: a, lambda ins, outs, cts: [None])
    assert isinstance(still, Node)
    for source in (still, ew.floor(x)):
        made = host_call("tests.nobody", [source], [source.tensor])
        assert isinstance(made, Node)
        assert [o.name for o in run(graph_of(ew.exp(made)), Autodiff(wrt=("x",))).outputs] == ["out0", "x.grad"]
    made = host_call("tests.nobody", [x], [x.tensor])
    assert isinstance(made, Node)
    with pytest.raises(TypeMismatch, match="nobody knows the gradient of 'tests.nobody'"):
        run(graph_of(made), Autodiff(wrt=("x",)))


def test_saved_results_pass_cotangents_through_the_body() -> None:
    """The rule of exp(a) reads a saved result; the second derivative still sees how that depends on a."""
    y, _ = custom_grad([x], lambda a: [ew.exp(a), ew.exp(a)], lambda i, outs, cts: [ew.mul(cts[0], outs[1])], saved=1)
    ones = np.ones((3, 4))
    twice = run(graph_of(y), Autodiff(wrt=("x",)), Autodiff(wrt=("x",)))
    heads = {"out0.head": ones, "out0.head2": 0 * ones, "x.grad.head2": ones}
    np.testing.assert_allclose(evaluate(twice, {**values(), **heads}).outputs["x.grad2"], np.exp(values()["x"]))


def test_an_operand_computed_from_another_is_not_counted_twice() -> None:
    """Cotangents of saved results end at the operands: from there on they flow back once, with the rule's."""
    below = ew.exp(ew.sin(x))
    above = ew.add(ew.mul(below, below), 1.0)

    def rule(ins: Sequence[Node], outs: Sequence[Node], cts: Sequence[Node]) -> list[Node | None]:
        return [ew.mul(cts[0], ew.div(outs[1], i)) for i in ins]

    product, _ = custom_grad([above, below], lambda a, b: [ew.mul(a, b), ew.mul(a, b)], rule, saved=1)
    heads = {"out0.head": 2.0, "out0.head2": 3.0, "x.grad.head2": 5.0}
    given = {**values(), **{name: np.full((3, 4), value) for name, value in heads.items()}}
    twice = [run(graph_of(y), Autodiff(wrt=("x",)), Autodiff(wrt=("x",))) for y in (product, ew.mul(above, below))]
    found, expected = (evaluate(graph, given).outputs["x.grad2"] for graph in twice)
    np.testing.assert_allclose(found, expected)


def test_a_sweep_ends_at_its_targets() -> None:
    made = pullback([ew.mul(ew.exp(x), x)], [y], [ew.exp(x), x])
    assert made == [ew.mul(y, x), ew.mul(y, ew.exp(x))]
