"""own_results: outputs and updates as values of their own; protects states from being read after they were updated."""

from __future__ import annotations

import numpy as np
import pytest

from symc.ir.parse import parse
from symc.ir.program.interp import run_program
from symc.ir.tensor.interp import evaluate
from symc.ir.verify import verify
from symc.passes.manager.manager import Manager
from symc.passes.program.fuse import Fuse
from symc.passes.program.own_results import OwnResults
from symc.passes.program.plan_memory import PlanMemory
from symc.passes.program.schedule import Schedule

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


@pytest.mark.parametrize("passes", [[Fuse()], [Fuse(), Schedule()]], ids=["as it comes", "scheduled"])
@pytest.mark.parametrize("name", GRAPHS)
def test_updates_take_what_parameters_were(name: str, passes) -> None:
    head = "symc ir 1 level=tensor\nfunc @f(%x: f32[4] data, %a: f32[4] state, %b: f32[4] state) -> () {"
    graph = parse(f'{head}{GRAPHS[name]}}}\n!1 = sym "net" Test\n')
    verify(graph)
    rs = np.random.RandomState(0)
    arrays = {n: rs.randn(4).astype(np.float32) for n in "xab"}
    want = evaluate(graph, arrays).updates
    planned = Manager().run([*passes, OwnResults(), PlanMemory()], graph)
    got = run_program(planned, arrays).updates
    assert want.keys() == got.keys()
    for updated, value in want.items():
        np.testing.assert_array_equal(got[updated], value)
