"""Loops that break their promise give the same wrong numbers in the interpreter as in machine code: what the
interpreters find right, the machine does. (The verifier refuses all of these.)"""

from __future__ import annotations

import numpy as np
import pytest

from symc.codegen.target import host_target
from symc.compile import emit
from symc.ir.errors import VerifyError
from symc.ir.loop.interp import run_loop_module
from symc.ir.modules import LoopModule
from symc.ir.parse import parse
from symc.ir.verify import verify

TEXT = """symc ir 1 level=loop
kernel @k0.f(%x: in f32[40], %y: out f32[40]) {
  for %i in 0..40 {vector=8} !1 { %a: f32 = load %x[%i] !1 store %a, %y[%i] !1 }
  BODY
}
func @f(%x: f32[40] data) -> (out: f32[40] result) {
  %y: f32[40] @out.0 = call map[40] @k0.f "f"(%x: element) !1
  return %y
}
!1 = sym "s" S
"""
LOOPS = {
    "prefix sum": """%s: f32 = for %i in 0..38 carry(%c: f32 = 3.0 combine=add) {HINT} !1 {
        %a: f32 = load %x[%i] !1 %n: f32 = add(%c, %a) !1 store %n, %y[%i] !1 yield %n }
      store %s, %y[39] !1""",
    "running maximum": """%s: f32 = for %i in 0..38 carry(%c: f32 = 3.0 combine=maximum) {HINT} !1 {
        %a: f32 = load %x[%i] !1 %n: f32 = maximum(%c, %a) !1 store %n, %y[%i] !1 yield %n }
      store %s, %y[39] !1""",
    "shift up": "for %i in 0..38 {HINT} !1 { %a: f32 = load %y[%i] !1 store %a, %y[%i + 1] !1 }",
    "shift down": "for %i in 0..38 {HINT} !1 { %a: f32 = load %y[%i + 1] !1 store %a, %y[%i] !1 }",
    "turned round": "for %i in 0..40 {HINT} !1 { %a: f32 = load %y[39 - %i] !1 store %a, %y[%i] !1 }",
    "neighbours": """for %i in 0..38 {HINT} !1 { %a: f32 = load %y[%i] !1 %b: f32 = load %y[%i + 2] !1
        %n: f32 = add(%a, %b) !1 store %n, %y[%i + 1] !1 }""",
    "one place": "for %i in 0..38 {HINT} !1 { %a: f32 = load %x[%i] !1 store %a, %y[floordiv(%i, 3)] !1 }",
}


HINTS = ["parallel", "unroll", "jam", "vector=8", "vector=8, unroll=2", "vector=4, unroll=3", "vector=16"]


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("name", LOOPS)
def test_the_interpreter_is_wrong_as_the_machine_is(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMC_VERIFY", "0")
    module = parse(TEXT.replace("BODY", LOOPS[name].replace("HINT", hint)))
    assert isinstance(module, LoopModule)
    if hint != "unroll" and not (hint == "parallel" and "combine" in LOOPS[name]):
        with pytest.raises(VerifyError, match="L6|L10"):
            verify(module)
    x = np.random.default_rng(0).integers(-9, 9, 40).astype(np.float32)
    want = run_loop_module(module, {"x": x}).outputs["out"]
    native = emit(module, host_target()).bind({"x": x})
    native.run()
    np.testing.assert_array_equal(native.outputs[0], want)
