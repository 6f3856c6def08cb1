"""fuse: which values share a kernel; protects kernels from falling apart, and memory from results made too early."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import arrays_for, graph_of, run_native, to_program

from symc.ir.errors import IRError
from symc.ir.prims import (
    add,
    broadcast,
    const,
    conv,
    cumsum,
    dot,
    exp,
    mul,
    pad,
    reduce_sum,
    relu,
    reshape,
    reverse,
    rsqrt,
    sigmoid,
    slice_,
    sub,
    tanh,
    transpose,
)
from symc.ir.program.nodes import KernelStep
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, TensorType
from symc.passes.program.fuse import Fuse, explain_join

X = TensorType(F32, (16, 32))
W = TensorType(F32, (32, 32))


def kernels(function, **types):
    """The operations of every kernel, each once, in the order they run; the program's answers are checked."""
    graph = graph_of(function, **types)
    program = to_program(graph)
    arrays = arrays_for(graph)
    native = run_native(program, arrays)
    for name, value in evaluate(graph, arrays, "f64").outputs.items():
        np.testing.assert_allclose(native[name], value, atol=1e-4)
    steps = [step for step in program.steps if isinstance(step, KernelStep)]
    return [sorted({n.op.name for n in s.body.nodes() if n.inputs}) for s in steps]


def test_a_contraction_takes_in_what_follows() -> None:
    assert kernels(lambda x, w: relu(dot(x, w)), x=X, w=W) == [["dot", "relu"]]


def test_weights_turned_round_are_read_where_they_lie() -> None:
    """As the gradient of a convolution needs them: a copy of them would cost as much as the product."""

    def net(x, w):
        turned = reverse(transpose(w, (1, 0, 2, 3)), (2, 3))
        return conv(x, turned, (1, 1), (1, 1), 1)

    found = kernels(net, x=TensorType(F32, (2, 16, 9, 9)), w=TensorType(F32, (16, 24, 3, 3)))
    assert len(found) == 1 and "conv" in found[0]


def padded_conv(x, w, groups, other=False):
    around = (0, 0, 1, 1)
    wide = pad(x, around, around)
    made = relu(conv(wide, w, (1, 1), (1, 1), groups))
    return [made, wide] if other else made


def test_padding_of_a_depthwise_convolution_is_part_of_its_kernel() -> None:
    maps, filters = TensorType(F32, (2, 8, 9, 9)), TensorType(F32, (8, 1, 3, 3))
    assert kernels(lambda x, w: padded_conv(x, w, 8), x=maps, w=filters) == [["conv", "pad", "relu"]]
    assert kernels(lambda x, w: padded_conv(x, w, 8, True), x=maps, w=filters) == [["pad"], ["conv", "relu"]]


def test_padding_of_other_convolutions_is_a_kernel_of_its_own() -> None:
    maps = TensorType(F32, (1, 8, 9, 9))
    found = kernels(lambda x, w: padded_conv(x, w, 2), x=maps, w=TensorType(F32, (8, 4, 3, 3)))
    assert found == [["pad"], ["conv", "relu"]]
    large = TensorType(F32, (1, 2, 400, 400))  # a plane that no near cache holds
    found = kernels(lambda x, w: padded_conv(x, w, 2), x=large, w=TensorType(F32, (2, 1, 3, 3)))
    assert found == [["pad"], ["conv", "relu"]]


@pytest.mark.parametrize(("channels", "size", "apart"), [(8, 40, True), (8, 20, False), (1000, 3, False)])
def test_dear_values_are_not_computed_again_for_every_place(channels, size, apart) -> None:
    """The factors of a normalization: once, where they are used often enough for a kernel of their own."""

    def net(x, v):
        return x * broadcast(rsqrt(v * v + 1.0) * v, x.shape, (1,))

    maps, vectors = TensorType(F32, (1, channels, size, size)), TensorType(F32, (channels,))
    assert len(kernels(net, x=maps, v=vectors)) == 1 + apart


def test_rows_and_values_of_one_space_are_one_kernel() -> None:
    def softmax(x):
        top = exp(x)
        return top / broadcast(reduce_sum(top, (1,)), top.shape, (0,))

    assert len(kernels(softmax, x=X)) == 1


def test_values_of_one_computed_value_are_one_kernel() -> None:
    """The gates of a recurrent cell, which are all wanted later, and the state they make."""

    def cell(x, w, c):
        y = dot(x, w)
        i, f, u = (slice_(y, (0, 8 * k), (16, 8 * k + 8)) for k in range(3))
        i, f, u = sigmoid(i), sigmoid(f), tanh(u)
        return [add(mul(f, c), mul(i, u)), i, f, u]

    found = kernels(cell, x=X, w=W, c=TensorType(F32, (16, 8)))
    assert found == [["dot"], ["add", "mul", "sigmoid", "slice", "tanh"]]


def test_values_of_a_parameter_are_made_where_they_are_read() -> None:
    """A parameter's memory is never freed, so that computing from it early would only keep results alive."""
    found = kernels(lambda x, w: dot(tanh(x), w) + dot(dot(sigmoid(x), w), w), x=X, w=W)
    assert ["tanh"] in found and ["sigmoid"] in found


