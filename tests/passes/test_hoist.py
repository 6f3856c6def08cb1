"""Protects prologues: what they hold, that they run when a parameter may have changed and never else, and that every
tool knows them."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

import symc as mx
from symc.compile import compile_symbol, tensor_passes
from symc.ir.errors import VerifyError
from symc.ir.modules import Calls
from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import Place, Program, ProgramUpdate
from symc.ir.program.packed import pack, unpack
from symc.ir.text import print_program
from symc.ir.verify import verify
from symc.passes.manager.manager import Manager, Pass
from symc.passes.program.hoist import Hoist
from symc.passes.program.schedule import Schedule
from symc.profiler import phases_of
from symc.views.memory import memory_table

GRAPH = """symc ir 1 level=tensor
func @net(%x: f32[8,32] data, %w: f32[16,32] arg, %v: f32[16,32] arg, %s: f32[16] aux) -> (out: f32[8,16]) {
  %e: f32[16,32] = exp(%w) !1
  %f: f32[16,32] = add(%e, %v) !1
  %t: f32[16] = sum(%f) {axes=[1]} !1
  %g: f32[16,32] = broadcast(%t) {dims=[0]} !1
  %h: f32[16,32] = div(%f, %g) !1
  %y: f32[8,16] = dot(%x, %h) {tb=true} !2
  %b: f32[8,16] = broadcast(%s) {dims=[1]} !2
  %z: f32[8,16] = add(%y, %b) !2
  return %z
}
!1 = sym "w" exp
!2 = sym "y" FullyConnected
"""


def own_passes() -> list[Pass]:
    """The compiler's passes, but for those that give weights another form."""
    return [p for p in tensor_passes() if not p.name.startswith("pack")]


def planned(text: str = GRAPH, most: int | None = None) -> Program:
    passes = [p if not isinstance(p, Hoist) or most is None else Hoist(most=most) for p in own_passes()]
    program = Manager(verify=True).run(passes, parse(text))
    assert isinstance(program, Program)
    return program


def given() -> dict[str, np.ndarray]:
    rs = np.random.RandomState(0)
    shapes = {"x": (8, 32), "w": (16, 32), "v": (16, 32), "s": (16,)}
    return {name: rs.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def test_kernels_of_parameters_are_the_prologue_and_only_what_others_read_is_kept():
    program = planned()
    assert 0 < program.prologue < len(program.steps)
    assert program.kept == 16 * 32 * 4 and f"kept={program.kept}" in print_program(program)
    text = print_program(program)
    assert text.index("@K+0 = fuse") < text.index("--- forward ---") < text.index("dot")
    assert parse(text) and print_program(parse(text)) == text
    assert print_program(unpack(pack(program, Calls((None,) * len(program.steps))))[0]) == text
    plain = planned(most=0)
    assert not plain.prologue and "forward" not in print_program(plain)
    a, b = (run_program(p, given()).outputs["out"] for p in (program, plain))
    np.testing.assert_array_equal(a, b)
    assert phases_of(program)[0] == "prologue" and phases_of(program)[-1] == "forward"
    assert "the prologue keeps 2048 B" in memory_table(program)


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("%x: f32[8,32] data", "%x: f32[8,32] arg", "nobody says what is new in every run"),
        ("%w: f32[16,32] arg", "%w: f32[16,32] data", "all depends on data"),
        ("return %z\n", "return %z\n    update %w = %f\n", "the program writes the parameter"),
        ("(out: f32[8,16]) {", "(out: f32[8,16], o: f32[16,32]) {", "the value is an output"),
        ("return %z\n", "return %z\n    update %s = %t (backward)\n", "there is a backward half"),
    ],
)
def test_what_is_no_prologue(old: str, new: str, why: str):
    text = GRAPH.replace(old, new)
    if "o: f32" in new:
        text = text.replace("return %z", "return %z, %h")
    program = planned(text)
    assert all(r.place.kind != "kept" for s in program.steps[program.prologue :] for r in getattr(s, "results", ()))
    names = {r.name for s in program.steps[: program.prologue] for r in getattr(s, "results", ())}
    assert "h" not in names, why


