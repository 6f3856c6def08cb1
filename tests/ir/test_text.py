"""Protects the text form: what is printed reads back as the same structure, and prints as the same bytes, at every
level; errors name the place and what was probably meant."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from symc.ir.errors import MissingData, ParseError
from symc.ir.index import Affine, Remainder, Var
from symc.ir.loop.nodes import For, IndexValue, LoopKernel, Store, walk
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import Node, Recorder, Ref, input_node
from symc.ir.origins import DerivedOrigin, SymOrigin
from symc.ir.parse import parse
from symc.ir.prims import (
    add,
    broadcast,
    cast,
    const,
    custom_grad,
    dot,
    eq,
    exp,
    get,
    iota,
    mul,
    pad,
    relu,
    select,
    sort,
    sub,
)  # fmt: skip
from symc.ir.prims import elementwise as ew
from symc.ir.prims.elementwise import Const
from symc.ir.prims.movement import Pad
from symc.ir.program.nodes import Program
from symc.ir.symbol.nodes import SymGraph, SymNode
from symc.ir.tensor.graph import Graph, Output, Update, finish
from symc.ir.text import (
    collect_constants,
    print_graph,
    print_kernel,
    print_loops,
    print_module,
    print_program,
    print_symbols,
)  # fmt: skip
from symc.ir.types import BOOL, F16, F32, F64, I32, I64, U8, U64, DType, TensorType

FILES = sorted((Path(__file__).parent / "sir").glob("*.sir"))
ORIGIN = SymOrigin("fc1", "FullyConnected", "mlp.py", 5)


def small_graph() -> Graph:
    """A graph with literals, a constant, a tuple, regions, an update of the backward half."""
    with Recorder() as recorder:
        x = input_node("data", TensorType(F32, (4, 8)), "data")
        w = input_node("w", TensorType(F32, (3, 8)))
        with recorder.at(ORIGIN):
            y = relu(dot(x, w, tb=True))
            y = add(mul(y, 2.0), const(np.arange(12, dtype=np.float32).reshape(4, 3)))
        with recorder.at(DerivedOrigin("simplify", 3, (ORIGIN, DerivedOrigin("odd pass", 0, (ORIGIN,))))):
            z = custom_grad([y], lambda a: add(exp(a), 0.25), lambda ins, outs, cts: [mul(cts[0], 3.0)])
            assert isinstance(z, Node)
            pair = sort(z, 1, descending=True)
            v = pad(get(pair, 0), (0, 1), (2, 0), value=float("-inf"))
            on = eq(cast(iota(TensorType(F32, v.shape), 1), I32), 1)
            v = select(on, v, 0.5)
            w_new = sub(w, 0.125)
    outputs = [("out", v), ("odd name", get(pair, 1)), ("one", const(1, I64))]
    return finish("f", [x, w], outputs, [Update("w", w_new, "backward")], {y: 'odd "name"'}, recorder.origins)


def round_trip(module: object) -> object:
    text = print_module(module)
    made = parse(text, data=collect_constants(module) if not isinstance(module, SymGraph) else None)
    assert print_module(made) == text
    return made


# --------------------------------------------------------------------------------------------- every level


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_files_print_as_they_are(path: Path) -> None:
    text = path.read_text()
    assert print_module(parse(text)) == text


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_whitespace_and_comments_do_not_matter(path: Path) -> None:
    text = path.read_text()
    spread = text.replace(" = ", "  =\n   ").replace("(", " ( // a comment, with ) and %x\n") + "\n// the end"
    assert print_module(parse(spread)) == text


def test_a_graph_is_read_as_the_same_nodes() -> None:
    graph = small_graph()
    made = round_trip(graph)
    assert isinstance(made, Graph)
    assert made == graph and made.output_nodes == graph.output_nodes
    assert all(a is b for a, b in zip(made.nodes(), graph.nodes()))
    assert made.names == {n: name for n, name in graph.names.items() if n in made.names}
    lost = [n for n in graph.nodes() if n not in made.names]
    assert all(isinstance(n.op, Const) and not n.shape for n in lost)


def test_origins_are_read_back_as_a_shared_dag() -> None:
    graph = small_graph()
    made = round_trip(graph)
    assert isinstance(made, Graph)

    def tree(origin: object) -> object:
        return origin if isinstance(origin, SymOrigin) else (
            origin.pass_name, origin.action, tuple(map(tree, origin.parents))  # type: ignore[attr-defined]
        )  # fmt: skip

    for node, origin in made.origins.items():
        assert tree(origin) == tree(graph.origins[node])
    derived = {id(o) for o in made.origins.values() if isinstance(o, DerivedOrigin)}
    assert len(derived) == 1


def test_deep_chains_of_origins_do_not_recurse() -> None:
    origin: SymOrigin | DerivedOrigin = ORIGIN
    for action in range(20_000):
        origin = DerivedOrigin("p", action, (origin, ORIGIN))
    x = input_node("x", TensorType(F32, ()))
    y = exp(x)
    made = round_trip(Graph("f", (x,), (Output("y", y),), (), {x: "x", y: "y"}, {y: origin}))
    assert isinstance(made, Graph) and made.outputs[0].node is y


def test_programs_keep_their_structure() -> None:
    program = parse(FILES[1].read_text())
    assert isinstance(program, Program)
    again = parse(print_program(program))
    assert isinstance(again, Program)
    assert again.params == program.params and again.outputs == program.outputs and again.updates == program.updates
    assert (again.cut, again.arena, again.lower_bound) == (3, 320, 256)
    strip = [replace(s, origin=ORIGIN) for s in program.steps]
    assert strip == [replace(s, origin=ORIGIN) for s in again.steps]


def test_an_unplanned_program_has_no_arena() -> None:
    text = print_program(parse(FILES[1].read_text()))  # type: ignore[arg-type]
    lines = [line for line in text.splitlines() if not line.startswith("arena")]
    fused = "\n".join(lines).replace("level=planned", "level=fused")
    for place in ("@A+0", "@A+128", "@A+192", "@A+256", "@out.0", "@out.1", "@out.2", "@out.3", "@arg.steps"):
        fused = fused.replace(f" {place} inplace(%steps)", "").replace(f" {place} inplace(%fc1.d)", "")
        fused = fused.replace(f" {place} =", " =").replace(f" {place},", ",").replace(f" {place})", ")")
    made = parse(fused)
    assert print_module(made) == fused + "\n"


def test_loops_keep_their_structure() -> None:
    module = parse(FILES[2].read_text())
    assert isinstance(module, LoopModule)
    assert module.calls == (0, 1, 2, 3, 8, 4, None, 5, None, 6, 7)
    again = parse(print_loops(module))
    assert isinstance(again, LoopModule) and again.calls == module.calls
    # the same origins in both: then the kernels are equal values
    assert [print_kernel(k) for k in again.kernels] == [print_kernel(k) for k in module.kernels]
    outer = module.kernels[1].body[0]
    assert isinstance(outer, For) and (outer.kind, outer.step, outer.trips) == ("parallel", 2, 2)
    assert [k.scheduled for k in module.kernels[:3]] == [False, True, False]
    (row, *_) = (s for s in walk(module.kernels[2].body) if isinstance(s, For) and s.carries)
    assert [c.combine for c in row.carries] == [ew.maximum, None]
    lanes = module.kernels[0].body[0].body[0]  # type: ignore[union-attr]
    assert isinstance(lanes, For) and (lanes.kind, lanes.width, lanes.unroll) == ("vector", 4, 2)


def test_every_index_expression_reads_back_as_it_was() -> None:
    i, j, d = Var("i", 0, 8), Var("j", -2, 3), Var("odd name", dynamic=True)
    narrow = Var("i", 0, 4)
    expressions = [
        Affine(), Affine.of(-3), Affine.of(i) * 4 - j + 1, Affine.of(j) * -1, (Affine.of(i) + 1) // 3 * -2 + d,
        Affine(((Remainder(Affine.of(i) * 2 + d, 5), 3), (narrow, 1)), -7), Affine.of(d) - d + Affine.of(d) * 9,
    ]  # fmt: skip
    body = [IndexValue(d.name, I64, Affine.of(i)), *(IndexValue(f"v{n}", I64, e) for n, e in enumerate(expressions))]
    inner = For("j", -2, 3, tuple(body), (), "jam")
    kernel = LoopKernel("k", (), (For("i", 0, 8, (inner,), (), "parallel", 0, 1, 2),), None, "the key")
    module = LoopModule(Program("f", (), (), ()), (kernel,), ())
    again = parse(print_loops(module))
    assert isinstance(again, LoopModule)
    assert again.kernels == (kernel,) and again.kernels[0].key == "the key"
    assert print_loops(again) == print_loops(module)


def test_symbols_keep_their_structure() -> None:
    module = parse(FILES[3].read_text())
    assert isinstance(module, SymbolModule)
    nodes = {(n.name, n.op): n for n in module.graph.nodes()}
    assert len(nodes) == 7 and [n.name for n in module.graph.nodes()].count("plus") == 2
    assert nodes["data", "null"].attrs == {"__lr_mult__": "0.1"} and nodes["data", "null"].where == ("net.py", 3)
    assert module.roles == {"data": "data"} and module.output_names == ("softmax_output", "odd name")
    assert module.types == {"data": TensorType(F32, (4, 6)), "fc1_weight": TensorType(F32, (8, 6))}
    assert module.shapes == {"zeros": ((4, 4),)}
    assert [o for _, o in nodes["plus", "elemwise_add"].inputs] in ([0, 1], [0, 0])
    assert len(nodes["loop", "_foreach"].subgraphs) == 1


def test_symbols_get_their_definitions() -> None:
    asked = []

    def definitions(op: str, attrs: dict[str, str]) -> object:
        asked.append((op, dict(attrs)))
        if op == "relu":
            raise ValueError("no such operator")
        return object()

    x = SymNode("null", "x")
    y = SymNode("exp", "y", {"a": "1"}, [(x, 0)])
    text = print_symbols(SymGraph(((y, 0),)))
    made = parse(text, definitions=definitions)  # type: ignore[arg-type]
    assert isinstance(made, SymbolModule)
    assert asked == [("exp", {"a": "1"})] and made.graph.outputs[0][0].definition is not None
    with pytest.raises(ParseError, match="relu 'y': no such operator"):
        parse(text.replace("exp(", "relu("), definitions=definitions)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------- literals


def bits(value: object, dtype: DType) -> bytes:
    return np.asarray(value, dtype.numpy).tobytes()


@pytest.mark.parametrize("dtype", [F16, F32, F64, I32, I64, U8, U64, BOOL], ids=str)
def test_literals_keep_their_bits(dtype: DType) -> None:
    rng = np.random.default_rng(7)
    raw = rng.integers(0, 256, 64 * dtype.itemsize, np.uint8)
    values = (raw % 2).view(np.bool_) if dtype == BOOL else raw.view(dtype.numpy)
    if dtype.is_float:
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.1, 1e-7, 65504.0, np.finfo(dtype.numpy).tiny / 4]
        values = np.concatenate([values, np.array(special, dtype.numpy)])
    x = input_node("x", TensorType(BOOL, ()))
    literals = [Node.make(Const(TensorType(dtype, ()), v.tobytes())) for v in values]
    whole = const(values)
    outputs = [(f"o{n}", select(x, v, v)) for n, v in enumerate(literals)]
    graph = finish("f", [x], [*outputs, ("whole", whole)])
    text = print_graph(graph, elide=1000)
    made = parse(text)
    assert isinstance(made, Graph) and made == graph and print_graph(made, elide=1000) == text


def test_literal_of_another_type_than_the_first_operand_says_so() -> None:
    x = input_node("x", TensorType(F32, (2,)))
    on = input_node("on", TensorType(BOOL, (2,)))
    outputs = [("y", select(on, sub(1.0, x), 0.0)), ("z", broadcast(const(3, I32), (2,), ()))]
    text = print_graph(finish("f", [x, on], outputs))
    assert "sub(1.0, %x)" in text and "select(%on, %sub, 0.0:f32)" in text and "broadcast(3:i32)" in text


def test_attributes_are_printed_by_the_type_of_their_field() -> None:
    x = input_node("x", TensorType(F32, (2,)))
    padded = Node.make(Pad((1,), (0,), (0,), 1), [x])
    text = print_graph(finish("f", [x], [("y", padded)]))
    assert "fill=1.0" in text and print_graph(parse(text)) == text  # type: ignore[arg-type]


def test_big_constants_are_kept_beside_the_text(tmp_path: Path) -> None:
    value = np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)
    x = input_node("x", TensorType(F32, (10, 10)))
    inner = custom_grad([x], lambda a: add(a, const(value)), lambda ins, outs, cts: [cts[0]])
    assert isinstance(inner, Node)
    graph = finish("f", [x], [("y", add(inner, const(value.T)))])
    text = print_graph(graph)
    data = collect_constants(graph)
    assert text.count("dense<sha256:") == 2 and len(data) == 2
    assert parse(text, data=data) == graph
    path = tmp_path / "constants.npz"
    np.savez(path, **data)  # type: ignore[arg-type]
    assert parse(text, data=path) == graph
    with pytest.raises(MissingData, match="line 5"):
        parse(text)
    wrong = {key: array + 1 for key, array in data.items()}
    with pytest.raises(ParseError, match="not the f32"):
        parse(text, data=wrong)


def test_a_named_literal_has_a_line_of_its_own() -> None:
    x = input_node("x", TensorType(F32, ()))
    one = const(1.0, F32)
    graph = finish("f", [x], [("y", add(x, one))], names={one: "one"})
    made = round_trip(graph)
    assert isinstance(made, Graph) and made.names == graph.names
    assert "%one: f32[] = const() {value=1.0}" in print_graph(made)


def test_a_broken_graph_still_prints() -> None:
    x = input_node("x", TensorType(F32, ()))
    graph = Graph("f", (x,), (Output("y", add(exp(x), exp(exp(x)))),), (), {exp(x): "x"})
    assert "unnamed" in print_graph(graph)


# --------------------------------------------------------------------------------------------- errors

TENSOR = FILES[0].read_text()
LOOP = FILES[2].read_text()


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (TENSOR, "relu(%fc1)", "relue(%fc1)", r"line 17.*unknown operation 'relue'; did you mean 'relu'\?"),
        (TENSOR, "{tb=true}", "{tc=true}", "unknown attribute of dot 'tc'"),
        (TENSOR, "add(%fc1.mm, %fc1.b)", "add(%fc1.mn, %fc1.b)", "unknown value '%fc1.mn'; did you mean '%fc1.mm'"),
        (TENSOR, "%relu1: f32[4,8]", "%relu1: f32[4,9]", r"relu gives f32\[4,8\] here, not f32\[4,9\]"),
        (TENSOR, "add(%fc1.mm, %fc1.b)", "add(%fc1.mm, %fc2_weight)", "shapes differ"),
        (TENSOR, "level=tensor", "level=tensr", "unknown level 'tensr'; did you mean 'tensor'"),
        (TENSOR, "symc ir 1", "symc ir 2", "version 2"),
        (TENSOR, "%fc1: f32", "%fc1.mm: f32", "%fc1.mm is defined twice"),
        (TENSOR, "(%fc1) !2", "(%fc1) !99", "origin !99 is not in the table"),
        (TENSOR, "!5 = autodiff#2(!2)", "!5 = autodiff#2(!7)", "origin !7 must stand before"),
        (TENSOR, "0.0:f32", "0.0", "not a value of i1"),
        (TENSOR, "return %softmax,", "return", "3 values for 4 results"),
        (TENSOR, "\n}\n", "\n", r"expected '}', found the end"),
        (TENSOR, ") {", ") cut=1 {", r"every output says its own phase, such as `g: f32\[2\] \(backward\)`"),
        (LOOP, "fma(%a, %c, %acc) !1", "fma(%a, %c, %ac) !1", "unknown value '%ac'; did you mean '%acc'"),
        (LOOP, "load %x[%i, %k]", "load %xx[%i, %k]", "unknown buffer 'xx'; did you mean 'x'"),
        (LOOP, "load %w[%j, %k]", "load %w[%jj, %k]", "unknown index '%jj'"),
        (LOOP, "@k1.dot(%relu1", "@k1.dott(%relu1", "unknown kernel 'k1.dott'; did you mean 'k1.dot'"),
        (LOOP, "@A+256", "@B+256", "expected a place"),
        (LOOP, "yield %m1, %n1", "yield %m1", "expected ','"),
        (LOOP, "combine=maximum", "combine=maximun", "unknown operation 'maximun'; did you mean 'maximum'"),
        (LOOP, "combine=maximum", "combine=sub", "sub does not combine partial results of f32"),
        (LOOP, "combine=maximum", "combine=dot", "dot does not combine"),
    ],
)  # fmt: skip
def test_errors_tell_the_place_and_what_was_meant(text: str, old: str, new: str, message: str) -> None:
    assert old in text
    with pytest.raises(ParseError, match=message) as caught:
        parse(text.replace(old, new, 1))
    assert caught.value.line > 0 and caught.value.column > 0
    last = str(caught.value).splitlines()
    assert last[-1].strip() == "^" and last[-1].index("^") - 2 == caught.value.column - 1


def test_a_store_reads_the_literal_by_its_buffer() -> None:
    module = parse(LOOP)
    assert isinstance(module, LoopModule)
    store = module.kernels[4].body[0].body[0].body[0]  # type: ignore[union-attr]
    assert isinstance(store, Store) and store.value == Ref("", F32, 0.0)


def test_hundred_thousand_lines_take_seconds() -> None:
    with Recorder() as recorder, recorder.at(ORIGIN):
        x = input_node("x", TensorType(F32, (4,)))
        node = x
        for _ in range(10_000):
            node = mul(add(node, 1.5), x)
    graph = finish("deep", [x], [("y", node)], (), {}, recorder.origins)
    start = time.process_time()
    text = print_graph(graph)
    made = parse(text)
    assert time.process_time() - start < 8  # 20 000 lines there and back; about 1 s on a quiet machine
    assert made == graph
