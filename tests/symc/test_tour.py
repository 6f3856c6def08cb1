"""The tour: one perceptron, followed from the Symbol to native code.

Read it from top to bottom (and run it with `pytest -s tests/symc/test_tour.py` to see every stage whole). Each step
runs one pass of the compiler and shows the lines that matter in the text form of what came out; the numbers are
checked at every level against plain numpy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import symc as mx
from symc.cli.inputs import symbol_input
from symc.codegen.emit.kernel import emit_kernel
from symc.codegen.target import host_target
from symc.compile import emit
from symc.ir.loop.interp import run_loop_module
from symc.ir.origins import symbols_of
from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.text import print_module
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import Manager, Module, Pass
from symc.passes.program.fuse import Fuse
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.passes.tensor.simplify import Simplify

# --------------------------------------------------------------------------------------------- what is computed


def perceptron() -> mx.sym.Symbol:
    """tanh(data · weightᵀ + bias), fitted to a label by least squares."""
    data = mx.sym.Variable("data")
    fc = mx.sym.FullyConnected(data, num_hidden=2, name="fc")
    act = mx.sym.Activation(fc, act_type="tanh", name="act")
    return mx.sym.LinearRegressionOutput(act, name="out")


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = {"data": (4, 3), "fc_weight": (2, 3), "fc_bias": (2,), "out_label": (4, 2)}
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def by_hand(v: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same in numpy: the output and the gradients of the parameters."""
    out = np.tanh(v["data"] @ v["fc_weight"].T + v["fc_bias"])
    # LinearRegressionOutput's gradient is (out - label) / (outputs per row)
    d_fc = (out - v["out_label"]) / 2 * (1 - out * out)
    return {"out_output": out, "fc_weight.grad": d_fc.T @ v["data"], "fc_bias.grad": d_fc.sum(0)}


def agree(found: dict[str, np.ndarray]) -> None:
    wanted = by_hand(inputs())
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=2e-6, atol=1e-6, err_msg=name)


# --------------------------------------------------------------------------------------------- pass by pass


class Tour:
    """The compiler stopped after every pass."""

    def __init__(self) -> None:
        self.manager = Manager(verify=True)
        self.module: Module = symbol_input(perceptron(), {"data": (4, 3)}).module

    def step(self, pass_: Pass) -> str:
        self.module = self.manager.step(pass_, self.module)
        # The text form loses nothing: printing what was read from it gives it again.
        whole = print_module(self.module)
        assert print_module(parse(whole)) == whole
        text = print_module(self.module, locs=False)
        print(f"\n===== after {pass_} =====\n{text}")
        return text


def shows(text: str, lines: str) -> None:
    """Every line stands in the text, in this order; `...` at an end stands for anything."""
    left: Iterator[str] = iter(text.splitlines())
    for line in lines.strip().splitlines():
        wanted = line.strip()
        for found in left:
            found = found.strip()
            if found == wanted or wanted.endswith("...") and found.startswith(wanted[:-3]):
                break
        else:
            pytest.fail(f"missing, or out of order: {wanted}\nin\n{text}")