def test_schedule_leaves_a_prologue_first():
    passes = [p for p in own_passes() if p.name != "plan_memory"]
    program = Manager(verify=True).run([*passes, Schedule()], parse(GRAPH))
    assert isinstance(program, Program) and program.prologue
    verify(program)


def test_the_verifier_knows_what_a_prologue_may_do():
    program = planned()
    first, last = program.steps[0], program.steps[-1]

    def breaks(changed: Program) -> None:
        with pytest.raises(VerifyError, match="P15"):
            verify(changed)

    breaks(replace(program, prologue=len(program.steps)))
    breaks(replace(program, kept=program.kept - 4))
    breaks(replace(program, params=tuple(replace(p, role="data") for p in program.params)))
    assert first.results and last.results  # type: ignore[union-attr]
    steps = list(program.steps)
    at = next(i for i, s in enumerate(steps) if any(r.place.kind == "kept" for r in getattr(s, "results", ())))
    kept = steps[at]
    moved = replace(kept, results=tuple(replace(r, place=Place("arena", program.arena)) for r in kept.results))  # type: ignore
    breaks(replace(program, steps=(*steps[:at], moved, *steps[at + 1 :]), arena=program.arena + program.kept))
    open_ = Manager(verify=True).run([p for p in own_passes() if p.name != "plan_memory"], parse(GRAPH))
    assert isinstance(open_, Program)
    breaks(replace(open_, updates=(ProgramUpdate("v", kept.results[0].name),)))  # type: ignore[union-attr]


def net() -> mx.sym.Symbol:
    data = mx.sym.Variable("data")
    one = mx.sym.exp(mx.sym.Variable("a_weight"))
    two = mx.sym.log(mx.sym.Variable("b_weight"))
    x = mx.sym.FullyConnected(data, one, num_hidden=16, no_bias=True, name="one")
    return mx.sym.FullyConnected(x, two, num_hidden=8, no_bias=True, name="two")


def arrays() -> dict[str, mx.nd.NDArray]:
    rs = np.random.RandomState(0)
    shapes = {"data": (4, 12), "a_weight": (16, 12), "b_weight": (8, 16)}
    return {name: mx.nd.array(rs.uniform(0.5, 1, shape)) for name, shape in shapes.items()}


def counted(exe: mx.executor.Executor) -> list[int]:
    """The entries that an executor's next forward computes anew."""
    kept = exe._instance(False).kept
    assert kept is not None
    ran: list[int] = []
    renew, table = kept.renew, exe._instance(False).table

    def run(first: int, last: int) -> None:
        ran.append(first)
        table.run(first, last)

    renew(run)
    return ran


def test_only_what_may_have_changed_is_computed_again():
    given = arrays()
    exe = net().bind(mx.cpu(), given, grad_req="null")
    assert exe._instance(False).executable.program.prologue == 2
    assert counted(exe) == [0, 1] and counted(exe) == []
    exe.forward(data=given["data"] * 2)
    assert counted(exe) == []
    given["b_weight"][1] = 3
    changed = counted(exe)
    assert len(changed) == 1 and counted(exe) == []
    given["a_weight"] *= 2
    other = counted(exe)
    assert len(other) == 1 and other != changed
    seen = given["a_weight"].__array__(copy=False)
    assert counted(exe) == other and counted(exe) == other
    del seen
    assert counted(exe) == other and counted(exe) == []


def test_a_prologue_that_reads_no_parameter_runs_before_the_first_run() -> None:
    """What constants alone decide is kept as well, and nothing else asks for it."""
    x = mx.sym.Variable("x")
    net = mx.sym.dot(x, mx.sym.reshape(mx.sym.arange(9), (3, 3)))
    exe = net.bind(mx.cpu(), {"x": mx.nd.ones((2, 3))}, grad_req="null")
    assert exe._instance(False).executable.program.kept
    for scale in (1, 2):
        exe.arg_dict["x"][:] = scale
        np.testing.assert_array_equal(exe.forward()[0].asnumpy(), [[scale * s for s in (9, 12, 15)]] * 2)


