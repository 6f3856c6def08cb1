"""own_results: outputs and updates as values of their own; protects states from being read after they were updated."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import to_executable

from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.tensor.graph import finish
from symc.ir.tensor.interp import evaluate
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.program.fuse import Fuse
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule
from symc.runtime.memory import empty

#: what programs may do with the states %a and %b
GRAPHS = {
    "swap": """
  return
    update %a = %b
    update %b = %a
""",
    "one takes the other": """
  %n: f32[4] = mul(%b, %x) !1
  return
    update %a = %b
    update %b = %n
""",
    "each reads the other": """
  %m: f32[4] = add(%b, %x) !1
  %n: f32[4] = mul(%a, %x) !1
  return
    update %a = %m
    update %b = %n
""",
    "itself": """
  return
    update %a = %a
""",
    "one value for two": """
  %m: f32[4] = add(%b, %x) !1
  return
    update %a = %m
    update %b = %m
""",
    "an input for two": """
  return
    update %a = %x
    update %b = %x
""",
}


PASSES = [[Fuse()], [Fuse(), Schedule()]]


def checked(text: str, passes) -> tuple:
    """The planned program of a graph, after it gave what the graph gives: interpreted, and natively half by half."""
    graph = parse(text)
    verify(graph)
    rs = np.random.RandomState(0)
    arrays = {}
    for node in graph.inputs:
        arrays[node.op.input_name] = empty(node.shape, node.dtype.numpy)
        arrays[node.op.input_name][...] = rs.uniform(0.5, 1.5, node.shape)
    before = {name: array.copy() for name, array in arrays.items()}
    want = evaluate(graph, before)
    planned = Manager().run([*passes, OwnResults(), PlanMemory()], graph)
    run = run_program(planned, arrays)
    for name, value in {**want.outputs, **want.updates}.items():
        np.testing.assert_allclose({**run.outputs, **run.updates}[name], value, rtol=1e-6)
    assert run.updates.keys() == want.updates.keys()

    values = evaluate(finish("all", graph.inputs, [(f"u{i}", u.value) for i, u in enumerate(graph.updates)]), before)
    new = {(u.input, u.phase): values.outputs[f"u{i}"] for i, u in enumerate(graph.updates)}
    instance = to_executable(planned).bind(arrays)
    instance.run_forward()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, new.get((name, "forward"), before[name]), rtol=1e-6, err_msg=name)
    for output, array in zip(planned.outputs, instance.outputs):
        if output.phase == "forward":
            np.testing.assert_allclose(array, want.outputs[output.name], rtol=1e-6)
    instance.run_backward()
    for output, array in zip(planned.outputs, instance.outputs):
        np.testing.assert_allclose(array, want.outputs[output.name], rtol=1e-6)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, want.updates.get(name, before[name]), rtol=1e-6, err_msg=name)
    return planned, instance


@pytest.mark.parametrize("passes", PASSES, ids=["as it comes", "scheduled"])
@pytest.mark.parametrize("name", GRAPHS)
def test_updates_take_what_parameters_were(name: str, passes) -> None:
    head = "symc ir 1 level=tensor\nfunc @f(%x: f32[4] data, %a: f32[4] state, %b: f32[4] state) -> () {"
    checked(f'{head}{GRAPHS[name]}}}\n!1 = sym "net" Test\n', passes)


#: statements that make a new value of the state %a
NEW = {
    "kernel": "  %n: f32[2,3] = add(%a, %x) !1\n",
    "without the old value": "  %n: f32[2,3] = exp(%x) !1\n",
    "product": "  %p: f32[2,2] = dot(%a, %x) {tb=true} !1\n  %n: f32[2,3] = dot(%p, %x) !1\n",
    "view": "  %v: f32[6] = reshape(%x) !1\n  %n: f32[2,3] = reshape(%v) !1\n",
}
#: statements that read %a (or %n, its new value), and their value %r
READ = {
    "element by element": "  %r: f32[2,3] = mul({0}, 2.0) !1\n",
    "view": "  %r: f32[6] = reshape({0}) !1\n",
    "transposed": "  %r: f32[3,2] = transpose({0}) {{perm=[1,0]}} !1\n",
    "sum": "  %r: f32[] = sum({0}) {{axes=[0,1]}} !1\n",
    "view of a view": "  %w: f32[6] = reshape({0}) !1\n  %r: f32[3,2] = reshape(%w) !1\n",
}


@pytest.mark.parametrize("passes", PASSES, ids=["as it comes", "scheduled"])
@pytest.mark.parametrize("phases", [(u, o) for u in ("forward", "backward") for o in ("forward", "backward")])
@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("new", NEW)
def test_states_are_read_before_they_are_updated(new: str, read: str, phases: tuple[str, str], passes) -> None:
    """Whatever makes the new value, whatever reads the old one or the new one, and in whichever halves."""
    update, output = phases
    for of in ("%a", "%n"):
        shape = READ[read].split(" = ")[-2].split(": ")[-1]
        text = f"""symc ir 1 level=tensor
