"""Protects the verifier: every numbered rule catches a module that breaks it, and good modules pass, fast."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symc.ir.errors import VerifyError
from symc.ir.index import Affine, Var
from symc.ir.loop.nodes import Buffer, Carry, For, Let, Load, LoopKernel, Stmt, Store
from symc.ir.loop.verify import verify_kernel
from symc.ir.modules import SymbolModule
from symc.ir.op import Input, Node, Recorder, Ref, input_node
from symc.ir.origins import DerivedOrigin, Origin, SymOrigin
from symc.ir.parse import parse
from symc.ir.prims import add, const, exp, mul, reshape, sort
from symc.ir.prims import elementwise as ew
from symc.ir.prims.control import CustomGrad
from symc.ir.program.form import map_form
from symc.ir.program.nodes import KernelStep, Place, Program, ProgramOutput, ProgramUpdate, Result, ViewStep
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph, Output, Update, finish
from symc.ir.types import BOOL, F32, F64, TensorType
from symc.ir.verify import verify

FILES = sorted((Path(__file__).parent / "sir").glob("*.sir"))
ORIGIN = SymOrigin("fc1", "FullyConnected", "mlp.py", 5)
T = TensorType(F32, (16,))


def breaks(rule: str, module: Any, origins: bool = True) -> None:
    with pytest.raises(VerifyError) as caught:
        verify(module, origins)
    assert caught.value.rule == rule, caught.value


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_good_modules_pass(path: Path) -> None:
    verify(parse(path.read_text()))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="int is not IR"):
        verify(3)


# --------------------------------------------------------------------------------------------- symbols


class Definition:
    """An operator of two inputs and one state."""

    gradient = ""

    def list_inputs(self) -> tuple[str, ...]:
        return ("data", "weight")

    def list_aux(self) -> tuple[str, ...]:
        return ("state",)

    def list_outputs(self) -> tuple[str, ...]:
        return ("output",)


def sym(*inputs: tuple[SymNode, int]) -> SymGraph:
    return SymGraph(((SymNode("op", "y", {}, inputs, Definition()), 0),))  # type: ignore[arg-type]


def test_symbol_rules() -> None:
    x, w, s = (SymNode("null", n) for n in ("x", "w", "s"))
    good = sym((x, 0), (w, 0), (s, 0))
    verify(good)
    breaks("S1", SymGraph(((SymNode("null", "x", {}, [(w, 0)]), 0),)))
    breaks("S2", sym((x, 1), (w, 0), (s, 0)))
    breaks("S2", SymGraph(((good.outputs[0][0], 1),)))
    breaks("S3", sym((x, 0), (w, 0)))
    breaks("S3", sym((x, 0), (w, 0), (good.outputs[0][0], 0)))
    breaks("S4", sym((x, 0), (SymNode("null", "x"), 0), (s, 0)))
    breaks("S4", sym((x, 0), (SymNode("null", ""), 0), (s, 0)))
    module = parse(FILES[3].read_text())
    assert isinstance(module, SymbolModule)
    breaks("S5", replace(module, types={"data": T}))


# --------------------------------------------------------------------------------------------- graphs


def graph(**changes: Any) -> Graph:
    with Recorder() as recorder, recorder.at(ORIGIN):
        x, w = input_node("x", T), input_node("w", T)
        y = mul(add(x, 1.0), w)
    made = finish("f", [x, w], [("y", y)], [Update("w", y)], {}, recorder.origins)
    verify(made)
    return replace(made, **changes)


def test_t1_types() -> None:
    x = input_node("x", T)
    node = Node()
    node.op, node.inputs, node.type = ew.exp, (x,), TensorType(F64, (16,))
    breaks("T1", finish("f", [x], [("y", node)]))
    node.inputs = (reshape(x, (4, 4)), x)
    breaks("T1", finish("f", [x], [("y", node)]))


def test_t2_names() -> None:
    g = graph()
    y = g.outputs[0].node
    breaks("T2", graph(names={n: name for n, name in g.names.items() if n is not y}))
    breaks("T2", graph(names={**g.names, y: "x"}))
    breaks("T2", graph(names={**g.names, g.inputs[0]: "z"}))
    breaks("T2", graph(names={n: name for n, name in g.names.items() if n is not g.inputs[0]}))


def test_t3_origins() -> None:
    g = graph()
    y = g.outputs[0].node
    nowhere = DerivedOrigin("a", 0, (DerivedOrigin("b", 1, ()),))
    breaks("T3", graph(origins={}))
    breaks("T3", graph(origins={**g.origins, y: nowhere}))
    verify(graph(origins={}), origins=False)
    deep: Origin = nowhere
    for action in range(5000):
        deep = DerivedOrigin("p", action, (deep, nowhere))
    breaks("T3", graph(origins={**g.origins, y: deep}))
    verify(graph(origins={**g.origins, y: DerivedOrigin("p", 0, (deep, ORIGIN))}))


def test_t4_inputs() -> None:
    g = graph()
    x, w = g.inputs
    breaks("T4", graph(inputs=(x,), updates=()))
    breaks("T4", graph(inputs=(x, w, Node.make(Input("x", "arg", TensorType(F64, ()))))))
    breaks("T4", graph(inputs=(x, w, exp(x))))


def test_t5_updates() -> None:
    y = graph().outputs[0].node
    breaks("T5", graph(updates=(Update("v", y),)))
    breaks("T5", graph(updates=(Update("w", const(1.0, F32)),)))
    breaks("T5", graph(updates=(Update("w", y, "sideways"),)))
    breaks("T5", graph(updates=(Update("w", y), Update("w", y))))


def test_t6_results() -> None:
    y = graph().outputs[0].node
    breaks("T6", graph(outputs=(Output("y", y), Output("y", y))))
    breaks("T6", graph(outputs=(Output("y", y, phase="sideways"),)))
    x = input_node("x", T)
    breaks("T6", finish("f", [x], [("y", sort(x, 0))]), origins=False)


def with_roles(*params: Node, **changes: Any) -> Graph:
    """y = x w, with more inputs."""
    made = graph()
    names = {**made.names, **{p: p.op.input_name for p in params}}
    return replace(made, inputs=(*made.inputs, *params), updates=(), names=names, **changes)


def test_t8_roles() -> None:
    x, y = graph().inputs[0], graph().outputs[0].node
    good = (Output("y", y), Output("g", x, "gradient", "x", 1, "backward"), Output("g2", x, "gradient", "x", 2))
    head, buffer = input_node("any", T, "head", "y"), input_node("thing", T, "grad", "w")
    verify(with_roles(head, buffer, outputs=good))
    breaks("T8", with_roles(outputs=(Output("g", x, "gradient", "v"),)))
    breaks("T8", with_roles(outputs=(Output("g", x, "gradient"),)))
    breaks("T8", with_roles(outputs=(Output("g", x, "gradient", "x"), Output("h", x, "gradient", "x"))))
    breaks("T8", with_roles(input_node("v", TensorType(F32, (2,))), outputs=(Output("g", x, "gradient", "v"),)))
    breaks("T8", with_roles(input_node("any", T, "head", "x")))
    breaks("T8", with_roles(input_node("any", TensorType(F32, (2,)), "head", "y")))
    breaks("T8", with_roles(input_node("any", T, "grad", "y")))
    late = Output("g", head, "gradient", "x", 1, "backward")
    verify(with_roles(head, outputs=(Output("y", y), late)))
    breaks("T8", with_roles(head, outputs=(Output("y", y), Output("z", head), late)))


def test_t7_regions() -> None:
    x, ct, y = input_node("in0", T), input_node("ct0", T), input_node("y0", T)
    body = finish("body", [x], [("out0", exp(x))])
    rule = Graph("rule", (x, y, ct), (Output("d0", mul(ct, y)),), (), {x: "in0", y: "y0", ct: "ct0"})
    node = Node.make(CustomGrad(body, rule), [input_node("x", T)])
    breaks("T7", finish("f", [node.inputs[0]], [("y", node)]), origins=False)


def test_twenty_thousand_nodes_take_half_a_second() -> None:
    with Recorder() as recorder, recorder.at(ORIGIN):
        x = node = input_node("x", T)
        for _ in range(10_000):
            node = mul(add(node, 1.5), x)
    made = finish("deep", [x], [("y", node)], (), {}, recorder.origins)
    start = time.process_time()
    verify(made)
    assert time.process_time() - start < 1.5  # about 0.2 s on a quiet machine


# --------------------------------------------------------------------------------------------- programs


def body(operand: str, result: str, tensor: TensorType = T) -> Graph:
    x = input_node(operand, tensor)
    y = exp(x)
    return Graph("body", (x,), (Output(result, y),), (), {x: operand, y: result}, {y: ORIGIN})


def step(operand: str, result: str, place: str, inplace: str = "", tensor: TensorType = T) -> KernelStep:
    kind, _, where = place.partition(".")
    spot = Place(kind, 0, where) if kind == "arg" else Place(kind, int(where or 0))
    made = Result(result, tensor, spot, inplace)
    return KernelStep("exp", (operand,), (made,), body(operand, result, tensor), map_form(tensor.shape, 1), ORIGIN)


def view(operand: str, result: str, at: int, tensor: TensorType, offset: int = 0) -> ViewStep:
    return ViewStep(operand, Result(result, tensor, Place("arena", at)), ORIGIN, offset)


def program(*steps: Any, **changes: Any) -> Program:
    param = parse("symc ir 1 level=fused\nfunc @f(%x: f32[16] data, %w: f32[16] arg) -> () {\n  return\n}\n")
    assert isinstance(param, Program)
    settings: dict[str, Any] = {"outputs": (ProgramOutput("y", "d"),), "cut": len(steps), "arena": 128}
    return replace(param, steps=steps, **{**settings, **changes})


A, B, C, D = step("x", "a", "arena.0"), step("a", "b", "arena.64"), step("b", "c", "arena.0"), step("c", "d", "out.0")


def test_a_good_program_passes() -> None:
    verify(program(A, B, C, D))
    verify(program(A, step("a", "c", "arena.0", "a"), D))
    square = TensorType(F32, (4, 4))
    after = step("b", "c", "arena.64", "", square), step("c", "d", "out.0", "", square)
    verify(program(A, view("a", "b", 0, square), *after))


def test_p1_to_p5() -> None:
    breaks("P1", program(A, step("a", "a", "arena.64"), outputs=()))
    breaks("P2", program(B, A, C, D))
    breaks("P3", program(A, replace(B, body=body("a", "b", TensorType(F64, (16,)))), C, D))
    breaks("P3", program(A, replace(B, body=replace(B.body, outputs=())), C, D))
    breaks("T3", program(A, replace(B, body=replace(B.body, origins={})), C, D))
    breaks("P4", program(A, B, C, D, outputs=(ProgramOutput("y", "z"),)))
    breaks("P4", program(A, B, C, D, outputs=(ProgramOutput("y", "d", "gradient", "z"),)))
    breaks("P4", program(A, B, C, D, outputs=(ProgramOutput("y", "d", phase="late"),)))
    breaks("P4", program(A, B, C, D, outputs=(ProgramOutput("y", "d"), ProgramOutput("y", "d"))))
    breaks("P4", program(A, B, C, D, updates=(ProgramUpdate("a", "d", "forward"),)))
    breaks("P4", program(A, B, C, D, updates=(ProgramUpdate("w", "d", "later"),)))
    breaks("P4", program(A, B, C, D, updates=(ProgramUpdate("w", "z", "forward"),)))
    quarter = TensorType(F32, (4,))
    breaks("P5", program(A, view("a", "v", 52, quarter, 13), B, C, D))
    breaks("P5", program(A, view("a", "v", 0, TensorType(F64, (4,))), B, C, D))
    breaks("P5", program(A, view("a", "v", 0, quarter, 4), B, C, D))
    verify(program(A, view("a", "v", 16, quarter, 4), B, C, D))


def test_p6_places() -> None:
    breaks("P6", program(A, B, C, D, arena=127))
    breaks("P6", program(step("x", "a", "arena.2"), B, C, D))
    breaks("P6", program(step("x", "a", ""), B, C, D))
    breaks("P6", program(step("x", "a", "arg.q"), B, C, D))


def test_p7_overlap() -> None:
    breaks("P7", program(A, step("a", "b", "arena.32"), C, D))
    breaks("P7", program(A, step("a", "b", "arena.0"), C, D))
    # a later reader, also one that reads a view, keeps the memory
    breaks("P7", program(A, B, C, step("a", "e", "arena.64"), D))
    quarter = TensorType(F32, (4,))
    late = step("v", "e", "arena.64", "", quarter)
    breaks("P7", program(A, view("a", "v", 0, quarter), B, C, late, D))


def test_p8_inplace() -> None:
    breaks("P8", program(A, step("a", "b", "arena.0", "x"), C, D))
    breaks("P8", program(A, step("a", "b", "arena.64", "a"), C, D))
    again = step("a", "b", "arena.0", "a"), step("b", "c", "arena.64"), step("a", "e", "arena.0")
    breaks("P8", program(A, *again, D, arena=192))
    both = view("a", "v", 0, T)
    x, v = input_node("a", T), input_node("v", T)
    y = add(x, v)
    two = Graph("body", (x, v), (Output("b", y),), (), {x: "a", v: "v", y: "b"}, {y: ORIGIN})
    twice = KernelStep("add", ("a", "v"), (Result("b", T, Place("arena", 0), "a"),), two, map_form(T.shape, 2), ORIGIN)
    breaks("P8", program(A, both, twice, step("b", "d", "out.0")))


def test_p9_outputs() -> None:
    breaks("P9", program(A, B, C, step("c", "d", "arena.64")))
    breaks("P9", program(A, B, C, step("c", "d", "out.1")))
    breaks("P9", program(step("x", "a", "out.0"), B, C, D))


def test_p10_parameters() -> None:
    update = {"updates": (ProgramUpdate("w", "n"),)}
    new = step("w", "n", "arg.w", "w")
    verify(program(A, B, C, D, new, **update))
    breaks("P10", program(A, B, C, D, step("w", "n", "arg.x"), **update))
    breaks("P10", program(A, B, C, D, step("w", "n", "arg.w"), **update))
    breaks("P10", program(new, step("w", "a", "arena.0"), B, C, D, **update))
    breaks("P10", program(A, B, C, D, new))


def test_p14_phases() -> None:
    early, late = ProgramOutput("y", "d"), ProgramOutput("y", "d", phase="backward")
    verify(program(A, B, C, D, outputs=(early,), cut=4))
    verify(program(A, B, C, D, outputs=(late,), cut=3))
    breaks("P14", program(A, B, C, D, outputs=(early,), cut=3))
    breaks("P14", program(A, B, C, D, outputs=(late,), cut=4))
    new = step("w", "n", "arg.w", "w")
    for phase, cut in (("forward", 5), ("backward", 4)):
        verify(program(A, B, C, D, new, updates=(ProgramUpdate("w", "n", phase),), cut=cut))
    breaks("P14", program(A, B, C, D, new, updates=(ProgramUpdate("w", "n"),), cut=4))
    breaks("P14", program(A, B, C, new, D, updates=(ProgramUpdate("w", "n", "backward"),), cut=5))
    breaks("P14", program(A, B, C, D, step("w", "n", "arena.0"), updates=(ProgramUpdate("w", "n"),)))


def test_p11_cut_and_origins() -> None:
    breaks("P11", program(A, B, C, D, cut=5))
    breaks("P11", program(A, B, C, replace(D, origin=DerivedOrigin("p", 0, ()))))


# --------------------------------------------------------------------------------------------- loops

I = Var("i", 0, 16)
BUFFERS = (Buffer("x", T), Buffer("y", T, "out"))


def load(index: Affine | Var, name: str = "a", **changes: Any) -> Load:
    return replace(Load(name, "x", F32, (Affine.of(index),), origin=ORIGIN), **changes)


def store(index: Affine | Var, value: str = "a", **changes: Any) -> Store:
    return replace(Store(Ref(value, F32), "y", (Affine.of(index),), origin=ORIGIN), **changes)


def loop(*stmts: Stmt, var: Var = I, kind: str = "parallel", carries: tuple[Carry, ...] = (), **changes: Any) -> For:
    return replace(For(var.name, var.lo, var.hi, stmts, carries, kind), **changes)


def kernel(*stmts: Stmt, buffers: tuple[Buffer, ...] = BUFFERS) -> LoopKernel:
    return LoopKernel("k", buffers, stmts, ORIGIN)


def wrong(rule: str, *stmts: Stmt, buffers: tuple[Buffer, ...] = BUFFERS) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_kernel(kernel(*stmts, buffers=buffers))
    assert caught.value.rule == rule, caught.value


def test_good_kernels_pass() -> None:
    verify_kernel(kernel(loop(load(I), store(I))))
    verify_kernel(kernel(loop(load(I), kind="serial"), loop(load(I), store(I))))
    carry = Carry("s", Ref("", F32, 0.0), Ref("n", F32), "t", ew.add)
    total = Let("n", F32, ew.add, (Ref("s", F32), Ref("a", F32)), ORIGIN)
    verify_kernel(kernel(loop(load(I), total, carries=(carry,), kind="serial"), store(Affine.of(3), "t")))


def test_l1_definitions() -> None:
    wrong("L1", loop(store(I)))
    wrong("L1", loop(load(I)), loop(store(I)))
    wrong("L1", loop(load(I), load(I), store(I)))
    wrong("L1", loop(load(I), replace(store(I), value=Ref("a", F64))))
    wrong("L1", load(I), store(Affine.of(0)))
    wrong("L1", loop(load(Var("d", dynamic=True)), store(I)))
    carry = Carry("s", Ref("", F32, 0.0), Ref("q", F32), "t")
    wrong("L1", loop(load(I), carries=(carry,)))


def test_l2_types() -> None:
    wrong("L2", loop(load(I), Let("b", F64, ew.exp, (Ref("a", F32),), ORIGIN)))
    wrong("L2", loop(load(I), Let("b", F32, ew.add, (Ref("a", F32), Ref("", F64, 1.0)), ORIGIN)))


def test_l3_buffers() -> None:
    wrong("L3", loop(load(I, buffer="z")))
    wrong("L3", loop(replace(load(I), index=())))
    wrong("L3", loop(load(I, dtype=F64)))
    wrong("L3", loop(load(I), store(I, buffer="x")))


def test_l5_carries() -> None:
    carry = Carry("s", Ref("", F64, 0.0), Ref("a", F32), "t")
    wrong("L5", loop(load(I), carries=(carry,)))


def test_l7_origins() -> None:
    wrong("L7", loop(load(I, origin=None), store(I)))
    verify_kernel(kernel(loop(load(I, origin=None), store(I))), origins=False)


def test_l8_form() -> None:
    wrong("L8", loop(load(I), store(I), kind="fast"))
    wrong("L8", loop(load(I), store(I), kind="vector"))
    wrong("L8", loop(loop(load(I), store(I))))
    wrong("L8", loop(load(Var("i", 0, 8)), store(I)))
    wrong("L8", loop(), buffers=(*BUFFERS, Buffer("x", T)))
    wrong("L8", loop(), buffers=(*BUFFERS, Buffer("z", T, "out", "y")))
    wrong("L8", loop(), buffers=(*BUFFERS, Buffer("z", T, "upside")))


def test_l9_calls() -> None:
    module: Any = parse(FILES[2].read_text())
    breaks("L9", replace(module, calls=(1, *module.calls[1:])))
    breaks("L9", replace(module, calls=module.calls[:-1]))
    breaks("L9", replace(module, calls=(99, *module.calls[1:])))
    unplaced = [
        replace(s, results=tuple(replace(r, place=Place(), inplace="") for r in s.results))
        if isinstance(s, KernelStep)
        else replace(s, result=replace(s.result, place=Place()))
        for s in module.program.steps
    ]
    breaks("L9", replace(module, program=replace(module.program, steps=tuple(unplaced), arena=0)))


def test_conditions_are_truth_values() -> None:
    from symc.ir.loop.nodes import If

    wrong("L2", loop(load(I), If(Ref("a", F32), (store(I),))))
    on = Let("on", BOOL, ew.gt, (Ref("a", F32), Ref("", F32, 0.0)), ORIGIN)
    verify_kernel(kernel(loop(load(I), on, If(Ref("on", BOOL), (store(I),)))))