def test_a_run_that_fails_in_the_prologue_is_made_up_for():
    exe = net().bind(mx.cpu(), arrays(), grad_req="null")
    kept = exe._instance(False).kept
    assert kept is not None

    def fails(first: int, last: int) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        kept.renew(fails)
    exe.arg_dict["a_weight"][:] = 1
    with pytest.raises(RuntimeError):
        kept.renew(fails)
    fresh = net().bind(mx.cpu(), exe.arg_dict, grad_req="null")
    np.testing.assert_array_equal(exe.forward()[0].asnumpy(), fresh.forward()[0].asnumpy())


def test_buffers_that_nobody_answers_for_run_the_prologue_every_time():
    """Who binds numpy's arrays writes to them as he likes, and a call gives a program new ones."""
    given = {name: a.asnumpy() for name, a in arrays().items()}
    exe = net().bind(mx.cpu(), arrays(), grad_req="null")
    executable = exe._instance(False).executable
    buffers = {name: a.copy() for name, a in given.items()}
    instance = executable.bind(buffers)
    for factor in (1, 2, 3):
        buffers["a_weight"][...] = given["a_weight"] * factor
        for run in (instance.run_forward, instance.run):
            instance.outputs[0][...] = 0
            run()
            made = executable(**buffers)["two_output"]
            np.testing.assert_array_equal(instance.outputs[0], made)
            exe.arg_dict["a_weight"][:] = buffers["a_weight"]
            np.testing.assert_array_equal(exe.forward()[0].asnumpy(), made)


def test_a_predictor_has_one_set_for_all_threads():
    given = arrays()
    data = given.pop("data")
    predictor = mx.Predictor(net(), given, {"data": (4, 12)})
    expected = net().bind(mx.cpu(), {"data": data, **given}, grad_req="null").forward()[0].asnumpy()
    found: list[np.ndarray] = []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait()
        for _ in range(20):
            found.append(predictor.predict(data=data)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all((f == expected).all() for f in found)
    (program,) = predictor._programs.values()
    runs = program._idle
    assert len({id(run._instance.kept) for run in runs}) == 1


def test_a_predictor_is_given_what_others_learn():
    """An input in the place of a weight is new in every call."""
    given = arrays()
    data, weight = given.pop("data"), given.pop("a_weight")
    predictor = mx.Predictor(net(), given, {"data": (4, 12), "a_weight": (16, 12)})
    for factor in (1, 2, 3):
        exe = net().bind(mx.cpu(), {"data": data, "a_weight": weight * factor, **given}, grad_req="null")
        made = predictor.predict(data=data, a_weight=weight * factor)[0]
        np.testing.assert_array_equal(made, exe.forward()[0].asnumpy())


def test_training_has_no_prologue_and_a_prediction_after_a_step_sees_it():
    data = mx.io.NDArrayIter(np.ones((8, 12), np.float32), np.zeros(8, np.float32), 4)
    module = mx.mod.Module(mx.sym.SoftmaxOutput(net(), name="softmax"))
    module.bind(data.provide_data, data.provide_label)
    module.init_params(mx.init.Uniform(0.5))
    module.set_params({n: mx.nd.abs(a) + 0.1 for n, a in module.get_params()[0].items()}, {})
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    batch = next(data)
    seen = []
    for _ in range(3):
        module.forward(batch, is_train=False)
        seen.append(module.get_outputs()[0].asnumpy())
        fresh = mx.mod.Module(module.symbol)
        fresh.bind(data.provide_data, data.provide_label, for_training=False)
        fresh.set_params(*module.get_params())
        fresh.forward(batch, is_train=False)
        np.testing.assert_array_equal(seen[-1], fresh.get_outputs()[0].asnumpy())
        module.forward_backward(batch)
        module.update()
    assert (seen[0] != seen[1]).any() and (seen[1] != seen[2]).any()


def test_programs_of_symbols_say_which_inputs_are_learned():
    exe = net().bind(mx.cpu(), arrays(), grad_req="null")
    roles = {p.name: p.role for p in exe._instance(False).executable.program.params}
    assert roles == {"data": "data", "a_weight": "arg", "b_weight": "arg"}
    assert compile_symbol is not None
