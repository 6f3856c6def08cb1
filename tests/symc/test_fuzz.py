"""Protects the whole compiler at once: random Symbols with their gradients, and random graphs over primitives, through
random passes with random options, give the same after every pass, interpreted and as machine code; and `symc fuzz`
itself: that it finds planted faults, makes them small, and writes files that show them again."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ran

import symc as mx
from symc.codegen.target import host_target
from symc.compile import loop_passes, tensor_passes
from symc.debug.checks import check
from symc.debug.compare import stays_whole
from symc.debug.files import read_text, text_of
from symc.debug.reading import inputs_of
from symc.debug.reduce import reduce
from symc.debug.running import check_executor
from symc.debug.smooth import check_gradients
from symc.debug.trial import Trial
from symc.fuzz import cases, nets
from symc.fuzz.campaign import Campaign, Settings
from symc.fuzz.generate import make_trial
from symc.fuzz.graphs import graph_of
from symc.fuzz.nets import Net
from symc.fuzz.worker import Worker
from symc.ir.op import Node
from symc.ir.prims import elementwise as ew
from symc.ir.prims.movement import broadcast
from symc.ir.prims.reduce import reduce_sum
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.interp import evaluate
from symc.ir.types import F32, F64, TensorType
from symc.passes.manager.manager import Manager
from symc.passes.manager.rewrite import Rule
from symc.passes.pipeline import parse_pipeline
from symc.passes.tensor import simplify
from symc.passes.tensor.autodiff import Autodiff
from symc.passes.tensor.decompose import Decompose
from symc.passes.tensor.inline import Inline
from symc.typed import module_of, roles_of_parameters

PIECES = 8


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("level", ["symbol", "tensor"])
def test_random_programs_agree_after_every_pass(level: str, piece: int) -> None:
    for number in range(piece, 160, PIECES):
        trial, _ = make_trial(1, number, level, native=0.08)
        report = check(trial)
        assert report.failure is None, f"trial {number}: {report.failure}\n{text_of(trial, report.failure)}"


def test_lanes_beyond_a_short_outer_loop_count_nothing() -> None:
    """The outer loop of a sum over both axes is spread over more lanes than it has turns."""

    def build(x: Node) -> list[Node]:
        return [reduce_sum(ew.neg(broadcast(x, (2, 2), (1,))), (0, 1))]

    graph = graph_of(build, {"x": TensorType(F32, (2,))})
    passes = (*tensor_passes(), *loop_passes(host_target()))
    assert check(Trial(graph, passes, 1, whole=True, native=True)).failure is None


@pytest.mark.parametrize("tied", [True, False])
def test_a_tie_of_a_maximum_is_a_kink(tied: bool) -> None:
    """There is no derivative to compare a gradient with, though differences agree with each other."""
    x = np.random.default_rng(3).permutation(200.0 * np.arange(1, 51) / 50).reshape(1, 1, 5, 10)
    if tied:
        x[0, 0, 2, 3] = x[0, 0, 2, 4] = 300.0
    net = mx.sym.Pooling(mx.sym.Variable("x"), kernel=(2, 2), pool_type="max")
    module = module_of(net, {"x": TensorType(F64, x.shape)})
    report = check(Trial(module, (Decompose(train=True), Autodiff(wrt=("x",))), 1, smooth=True, given={"x": x}))
    assert report.failure is None
    graph = Manager().run([Decompose(train=True), Autodiff(wrt=("x",))], module)
    arrays = {n: x if n == "x" else np.full(t.shape, 0.05) for n, _, t in inputs_of(graph)}
    assert check_gradients(Trial(graph, (), 1, smooth=True), graph, arrays, "autodiff") == (0 if tied else 1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("windows", [False, True])
def test_rows_that_are_taken_twice_tie_at_an_extremum(windows: bool, tied: bool) -> None:
    """Both get the whole gradient, as in MXNet, and move together: that is no fault of autodiff."""
    x = mx.sym.exp(mx.sym.Variable("x"))
    rows = mx.sym.concat(x, x if tied else 0.5 * x, dim=2)
    older = mx.sym.Pooling_v1(rows, kernel=(4, 3), pool_type="max")
    symbol = older if windows else mx.sym.max(rows, axis=2)
    types = {"x": TensorType(F64, (1, 1, 2, 3))}
    module = module_of(symbol, types, roles_of_parameters(symbol))
    graph = Manager().run([Decompose(train=True), Autodiff(wrt=("x",))], module)
    trial = Trial(graph, (), 1, smooth=True)
    arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
    assert check_gradients(trial, graph, arrays, "autodiff") == (0 if tied else 1)


def net_of(case: cases.Case, seed: int) -> Net:
    """A net of one node, in double precision where the operator has that."""
    for dtype in (F64, F32):
        net = Net(np.random.default_rng(seed), True, dtype)
        with net.names:
            net.add(case)
        if net.pool:
            return net
    raise AssertionError(f"{case} takes no type")


def test_every_sample_is_a_net() -> None:
    """Each operator that has a sample takes part; most of them keep whole numbers whole, with their gradients."""
    whole = set()
    for at, case in enumerate([*cases.TABLE, *cases.OTHERS]):
        net = net_of(case, at)
        assert net.ops == {nets.OPERATORS[case.op].op_name}, case
        module = net.module()
        wrt = tuple(n for n in net.wrt if n in module.types)
        gradients = [Autodiff(wrt=wrt)] if wrt else []
        graph = Manager().run([Decompose(train=True), *gradients, Inline()], module)
        trial = Trial(module, (), at, whole=True, given=net.given)
        arrays = {name: trial.value(name, role, t) for name, role, t in inputs_of(graph)}
        try:
            if stays_whole(graph, arrays):
                whole.add(case.op)
        except np.linalg.LinAlgError:
            continue
    assert len(whole) >= 150


def test_whole_numbers_that_come_of_others_are_not_compared_bit_for_bit() -> None:
    """A determinant is an exponential of a logarithm inside, and may be a unit off: what stands in a region counts."""
    matrix = np.array([[[-3, -3, 4], [-4, 4, -4], [3, -2, 3]]], np.float32)
    symbol = mx.sym.linalg.det(mx.sym.Variable("x0"), name="det")
    module = module_of(symbol, {"x0": TensorType(F32, matrix.shape)}, roles_of_parameters(symbol))
    graph = Manager().run([Decompose()], module)
    assert [float(v[0]) for v in evaluate(graph, {"x0": matrix}).outputs.values()][:1] == [-28]
    assert not stays_whole(graph, {"x0": matrix})
    assert not stays_whole(Manager().run([Inline()], graph), {"x0": matrix})


PRINT = """
from symc.fuzz.generate import make_trial
from symc.debug.files import text_of
for number in (3, 0, 1, 8, 9):
    trial, ops = make_trial(3, number)
    print(text_of(trial), sorted(ops))
