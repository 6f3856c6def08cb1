"""Protects what holds across a pass: levels, the function's signature, and properties, with the culprit named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from symc.ir.errors import VerifyError
from symc.ir.op import Node, Recorder, input_node
from symc.ir.origins import SymOrigin
from symc.ir.parse import parse
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import custom_grad
from symc.ir.tensor.graph import Graph, Output, Update, finish
from symc.ir.types import F16, F32, TensorType
from symc.passes.loop.lower import Lower
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tile import Tile
from symc.passes.manager.manager import PASSES, Instrument, Manager, Pass, PipelineError, register_pass
from symc.passes.manager.properties import PROPERTIES, held, level
from symc.passes.manager.rewrite import Rewriter
from symc.passes.pipeline import parse_pipeline
from symc.passes.program.fuse import Fuse
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule
from symc.passes.tensor.inline import Inline

T = TensorType(F32, (4,))
ORIGIN = SymOrigin("s", "Op", "net.py", 3)
x, w = input_node("x", T, "data"), input_node("w", T, "aux")


def graph() -> Graph:
    with Recorder() as recorder, recorder.at(ORIGIN):
        y = ew.exp(ew.add(x, w))
        z = ew.neg(y)
    return finish("g", [x, w], [("y", y), ("z", z)], [Update("w", y, "forward")], {}, recorder.origins)


def with_rule() -> Graph:
    """A graph with an operator that has a gradient rule of its own."""
    with Recorder() as recorder, recorder.at(ORIGIN):
        y = custom_grad([x], ew.exp, lambda ins, outs, cts: [ew.mul(cts[0], outs[0])])
    assert isinstance(y, Node)
    return finish("g", [x], [("y", y)], [], {y: "loss"}, recorder.origins)


def run(change: Callable[[Any], Any], module: Any, verify: bool = True, **registration: Any) -> Any:
    """One pass that does `change`, under the manager."""

    @register_pass("saboteur", **registration)
    class Saboteur(Pass):
        """Breaks what a test says."""

        def run(self, module: Any, rw: Rewriter) -> Any:
            return change(module)

    try:
        return Manager(verify=verify).step(Saboteur(), module)
    finally:
        del PASSES["saboteur"]


def after(*passes: Pass) -> Any:
    return Manager().run(passes, graph())


PLANNED = [Schedule(), OwnResults(), PlanMemory()]


def program() -> Any:
    return Manager().run([Fuse(), *PLANNED], graph())


def loops() -> Any:
    return Manager().run([Lower()], program())


# --------------------------------------------------------------------------------------------- signature (M2 to M5)


def f16(node: Node) -> Node:
    return ew.cast(node, F16)


def retyped(g: Graph) -> Graph:
    """Output z in half precision."""
    with Recorder() as recorder, recorder.at(ORIGIN):
        narrow = f16(g.outputs[1].node)
    return finish(g.name, g.inputs, [g.outputs[0], ("z", narrow)], g.updates, {}, {**g.origins, **recorder.origins})


def narrowed_input(g: Graph) -> Graph:
    """Input x in half precision."""
    thin = input_node("x", TensorType(F16, (4,)), "data")
    with Recorder() as recorder, recorder.at(ORIGIN):
        y = ew.exp(ew.add(ew.cast(thin, F32), w))
        z = ew.neg(y)
    return finish("g", [thin, w], [("y", y), ("z", z)], [Update("w", y, "forward")], {}, recorder.origins)


def other_role(g: Graph) -> Graph:
    """Input x as an argument."""
    other = input_node("x", T, "arg")
    with Recorder() as recorder, recorder.at(ORIGIN):
        y = ew.exp(ew.add(other, w))
        z = ew.neg(y)
    return finish("g", [other, w], [("y", y), ("z", z)], [Update("w", y, "forward")], {}, recorder.origins)


v = input_node("v", T, "arg")
TENSOR = [
    (lambda g: replace(g, outputs=g.outputs[:1]), "M4", "loses the output z: f32[4]"),
    (lambda g: replace(g, outputs=g.outputs[1:]), "M4", "loses the output y: f32[4]"),
    (
        lambda g: replace(g, outputs=(g.outputs[0], Output("q", g.outputs[1].node))),
        "M4",
        "loses the output z: f32[4] and gives q",
    ),
    (lambda g: replace(g, outputs=g.outputs[::-1]), "M4", "puts the outputs in another order"),
    (
        lambda g: replace(g, outputs=(*g.outputs, Output("more", g.outputs[0].node))),
        "M4",
        "adds the output more: f32[4]",
    ),
    (retyped, "M4", "makes the output z, which is f32[4], f16[4]"),
    (
        lambda g: replace(g, outputs=(g.outputs[0], replace(g.outputs[1], role="gradient", of="x", phase="backward"))),
        "M4",
        "makes the output z, which is result, gradient of %x (backward)",
    ),
    (lambda g: replace(g, updates=()), "M5", "loses the update of %w"),
    (lambda g: replace(g, updates=(replace(g.updates[0], phase="backward"),)), "M5", "from forward to backward"),
    (lambda g: replace(g, updates=(*g.updates, Update("x", g.outputs[0].node))), "M5", "adds an update of %x"),
    (lambda g: finish(g.name, [*g.inputs, v], g.outputs, g.updates, g.names, g.origins), "M3", "adds the input %v"),
    (lambda g: finish(g.name, g.inputs[::-1], g.outputs, g.updates, g.names, g.origins), "M3", "another order"),
    (lambda g: finish(g.name, [x], [("y", x), ("z", x)], (), {}, g.origins), "M3", "loses the input %w: f32[4]"),
    (narrowed_input, "M3", "makes the input %x, which is f32[4], f16[4]"),
    (other_role, "M3", "makes the input %x, which is data, arg"),
    (lambda g: Manager().run([Fuse()], g), "M2", "gives tensor IR, but this is program IR"),
]


@pytest.mark.parametrize(("change", "rule", "message"), TENSOR)
@pytest.mark.parametrize("verify", [True, False])
def test_a_pass_keeps_the_functions_signature(change: Any, rule: str, message: str, verify: bool) -> None:
    """Always, not only where programs are verified: it costs nothing, and nothing else would name the pass."""
    with pytest.raises(VerifyError) as caught:
        run(change, graph(), verify)
    assert caught.value.rule == rule
    assert str(caught.value).startswith(f"{rule}: pass saboteur ") and message in str(caught.value)


def test_programs_and_loops_have_the_same_signature() -> None:
    p, l = program(), loops()
    for module, at in ((p, "program"), (l, "loop")):
        change = (lambda f: lambda m: replace(m, program=f(m.program))) if at == "loop" else (lambda f: f)
        for wrong, rule in (
            (lambda p: replace(p, outputs=p.outputs[:1]), "M4"),
            (lambda p: replace(p, updates=()), "M5"),
            (lambda p: replace(p, params=p.params[:1]), "M3"),
        ):
            with pytest.raises(VerifyError) as caught:
                run(change(wrong), module, takes=at, gives=at)
            assert caught.value.rule == rule, at


def test_a_pass_that_extends_may_add_but_not_take_away() -> None:
    more = run(
        lambda g: replace(g, outputs=(*g.outputs, Output("more", g.outputs[0].node))), graph(), numerics="extends"
    )
    assert [o.name for o in more.outputs] == ["y", "z", "more"]
    with pytest.raises(VerifyError, match="M4: pass saboteur loses the output z"):
        run(lambda g: replace(g, outputs=g.outputs[:1]), graph(), numerics="extends")
    with pytest.raises(VerifyError, match="M4: pass saboteur puts the outputs in another order"):
        run(lambda g: replace(g, outputs=(Output("first", g.outputs[0].node), *g.outputs)), graph(), numerics="extends")


# --------------------------------------------------------------------------------------------- properties


def test_every_level_has_a_name_and_its_properties() -> None:
    fused = Manager().run([Fuse()], graph())
    assert [level(m) for m in (graph(), fused, program(), loops())] == ["tensor", "program", "program", "loop"]
    assert held(graph()) == {"inlined"} and held(with_rule()) == set()
    assert held(fused) == {"fused"}  # y is an output and an update
    assert held(Manager().run([OwnResults()], fused)) == {"fused", "owned"}
    assert held(program()) == {"fused", "owned", "planned"}
    assert held(loops()) == set() and held(Manager().run([Choose(), Tile()], loops())) == {"chosen", "scheduled"}


@pytest.mark.parametrize(
    ("passes", "module", "message"),
    [
        (
            "fuse",
            with_rule,
            "pass fuse requires that the tensor IR is inlined, but %loss is an operator with a gradient",
        ),
        (
            "plan_memory",
            lambda: Manager().run([Fuse()], graph()),
            "pass plan_memory requires that the program IR is owned",
        ),
        ("lower", lambda: Manager().run([Fuse()], graph()), "pass lower requires that the program IR is planned"),
        (
            "lower",
            lambda: Manager().run([Fuse(), OwnResults()], graph()),
            "has no place in memory; plan_memory establishes",
        ),
        ("lower", graph, "pass lower takes program IR, but this is tensor IR; fuse gives program IR"),
        ("tile", program, "pass tile takes loop IR, but this is program IR; lower gives loop IR"),
        ("fuse", program, "pass fuse takes tensor IR, but this is program IR; decompose gives tensor IR"),
        ("simplify", loops, "pass simplify takes tensor IR, but this is loop IR"),
    ],
)
def test_a_pass_is_refused_what_it_cannot_take(passes: str, module: Any, message: str) -> None:
    """Before it runs, and before an instrument hears of it."""
    heard: list[str] = []

    class Listening(Instrument):
        def before_pass(self, pass_: Pass, module: Any) -> bool:
            heard.append(pass_.name)
            return True

    with pytest.raises(PipelineError) as caught:
        Manager([Listening()], verify=False).run(parse_pipeline(passes), module())
    assert message in str(caught.value) and not heard


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fuse,lower",
            "pass lower requires that the program IR is planned, which it is not after fuse; put plan_memory",
        ),
        (
            "inline,fuse,schedule,own_results,lower,choose,tile",
            "which it is not after fuse; put plan_memory between them",
        ),
        ("fuse,tile", "pass tile takes loop IR, but fuse gives program"),
    ],
)
def test_the_text_of_a_pipeline_is_refused_where_it_can_be_known(text: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(text)
    assert message in str(caught.value)
    parse_pipeline("lower,choose,tile")  # the program may be planned
    parse_pipeline("fuse,plan_memory,lower")  # results may be their own


def test_a_pass_that_does_not_do_what_it_says_is_blamed() -> None:
    with pytest.raises(VerifyError, match="M7: pass saboteur establishes that the tensor IR is inlined, but %loss is"):
        run(lambda g: g, with_rule(), establishes=("inlined",))
    loss = with_rule().outputs[0].node

    def undone(g: Graph) -> Graph:
        return finish(g.name, g.inputs, [("y", loss)], [], {loss: "again"}, {loss: ORIGIN})

    plain = finish("g", [x], [("y", ew.exp(x))], [], {}, {ew.exp(x): ORIGIN})
    with pytest.raises(VerifyError, match="M7: pass saboteur keeps that the tensor IR is inlined, but %again is"):
        run(undone, plain)
    assert run(undone, plain, breaks=("inlined",)).outputs[0].node is loss


def test_declared_properties_are_those_of_the_level() -> None:
    for wrong in ("planed", "planned"):
        with pytest.raises(
            ValueError, match=f"pass saboteur requires '{wrong}'; the properties of tensor IR are: inlined"
        ):
            run(lambda g: g, graph(), requires=(wrong,))
    for cls in PASSES.values():
        assert all(PROPERTIES[n].level == cls.takes for n in cls.requires)
        assert all(PROPERTIES[n].level == cls.gives for n in (*cls.establishes, *cls.breaks))
    assert {n for cls in PASSES.values() for n in cls.establishes} == set(PROPERTIES)


def test_inline_and_tile_twice_change_nothing() -> None:
    inlined = Manager().run([Inline()], with_rule())
    assert Manager().run([Inline()], inlined) == inlined
    once = Manager().run([Choose(), Tile()], loops())
    assert Manager().run([Choose(), Tile(), Choose(block=2), Tile()], once).kernels == once.kernels


def test_a_veto_leaves_a_kernel_as_it_is_and_that_is_its_schedule() -> None:
    """So that a bisection's result goes on to machine code as it stands."""

    class Never(Instrument):
        def action(self, pass_name: str, number: int, rule: str) -> bool:
            return False

    module = loops()
    left = Manager([Never()]).run([Choose(), Tile()], module)
    assert held(left) == {"chosen", "scheduled"} and [k.body for k in left.kernels] == [k.body for k in module.kernels]
    assert Manager().run([Choose(), Tile()], left).kernels == left.kernels


def test_kernels_scheduled_by_hand_stand_beside_others() -> None:
    text = """symc ir 1 level=loop
kernel @hand(%x: in f32[16], %y: out f32[16]) {
  for %i in 0..16 {vector=8} !1 {
    %a: f32 = load %x[%i] !1
    store %a, %y[%i] !1
  }
} !1
kernel @open(%x: in f32[16], %y: out f32[16]) {
  for %i in 0..16 {parallel} !1 {
    %a: f32 = load %x[%i] !1
    store %a, %y[%i] !1
  }
} !1
arena @A size=64 lower_bound=64
func @f(%x: f32[16] data) -> (y: f32[16]) {
  %t: f32[16] @A+0 = call map[16] @hand(%x: element) !1
  %y: f32[16] @out.0 = call map[16] @open(%t: element) !1
  return %y
}
!1 = sym "s" Op at "net.py":3
"""
    module = parse(text)
    assert PROPERTIES["scheduled"].missing(module) == "it is open how the loops of kernel @open run"
    hand, other = Manager().run([Choose(), Tile()], module).kernels
    assert hand == module.kernels[0] and other.is_scheduled and other.body != module.kernels[1].body
