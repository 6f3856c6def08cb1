"""schedule: the order of kernels; protects the memory that orders save, and programs from orders that break them."""

from __future__ import annotations

import numpy as np
import pytest

from symc.ir.errors import IRError
from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.program.nodes import operands_of, results_of
from symc.ir.verify import verify
from symc.passes.manager.manager import Instrument, Manager
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule

#: every %a is made before any %b frees it
WIDE = """symc ir 1 level=fused
func @wide(%x: f32[64] data) -> (out: f32[]) {
  %a1: f32[64] = fuse map[64] "exp"(%x: element) {
    %a1: f32[64] = exp(%x)
    yield %a1
  } !1
  %a2: f32[64] = fuse map[64] "tanh"(%x: element) {
    %a2: f32[64] = tanh(%x)
    yield %a2
  } !1
  %b1: f32[] = fuse row[64 | 0] "sum"(%a1: element) -> row {
    %b1: f32[] = sum(%a1) {axes=[0]}
    yield %b1
  } !1
  %b2: f32[] = fuse row[64 | 0] "sum"(%a2: element) -> row {
    %b2: f32[] = sum(%a2) {axes=[0]}
    yield %b2
  } !1
  %out: f32[] = fuse map[] "add"(%b1: element, %b2: element) {
    %out: f32[] = add(%b1, %b2)
    yield %out
  } !1
  return %out
}
!1 = sym "net" Test
"""

#: the new value of %m is made before the old one is read
UPDATE = """symc ir 1 level=fused
func @update(%x: f32[4] data, %m: f32[4] state) -> (out: f32[4]) {
  %new: f32[4] = fuse map[4] "add"(%m: element, %x: element) {
    %new: f32[4] = add(%m, %x)
    yield %new
  } !1
  %out: f32[4] = fuse map[4] "exp"(%m: element) {
    %out: f32[4] = exp(%m)
    yield %out
  } !1
  return %out
    update %m = %new
}
!1 = sym "net" Test
"""


class Veto(Instrument):
    """Vetoes actions from a number on, and notes all."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.rules: list[str] = []

    def action(self, pass_name: str, number: int, rule: str) -> bool:
        self.rules.append(rule)
        return number < self.first


def order(program) -> list[str]:
    return [r.name for step in program.steps for r in results_of(step)]


def scheduled(text: str, *instruments: Instrument):
    program = parse(text)
    verify(program, origins=False)
    manager = Manager(instruments, verify=False)
    made = manager.run([Schedule()], program)
    verify(made, origins=False)
    planned = manager.run([OwnResults(), PlanMemory()], made)
    verify(planned, origins=False)
    return made, planned


def test_values_are_made_when_others_are_let_go() -> None:
    made, planned = scheduled(WIDE)
    assert order(made) == ["a1", "b1", "a2", "b2", "out"]
    assert planned.arena < 2 * 256


def test_a_kernel_that_makes_a_new_state_waits_for_the_readers_of_the_old() -> None:
    made, planned = scheduled(UPDATE)
    assert order(made) == ["out", "new"]
    assert [str(r.place) for step in planned.steps for r in results_of(step)] == ["@out.0", "@arg.m"]


@pytest.mark.parametrize("text", [WIDE, UPDATE])
def test_any_number_of_actions_leaves_a_right_program(text: str) -> None:
    program = parse(text)
    rs = np.random.RandomState(0)
    arrays = {p.name: rs.randn(*p.type.shape).astype(np.float32) for p in program.params}
    want = run_program(program, arrays)
    all_of_them = Veto(100)
    scheduled(text, all_of_them)
    assert all_of_them.rules
    for first in range(len(all_of_them.rules)):
        _, planned = scheduled(text, Veto(first))
        got = run_program(planned, arrays)
        for name, value in {**want.outputs, **want.updates}.items():
            np.testing.assert_array_equal({**got.outputs, **got.updates}[name], value)


def test_without_actions_the_order_stays() -> None:
    made, _ = scheduled(WIDE, Veto(0))
    assert order(made) == order(parse(WIDE))


def test_operands_come_first_whatever_runs_early() -> None:
    made, _ = scheduled(WIDE)
    seen = {"x"}
    for step in made.steps:
        assert seen.issuperset(operands_of(step))
        seen.update(r.name for r in results_of(step))


def test_a_planned_program_keeps_its_order() -> None:
    _, planned = scheduled(WIDE)
    for late in (Schedule(), OwnResults()):
        with pytest.raises(IRError, match="has a memory plan"):
            Manager().run([late], planned)


def test_results_without_a_value_of_their_own_have_no_place() -> None:
    program = parse("symc ir 1 level=fused\nfunc @f(%x: f32[4] data) -> (out: f32[4]) {\n  return %x\n}\n")
    with pytest.raises(IRError, match="output out, %x, is no value of its own; own_results establishes"):
        Manager(verify=False).run([PlanMemory()], program)