"""


def test_a_trial_depends_on_its_number_only() -> None:
    """Not on the trials before it, nor on Python's hashes."""
    command, environment = [sys.executable, "-c", PRINT], {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for number in (8, 9):
        trial, ops = make_trial(3, number)
        assert f"{text_of(trial)} {sorted(ops)}" in done.stdout


def lost_sign(node: Node) -> Node | None:
    """-(a * b) -> a * b: wrong."""
    return node.inputs[0] if node.inputs[0].op == ew.mul else None


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong."""
    rule = Rule("lost-sign", lost_sign, (type(ew.neg),))
    monkeypatch.setattr(simplify, "RULES", (rule, *simplify.RULES))


def failing() -> Trial:
    """The first trial without loops that shows the planted fault: what is inside of them is not made smaller."""
    for number in range(400):
        trial, ops = make_trial(1, number, "symbol", 0.0)
        if ops & {"_foreach", "_while_loop", "_cond", "RNN"}:
            continue
        failure = check(trial).failure
        if failure is not None and failure.where == "simplify":
            return trial
    raise AssertionError("no trial shows the fault")


def test_a_planted_fault_is_found_reduced_and_shown_again(planted: None) -> None:
    trial = failing()
    failure = check(trial).failure
    assert failure is not None and failure.signature == ("values", "simplify", "tensor")
    small, found = reduce(trial, failure, lambda t: check(t).failure, 100.0)
    assert found.signature == failure.signature
    assert isinstance(small.module, Graph)
    assert [p.name for p in small.passes] == ["simplify"]
    assert len([n for n in small.module.nodes() if n.inputs]) <= 3
    text = text_of(small, found)
    again, expected = read_text(text)
    assert expected == failure.signature
    assert check(again).failure == found
    assert text_of(again, found) == text


def test_a_file_is_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 while the failure shows, 0 when it does not."""
    trial, _ = make_trial(1, 0, "tensor", 0.0)
    path = tmp_path / "trial.sir"
    path.write_text(text_of(trial))
    assert ran(capsys, "fuzz", "--replay", str(path))[0] == "fine\n"
    cut = (*parse_pipeline("simplify,autodiff{wrt=nothing}"), *trial.passes)
    path.write_text(text_of(dataclasses.replace(trial, passes=cut)))
    assert "autodiff" in ran(capsys, "fuzz", "--replay", str(path), code=1)[0]


@pytest.mark.parametrize(("number", "check"), [(signal.SIGKILL, "crash"), (signal.SIGPROF, "hang")])
def test_a_process_that_dies_is_a_result(number: signal.Signals, check: str) -> None:
    """The trial and the stage are known; the campaign goes on with another process. The signal that ends a process
    after too much processor time says that it hangs."""
    worker = Worker()
    worker.send("check", 1, 1, "tensor", 0.0)
    worker.process.send_signal(number)
    with pytest.raises(EOFError):
        while worker.answer() is None:
            continue
    failure = worker.death(hung=False)
    assert failure.signature[0] == check and failure.where
    worker.close()


def test_a_campaign_counts_what_it_did(tmp_path: Path) -> None:
    totals = Campaign(Settings(seed=1, graphs=6, jobs=2, folder=tmp_path)).run()
    assert totals.graphs == 6 and totals.checks > 50 and not totals.failures
    assert "failures  0" in totals.summary()


SPARSE_AND_DRAWN = """
// RUN: symc replay trial.sir
// trial: {"seed": 3, "whole": true, "native": true, "train": true, "bound": true, "requests": {}, "passes": "PASSES"}
// value: ["rows", "int32", [2], [0, 3]]
symc ir 1 level=symbol
graph @net -> (dropout0_output, _sparse_retain0_output) {
  %x: f32[2,5] = variable {__shape__="(2, 5)"}
  %dropout0 = Dropout(%x) {p="0.5"}
  %w: f32[4,2] = variable {__shape__="(4, 2)"}
  %rows: i32[2] = variable {__shape__="(2,)", __dtype__="4"}
  %_sparse_retain0 = _sparse_retain(%w, %rows)
  return %dropout0, %_sparse_retain0
}
"""


def test_executors_with_sparse_results_say_what_they_drew() -> None:
    """The fuzzer compares them with what the same random numbers give."""
    text = SPARSE_AND_DRAWN.lstrip().replace("PASSES", "decompose{train=true},inline,fuse,plan_memory,lower")
    trial, _ = read_text(text)
    assert check(trial).failure is None


def test_values_that_a_run_refuses_are_nothing_to_compare() -> None:
    """A matrix that another order of its elements makes singular: the interpreter refuses it, too."""
    net = mx.sym.linalg_trsm(mx.sym.Variable("x0"), mx.sym.Variable("x1"))
    types = {"x0": TensorType(F64, (2, 2)), "x1": TensorType(F64, (2, 3))}
    for x in ([[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 3.0]]):
        given = {"x0": np.array(x), "x1": np.ones((2, 3))}
        trial = Trial(module_of(net, types), (Decompose(train=False),), 1, native=True, train=False, given=given)
        assert check(trial).failure is None
        if x[1][1]:
            assert check_executor(trial) >= 2
        else:
            with pytest.raises(np.linalg.LinAlgError):
                check_executor(trial)