func @f(%x: f32[2,3] data, %a: f32[2,3] state) -> (y: f32[2,3], r: {shape} ({output}), z: f32[2,3] (backward)) {{
  %y: f32[2,3] = mul(%x, %a) !1
  %z: f32[2,3] = sub(%x, 1.0) !1
{NEW[new]}{READ[read].format(of)}  return %y, %r, %z
    update %a = %n ({update})
}}
!1 = sym "net" Test
"""
        checked(text, passes)


@pytest.mark.parametrize("passes", PASSES, ids=["as it comes", "scheduled"])
@pytest.mark.parametrize("read", READ)
def test_a_state_may_change_in_both_halves(read: str, passes) -> None:
    for of in ("%a", "%n", "%m"):
        shape = READ[read].split(" = ")[-2].split(": ")[-1]
        for phase in ("forward", "backward"):
            text = f"""symc ir 1 level=tensor
func @f(%x: f32[2,3] data, %a: f32[2,3] state) -> (y: f32[2,3], r: {shape} ({phase})) {{
  %y: f32[2,3] = mul(%x, %a) !1
  %n: f32[2,3] = add(%a, %x) !1
  %m: f32[2,3] = mul(%n, 3.0) !1
{READ[read].format(of)}  return %y, %r
    update %a = %m (backward)
    update %a = %n
}}
!1 = sym "net" Test
"""
            checked(text, passes)


def test_a_gradient_is_not_written_before_its_half() -> None:
    """Not even where it is there by then: what the caller has in its buffer stays until backward()."""
    text = """symc ir 1 level=tensor
func @f(%x: f32[3] arg) -> (y: f32[3], g: f32[3] gradient of %x (backward)) {
  %y: f32[3] = exp(%x) !1
  return %y, %y
}
!1 = sym "net" Test
"""
    planned, instance = checked(text, PASSES[0])
    instance.outputs[1][...] = 7
    instance.run_forward()
    assert (instance.outputs[1] == 7).all() and planned.outputs[1].phase == "backward"


class Veto(Instrument):
    """Vetoes the actions of one rule."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        return rule != self.rule


def test_writing_in_place_is_an_action_that_may_be_vetoed() -> None:
    text = """symc ir 1 level=tensor
func @f(%x: f32[3] data, %a: f32[3] state) -> () {
  %n: f32[3] = add(%a, %x) !1
  return
    update %a = %n
}
!1 = sym "net" Test
"""
    for instruments, labels in (([], ["add"]), ([Veto("in place")], ["add", "copy"])):
        program = Manager(instruments).run([Fuse(), OwnResults(), PlanMemory()], parse(text))
        assert [step.label for step in program.steps] == labels


def test_taking_over_memory_is_an_action_that_may_be_vetoed() -> None:
    text = """symc ir 1 level=tensor
func @f(%x: f32[16,16] data) -> (y: f32[16,16]) {
  %a: f32[16,16] = dot(%x, %x) !1
  %b: f32[16,16] = exp(%a) !1
  %c: f32[16,16] = dot(%b, %b) !1
  return %c
}
!1 = sym "net" Test
"""
    for instruments, overwritten in (([], ["", "a", ""]), ([Veto("take over")], ["", "", ""])):
        passes = [Fuse(epilogues=False), OwnResults(), PlanMemory()]
        program = Manager(instruments).run(passes, parse(text))
        assert [result.inplace for step in program.steps for result in step.results] == overwritten