def test_a_value_does_not_wait_for_another() -> None:
    """The difference reads of y what tanh reads, but also a product, which tanh would have to wait for."""

    def net(x, w):
        y = slice_(dot(x, w), (0, 0), (16, 16))
        late = slice_(dot(dot(x, w + 1.0), w), (0, 0), (16, 16))
        return [tanh(y), sub(late, y)]

    assert ["slice", "tanh"] in kernels(net, x=X, w=W)


def test_a_result_may_be_a_constant_number() -> None:
    """As the gradient of a scalar that nothing depends on."""
    assert kernels(lambda x: [tanh(x), const(2.5, F32)], x=X) == [["tanh"], []]


@pytest.mark.parametrize("rows", [True, False])
def test_values_of_other_shapes_stay_apart(rows: bool) -> None:
    def net(x, w):
        y = dot(x, w)
        part = slice_(y, (0, 0), (8, 32)) if rows else slice_(y, (0, 0), (16, 16))
        return [tanh(y), sigmoid(part), tanh(part)]

    assert ["sigmoid", "slice", "tanh"] in kernels(net, x=X, w=W)


# --------------------------------------------------------------------------------------------- why not


def refused(function, one: str, other: str, options: Fuse | None = None, **types) -> tuple[str, str]:
    """The rule and the reason why two values, given by the names of their primitives, are not one kernel."""
    graph = graph_of(function, **types)
    named = {node: name.removeprefix("net.") for node, name in graph.names.items()}
    back = {name: graph.names[node] for node, name in named.items()}
    found = explain_join(graph, back[one], back[other], options)
    return ("", "") if found is None else (found.rule, found.reason)


def gated(x, w):
    return tanh(dot(x, w))


def shifted(x, w):
    return tanh(reverse(dot(x, w), (0,)))


def parted(x, w):
    return tanh(slice_(dot(x, w), (0, 0), (16, 8)))


def normed(x):
    total = reduce_sum(exp(x), (1,))
    return x / broadcast(reduce_sum(x, (0,)), x.shape, (1,)) + broadcast(total, x.shape, (0,))


CASES = {
    "joined": (gated, "dot", "tanh", None, ("", "")),
    "options": (gated, "dot", "tanh", Fuse(epilogues=False), ("epilogue", "epilogues=false")),
    "size": (gated, "dot", "tanh", Fuse(max_ops=1), ("size", "more than max-ops=1")),
    "another index": (shifted, "dot", "tanh", None, ("epilogue", "reads %net.dot at another index")),
    "another shape": (
        parted,
        "dot",
        "tanh",
        None,
        ("epilogue", "it has shape [16, 8], the loop nest's result [16, 32]"),
    ),
    "nests": (lambda x, w: dot(dot(x, w), w), "dot", "dot.1", None, ("kinds", "loop nest begins a kernel of its own")),
    "apart": (lambda x, w: [tanh(x), sigmoid(w)], "tanh", "sigmoid", None, ("apart", "nothing that both read")),
    "parameters": (
        lambda x, w: [tanh(x), sigmoid(slice_(x, (0, 0), (8, 8)))],
        *("tanh", "sigmoid", None, ("ready", "parameters only")),
    ),
    "memory": (lambda x, w: tanh(exp(x)), "exp", "tanh", None, ("memory", "that reads it computes it again")),
    "no epilogue": (lambda x, w: tanh(cumsum(x, 0)), "cumsum", "tanh", None, ("epilogue", "cumsum takes no epilogue")),
    "no reduction": (
        lambda x, w: reduce_sum(dot(x, w), (0,)),
        *("dot", "sum", None, ("kinds", "a reduction does not join a loop nest")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_why_two_values_are_not_one_kernel(name: str) -> None:
    function, one, other, options, (rule, reason) = CASES[name]
    found = refused(function, one, other, options, x=X, w=W)
    assert found == refused(function, other, one, options, x=X, w=W)
    assert found[0] == rule and reason in found[1], found


def test_other_axes_are_told() -> None:
    rule, reason = refused(normed, "sum", "sum.1", x=X)
    assert rule == "space" and reason.startswith("it reduces axes [")


def test_a_cycle_is_told() -> None:
    """A value that needs a product of the kernel's result cannot join the kernel."""

    def net(x):
        total = reduce_sum(exp(x), (1,))
        square = reshape(total, (4, 4))
        return [total, x * broadcast(reduce_sum(dot(square, square), (0, 1)), x.shape, ())]

    rule, reason = refused(net, "sum", "mul", x=X)
    assert rule == "cycle" and "is computed from what the kernel makes" in reason


def test_of_many_readers_the_latest_are_tried() -> None:
    """A limit of fuse, which saves time and is not silent."""

    def net(x):
        return [*(tanh(slice_(x, (0, k), (16, k + 3))) for k in range(6)), reduce_sum(x, (1,))]

    rule, reason = refused(net, "tanh", "sum", x=X)
    assert rule == "recent" and "the latest 4 are tried" in reason


def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(IRError, match="no value of net is named %nothing"):
        explain_join(graph_of(gated, x=X, w=W), "nothing", "net.dot")