def test_tour() -> None:
    tour = Tour()

    # Level 0, the symbol graph: what the user wrote. Operators have names and text attributes, but no types: they
    # came from infer_shape, which found the parameters' shapes from data's.
    text = print_module(tour.module, locs=False)
    print(text)
    shows(
        text,
        """
        graph @out...
        %fc = FullyConnected(%data, %fc_weight, %fc_bias) {num_hidden="2"}
        %act = Activation(%fc) {act_type="tanh"}
        %out = LinearRegressionOutput(%act, %out_label)
        """,
    )
    assert str(tour.module.types["fc_weight"]) == "f32[2,3]"

    # Level 1, the tensor graph: every operator has said what it is in primitives. Every value has a type, and is the
    # only one of its kind: common subexpressions are shared by construction. The loss keeps its own gradient, as a
    # body (the data passes through) and a rule.
    text = tour.step(Decompose(train=True))
    shows(
        text,
        """
        %fc.dot: f32[4,2] = dot(%data, %fc_weight) {tb=true}
        %fc.broadcast: f32[4,2] = broadcast(%fc_bias) {dims=[1]}
        %fc: f32[4,2] = add(%fc.dot, %fc.broadcast)
        %act: f32[4,2] = tanh(%fc)
        %out: f32[4,2] = custom_grad(%act, %out_label) {
        rule(...
        %sub: f32[4,2] = sub(%y0, %in1)
        """,
    )

    # Gradients join the same graph, by rules that are written in primitives themselves.
    text = tour.step(Autodiff(wrt=("fc_weight", "fc_bias")))
    shows(
        text,
        """
        %act.mul: f32[4,2] = mul(%act, %act)
        %fc_weight.grad: f32[2,3] = dot(...
        %fc_bias.grad: f32[2] = sum(...
        return %out, %fc_weight.grad, %fc_bias.grad
        """,
    )

    # The loss has done its work: it becomes its body, which here is nothing at all. `out` is `act`.
    text = tour.step(Inline())
    assert "custom_grad" not in text
    shows(text, "return %act, %fc_weight.grad, %fc_bias.grad")

    # Fewer and canonical nodes (a net this small is written well already), and a cut: the first output is the forward
    # half, the gradients wait for backward().
    tour.step(Simplify())

    # The tensor level has an interpreter: numpy, one primitive after the other.
    agree(evaluate(tour.module, inputs()).outputs)

    # Every value still knows the Symbol, and the user's line, it came from, whatever passes made of it.
    graph: Graph = tour.module
    gradient = {o.name: o.node for o in graph.outputs}["fc_weight.grad"]
    (symbol,) = symbols_of(graph.origins[gradient])
    assert (symbol.name, symbol.op) == ("fc", "FullyConnected") and symbol.file.endswith("test_tour.py")

    # Level 2, the program: which values get memory, and which kernels compute them. The bias and tanh join the matrix
    # product; the gradient of the activation and the bias' sum are one pass over the data.
    text = tour.step(Fuse())
    shows(
        text,
        """
        %act: f32[4,2] = fuse nest[4,2] "dot_tanh"(%fc_weight: whole, %data: whole, %fc_bias: along[1]) {
        %fc: f32[4,2] = add(%fc.dot, %fc.broadcast)
        yield %act
        --- backward ---
        (%act.mul.1: f32[4,2], %fc_bias.grad: f32[2]) = fuse row[4,2 | 0] "mul_sum"(%act...
        %fc_weight.grad: f32[2,3] = fuse nest[2,3] "dot"(...
        """,
    )

    # ... in which order they run, and that every result is written by a kernel of its own: both as they are, here.
    tour.step(Schedule())
    tour.step(OwnResults())

    # ... and where that memory is: results in the caller's buffers, the one temporary in an arena.
    text = tour.step(PlanMemory())
    shows(
        text,
        """
        arena @A size=64 lower_bound=64
        %act: f32[4,2] @out.0 = fuse...
        (%act.mul.1: f32[4,2] @A+0, %fc_bias.grad: f32[2] @out.2) = fuse...
        %fc_weight.grad: f32[2,3] @out.1 = fuse...
        """,
    )
    # This level's interpreter runs inside a real arena of 64 bytes: a wrong plan gives wrong numbers.
    agree(run_program(tour.module, inputs()).outputs)

    # Level 3, loops: every kernel as a nest over its buffers. `parallel` is a promise (turns are independent), not
    # yet a decision.
    text = tour.step(Lower())
    shows(
        text,
        """
        kernel @k0.dot_tanh(%fc_weight: in f32[2,3], %data: in f32[4,3], %fc_bias: in f32[2], %act: out f32[4,2]) {
        for %i in 0..4 {parallel} {
        for %j in 0..2 {parallel} {
        %sum: f32 = for %k in 0..3 carry(%acc: f32 = 0.0 combine=add) {
        %dot: f32 = fma(...
        %tanh: f32 = tanh(%add)
        store %tanh, %act[%i, %j]
        kernel @k1.mul_sum(...
        kernel @k2.dot(...
        %act: f32[4,2] @out.0 = call nest[4,2] @k0.dot_tanh(%fc_weight: whole, %data: whole, %fc_bias: along[1])
        """,
    )

    # The decisions, for a machine with 32-byte vectors: lanes of a vector, registers held at once (jam), threads.
    tour.step(Choose(vector_bytes=32, registers=16))
    text = tour.step(Tile())
    assert "{vector=8}" in text and "{jam}" in text
    agree(run_loop_module(tour.module, inputs()).outputs)

    # And native code: one function per kernel, one table of kernels, one native call for each half.
    executable = emit(tour.module, host_target())
    print("\n".join(emit_kernel(kernel, executable.target) for kernel in executable.loops.kernels))
    instance = executable.bind(inputs())
    instance.run_forward()
    instance.run_backward()
    names = [output.name for output in executable.program.outputs]
    agree(dict(zip(names, instance.outputs)))


def test_the_same_in_four_lines() -> None:
    """What all this is for."""
    values = inputs()
    executor = perceptron().simple_bind(mx.cpu(), data=(4, 3))
    executor.copy_params_from({name: mx.nd.array(values[name]) for name in ("fc_weight", "fc_bias")})
    executor.forward(is_train=True, data=mx.nd.array(values["data"]), out_label=mx.nd.array(values["out_label"]))
    executor.backward()
    found = {f"{name}.grad": executor.grad_dict[name].asnumpy() for name in ("fc_weight", "fc_bias")}
    agree({"out_output": executor.outputs[0].asnumpy(), **found})
